"""What a namespace in memory holds.

`MemoryServer` is the counterpart of a Redis server, `MemoryStore` that of a connection: several
stores share a server, from several threads if need be, and its lock makes each call one step.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from argyll_redis.store.memory_partition import Log, Partition
from argyll_redis.store.memory_types import DispatchStream, SortedSet, id_key
from argyll_redis.store.memory_waiting import WaitingRoom
from argyll_redis.store.protocol import (
    CONTROL,
    Committed,
    EngineInfo,
    NewEvent,
    QueueStat,
    StoredEvent,
    TurnReply,
    work_stream,
)


def real_now_ms() -> int:
    """Reads the machine's clock: a server has one of its own, and here the process is the server."""
    return time.time_ns() // 1_000_000


class Namespace:
    """All data of a namespace from its creation until it is emptied; emptied, it is another one."""

    __slots__ = ("catalog", "engine_infos", "health", "memo", "partitions", "queues")

    def __init__(self, partitions: int, room: WaitingRoom) -> None:
        self.partitions = tuple(Partition(number, room) for number in range(partitions))
        self.catalog = Log()
        self.queues: set[str] = set()
        self.engine_infos: dict[str, tuple[int, EngineInfo]] = {}
        """By engine id: until when it is alive, and what it said."""
        self.health: dict[str, tuple[int, bytes]] = {}
        """By engine id: until when it is kept, and what it found of the health of the steps."""

        self.memo: dict[str, tuple[int, bytes]] = {}
        """By key: until when an outcome is kept, and the outcome; those that were written last are last."""

    def keep_memo(self, key: str, outputs: bytes, now_ms: int, ttl_ms: int) -> None:
        """Keeps an outcome, and forgets older ones whose time is over."""
        self.memo.pop(key, None)
        while self.memo and self.memo[oldest := next(iter(self.memo))][0] <= now_ms:
            del self.memo[oldest]
        self.memo[key] = (now_ms + ttl_ms, outputs)

    def add_queues(self, queues: Sequence[str]) -> None:
        """Records queues and creates their streams."""
        self.queues.update(queues)
        for partition in self.partitions:
            partition.add_group(CONTROL)
            for queue in queues:
                partition.add_group(work_stream(queue))

    def live_engines(self, now_ms: int) -> tuple[EngineInfo, ...]:
        """Gives the engines whose heart beat lately, by id, and forgets the others."""
        infos = self.engine_infos
        for engine in [engine for engine, (until_ms, _) in infos.items() if until_ms <= now_ms]:
            del infos[engine]
        return tuple(infos[engine][1] for engine in sorted(infos))

    def live_health(self, engines: Sequence[str], now_ms: int) -> list[bytes | None]:
        """Gives what engines found lately, and forgets what is older."""
        for engine in [engine for engine, (until_ms, _) in self.health.items() if until_ms <= now_ms]:
            del self.health[engine]
        return [self.health[engine][1] if engine in self.health else None for engine in engines]

    def append_catalog(
        self, version: int, last_tx: str, tx: str, events: Sequence[NewEvent], now_ms: int
    ) -> TurnReply:
        """Appends to the catalog, or refuses."""
        if not self.catalog.is_at(version, last_tx):
            return self.catalog.refusal(version)
        at = self.catalog.at(now_ms)
        self.catalog.append(tx, events, at)
        return Committed(self.catalog.version, at)

    def queue_stats(self, now_ms: int) -> list[QueueStat]:
        """Counts what waits, runs and is due, for `control` and each queue."""
        due = Counter(member.partition(" ")[0] for home in self.partitions for member in home.due)
        names = [(CONTROL, CONTROL), *((queue, work_stream(queue)) for queue in sorted(self.queues))]
        return [self._queue_stat(queue, name, due[name], now_ms) for queue, name in names]

    def _queue_stat(self, queue: str, name: str, due: int, now_ms: int) -> QueueStat:
        streams = [home.streams[name] for home in self.partitions]
        oldest = [id_key(stream.oldest_id)[0] for stream in streams if stream.oldest_id is not None]
        return QueueStat(
            queue=queue,
            depth=sum([stream.waiting_count for stream in streams]),
            in_flight=sum([stream.pending_count for stream in streams]),
            due=due,
            oldest_ms=max(now_ms - min(oldest, default=now_ms), 0),
        )


class MemoryServer:
    """Holds one namespace for any number of stores; its clock can be handed in."""

    def __init__(self, *, partitions: int = 16, now_ms: Callable[[], int] | None = None) -> None:
        if partitions < 1:
            raise ValueError(f"a namespace has at least one partition, not {partitions}")
        self.now_ms = now_ms or real_now_ms
        self.lock = threading.RLock()
        """Held during each call; a call never waits while it holds it."""
        self.room = WaitingRoom(self.lock)
        self._partition_count = partitions
        self._namespace: Namespace | None = None

    @property
    def partitions(self) -> int:
        """The number of partitions."""
        return self._partition_count

    @property
    def namespace(self) -> Namespace:
        """The data; created at first use and after it was emptied."""
        with self.lock:
            if self._namespace is None:
                self._namespace = Namespace(self._partition_count, self.room)
            return self._namespace

    @property
    def is_created(self) -> bool:
        """Whether anybody has used the namespace since it was last emptied."""
        return self._namespace is not None

    def is_current(self, namespace: Namespace) -> bool:
        """Tells whether this is still the data, that is: nobody emptied it."""
        return namespace is self._namespace

    def clear(self) -> None:
        """Forgets everything, as FLUSHALL does; stores that are open notice."""
        with self.lock:
            self._namespace = None
            self.room.wake_all()

    def lose_dispatch(self) -> None:
        """Forgets every dispatch and due entry, as a fault: the logs must bring them back."""
        with self.lock:
            for partition in self.namespace.partitions:
                for name, stream in partition.streams.items():
                    fresh = partition.streams[name] = DispatchStream()
                    fresh.has_group = stream.has_group
                partition.due = SortedSet()

    def dump(self) -> dict[str, object]:
        """Gives a picture of all data without times and entry ids, which differ by clock."""
        with self.lock:
            namespace = self.namespace
            return {
                "catalog": [_picture(event) for event in namespace.catalog.events],
                "queues": sorted(namespace.queues),
                "engines": list(namespace.live_engines(self.now_ms())),
                "partitions": [_partition_picture(partition) for partition in namespace.partitions],
            }


def _picture(event: StoredEvent) -> tuple[object, ...]:
    return tuple(event._replace(at=0))


def _log_picture(log: Log) -> dict[str, object]:
    return {
        "events": [_picture(event) for event in log.events],
        "tx": log.tx,
        "sealed": log.sealed,
        "fields": dict(log.fields),
    }


def _partition_picture(partition: Partition) -> dict[str, object]:
    return {
        "flows": {flow: _log_picture(log) for flow, log in partition.logs.items()},
        "plans": {hash: (plan.data, plan.users) for hash, plan in partition.plans.items()},
        "streams": {
            name: list(stream.entries()) for name, stream in partition.streams.items() if len(stream)
        },
        "due": sorted(partition.due),
        "indexes": {name: sorted(index) for name, index in partition.indexes.items()},
        "expire": sorted(partition.expire),
        "tree": sorted(partition.tree),
        "feed": [(entry.flow, entry.first, entry.last, entry.status) for entry in partition.feed],
        "dead": list(partition.dead),
    }
