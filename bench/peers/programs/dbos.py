"""DBOS: a library, so one process is worker and client. Flows are workflows of steps.

Chains are plain functions, which is what its guide shows first, and faster than coroutines. Steps that do
not depend on each other are coroutines, run at the same time by `asyncio.gather`: that is twice as fast
as a child workflow for each on a queue.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from dbos import DBOS

from bench.peers.programs.protocol import FIRST, Shape, serve


@DBOS.step()
def link(x: int) -> int:
    return x


@DBOS.workflow()
def chain(x: int, count: int) -> int:
    for _ in range(count):
        x = link(x)
    return x


@DBOS.step()
async def part(x: int) -> int:
    return x


@DBOS.step()
async def give(x: int, count: int) -> list[int]:
    return [x] * count


@DBOS.step()
async def join(values: list[int]) -> int:
    return sum(values)


@DBOS.workflow()
async def items(x: int, count: int) -> int:
    given = await give(x, count)
    return await join(await asyncio.gather(*(part(item) for item in given)))


@DBOS.workflow()
async def parts(x: int, count: int) -> int:
    return await join(await asyncio.gather(*(part(x) for _ in range(count))))


def run_chains(shape: Shape, flows: int) -> list[Any]:
    started = [DBOS.start_workflow(chain, FIRST, shape.count) for _ in range(flows)]
    return [handle.get_result() for handle in started]


async def run(shape: Shape, flows: int) -> list[Any]:
    workflow = items if shape.kind == "items" else parts
    started = await asyncio.gather(
        *(DBOS.start_workflow_async(workflow, FIRST, shape.count) for _ in range(flows))
    )
    return await asyncio.gather(*(handle.get_result() for handle in started))


def main() -> None:
    shape = Shape.from_arguments(sys.argv[1:])
    DBOS(config={"name": "bench", "system_database_url": os.environ["BENCH_PEER_URL"], "log_level": "ERROR"})
    DBOS.launch()
    with asyncio.Runner() as runner:
        if shape.kind == "chain":
            serve(shape, lambda flows: run_chains(shape, flows))
        else:
            serve(shape, lambda flows: runner.run(run(shape, flows)))
    DBOS.destroy()


if __name__ == "__main__":
    main()
