"""Calls that are made again and again while the server is away, and the delays between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from argyll_redis.errors import CallRefused, HistoryLost, NamespaceEmptied, StoreUnavailable

T = TypeVar("T")

BACKOFF_MS = 50
"""Longest delay before the first repeated call; it doubles up to `MAX_BACKOFF_MS`."""
MAX_BACKOFF_MS = 1_000
"""Long enough to be no load, short enough that a server that is back is used at once."""


class Backoff:
    """Random delays that grow."""

    def __init__(self, spread: Callable[[float], float]) -> None:
        self._spread = spread
        self._limit_ms = BACKOFF_MS

    async def wait(self) -> None:
        """Waits before the next call."""
        await asyncio.sleep(self._spread(self._limit_ms) / 1000)
        self._limit_ms = min(self._limit_ms * 2, MAX_BACKOFF_MS)


async def until_answered(call: Callable[[], Awaitable[T]], spread: Callable[[float], float]) -> T:
    """Makes a call that may be repeated, however often it takes.

    Raises what no waiting mends: `NamespaceEmptied`, `HistoryLost`, `CallRefused`, and whatever is not
    `StoreUnavailable`.
    """
    backoff = Backoff(spread)
    while True:
        try:
            return await call()
        except (NamespaceEmptied, HistoryLost, CallRefused):
            raise
        except StoreUnavailable:
            await backoff.wait()
