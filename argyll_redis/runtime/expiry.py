"""Flows that expire while a process still knows them: what it knows is then of no use, and no alarm is due.

A process may know a flow by its last word or by an earlier one, as other processes go on with it. The
server may have no such flow any more, or another one, as the id is free again.
"""

from __future__ import annotations

from argyll_redis.core.state import Flow
from argyll_redis.errors import CallRefused
from argyll_redis.runtime.clock import ServerClock
from argyll_redis.store.protocol import Store


class Expiry:
    """Tells a flow that has expired from one whose history was lost."""

    def __init__(self, retention_ms: int, *, store: Store, clock: ServerClock) -> None:
        self._retention_ms = retention_ms
        self._store = store
        self._clock = clock

    def is_possible(self, flow: Flow) -> bool:
        """Whether a flow may have expired, by what is known of it: it is deactivated, or was silent for
        as long as flows are kept."""
        if flow.is_deactivated:
            return True
        if not self._retention_ms or not flow.version:
            return False
        return self._clock.now_ms() - flow.at_of(flow.version) >= self._retention_ms

    async def has_passed(self, flow: Flow) -> bool:
        """Whether the server has no such flow any more, or another one of its id, and the one that is
        known may have expired; something else in the place of its head is neither. Raises
        `StoreUnavailable`."""
        if not self.is_possible(flow):
            return False
        try:
            [head] = await self._store.heads([flow.id])
        except CallRefused:
            return False
        return head is None or head.started_at != flow.at_of(1)
