"""Apps of one namespace, on every store there is, and engines that run inside them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from api_apps import Apps
from servers import StoreFactory


@pytest.fixture
async def apps(store_factory: StoreFactory) -> AsyncIterator[Apps]:
    """Makes apps of a namespace of the test's own; engines are drained and apps closed at the end."""
    made = Apps(store_factory)
    try:
        yield made
    finally:
        await made.close()
