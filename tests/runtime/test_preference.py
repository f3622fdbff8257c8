"""Preference: every place has exactly one engine that prefers it, and few move when engines come or go."""

from argyll_redis.runtime.preference import own_partitions, own_places
from argyll_redis.store.protocol import EngineInfo

ALIVE = tuple(EngineInfo(f"e{number}", ("builtin", "default")) for number in range(4))
PARTITIONS = 64


def test_every_partition_prefers_exactly_one_live_engine() -> None:
    owned = [p for engine in ALIVE for p in own_partitions(engine.id, ALIVE, PARTITIONS)]
    assert sorted(owned) == list(range(PARTITIONS))


def test_every_place_prefers_exactly_one_engine_that_serves_its_queue() -> None:
    other = EngineInfo("io", ("builtin", "io"))
    alive = (*ALIVE, other)
    owned = [place for engine in alive for place in own_places(engine, alive, PARTITIONS)]
    assert len(owned) == len(set(owned)) == 3 * PARTITIONS
    assert {queue for _, queue in own_places(other, alive, PARTITIONS)} == {"builtin", "io"}


def test_only_what_preferred_a_lost_engine_moves() -> None:
    before = {engine.id: set(own_partitions(engine.id, ALIVE, PARTITIONS)) for engine in ALIVE}
    left = ALIVE[1:]
    after = {engine.id: set(own_partitions(engine.id, left, PARTITIONS)) for engine in left}
    assert all(before[engine.id] <= after[engine.id] for engine in left)


def test_an_engine_that_knows_nobody_prefers_everything() -> None:
    assert len(own_places(ALIVE[0], (), PARTITIONS)) == 2 * PARTITIONS
