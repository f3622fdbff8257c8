"""Keeping: the heartbeat, due entries moved, dead engines' entries taken over, and the sweep beside it.

Every engine keeps, none is special: whatever one of them does, the others may do as well, and the log
decides what it comes to. Keeping needs no state that is not rebuilt from the server.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable

from argyll_redis.core.inputs import Evaluate
from argyll_redis.errors import (
    NamespaceEmptied,
    StoreUnavailable,
)
from argyll_redis.runtime.clock import ServerClock, spread_ms
from argyll_redis.runtime.committer import Committer
from argyll_redis.runtime.engine import Engine
from argyll_redis.runtime.logs import Logs
from argyll_redis.runtime.preference import own_partitions
from argyll_redis.runtime.retention import Retention
from argyll_redis.runtime.sweep import Sweep
from argyll_redis.store.protocol import (
    CONTROL,
    EngineInfo,
    Keep,
    Store,
    StreamRef,
    work_stream,
)

log = logging.getLogger(__name__)

KEEP_MS = 1_000
"""How often a keeper looks when nothing calls it earlier."""
ALIVE_MS = 5_000
"""How long a heartbeat lasts."""
TAKEOVERS_A_LEASE = 4
"""Looks for dead engines' entries, at least."""


class Keeper:
    """Keeps the namespace in order, beside an engine."""

    def __init__(
        self,
        engine: Engine,
        *,
        store: Store,
        committer: Committer,
        logs: Logs,
        clock: ServerClock,
        evaluate: Evaluate,
        spread: Callable[[float], float] = spread_ms,
        retention_ms: int = 0,
    ) -> None:
        self.engines: tuple[EngineInfo, ...] = ()
        """The live ones, as of the last round."""
        self.vanished = 0
        """Pending entries whose stream entry somebody had removed."""
        self._engine = engine
        self._store = store
        self._committer = committer
        self._clock = clock
        self._spread = spread
        self._sweep = Sweep(
            engine.config.id, store=store, committer=committer, logs=logs, clock=clock, evaluate=evaluate
        )
        self._retention = Retention(retention_ms, store=store, clock=clock, spread=spread)
        self._wakes: list[int] = []
        self._called = asyncio.Event()
        self._cursors: dict[tuple[int, str], str] = {}
        self._takeover_due_ms = 0
        self._is_stopped = False
        self._ended = asyncio.Event()

    @property
    def restored(self) -> int:
        """What the sweep has restored so far: entries that flows ought to have had, and lacked."""
        return self._sweep.restored

    @property
    def orphans(self) -> int:
        """Children that nobody waited for, which the sweep has cancelled so far."""
        return self._sweep.orphans

    @property
    def expired(self) -> int:
        """Flows that this keeper has removed so far because their time was over."""
        return self._retention.expired

    def wake_at(self, due_ms: int) -> None:
        """Asks for a round when a due entry that this process has committed is due."""
        heapq.heappush(self._wakes, due_ms)
        if self._wakes[0] == due_ms:
            self._called.set()

    def stop(self) -> None:
        self._is_stopped = True
        self._called.set()

    async def stopped(self) -> None:
        """Stops, and waits until the last round is over."""
        self.stop()
        await self._ended.wait()

    async def run(self) -> None:
        """Keeps until stopped."""
        try:
            await self._keep()
        finally:
            self._ended.set()

    async def _keep(self) -> None:
        while not self._is_stopped:
            try:
                more = await self._round()
                partitions = self._own_partitions()
                await self._sweep.round(partitions, self._lease_ms())
                await self._retention.round(partitions)
            except NamespaceEmptied:
                raise
            except StoreUnavailable as error:
                log.warning("keeping failed: %s", error)
                await asyncio.sleep(self._spread(KEEP_MS) / 1000)
                more = False
            if not more:
                await self._pause()

    async def _pause(self) -> None:
        """Waits for the next round: at most `KEEP_MS`, less when something of ours is due."""
        self._called.clear()
        if self._is_stopped:
            return
        pause_ms = KEEP_MS - round(self._spread(KEEP_MS / 4))  # never in step with other engines
        if self._wakes:
            pause_ms = max(0, min(pause_ms, self._wakes[0] - self._clock.now_ms()))
        try:
            async with asyncio.timeout(pause_ms / 1000 + 0.001):
                await self._called.wait()
        except TimeoutError:
            pass

    async def _round(self) -> bool:
        """One call; True when there is more to do at once."""
        takeover = await self._takeovers()
        config = self._engine.config
        keep = Keep(engine=config.info, alive_ms=ALIVE_MS, takeover=takeover, min_idle_ms=self._lease_ms())
        reply = await self._store.keep(keep)
        self._clock.read(reply.now_ms)
        # By the server's clock: our own may be a millisecond ahead, and would forget what is not moved yet.
        while self._wakes and self._wakes[0] < reply.now_ms:
            heapq.heappop(self._wakes)
        self.engines = reply.engines
        self._engine.intake.meet(reply.engines)
        for (ref, _), cursor in zip(takeover, reply.cursors, strict=True):
            self._cursors[ref.partition, ref.stream] = cursor
        for entry in reply.taken:
            self._engine.take_over(entry)
        if reply.vanished:
            self.vanished += reply.vanished
            log.error("%d pending entries were removed from their streams by somebody", reply.vanished)
        return reply.next_due_ms is not None and reply.next_due_ms <= reply.now_ms

    async def _takeovers(self) -> list[tuple[StreamRef, str]]:
        """The streams to look at for dead engines' entries: all of all known queues, a few times a
        lease; none in between. Never in step with other engines: what one of them cannot deal with,
        and takes over from itself again and again, another shall come upon first."""
        now_ms = self._clock.monotonic_ms()
        if now_ms < self._takeover_due_ms:
            return []
        half_ms = self._engine.config.lease_ms // TAKEOVERS_A_LEASE // 2
        self._takeover_due_ms = now_ms + half_ms + round(self._spread(half_ms))
        names = [CONTROL, *(work_stream(queue) for queue in await self._store.queues())]
        return [
            (StreamRef(partition, name), self._cursors.get((partition, name), "0-0"))
            for partition in range(self._store.partitions)
            for name in names
        ]

    def _lease_ms(self) -> int:
        """How long an entry is left alone: the longest lease of any live engine and our own."""
        return max([self._engine.config.lease_ms, *(engine.lease_ms for engine in self.engines)])

    def _own_partitions(self) -> list[int]:
        """The partitions that this engine sweeps: those that prefer it among the live ones."""
        return own_partitions(self._engine.config.id, self.engines, self._store.partitions)
