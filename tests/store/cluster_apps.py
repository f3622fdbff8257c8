"""Apps on a Redis Cluster for tests: flows of several shapes, and what they must come to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from argyll_redis import (
    AppConfig,
    Argyll,
    FlowFailed,
    FlowHandle,
    NotCompleted,
    Retry,
    StepContext,
    StoreUnavailable,
)
from argyll_redis.store.cluster import ClusterStore
from argyll_redis.store.cluster_link import ClusterConnector
from argyll_redis.store.copies import Copies
from tests.api.api_apps import Apps

LEASE_MS = 2_000
SHAPES: tuple[tuple[str, str], ...] = (
    ("last", "c"), ("total", "total"), ("again", "done"), ("pay", ""), ("late", "guess"), ("parent", "made"),
)  # fmt: skip
"""Goals and what each gives; the one that gives nothing fails, and what it rests on is undone."""


class Journal:
    """What the steps of a test did."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, int]] = Counter()
        """By token and attempt."""
        self.undone = 0


def declare(app: Argyll, journal: Journal) -> None:
    """Declares steps of all shapes: a chain, items, retries, an undo, a deadline, a sub-flow."""

    def called(ctx: StepContext) -> None:
        journal.calls[ctx.token, ctx.attempt] += 1

    @app.step(outputs="b")
    async def first(n: int, ctx: StepContext) -> int:
        called(ctx)
        return n + 1

    @app.step(outputs="c")
    async def last(b: int, ctx: StepContext) -> int:
        called(ctx)
        return b + 1

    @app.step(outputs="parts")
    async def split(n: int) -> list[int]:
        return list(range(n % 5 + 2))

    @app.step(outputs="square", for_each="parts", parallelism=4)
    async def square(parts: int, ctx: StepContext) -> int:
        called(ctx)
        return parts**2

    @app.step(outputs="total")
    async def total(square: list[Any]) -> int:
        return sum(row["square"] for row in square)

    @app.step(outputs="done", retry=Retry(max_attempts=5, initial_ms=5, backoff="fixed"))
    async def again(n: int, ctx: StepContext) -> int:
        called(ctx)
        if ctx.attempt < 3:
            raise NotCompleted("not yet")
        return n

    async def unbook(inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        journal.undone += 1

    @app.step(outputs="booked", undo=unbook)
    async def book(n: int) -> int:
        return n

    @app.step(outputs="paid", permanent=(ValueError,))
    async def pay(booked: int) -> int:
        raise ValueError("no money")

    @app.step(outputs="made_up", retry=Retry(max_attempts=1))
    async def slow(n: int, ctx: StepContext) -> int:
        while not ctx.cancelled:  # as it is once its flow is over
            await asyncio.sleep(0.02)
        return n


UNDONE = {"compensate": "flow"}
LATE = {
    "id": "late", "type": "script", "script": {"language": "lua", "script": "return {guess = made_up or 0}"},
    "attributes": {
        "n": {"role": "required"}, "made_up": {"role": "optional", "optional": {"deadline": 30}},
        "guess": {"role": "output"},
    },
}  # fmt: skip
PARENT = {
    "id": "parent", "type": "flow", "flow": {"goals": ["last"]},
    "attributes": {
        "n": {"role": "required"}, "made": {"role": "output", "output": {"mapping": {"name": "c"}}},
    },
}  # fmt: skip


def expected(goal: str, n: int) -> Any:
    """What a flow must give."""
    return {"last": n + 2, "parent": n + 2, "again": n, "late": 0}.get(
        goal, sum(part**2 for part in range(n % 5 + 2))
    )


@asynccontextmanager
async def apps_on(
    url: str,
    namespace: str,
    *,
    partitions: int,
    copies: Copies | None = None,
    kind: type[ClusterStore] = ClusterStore,
) -> AsyncIterator[Apps]:
    """Makes apps in a new namespace with so many partitions, each with a store of this kind."""
    connector = ClusterConnector(url)

    def make_store() -> ClusterStore:
        return kind("", namespace, partitions=partitions, connector=connector, copies=copies)

    apps = Apps(make_store)
    try:
        yield apps
    finally:
        await apps.close()


async def engines_of(apps: Apps, journal: Journal, *, count: int = 2, concurrency: int = 100) -> Argyll:
    """Starts engines that know all steps; gives one of their apps."""
    made: list[Argyll] = []
    for _ in range(count):
        app = apps(config=AppConfig(lease_ms=LEASE_MS))
        declare(app, journal)
        made.append(app)
        await apps.run(app, concurrency=concurrency)
    await made[0].register_steps([LATE])
    await made[0].register_steps([PARENT])
    return made[0]


async def start(app: Argyll, numbers: Sequence[int], *, tries: int = 1) -> list[tuple[str, int, FlowHandle]]:
    """Starts a flow of the next shape for each number; gives goal, number and flow. A node that is away is
    tried again, as a caller does: the ids make it safe."""
    asked = [(SHAPES[n % len(SHAPES)][0], n) for n in numbers]
    requests = [
        {"id": f"f{n}", "goals": [goal], "init": {"n": n}, **(UNDONE if goal == "pay" else {})}
        for goal, n in asked
    ]
    while True:
        try:
            found = await app.start_many(requests)
            break
        except StoreUnavailable:
            tries -= 1
            if not tries:
                raise
            await asyncio.sleep(0.05)
    flows: list[tuple[str, int, FlowHandle]] = []
    for (goal, n), flow in zip(asked, found, strict=True):
        assert isinstance(flow, FlowHandle), flow
        flows.append((goal, n, flow))
    return flows


async def check(app: Argyll, flows: Sequence[tuple[str, int, FlowHandle]], *, limit_ms: int = 30_000) -> None:
    """Waits until all flows have ended, as they must, and nothing is left."""
    given = dict(SHAPES)
    for goal, n, flow in flows:
        try:
            result = await flow.result(timeout_ms=limit_ms)
        except FlowFailed:
            assert not given[goal], (goal, n)
        else:
            assert (goal, result) == (goal, {given[goal]: expected(goal, n)})
    async with asyncio.timeout(limit_ms / 1000):
        while await is_busy(app):
            await asyncio.sleep(0.02)
    assert (await app.audit(is_drained=True))["violations"] == []


async def is_busy(app: Argyll) -> bool:
    """Whether anything is left to do."""
    node = await app.node()
    stats = await node.store.queue_stats()
    (open_flows,) = await node.store.sizes(["open"])
    return bool(open_flows or any(row.depth + row.in_flight + row.due for row in stats))
