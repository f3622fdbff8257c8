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
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from random import Random
from typing import Any, NamedTuple, NoReturn, TypeVar

from argyll_redis.errors import StoreUnavailable, StoreUnfit
from argyll_redis.store.protocol import (
    CommitReply,
    Entry,
    EntryKey,
    FeedReply,
    Fetch,
    Lease,
    Refused,
    RenewReply,
    Store,
    StoredEvent,
    Turn,
    TurnReply,
)
from argyll_redis.testing.fates import Fates
from argyll_redis.testing.virtual import MS, WAITS_AT_SERVER, Process, TookTooLong

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
HEAVY = {
    "commit": 3.0,
    "fetch": 2.0,
    "block": 0.5,
    "release": 5.0,
    "retire": 5.0,
    "bury": 5.0,
    "dispatch": 5.0,  # this and the next two are calls of planted bugs alone
    "pop": 5.0,
    "enqueue": 5.0,
}
"""Calls that faults strike more often than others, or less, and by how much."""
WRITES = frozenset(
    {
        "commit",
        "fetch",
        "keep",
        "release",
        "bury",
        "retire",
        "reap",
        "expire",
        "add_queues",
        "append_catalog",
        "import_log",
        "tell_health",
        "memorize",
    }
)
"""Calls that a server refuses that is out of memory: all that run a script or write. What waits is handed
out all the same, and whatever is read can be read."""
FULL = "OOM command not allowed when used memory > 'maxmemory'"
CALLS_AT_A_MOMENT = 10_000
"""Calls to the server before the clock moves: more are those of somebody who asks again and again."""
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


class Blow(NamedTuple):
    """A fault that strikes one call, and the draws that say how long it lasts."""

    fault: Fault
    lengths: Random


class Network:
    """What all processes of a run have between them and the server, and what befalls it. Its faults are
    named: `e0.1 commit 3: reply lost`."""

    def __init__(
        self, fates: Fates, rates: Rates, *, lease_ms: int, note: Callable[[str, str], None]
    ) -> None:
        self.is_calm = False
        self.is_full = False
        """Whether the server refuses to write, as one does that is out of memory."""
        self.counts: dict[Fault, int] = dict.fromkeys(Fault, 0)
        self.note = note
        """Takes a line of the trace: who, and what happened."""
        self._fates = fates
        self._rates = rates
        self._tables: dict[str, list[tuple[float, Fault]]] = {}
        self._made: dict[tuple[str, str], int] = {}
        self._lease_ms = lease_ms
        self._calls = 0
        self._counted_s = 0.0

    def count(self) -> None:
        """Counts a call. Who asks again and again without a pause never lets the loop see that time is up."""
        now_s = asyncio.get_running_loop().time()
        self._calls = self._calls + 1 if now_s == self._counted_s else 1
        self._counted_s = now_s
        if self._calls > CALLS_AT_A_MOMENT:
            raise TookTooLong(f"{self._calls} calls to the server at {now_s:.3f} s")

    @property
    def disturbances(self) -> int:
        """Faults so far by which an engine may have lost work."""
        return sum(self.counts.values()) - self.counts[Fault.DELAY]

    def draw(self, who: str, call: str) -> Blow | None:
        """What strikes a call, if anything."""
        table = self._tables.get(call)
        if table is None:
            table = self._tables[call] = self._rates.of(call)
        if not table:
            return None
        number = self._made[who, call] = self._made.get((who, call), 0) + 1
        name = f"{who} {call} {number}"
        drawn = self._fates.share(name)
        if drawn >= table[-1][0]:
            return None
        fault = next(fault for limit, fault in table if drawn < limit)
        if not self._fates.strikes(f"{name}: {fault}"):
            return None
        self.counts[fault] += 1
        if fault is not Fault.DELAY:
            self.note(who, f"{call} {fault}")
        return Blow(fault, self._fates.draw(f"length of {name}"))

    def lease_s(self, lengths: Random) -> float:
        """Up to a lease."""
        return lengths.random() * self._lease_ms / MS

    def pause(self, process: Process, lengths: Random) -> None:
        """Pauses a process, from less than a lease to several."""
        process.pause(lengths.uniform(*PAUSE_LEASES) * self._lease_ms)


class FaultyStore:
    """A store as one process sees it over a network on which faults strike."""

    def __init__(self, inner: Store, process: Process, network: Network) -> None:
        self.partitions = inner.partitions
        self.inner = inner
        self._process = process
        self._network = network

    async def call(self, name: str, call: Callable[..., Awaitable[T]], *given: Any, **named: Any) -> T:
        """Makes one call, as whatever strikes it lets it be made."""
        if self._process.is_dead:
            raise asyncio.CancelledError
        network = self._network
        network.count()
        blow = None if network.is_calm else network.draw(self._process.name, name)
        if network.is_full and name in WRITES:
            call = _refuse_to_write
        if blow is None:
            return await call(*given, **named)
        return await self._strike(blow, name, partial(call, *given, **named))

    async def _strike(self, blow: Blow, name: str, call: Callable[[], Awaitable[T]]) -> T:
        network, lengths = self._network, blow.lengths
        match blow.fault:
            case Fault.DELAY:
                await asyncio.sleep(_delay_s(lengths))
                reply = await call()
                await asyncio.sleep(_delay_s(lengths))
                return reply
            case Fault.STALL:
                reply = await call()
                await asyncio.sleep(network.lease_s(lengths))
                return reply
            case Fault.PAUSE_BEFORE:
                await self._pause(lengths)
                return await call()
            case Fault.PAUSE_AFTER:
                reply = await call()
                await self._pause(lengths)
                return reply
            case Fault.CRASH_BEFORE:
                self._crash()
            case Fault.CRASH_AFTER:
                await call()
                self._crash()
            case Fault.LATE:
                later_s = network.lease_s(lengths)
                asyncio.get_running_loop().call_later(later_s, _do, call, context=Context())
                raise StoreUnavailable(f"{name}: no reply in time")
            case Fault.LOSE:
                await call()
            case Fault.REFUSE:
                pass
        await asyncio.sleep(_delay_s(lengths))
        raise StoreUnavailable(f"{name}: {blow.fault}")

    def _crash(self) -> NoReturn:
        self._process.kill()
        raise asyncio.CancelledError

    async def _pause(self, lengths: Random) -> None:
        self._network.pause(self._process, lengths)
        await asyncio.sleep(0)  # this task goes on when its process does

    def renew(
        self,
        consumer: str,
        leases: Sequence[Lease],
        streams: Sequence[tuple[int, str]],
        *,
        known: Sequence[EntryKey] = (),
    ) -> RenewReply:
        """The one call that waits for nothing, so nothing delays it."""
        if self._process.is_dead:
            raise asyncio.CancelledError
        network = self._network
        blow = None if network.is_calm else network.draw(self._process.name, "renew")
        fault = blow.fault if blow else None
        if network.is_full:
            raise StoreUnfit(FULL)
        if fault in (Fault.CRASH_BEFORE, Fault.PAUSE_BEFORE, Fault.REFUSE, Fault.LATE):
            reply = None
        else:
            reply = self.inner.renew(consumer, leases, streams, known=known)
        if fault in CRASHES:
            self._crash()
        if blow and fault in (Fault.PAUSE_BEFORE, Fault.PAUSE_AFTER):
            network.pause(self._process, blow.lengths)
        if reply is None or fault is Fault.LOSE:
            raise StoreUnavailable(f"renew: {fault}")
        return reply

    async def _wait(self, call: Callable[..., Awaitable[T]], *given: Any) -> T:
        """Waits at the server, which goes on when this process is paused: what it delivers meanwhile
        is this process's."""
        waiting: asyncio.Task[T] = asyncio.get_running_loop().create_task(
            call(*given),  # type: ignore[arg-type]
            context=_at_server(),
        )
        try:
            return await waiting
        finally:
            waiting.cancel()

    async def block(
        self, consumer: str, streams: Sequence[tuple[int, str]], block_ms: int
    ) -> tuple[Entry, ...]:
        """Waits for entries."""
        return await self.call("block", self._wait, self.inner.block, consumer, streams, block_ms)

    async def feed(self, cursors: Mapping[int, str], block_ms: int) -> FeedReply:
        """Waits for hints."""
        return await self.call("feed", self._wait, self.inner.feed, cursors, block_ms)

    def on_late(self, consumer: str, take: Callable[[Entry], None]) -> None:
        """Says who takes what comes beside a reply."""
        self.inner.on_late(consumer, take)

    async def close(self) -> None:
        """Disconnects; nothing can go wrong there."""
        await self.inner.close()

    def __getattr__(self, name: str) -> Any:
        """Every other call of the contract, made like any."""
        made = self.__dict__[name] = partial(self.call, name, getattr(self.inner, name))
        return made


class Before:
    """Stands before a store; what it does not do itself that one does."""

    def __init__(self, store: FaultyStore) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class OldVersion(Before):
    """A store as an engine of an older version sees it: there is a type of event that it does not know."""

    def __init__(self, store: FaultyStore, unknown: str) -> None:
        super().__init__(store)
        self._unknown = unknown

    async def load(self, reads: Sequence[tuple[str, int, int]]) -> list[list[StoredEvent]]:
        return [[self._see(event) for event in page] for page in await self.store.load(reads)]

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        reply = await self.store.commit(turns, fetch)
        return replace(reply, turns=tuple([self._see_reply(each) for each in reply.turns]))

    def _see_reply(self, reply: TurnReply) -> TurnReply:
        if not isinstance(reply, Refused):
            return reply
        return reply._replace(missed=tuple([self._see(event) for event in reply.missed]))

    def _see(self, event: StoredEvent) -> StoredEvent:
        return event._replace(type=f"new_{event.type}") if event.type == self._unknown else event


def _delay_s(lengths: Random) -> float:
    return lengths.random() * DELAY_MS / MS


async def _refuse_to_write(*_: object, **__: object) -> Any:
    raise StoreUnfit(FULL)


def _at_server() -> Context:
    """A context of no process, in which something waits at the server."""
    context = Context()
    context.run(WAITS_AT_SERVER.set, True)
    return context


def _do(call: Callable[[], Awaitable[object]]) -> None:
    """Makes a call that nobody waits for any more."""

    async def do() -> None:
        with suppress(StoreUnavailable):  # its connection may be closed by now
            await call()

    asyncio.get_running_loop().create_task(do(), context=Context())
