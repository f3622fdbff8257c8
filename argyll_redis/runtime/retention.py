"""Retention: what is over goes a set time later, trees of flows as well as the names of dead engines.

Every engine sees to the partitions that prefer it, and nothing but the server knows how far that is: a
removal that stopped midway goes on with whoever looks next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from argyll_redis.runtime.clock import ServerClock
from argyll_redis.store.protocol import Store

log = logging.getLogger(__name__)

LOOK_MS = 60_000
"""How often a partition is looked at for trees whose time is over."""
FLOWS_A_ROUND = 100
"""Flows of a partition that are removed in one call; the next call follows with the keeper's next round,
about a second later."""
REAP_MS = 600_000
"""How often a partition is looked at for consumers of engines that died."""
REAP_IDLE_MS = 3_600_000
"""How long such a consumer has read nothing when it goes."""


class Agenda:
    """When each partition is to be looked at next. Never all at once, nor in step with other engines."""

    def __init__(self, every_ms: int, spread: Callable[[float], float]) -> None:
        self._every_ms = every_ms
        self._spread = spread
        self._due_ms: dict[int, int] = {}

    def is_due(self, partition: int, now_ms: int) -> bool:
        """Whether it is time; a partition that is new here is given a time within the first interval."""
        due_ms = self._due_ms.setdefault(partition, now_ms + round(self._spread(self._every_ms)))
        return due_ms <= now_ms

    def did(self, partition: int, now_ms: int, *, more: bool = False) -> None:
        """Notes that it was looked at; with more to do it stays due."""
        pause_ms = self._every_ms - round(self._spread(self._every_ms / 4))
        self._due_ms[partition] = now_ms if more else now_ms + pause_ms


class Retention:
    """Removes what was kept for long enough."""

    def __init__(
        self, keep_ms: int, *, store: Store, clock: ServerClock, spread: Callable[[float], float]
    ) -> None:
        """`keep_ms` counts from the deactivation of a tree's last flow; 0 keeps flows for ever."""
        self.expired = 0
        """Flows removed so far."""
        self._keep_ms = keep_ms
        self._store = store
        self._clock = clock
        self._looks = Agenda(LOOK_MS, spread)
        self._reaps = Agenda(REAP_MS, spread)

    async def round(self, partitions: Sequence[int]) -> None:
        """Looks at the partitions whose time it is, each at most once."""
        for partition in partitions:
            now_ms = self._clock.monotonic_ms()
            # Noted first: a partition that cannot be looked at shall not keep the others from their turns.
            if self._keep_ms and self._looks.is_due(partition, now_ms):
                self._looks.did(partition, now_ms)
                await self._expire(partition, now_ms)
            if self._reaps.is_due(partition, now_ms):
                self._reaps.did(partition, now_ms)
                await self._store.reap(partition, REAP_IDLE_MS)

    async def _expire(self, partition: int, now_ms: int) -> None:
        found = await self._store.expire(partition, keep_ms=self._keep_ms, limit=FLOWS_A_ROUND)
        if found.more:
            self._looks.did(partition, now_ms, more=True)
        self.expired += found.flows
        if found.flows:
            log.debug("%d flows of partition %d have expired", found.flows, partition)
