"""Apps as a user has them, several in one namespace, and the facts that tests wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from argyll_redis import AppConfig, Argyll, FlowHandle
from argyll_redis.core.model import JSON
from argyll_redis.runtime.engine import Engine
from argyll_redis.store.protocol import Store


class Running:
    """An app that is an engine."""

    def __init__(self, app: Argyll, **options: Any) -> None:
        self._stop = asyncio.Event()
        self._ready: asyncio.Future[Engine] = asyncio.get_running_loop().create_future()
        run = app.run(until=self._stop.wait, on_ready=self._began, **options)
        self.task = asyncio.create_task(run)

    def _began(self, engine: Engine, *_: object) -> None:
        self._ready.set_result(engine)

    async def engine(self) -> Engine:
        """The engine, once it is ready; what `run` raises when it never is."""
        await asyncio.wait([self._ready, self.task], return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            await self.task
        return self._ready.result()

    def stop(self) -> None:
        self._stop.set()

    async def drain(self) -> None:
        """Stops it and waits until `run` has returned."""
        self.stop()
        await self.task

    async def kill(self) -> None:
        """Stops it at once."""
        self.task.cancel()
        await asyncio.wait([self.task])


class Apps:
    """Makes apps of one namespace."""

    def __init__(self, make_store: Callable[[], Store]) -> None:
        self._make_store = make_store
        self._made: list[Argyll] = []
        self._running: list[Running] = []

    def __call__(self, *, lease_ms: int = 10_000, config: AppConfig | None = None, **options: Any) -> Argyll:
        """Makes an app that connects to the namespace of this test."""
        config = config or AppConfig(lease_ms=lease_ms)
        app = Argyll(config=config, make_store=self._make_store, **options)
        self._made.append(app)
        return app

    async def run(self, app: Argyll, **options: Any) -> Running:
        """Makes an app an engine; back when it is one."""
        running = Running(app, **options)
        self._running.append(running)
        await running.engine()
        return running

    async def run_known(self, app: Argyll, **options: Any) -> Running:
        """Makes an app an engine; back when everybody is told of it."""
        running = await self.run(app, **options)
        engine = await running.engine()
        while all(each.id != engine.config.id for each in await app.engines()):
            await asyncio.sleep(0.001)
        return running

    async def close(self) -> None:
        for running in self._running:
            running.stop()
        ends = await asyncio.gather(*(running.task for running in self._running), return_exceptions=True)
        for app in self._made:
            await app.close()
        for end in ends:
            if isinstance(end, Exception):
                raise end


async def until(fact: Callable[[], bool]) -> None:
    """Waits for a fact that nobody tells of."""
    while not fact():
        await asyncio.sleep(0.001)


async def event(flow: FlowHandle, type: str, **data: JSON) -> dict[str, JSON]:
    """Waits for an event of a flow with this data among its own."""
    async for each in flow.events():
        if each["type"] == type and data.items() <= each["data"].items():
            return each
    raise AssertionError(f"flow {flow.id} ended without {type} {data}")


async def deactivated(flow: FlowHandle) -> dict[str, JSON]:
    """Waits until the log of a flow is closed; gives its state."""
    await event(flow, "flow_deactivated")
    return await flow.state()


async def types_of(flow: FlowHandle) -> list[str]:
    """The types of all events so far."""
    return [each["type"] async for each in flow.events(follow=False)]


async def version_of(flow: FlowHandle) -> int:
    return len(await types_of(flow))


async def token_of(flow: FlowHandle, step: str) -> str:
    """The token of the step's first work item, once it is accepted."""
    accepted = await event(flow, "work_accepted", step=step)
    return accepted["data"]["token"]


async def items_of(flow: FlowHandle, step: str) -> list[dict[str, JSON]]:
    """The work items of a step, in item order."""
    state = await flow.state()
    return list(state["executions"][step]["work_items"].values())


def deep(levels: int) -> list[Any]:
    """Lists within lists."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value
