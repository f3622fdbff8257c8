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
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any

from argyll_redis import Argyll, FlowHandle
from argyll_redis.core.commands import Succeeded
from argyll_redis.core.model import Token
from argyll_redis.core.parse import parse_step
from argyll_redis.steps.context import StepContext
from argyll_redis.steps.http import HttpHandler
from argyll_redis.steps.http_address import AllowList
from argyll_redis.steps.http_client import AiohttpClient
from argyll_redis.steps.job import Job
from bench.profile import Profiler
from bench.workloads import WORKLOADS, Workload

SERVICE_VARIABLE = "ARGYLL_BENCH_SERVICE"
"""Holds the URL of the service that steps call, where there is one."""
CALLS_AT_A_TIME = 100
"""As many as the engine has slots."""


class Role(StrEnum):
    BOTH = "both"
    ENGINE = "engine"
    CLIENT = "client"


class WrongResult(Exception):
    """A flow came to something else than its workload says; no figure of such a run counts."""


async def register(app: Argyll, workload: Workload, service_url: str) -> None:
    """Registers the steps of a workload that no function of the app is."""
    if workload.define is not None:
        await app.register_steps(workload.define(service_url))


# ------------------------------------------------------------------------ measuring


async def burst(app: Argyll, workload: Workload, flows: int) -> tuple[float, list[str]]:
    """Starts flows at once and waits for all results; gives the seconds and the flows' ids."""
    requests = [workload.request() for _ in range(flows)]
    started_s = time.perf_counter()
    handles = _started(await app.start_many(requests))
    results = await asyncio.gather(*(handle.result() for handle in handles))
    seconds = time.perf_counter() - started_s
    for result in results:
        _check(workload, result)
    return seconds, [handle.id for handle in handles]


async def alone(app: Argyll, workload: Workload, flows: int) -> list[float]:
    """Runs flows one at a time; gives the ms of each from its start to its result."""
    times_ms: list[float] = []
    for _ in range(flows):
        request = workload.request()
        started_s = time.perf_counter()
        result = await (await app.start(**request)).result()
        times_ms.append((time.perf_counter() - started_s) * 1000)
        _check(workload, result)
    return times_ms


async def calls(definition: dict[str, Any], count: int) -> float:
    """Makes the calls of a step without an engine, as many at a time as one has slots; gives the seconds."""
    step, left = parse_step(definition), iter(range(count))
    async with AiohttpClient(AllowList()) as client:
        handler = HttpHandler(client, webhook_base_url="", now_ms=lambda: 0)

        async def call_on() -> None:
            for number in left:
                token = Token(f"{number}")
                job = Job("f", step, token, 1, {"x": 1}, StepContext("f", step.id, token, 1))
                outcome = await handler(job)
                if not isinstance(outcome, Succeeded):
                    raise WrongResult(f"a call came to {outcome}")

        started_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLS_AT_A_TIME):
                group.create_task(call_on())
        return time.perf_counter() - started_s


async def look(app: Argyll, flows: Sequence[str]) -> tuple[float, float]:
    """Reads the flows' logs; gives commits and events a flow. A commit is a transaction of the log."""
    logs = [await app.log(flow) for flow in flows]
    commits = sum(len({event.tx for event in log}) for log in logs)
    return commits / len(logs), sum(map(len, logs)) / len(logs)


def _started(started: Sequence[FlowHandle | Exception]) -> list[FlowHandle]:
    for each in started:
        if isinstance(each, Exception):
            raise each
    return [each for each in started if isinstance(each, FlowHandle)]


def _check(workload: Workload, result: dict[str, Any]) -> None:
    if result != workload.result:
        raise WrongResult(f"{workload.name} came to {result}, not to {workload.result}")


# ---------------------------------------------------------------------------- serving


@asynccontextmanager
async def engine(app: Argyll) -> AsyncIterator[asyncio.Task[None]]:
    """Makes this process an engine, ready when it is entered."""
    ready, ended = asyncio.Event(), asyncio.Event()

    async def until_ended() -> None:
        await ended.wait()

    task = asyncio.create_task(app.run(until=until_ended, on_ready=lambda *_: ready.set()))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield task
    finally:
        waiting.cancel()
        ended.set()
        await task


class Worker:
    """Does what it is asked, one request at a time."""

    def __init__(self, app: Argyll, workload: Workload) -> None:
        self._app = app
        self._workload = workload
        self._flows: list[str] = []

    async def do(self, request: dict[str, Any]) -> dict[str, Any]:
        count = request.get("flows", 0)
        match request["do"]:
            case "burst":
                seconds, self._flows = await burst(self._app, self._workload, count)
                return {"seconds": seconds}
            case "profile":
                with Profiler() as profiler:
                    seconds, self._flows = await burst(self._app, self._workload, count)
                return {"seconds": seconds, **profiler.found()}
            case "alone":
                return {"times_ms": await alone(self._app, self._workload, count)}
            case "calls":
                assert self._workload.define is not None
                [first, *_] = self._workload.define(os.environ[SERVICE_VARIABLE])
                return {"seconds": await calls(first, count * self._workload.calls)}
            case "look":
                commits, events = await look(self._app, self._flows[:: max(1, len(self._flows) // count)])
                return {"commits": commits, "events": events}
            case "cpu":
                return {"cpu_s": time.process_time()}
            case other:
                raise ValueError(f"a worker cannot {other}")


async def serve(role: Role, workload: Workload, url: str, namespace: str) -> None:
    """Answers requests until standard input ends, or its engine fails."""
    async with workload.app(url, namespace) as app:
        await register(app, workload, os.environ.get(SERVICE_VARIABLE, ""))
        worker = Worker(app, workload)
        if role is Role.CLIENT:
            await _answer(worker)
            return
        async with engine(app) as running:
            answering = asyncio.create_task(_answer(worker))
            await asyncio.wait([running, answering], return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                await answering
            answering.cancel()


async def _answer(worker: Worker) -> None:
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    print(json.dumps({"ready": True}), flush=True)
    async for line in lines:
        print(json.dumps(await worker.do(json.loads(line))), flush=True)


def main() -> None:
    role, name = sys.argv[1:]
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    url, namespace = os.environ["ARGYLL_REDIS_URL"], os.environ["ARGYLL_NAMESPACE"]
    asyncio.run(serve(Role(role), WORKLOADS[name], url, namespace))


if __name__ == "__main__":
    main()
