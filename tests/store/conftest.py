"""An open store and a flow, for every store there is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from servers import StoreFactory, checked_factory, cluster_kind, kinds
from store_words import Flow

from argyll_redis.store.protocol import Store


@pytest.fixture(params=[*kinds("memory", "fakeredis"), cluster_kind()])
async def store_factory(request: pytest.FixtureRequest) -> AsyncIterator[StoreFactory]:
    """Makes stores of one namespace: as elsewhere, and on a cluster."""
    async for factory in checked_factory(request.param):
        yield factory


@pytest.fixture
async def store(store_factory: StoreFactory) -> Store:
    """An open store with the queues a and b."""
    store = store_factory()
    await store.open()
    await store.add_queues(["b", "a"])
    return store


@pytest.fixture
async def flow(store: Store) -> Flow:
    """A flow that does not exist yet."""
    return Flow(store)
