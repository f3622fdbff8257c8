"""What a worker does through the public API of an app, and measures while it does.

Every result is compared with what the workload says: a run with a wrong one has no figure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
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
from bench.workloads import Workload

CALLS_AT_A_TIME = 100
"""As many as the engine has slots."""
LOGS_AT_A_TIME = 50
"""Logs that are read at the same time."""
TOKEN_POLL_S = 0.02
"""Between two looks whether all items wait."""


class WrongResult(Exception):
    """A flow came to something else than its workload says; no figure of such a run counts."""


async def register(app: Argyll, workload: Workload, service_url: str) -> None:
    """Registers the steps of a workload that no function of the app is."""
    if workload.define is not None:
        await app.register_steps(workload.define(service_url))


# --------------------------------------------------------------------------- flows


async def burst(app: Argyll, workload: Workload, flows: int) -> tuple[float, list[str]]:
    """Starts flows at once and waits for all results; gives the seconds and the flows' ids."""
    requests = [workload.request() for _ in range(flows)]
    started_s = time.perf_counter()
    handles = _started(await app.start_many(requests))
    results = await asyncio.gather(*(handle.result() for handle in handles))
    seconds = time.perf_counter() - started_s
    for result in results:
        check(workload, result)
    return seconds, [handle.id for handle in handles]


async def alone(app: Argyll, workload: Workload, flows: int) -> list[float]:
    """Runs flows one at a time; gives the ms of each from its start to its result."""
    times_ms: list[float] = []
    for _ in range(flows):
        request = workload.request()
        started_s = time.perf_counter()
        result = await (await app.start(**request)).result()
        times_ms.append((time.perf_counter() - started_s) * 1000)
        check(workload, result)
    return times_ms


async def look(app: Argyll, flows: Sequence[str]) -> tuple[float, float]:
    """Reads the flows' logs; gives commits and events a flow. A commit is a transaction of the log."""
    logs = [await app.log(flow) for flow in flows]
    commits = sum(len({event.tx for event in log}) for log in logs)
    return commits / len(logs), sum(map(len, logs)) / len(logs)


class Supply:
    """Flows that are started one for each that ends, so that the same number is always on its way."""

    def __init__(self, app: Argyll, workload: Workload, flows: int) -> None:
        self.flows: list[str] = []
        self._app = app
        self._workload = workload
        self._is_over = False
        self._lines = [asyncio.create_task(self._go_on()) for _ in range(flows)]

    async def end(self) -> None:
        """Starts no more flows and waits for those on their way."""
        self._is_over = True
        await asyncio.gather(*self._lines)

    async def _go_on(self) -> None:
        while not self._is_over:
            flow = await self._app.start(**self._workload.request())
            self.flows.append(flow.id)
            check(self._workload, await flow.result())


async def lost(app: Argyll, flows: Sequence[str]) -> list[tuple[int, int]]:
    """When attempts that were lost had been started, and when their items were started again: unix ms by
    the server's clock."""
    found: list[tuple[int, int]] = []
    for begin in range(0, len(flows), LOGS_AT_A_TIME):
        logs = await asyncio.gather(*(app.events(flow) for flow in flows[begin : begin + LOGS_AT_A_TIME]))
        found += [pair for log in logs for pair in lost_in(log)]
    return found


def lost_in(log: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, int]]:
    """As `lost`, of one flow's events."""
    began: dict[str, int] = {}
    for event in log:
        if event["type"] == "work_started":
            token = event["data"]["token"]
            if event["data"]["reason"] == "lost":
                yield began[token], event["at"]
            began[token] = event["at"]


def _started(started: Sequence[FlowHandle | Exception]) -> list[FlowHandle]:
    for each in started:
        if isinstance(each, Exception):
            raise each
    return [each for each in started if isinstance(each, FlowHandle)]


def check(workload: Workload, result: dict[str, Any]) -> None:
    """Refuses a wrong result."""
    if result != workload.result:
        raise WrongResult(f"{workload.name} came to {result!s:.200}, not to {workload.result!s:.200}")


# ---------------------------------------------------------------- items and plans


async def item_times_ms(app: Argyll, flow: str) -> list[int]:
    """How long each item of a flow took from its release to its outcome, by the flow's log."""
    began: dict[str, int] = {}
    times_ms: list[int] = []
    for event in await app.events(flow):
        if event["type"] == "work_started":
            began[event["data"]["token"]] = event["at"]
        elif event["type"] == "work_succeeded":
            times_ms.append(event["at"] - began[event["data"]["token"]])
    return times_ms


async def waiting_tokens(app: Argyll, flow: str, count: int) -> list[str]:
    """Waits until so many items of a flow wait for an outcome from outside; gives their tokens."""
    tokens: dict[str, None] = {}
    version = 0
    while len(tokens) < count:
        for event in await app.events(flow, after=version):
            version += 1
            if event["type"] == "work_accepted":
                tokens[event["data"]["token"]] = None
        await asyncio.sleep(TOKEN_POLL_S)
    return list(tokens)


async def complete(
    app: Argyll, flow: str, step: str, tokens: Sequence[str], output: str
) -> tuple[float, list[float]]:
    """Completes items from outside, all of them at once; gives the seconds, and the ms that each answer
    took."""

    async def complete_one(token: str) -> float:
        started_s = time.perf_counter()
        if not await app.complete(flow, step, token, {output: 1}):
            raise WrongResult(f"the completion of {token} did not count")
        return (time.perf_counter() - started_s) * 1000

    began_s = time.perf_counter()
    times_ms = await asyncio.gather(*map(complete_one, tokens))
    return time.perf_counter() - began_s, times_ms


async def plan(app: Argyll, workload: Workload, times: int) -> list[float]:
    """Asks for the plan of a flow without starting one; gives the ms of each answer."""
    times_ms: list[float] = []
    for _ in range(times):
        started_s = time.perf_counter()
        found = await app.plan([workload.goal], {"x": 1})
        times_ms.append((time.perf_counter() - started_s) * 1000)
        if len(found.steps) != workload.steps:
            raise WrongResult(f"the plan has {len(found.steps)} steps, not {workload.steps}")
    return times_ms


# --------------------------------------------------------------------------- calls


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


# ---------------------------------------------------------------------------- engine


@asynccontextmanager
async def engine(app: Argyll, *, concurrency: int = 100) -> AsyncIterator[asyncio.Task[None]]:
    """Makes this process an engine, ready when it is entered."""
    ready, ended = asyncio.Event(), asyncio.Event()

    async def until_ended() -> None:
        await ended.wait()

    task = asyncio.create_task(
        app.run(concurrency=concurrency, until=until_ended, on_ready=lambda *_: ready.set())
    )
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield task
    finally:
        waiting.cancel()
        ended.set()
        await task
