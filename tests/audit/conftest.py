"""A sound namespace for each test of the audit."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from audit_stage import Stage
from servers import StoreFactory, checked_factory, cluster_kind, kinds

from argyll_redis.runtime import intake


@pytest.fixture(params=[*kinds("memory", "fakeredis"), cluster_kind()])
async def store_factory(request: pytest.FixtureRequest) -> AsyncIterator[StoreFactory]:
    """Makes stores of one namespace: as elsewhere, and on a cluster."""
    async for factory in checked_factory(request.param):
        yield factory


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A small sound namespace in memory."""
    monkeypatch.setattr(intake, "BLOCK_MS", 50)
    stage = Stage()
    await stage.set()
    yield stage
    await stage.app.close()
