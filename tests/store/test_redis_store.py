"""What only the store on Redis has to do: look at the server, find its namespace, survive its moods."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from servers import URL_VARIABLE, TestServer

from argyll_redis.errors import InvalidInput, NamespaceEmptied, StoreUnfit
from argyll_redis.store.fitness import judge, parse_info
from argyll_redis.store.keys import KEYS, KeyRow, Keys, row_of
from argyll_redis.store.protocol import (
    CONTROL,
    Committed,
    Dispatch,
    Fetch,
    Lease,
    NewEvent,
    StreamRef,
    Turn,
    partition_of,
)
from argyll_redis.store.redis import RENEW_LIMIT, RedisStore
from argyll_redis.store.scripts import directory

pytestmark = pytest.mark.anyio

FLOW = "order-1"


@pytest.fixture
async def store(server: TestServer) -> AsyncIterator[RedisStore]:
    store = new_store(server)
    await store.open()
    await store.add_queues(["a"])
    yield store
    await store.close()


def new_store(server: TestServer, **options: Any) -> RedisStore:
    return RedisStore("", server.namespace, connector=server.connector, **{"partitions": 2, **options})


def start(flow: str = FLOW, *payloads: str) -> Turn:
    ops = [Dispatch("work:a", payload) for payload in payloads]
    return Turn(partition_of(flow, 2), flow, 0, "", "t1", (NewEvent("flow_started", 0, "start", b"{}"),), ops)


# ------------------------------------------------------------------------- fitness

FIT = {"redis_version": "7.0.15", "role": "master", "maxmemory_policy": "noeviction", "aof_enabled": "1"}

UNFIT = {
    "Redis 6.2.14": {"redis_version": "6.2.14"},
    "allkeys-lru": {"maxmemory_policy": "allkeys-lru"},
    "replica": {"role": "slave"},
    "node of a cluster": {"cluster_enabled": "1"},
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"redis_version": "8.0.2"},
        {"redis_version": "10.1"},
        {"redis_version": "7.2.4", "valkey_version": "8.0.1"},
        {"maxmemory_policy": "volatile-lru"},
    ],
)
def test_a_fit_server_has_no_findings(changes: dict[str, str]) -> None:
    assert list(judge(FIT | changes)) == []


@pytest.mark.parametrize(("what", "changes"), UNFIT.items())
def test_an_unfit_server_is_named(what: str, changes: dict[str, str]) -> None:
    (finding,) = judge(FIT | changes)
    assert finding.is_fatal
    assert what in str(finding)


def test_a_server_without_an_append_only_file_is_warned_about() -> None:
    (finding,) = judge(FIT | {"aof_enabled": "0"})
    assert not finding.is_fatal


def test_the_reply_of_info_is_read() -> None:
    assert parse_info(b"# Server\r\nredis_version:7.0.15\r\n\r\nx:a:b\r\n") == {
        "redis_version": "7.0.15",
        "x": "a:b",
    }


@contextmanager
def configured(server: TestServer, **settings: object) -> Iterator[None]:
    """A server with other settings for a while."""
    if server.kind == URL_VARIABLE:
        pytest.skip("somebody else's server is not reconfigured")
    names = [name.replace("_", "-") for name in settings]
    before = {name: server.client.config_get(name)[name] for name in names}
    try:
        for name, value in zip(names, settings.values(), strict=True):
            server.client.config_set(name, value)
        yield
    finally:
        for name, value in before.items():
            server.client.config_set(name, value)


async def test_a_server_that_may_drop_keys_is_refused_and_nothing_created(real_server: TestServer) -> None:
    store = new_store(real_server)
    refused = pytest.raises(StoreUnfit, match=r"allkeys-lru .*\(set maxmemory-policy to noeviction\)")
    with configured(real_server, maxmemory_policy="allkeys-lru"), refused:
        await store.open()
    await store.close()
    assert real_server.all_keys() == []


async def test_a_server_that_says_nothing_of_itself_is_warned_about(
    server: TestServer, caplog: pytest.LogCaptureFixture
) -> None:
    store = new_store(server)
    with caplog.at_level(logging.WARNING, "argyll_redis"):
        await store.open()
    await store.close()
    what = "INFO is refused" if server.kind == "fakeredis" else "no append-only file"
    assert [what in record.getMessage() for record in caplog.records] == [True]


async def test_a_server_out_of_memory_refuses_a_whole_call_and_hands_out_nothing(
    real_server: TestServer,
) -> None:
    store = new_store(real_server)
    await store.open()
    await store.add_queues(["a"])
    await store.commit([start("f", "r1")])
    fetch = Fetch("e1", 5, [StreamRef(partition_of("f", 2), "work:a")])
    with configured(real_server, maxmemory=1):
        with pytest.raises(StoreUnfit, match="out of memory"):
            await store.commit([start()], fetch)
        with pytest.raises(StoreUnfit, match="out of memory"):
            await store.fetch(fetch)
    assert await store.heads([FLOW]) == [None]
    assert [entry.payload for entry in await store.fetch(fetch)] == ["r1"]
    await store.close()


# ----------------------------------------------------------------------- namespaces


@pytest.mark.parametrize("namespace", ["", "Shop", "a b", "a:b", "{a}", "x" * 65])
def test_a_bad_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(InvalidInput):
        RedisStore("redis://localhost", namespace)


@pytest.mark.parametrize("partitions", [0, -1, 1025])
def test_a_bad_number_of_partitions_is_refused(partitions: int) -> None:
    with pytest.raises(InvalidInput):
        RedisStore("redis://localhost", "shop", partitions=partitions)


async def test_a_namespace_of_a_later_layout_is_refused(server: TestServer, store: RedisStore) -> None:
    server.client.hset(server.keys.meta, "layout", 2)
    late = new_store(server)
    with pytest.raises(StoreUnfit, match="layout 2"):
        await late.open()
    await late.close()


async def test_a_foreign_key_in_the_way_is_named(server: TestServer) -> None:
    server.client.set(server.keys.of(1, "due"), "mine")
    store = new_store(server)
    with pytest.raises(StoreUnfit, match="due is a string, not a zset"):
        await store.open()
    await store.close()
    server.client.delete(server.keys.of(1, "due"))


async def test_a_namespace_with_a_missing_id_is_not_opened(server: TestServer, store: RedisStore) -> None:
    server.client.delete(server.keys.id(1))
    again = new_store(server)
    with pytest.raises(NamespaceEmptied):
        await again.open()
    await again.close()


async def test_a_store_that_opens_again_does_not_create_what_was_emptied(
    server: TestServer, store: RedisStore
) -> None:
    await store.open()
    server.empty()
    with pytest.raises(NamespaceEmptied):
        await store.open()
    assert server.all_keys() == []


async def test_a_store_that_opens_again_notices_that_it_is_another_namespace(
    server: TestServer, store: RedisStore
) -> None:
    server.empty()
    other = new_store(server)
    await other.open()
    with pytest.raises(NamespaceEmptied):
        await store.open()
    await other.close()


# ---------------------------------------------------------------------------- moods


async def test_scripts_that_the_server_forgot_are_sent_again(server: TestServer, store: RedisStore) -> None:
    server.client.script_flush()
    assert isinstance((await store.commit([start()])).turns[0], Committed)
    server.client.script_flush()
    assert store.renew("e1", [], []).lost == ()


async def test_a_stream_that_somebody_deleted_comes_back_with_its_group(
    server: TestServer, store: RedisStore
) -> None:
    partition = partition_of(FLOW, 2)
    places = [(partition, "work:a"), (partition, CONTROL)]
    server.client.delete(*[server.keys.of(*place) for place in places])
    assert await store.block("e1", places, 1) == ()
    await store.commit([start(FLOW, "r1")])
    assert [entry.payload for entry in await store.block("e1", places, 1)] == ["r1"]


async def test_more_leases_than_one_call_takes_are_all_renewed(store: RedisStore) -> None:
    count = RENEW_LIMIT + 3
    await store.commit([start(FLOW, *[f"r{n}" for n in range(count)])])
    partition = partition_of(FLOW, 2)
    entries = await store.fetch(Fetch("e1", count, [StreamRef(partition, "work:a")]))
    leases = [Lease(partition, "work:a", entry.id, FLOW) for entry in entries]
    reply = store.renew(
        "e1", [*leases[:-2], Lease(partition, "work:a", "1-1", "gone")], [(partition, "work:a")]
    )
    assert [lease.entry for lease in reply.lost] == ["1-1"]
    assert reply.unnamed == entries[-2:]


# ----------------------------------------------------------------------------- keys


def test_every_row_of_the_table_knows_its_own_keys_and_no_other_does() -> None:
    for row in KEYS:
        named = row.pattern.replace("{ns:p}", "{shop:3}").replace("{ns", "{shop")
        key = named.replace("<", "").replace(">", "")
        assert row_of(key, "shop") is row
        assert row_of(key, "other") is None


@pytest.mark.parametrize("row", KEYS, ids=[row.pattern for row in KEYS])
def test_the_table_names_scripts_and_methods_that_are_there(row: KeyRow) -> None:
    scripts = {path.stem for path in directory().glob("*.lua")}
    known = scripts | set(dir(RedisStore))
    assert set(row.writers) <= known
    assert set(row.readers) - {"every script"} <= known


@pytest.mark.parametrize(
    "key", ["shop:3:due", "{shop:3}:nobody", "{shop}:due", "{shop:x}:due", "{shop:3}:due2"]
)
def test_a_key_of_nobody_is_noticed(key: str) -> None:
    assert row_of(key, "shop") is None


def test_keys_of_a_partition_share_its_hash_tag() -> None:
    keys = Keys("shop")
    assert [keys.id(3), keys.of(3, "flow:a")] == ["{shop:3}:id", "{shop:3}:flow:a"]
