"""A machine loses power: the append-only file ends somewhere, and so does everything at the same moment.

A commit is one call, so whatever is cut off, logs, queues, timers and indexes are those of one moment of
the past. Engines that did not live through it go on from there.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from argyll_redis import AppConfig, Argyll, NotCompleted, Retry, StepContext
from tests.chaos.redis_process import RedisProcess

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(180)]

FLOWS = 30
CUTS = 5
LEASE_MS = 500
LOG = Path("appendonlydir", "appendonly.aof.1.incr.aof")
"""What a server appends to, in its directory."""


def build(url: str) -> Argyll:
    """An app of two shapes: a chain with retries, and a list."""
    app = Argyll(url, "cut", config=AppConfig(lease_ms=LEASE_MS))

    @app.step(outputs="parts", retry=Retry(backoff="fixed", initial_ms=30))
    async def split(a: int, ctx: StepContext) -> list:
        if ctx.attempt == 1:
            raise NotCompleted("not yet")
        return list(range(a % 5))

    @app.step(outputs="squares", for_each="parts", parallelism=2)
    async def square(parts: int) -> int:
        await asyncio.sleep(0.005)
        return parts * parts

    @app.step(outputs="sum")
    async def join(squares: list) -> int:
        return sum(row["squares"] for row in squares)

    return app


@asynccontextmanager
async def running(app: Argyll) -> AsyncIterator[None]:
    """The app is an engine, until it is left; then it is gone like one that was killed."""
    ready = asyncio.Event()
    task = asyncio.create_task(app.run(concurrency=10, on_ready=lambda *_: ready.set()))
    await ready.wait()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def open_flows(app: Argyll) -> list[str]:
    node = await app.node()
    return [flow for flow, _ in await node.store.index("open")]


async def live_through(directory: Path) -> tuple[Path, int]:
    """Runs flows until half of them are done, and kills the server; gives its directory, and how much it
    had written before the first of them."""
    server = RedisProcess(directory, fsync="always")
    await server.start()
    app = build(server.url)
    await app.register_declared()
    home = server.socket.parent
    begin = (home / LOG).stat().st_size
    async with running(app):
        await app.start_many([{"goals": ["join"], "init": {"a": n}, "id": f"f{n}"} for n in range(FLOWS)])
        while len(await open_flows(app)) > FLOWS // 2:
            await asyncio.sleep(0.01)
    await app.close()
    await server.close()
    return home, begin


@pytest.mark.parametrize("cut", range(CUTS))
async def test_what_a_power_cut_leaves_is_whole_and_goes_on(cut: int, tmp_path: Path) -> None:
    """Wherever the file ends, every log passes its audit as it was found, and every flow comes to its end."""
    home, begin = await live_through(tmp_path)
    draw = random.Random(cut)
    size = (home / LOG).stat().st_size
    end = draw.randrange(begin, size)
    server = RedisProcess(tmp_path, name="after")
    shutil.copytree(home / LOG.parent, server.socket.parent / LOG.parent)
    with (server.socket.parent / LOG).open("r+b") as log:
        log.truncate(end)
    await server.start()
    app = build(server.url)
    try:
        found = await app.audit()
        assert found["violations"] == [], f"cut at {end} of {size}"
        async with running(app):
            while await open_flows(app):
                await asyncio.sleep(0.05)
        after = await app.audit()
        assert (after["violations"], after["flows"]) == ([], found["flows"])
        stats = await app.queue_stats()
        assert [queue["depth"] + queue["due"] for queue in stats["queues"]] == [0] * len(stats["queues"])
    finally:
        await app.close()
        await server.close()
