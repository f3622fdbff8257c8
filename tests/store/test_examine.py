"""What is said of a server, from what it says of itself."""

from __future__ import annotations

import pytest

from argyll_redis.store.fitness import Level, Remark, examine

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
