"""repair.lua alone: what it puts right, when it refuses, and arguments that write nothing."""

from __future__ import annotations

from typing import Any

import pytest
from lua_words import INSTANCE, Lua, turn


def repair(lua: Lua, *arguments: object) -> Any:
    return lua.run("repair", lua.ids[:1], INSTANCE, *arguments)


@pytest.fixture
def flow(lua: Lua) -> Lua:
    """A namespace with a flow `f` of one event, by the transaction t1."""
    lua.commit(turn("f", ops=(("i", "label:a=b"), ("p", "h1", "plan"))))
    return lua


def test_fields_and_rows_are_put_and_dropped_in_order(flow: Lua) -> None:
    ops = ("f", ".status", "active", "x", "#label:a=b", "r", "open", 5, "r", "tree", 0, "o", "label:a=b")
    assert repair(flow, "f", 1, "t1", *ops) == 1
    head: Any = flow.client.hgetall(flow.of("head:f"))
    assert (head[b".status"], b"#label:a=b" in head) == (b"active", False)
    rows = {name: flow.call("ZSCORE", flow.of(name), "f") for name in ("open", "tree", "label:a=b")}
    assert rows == {"open": b"5", "tree": b"0", "label:a=b": None}


@pytest.mark.parametrize(("version", "tx"), [(2, "t1"), (1, "t2"), (0, "")])
def test_a_log_that_ends_elsewhere_is_refused_and_nothing_written(version: int, tx: str, flow: Lua) -> None:
    before = flow.picture()
    assert repair(flow, "f", version, tx, "o", "label:a=b") == 0
    assert flow.picture() == before


def test_a_head_that_is_gone_is_made_and_one_without_a_log_goes(flow: Lua) -> None:
    flow.client.delete(flow.of("head:f"))
    assert repair(flow, "f", 1, "t1", "f", "v", 1) == 1
    flow.client.delete(flow.of("flow:f"))
    assert repair(flow, "f", 0, "", "o", "label:a=b", "k") == 1
    assert flow.client.exists(flow.of("head:f"), flow.of("label:a=b")) == 0


def test_a_row_of_expire_is_never_put_back(flow: Lua) -> None:
    for at in (5, 3):
        assert repair(flow, "f", 1, "t1", "r", "expire", at) == 1
    assert flow.call("ZSCORE", flow.of("expire"), "f") == b"5"


def test_a_plan_is_counted_only_when_its_count_is_what_it_was(flow: Lua) -> None:
    assert repair(flow, "", 0, "", "n", "h1", 1, 3, "n", "h1", 1, 7) == 1
    assert flow.call("HGET", flow.of("plan:h1"), "n") == b"3"
    repair(flow, "", 0, "", "n", "h1", 3, 0, "n", "h2", 0, 4)
    assert flow.client.exists(flow.of("plan:h1"), flow.of("plan:h2")) == 0


def test_due_members_dead_entries_and_entries_go(flow: Lua) -> None:
    flow.client.zadd(flow.of("due"), {"control g look": 5})
    dead = flow.call("XADD", flow.of("dead"), "*", "r", "x")
    [entry] = flow.dispatch("g look", stream="control")
    ops = ("m", "control g look", "b", dead, "e", "control", entry, 0)
    assert repair(flow, "g", 0, "", *ops) == 1
    assert flow.call("ZCARD", flow.of("due")) == 0
    assert (flow.call("XLEN", flow.of("dead")), flow.payloads("control")) == (0, [])


def test_an_entry_that_waits_or_that_somebody_has_is_not_stranded(lua: Lua) -> None:
    first, second = lua.dispatch("one", "two")
    lua.call("XREADGROUP", "GROUP", "engines", "e", "COUNT", 1, "STREAMS", lua.of("work:a"), ">")
    assert repair(lua, "", 0, "", "e", "work:a", first, 1, "e", "work:a", second, 1) == 1
    assert lua.payloads() == [b"one", b"two"]
    lua.call("XACK", lua.of("work:a"), "engines", first)  # delivered, and nobody has it
    assert repair(lua, "", 0, "", "e", "work:a", first, 1, "e", "work:a", second, 1) == 1
    assert lua.payloads() == [b"two"]


def test_a_consumer_goes_when_it_has_nothing(lua: Lua) -> None:
    lua.dispatch("one")
    lua.deliver("busy")
    lua.client.xgroup_createconsumer(lua.of("work:a"), "engines", "idle")
    for name in ("busy", "idle", "nobody"):
        assert repair(lua, "", 0, "", "c", "work:a", name) == 1
    assert [row["name"] for row in lua.client.xinfo_consumers(lua.of("work:a"), "engines")] == [b"busy"]
    assert repair(lua, "", 0, "", "c", "work:nowhere", "busy") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("f", 1, ""),
        ("f", 0, "t1"),
        ("f", "x", "t1"),
        ("f", 1, "t1", "q"),
        ("f", 1, "t1", "f", "v"),
        ("f", 1, "t1", "f", "", "1"),
        ("f", 1, "t1", "k"),
        ("nowhere", 0, "", "f", "v", "1"),
        ("f", 1, "t1", "r", "due", 1),
        ("f", 1, "t1", "r", "open", "x"),
        ("f", 1, "t1", "o", "anything"),
        ("", 0, "", "f", "v", "1"),
        ("", 0, "", "r", "open", 1),
        ("", 0, "", "e", "work:a", "x", 0),
        ("", 0, "", "e", "nowhere", "1-1", 0),
        ("", 0, "", "e", "work:a", "1-1", 2),
        ("", 0, "", "n", "h1", 1, "-1"),
        ("", 0, "", "b", "x"),
        ("", 0, "", "c", "work:a", ""),
        ("", 0, "", "m", ""),
    ],
)
def test_wrong_arguments_are_refused_and_write_nothing(arguments: tuple[Any, ...], flow: Lua) -> None:
    flow.refuses("BADARG", "repair", flow.ids[:1], INSTANCE, *arguments)


def test_another_namespace_is_refused(flow: Lua) -> None:
    flow.refuses("EMPTIED", "repair", flow.ids[:1], "another", "f", 1, "t1", "f", "v", 2)
