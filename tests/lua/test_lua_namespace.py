"""create, queues and catalog alone."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from lua_words import EVENT, INSTANCE, Lua
from servers import TestServer


@pytest.fixture
def fresh(server: TestServer) -> Lua:
    """A server without the namespace."""
    return Lua(server)


# -------------------------------------------------------------------------- create


def test_the_first_call_creates_a_namespace(fresh: Lua) -> None:
    assert fresh.create() == [b"i1", 1, 2, 1]
    assert fresh.client.hgetall(fresh.keys.meta) == {
        b"instance": b"i1",
        b"layout": b"1",
        b"partitions": b"2",
        b"ready": b"1",
    }
    assert [fresh.client.get(id) for id in fresh.ids] == [b"i1", b"i1"]
    assert [group[1] for group in fresh.call("XINFO", "GROUPS", fresh.of("control", 1))] == [b"engines"]


def test_a_later_call_finds_it_and_changes_nothing(fresh: Lua) -> None:
    fresh.create()
    before = fresh.picture()
    assert fresh.create("i2") == [b"i1", 1, 2, 1]
    assert fresh.picture() == before


def test_another_number_of_partitions_is_answered_by_what_is_there(fresh: Lua) -> None:
    fresh.create()
    before = fresh.picture()
    reply = fresh.run("create", [fresh.keys.meta, *map(fresh.keys.id, range(5))], "i2", 1, 5, "", 0, 0)
    assert (reply, fresh.picture()) == ([b"i1", 1, 2, 1], before)


def test_another_layout_is_answered_by_what_is_there(fresh: Lua) -> None:
    fresh.create(layout=7)
    before = fresh.picture()
    assert (fresh.create(), fresh.picture()) == ([b"i1", 7, 2, 1], before)


def test_a_creation_that_stopped_goes_on_under_its_instance(fresh: Lua) -> None:
    fresh.client.hset(fresh.keys.meta, mapping={"instance": "i0", "layout": 1, "partitions": 2})
    fresh.client.set(fresh.ids[0], "i0")
    assert fresh.create() == [b"i0", 1, 2, 1]
    assert [fresh.client.get(id) for id in fresh.ids] == [b"i0", b"i0"]


def test_a_ready_namespace_with_a_missing_id_counts_as_emptied(fresh: Lua) -> None:
    fresh.create()
    fresh.client.delete(fresh.ids[1])
    with pytest.raises(redis.ResponseError, match=r"^EMPTIED"):
        fresh.create()


def test_a_namespace_of_another_instance_or_without_its_meta_counts_as_emptied(fresh: Lua) -> None:
    fresh.create()
    fresh.client.set(fresh.ids[1], "i2")
    with pytest.raises(redis.ResponseError, match=r"^EMPTIED"):
        fresh.create()
    fresh.client.delete(fresh.keys.meta)
    with pytest.raises(redis.ResponseError, match=r"^EMPTIED"):
        fresh.create()
    fresh.client.hset(fresh.keys.meta, "instance", "i1")
    with pytest.raises(redis.ResponseError, match=r"^EMPTIED"):
        fresh.create()


@pytest.mark.parametrize("name", ["due", "control", "feed"])
def test_a_foreign_key_in_the_way_is_named_and_nothing_created(fresh: Lua, name: str) -> None:
    fresh.client.set(fresh.of(name, 1), "mine")
    with pytest.raises(redis.ResponseError, match=f"^WRONGTYPE.*:{name} is a string, not a"):
        fresh.create()
    assert fresh.server.all_keys() == [fresh.of(name, 1)]
    fresh.client.delete(fresh.of(name, 1))


def of_one_key(lua: Lua, key: str, instance: str, state: str) -> Any:
    """Creates by one key alone, as on a cluster, with the key that is never there."""
    nothing = f"{key[: key.index('}') + 1]}:nothing"
    return lua.run("create", [key, nothing], instance, 1, 2, state, 0, 0)


def test_a_creation_key_by_key_comes_to_the_same_as_one_of_all(fresh: Lua) -> None:
    """Two begin at once: the second goes on under the id of the first."""
    meta = fresh.keys.meta
    assert of_one_key(fresh, meta, "i1", "look") == [b"i1", 1, 2, -1]
    assert [of_one_key(fresh, id, "i1", "look") for id in fresh.ids] == [b"OK", b"OK"]
    assert fresh.server.all_keys() == []
    assert of_one_key(fresh, meta, "i1", "begun") == [b"i1", 1, 2, 0]
    assert of_one_key(fresh, meta, "i2", "begun") == [b"i1", 1, 2, 0]
    for _ in range(2):
        assert [of_one_key(fresh, id, "i1", "begun") for id in fresh.ids] == [b"OK", b"OK"]
    assert of_one_key(fresh, meta, "i1", "ready") == [b"i1", 1, 2, 1]
    before = fresh.picture()
    assert (fresh.create("i3"), fresh.picture()) == ([b"i1", 1, 2, 1], before)


def test_what_one_key_alone_shows_to_be_emptied_is_not_written_to(fresh: Lua) -> None:
    meta, (id, _) = fresh.keys.meta, fresh.ids
    fresh.refuses("EMPTIED", "create", [meta], INSTANCE, 1, 2, "ready", 0, 0)
    fresh.refuses("EMPTIED", "create", [id], INSTANCE, 1, 2, "ready", 0, 0)
    fresh.create("i2")
    fresh.refuses("EMPTIED", "create", [meta], INSTANCE, 1, 2, "ready", 0, 0)
    fresh.refuses("EMPTIED", "create", [id], INSTANCE, 1, 2, "look", 0, 0)
    fresh.refuses("BADARG", "create", [id], INSTANCE, 1, 2, "", 0, 0)


BAD_CREATIONS = {
    "instance": ("", 1, 2, "", 0, 0),
    "layout": ("i", "x", 2, "", 0, 0),
    "partitions": ("i", 1, 3, "", 0, 0),
    "state of a whole": ("i", 1, 2, "look", 0, 0),
    "types": ("i", 1, 2, "", 1, 0),
    "number of types": ("i", 1, 2, "", "x", 0),
}


@pytest.mark.parametrize("arguments", BAD_CREATIONS.values(), ids=BAD_CREATIONS.keys())
def test_a_bad_creation_creates_nothing(fresh: Lua, arguments: tuple[Any, ...]) -> None:
    fresh.refuses("BADARG", "create", [fresh.keys.meta, *fresh.ids], *arguments)


# -------------------------------------------------------------------------- queues


def test_queues_are_recorded_with_a_group_in_every_partition(lua: Lua) -> None:
    lua.dispatch("early", stream="work:c")
    assert lua.queues("a", "c") == 1
    assert lua.client.smembers(lua.keys.queues) == {b"a", b"b", b"c"}
    for partition in (0, 1):
        ((_, name, *_),) = lua.call("XINFO", "GROUPS", lua.of("work:c", partition))
        assert name == b"engines"
    lua.deliver("c", stream="work:c")
    assert len(lua.owners("work:c")) == 1


def test_a_group_that_somebody_deleted_comes_back_from_the_beginning(lua: Lua) -> None:
    lua.dispatch("r1")
    lua.call("XGROUP", "DESTROY", lua.of("work:a"), "engines")
    lua.call("XGROUP", "DESTROY", lua.of("control"), "engines")
    lua.queues("a")
    lua.deliver("c")
    lua.deliver("c", stream="control")
    assert len(lua.owners()) == 1


@pytest.mark.parametrize("name", ["", "two words"])
def test_a_bad_queue_records_nothing(lua: Lua, name: str) -> None:
    lua.refuses("BADARG", "queues", [lua.keys.queues, *lua.ids], INSTANCE, "good", name)


# ------------------------------------------------------------------------- catalog


def append(lua: Lua, version: int, last_tx: str, tx: str, *, events: int = 1) -> Any:
    keys = [lua.keys.meta, lua.keys.catalog, lua.keys.catalog_head]
    return lua.run("catalog", keys, INSTANCE, version, last_tx, tx, events, *(EVENT * events))


def test_the_catalog_is_appended_to_where_the_caller_thinks_it_is(lua: Lua) -> None:
    first = append(lua, 0, "", "t1", events=2)
    second = append(lua, 2, "t1", "t2")
    nothing = append(lua, 3, "t2", "t3", events=0)
    assert [reply[:2] for reply in (first, second, nothing)] == [[1, 2], [1, 3], [1, 3]]
    head = lua.client.hgetall(lua.keys.catalog_head)
    said = {b"v": b"3", b"tx": b"t2", b"at": str(second[2]).encode(), b"t0": str(first[2]).encode()}
    assert head == said
    assert [id for id, _ in lua.call("XRANGE", lua.keys.catalog, "-", "+")] == [b"1-0", b"2-0", b"3-0"]


def test_a_stale_append_is_refused_with_what_it_missed(lua: Lua) -> None:
    append(lua, 0, "", "t1", events=2)
    kind, version, more, sealed, missed = append(lua, 1, "t0", "t2")
    assert (kind, version, more, sealed, [id for id, _ in missed]) == (0, 2, 0, 0, [b"1-0", b"2-0"])
    kind, version, more, _, missed = append(lua, 0, "", "t2")
    assert (kind, version, more, len(missed)) == (0, 2, 1, 1)
    assert append(lua, 5, "t5", "t6") == [0, 2, 0, 0, []]


def test_a_catalog_of_an_emptied_namespace_is_not_touched(lua: Lua) -> None:
    lua.client.delete(lua.keys.meta)
    keys = [lua.keys.meta, lua.keys.catalog, lua.keys.catalog_head]
    lua.refuses("EMPTIED", "catalog", keys, INSTANCE, 0, "", "t1", 1, *EVENT)


BAD_APPENDS = {
    "version": ("x", "", "t1", 1, *EVENT),
    "version without its tx": (1, "", "t1", 1, *EVENT),
    "tx": (0, "", "t 1", 1, *EVENT),
    "events": (0, "", "t1", 2, *EVENT),
    "cause": (0, "", "t1", 1, "x", "-1", "start", "{}"),
}


@pytest.mark.parametrize("arguments", BAD_APPENDS.values(), ids=BAD_APPENDS.keys())
def test_a_bad_append_writes_nothing(lua: Lua, arguments: tuple[Any, ...]) -> None:
    keys = [lua.keys.meta, lua.keys.catalog, lua.keys.catalog_head]
    lua.refuses("BADARG", "catalog", keys, INSTANCE, *arguments)
