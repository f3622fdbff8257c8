"""`MemoryStore`: the store's contract without a server.

The embedded default where no Redis is found, the simulator's store and the users' test kit. Nothing
is kept when the process ends. A method is a coroutine because the contract says so; only `block` and
`feed` wait, so every other call is one step for all who share the server.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from itertools import islice

from argyll_redis.errors import NamespaceEmptied, StoreUnavailable
from argyll_redis.store.check import (
    check_alive,
    check_append,
    check_entry,
    check_expire,
    check_fetch,
    check_import,
    check_index,
    check_keep,
    check_partition,
    check_place,
    check_queues,
    check_reap,
    check_turns,
)
from argyll_redis.store.keys import LAYOUT
from argyll_redis.store.memory_looks import MemoryLooks
from argyll_redis.store.memory_partition import FEED, Partition
from argyll_redis.store.memory_server import MemoryServer, Namespace
from argyll_redis.store.memory_types import FIRST_ID, DispatchStream, Pending
from argyll_redis.store.protocol import (
    CONTROL,
    UNNAMED_LIMIT,
    CommitReply,
    Dead,
    EngineInfo,
    Entry,
    EntryKey,
    Expired,
    FeedEntry,
    FeedReply,
    Fetch,
    Head,
    ImportedLog,
    Keep,
    KeepReply,
    Lease,
    NamespaceInfo,
    NewEvent,
    QueueStat,
    RenewReply,
    StoredEvent,
    Turn,
    TurnReply,
    partition_of,
)

NOW = "$"
"""The cursor of a feed that starts now."""

_SERVERS: dict[str, MemoryServer] = {}
"""The process's servers by namespace, for `memory://`."""


def shared_server(
    namespace: str, *, partitions: int = 16, now_ms: Callable[[], int] | None = None
) -> MemoryServer:
    """Gives this process's server of a namespace; partitions and clock are those of who asked first."""
    if namespace not in _SERVERS:
        _SERVERS.setdefault(namespace, MemoryServer(partitions=partitions, now_ms=now_ms))
    return _SERVERS[namespace]


class MemoryStore(MemoryLooks):
    """A connection to a namespace in memory.

    Stores of one namespace share its data within the process; `server` gives them data of their own.
    """

    def __init__(
        self,
        namespace: str = "argyll",
        *,
        partitions: int = 16,
        now_ms: Callable[[], int] | None = None,
        server: MemoryServer | None = None,
    ) -> None:
        self.namespace = namespace
        self.server = server or shared_server(namespace, partitions=partitions, now_ms=now_ms)
        self.partitions = self.server.partitions
        self._lock = self.server.lock
        self._clock = self.server.now_ms
        self._namespace: Namespace | None = None

    async def open(self) -> None:
        """Creates the namespace at first use and remembers which one it is."""
        self._namespace = self.server.namespace

    async def close(self) -> None:
        """Lets go of the namespace; its data stays."""
        self._namespace = None

    def _data(self) -> Namespace:
        """Gives the data that was opened; the lock is held by the caller."""
        namespace = self._namespace
        if namespace is None:
            raise StoreUnavailable("the store is not open (call open first)")
        if not self.server.is_current(namespace):
            raise NamespaceEmptied
        return namespace

    def _stream(self, partition: int, stream: str) -> DispatchStream | None:
        return self._data().partitions[partition].streams.get(stream)

    def _home(self, flow: str) -> Partition:
        return self._data().partitions[partition_of(flow, self.partitions)]

    # ------------------------------------------------------------- queues, turns

    async def add_queues(self, queues: Sequence[str]) -> None:
        """Records queue names and creates their streams and groups in every partition."""
        check_queues(queues)
        with self._lock:
            self._data().add_queues(queues)

    async def queues(self) -> tuple[str, ...]:
        """Gives all queue names ever recorded, in name order."""
        with self._lock:
            return tuple(sorted(self._data().queues))

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        """Applies or refuses each turn on its own, in order; then fetches."""
        check_turns(turns, self.partitions)
        if fetch is not None:
            check_fetch(fetch, self.partitions)
        with self._lock:
            partitions = self._data().partitions
            now_ms = self._clock()
            replies = tuple([partitions[turn.partition].apply(turn, now_ms) for turn in turns])
            entries = self._fetch(fetch, now_ms) if fetch is not None else ()
        return CommitReply(now_ms, replies, entries)

    async def fetch(self, fetch: Fetch) -> tuple[Entry, ...]:
        """Hands back entries that wait, as many as the fetch has room for."""
        check_fetch(fetch, self.partitions)
        with self._lock:
            self._data()
            return self._fetch(fetch, self._clock())

    def _fetch(self, fetch: Fetch, now_ms: int) -> tuple[Entry, ...]:
        entries: list[Entry] = []
        slots_left = fetch.slots
        for ref in fetch.streams:
            stream = self._stream(ref.partition, ref.stream)
            if stream is None:
                continue
            if ref.stream == CONTROL:
                count = fetch.control
            else:
                count = min(slots_left, math.ceil(len(stream) / ref.readers) - ref.held)
            for entry, payload in stream.read(fetch.consumer, count, now_ms):
                entries.append(Entry(ref.partition, ref.stream, entry, payload))
                slots_left -= ref.stream != CONTROL
        return tuple(entries)

    # ------------------------------------------------------------------- waiting

    def on_late(self, consumer: str, take: Callable[[Entry], None]) -> None:
        """Nothing comes late: a call has one reply."""

    async def block(
        self, consumer: str, streams: Sequence[tuple[int, str]], block_ms: int
    ) -> tuple[Entry, ...]:
        """Waits until one of the streams has an entry; at most one from each."""
        for partition, stream in streams:
            check_place(partition, stream, self.partitions)

        def take() -> tuple[Entry, ...]:
            return self._take_one_each(consumer, streams)

        return await self.server.room.take(take, streams, block_ms)

    def _take_one_each(self, consumer: str, streams: Sequence[tuple[int, str]]) -> tuple[Entry, ...]:
        self._data()
        now_ms = self._clock()
        entries: list[Entry] = []
        for partition, name in streams:
            if (stream := self._stream(partition, name)) is not None:
                for entry, payload in stream.read(consumer, 1, now_ms):
                    entries.append(Entry(partition, name, entry, payload))
        return tuple(entries)

    async def feed(self, cursors: Mapping[int, str], block_ms: int) -> FeedReply:
        """Reads the feeds after their cursors, waiting for the first entry; a cursor of `$` starts now."""
        for number, cursor in cursors.items():
            check_partition(number, self.partitions)
            if cursor != NOW:
                check_entry(cursor)
        with self._lock:
            partitions = self._data().partitions
            begin = {
                number: partitions[number].feed.last_id if cursor == NOW else cursor
                for number, cursor in cursors.items()
            }

        def take() -> tuple[FeedEntry, ...]:
            feeds = self._data().partitions
            return tuple([entry for number in begin for entry in feeds[number].feed.after(begin[number])])

        entries = await self.server.room.take(take, [(number, FEED) for number in begin], block_ms)
        with self._lock:
            gaps = frozenset([number for number in begin if partitions[number].feed.has_gap(begin[number])])
        return FeedReply(entries, gaps, begin | {entry.partition: entry.id for entry in entries})

    # ------------------------------------------------------------------- keeping

    async def keep(self, keep: Keep) -> KeepReply:
        """Beats an engine's heart, moves what is due, takes over what idles, and tells who is alive."""
        check_keep(keep, self.partitions)
        with self._lock:
            namespace = self._data()
            now_ms = self._clock()
            if keep.engine is not None:
                namespace.engine_infos[keep.engine.id] = (now_ms + keep.alive_ms, keep.engine)
            moved = sum([partition.move_due(now_ms, keep.due_limit) for partition in namespace.partitions])
            taken, cursors = self._take_over(keep, now_ms)
            scores = [partition.due.first_score for partition in namespace.partitions]
            return KeepReply(
                now_ms=now_ms,
                moved=moved,
                next_due_ms=min((score for score in scores if score is not None), default=None),
                taken=taken,
                cursors=cursors,
                vanished=0,  # nobody can trim a stream here
                engines=namespace.live_engines(now_ms),
            )

    def _take_over(self, keep: Keep, now_ms: int) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
        taken: list[Entry] = []
        cursors: list[str] = []
        for ref, cursor in keep.takeover:
            stream = self._stream(ref.partition, ref.stream)
            if stream is None or keep.engine is None:
                cursors.append(FIRST_ID)
                continue
            entries, next_cursor = stream.take_over(
                keep.engine.id,
                min_idle_ms=keep.min_idle_ms,
                cursor=cursor,
                limit=keep.takeover_limit,
                now_ms=now_ms,
            )
            taken += [Entry(ref.partition, ref.stream, entry, payload) for entry, payload in entries]
            cursors.append(next_cursor)
        return tuple(taken), tuple(cursors)

    def renew(
        self,
        consumer: str,
        leases: Sequence[Lease],
        streams: Sequence[tuple[int, str]],
        *,
        known: Sequence[EntryKey] = (),
    ) -> RenewReply:
        """Renews the leases that are still this consumer's, and finds what it has and did not name: what
        was delivered to it is renewed as well."""
        named = [*(lease[:3] for lease in leases), *known]
        for place in (*(key[:2] for key in named), *streams):
            check_place(*place, self.partitions)
        for _, _, entry in named:
            check_entry(entry)
        with self._lock:
            self._data()
            now_ms = self._clock()
            lost = tuple([lease for lease in leases if not self._renew(consumer, lease, now_ms)])
            besides = set(named)
            held = [
                found
                for place in streams
                if self._has_pending(*place)
                for found in self._held(consumer, *place, besides=besides)
            ]
            unnamed = tuple([entry for entry, pending in held if not pending.was_taken_over])
            taken = tuple([entry for entry, pending in held if pending.was_taken_over])
            for _, pending in held:
                if not pending.was_taken_over:
                    pending.since_ms = now_ms
            return RenewReply(lost, self._statuses(leases), unnamed, taken)

    def _renew(self, consumer: str, lease: Lease, now_ms: int) -> bool:
        stream = self._stream(lease.partition, lease.stream)
        return stream is not None and stream.renew(lease.entry, consumer, now_ms)

    def _has_pending(self, partition: int, name: str) -> bool:
        stream = self._stream(partition, name)
        return stream is not None and stream.pending_count > 0

    def _held(
        self, consumer: str, partition: int, name: str, *, besides: Set[tuple[int, str, str]]
    ) -> Iterator[tuple[Entry, Pending]]:
        """Gives the first entries of a stream that a consumer has, besides those it named."""
        stream = self._stream(partition, name)
        held = stream.held_by(consumer) if stream is not None else iter(())
        unnamed = (
            (Entry(partition, name, entry, pending.payload), pending)
            for entry, pending in held
            if (partition, name, entry) not in besides
        )
        return islice(unnamed, UNNAMED_LIMIT)

    def _statuses(self, leases: Sequence[Lease]) -> dict[str, str]:
        statuses: dict[str, str] = {}
        for flow in {lease.flow: None for lease in leases}:
            log = self._home(flow).logs.get(flow)
            if log is not None:
                statuses[flow] = log.fields.get("status", "")
        return statuses

    async def release(self, consumer: str, entries: Sequence[Entry], delay_ms: int = 0) -> int:
        """Hands entries back under the same attempt, now or as due entries; tells how many."""
        for entry in entries:
            check_place(entry.partition, entry.stream, self.partitions)
            check_entry(entry.id)
        if delay_ms < 0:
            raise ValueError(f"delay_ms {delay_ms} is negative")
        with self._lock:
            partitions = self._data().partitions
            now_ms = self._clock()
            released = 0
            for entry in entries:
                partition = partitions[entry.partition]
                stream = partition.streams.get(entry.stream)
                payload = stream.remove_held(entry.id, consumer) if stream is not None else None
                if payload is None:
                    continue
                released += 1
                if delay_ms and payload:
                    partition.due.add(f"{entry.stream} {payload}", now_ms + delay_ms)
                else:
                    partition.add_entry(entry.stream, payload, now_ms)
            return released

    async def bury(self, entry: Entry, reason: str) -> None:
        """Moves an entry that nobody can read to the dead ones."""
        check_place(entry.partition, entry.stream, self.partitions)
        check_entry(entry.id)
        with self._lock:
            partition = self._data().partitions[entry.partition]
            stream = partition.streams.get(entry.stream)
            payload = stream.remove(entry.id) if stream is not None else None
            if payload is not None:
                partition.dead.append((entry.stream, payload, reason))

    async def retire(self, consumer: str) -> bool:
        """Ends the heartbeat of an engine and tells whether it has nothing pending: a consumer is
        nothing more than that here."""
        with self._lock:
            self._data().engine_infos.pop(consumer, None)
            return not any(
                any(stream.held_by(consumer))
                for partition in self._data().partitions
                for stream in partition.streams.values()
            )

    async def reap(self, partition: int, min_idle_ms: int) -> None:
        """Does nothing: a consumer that has nothing pending is nothing here."""
        check_reap(partition, self.partitions, min_idle_ms)
        with self._lock:
            self._data()

    async def expire(self, partition: int, *, keep_ms: int, limit: int) -> Expired:
        """Removes the trees of a partition whose time is over, children first."""
        check_expire(partition, self.partitions, keep_ms=keep_ms, limit=limit)
        with self._lock:
            return self._data().partitions[partition].remove_expired(self._clock() - keep_ms, limit)

    # ------------------------------------------------------------------- reading

    async def load(self, reads: Sequence[tuple[str, int, int]]) -> list[list[StoredEvent]]:
        """Reads logs: for each (flow, after version, limit) the events that follow."""
        with self._lock:
            return [self._events(*read) for read in reads]

    def _events(self, flow: str, after: int, limit: int) -> list[StoredEvent]:
        log = self._home(flow).logs.get(flow)
        return log.events[after : after + max(limit, 0)] if log is not None else []

    async def heads(self, flows: Sequence[str]) -> list[Head | None]:
        """Reads the heads of flows; None for a flow that does not exist."""
        with self._lock:
            logs = [self._home(flow).logs.get(flow) for flow in flows]
            return [log.head() if log is not None else None for log in logs]

    async def plans(self, plans: Sequence[tuple[int, str]]) -> list[bytes | None]:
        """Reads plans by (partition, hash)."""
        for number, _ in plans:
            check_partition(number, self.partitions)
        with self._lock:
            partitions = self._data().partitions
            found = [partitions[number].plans.get(plan) for number, plan in plans]
            return [plan.data if plan is not None else None for plan in found]

    async def index(self, index: str, *, newest: bool = True, limit: int = 1_000) -> list[tuple[str, int]]:
        """Gives the flows of an index over all partitions with their start time, by time, then id."""
        check_index(index)
        limit = max(limit, 0)
        with self._lock:
            sets = [partition.index(index) for partition in self._data().partitions]
            rows = [
                row for found in sets for row in (found.last_rows(limit) if newest else found.rows(0, limit))
            ]
        rows.sort(reverse=newest)
        return [(flow, started_at) for started_at, flow in rows[:limit]]

    async def sizes(self, indexes: Sequence[str]) -> list[int]:
        """Counts the flows of indexes over all partitions."""
        for index in indexes:
            check_index(index)
        with self._lock:
            homes = self._data().partitions
            return [sum(len(home.index(index)) for home in homes) for index in indexes]

    async def walk(self, partition: int, index: str, cursor: str, limit: int) -> tuple[list[str], str]:
        """Gives a page of an index by rank and the cursor of the next; `0` begins and ends the walk."""
        check_index(index)
        check_partition(partition, self.partitions)
        start = int(cursor)
        if start < 0 or limit < 1:
            raise ValueError(f"no page of {limit} from rank {start}")
        with self._lock:
            found = self._data().partitions[partition].index(index)
            rows = found.rows(start, start + limit)
            end = start + len(rows)
            return [flow for _, flow in rows], str(end) if rows and end < len(found) else "0"

    async def references(self, partition: int) -> frozenset[tuple[str, str]]:
        """Gives all live references of a partition as (stream, payload)."""
        check_partition(partition, self.partitions)
        with self._lock:
            home = self._data().partitions[partition]
            live = {
                (name, payload) for name, stream in home.streams.items() for payload, _ in stream.entries()
            }
            for member in home.due:
                stream, _, payload = member.partition(" ")
                live.add((stream, payload))
            return frozenset(live)

    # ---------------------------------------------------------- the whole namespace

    async def catalog(self, after: int) -> list[StoredEvent]:
        """Reads the catalog's events after a version."""
        with self._lock:
            return self._data().catalog.events[after:]

    async def append_catalog(
        self, version: int, last_tx: str, tx: str, events: Sequence[NewEvent]
    ) -> TurnReply:
        """Appends to the catalog under the same compare-and-set rule as a turn."""
        check_append(version, last_tx, tx, events)
        with self._lock:
            return self._data().append_catalog(version, last_tx, tx, events, self._clock())

    async def import_log(self, log: ImportedLog) -> bool:
        """Writes the log of a flow that does not exist here, sealed; False when the flow exists."""
        check_import(log, self.partitions)
        with self._lock:
            return self._home(log.flow).import_log(log, self._clock())

    async def queue_stats(self) -> list[QueueStat]:
        """Counts what waits, runs and is due, for `control` and each queue."""
        with self._lock:
            return self._data().queue_stats(self._clock())

    async def engines(self) -> tuple[EngineInfo, ...]:
        """Gives the live engines, by id."""
        with self._lock:
            return self._data().live_engines(self._clock())

    async def tell_health(self, engine: str, found: bytes, alive_ms: int) -> None:
        """Keeps what an engine found of the health of the steps, for so long."""
        check_alive(alive_ms)
        with self._lock:
            self._data().health[engine] = (self._clock() + alive_ms, found)

    async def health(self, engines: Sequence[str]) -> list[bytes | None]:
        """Gives what engines found last; None for one that told nothing lately."""
        with self._lock:
            return self._data().live_health(engines, self._clock())

    async def memorize(self, key: str, outputs: bytes, ttl_ms: int) -> None:
        """Keeps an outcome under a key, for so long from now on."""
        check_alive(ttl_ms)
        with self._lock:
            self._data().keep_memo(key, outputs, self._clock(), ttl_ms)

    async def recall(self, key: str) -> bytes | None:
        """Gives the outcome that is kept under a key."""
        with self._lock:
            until_ms, outputs = self._data().memo.get(key, (0, b""))
            return outputs if until_ms > self._clock() else None

    async def now_ms(self) -> int:
        """Reads the server's clock."""
        return self._clock()

    async def dead(self) -> Dead:
        """Counts what nobody could read, and gives the reason of the newest."""
        with self._lock:
            found = [entry for home in self._data().partitions for entry in home.dead]
            return Dead(len(found), found[-1][2] if found else "")

    async def peek(self) -> NamespaceInfo | None:
        """Looks whether the namespace exists; if so, it can be read from then on."""
        with self._lock:
            if not self.server.is_created:
                return None
            self._namespace = self._namespace or self.server.namespace
            return NamespaceInfo(LAYOUT, self.partitions, True)

    async def info(self) -> Mapping[str, str]:
        """Says that there is no server."""
        return {"server": "memory"}

    async def can_run_scripts(self) -> str:
        """Says nothing: there are no scripts to run."""
        return ""

    async def missing_rights(self, *, to_look: bool = False) -> tuple[str, ...]:
        """Names nothing: there are no users."""
        return ()
