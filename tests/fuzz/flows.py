"""Real flows to be hurt: one of every kind, run in memory, and where they are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from argyll_redis import ACCEPTED, AppConfig, Argyll, Failed, NotCompleted, Retry, StepContext
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import Store
from tests.fuzz.samples import STEPS

QUICK = Retry(max_retries=3, backoff="fixed", initial_ms=1)
WITH_HTTP = AppConfig(lease_ms=200, webhook_base_url="http://127.0.0.1:8080")


def in_memory(server: MemoryServer) -> Callable[[], Store]:
    """Makes stores of a server in memory."""
    return lambda: MemoryStore(server=server)


def app_on(make_store: Callable[[], Store]) -> Argyll:
    """An app with steps of every kind."""
    app = Argyll(config=WITH_HTTP, make_store=make_store)

    def unmake(inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        pass

    @app.step(outputs="n1")
    async def first(n: int) -> int:
        return n + 1

    @app.step(outputs="n2", retry=QUICK)
    async def second(n1: int, ctx: StepContext) -> int:
        if ctx.attempt == 1:
            raise NotCompleted("once more")
        return n1 + 1

    @app.step(outputs="parts")
    async def split(n: int) -> list[int]:
        return list(range(n))

    @app.step(outputs="made_of", for_each="parts", parallelism=2, undo=unmake, retry=Retry(max_attempts=1))
    async def make(parts: int) -> int:
        if parts == 3:
            raise Failed("three is too many")
        return parts

    @app.step(outputs="approved")
    async def approve(n: int) -> Any:
        return ACCEPTED

    @app.step(outputs="after")
    async def afterwards(approved: bool) -> bool:
        return approved

    return app


SUB = {
    "id": "nested",
    "type": "flow",
    "flow": {"goals": ["second"]},
    "attributes": {
        "m": {"role": "required", "required": {"mapping": {"name": "n"}}},
        "k": {"role": "output", "output": {"mapping": {"name": "n2"}}},
    },
}

STARTS: tuple[dict[str, Any], ...] = (
    {"id": "chain", "goals": ["second"], "init": {"n": 1}, "labels": {"team": "a"}, "metadata": {"x": 1}},
    {"id": "fan-out", "goals": ["make"], "init": {"n": 3}},
    {"id": "undone", "goals": ["make"], "init": {"n": 5}},
    {"id": "waits", "goals": ["afterwards"], "init": {"n": 1}},
    {"id": "waits-too", "goals": ["afterwards"], "init": {"n": 2}},
    {"id": "parent", "goals": ["nested"], "init": {"m": 1}},
    {"id": "script", "goals": ["triple"], "init": {"a": 2}, "timeout_ms": 60_000},
    {"id": "stands", "goals": ["get"], "init": {"a": 1}},
)
"""`waits` and the like are active for ever; `stands` asks a service that is nowhere."""

WAITING = ("waits", "waits-too", "stands")


async def filled(make_store: Callable[[], Store]) -> None:
    """Runs all flows, as far as they go."""
    app = app_on(make_store)
    await app.register_steps([*STEPS, SUB])
    stop = asyncio.Event()
    running = asyncio.create_task(app.run(until=stop.wait))
    try:
        async with asyncio.timeout(30):
            for started in await app.start_many(STARTS):
                if isinstance(started, Exception):
                    raise started
            for request in STARTS:
                wanted = "work_accepted" if request["id"].startswith("waits") else "flow_deactivated"
                if request["id"] == "stands":
                    continue
                async for event in app.flow(request["id"]).events():
                    if event["type"] == wanted:
                        break
    finally:
        stop.set()
        with suppress(TimeoutError):
            await running
        await app.close()
