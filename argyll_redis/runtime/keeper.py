"""Keeping: due entries moved, dead engines' entries taken over, leases renewed, lost entries restored.

Every engine keeps, none is special: whatever one of them does, the others may do as well, and the log
decides what it comes to. Keeping needs no state that is not rebuilt from the server.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from argyll_redis.core.commands import Look, Lose
from argyll_redis.core.decide import decide
from argyll_redis.core.inputs import Evaluate
from argyll_redis.core.model import Token
from argyll_redis.core.outbox import References, outstanding
from argyll_redis.core.state import Flow
from argyll_redis.errors import (
    ArgyllError,
    HistoryLost,
    InvariantBroken,
    NamespaceEmptied,
    StoreUnavailable,
    UnknownEvent,
)
from argyll_redis.runtime.clock import ServerClock, spread_ms
from argyll_redis.runtime.committer import Committer
from argyll_redis.runtime.engine import Engine
from argyll_redis.runtime.logs import Logs
from argyll_redis.runtime.mailbox import Posted
from argyll_redis.runtime.preference import own_partitions
from argyll_redis.store.protocol import (
    CONTROL,
    Due,
    EngineInfo,
    Keep,
    Lease,
    RenewReply,
    Store,
    StreamRef,
    work_stream,
)

log = logging.getLogger(__name__)

KEEP_MS = 1_000
"""How often a keeper looks when nothing calls it earlier."""
ALIVE_MS = 5_000
"""How long a heartbeat lasts."""
RENEWALS_A_LEASE = 4
TAKEOVERS_A_LEASE = 4
"""Looks for dead engines' entries, at least."""
SWEEP_HEADS = 100
"""Heads of open flows looked at in one round."""
UNREADABLE_FLOWS = 10_000
"""Flows that a sweep remembers not to look at; with more it begins anew."""
SILENT_LEASES = 1.5
"""An open flow silent for so many leases is looked at by the sweep."""


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
                await self._sweep.round(self._own_partitions(), self._lease_ms())
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
        self._engine.meet(reply.engines)
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


@dataclass(slots=True)
class Suspect:
    """A flow that lacked something at a version."""

    version: int
    lacks: frozenset[str]


class Sweep:
    """Finds open flows that lack what they ought to have pending, and restores it.

    What is missing in two passes at the same version is restored: an attempt counts as lost, a due
    entry is added again, and what a look would bring is decided. A first pass alone may have fallen
    between two commits.
    """

    def __init__(
        self,
        engine_id: str,
        *,
        store: Store,
        committer: Committer,
        logs: Logs,
        clock: ServerClock,
        evaluate: Evaluate,
    ) -> None:
        self.restored = 0
        self._by = f"timer:{engine_id}"
        self._store = store
        self._committer = committer
        self._logs = logs
        self._clock = clock
        self._evaluate = evaluate
        self._cursor = "0"
        self._turn = 0
        self._suspects: dict[str, Suspect] = {}
        self._unreadable: set[str] = set()
        """Flows that this version cannot read or decide on: left to newer ones."""

    async def round(self, partitions: Sequence[int], lease_ms: int) -> None:
        """Looks at a page of the open flows of one partition."""
        if not partitions:
            return
        partition = partitions[self._turn % len(partitions)]
        flow_ids, self._cursor = await self._store.walk(partition, "open", self._cursor, SWEEP_HEADS)
        if self._cursor == "0":
            self._turn += 1
        heads = await self._store.heads(flow_ids) if flow_ids else []
        before_ms = self._clock.now_ms() - round(SILENT_LEASES * lease_ms)
        silent = [
            flow_id
            for flow_id, head in zip(flow_ids, heads, strict=True)
            if head is not None and head.at <= before_ms and not self._is_left_alone(flow_id)
        ]
        for gone in set(flow_ids) - set(silent):
            self._suspects.pop(gone, None)
        if silent:
            await self._look_at(partition, silent)

    def _is_left_alone(self, flow_id: str) -> bool:
        return flow_id in self._unreadable or flow_id in self._committer.quarantined

    async def _look_at(self, partition: int, flow_ids: Sequence[str]) -> None:
        flows = await self._read(flow_ids)
        references = await self._store.references(partition)
        for flow in flows:
            try:
                self._judge(flow, references)
            except InvariantBroken as error:
                self._leave_alone(flow.id, error)

    async def _read(self, flow_ids: Sequence[str]) -> list[Flow]:
        """Reads flows; one that cannot be read holds up no other."""
        flows = [Flow(flow_id) for flow_id in flow_ids]
        try:
            await self._logs.catch_up(flows)
        except (InvariantBroken, UnknownEvent, HistoryLost) as error:
            if len(flows) == 1:
                self._leave_alone(flow_ids[0], error)
                return []
            return [flow for flow_id in flow_ids for flow in await self._read([flow_id])]
        return flows

    def _leave_alone(self, flow_id: str, error: ArgyllError) -> None:
        log.error('the sweep leaves flow "%s" alone: %s', flow_id, error)
        if len(self._unreadable) >= UNREADABLE_FLOWS:
            self._unreadable.clear()
        self._unreadable.add(flow_id)

    def _judge(self, flow: Flow, references: frozenset[tuple[str, str]]) -> None:
        ought = outstanding(flow, self._clock.now_ms())
        lacks = self._lacking(flow, ought, references)
        suspect = self._suspects.pop(flow.id, None)
        if not lacks:
            return
        if suspect is None or suspect.version != flow.version:
            self._suspects[flow.id] = Suspect(flow.version, lacks)
            return
        for lack in sorted(lacks & suspect.lacks):
            self.restored += 1
            log.warning('flow "%s" lacked %s: restored', flow.id, lack)
            self._committer.post(flow.id, self._restoration(ought, lack))

    def _lacking(
        self, flow: Flow, ought: References, references: frozenset[tuple[str, str]]
    ) -> frozenset[str]:
        """What a flow ought to have pending and has not: `work <payload>`, `due <member>` or `look`."""
        lacks = {f"work {payload}" for queue, payload in ought.work if not _has(references, queue, payload)}
        for member in ought.due:
            stream, _, payload = member.partition(" ")
            if (stream, payload) not in references:
                lacks.add(f"due {member}")
        has_control = any(s == CONTROL and p.split(" ", 1)[0] == flow.id for s, p in references)
        if not lacks and not has_control and self._look_brings_something(flow):
            lacks.add("look")
        return frozenset(lacks)

    def _look_brings_something(self, flow: Flow) -> bool:
        look = Look(self._by)
        return bool(decide(flow, [look], now_ms=self._clock.now_ms(), evaluate=self._evaluate).events)

    def _restoration(self, ought: References, lack: str) -> Posted:
        kind, _, rest = lack.partition(" ")
        if kind == "work":
            _, token, attempt, _ = rest.split(" ")
            return Posted(Lose(self._by, Token(token), int(attempt)))
        if kind == "due":
            return Posted(None, ops=[Due(rest, max(0, ought.due[rest] - self._clock.now_ms()))])
        return Posted(Look(self._by))


def _has(references: frozenset[tuple[str, str]], queue: str, payload: str) -> bool:
    return (work_stream(queue), payload) in references


class Renewer:
    """Renews an engine's leases, from a thread of its own with its own connection, so that a busy
    loop does not make a dead engine of a live one."""

    def __init__(self, engine: Engine, store: Store, clock: ServerClock) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock
        self._every_s = engine.config.lease_ms / RENEWALS_A_LEASE / 1000
        self.streams = [
            (partition, name)
            for partition in range(store.partitions)
            for name in (CONTROL, *(work_stream(queue) for queue in engine.config.queues))
        ]
        self._stopped = threading.Event()
        self._ended = asyncio.Event()
        self._failed: Exception | None = None

    async def run(self) -> None:
        """Renews until cancelled."""
        if not self._engine.config.renew_in_thread:
            while True:
                self._renew_once(lambda apply, *given: apply(*given))
                await asyncio.sleep(self._every_s)
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._loop, args=(loop,), name="argyll-renewer", daemon=True)
        thread.start()
        try:
            await self._ended.wait()
        finally:
            self._stopped.set()
        if self._failed is not None:
            raise self._failed

    def _loop(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stopped.is_set():
            try:
                self._renew_once(loop.call_soon_threadsafe)
            except Exception as error:
                self._failed = error
                if not loop.is_closed():
                    loop.call_soon_threadsafe(self._ended.set)
                return
            self._stopped.wait(self._every_s)

    def _renew_once(self, deliver: Callable[..., object]) -> None:
        asked_ms = self._clock.monotonic_ms()
        leases: Sequence[Lease] = self._engine.hand.leases()
        try:
            reply: RenewReply = self._store.renew(self._engine.config.id, leases, self.streams)
        except NamespaceEmptied:
            raise
        except StoreUnavailable as error:
            log.warning("leases are not renewed: %s", error)
            return
        deliver(self._engine.renewed, reply, asked_ms)
