"""The half of `RedisStore` that only reads: plain commands, pipelined and in bounded pages.

Nothing here blocks the server for long, and nothing here is atomic: what changes between two pages
may be seen or not, which callers (sweep, statistics, lists) allow for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice

from argyll_redis.store.answers import code_of, exception_for
from argyll_redis.store.calls import Calls
from argyll_redis.store.check import check_entry, check_index, check_partition, is_queue
from argyll_redis.store.connect import Command, Reply
from argyll_redis.store.keys import GROUP, Keys
from argyll_redis.store.protocol import (
    BLOCK_LIMIT_MS,
    CONTROL,
    FEED_LENGTH,
    Dead,
    EngineInfo,
    FeedReply,
    Head,
    NamespaceInfo,
    QueueStat,
    StoredEvent,
    partition_of,
    work_stream,
)
from argyll_redis.store.wire import number, text, unpack_engine, unpack_event, unpack_feed, unpack_head

NOW = "$"
"""The cursor of a feed that starts now."""

PAGE = 500
"""Entries, members or events that one command of a longer read gives at most."""


class Reads:
    """What a namespace holds."""

    def __init__(self, keys: Keys, partitions: int, commands: Calls, waits: Calls) -> None:
        self.namespace = keys.namespace
        self.partitions = partitions
        self._keys = keys
        self._commands = commands
        self._waits = waits

    async def queues(self) -> tuple[str, ...]:
        """Gives all queue names ever recorded, in name order."""
        names: list[bytes] = await self._commands.call(("SMEMBERS", self._keys.queues))
        return tuple(sorted(filter(is_queue, map(text, names))))

    async def now_ms(self) -> int:
        """Gives the server's clock."""
        return _ms(await self._commands.call(("TIME",)))

    async def load(self, reads: Sequence[tuple[str, int, int]]) -> list[list[StoredEvent]]:
        """Reads logs: for each (flow, after version, limit) the events that follow. One round trip.

        What is read has its copies, where commits wait for theirs: what is decided on it does."""
        commands = [
            ("XRANGE", self._flow_key("flow", flow), f"{after + 1}-0", "+", "COUNT", limit)
            for flow, after, limit in reads
        ]
        replies = await self._commands.pipeline(commands, copied=self._keys.id(0))
        return [[unpack_event(raw) for raw in reply or ()] for reply in replies]

    async def heads(self, flows: Sequence[str]) -> list[Head | None]:
        """Reads the heads of flows; None for a flow that does not exist. One round trip."""
        commands = [("HGETALL", self._flow_key("head", flow)) for flow in flows]
        return [unpack_head(reply) for reply in await self._commands.pipeline(commands)]

    async def plans(self, plans: Sequence[tuple[int, str]]) -> list[bytes | None]:
        """Reads plans by (partition, hash). One round trip."""
        for partition, _ in plans:
            check_partition(partition, self.partitions)
        return await self._commands.pipeline(
            [("HGET", self._keys.of(partition, f"plan:{hash}"), "b") for partition, hash in plans]
        )

    async def index(self, index: str, *, newest: bool = True, limit: int = 1_000) -> list[tuple[str, int]]:
        """Gives flows of an index over all partitions with their start time (ms), by time, then id."""
        check_index(index)
        if limit < 1:
            return []
        rows: list[list[tuple[int, str]]] = [[] for _ in range(self.partitions)]
        behind = list(range(self.partitions))
        goes_on: dict[int, bool] = {}
        # Flows are spread evenly: twice a partition's share is hardly ever too little.
        share = min(limit, max(PAGE, 2 * limit // self.partitions))
        while behind:
            pages = await self._pages(index, {place: len(rows[place]) for place in behind}, share, newest)
            for place, page in zip(behind, pages, strict=True):
                rows[place] += page
                goes_on[place] = len(page) == share
            behind = _behind(rows, goes_on, limit, newest=newest)
        merged = islice(dict.fromkeys(merge(*rows, reverse=newest)), limit)
        return [(flow, started_at) for started_at, flow in merged]

    async def _pages(
        self, index: str, begins: Mapping[int, int], count: int, newest: bool
    ) -> list[list[tuple[int, str]]]:
        """Reads rows of an index in partitions, from a rank each on."""
        order = ("REV",) if newest else ()
        replies = await self._commands.pipeline(
            [
                ("ZRANGE", self._keys.of(place, index), begin, begin + count - 1, *order, "WITHSCORES")
                for place, begin in begins.items()
            ]
        )
        return [[(number(score), text(flow)) for flow, score in _pairs(reply)] for reply in replies]

    async def sizes(self, indexes: Sequence[str]) -> list[int]:
        """Counts the flows of indexes over all partitions. One round trip."""
        for index in indexes:
            check_index(index)
        commands = [
            ("ZCARD", self._keys.of(partition, index))
            for index in indexes
            for partition in range(self.partitions)
        ]
        counts: list[int] = await self._commands.pipeline(commands)
        return [
            sum(counts[place * self.partitions : (place + 1) * self.partitions])
            for place in range(len(indexes))
        ]

    async def walk(self, partition: int, index: str, cursor: str, limit: int) -> tuple[list[str], str]:
        """Gives a page of an index by rank; cursor `0` begins and ends the walk."""
        check_partition(partition, self.partitions)
        check_index(index)
        begin = int(cursor)
        if begin < 0 or limit < 1:
            raise ValueError(f"no page of {limit} from rank {begin}")
        # One more than asked for tells whether there is a next page.
        members: list[bytes] = await self._commands.call(
            ("ZRANGE", self._keys.of(partition, index), begin, begin + limit)
        )
        end = str(begin + limit) if len(members) > limit else "0"
        return [*map(text, members[:limit])], end

    async def references(self, partition: int) -> frozenset[tuple[str, str]]:
        """Gives all live references of a partition as (stream, payload): waiting, pending and due.

        A pending entry is still in its stream, so reading streams whole finds both. Due entries are
        read first: one that moves meanwhile is then found in its stream.
        """
        check_partition(partition, self.partitions)
        found: set[tuple[str, str]] = set()
        async for members in self._due_pages(partition):
            for member in members:
                stream, _, payload = member.partition(" ")
                found.add((stream, payload))
        for stream in (CONTROL, *map(work_stream, await self.queues())):
            begin, page = "-", [None] * PAGE
            while len(page) == PAGE:
                page = await self._commands.call(
                    ("XRANGE", self._keys.of(partition, stream), begin, "+", "COUNT", PAGE)
                )
                found.update((stream, _payload(raw)) for raw in page)
                begin = "(" + page[-1][0].decode() if page else "+"
        return frozenset(found)

    async def feed(self, cursors: Mapping[int, str], block_ms: int) -> FeedReply:
        """Reads the feeds of the given partitions after their cursors, waiting up to `block_ms`.

        A cursor of `$` starts now. A gap can only be where a whole feed came back: less than that is
        kept for sure.
        """
        for partition, cursor in cursors.items():
            check_partition(partition, self.partitions)
            if cursor != NOW:
                check_entry(cursor)
        known = await self._real_cursors(cursors)
        pages = await self._read_feeds(known, block_ms) if known else {}
        full = {partition: page[0][0] for partition, page in pages.items() if len(page) >= FEED_LENGTH}
        entries = tuple([unpack_feed(partition, raw) for partition, page in pages.items() for raw in page])
        ends = {entry.partition: entry.id for entry in entries}
        return FeedReply(entries, await self._gaps(full), known | ends)

    async def _read_feeds(self, cursors: Mapping[int, str], block_ms: int) -> dict[int, list[Reply]]:
        """Gives the entries after each cursor, by partition."""
        keys = {self._keys.of(partition, "feed").encode(): partition for partition in cursors}
        wait_ms = max(0, min(block_ms, BLOCK_LIMIT_MS))
        block = ("BLOCK", wait_ms) if wait_ms else ()
        reply: list[tuple[bytes, list[Reply]]] | None = await self._waits.call(
            ("XREAD", "COUNT", FEED_LENGTH, *block, "STREAMS", *keys, *cursors.values()), wait_ms=wait_ms
        )
        return {keys[key]: page for key, page in reply or ()}

    async def catalog(self, after: int) -> list[StoredEvent]:
        """Reads the catalog's events after a version."""
        events: list[StoredEvent] = []
        page: list[Reply] = [None] * PAGE
        while len(page) == PAGE:
            page = await self._commands.call(
                ("XRANGE", self._keys.catalog, f"{after + len(events) + 1}-0", "+", "COUNT", PAGE)
            )
            events += map(unpack_event, page)
        return events

    async def engines(self) -> tuple[EngineInfo, ...]:
        """Gives the live engines, by id."""
        ids: list[bytes] = await self._commands.call(("ZRANGE", self._keys.engines, 0, -1))
        told = ("queues", "handlers", "lease_ms", "state")
        kept = await self._commands.pipeline([("HMGET", self._keys.engine(text(id)), *told) for id in ids])
        found = [unpack_engine(id, fields) for id, fields in zip(ids, kept, strict=True)]
        return tuple(sorted((engine for engine in found if engine), key=lambda engine: engine.id))

    async def health(self, engines: Sequence[str]) -> list[bytes | None]:
        """Gives what engines found last; None for one that told nothing lately. One round trip."""
        return await self._commands.pipeline([("GET", self._keys.health(engine)) for engine in engines])

    async def recall(self, key: str) -> bytes | None:
        """Gives the outcome that is kept under a key."""
        return await self._commands.call(("GET", self._keys.memo(key)))

    async def peek(self) -> NamespaceInfo | None:
        """Looks whether the namespace exists; from then on the store knows its partitions."""
        layout, partitions, ready = await self._commands.call(
            ("HMGET", self._keys.meta, "layout", "partitions", "ready")
        )
        if layout is None or partitions is None:
            return None
        self.partitions = int(partitions)
        return NamespaceInfo(int(layout), self.partitions, ready is not None)

    async def dead(self) -> Dead:
        """Counts what nobody could read, and gives the reason of the newest."""
        keys = [self._keys.of(partition, "dead") for partition in range(self.partitions)]
        commands: list[Command] = []
        for key in keys:
            commands += [("XLEN", key), ("XREVRANGE", key, "+", "-", "COUNT", 1)]
        replies = await self._commands.pipeline(commands)
        newest = max((page[0] for page in replies[1::2] if page), key=lambda raw: _id(raw[0]), default=None)
        fields: list[bytes] = newest[1] if newest else []
        reason = dict(zip(fields[::2], fields[1::2], strict=False)).get(b"reason", b"")
        return Dead(sum(replies[::2]), reason.decode("utf-8", "backslashreplace"))

    async def queue_stats(self) -> list[QueueStat]:
        """Counts what waits, runs and is due in every queue, `control` first."""
        names = (CONTROL, *await self.queues())
        due: Counter[str] = Counter()
        for partition in range(self.partitions):
            async for members in self._due_pages(partition):
                due.update(member.partition(" ")[0] for member in members)
        return [await self._queue_stat(name, due) for name in names]

    async def _queue_stat(self, name: str, due: Counter[str]) -> QueueStat:
        stream = CONTROL if name == CONTROL else work_stream(name)
        keys = [self._keys.of(partition, stream) for partition in range(self.partitions)]
        commands: list[Command] = [("TIME",)]
        for key in keys:
            commands += [("XLEN", key), ("XPENDING", key, GROUP), ("XRANGE", key, "-", "+", "COUNT", 1)]
        time, *told = map(_told, await self._commands.attempts(commands))
        length = sum(waiting or 0 for waiting in told[::3])
        in_flight = sum(pending[0] if pending else 0 for pending in told[1::3])
        oldest = min((int(page[0][0].partition(b"-")[0]) for page in told[2::3] if page), default=None)
        oldest_ms = 0 if oldest is None else max(0, _ms(time) - oldest)
        return QueueStat(name, length - in_flight, in_flight, due[stream], oldest_ms)

    async def _due_pages(self, partition: int):
        """Gives all due members of a partition, a page at a time; some may come twice."""
        cursor = b"0"
        while True:
            cursor, members = await self._commands.call(
                ("ZSCAN", self._keys.of(partition, "due"), cursor, "COUNT", PAGE)
            )
            yield [*map(text, members[::2])]
            if int(cursor) == 0:
                return

    async def _real_cursors(self, cursors: Mapping[int, str]) -> dict[int, str]:
        """Puts the id of the last entry in place of each `$`."""
        open_ends = [partition for partition, cursor in cursors.items() if cursor == NOW]
        replies = await self._commands.pipeline(
            [("XREVRANGE", self._keys.of(partition, "feed"), "+", "-", "COUNT", 1) for partition in open_ends]
        )
        ends = {
            partition: page[0][0].decode() if page else "0-0"
            for partition, page in zip(open_ends, replies, strict=True)
        }
        return dict(cursors) | ends

    async def _gaps(self, firsts: Mapping[int, bytes]) -> frozenset[int]:
        """Names the partitions whose oldest entry is the first that was read: older ones may be gone."""
        replies = await self._commands.pipeline(
            [("XRANGE", self._keys.of(partition, "feed"), "-", "+", "COUNT", 1) for partition in firsts]
        )
        return frozenset(
            partition
            for (partition, first), page in zip(firsts.items(), replies, strict=True)
            if not page or _id(page[0][0]) >= _id(first)
        )

    def _flow_key(self, kind: str, flow: str) -> str:
        return self._keys.of(partition_of(flow, self.partitions), f"{kind}:{flow}")


def _behind(
    rows: Sequence[Sequence[tuple[int, str]]], goes_on: Mapping[int, bool], limit: int, *, newest: bool
) -> list[int]:
    """The partitions that have to be read on, so that the first rows of all are known: those whose last
    row that was read is nearest to the first."""
    ends = {place: rows[place][-1] for place, more in goes_on.items() if more}
    if not ends:
        return []
    edge = max(ends.values()) if newest else min(ends.values())
    known = sum(row >= edge if newest else row <= edge for page in rows for row in page)
    return [place for place, end in ends.items() if end == edge] if known < limit else []


def _id(raw: bytes) -> tuple[int, int]:
    """Reads an entry's id, so that ids can be compared."""
    ms, _, sequence = raw.partition(b"-")
    return int(ms), int(sequence)


def _told(reply: Reply) -> Reply:
    """What a stream tells; None where it or its group is not there, or where it is none. Raises for any other
    error: a server that cannot say how much waits has not said that nothing does."""
    if not isinstance(reply, Exception):
        return reply
    if code_of(reply) in ("NOGROUP", "WRONGTYPE"):
        return None
    raise exception_for(reply)


def _ms(time: list[bytes]) -> int:
    return int(time[0]) * 1000 + int(time[1]) // 1000


def _pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _payload(raw: Reply) -> str:
    fields = raw[1]
    return fields[1].decode("utf-8", "backslashreplace") if len(fields) > 1 else ""
