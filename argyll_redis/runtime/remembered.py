"""What a process remembers, held against the server once it was away.

What comes back may be a replica that was behind, or a server that lost the end of its file. A turn that is
refused shows that; but a flow of which nobody has anything more to say would be lost in silence. So an
engine looks at all the flows that it knows whenever its connections were broken, and says of each that is
not on the server as it was known that it leaves it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from argyll_redis.core.state import Flow
from argyll_redis.errors import CallRefused, HistoryLost
from argyll_redis.runtime.clock import ServerClock
from argyll_redis.runtime.committer import Committer
from argyll_redis.store.protocol import Store, StoredEvent

FLOWS_A_READ = 100
"""Flows that are compared in one round trip, by one event each."""


class Known(NamedTuple):
    """A flow as it is known now; it may go on while it is compared, and its past stays."""

    id: str
    version: int
    tx: str
    started_at: int
    may_be_gone: bool
    """Whether it was silent for as long as flows are kept: it may have ended right after, and gone by now."""


class Remembered:
    """Compares the flows that a process knows with their logs."""

    def __init__(
        self, *, store: Store, committer: Committer, clock: ServerClock, retention_ms: int = 0
    ) -> None:
        """`retention_ms` is how long flows are kept once they are deactivated; 0 is for ever."""
        self._store = store
        self._committer = committer
        self._clock = clock
        self._retention_ms = retention_ms

    async def check(self) -> int:
        """Leaves alone each flow whose history the server has lost or forked; gives how many these are.

        Raises `StoreUnavailable`.
        """
        known = [self._known(flow) for flow in self._committer.cache.flows() if flow.version]
        found = 0
        for start in range(0, len(known), FLOWS_A_READ):
            page = known[start : start + FLOWS_A_READ]
            for each, log in zip(page, await self._logs_of(page), strict=True):
                if not _is_there(each, log) and not (each.may_be_gone and await self._has_expired(each)):
                    found += 1
                    self._committer.distrust(each.id, _lost(each))
        return found

    async def _logs_of(self, page: Sequence[Known]) -> list[list[StoredEvent]]:
        """The last event that is known of each; none where something else is in the place of a log."""
        try:
            return await self._store.load([(each.id, each.version - 1, 1) for each in page])
        except CallRefused:
            if len(page) == 1:
                return [[]]
            return [log for each in page for log in await self._logs_of([each])]

    async def _has_expired(self, known: Known) -> bool:
        """Whether the server has no such flow any more, or one that was started later with its id."""
        try:
            [head] = await self._store.heads([known.id])
        except CallRefused:
            return False
        return head is None or head.started_at != known.started_at

    def _known(self, flow: Flow) -> Known:
        age_ms = self._clock.now_ms() - flow.at_of(flow.version)
        may_be_gone = 0 < self._retention_ms <= age_ms
        return Known(flow.id, flow.version, flow.last_tx, flow.at_of(1), may_be_gone)


def _is_there(known: Known, log: Sequence[StoredEvent]) -> bool:
    """Whether a log has, at the version that is known, what was known to be there."""
    return bool(log) and (log[0].version, log[0].tx) == (known.version, known.tx)


def _lost(known: Known) -> HistoryLost:
    return HistoryLost(
        f'the history of flow "{known.id}" is not the one that was known at version {known.version}: '
        "the server was away, and has lost or forked it",
        others_may_go_on=True,
    )
