"""Nodes and engines for tests of the runtime: on any store, with steps that are plain functions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from argyll_redis.core.catalog import register
from argyll_redis.core.commands import Outcome, Start, Succeeded
from argyll_redis.core.model import JSON, Plan, RetryDefaults, StepType
from argyll_redis.core.plan import make_plan
from argyll_redis.core.state import Flow
from argyll_redis.runtime.clock import new_seed
from argyll_redis.runtime.engine import Engine
from argyll_redis.runtime.engine_config import EngineConfig
from argyll_redis.runtime.node import Node
from argyll_redis.steps.job import Job
from argyll_redis.store.protocol import Store

Handler = Callable[[Job], Awaitable[Outcome]]


def step(id: str, needs: Sequence[str] = (), gives: Sequence[str] = (), **options: Any) -> dict[str, JSON]:
    """A python step that needs and gives attributes; `for_each` names those that make items."""
    each = options.pop("for_each", ())
    attributes: dict[str, JSON] = {name: {"role": "required"} for name in needs}
    attributes |= {name: {"role": "required", "required": {"for_each": True}} for name in each}
    attributes |= {name: {"role": "output"} for name in gives}
    python = {"handler": id, "queue": options.pop("queue", "default")}
    return {"id": id, "type": "python", "python": python, "attributes": attributes, **options}


def chain(length: int) -> list[dict[str, JSON]]:
    """Steps one after the other: `s0` needs `a0` and gives `a1`, and so on."""
    return [step(f"s{i}", [f"a{i}"], [f"a{i + 1}"]) for i in range(length)]


def fan_out(parallelism: int) -> list[dict[str, JSON]]:
    """One step gives parts, one works on each, one joins."""
    return [
        step("split", ["count"], ["parts"]),
        step("each", (), ["made"], for_each=["parts"], work_config={"parallelism": parallelism}),
        step("join", ["made"], ["total"]),
    ]


def wide(width: int) -> list[dict[str, JSON]]:
    """Independent steps and a join."""
    names = [f"w{i}" for i in range(width)]
    return [
        *(step(name, ["a0"], [f"{name}_out"]) for name in names),
        step("join", [f"{n}_out" for n in names], ["end"]),
    ]


async def echo(job: Job) -> Outcome:
    """Gives a number, or as many parts as `count` says, for every output."""
    count = job.inputs.get("count")
    value: JSON = list(range(count)) if isinstance(count, int) else 1
    return Succeeded({output.inner: value for output in job.step.outputs})


class CountedStore:
    """A store whose calls are counted."""

    def __init__(self, store: Any, calls: Counter[str]) -> None:
        self._store = store
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        self._calls[name] += 1
        return getattr(self._store, name)


class Fleet:
    """A client and engines on one namespace."""

    def __init__(self, make_store: Callable[[], Store]) -> None:
        self._make_store = make_store
        self._stop = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []
        self.client = Node(make_store(), "client")
        self.nodes: list[Node] = []
        self.engines: list[Engine] = []

    async def open(self, steps: Sequence[Mapping[str, JSON]]) -> None:
        await self.client.open()
        await self.client.catalog.change("start:client", lambda catalog: register(catalog, list(steps)))
        await self.client.store.add_queues(["builtin", "default"])

    async def add_engine(self, handler: Handler = echo, *, node: Node | None = None, **config: Any) -> Engine:
        """Starts an engine, on a node of its own unless one is given; back when it reads."""
        name = f"e{len(self.engines)}"
        if node is None:
            node = Node(self._make_store(), name)
            await node.open()
            self.nodes.append(node)
        ready: asyncio.Future[Engine] = asyncio.get_running_loop().create_future()
        settings = EngineConfig(id=name, queues=("builtin", "default"), **config)
        running = node.run_engine(
            settings,
            {StepType.PYTHON: handler},
            can_do=lambda _: True,
            until=self._stop.wait,
            on_ready=lambda engine, _: ready.set_result(engine),
        )
        self._running.append(asyncio.create_task(running))
        self.engines.append(await ready)
        return self.engines[-1]

    async def plan(self, goals: Sequence[str], init: Mapping[str, list[JSON]]) -> Plan:
        return make_plan(await self.client.catalog.refresh(), goals, init, RetryDefaults())

    async def start(
        self, flow_ids: Sequence[str], goals: Sequence[str], init: Mapping[str, list[JSON]]
    ) -> None:
        """Starts flows of one plan, all at once, from the client."""
        plan = await self.plan(goals, init)
        hash = self.client.logs.plans.add(plan)
        starts = [Start("start:client", plan, hash, new_seed(), init) for _ in flow_ids]
        await asyncio.gather(
            *(self.client.committer.ask(id, start) for id, start in zip(flow_ids, starts, strict=True))
        )

    async def finished(self, flow_id: str) -> Flow:
        """Waits until a flow is deactivated; gives its state."""
        async with self.client.follower.follow(flow_id) as following:
            while not (flow := await self.client.load(flow_id)).is_deactivated:
                await following.wait()
        return flow

    async def close(self) -> None:
        self._stop.set()
        results = await asyncio.gather(*self._running, return_exceptions=True)
        for node in [*self.nodes, self.client]:
            await node.close()
        for result in results:
            if isinstance(result, BaseException):
                raise result


@asynccontextmanager
async def fleet(make_store: Callable[[], Store], steps: Sequence[Mapping[str, JSON]]) -> AsyncIterator[Fleet]:
    """A client and room for engines; everything is drained and closed at the end."""
    made = Fleet(make_store)
    await made.open(steps)
    try:
        yield made
    finally:
        await made.close()
