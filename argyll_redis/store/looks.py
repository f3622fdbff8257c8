"""How `RedisStore` looks at a namespace as it stands, key by key: for those who audit and repair it.

Plain reads in bounded pages, as in `reads.py`; what changes meanwhile may be seen or not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from argyll_redis.store.answers import code_of, exception_for
from argyll_redis.store.calls import Calls
from argyll_redis.store.check import check_partition, check_row
from argyll_redis.store.connect import Command, Reply
from argyll_redis.store.keys import GROUP, Keys
from argyll_redis.store.mending import (
    Consumer,
    DeadEntry,
    Delivered,
    PartitionState,
    StoredKey,
    StreamState,
)
from argyll_redis.store.protocol import CONTROL, partition_of, work_stream
from argyll_redis.store.wire import number, text

LOOK_PAGE = 500
"""Entries or members that one command gives at most."""


class Looks:
    """What a namespace holds, by its keys."""

    partitions: int
    _keys: Keys
    _commands: Calls

    async def keys(self, cursor: str, limit: int = 1_000) -> tuple[list[StoredKey], str]:
        """Gives about `limit` keys of the namespace, and where to go on; `0` begins and ends the walk."""
        pattern = f"{{{self._keys.namespace}[:}}]*"
        next_cursor, names = await self._scan(cursor, pattern, limit)
        commands: list[Command] = []
        for name in names:
            commands += [("TYPE", name), ("PTTL", name)]
        replies = await self._commands.pipeline(commands)
        found = [
            StoredKey(name.decode("utf-8", "backslashreplace"), type.decode(), ttl_ms)
            for name, type, ttl_ms in zip(names, replies[::2], replies[1::2], strict=True)
            if type != b"none"  # it went meanwhile
        ]
        return found, next_cursor

    async def _scan(self, cursor: str, pattern: str, limit: int) -> tuple[str, list[bytes]]:
        """Gives where to go on, and a page of the names of keys."""
        reply = await self._commands.call(("SCAN", cursor, "MATCH", pattern, "COUNT", limit))
        return reply[0].decode(), reply[1]

    async def head_fields(self, flows: Sequence[str]) -> list[Mapping[str, str] | None]:
        """Gives everything that heads hold; None for no head. One round trip."""
        replies = await self._commands.pipeline([("HGETALL", self._place("head", flow)) for flow in flows])
        return [_fields(reply) if reply else None for reply in replies]

    async def log_ends(self, flows: Sequence[str]) -> list[tuple[int, str]]:
        """Gives where logs end, by themselves. One round trip."""
        commands = [("XREVRANGE", self._place("flow", flow), "+", "-", "COUNT", 1) for flow in flows]
        return [_end(reply) for reply in await self._commands.pipeline(commands)]

    async def scores(self, partition: int, rows: Sequence[tuple[str, str]]) -> list[int | None]:
        """Gives the scores of (index, flow); None for a flow that is not there. One round trip."""
        check_partition(partition, self.partitions)
        replies = await self._commands.pipeline(
            [("ZSCORE", self._keys.of(partition, index), flow) for index, flow in rows]
        )
        return [None if reply is None else number(reply) for reply in replies]

    async def rows(
        self, partition: int, index: str, cursor: str, limit: int
    ) -> tuple[list[tuple[str, int]], str]:
        """Gives about `limit` flows of an index with their scores, and where to go on."""
        check_partition(partition, self.partitions)
        check_row(index)
        next_cursor, flat = await self._commands.call(
            ("ZSCAN", self._keys.of(partition, index), cursor, "COUNT", limit)
        )
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return [(text(flow), number(score)) for flow, score in pairs], next_cursor.decode()

    async def plan_users(self, plans: Sequence[tuple[int, str]]) -> list[int]:
        """Gives how many flows are counted as users of plans; 0 for none. One round trip."""
        commands = [("HGET", self._keys.of(partition, f"plan:{hash}"), "n") for partition, hash in plans]
        return [number(reply or b"0") for reply in await self._commands.pipeline(commands)]

    async def pending(self, partition: int, queues: Sequence[str]) -> PartitionState:
        """Gives what a partition has pending. Due members are read first: one that moves meanwhile is then
        found in its stream."""
        check_partition(partition, self.partitions)
        due: dict[str, int] = {}
        cursor = "0"
        while True:
            page, cursor = await self.rows(partition, "due", cursor, LOOK_PAGE)
            due.update(page)
            if cursor == "0":
                break
        names = (CONTROL, *map(work_stream, queues))
        return PartitionState(tuple([await self._stream(partition, name) for name in names]), due)

    async def _stream(self, partition: int, stream: str) -> StreamState:
        """Reads a stream, then who has what of it, and looks once more at what nobody seems to have: what
        was acknowledged meanwhile is gone by then, for both go in one step."""
        key = self._keys.of(partition, stream)
        group = _group(await self._told(("XINFO", "GROUPS", key)))
        entries: dict[str, str] = {}
        async for raw in self._entries(key):
            entries[raw[0].decode()] = _payload(raw[1])
        if group is None:
            return StreamState(stream, False, entries, {}, (), frozenset())
        pending = await self._delivered(key)
        consumers = tuple(map(_consumer, await self._told(("XINFO", "CONSUMERS", key, GROUP))))
        last = _order(group["last-delivered-id"].decode())
        loose = [entry for entry in entries if entry not in pending and _order(entry) <= last]
        there = await self._commands.pipeline([("XRANGE", key, entry, entry) for entry in loose])
        stranded = frozenset(entry for entry, page in zip(loose, there, strict=True) if page)
        return StreamState(stream, True, entries, pending, consumers, stranded)

    async def _entries(self, key: str) -> AsyncIterator[Reply]:
        """All entries of a stream, the oldest first, a page at a time."""
        begin = "-"
        while True:
            page: list[Reply] = await self._commands.call(("XRANGE", key, begin, "+", "COUNT", LOOK_PAGE))
            for raw in page:
                yield raw
            if len(page) < LOOK_PAGE:
                return
            begin = "(" + page[-1][0].decode()

    async def _delivered(self, key: str) -> dict[str, Delivered]:
        """Everything that consumers of a stream have, a page at a time."""
        found: dict[str, Delivered] = {}
        begin = "-"
        while True:
            page = await self._told(("XPENDING", key, GROUP, begin, "+", LOOK_PAGE))
            for entry, consumer, idle_ms, _ in page:
                found[entry.decode()] = Delivered(consumer.decode(), idle_ms)
            if len(page) < LOOK_PAGE:
                return found
            begin = "(" + page[-1][0].decode()

    async def _told(self, command: Command) -> list[Reply]:
        """The rows that a command gives of a stream; none where the stream or its group is not there."""
        (reply,) = await self._commands.attempts([command])
        if not isinstance(reply, Exception):
            return reply
        if code_of(reply) == "NOGROUP" or "no such key" in str(reply):
            return []
        raise exception_for(reply)

    async def dead_entries(self, limit: int) -> list[DeadEntry]:
        """Gives the newest entries that nobody could read, `limit` of each partition at most."""
        replies = await self._commands.pipeline(
            [
                ("XREVRANGE", self._keys.of(partition, "dead"), "+", "-", "COUNT", limit)
                for partition in range(self.partitions)
            ]
        )
        found = [_dead(partition, raw) for partition, page in enumerate(replies) for raw in page]
        return sorted(found, key=lambda entry: _order(entry.id), reverse=True)

    async def settings(self, names: Sequence[str]) -> Mapping[str, str]:
        """Gives settings of the server; nothing when the user may not ask."""
        (reply,) = await self._commands.attempts([("CONFIG", "GET", *names)])
        return {} if isinstance(reply, Exception) else _fields(reply)

    async def lost_ids(self) -> list[int]:
        """Gives the partitions whose own id is gone, or is another namespace's."""
        instance, *ids = await self._commands.pipeline(
            [
                ("HGET", self._keys.meta, "instance"),
                *(("GET", self._keys.id(partition)) for partition in range(self.partitions)),
            ]
        )
        return [partition for partition, id in enumerate(ids) if id is None or id != instance]

    async def restore_ids(self, partitions: Sequence[int]) -> None:
        """Gives partitions without an id that of the namespace. A command a partition: each is an affair of
        its own, and one that has an id meanwhile keeps it."""
        for partition in partitions:
            check_partition(partition, self.partitions)
        instance = await self._commands.call(("HGET", self._keys.meta, "instance"))
        if instance:
            await self._commands.pipeline(
                [("SET", self._keys.id(partition), instance, "NX") for partition in partitions]
            )

    def _place(self, kind: str, flow: str) -> str:
        return self._keys.of(partition_of(flow, self.partitions), f"{kind}:{flow}")


def _fields(flat: list[bytes]) -> dict[str, str]:
    text = [item.decode("utf-8", "backslashreplace") for item in flat]
    return dict(zip(text[::2], text[1::2], strict=True))


def _end(page: list[Reply]) -> tuple[int, str]:
    """The version and the transaction of the last entry of a log, be it none that we wrote."""
    if not page:
        return 0, ""
    version = page[0][0].partition(b"-")[0].decode()
    return int(version), _fields(page[0][1]).get("tx", "").partition(":")[0]


def _group(rows: list[Reply]) -> dict[str, bytes] | None:
    """The row of our group; None when there is none, or no stream."""
    named: list[dict[str, bytes]] = [
        {key.decode(): value for key, value in zip(row[::2], row[1::2], strict=True)} for row in rows
    ]
    return next((row for row in named if row["name"].decode() == GROUP), None)


def _consumer(row: list[Reply]) -> Consumer:
    kept = {key.decode(): value for key, value in zip(row[::2], row[1::2], strict=True)}
    return Consumer(kept["name"].decode(), kept["pending"], kept["idle"])


def _payload(fields: list[bytes]) -> str:
    return fields[1].decode("utf-8", "backslashreplace") if len(fields) > 1 else ""


def _dead(partition: int, raw: Reply) -> DeadEntry:
    kept = _fields(raw[1])
    return DeadEntry(
        partition, raw[0].decode(), kept.get("stream", ""), kept.get("r", ""), kept.get("reason", "")
    )


def _order(entry: str) -> tuple[int, int]:
    """Orders entry ids."""
    ms, _, sequence = entry.partition("-")
    return int(ms), int(sequence)
