"""docket: this module is the client, and with `worker` the worker.

The worker is not started by docket's own command, as that knows no interval below a second.

Flows are chained by hand, as its page of patterns shows: a step adds the next one. Keys are a step's own,
so that the same one is not there twice, and the client finds the result of the last; the last of several
items that wait for each other adds the join.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from typing import Any
from uuid import uuid4

from docket import CurrentDocket, Docket, TaskCall, Worker
from docket.execution import ExecutionState

from bench.peers.programs.protocol import FIRST, Shape, serve

NAME = "bench"
CONCURRENCY = 50
CHECK_INTERVAL = timedelta(milliseconds=20)
"""How long a worker rests when it has all that it can hold. With its own 100 ms it would mostly rest."""
LOOK_ALONE_S = 0.002
LOOK_S = 0.05
"""Between two looks for the result of one of many flows."""
HANDS = 10
"""Results that the client looks for at a time. Each has a connection of its own."""


async def link(flow: str, left: int, x: int, docket: Docket = CurrentDocket()) -> int:  # noqa: B008
    if left > 1:
        await docket.add(link, key=f"{flow}:{left - 1}")(flow, left - 1, x)
    return x


async def give(flow: str, count: int, x: int, docket: Docket = CurrentDocket()) -> list[int]:  # noqa: B008
    items = [x] * count
    await docket.add_many(
        docket.call(part, key=f"{flow}:part-{number}")(flow, number, count, item)
        for number, item in enumerate(items)
    )
    return items


async def part(flow: str, number: int, count: int, x: int, docket: Docket = CurrentDocket()) -> int:  # noqa: B008
    async with docket.redis() as redis:
        await redis.hset(docket.key(f"parts:{flow}"), str(number), str(x))
        there = await redis.hlen(docket.key(f"parts:{flow}"))
    if there == count:
        await docket.add(join, key=f"{flow}:1")(flow)
    return x


async def join(flow: str, docket: Docket = CurrentDocket()) -> int:  # noqa: B008
    async with docket.redis() as redis:
        return sum(map(int, await redis.hvals(docket.key(f"parts:{flow}"))))


tasks = [link, give, part, join]


def calls(docket: Docket, shape: Shape, flow: str) -> list[TaskCall]:
    """The tasks that a flow starts with."""
    match shape.kind:
        case "chain":
            return [docket.call(link, key=f"{flow}:{shape.count}")(flow, shape.count, FIRST)]
        case "items":
            return [docket.call(give, key=f"{flow}:give")(flow, shape.count, FIRST)]
        case _:
            return [
                docket.call(part, key=f"{flow}:part-{number}")(flow, number, shape.count, FIRST)
                for number in range(shape.count)
            ]


async def run(docket: Docket, shape: Shape, flows: int) -> list[Any]:
    names = [uuid4().hex for _ in range(flows)]
    await docket.add_many(call for name in names for call in calls(docket, shape, name))
    last = iter([f"{name}:1" for name in names])
    found: list[Any] = []

    async def look() -> None:
        for key in last:
            while True:
                execution = await docket.get_execution(key)
                if execution and execution.state is ExecutionState.COMPLETED:
                    break
                await asyncio.sleep(LOOK_ALONE_S if flows == 1 else LOOK_S)
            found.append(await execution.get_result())

    await asyncio.gather(*(look() for _ in range(min(flows, HANDS))))
    return found


async def work() -> None:
    async with Docket(NAME, os.environ["BENCH_PEER_URL"]) as docket:
        for task in tasks:
            docket.register(task)
        async with Worker(docket, concurrency=CONCURRENCY, minimum_check_interval=CHECK_INTERVAL) as worker:
            running = asyncio.ensure_future(worker.run_forever())
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
            await asyncio.wait([running])


def main() -> None:
    if sys.argv[1:] == ["worker"]:
        asyncio.run(work())
        return
    shape = Shape.from_arguments(sys.argv[1:])
    docket = Docket(NAME, os.environ["BENCH_PEER_URL"])
    with asyncio.Runner() as runner:
        runner.run(docket.__aenter__())
        for task in tasks:
            docket.register(task)
        serve(shape, lambda flows: runner.run(run(docket, shape, flows)))


if __name__ == "__main__":
    main()
