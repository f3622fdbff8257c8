"""What the doctor says of what is pending: who has it, whether it moves, and what nobody could read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from argyll_redis.core.explain_work import counted, listed, span
from argyll_redis.core.text import printable
from argyll_redis.doctor_engines import are
from argyll_redis.store.fitness import Level, Remark
from argyll_redis.store.mending import PartitionState, StreamState
from argyll_redis.store.protocol import EngineInfo, QueueStat, Store

MAX_PENDING = 100_000
"""Entries and due members that are looked into; with more, only their numbers are told."""
MAX_TOLD = 3
"""Examples of one kind that are named."""
STUCK_LEASES = 3
"""An entry that has idled for so many of the longest lease should have been taken over."""
OVERDUE_MS = 10_000
"""By how much a due member may be late: engines look each second."""
REPAIR = "`argyll repair` shows what is lost, and --apply restores it"


@dataclass(slots=True)
class Pending:
    """What is wrong with what is pending, over all partitions."""

    stuck: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """For how long entries have idled, ms, by who has them."""
    vanished: int = 0
    stranded: int = 0
    without_group: set[str] = field(default_factory=set[str])
    overdue: int = 0
    latest_ms: int = 0
    """By how much the one that is latest is overdue."""


async def look_at_pending(
    store: Store, engines: Sequence[EngineInfo], stats: Sequence[QueueStat]
) -> AsyncIterator[Remark]:
    """Looks into streams, pending lists and due entries, as long as they are not too many."""
    many = sum(stat.depth + stat.in_flight + stat.due for stat in stats)
    if many > MAX_PENDING:
        what = f"{many:,} entries are pending, too many to look into each ({MAX_PENDING:,} at most)"
        yield Remark(Level.WARNING, what, "see `argyll queue` for where they wait; run more engines")
    else:
        found = await _look(store, engines)
        for remark in _told(found, engines, many):
            yield remark
    async for remark in _dead(store):
        yield remark


async def _look(store: Store, engines: Sequence[EngineInfo]) -> Pending:
    found = Pending()
    queues = await store.queues()
    now_ms = await store.now_ms()
    longest_ms = STUCK_LEASES * max((engine.lease_ms for engine in engines), default=0)
    is_kept = bool(engines)  # without an engine nothing moves, which is said elsewhere
    for partition in range(store.partitions):
        state = await store.pending(partition, queues)
        for stream in state.streams:
            _note_stream(found, stream)
            if is_kept:
                _note_stuck(found, stream, longest_ms)
        if is_kept:
            _note_due(found, state, now_ms)
    return found


def _note_stream(found: Pending, stream: StreamState) -> None:
    if not stream.has_group:
        found.without_group.add(stream.stream)
    found.stranded += len(stream.stranded)
    found.vanished += len(stream.vanished)


def _note_stuck(found: Pending, stream: StreamState, longest_ms: int) -> None:
    for held in stream.pending.values():
        if held.idle_ms > longest_ms:
            found.stuck.setdefault(held.consumer, []).append(held.idle_ms)


def _note_due(found: Pending, state: PartitionState, now_ms: int) -> None:
    late = [now_ms - due_ms for due_ms in state.due.values() if due_ms < now_ms - OVERDUE_MS]
    found.overdue += len(late)
    found.latest_ms = max([found.latest_ms, *late])


def _told(found: Pending, engines: Sequence[EngineInfo], many: int) -> Iterator[Remark]:
    yield from _missing(found)
    alive = {engine.id for engine in engines}
    for consumer, idle in sorted(found.stuck.items()):
        whose = "which is alive" if consumer in alive else "which is not alive"
        yield Remark(
            Level.WARNING,
            f"engine `{consumer}`, {whose}, has had {counted(len(idle), 'entry')} without a sign of life "
            f"for up to {span(max(idle))}, and nobody took over",
            "look at the log of the live engines; `argyll queue` tells which queues nobody serves",
        )
    if found.overdue:
        yield Remark(
            Level.WARNING,
            f"{counted(found.overdue, 'due entry')} should have been moved up to {span(found.latest_ms)} ago",
            "look at the log of the live engines",
        )
    if found == Pending():
        yield Remark(Level.OK, f"{counted(many, 'entry')} {are(many)} pending, and none is lost")


def _missing(found: Pending) -> Iterator[Remark]:
    """What somebody must have deleted by hand, or a fault of the server."""
    if found.without_group:
        what = f"streams or their groups are gone: {listed(sorted(found.without_group))}"
        yield Remark(Level.WARNING, what, REPAIR)
    if found.vanished:
        yield Remark(
            Level.WARNING,
            f"{counted(found.vanished, 'entry')} that an engine had {are(found.vanished)} gone from the "
            "stream: somebody trimmed it, or deleted from it",
            f"let nothing trim such streams; {REPAIR}",
        )
    if found.stranded:
        what = f"{counted(found.stranded, 'entry')} {are(found.stranded)} delivered, and no engine has it"
        yield Remark(Level.WARNING, f"{what}: somebody removed a consumer", REPAIR)


async def _dead(store: Store) -> AsyncIterator[Remark]:
    dead = await store.dead()
    if not dead.entries:
        yield Remark(Level.OK, "no entry was put aside as unreadable")
        return
    newest = (await store.dead_entries(MAX_TOLD))[:MAX_TOLD]
    told = "; ".join(
        f"`{printable(entry.payload)}` of {entry.stream} (partition {entry.partition}): {entry.reason}"
        for entry in newest
    )
    what = f"{counted(dead.entries, 'entry')} that nobody could read {are(dead.entries)} in `dead`"
    yield Remark(
        Level.WARNING,
        f"{what}; the newest: {told}",
        "`argyll repair --dead` lists them, and with --apply removes them; what they were for is restored",
    )
