"""Several engines, each for its kind of work: many that wait in one, few that compute in another.

`fetch` waits for others, so one engine process can have dozens in hand; it is in the queue `io`. `digest`
computes, so as many as there are cores is enough; it is in the queue `cpu`. Each engine serves the queue it
was started for, and a flow needs both. No engine knows the other, and more of either can be started at any
time, on any machine that reaches the server.

This file is the module that the engines load, and the program that starts them and asks for a flow:

    python docs/examples/queues.py

With ARGYLL_REDIS_URL=redis://localhost:6379/0 it runs on that server; left out, on a redis-server or
valkey-server of its own if one is on the PATH. Where neither is (or with memory://) there is only one
process, which serves both queues.
"""

import asyncio
import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from argyll_redis import Argyll
from argyll_redis.runtime.embedded import EmbeddedServer

app = Argyll(namespace="example-queues")

PAGES = [f"page-{number}" for number in range(1, 13)]


@app.step(outputs="fetched", for_each="pages", parallelism=12, queue="io")
async def fetch(pages: str) -> dict:
    await asyncio.sleep(0.05)  # stands for a request over the network
    return {"text": f"what {pages} says", "by": os.getpid()}


@app.step(outputs="digest", for_each="fetched", parallelism=2, queue="cpu")
def digest(fetched: dict) -> dict:
    text = fetched["fetched"]["text"]  # what a for_each step provides: the item, and what came of it
    key = hashlib.pbkdf2_hmac("sha256", text.encode(), b"salt", 20_000)
    return {"key": key.hex()[:8], "by": os.getpid()}


@contextmanager
def engine(queue: str, *, concurrency: int) -> Iterator[int]:
    """An engine process for one queue, as `argyll engine` starts it; gives its process id."""
    command = (
        f"engine --app queues:app --namespace {app.namespace} --queue {queue} --concurrency {concurrency}"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "argyll_redis.cli", *command.split()],
        cwd=Path(__file__).parent,
        env={**os.environ, "ARGYLL_REDIS_URL": app.url},  # not an argument: it may hold a password
        stderr=subprocess.STDOUT,  # what the engine says of itself is part of the show
    )
    try:
        yield process.pid
    finally:
        process.terminate()  # it drains: takes nothing new, and ends when its running work has
        process.wait()


async def story(names: dict[int, str]) -> None:
    """Starts a flow, and says which process ran what."""
    flow = await app.start(goals=[digest], init={"pages": PAGES})
    rows = (await flow.result(timeout_ms=30_000))["digest"]
    for step, calls in (
        ("fetch", Counter(names[row["fetched"]["fetched"]["by"]] for row in rows)),
        ("digest", Counter(names[row["digest"]["by"]] for row in rows)),
    ):
        print(f"{step} ran {', '.join(f'{count} times in {name}' for name, count in calls.items())}")


async def run_on(url: str) -> None:
    app.reconfigure(url=url)
    async with app:
        if url.startswith("memory:"):
            print("memory:// is within one process: it serves both queues, and others cannot join")
            await app.run(until=lambda: story({os.getpid(): "this process"}))
        else:
            with engine("io", concurrency=50) as io, engine("cpu", concurrency=2) as cpu:
                await story({io: "the io engine", cpu: "the cpu engine"})


async def main() -> None:
    if url := os.environ.get("ARGYLL_REDIS_URL"):
        await run_on(url)
    else:
        async with EmbeddedServer() as server:
            print(f"The server: {server.sentence}", flush=True)
            await run_on(server.url)


if __name__ == "__main__":
    asyncio.run(main())
