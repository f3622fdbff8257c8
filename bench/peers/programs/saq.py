"""SAQ: the worker is `saq bench.peers.programs.saq.settings`, the client this module.

It has no flows of several steps, so they are chained by hand, as its users do: a step enqueues the next
one under a key of its own, so that the same one is not there twice when a step runs twice, and the last
of several items that wait for each other enqueues the join.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis
from saq.queue.redis import RedisQueue
from saq.types import Context

from bench.peers.programs.protocol import FIRST, Shape, serve

RETRIES = 3
"""Attempts of a job: with SAQ's own 1, one that was running when its worker died is not run again."""
LOOK_ALONE_S = 0.002
LOOK_S = 0.05
"""Between two looks at the results of many flows."""

logging.getLogger("saq").setLevel(logging.ERROR)  # it warns when it ends while it waits for work
queue = RedisQueue(Redis.from_url(os.environ["BENCH_PEER_URL"]))


async def enqueue(function: str, flow: str, name: object, **arguments: Any) -> None:
    await queue.enqueue(function, key=f"{flow}:{name}", retries=RETRIES, flow=flow, **arguments)


async def link(ctx: Context, *, flow: str, left: int, x: int) -> int:
    if left > 1:
        await enqueue("link", flow, left - 1, left=left - 1, x=x)
    return x


async def give(ctx: Context, *, flow: str, count: int, x: int) -> list[int]:
    items = [x] * count
    await asyncio.gather(
        *(enqueue("part", flow, f"part-{number}", number=number, count=count, x=item)
          for number, item in enumerate(items))
    )  # fmt: skip
    return items


async def part(ctx: Context, *, flow: str, number: int, count: int, x: int) -> int:
    async with queue.redis.pipeline(transaction=True) as pipe:
        pipe.hset(f"parts:{flow}", str(number), str(x))
        pipe.hlen(f"parts:{flow}")
        _, there = await pipe.execute()
    if there == count:
        await enqueue("join", flow, 1)
    return x


async def join(ctx: Context, *, flow: str) -> int:
    return sum(map(int, await queue.redis.hvals(f"parts:{flow}")))


settings = {"queue": queue, "functions": [link, give, part, join]}
"""With SAQ's own concurrency: 10."""


async def start(shape: Shape) -> str:
    """Starts a flow; gives the key of its last job."""
    flow = uuid4().hex
    match shape.kind:
        case "chain":
            await enqueue("link", flow, shape.count, left=shape.count, x=FIRST)
        case "items":
            await enqueue("give", flow, "give", count=shape.count, x=FIRST)
        case _:
            for number in range(shape.count):
                await enqueue("part", flow, f"part-{number}", number=number, count=shape.count, x=FIRST)
    return f"{flow}:1"


async def run(shape: Shape, flows: int) -> list[Any]:
    missing = list(await asyncio.gather(*(start(shape) for _ in range(flows))))
    results: list[Any] = []
    while missing:
        await asyncio.sleep(LOOK_ALONE_S if flows == 1 else LOOK_S)
        found = {job.key: job.result for job in await queue.jobs(missing) if job and job.completed}
        results += found.values()
        missing = [key for key in missing if key not in found]
    return results


def main() -> None:
    shape = Shape.from_arguments(sys.argv[1:])
    with asyncio.Runner() as runner:
        runner.run(queue.connect())
        serve(shape, lambda flows: runner.run(run(shape, flows)))


if __name__ == "__main__":
    main()
