"""The store on a Redis Cluster: `RedisStore`, with each of its calls split into one a slot.

Every key of a flow and its children is in the slot of its partition, so a script is as atomic here as on
one server: what touches several partitions is several calls at once, each whole by itself. Three things
follow. A call fails as soon as one of its parts does, and nobody knows what the others did: it is sent
again with the same transaction ids, as after a lost reply. What the other parts were handed is not
lost: it comes late (`on_late`). And there is no one clock: the slowest node's is shown, so that nothing is
thought due before its own node thinks so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from argyll_redis.errors import NamespaceEmptied, StoreUnavailable
from argyll_redis.store.check import (
    check_fetch,
    check_keep,
    check_partition,
    check_place,
    check_queues,
    check_turns,
)
from argyll_redis.store.cluster_link import ClusterConnector
from argyll_redis.store.cluster_nodes import OnNodes
from argyll_redis.store.cluster_parts import divided, gravest, or_raise, shares, together
from argyll_redis.store.cluster_waiting import LongReads, Read
from argyll_redis.store.connect import Reply
from argyll_redis.store.copies import Copies
from argyll_redis.store.keys import MAX_PARTITIONS
from argyll_redis.store.protocol import (
    BLOCK_LIMIT_MS,
    CONTROL,
    CommitReply,
    Entry,
    EntryKey,
    Fetch,
    Keep,
    KeepReply,
    Lease,
    RenewReply,
    StreamRef,
    Turn,
    TurnReply,
    work_stream,
)
from argyll_redis.store.reads import Reads
from argyll_redis.store.url import Host

WAITING_CONNECTIONS = 3 * MAX_PARTITIONS
"""Connections to one node whose reads wait: for work, for control and of the feed, one a partition each."""

Place = tuple[int, str]
"""(partition, stream)."""
Blocked = tuple[str, tuple[Place, ...]]
"""(consumer, places of one partition)."""


class ClusterStore(OnNodes):
    """A namespace on a Redis Cluster; keeps the promises of `protocol.Store`."""

    def __init__(
        self,
        url: str,
        namespace: str,
        *,
        partitions: int = 16,
        command_connections: int = 16,
        connector: ClusterConnector | None = None,
        copies: Copies | None = None,
    ) -> None:
        """As `RedisStore`; the numbers of connections are those to one node."""
        super().__init__(
            url,
            namespace,
            partitions=partitions,
            command_connections=command_connections,
            waiting_connections=WAITING_CONNECTIONS,
            connector=connector,
            copies=copies,
        )
        self._takers: dict[str, Callable[[Entry], None]] = {}
        self._blocked = LongReads[Blocked, tuple[Entry, ...]](
            lambda blocked, entries: self._hand_late(blocked[0], entries)
        )
        self._feeds = LongReads[tuple[int, str], Mapping[int, list[Reply]]](lambda _, page: True)

    # ------------------------------------------------------------------ open and close

    async def close(self) -> None:
        """Drops all connections."""
        self._blocked.close()
        self._feeds.close()
        await super().close()

    # ------------------------------------------------------------------ scripts

    async def add_queues(self, queues: Sequence[str]) -> None:
        """Records queue names and creates their streams and groups in every partition, those first."""
        check_queues(queues)
        arguments = [self._instance, *queues]
        await together([self._run("queues", [id], arguments) for id in self._ids])
        await self._run("queues", [self._keys.queues], arguments)

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        """Applies or refuses each turn on its own; then fetches from the partitions of the turns. One
        script call a partition."""
        if fetch is not None:
            check_fetch(fetch, self.partitions)
        if not turns:
            fetched = await self.fetch(fetch) if fetch is not None else ()
            return CommitReply(self._clocks.shown_ms(self._slots.nodes), (), fetched)
        places: dict[int, list[int]] = {}
        for place, turn in enumerate(turns):
            places.setdefault(turn.partition, []).append(place)
        if len(places) > 1:
            check_turns(turns, self.partitions)  # no part may be applied when another one is refused whole
        fetches = divided(fetch, {partition: len(own) for partition, own in places.items()})
        calls = [
            super(ClusterStore, self).commit([turns[place] for place in own], fetches.get(partition))
            for partition, own in places.items()
        ]
        parts = await asyncio.gather(*calls, return_exceptions=True)
        replies: list[TurnReply | None] = [None] * len(turns)
        entries: list[Entry] = []
        for (partition, own), part in zip(places.items(), parts, strict=True):
            if isinstance(part, BaseException):
                continue
            self._read_clock(partition, part.now_ms)
            entries += part.entries
            for place, reply in zip(own, part.turns, strict=True):
                replies[place] = reply
        failed = [part for part in parts if isinstance(part, BaseException)]
        if failed:
            if fetch is not None and entries:
                # Once the caller has given back the slots that it had reserved for them.
                asyncio.get_running_loop().call_soon(self._hand_late, fetch.consumer, tuple(entries))
            raise gravest(failed)
        told = tuple(reply for reply in replies if reply is not None)
        return CommitReply(self._clocks.shown_ms(self._slots.nodes), told, tuple(entries))

    async def fetch(self, fetch: Fetch) -> tuple[Entry, ...]:
        """Hands out waiting entries: from each partition at first its part of the slots, then what is left
        from those that had more. Where a read waits already nothing does, so those are left out."""
        check_fetch(fetch, self.partitions)
        streams: dict[int, list[StreamRef]] = {}
        for ref in fetch.streams:
            streams.setdefault(ref.partition, []).append(ref)
        waited = {
            place
            for consumer, places in self._blocked.waiting()
            if consumer == fetch.consumer
            for place in places
        }
        rest: list[int] = [
            p for p, refs in streams.items() if not all((p, ref.stream) in waited for ref in refs)
        ]
        found: list[Entry] = []
        failed: list[BaseException] = []
        left, control = fetch.slots, fetch.control
        while rest:
            slots = dict(zip(rest, shares(left, [1] * len(rest)), strict=True))
            calls = {
                p: replace(fetch, slots=share, streams=streams[p], control=control)
                for p, share in slots.items()
                if share or not fetch.slots or (control and any(ref.stream == CONTROL for ref in streams[p]))
            }
            ends = await asyncio.gather(
                *(super(ClusterStore, self).fetch(part) for part in calls.values()), return_exceptions=True
            )
            full: set[int] = set()
            for (partition, part), end in zip(calls.items(), ends, strict=True):
                if isinstance(end, BaseException):
                    failed.append(end)
                    continue
                found += end
                taken = sum(entry.stream != CONTROL for entry in end)
                left -= taken
                if 0 < part.slots == taken:
                    full.add(partition)
            rest = [p for p in rest if p in full or not slots[p]] if left > 0 else []
            control = 0
        return tuple(or_raise(found, failed))

    async def block(
        self, consumer: str, streams: Sequence[tuple[int, str]], block_ms: int
    ) -> tuple[Entry, ...]:
        """Waits until one of the (partition, stream) has an entry; at most one from each. One read a
        partition, which goes on when this call has its answer."""
        for partition, stream in streams:
            check_place(partition, stream, self.partitions)
        places: dict[int, list[Place]] = {}
        for place in streams:
            places.setdefault(place[0], []).append(place)
        wait_ms = max(1, min(block_ms, BLOCK_LIMIT_MS))
        base = super()

        def read(own: Sequence[Place]) -> Read[tuple[Entry, ...]]:
            return lambda: base.block(consumer, own, wait_ms)

        reads = {(consumer, tuple(sorted(own))): read(own) for own in places.values()}
        found = await self._blocked.first(reads, wait_ms) if reads else []
        return tuple(entry for _, entries in found for entry in entries)

    def on_late(self, consumer: str, take: Callable[[Entry], None]) -> None:
        """Says who takes entries that come when no call waits for them."""
        self._takers[consumer] = take

    def _hand_late(self, consumer: str, entries: Sequence[Entry]) -> bool:
        """Hands entries to whoever takes what comes late; False when nobody does."""
        take = self._takers.get(consumer)
        if take is None:
            return False
        for entry in entries:
            take(entry)
        return True

    async def keep(self, keep: Keep) -> KeepReply:
        """Does one round of keeping. One script call for the namespace, and one a partition."""
        check_keep(keep, self.partitions)
        places: dict[int, list[int]] = {}
        for place, (ref, _) in enumerate(keep.takeover):
            places.setdefault(ref.partition, []).append(place)
        heart = self._keep(replace(keep, takeover=(), due_limit=0), [self._keys.engines], ())
        calls = [
            self._keep(
                replace(keep, takeover=[keep.takeover[place] for place in places.get(partition, ())]),
                [self._ids[partition]],
                (partition,),
            )
            for partition in range(self.partitions)
        ]
        alive, *parts = await asyncio.gather(heart, *calls, return_exceptions=True)
        if isinstance(alive, BaseException):
            raise alive
        cursors = [cursor for _, cursor in keep.takeover]
        replies: list[KeepReply] = []
        for partition, part in enumerate(parts):
            if isinstance(part, BaseException):
                continue
            self._read_clock(partition, part.now_ms)
            replies.append(part)
            for place, cursor in zip(places.get(partition, ()), part.cursors, strict=True):
                cursors[place] = cursor
        taken = [entry for reply in replies for entry in reply.taken]
        failed = [part for part in parts if isinstance(part, BaseException)]
        or_raise(taken, failed)
        dues = [reply.next_due_ms for reply in replies if reply.next_due_ms is not None]
        return KeepReply(
            now_ms=self._clocks.shown_ms(self._slots.nodes),
            moved=sum(reply.moved for reply in replies),
            next_due_ms=min(dues, default=None),
            taken=tuple(taken),
            cursors=tuple(cursors),
            vanished=sum(reply.vanished for reply in replies),
            engines=alive.engines,
        )

    def renew(
        self,
        consumer: str,
        leases: Sequence[Lease],
        streams: Sequence[tuple[int, str]],
        *,
        known: Sequence[EntryKey] = (),
    ) -> RenewReply:
        """Renews leases that are still this consumer's, a partition after the other. Blocking.

        A node that does not answer holds up no other: its other partitions are left out. What a node refuses,
        as it does while a slot moves, concerns one partition alone. Either way the call fails in the end.
        """
        partitions = dict.fromkeys(place[0] for places in (leases, known, streams) for place in places)
        away: set[Host | None] = set()
        failed: StoreUnavailable | None = None
        parts: list[RenewReply] = []
        for partition in partitions:
            check_partition(partition, self.partitions)
            node = self._owner(partition)
            if node in away:
                continue
            try:
                part = super().renew(
                    consumer,
                    [lease for lease in leases if lease.partition == partition],
                    [place for place in streams if place[0] == partition],
                    known=[key for key in known if key[0] == partition],
                )
            except NamespaceEmptied:
                raise
            except StoreUnavailable as error:
                failed = failed or error
                if error.address:  # nothing answered there
                    away.add(node)
            else:
                parts.append(part)
        if failed is not None:
            raise failed
        return RenewReply(
            tuple(lease for part in parts for lease in part.lost),
            {flow: status for part in parts for flow, status in part.statuses.items()},
            tuple(entry for part in parts for entry in part.unnamed),
            tuple(entry for part in parts for entry in part.taken),
        )

    async def release(self, consumer: str, entries: Sequence[Entry], delay_ms: int = 0) -> int:
        """Hands entries back under the same attempt, as due entries when delayed; gives how many."""
        own: dict[int, list[Entry]] = {}
        for entry in entries:
            check_place(entry.partition, entry.stream, self.partitions)
            own.setdefault(entry.partition, []).append(entry)
        base = super()
        return sum(await together([base.release(consumer, part, delay_ms) for part in own.values()]))

    async def retire(self, consumer: str) -> bool:
        """Ends the heartbeat and the reads of an engine, then removes it from all groups where it has
        nothing pending."""
        self._blocked.cancel([key for key in self._blocked.waiting() if key[0] == consumer])
        self._takers.pop(consumer, None)
        streams = [CONTROL, *map(work_stream, await self.queues())]
        arguments = [self._instance, consumer, *streams]
        await self._run("retire", [self._keys.engines], arguments)
        gone = await together([self._run("retire", [id], arguments) for id in self._ids])
        return all(reply == 1 for reply in gone)

    # ------------------------------------------------------------------ reads

    async def _read_feeds(self, cursors: Mapping[int, str], block_ms: int) -> dict[int, list[Reply]]:
        """Gives the entries after each cursor, by partition; one read a partition."""
        wait_ms = max(0, min(block_ms, BLOCK_LIMIT_MS))

        def read(partition: int, cursor: str) -> Read[Mapping[int, list[Reply]]]:
            return lambda: Reads._read_feeds(self, {partition: cursor}, wait_ms)

        if not wait_ms:
            pages = await together([read(*place)() for place in cursors.items()])
        else:
            found = await self._feeds.first({place: read(*place) for place in cursors.items()}, wait_ms)
            pages = [page for _, page in found]
        return {partition: page for each in pages for partition, page in each.items()}
