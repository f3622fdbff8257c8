"""taskiq: the worker is `taskiq worker bench.peers.programs.taskiq:broker`, the client this module.

Flows are chained by hand: a step sends the next one, under an id of its own, by which the client finds
the result of the last; the last of several items that wait for each other sends the join.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis
from taskiq.task import AsyncTaskiqTask
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from bench.peers.programs.protocol import FIRST, Shape, serve

URL = os.environ["BENCH_PEER_URL"]
KEEP_RESULTS_S = 3_600
LOOK_ALONE_S = 0.002
LOOK_S = 0.05
"""Between two looks for the result of one of many flows."""
HANDS = 10
"""Flows that the client starts, or looks for the results of, at a time. Each has a connection of its own."""

results: RedisAsyncResultBackend[Any] = RedisAsyncResultBackend(URL, result_ex_time=KEEP_RESULTS_S)
broker = RedisStreamBroker(URL).with_result_backend(results)
redis = Redis.from_url(URL, decode_responses=True)


@broker.task(task_name="link")
async def link(flow: str, left: int, x: int) -> int:
    if left > 1:
        await link.kicker().with_task_id(f"{flow}:{left - 1}").kiq(flow, left - 1, x)
    return x


@broker.task(task_name="give")
async def give(flow: str, count: int, x: int) -> list[int]:
    items = [x] * count
    for number, item in enumerate(items):  # all at once would be a connection each
        await part.kiq(flow, number, count, item)
    return items


@broker.task(task_name="part")
async def part(flow: str, number: int, count: int, x: int) -> int:
    async with redis.pipeline(transaction=True) as pipe:
        pipe.hset(f"parts:{flow}", str(number), str(x))
        pipe.hlen(f"parts:{flow}")
        _, there = await pipe.execute()
    if there == count:
        await join.kicker().with_task_id(f"{flow}:1").kiq(flow)
    return x


@broker.task(task_name="join")
async def join(flow: str) -> int:
    return sum(map(int, await redis.hvals(f"parts:{flow}")))


async def start(shape: Shape) -> str:
    """Starts a flow; gives the id of its last task."""
    flow = uuid4().hex
    match shape.kind:
        case "chain":
            await link.kicker().with_task_id(f"{flow}:{shape.count}").kiq(flow, shape.count, FIRST)
        case "items":
            await give.kiq(flow, shape.count, FIRST)
        case _:
            for number in range(shape.count):
                await part.kiq(flow, number, shape.count, FIRST)
    return f"{flow}:1"


async def run(shape: Shape, flows: int) -> list[Any]:
    left = iter(range(flows))
    last: list[str] = []
    found: list[Any] = []

    async def start_some() -> None:
        for _ in left:
            last.append(await start(shape))  # noqa: PERF401 - several of these append at the same time

    async def look(task_ids: Iterator[str]) -> None:
        for task_id in task_ids:
            task: AsyncTaskiqTask[int] = AsyncTaskiqTask(task_id, results)
            result = await task.wait_result(check_interval=LOOK_ALONE_S if flows == 1 else LOOK_S)
            found.append(result.return_value)

    await asyncio.gather(*(start_some() for _ in range(min(flows, HANDS))))
    task_ids = iter(last)
    await asyncio.gather(*(look(task_ids) for _ in range(min(flows, HANDS))))
    return found


def main() -> None:
    shape = Shape.from_arguments(sys.argv[1:])
    with asyncio.Runner() as runner:
        runner.run(broker.startup())
        serve(shape, lambda flows: runner.run(run(shape, flows)))


if __name__ == "__main__":
    main()
