"""A failover: the server loses what came in lately, as when a replica that was behind takes its place.

What is left is what the server held at one moment before: logs, heads, streams, due entries, indexes and
catalog agree. The processes know more than it does.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from argyll_redis.store.memory_partition import Partition
from argyll_redis.store.memory_server import MemoryServer

_KEPT = frozenset({"number", "_room"})
"""What a partition is, not what it holds."""


class Replica:
    """What a server held when this was made."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        namespace = server.namespace
        self._partitions = [_contents(partition) for partition in namespace.partitions]
        self._others = {
            name: deepcopy(getattr(namespace, name))
            for name in namespace.__slots__
            if name not in ("partitions", "queues")
        }

    def take_over(self) -> int:
        """Takes the server's place; tells how many events are lost. A store creates groups that are gone
        as soon as it is told so: here they are never gone, nor is the list of queues."""
        with self._server.lock:
            namespace = self._server.namespace
            before = sum(_events(partition) for partition in namespace.partitions)
            for partition, contents in zip(namespace.partitions, self._partitions, strict=True):
                groups = [name for name, stream in partition.streams.items() if stream.has_group]
                for name, value in contents.items():
                    setattr(partition, name, value)
                for name in groups:
                    partition.add_group(name)
            for name, value in self._others.items():
                setattr(namespace, name, value)
            self._server.room.wake_all()
            return before - sum(_events(partition) for partition in namespace.partitions)


def _contents(partition: Partition) -> dict[str, Any]:
    return {name: deepcopy(getattr(partition, name)) for name in Partition.__slots__ if name not in _KEPT}


def _events(partition: Partition) -> int:
    return sum(log.version for log in partition.logs.values())
