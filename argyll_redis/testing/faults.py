"""What can go wrong between a process and its store.

`FaultyStore` stands between an engine or a client and its connection. At every call it may refuse,
lose the reply, let the call happen late, delay it, pause the process or kill it. Which fault strikes
where follows from a seed; a calm network passes everything on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any, TypeVar

from argyll_redis.errors import StoreUnavailable
from argyll_redis.store.protocol import (
    CommitReply,
    EngineInfo,
    Entry,
    FeedReply,
    Fetch,
    Head,
    Keep,
    KeepReply,
    Lease,
    NewEvent,
    QueueStat,
    RenewReply,
    Store,
    StoredEvent,
    Turn,
    TurnReply,
)
from argyll_redis.testing.virtual import MS, Process

T = TypeVar("T")


class Fault(StrEnum):
    """What happens to one call; the words are those of a trace."""

    DELAY = "delayed"
    """A little later, and its reply later still: calls of several processes overtake each other."""
    STALL = "reply stalled"
    """Done at once; the reply comes after up to a lease."""
    REFUSE = "refused"
    LOSE = "reply lost"
    LATE = "given up, then done"
    """The caller is told that it failed, and it happens after that."""
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    PAUSE_BEFORE = "pause before"
    PAUSE_AFTER = "pause after"


CRASHES = frozenset({Fault.CRASH_BEFORE, Fault.CRASH_AFTER})
MAY_BE_LATE = frozenset({"commit", "fetch", "keep"})
"""Calls that may happen after their caller has given up. Others are sent once and acted upon: handing
an entry back twice, half a lease apart, is more than a network does."""
HEAVY = {"commit": 3.0, "fetch": 2.0, "release": 4.0, "retire": 4.0, "bury": 4.0, "block": 0.5}
"""Calls that faults strike more often than others, or less, and by how much."""
DELAY_MS = 20
"""Longest part of a delay, before a call and after it."""
PAUSE_LEASES = (0.5, 4.0)


@dataclass(frozen=True, slots=True)
class Rates:
    """How likely a fault of each kind is at a call, before `HEAVY` weighs it."""

    by_fault: Mapping[Fault, float] = field(default_factory=dict[Fault, float])

    def of(self, call: str) -> list[tuple[float, Fault]]:
        """The kinds that may strike a call, each with the sum of its rate and those before it."""
        table: list[tuple[float, Fault]] = []
        total = 0.0
        for fault, rate in self.by_fault.items():
            if rate and (fault is not Fault.LATE or call in MAY_BE_LATE):
                total += rate * HEAVY.get(call, 1.0)
                table.append((total, fault))
        return table


class Network:
    """What all processes of a run have between them and the server, and what befalls it."""

    def __init__(
        self, random: Random, rates: Rates, *, lease_ms: int, note: Callable[[str, str], None]
    ) -> None:
        self.is_calm = False
        self.counts: dict[Fault, int] = dict.fromkeys(Fault, 0)
        self.note = note
        """Takes a line of the trace: who, and what happened."""
        self._random = random
        self._rates = rates
        self._tables: dict[str, list[tuple[float, Fault]]] = {}
        self._lease_ms = lease_ms

    @property
    def disturbances(self) -> int:
        """Faults so far by which an engine may have lost work."""
        return sum(self.counts.values()) - self.counts[Fault.DELAY]

    def draw(self, who: str, call: str) -> Fault | None:
        """Which fault strikes a call, if any."""
        table = self._tables.get(call)
        if table is None:
            table = self._tables[call] = self._rates.of(call)
        drawn = self._random.random()
        if not table or drawn >= table[-1][0]:
            return None
        fault = next(fault for limit, fault in table if drawn < limit)
        self.counts[fault] += 1
        if fault is not Fault.DELAY:
            self.note(who, f"{call} {fault}")
        return fault

    def delay_s(self) -> float:
        return self._random.random() * DELAY_MS / MS

    def lease_s(self) -> float:
        """Up to a lease."""
        return self._random.random() * self._lease_ms / MS

    def pause(self, process: Process) -> None:
        """Pauses a process, from less than a lease to several."""
        process.pause(self._random.uniform(*PAUSE_LEASES) * self._lease_ms)


class FaultyStore:
    """A store as one process sees it over a network on which faults strike."""

    def __init__(self, inner: Store, process: Process, network: Network) -> None:
        self.partitions = inner.partitions
        self.inner = inner
        self._process = process
        self._network = network

    async def call(self, name: str, call: Callable[..., Awaitable[T]], *given: Any) -> T:
        """Makes one call, as whatever strikes it lets it be made."""
        if self._process.is_dead:
            raise asyncio.CancelledError
        if self._network.is_calm:
            return await call(*given)
        fault = self._network.draw(self._process.name, name)
        if fault is None:
            return await call(*given)
        return await self._strike(fault, name, call, given)

    async def _strike(
        self, fault: Fault, name: str, call: Callable[..., Awaitable[T]], given: Sequence[Any]
    ) -> T:
        network = self._network
        match fault:
            case Fault.DELAY:
                await asyncio.sleep(network.delay_s())
                reply = await call(*given)
                await asyncio.sleep(network.delay_s())
            case Fault.STALL:
                reply = await call(*given)
                await asyncio.sleep(network.lease_s())
            case Fault.PAUSE_BEFORE:
                await self._pause()
                reply = await call(*given)
            case Fault.PAUSE_AFTER:
                reply = await call(*given)
                await self._pause()
            case Fault.CRASH_BEFORE:
                self._crash()
            case Fault.CRASH_AFTER:
                await call(*given)
                self._crash()
            case Fault.LATE:
                asyncio.get_running_loop().call_later(network.lease_s(), _do, call, given, context=Context())
                raise StoreUnavailable(f"{name}: no reply in time")
            case Fault.REFUSE | Fault.LOSE:
                if fault is Fault.LOSE:
                    await call(*given)
                await asyncio.sleep(network.delay_s())
                raise StoreUnavailable(f"{name}: {fault}")
        return reply

    def _crash(self) -> None:
        self._process.kill()
        raise asyncio.CancelledError

    async def _pause(self) -> None:
        self._network.pause(self._process)
        await asyncio.sleep(0)  # this task goes on when its process does

    def renew(self, consumer: str, leases: Sequence[Lease], streams: Sequence[tuple[int, str]]) -> RenewReply:
        """The one call that waits for nothing, so nothing delays it."""
        if self._process.is_dead:
            raise asyncio.CancelledError
        network = self._network
        fault = None if network.is_calm else network.draw(self._process.name, "renew")
        if fault in (Fault.CRASH_BEFORE, Fault.PAUSE_BEFORE, Fault.REFUSE, Fault.LATE):
            reply = None
        else:
            reply = self.inner.renew(consumer, leases, streams)
        if fault in CRASHES:
            self._crash()
        if fault in (Fault.PAUSE_BEFORE, Fault.PAUSE_AFTER):
            network.pause(self._process)
        if reply is None or fault is Fault.LOSE:
            raise StoreUnavailable(f"renew: {fault}")
        return reply

    async def _wait(self, call: Callable[..., Awaitable[T]], *given: Any) -> T:
        """Waits at the server, which goes on when this process is paused: what it delivers meanwhile
        is this process's."""
        waiting: asyncio.Task[T] = asyncio.get_running_loop().create_task(
            call(*given),  # type: ignore[arg-type]
            context=Context(),
        )
        try:
            return await waiting
        finally:
            waiting.cancel()

    # ------------------------------------------------------- the calls, all alike

    async def open(self) -> None:
        await self.call("open", self.inner.open)

    async def close(self) -> None:
        await self.inner.close()

    async def add_queues(self, queues: Sequence[str]) -> None:
        await self.call("add_queues", self.inner.add_queues, queues)

    async def queues(self) -> tuple[str, ...]:
        return await self.call("queues", self.inner.queues)

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        return await self.call("commit", self.inner.commit, turns, fetch)

    async def fetch(self, fetch: Fetch) -> tuple[Entry, ...]:
        return await self.call("fetch", self.inner.fetch, fetch)

    async def block(
        self, consumer: str, streams: Sequence[tuple[int, str]], block_ms: int
    ) -> tuple[Entry, ...]:
        return await self.call("block", self._wait, self.inner.block, consumer, streams, block_ms)

    async def feed(self, cursors: Mapping[int, str], block_ms: int) -> FeedReply:
        return await self.call("feed", self._wait, self.inner.feed, cursors, block_ms)

    async def keep(self, keep: Keep) -> KeepReply:
        return await self.call("keep", self.inner.keep, keep)

    async def release(self, consumer: str, entries: Sequence[Entry], delay_ms: int = 0) -> int:
        return await self.call("release", self.inner.release, consumer, entries, delay_ms)

    async def bury(self, entry: Entry, reason: str) -> None:
        await self.call("bury", self.inner.bury, entry, reason)

    async def retire(self, consumer: str) -> bool:
        return await self.call("retire", self.inner.retire, consumer)

    async def load(self, reads: Sequence[tuple[str, int, int]]) -> list[list[StoredEvent]]:
        return await self.call("load", self.inner.load, reads)

    async def heads(self, flows: Sequence[str]) -> list[Head | None]:
        return await self.call("heads", self.inner.heads, flows)

    async def plans(self, plans: Sequence[tuple[int, str]]) -> list[bytes | None]:
        return await self.call("plans", self.inner.plans, plans)

    async def index(self, index: str, *, newest: bool = True, limit: int = 1_000) -> list[tuple[str, int]]:
        return await self.call("index", self._index, index, newest, limit)

    async def _index(self, index: str, newest: bool, limit: int) -> list[tuple[str, int]]:
        return await self.inner.index(index, newest=newest, limit=limit)

    async def walk(self, partition: int, index: str, cursor: str, limit: int) -> tuple[list[str], str]:
        return await self.call("walk", self.inner.walk, partition, index, cursor, limit)

    async def references(self, partition: int) -> frozenset[tuple[str, str]]:
        return await self.call("references", self.inner.references, partition)

    async def catalog(self, after: int) -> list[StoredEvent]:
        return await self.call("catalog", self.inner.catalog, after)

    async def append_catalog(
        self, version: int, last_tx: str, tx: str, events: Sequence[NewEvent]
    ) -> TurnReply:
        return await self.call(
            "append_catalog", self.inner.append_catalog, version, last_tx, tx, events
        )

    async def queue_stats(self) -> list[QueueStat]:
        return await self.call("queue_stats", self.inner.queue_stats)

    async def engines(self) -> tuple[EngineInfo, ...]:
        return await self.call("engines", self.inner.engines)

    async def now_ms(self) -> int:
        return await self.call("now_ms", self.inner.now_ms)


def _do(call: Callable[..., Awaitable[Any]], given: Sequence[Any]) -> None:
    """Makes a call that nobody waits for any more."""

    async def do() -> None:
        with suppress(StoreUnavailable):  # its connection may be closed by now
            await call(*given)

    asyncio.get_running_loop().create_task(do(), context=Context())
