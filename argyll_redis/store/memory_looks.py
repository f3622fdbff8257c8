"""How `MemoryStore` looks at a namespace as it stands, and puts it right: the counterpart of `looks.py`
and of the repair script. A head is its log here: neither can be lost without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import RLock
from typing import Any

from argyll_redis.store.check import check_partition, check_repair, check_row
from argyll_redis.store.keys import Keys
from argyll_redis.store.memory_partition import Log, Partition, Plan
from argyll_redis.store.memory_server import MemoryServer, Namespace
from argyll_redis.store.memory_types import DispatchStream, SortedSet
from argyll_redis.store.mending import (
    Consumer,
    CountUsers,
    DeadEntry,
    Delivered,
    DropConsumer,
    DropDead,
    DropDue,
    DropEntry,
    DropField,
    DropHead,
    DropRow,
    PartitionState,
    PutField,
    PutRow,
    Repair,
    StoredKey,
    StreamState,
)
from argyll_redis.store.protocol import CONTROL, partition_of, work_stream


class MemoryLooks:
    """What a namespace in memory holds, by the keys that a server would have."""

    partitions: int
    namespace: str
    server: MemoryServer
    _lock: RLock

    def _data(self) -> Namespace:
        raise NotImplementedError

    async def keys(self, cursor: str, limit: int = 1_000) -> tuple[list[StoredKey], str]:
        """Gives the keys of the namespace, in one page."""
        del cursor, limit
        with self._lock:
            return list(_keys_of(self._data(), Keys(self.namespace), self.server.now_ms())), "0"

    async def head_fields(self, flows: Sequence[str]) -> list[Mapping[str, str] | None]:
        """Gives everything that heads hold; None for no head."""
        with self._lock:
            return [_head_fields(self._log(flow)) for flow in flows]

    async def log_ends(self, flows: Sequence[str]) -> list[tuple[int, str]]:
        """Gives where logs end."""
        with self._lock:
            logs = [self._log(flow) for flow in flows]
            return [(log.version, log.events[-1].tx) if log and log.events else (0, "") for log in logs]

    def _log(self, flow: str) -> Log | None:
        return self._data().partitions[partition_of(flow, self.partitions)].logs.get(flow)

    async def scores(self, partition: int, rows: Sequence[tuple[str, str]]) -> list[int | None]:
        """Gives the scores of (index, flow); None for a flow that is not there."""
        check_partition(partition, self.partitions)
        with self._lock:
            home = self._data().partitions[partition]
            return [_index(home, index).score(flow) for index, flow in rows]

    async def rows(
        self, partition: int, index: str, cursor: str, limit: int
    ) -> tuple[list[tuple[str, int]], str]:
        """Gives the flows of an index with their scores, in one page."""
        del cursor, limit
        check_partition(partition, self.partitions)
        check_row(index)
        with self._lock:
            found = _index(self._data().partitions[partition], index)
            return [(flow, score) for score, flow in found.rows(0, len(found))], "0"

    async def plan_users(self, plans: Sequence[tuple[int, str]]) -> list[int]:
        """Gives how many flows are counted as users of plans; 0 for none."""
        with self._lock:
            homes = self._data().partitions
            found = [homes[partition].plans.get(hash) for partition, hash in plans]
            return [plan.users if plan else 0 for plan in found]

    async def pending(self, partition: int, queues: Sequence[str]) -> PartitionState:
        """Gives what a partition has pending."""
        check_partition(partition, self.partitions)
        with self._lock:
            home, now_ms = self._data().partitions[partition], self.server.now_ms()
            names = (CONTROL, *map(work_stream, queues))
            streams = tuple([_stream(name, home.streams.get(name), now_ms) for name in names])
            return PartitionState(streams, {member: home.due.score(member) or 0 for member in home.due})

    async def dead_entries(self, limit: int) -> list[DeadEntry]:
        """Gives the newest entries that nobody could read, `limit` of each partition at most."""
        with self._lock:
            return [
                DeadEntry(home.number, f"0-{place}", *entry)
                for home in self._data().partitions
                for place, entry in reversed(list(enumerate(home.dead, 1))[-limit:])
            ]

    async def settings(self, names: Sequence[str]) -> Mapping[str, str]:
        """Gives nothing: there is no server to be set."""
        return {}

    async def lost_ids(self) -> list[int]:
        """Gives nothing: a partition in memory is its own id."""
        return []

    async def restore_ids(self, partitions: Sequence[int]) -> None:
        """Does nothing: no partition is without an id."""

    async def repair(self, repair: Repair) -> bool:
        """Puts something right, or nothing when the log has gone on meanwhile: False."""
        check_repair(repair, self.partitions)
        with self._lock:
            home = self._data().partitions[repair.partition]
            log = home.logs.get(repair.flow)
            ends = (log.version, log.events[-1].tx) if log and log.events else (0, "")
            if repair.flow and ends != (repair.version, repair.tx):
                return False
            for op in repair.ops:
                _APPLY[type(op)](home, repair.flow, op)
            return True


def _keys_of(namespace: Namespace, keys: Keys, now_ms: int) -> Iterator[StoredKey]:
    yield StoredKey(keys.meta, "hash", -1)
    if namespace.catalog.events:
        yield StoredKey(keys.catalog, "stream", -1)
        yield StoredKey(keys.catalog_head, "hash", -1)
    if namespace.queues:
        yield StoredKey(keys.queues, "set", -1)
    for engine in namespace.live_engines(now_ms):
        yield StoredKey(keys.engine(engine.id), "hash", namespace.engine_infos[engine.id][0] - now_ms)
    for engine, (until_ms, _) in namespace.health.items():
        yield StoredKey(keys.health(engine), "string", until_ms - now_ms)
    for hash, (until_ms, _) in namespace.memo.items():
        yield StoredKey(keys.memo(hash), "string", until_ms - now_ms)
    for home in namespace.partitions:
        yield from (StoredKey(keys.of(home.number, name), type, -1) for name, type in _names_of(home))


def _names_of(home: Partition) -> Iterator[tuple[str, str]]:
    """The keys of a partition, without their tag, and their types; a server has none that is empty."""
    yield "id", "string"
    for flow in home.logs:
        yield f"flow:{flow}", "stream"
        yield f"head:{flow}", "hash"
    for hash in home.plans:
        yield f"plan:{hash}", "hash"
    for stream in home.streams:
        yield stream, "stream"
    sets = {"due": home.due, "expire": home.expire, "tree": home.tree, **home.indexes}
    yield from ((name, "zset") for name, found in sets.items() if found)
    if any(True for _ in home.feed):
        yield "feed", "stream"
    if home.dead:
        yield "dead", "stream"


def _head_fields(log: Log | None) -> dict[str, str] | None:
    if log is None:
        return None
    own = {"v": str(log.version), "tx": log.tx, "at": str(log.events[-1].at), "t0": str(log.started_at)}
    sealed = {"sealed": "1"} if log.sealed else {}
    fields = {f".{name}": value for name, value in log.fields.items()}
    plans = {f"@{hash}": str(uses) for hash, uses in log.plans.items()}
    return own | sealed | fields | {f"#{index}": "" for index in log.indexes} | plans


def _index(home: Partition, index: str) -> SortedSet:
    own = {"expire": home.expire, "tree": home.tree, "due": home.due}
    return own[index] if index in own else home.index(index)


def _stream(name: str, stream: DispatchStream | None, now_ms: int) -> StreamState:
    if stream is None:
        return StreamState(name, False, {}, {}, (), frozenset())
    pending = {
        entry: Delivered(held.consumer, max(0, now_ms - held.since_ms)) for entry, held in stream.held()
    }
    had = [each.consumer for each in pending.values()]
    consumers = tuple(Consumer(name, had.count(name), 0) for name in sorted(set(had)))
    return StreamState(name, stream.has_group, dict(stream.by_id()), pending, consumers, frozenset())


# ------------------------------------------------------------------- operations


def _put_field(home: Partition, flow: str, op: PutField) -> None:
    """Sets what a log has beside its events here; its version, times and transaction are the events' own."""
    log, name = home.logs[flow], op.name[1:]
    match op.name[0]:
        case ".":
            log.fields[name] = op.value
        case "#":
            log.indexes.add(name)
        case "@":
            log.plans[name] = int(op.value)
        case _ if op.name == "tx":
            log.tx = op.value
        case _:
            log.sealed = log.sealed or op.name == "sealed"


def _drop_field(home: Partition, flow: str, op: DropField) -> None:
    log, name = home.logs[flow], op.name[1:]
    match op.name[0]:
        case ".":
            log.fields.pop(name, None)
        case "#":
            log.indexes.discard(name)
        case "@":
            log.plans.pop(name, None)
        case _:
            log.sealed = log.sealed and op.name != "sealed"


def _nothing(home: Partition, flow: str, op: DropHead | DropConsumer) -> None:
    """Neither a head without a log nor a consumer with nothing pending is anything here."""


def _put_row(home: Partition, flow: str, op: PutRow) -> None:
    if op.index in ("expire", "tree"):
        found = _index(home, op.index)
    else:
        found = home.indexes.setdefault(op.index, SortedSet())
    known = found.score(flow)
    if op.index != "expire" or known is None or known < op.score:
        found.add(flow, op.score)


def _drop_row(home: Partition, flow: str, op: DropRow) -> None:
    _index(home, op.index).discard(flow)
    if op.index in home.indexes and not home.indexes[op.index]:
        del home.indexes[op.index]


def _count_users(home: Partition, _flow: str, op: CountUsers) -> None:
    plan: Plan | None = home.plans.get(op.hash)
    if plan is None or plan.users != op.was:
        return
    plan.users = op.users
    if not op.users:
        del home.plans[op.hash]


def _drop_entry(home: Partition, _flow: str, op: DropEntry) -> None:
    stream = home.streams.get(op.stream)
    if stream is not None and not op.only_stranded:  # nothing can be stranded here
        stream.remove(op.entry)


def _drop_due(home: Partition, _flow: str, op: DropDue) -> None:
    home.due.discard(op.member)


def _drop_dead(home: Partition, _flow: str, op: DropDead) -> None:
    place = int(op.entry.partition("-")[2])
    if 1 <= place <= len(home.dead):
        del home.dead[place - 1]


_APPLY: Mapping[type, Callable[[Partition, str, Any], None]] = {
    PutField: _put_field,
    DropField: _drop_field,
    DropHead: _nothing,
    PutRow: _put_row,
    DropRow: _drop_row,
    CountUsers: _count_users,
    DropEntry: _drop_entry,
    DropDue: _drop_due,
    DropConsumer: _nothing,
    DropDead: _drop_dead,
}
