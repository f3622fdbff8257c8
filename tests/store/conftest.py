"""An open store and a flow, for every store there is."""

from __future__ import annotations

import pytest
from servers import StoreFactory
from store_words import Flow

from argyll_redis.store.protocol import Store


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
