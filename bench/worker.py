"""A process of the bench: an engine, a client that starts flows and waits for them, or both in one.

`python -m bench.worker ROLE WORKLOAD`, with the server's URL in `ARGYLL_REDIS_URL` and the namespace in
`ARGYLL_NAMESPACE`. It reads requests and writes replies, a line of JSON each, and ends with its
standard input; so it never outlives the bench.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from enum import StrEnum
from typing import Any

from argyll_redis import Argyll
from bench.profile import Profiler
from bench.tasks import (
    Supply,
    alone,
    burst,
    calls,
    complete,
    engine,
    item_times_ms,
    look,
    lost,
    plan,
    register,
    waiting_tokens,
)
from bench.workloads import Workload, workload_of

SERVICE_VARIABLE = "ARGYLL_BENCH_SERVICE"
"""Holds the URL of the service that steps call, where there is one."""
CONCURRENCY_VARIABLE = "ARGYLL_BENCH_CONCURRENCY"
"""Holds the slots of an engine."""
LEASE_VARIABLE = "ARGYLL_BENCH_LEASE_MS"
DEFAULT_CONCURRENCY = 100
"""As of `Argyll.run`."""


class Role(StrEnum):
    BOTH = "both"
    ENGINE = "engine"
    CLIENT = "client"


class Worker:
    """Does what it is asked, one request at a time: `{"do": NAME, ...}`, each a method."""

    def __init__(self, app: Argyll, workload: Workload) -> None:
        self._app = app
        self._workload = workload
        self._flows: list[str] = []
        self._supply: Supply | None = None

    async def do(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request.pop("do")
        if name not in ASKS:
            raise ValueError(f"a worker cannot {name}")
        return await getattr(self, name)(**request)

    async def burst(self, *, flows: int) -> dict[str, Any]:
        seconds, self._flows = await burst(self._app, self._workload, flows)
        return {"seconds": seconds}

    async def profile(self, *, flows: int) -> dict[str, Any]:
        with Profiler() as profiler:
            seconds, self._flows = await burst(self._app, self._workload, flows)
        return {"seconds": seconds, **profiler.found()}

    async def alone(self, *, flows: int) -> dict[str, Any]:
        return {"times_ms": await alone(self._app, self._workload, flows)}

    async def calls(self, *, flows: int) -> dict[str, Any]:
        assert self._workload.define is not None
        [first, *_] = self._workload.define(os.environ[SERVICE_VARIABLE])
        return {"seconds": await calls(first, flows * self._workload.calls)}

    async def look(self, *, flows: int) -> dict[str, Any]:
        """At some of the flows of the last burst."""
        commits, events = await look(self._app, self._flows[:: max(1, len(self._flows) // flows)])
        return {"commits": commits, "events": events}

    async def items(self) -> dict[str, Any]:
        """Of the first flow of the last burst."""
        return {"times_ms": await item_times_ms(self._app, self._flows[0])}

    async def start(self) -> dict[str, Any]:
        """Starts one flow and waits for nothing."""
        flow = await self._app.start(**self._workload.request())
        self._flows = [flow.id]
        return {"flow": flow.id}

    async def result(self) -> dict[str, Any]:
        """Waits for the one that was started."""
        [flow] = self._flows
        return {"result": await self._app.flow(flow).result()}

    async def tokens(self, *, count: int) -> dict[str, Any]:
        return {"tokens": await waiting_tokens(self._app, self._flows[0], count)}

    async def complete(self, *, flow: str, step: str, tokens: list[str], output: str) -> dict[str, Any]:
        seconds, times_ms = await complete(self._app, flow, step, tokens, output)
        return {"seconds": seconds, "times_ms": times_ms}

    async def supply(self, *, flows: int) -> dict[str, Any]:
        """Keeps so many flows on their way until `end_supply`."""
        self._supply = Supply(self._app, self._workload, flows)
        return {}

    async def end_supply(self) -> dict[str, Any]:
        """Gives what was lost on the way."""
        assert self._supply is not None
        await self._supply.end()
        return {"flows": len(self._supply.flows), "lost": await lost(self._app, self._supply.flows)}

    async def plan(self, *, times: int) -> dict[str, Any]:
        return {"times_ms": await plan(self._app, self._workload, times)}

    async def cpu(self) -> dict[str, Any]:
        return {"cpu_s": time.process_time()}

    async def counters(self) -> dict[str, Any]:
        """What this process has counted, as its metrics show it: `argyll_commit_...`."""
        counters = (await self._app.node()).committer.counters
        return {"commits": counters.commits, "refusals": counters.refusals, "calls": counters.calls}


ASKS = frozenset(name for name in vars(Worker) if not name.startswith("_")) - {"do"}
"""What a worker may be asked for."""


async def serve(role: Role, workload: Workload, url: str, namespace: str) -> None:
    """Answers requests until standard input ends, or its engine fails."""
    lease_ms = os.environ.get(LEASE_VARIABLE)
    concurrency = int(os.environ.get(CONCURRENCY_VARIABLE, DEFAULT_CONCURRENCY))
    async with workload.app(url, namespace, lease_ms=int(lease_ms) if lease_ms else None) as app:
        await register(app, workload, os.environ.get(SERVICE_VARIABLE, ""))
        worker = Worker(app, workload)
        if role is Role.CLIENT:
            await _answer(worker)
            return
        async with engine(app, concurrency=concurrency) as running:
            answering = asyncio.create_task(_answer(worker))
            await asyncio.wait([running, answering], return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                await answering
            answering.cancel()


async def _answer(worker: Worker) -> None:
    lines = asyncio.StreamReader(limit=LINE_LIMIT_BYTES)
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    print(json.dumps({"ready": True}), flush=True)
    async for line in lines:
        print(json.dumps(await worker.do(json.loads(line))), flush=True)


LINE_LIMIT_BYTES = 16 * 1024 * 1024
"""Of a request, which may hold thousands of tokens."""


def main() -> None:
    role, name = sys.argv[1:]
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    url, namespace = os.environ["ARGYLL_REDIS_URL"], os.environ["ARGYLL_NAMESPACE"]
    asyncio.run(serve(Role(role), workload_of(name), url, namespace))


if __name__ == "__main__":
    main()
