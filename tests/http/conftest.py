"""Apps behind their API, on every store there is or in memory only."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from http_words import DOUBLE, TRIPLE, api_of, client_of
from servers import StoreFactory

from argyll_redis import Argyll
from argyll_redis.http.api import Api
from argyll_redis.runtime import catalogs, follower, intake, keeper
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from tests.api.api_apps import Apps


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes engines and followers look around more often."""
    monkeypatch.setattr(intake, "BLOCK_MS", 200)
    monkeypatch.setattr(follower, "BLOCK_MS", 200)
    monkeypatch.setattr(keeper, "KEEP_MS", 100)
    monkeypatch.setattr(catalogs, "LOOK_MS", 20)


@pytest.fixture
async def apps(store_factory: StoreFactory) -> AsyncIterator[Apps]:
    """Makes apps of a namespace of the test's own, on every store."""
    made = Apps(store_factory)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def memory() -> AsyncIterator[Apps]:
    """Makes apps in memory, for what does not depend on the store."""
    server = MemoryServer(partitions=2)
    made = Apps(lambda: MemoryStore(server=server))
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def app(memory: Apps) -> Argyll:
    """An app in memory with two script steps."""
    made = memory()
    await made.register_steps([DOUBLE, TRIPLE])
    return made


@pytest.fixture
def api(app: Argyll) -> Api:
    return api_of(app)


@pytest.fixture
async def http(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API of `app`."""
    async with client_of(api) as client:
        yield client
