"""A server that is away for a moment does not end the waiting of those who follow."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from argyll_redis.core.state import FlowStatus
from argyll_redis.errors import StoreUnavailable
from argyll_redis.runtime.follower import Follower
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import Entry, FeedEntry, FeedReply, Fetch

pytestmark = pytest.mark.anyio


class AwayStore(MemoryStore):
    """Its first look at the namespace has no answer; the news comes after that."""

    def __init__(self, server: MemoryServer) -> None:
        super().__init__(server=server)
        self.looks = 0
        self.is_followed = asyncio.Event()

    async def fetch(self, fetch: Fetch) -> tuple[Entry, ...]:
        self.looks += 1
        raise StoreUnavailable("away")

    async def feed(self, cursors: Any, block_ms: int) -> FeedReply:
        if block_ms:
            await self.is_followed.wait()
            await asyncio.sleep(0)
        known = dict.fromkeys(cursors, "1-0")
        news = (FeedEntry(0, "2-0", "f", 1, 2, "completed"),) if self.looks else ()
        return FeedReply(news, cursors=known)


async def test_who_follows_hears_on_after_a_look_without_an_answer() -> None:
    store = AwayStore(MemoryServer(partitions=1))
    follower = Follower(store, spread=lambda _: 0)
    async with follower.follow("f") as following, asyncio.timeout(10):
        store.is_followed.set()
        while following.status != FlowStatus.COMPLETED:
            await following.wait()
    assert store.looks >= 1
    await follower.close()
