"""What is said of a server, from what it says of itself."""

from __future__ import annotations

import pytest

from argyll_redis.store.copies import Copies
from argyll_redis.store.fitness import Level, Remark, examine, examine_settings

WELL = {
    "redis_version": "7.2.4",
    "role": "master",
    "aof_enabled": "1",
    "maxmemory_policy": "noeviction",
    "used_memory": "50000000",
    "maxmemory": "100000000",
    "connected_clients": "5",
    "maxclients": "10000",
}


def levels(info: dict[str, str]) -> set[Level]:
    return {remark.level for remark in examine(info)}


def test_of_a_server_that_is_well_everything_is_said_to_be_well() -> None:
    assert [remark.what for remark in examine(WELL)] == [
        "the server is Redis 7.2.4",
        "it is a master",
        "its append-only file is on",
        "it drops no keys (noeviction)",
        "it uses 50.0 MB of 100.0 MB of memory",
    ]
    assert levels(WELL) == {Level.OK}


def test_valkey_is_called_by_its_name_and_version() -> None:
    assert next(examine(WELL | {"valkey_version": "8.1.1"})).what == "the server is Valkey 8.1.1"


@pytest.mark.parametrize(
    ("changes", "level", "what"),
    [
        ({"redis_version": "6.2"}, Level.FAULT, "the server is Redis 6.2"),
        ({"role": "slave"}, Level.FAULT, "a replica"),
        ({"cluster_enabled": "1"}, Level.FAULT, "a node of a cluster"),
        ({"maxmemory_policy": "allkeys-lfu"}, Level.FAULT, "allkeys-lfu drops keys"),
        ({"aof_enabled": "0"}, Level.WARNING, "forgets everything in a crash"),
        ({"used_memory": "95000000"}, Level.WARNING, "95.0 MB of 100.0 MB"),
        ({"evicted_keys": "3"}, Level.WARNING, "has dropped 3 keys for want of memory"),
        ({"aof_last_write_status": "err"}, Level.FAULT, "last write to the append-only file failed"),
        ({"aof_last_bgrewrite_status": "err"}, Level.WARNING, "rewrite of its append-only file failed"),
        ({"rdb_last_bgsave_status": "err"}, Level.WARNING, "its last snapshot failed"),
        ({"connected_clients": "9500"}, Level.WARNING, "9,500 of 10,000 possible clients"),
    ],
)
def test_what_is_not_well_is_said_with_its_mend(changes: dict[str, str], level: Level, what: str) -> None:
    [remark] = [each for each in examine(WELL | changes) if each.level is not Level.OK]
    assert (remark.level, what in remark.what, bool(remark.mend)) == (level, True, True)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"maxmemory": "0"}, "it uses 50.0 MB of memory, without a limit (maxmemory 0)"),
        ({"maxmemory_policy": "volatile-lru"}, "it drops only keys with a time to live (volatile-lru)"),
    ],
)
def test_what_does_no_harm_is_well(changes: dict[str, str], what: str) -> None:
    assert Remark(Level.OK, what) in list(examine(WELL | changes))
    assert levels(WELL | changes) == {Level.OK}


@pytest.mark.parametrize("info", [{}, {"server": "memory"}])
def test_of_a_server_that_says_nothing_only_that_is_said(info: dict[str, str]) -> None:
    [remark] = examine(info)
    assert (remark.level, bool(remark.mend)) == (Level.WARNING, True)


def test_nonsense_is_passed_over() -> None:
    assert levels(WELL | {"used_memory": "much", "maxclients": ""}) == {Level.OK}


REPLICA = {"slave0": "ip=127.0.0.1,port=6380,state=online,offset=100,lag=1"}
SLOW = {"slave0": "ip=127.0.0.1,port=6380,state=online,offset=100,lag=60"}
LOST = {"slave0": "ip=127.0.0.1,port=6380,state=wait_bgsave,offset=0,lag=0"}


@pytest.mark.parametrize(
    ("info", "settings", "wanted", "level", "what"),
    [
        ({}, {"appendfsync": "always"}, 0, Level.OK, "is on disk (appendfsync always)"),
        ({}, {"appendfsync": "everysec"}, 0, Level.OK, "may take the last one or two"),
        ({}, {"appendfsync": "no"}, 0, Level.WARNING, "leaves it to the system"),
        (REPLICA, {}, 1, Level.OK, "1 replica is online"),
        ({}, {}, 1, Level.FAULT, "commits wait for 1 replicas, and 0 are online"),
        (SLOW, {}, 0, Level.WARNING, "last answered 60 s ago"),
        (LOST, {}, 0, Level.WARNING, "0 of 1 replicas are online"),
        ({}, {"min-replicas-to-write": "1"}, 0, Level.FAULT, "refuses writes without 1 replicas"),
    ],
)
def test_what_settings_and_replicas_mean_is_said(
    info: dict[str, str], settings: dict[str, str], wanted: int, level: Level, what: str
) -> None:
    found = list(examine_settings(WELL | info, settings, Copies(replicas=wanted)))
    assert found[0].level is level
    assert what in found[0].what
    assert bool(found[0].mend) is (level is not Level.OK)


def test_of_a_server_that_tells_no_settings_nothing_is_said() -> None:
    assert list(examine_settings(WELL, {}, Copies())) == []
