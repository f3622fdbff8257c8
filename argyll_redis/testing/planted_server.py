"""Bugs within one call: scripts of a server that do less than they should, or something else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_partition import Log
from argyll_redis.store.memory_server import Namespace
from argyll_redis.store.memory_types import DispatchStream
from argyll_redis.store.protocol import (
    Ack,
    CommitReply,
    Committed,
    Entry,
    EntryKey,
    Fetch,
    Lease,
    RenewReply,
    Turn,
)
from argyll_redis.testing.planting import at_server, entries_of, plant, replacing


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
                for entry, _, is_pending in entries_of(stream):
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
            for entry, payload, _ in entries_of(stream):
                flow, _, rest = payload.partition(" ")
                token = rest.partition(" ")[0].encode()
                if flow == turn.flow and any(token in data for data in ignored):
                    stream.remove(entry)


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


class _StealsBack(MemoryStore):
    def renew(
        self,
        consumer: str,
        leases: Sequence[Lease],
        streams: Sequence[tuple[int, str]],
        *,
        known: Sequence[EntryKey] = (),
    ) -> RenewReply:
        for lease in leases:
            stream = self.server.namespace.partitions[lease.partition].streams.get(lease.stream)
            pending = stream._pending.get(lease.entry) if stream is not None else None
            if pending is not None:
                pending.consumer = consumer
        reply = super().renew(consumer, leases, streams, known=known)
        return replace(reply, lost=())  # as XCLAIM says nothing of entries that are gone


class _RenewsNothing(MemoryStore):
    def renew(
        self,
        consumer: str,
        leases: Sequence[Lease],
        streams: Sequence[tuple[int, str]],
        *,
        known: Sequence[EntryKey] = (),
    ) -> RenewReply:
        return replace(super().renew(consumer, (), (), known=known), statuses=self._statuses(leases))


class _FromNowOn(DispatchStream):
    """A stream whose group was created at its end: what was there before is never delivered."""

    __slots__ = ("missed",)

    def __init__(self, missed: DispatchStream) -> None:
        super().__init__()
        self._ids = missed._ids
        self.missed = missed
        self.has_group = True

    def __len__(self) -> int:
        return super().__len__() + len(self.missed)

    def entries(self) -> Iterator[tuple[str, str]]:
        yield from self.missed.entries()
        yield from super().entries()


class _CreatesGroupsAtTheEnd(MemoryStore):
    async def add_queues(self, queues: Sequence[str]) -> None:
        for partition in self.server.namespace.partitions:
            for name, stream in partition.streams.items():
                if name in {f"work:{queue}" for queue in queues} and not stream.has_group and len(stream):
                    partition.streams[name] = _FromNowOn(stream)
        await super().add_queues(queues)


class _NeverLooksWhichServer(MemoryStore):
    def _data(self) -> Namespace:
        self._namespace = self.server.namespace
        return super()._data()


def _is_at_version(log: Log, version: int, tx: str) -> bool:
    del tx
    return len(log.events) == version


plant("M2", "an entry is acknowledged when it is read", connect=at_server(_AcknowledgesOnRead))
plant("M4", "an engine that starts deletes the other consumers", connect=at_server(_DropsOthersOnStart))
plant(
    "M7",
    "a stale attempt acknowledges the newer attempt's entry",
    connect=at_server(_StaleAttemptsAcknowledge),
)
plant(
    "M9",
    "a takeover whose reply was lost counts as a delivery",
    connect=at_server(_TellsNoTakeover),
    from_seed=170,
)
plant(
    "M21",
    "a renewal takes back what another engine has taken over",
    connect=at_server(_StealsBack),
    from_seed=340,
)
plant("M22", "leases are not renewed", connect=at_server(_RenewsNothing))
plant("M23", "a group is created at the end of its stream", connect=at_server(_CreatesGroupsAtTheEnd))
plant(
    "M24",
    "nobody looks whether the server is still the same",
    connect=at_server(_NeverLooksWhichServer),
    from_seed=90,
)
plant(
    "M25",
    "a commit compares the version and not the transaction",
    patch=lambda: replacing(Log, "is_at", _is_at_version),
    from_seed=110,
)
