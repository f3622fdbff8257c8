"""Apps of one namespace, on every store there is, and engines that run inside them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from api_apps import Apps
from servers import StoreFactory

from argyll_redis.runtime import follower, intake, keeper
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes engines look around more often than once a second, and blocked reads short: fakeredis
    swallows some cancellations, and the read goes on."""
    monkeypatch.setattr(intake, "BLOCK_MS", 200)
    monkeypatch.setattr(follower, "BLOCK_MS", 200)
    monkeypatch.setattr(keeper, "KEEP_MS", 100)


@pytest.fixture
async def memory() -> AsyncIterator[Apps]:
    """Makes apps in memory only, for what does not depend on the store."""
    server = MemoryServer()
    made = Apps(lambda: MemoryStore(server=server))
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def apps(store_factory: StoreFactory) -> AsyncIterator[Apps]:
    """Makes apps of a namespace of the test's own; engines are drained and apps closed at the end."""
    made = Apps(store_factory)
    try:
        yield made
    finally:
        await made.close()
