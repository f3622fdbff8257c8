"""Keeping: the heartbeat, due entries moved, dead engines' entries taken over, and the sweep beside it.

Every engine keeps, none is special: whatever one of them does, the others may do as well, and the log
decides what it comes to. Keeping needs no state that is not rebuilt from the server.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable
from dataclasses import replace

from argyll_redis.core.inputs import Evaluate
from argyll_redis.errors import (
    CallRefused,
    NamespaceEmptied,
    StoreUnavailable,
    StoreUnfit,
)
from argyll_redis.runtime.clock import ServerClock, spread_ms
from argyll_redis.runtime.committer import Committer
from argyll_redis.runtime.engine import Engine
from argyll_redis.runtime.logs import Logs
from argyll_redis.runtime.preference import own_partitions
from argyll_redis.runtime.remembered import Remembered
from argyll_redis.runtime.retention import Retention
from argyll_redis.runtime.sweep import Sweep
from argyll_redis.store.protocol import (
    CONTROL,
    EngineInfo,
    Keep,
    KeepReply,
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
        self._breaker = committer.breaker
        self._clock = clock
        self._spread = spread
        self._sweep = Sweep(
            engine.config.id, store=store, committer=committer, logs=logs, clock=clock, evaluate=evaluate
        )
        self._retention = Retention(retention_ms, store=store, clock=clock, spread=spread)
        self._remembered = Remembered(
            store=store, committer=committer, clock=clock, retention_ms=retention_ms
        )
        self._failures = 0
        """Rounds that failed so far. While nothing is begun nobody reads, and only they tell of a server
        that was away."""
        self._breaks = 0
        """Failed reads and rounds after which what is remembered was compared."""
        self._wakes: list[int] = []
        self._called = asyncio.Event()
        self._cursors: dict[tuple[int, str], str] = {}
        self._takeover_due_ms = 0
        self._away_ms: int | None = None
        """Since when rounds fail, by the monotonic clock; None while they go well."""
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
            self._breaker.settle(self)
            self._ended.set()

    async def _keep(self) -> None:
        while not self._is_stopped:
            try:
                more = await self._round()
                if not self._breaker.is_open:
                    partitions = self._own_partitions()
                    await self._sweep.round(partitions, self._lease_ms())
                    await self._retention.round(partitions)
                    await self._compare()
            except NamespaceEmptied:
                raise
            except StoreUnavailable as error:
                if not (isinstance(error, StoreUnfit) and self._breaker.is_open):  # else that has said why
                    log.warning("keeping failed: %s", error)
                await asyncio.sleep(self._spread(KEEP_MS) / 1000)
            else:
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
        """One call; True when there is more to do at once. While commits are refused it beats the heart
        and no more: what is moved or taken over could not be dealt with."""
        is_stopped = self._breaker.is_open
        takeover = [] if is_stopped else await self._takeovers()
        info = replace(self._engine.config.info, state=self._committer.condition.to_text())
        keep = Keep(engine=info, alive_ms=ALIVE_MS, takeover=takeover, min_idle_ms=self._lease_ms())
        reply = await self._ask(replace(keep, due_limit=0) if is_stopped else keep)
        self._clock.read(reply.now_ms)
        # By the server's clock: our own may be a millisecond ahead, and would forget what is not moved yet.
        while self._wakes and self._wakes[0] < reply.now_ms:
            heapq.heappop(self._wakes)
        if reply.engines != self.engines:
            self.engines = reply.engines
            self._engine.intake.meet(reply.engines)
        for (ref, _), cursor in zip(takeover, reply.cursors, strict=True):
            self._cursors[ref.partition, ref.stream] = cursor
        for entry in reply.taken:
            self._engine.take_over(entry)
        if reply.vanished:
            self.vanished += reply.vanished
            log.error("%d pending entries were removed from their streams by somebody", reply.vanished)
        if is_stopped:
            return False  # what is due stays where it is: asking at once again would never end
        return reply.next_due_ms is not None and reply.next_due_ms <= reply.now_ms

    async def _compare(self) -> None:
        """Holds what is remembered against the server, when it was away since the last time."""
        breaks = self._engine.intake.breaks + self._failures
        if breaks != self._breaks:
            await self._remembered.check()
            self._breaks = breaks

    async def _ask(self, keep: Keep) -> KeepReply:
        """Makes the call of a round, which is the probe of an idle engine: refused for a reason that stops
        claiming, nothing is begun until a round goes well."""
        try:
            reply = await self._store.keep(keep)
        except StoreUnavailable as error:
            self._failures += 1
            if self._away_ms is None:
                self._away_ms = self._clock.monotonic_ms()
            # What it finds fault with in a call, such as a foreign key in the place of a stream, hinders this
            # round and no commit.
            if isinstance(error, StoreUnfit) and not isinstance(error, CallRefused):
                self._breaker.refuse(self, error)
            raise
        self._is_back()
        self._breaker.settle(self)
        return reply

    def _is_back(self) -> None:
        """After a time in which nobody could renew, every entry has idled: others, and this engine, get
        the time of a lease to renew theirs before any is taken over."""
        now_ms = self._clock.monotonic_ms()
        if self._away_ms is not None and now_ms - self._away_ms >= self._lease_ms() // 2:
            self._takeover_due_ms = now_ms + self._lease_ms()
        self._away_ms = None

    async def _takeovers(self) -> list[tuple[StreamRef, str]]:
        """The streams to look at for dead engines' entries: all of all known queues, a few times a
        lease; none in between. Never in step with other engines: what one of them cannot deal with,
        and takes over from itself again and again, another shall come upon first."""
        now_ms = self._clock.monotonic_ms()
        if now_ms < self._takeover_due_ms or self._away_ms is not None:
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
