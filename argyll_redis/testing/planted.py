"""Known bugs, to be planted from outside: a simulator that does not find them proves nothing.

M1 to M7 are mistakes that systems of this kind have made, three of which ten thousand flows under
`kill -9` did not show; the others were ours. The product has no switch for them: a bug stands before
the network (what goes wrong between two calls), at the server (within one call), or replaces a rule
while it is planted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, cast

from argyll_redis.core import decide, events, outbox, rules_children
from argyll_redis.core.commands import Outcome, Report
from argyll_redis.core.state import WorkItem
from argyll_redis.core.turn import Turn as CoreTurn
from argyll_redis.runtime.engine import Engine
from argyll_redis.runtime.sweep import Sweep
from argyll_redis.runtime.work import InHand
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.memory_types import DispatchStream
from argyll_redis.store.protocol import (
    Ack,
    CommitReply,
    Committed,
    Dispatch,
    Entry,
    EntryKey,
    Fetch,
    Keep,
    KeepReply,
    Lease,
    RenewReply,
    Store,
    Turn,
)
from argyll_redis.testing.faults import Before, FaultyStore
from argyll_redis.testing.stage import Bug

BUGS: dict[str, Bug] = {}
"""Every known bug by its name."""


def _plant(name: str, what: str, **how: Any) -> None:
    BUGS[name] = Bug(name, what, **how)


def _before(kind: type[Before]) -> Callable[[FaultyStore], Store]:
    return lambda store: cast(Store, kind(store))


def _at_server(kind: type[MemoryStore]) -> Callable[[MemoryServer], Store]:
    return lambda server: kind(server=server)


# ------------------------------------------------------------- M1, M3: two calls


def _server_of(store: FaultyStore) -> MemoryServer:
    return cast(MemoryStore, store.inner).server


class _DispatchesAfterCommit(Before):
    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        bare = [replace(turn, ops=[op for op in turn.ops if type(op) is not Dispatch]) for turn in turns]
        reply = await self.store.commit(bare, fetch)
        for turn, answer in zip(turns, reply.turns, strict=True):
            added = [op for op in turn.ops if type(op) is Dispatch]
            if added and isinstance(answer, Committed):
                await self.store.call("dispatch", self._add, turn.partition, added)
        return reply

    async def _add(self, partition: int, added: Sequence[Dispatch]) -> None:
        server = _server_of(self.store)
        for op in added:
            server.namespace.partitions[partition].add_entry(op.stream, op.payload, server.now_ms())


class _PopsThenEnqueues(Before):
    async def keep(self, keep: Keep) -> KeepReply:
        reply = await self.store.keep(replace(keep, due_limit=0))
        popped = await self.store.call("pop", self._pop)
        if popped:
            await self.store.call("enqueue", self._enqueue, popped)
        return reply

    async def _pop(self) -> list[tuple[int, str]]:
        server = _server_of(self.store)
        return [
            (partition.number, member)
            for partition in server.namespace.partitions
            for member in partition.due.pop_through(server.now_ms(), 100)
        ]

    async def _enqueue(self, popped: Sequence[tuple[int, str]]) -> None:
        server = _server_of(self.store)
        for number, member in popped:
            stream, _, payload = member.partition(" ")
            server.namespace.partitions[number].add_entry(stream, payload, server.now_ms())


_plant("M1", "dispatch comes after the commit, in a call of its own", wrap=_before(_DispatchesAfterCommit))
_plant("M3", "due entries are popped, then enqueued by another call", wrap=_before(_PopsThenEnqueues))


# ------------------------------------------------- M2, M4, M7: entries that vanish


class _AcknowledgesOnRead(MemoryStore):
    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        reply = await super().commit(turns, fetch)
        self._acknowledge(reply.entries)
        return reply

    async def fetch(self, fetch: Fetch) -> tuple[Entry, ...]:
        return self._acknowledge(await super().fetch(fetch))

    async def block(
        self, consumer: str, streams: Sequence[tuple[int, str]], block_ms: int
    ) -> tuple[Entry, ...]:
        return self._acknowledge(await super().block(consumer, streams, block_ms))

    def _acknowledge(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        for entry in entries:
            self.server.namespace.partitions[entry.partition].streams[entry.stream].remove(entry.id)
        return entries


class _DropsOthersOnStart(MemoryStore):
    async def add_queues(self, queues: Sequence[str]) -> None:
        await super().add_queues(queues)
        for partition in self.server.namespace.partitions:
            for stream in partition.streams.values():
                for entry, _, is_pending in _entries(stream):
                    if is_pending:
                        stream.remove(entry)


class _StaleAttemptsAcknowledge(MemoryStore):
    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        tokens = [event.data for turn in turns for event in turn.events if event.type == "work_ignored"]
        reply = await super().commit(turns, fetch)
        for turn, answer in zip(turns, reply.turns, strict=True):
            if isinstance(answer, Committed) and any(type(op) is Ack for op in turn.ops):
                self._acknowledge(turn, tokens)
        return reply

    def _acknowledge(self, turn: Turn, ignored: Sequence[bytes]) -> None:
        """Whoever reports acknowledges whatever entry there is of the token, not that of its attempt."""
        for stream in self.server.namespace.partitions[turn.partition].streams.values():
            for entry, payload, _ in _entries(stream):
                flow, _, rest = payload.partition(" ")
                token = rest.partition(" ")[0].encode()
                if flow == turn.flow and any(token in data for data in ignored):
                    stream.remove(entry)


def _entries(stream: DispatchStream) -> list[tuple[str, str, bool]]:
    """Id and payload of every entry of a stream, and whether it is pending."""
    pending = [(entry, each.payload, True) for entry, each in stream._pending.items()]
    return pending + [(entry, payload, False) for entry, payload in stream._waiting.items()]


_plant("M2", "an entry is acknowledged when it is read", connect=_at_server(_AcknowledgesOnRead))
_plant("M4", "an engine that starts deletes the other consumers", connect=_at_server(_DropsOthersOnStart))
_plant(
    "M7",
    "a stale attempt acknowledges the newer attempt's entry",
    connect=_at_server(_StaleAttemptsAcknowledge),
)


# --------------------------------------------------------- M5, M6: rules left out

Refusal = Callable[[CoreTurn, WorkItem, Outcome, Report], str | None]


@contextmanager
def _replacing(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    """Replaces a rule or a method for a while. It must be there: a bug that is planted nowhere is not
    found, and that would prove nothing."""
    original = getattr(owner, name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _refusing_by(make: Callable[[Refusal], Refusal]) -> AbstractContextManager[None]:
    """Replaces the rule by which an outcome does not count."""
    return _replacing(decide, "_refusal", make(decide._refusal))


def _without_state(original: Refusal) -> Refusal:
    def refusal(turn: CoreTurn, item: WorkItem, outcome: Outcome, command: Report) -> str | None:
        return original(turn, item, outcome, command) if turn.draft.is_deactivated else None

    return refusal


def _without_fence(original: Refusal) -> Refusal:
    def refusal(turn: CoreTurn, item: WorkItem, outcome: Outcome, command: Report) -> str | None:
        return original(turn, item, outcome, replace(command, attempt=None))

    return refusal


_plant("M5", "a completion counts whatever the work item's state", patch=lambda: _refusing_by(_without_state))
_plant("M6", "an outcome counts whatever attempt it is of", patch=lambda: _refusing_by(_without_fence))


# ------------------------------------------------------ M8 to M11: ours, and more


class _TellsNoTakeover(MemoryStore):
    def renew(
        self,
        consumer: str,
        leases: Sequence[Lease],
        streams: Sequence[tuple[int, str]],
        *,
        known: Sequence[EntryKey] = (),
    ) -> RenewReply:
        reply = super().renew(consumer, leases, streams, known=known)
        return replace(reply, unnamed=(*reply.unnamed, *reply.taken), taken=())


async def _sweep_nothing(*_: object) -> None:
    pass


def _keep_slot(engine: Engine, held: InHand) -> None:
    engine.hand.drop(held)


_plant(
    "M8",
    "what is taken over runs under the attempt of its dead engine",
    patch=lambda: _replacing(Engine, "take_over", Engine.take),
)
_plant("M9", "a takeover whose reply was lost counts as a delivery", connect=_at_server(_TellsNoTakeover))
_plant("M10", "nothing restores lost entries", patch=lambda: _replacing(Sweep, "round", _sweep_nothing))
_plant(
    "M11",
    "an entry that is let go of keeps its slot",
    patch=lambda: _replacing(Engine, "_forget", _keep_slot),
)


# --------------------------------------------------------- M12, M13: parents, children


class _TellsParentsLater(Before):
    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        words = [
            [op for op in turn.ops if type(op) is Dispatch and " child " in op.payload] for turn in turns
        ]
        bare = [
            replace(turn, ops=[op for op in turn.ops if op not in word])
            for turn, word in zip(turns, words, strict=True)
        ]
        reply = await self.store.commit(bare, fetch)
        for turn, answer, word in zip(turns, reply.turns, words, strict=True):
            if word and isinstance(answer, Committed):
                await self.store.call("tell", self._add, turn.partition, word)
        return reply

    async def _add(self, partition: int, words: Sequence[Dispatch]) -> None:
        server = _server_of(self.store)
        for op in words:
            server.namespace.partitions[partition].add_entry(op.stream, op.payload, server.now_ms())


def _cancel_no_child(*_: object) -> None:
    pass


_plant("M12", "a parent is told of its child's end by a call of its own", wrap=_before(_TellsParentsLater))
_plant(
    "M13",
    "children go on when nobody waits for them any more",
    patch=lambda: _replacing(rules_children, "child_is_needless", _cancel_no_child),
    from_seed=320,
)


# ------------------------------------------------------------------ M14: deadlines


def _no_timers(_: object) -> dict[str, int]:
    return {}


_plant(
    "M14",
    "a deadline starts without a due entry",
    patch=lambda: _replacing(outbox, "_deadline_timers", _no_timers),
)


# ------------------------------------------------------------- M15: compensations


def _undo_nothing(*_: object) -> None:
    pass


_plant(
    "M15",
    "what succeeds after its step has failed is not undone",
    patch=lambda: _replacing(events, "item_has_ended", _undo_nothing),
)
