"""What an app has in one event loop: nothing that waits can be shared with another one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from argyll_redis.runtime.node import Node


@dataclass(slots=True, eq=False)
class EngineRun:
    """A run of an engine."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the app is closed."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, asked: Callable[[], Awaitable[object]]) -> None:
        """Waits until the user or a close ends the run; raises what the user's wait does."""
        waits = [asyncio.ensure_future(asked()), asyncio.ensure_future(self.stop.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if waits[0].done():
                waits[0].result()
        finally:
            for wait in waits:
                wait.cancel()


@dataclass(slots=True, eq=False)
class Connection:
    """The connected parts, and what they are doing."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it connects, and while steps are registered."""
    node: Node | None = None
    registered: int = 0
    """How many of the app's declarations the catalog is known to have."""
    engine: EngineRun | None = None
    """While the app is an engine in this loop."""
