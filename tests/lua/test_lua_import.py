"""import.lua alone: what it writes, and arguments that write nothing."""

from __future__ import annotations

from typing import Any

import pytest
from lua_words import INSTANCE, Lua, turn

EVENTS = (
    *("flow_started", 1_000, 0, "start:c", "t-1:1/1", b"\x00\xff"),
    *("flow_failed", 2_000, 1, "timer:e", "t-2:1/1", "{}"),
)
REST = ("status", "failed", "done:failed")


def run(lua: Lua, *arguments: object) -> Any:
    return lua.run("import", lua.ids[:1], INSTANCE, *arguments)


def test_a_log_is_written_as_commit_writes_one(lua: Lua) -> None:
    assert run(lua, "f", 2, 1, 1, *EVENTS, *REST) == 1
    first, second = lua.call("XRANGE", lua.of("flow:f"), "-", "+")
    assert first == [
        b"1-0",
        [
            b"type", b"flow_started", b"at", b"1000", b"cause", b"0", b"by", b"start:c",
            b"tx", b"t-1:1/1", b"data", b"\x00\xff",
        ],
    ]  # fmt: skip
    assert (second[0], second[1][:4]) == (b"2-0", [b"type", b"flow_failed", b"at", b"2000"])
    assert lua.client.hgetall(lua.of("head:f")) == {
        b"v": b"2", b"tx": b"t-2", b"at": b"2000", b"t0": b"1000", b"sealed": b"1", b".status": b"failed",
        b"#done:failed": b"",
    }  # fmt: skip


def test_a_flow_is_in_its_indexes_from_its_start_and_expires_from_its_import_on(lua: Lua) -> None:
    time = lua.call("TIME")
    run(lua, "f", 2, 1, 1, *EVENTS, *REST)
    assert lua.client.zscore(lua.of("done:failed"), "f") == 1_000
    assert lua.client.zscore(lua.of("expire"), "f") >= int(time[0]) * 1_000


@pytest.mark.parametrize("key", ["flow:f", "head:f"])
def test_what_is_left_of_a_flow_is_in_the_way(key: str, lua: Lua) -> None:
    lua.commit(turn("f"))
    lua.client.delete(lua.of(key))
    before = lua.picture()
    assert run(lua, "f", 2, 0, 0, *EVENTS) == 0
    assert lua.picture() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("", 2, 0, 0, *EVENTS),
        ("f", 0, 0, 0),
        ("f", 1, 0, 0, *EVENTS),
        ("f", 3, 0, 0, *EVENTS),
        ("f", 50_001, 0, 0, *EVENTS),
        ("f", "x", 0, 0, *EVENTS),
        ("f", 2, 101, 0, *EVENTS),
        ("f", 2, 0, 101, *EVENTS),
        ("f", 2, 1, 0, *EVENTS, "sealed", "1"),
        ("f", 2, 1, 0, *EVENTS, "", "1"),
        ("f", 2, 0, 1, *EVENTS, "nowhere"),
        ("f", 1, 0, 0, "", 1, 0, "b", "t:1/1", "{}"),
        ("f", 1, 0, 0, "a", "1.5", 0, "b", "t:1/1", "{}"),
        ("f", 1, 0, 0, "a", 1, -1, "b", "t:1/1", "{}"),
        ("f", 1, 0, 0, "a", 1, 0, "b", "t", "{}"),
        ("f", 1, 0, 0, "a", 1, 0, "b", "t t:1/1", "{}"),
        ("f", 2, 0, 0, "a", 2, 0, "b", "t:1/2", "{}", "a", 1, 0, "b", "t:2/2", "{}"),
    ],
    ids=lambda arguments: str(arguments)[:30],
)
def test_wrong_arguments_write_nothing(arguments: tuple[Any, ...], lua: Lua) -> None:
    lua.refuses("BADARG", "import", lua.ids[:1], INSTANCE, *arguments)


def test_an_emptied_namespace_is_not_written_to(lua: Lua) -> None:
    lua.refuses("EMPTIED", "import", lua.ids[:1], "another", "f", 2, 1, 1, *EVENTS, *REST)
