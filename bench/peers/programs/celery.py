"""Celery: the worker is `celery -A bench.peers.programs.celery worker`, the client this module.

Flows are canvases: a chain, a chord of parts and a join, and a step that replaces itself by such a chord
once it knows the items.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from celery import Celery, Task, chain, chord, group

from bench.peers.programs.protocol import FIRST, Shape, serve

URL = os.environ["BENCH_PEER_URL"].replace("unix://", "redis+socket://", 1)

app = Celery("bench", broker=URL, backend=URL)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=128,
    broker_connection_retry_on_startup=True,
)


@app.task(name="step")
def step(x: int) -> int:
    return x


@app.task(name="join")
def join(values: list[int]) -> int:
    return sum(values)


@app.task(name="give", bind=True)
def give(self: Task, x: int, count: int) -> Any:
    items = [x] * count
    return self.replace(chord(group(step.s(item) for item in items), join.s()))


def flow(shape: Shape) -> Any:
    """One flow, not started yet."""
    match shape.kind:
        case "chain":
            return chain(step.s(FIRST), *(step.s() for _ in range(shape.count - 1)))
        case "items":
            return give.s(FIRST, shape.count)
        case _:
            return chord(group(step.s(FIRST) for _ in range(shape.count)), join.s())


def run(shape: Shape, flows: int) -> list[Any]:
    started = [flow(shape).apply_async() for _ in range(flows)]
    return [result.get() for result in started]


def main() -> None:
    shape = Shape.from_arguments(sys.argv[1:])
    serve(shape, lambda flows: run(shape, flows))


if __name__ == "__main__":
    main()
