"""Which engine prefers what: an order for fetching and a share of the sweep, never a right.

Rendezvous hashing: when an engine comes or goes, only what prefers that one moves. Caches stay warm and
conflicts rare, as the turns of one flow mostly meet in one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from argyll_redis.store.protocol import EngineInfo

Place = tuple[int, str]
"""A partition and a queue."""


def preferred(name: str, engines: Sequence[str]) -> str:
    """The engine that a name prefers among some, of which there is at least one."""
    return max(engines, key=lambda id: blake2b(f"{name}\0{id}".encode(), digest_size=8).digest())


def own_partitions(engine: str, alive: Sequence[EngineInfo], partitions: int) -> list[int]:
    """The partitions that prefer an engine among the live ones, itself included."""
    ids = sorted({engine, *(other.id for other in alive)})
    return [partition for partition in range(partitions) if preferred(str(partition), ids) == engine]


def own_places(engine: EngineInfo, alive: Sequence[EngineInfo], partitions: int) -> frozenset[Place]:
    """The (partition, queue) pairs that prefer an engine among the live ones that serve the queue."""
    found: set[Place] = set()
    for queue in engine.queues:
        ids = sorted({engine.id, *(other.id for other in alive if queue in other.queues)})
        found |= {(p, queue) for p in range(partitions) if preferred(f"{p} {queue}", ids) == engine.id}
    return frozenset(found)
