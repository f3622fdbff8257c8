"""Bugs between two calls: what should be one call is several, or is not what the caller thinks it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from argyll_redis.errors import StoreUnavailable
from argyll_redis.store.protocol import (
    Ack,
    CommitReply,
    Committed,
    Dispatch,
    Entry,
    Fetch,
    Keep,
    KeepReply,
    Seal,
    Turn,
    TurnReply,
)
from argyll_redis.testing.faults import Before
from argyll_redis.testing.planting import before, plant, server_of


class _AddsLater(Before):
    """Dispatches some of what a commit should, by a call of its own after it."""

    call = ""

    def is_late(self, op: object) -> bool:
        raise NotImplementedError

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        bare = [replace(turn, ops=[op for op in turn.ops if not self.is_late(op)]) for turn in turns]
        reply = await self.store.commit(bare, fetch)
        for turn, answer in zip(turns, reply.turns, strict=True):
            late = [op for op in turn.ops if isinstance(op, Dispatch) and self.is_late(op)]
            if late and isinstance(answer, Committed):
                await self.store.call(self.call, self._add, turn.partition, late)
        return reply

    async def _add(self, partition: int, late: Sequence[Dispatch]) -> None:
        server = server_of(self)
        for op in late:
            server.namespace.partitions[partition].add_entry(op.stream, op.payload, server.now_ms())


class _DispatchesAfterCommit(_AddsLater):
    call = "dispatch"

    def is_late(self, op: object) -> bool:
        return isinstance(op, Dispatch)


class _TellsParentsLater(_AddsLater):
    call = "tell"

    def is_late(self, op: object) -> bool:
        return isinstance(op, Dispatch) and " child " in op.payload


class _PopsThenEnqueues(Before):
    async def keep(self, keep: Keep) -> KeepReply:
        reply = await self.store.keep(replace(keep, due_limit=0))
        popped = await self.store.call("pop", self._pop)
        if popped:
            await self.store.call("enqueue", self._enqueue, popped)
        return reply

    async def _pop(self) -> list[tuple[int, str]]:
        server = server_of(self)
        return [
            (partition.number, member)
            for partition in server.namespace.partitions
            for member in partition.due.pop_through(server.now_ms(), 100)
        ]

    async def _enqueue(self, popped: Sequence[tuple[int, str]]) -> None:
        server = server_of(self)
        for number, member in popped:
            stream, _, payload = member.partition(" ")
            server.namespace.partitions[number].add_entry(stream, payload, server.now_ms())


class _AcknowledgesBeforeCommit(Before):
    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        acks = [(turn.partition, op) for turn in turns for op in turn.ops if isinstance(op, Ack)]
        if acks:
            await self.store.call("acknowledge", self._acknowledge, acks)
        bare = [replace(turn, ops=[op for op in turn.ops if not isinstance(op, Ack)]) for turn in turns]
        return await self.store.commit(bare, fetch)

    async def _acknowledge(self, acks: Sequence[tuple[int, Ack]]) -> None:
        for partition, op in acks:
            server_of(self).namespace.partitions[partition].streams[op.stream].remove(op.entry)


class _NeverSeals(Before):
    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        bare = [replace(turn, ops=[op for op in turn.ops if not isinstance(op, Seal)]) for turn in turns]
        return await self.store.commit(bare, fetch)


class _AnswersFromItsCache(Before):
    """A turn that decided nothing is not sent to be compared."""

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        sent = [turn for turn in turns if turn.events or turn.ops]
        if not sent and fetch is None:
            return CommitReply(await self.store.now_ms(), tuple(self._compared(turn) for turn in turns), ())
        reply = await self.store.commit(sent, fetch)
        answers = dict(zip((turn.flow for turn in sent), reply.turns, strict=True))
        return replace(reply, turns=tuple(answers.get(turn.flow, self._compared(turn)) for turn in turns))

    def _compared(self, turn: Turn) -> TurnReply:
        return Committed(turn.version, 0)


class _SkipsReleases(Before):
    """Says that entries are handed back, and keeps them."""

    async def release(self, consumer: str, entries: Sequence[Entry], delay_ms: int = 0) -> int:
        del consumer, delay_ms
        return len(entries)


class _GivesUpWithTheReply(Before):
    """Takes a call without a reply for one that was not made, and says that it was."""

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        try:
            return await self.store.commit(turns, fetch)
        except StoreUnavailable:
            if any(turn.version == 0 for turn in turns):
                raise
            now_ms = server_of(self).now_ms()
            return CommitReply(now_ms, tuple(Committed(t.version + len(t.events), now_ms) for t in turns), ())


plant("M1", "dispatch comes after the commit, in a call of its own", wrap=before(_DispatchesAfterCommit))
plant(
    "M3",
    "due entries are popped, then enqueued by another call",
    wrap=before(_PopsThenEnqueues),
    from_seed=90,
)
plant("M12", "a parent is told of its child's end by a call of its own", wrap=before(_TellsParentsLater))
plant(
    "M16", "an entry is acknowledged before its outcome is committed", wrap=before(_AcknowledgesBeforeCommit)
)
plant("M17", "the log of a flow that is over is not closed", wrap=before(_NeverSeals))
plant("M18", "a webhook is answered from a cache that may be stale", wrap=before(_AnswersFromItsCache))
plant("M19", "what is handed back is kept", wrap=before(_SkipsReleases))
plant("M20", "a commit without a reply counts as done", wrap=before(_GivesUpWithTheReply))
