"""expire.lua and reap.lua alone: what goes, what stays, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from lua_words import INSTANCE, Lua, turn

SEALED = (("i", "done:failed"), ("i", "label:a=b"), ("p", "h1", "plan"), ("z",))


def expire(lua: Lua, keep: Any = 0, limit: Any = 100) -> Any:
    return lua.run("expire", [lua.ids[0]], INSTANCE, keep, limit)


def reap(lua: Lua, *streams: str, idle: Any = 0, live: tuple[str, ...] = ()) -> Any:
    return lua.run("reap", [lua.ids[0]], INSTANCE, idle, len(live), *live, *streams)


def consumers(lua: Lua) -> list[bytes]:
    return sorted(row["name"] for row in lua.client.xinfo_consumers(lua.of("work:a"), "engines"))


def test_nothing_is_left_of_a_namespace_whose_flows_have_expired(lua: Lua) -> None:
    before = lua.picture()
    lua.commit(turn("f", ops=SEALED), turn("f:s:1", ops=(("i", "children"), ("u", "children"), ("z",))))
    assert expire(lua) == [2, 0]
    after = lua.picture()
    feed = after.pop(lua.of("feed"))
    assert (after, len(feed)) == (before, 2)


def test_a_head_says_what_its_flow_is_to_be_taken_out_of(lua: Lua) -> None:
    lua.commit(turn("f", ops=(*SEALED[:3], ("p", "h1", ""), ("i", "open"), ("u", "done:failed"))))
    head: Any = lua.client.hgetall(lua.of("head:f"))
    assert {name for name in head if name[:1] in b"#@"} == {b"#label:a=b", b"@h1"}
    assert head[b"@h1"] == b"2"


def test_children_are_in_the_order_of_their_ids(lua: Lua) -> None:
    lua.commit(turn("f:b:1", ops=(("i", "children"),)), turn("f:a:1", ops=(("i", "children"),)))
    assert lua.call("ZRANGE", lua.of("children"), 0, -1, "WITHSCORES") == [b"f:a:1", b"0", b"f:b:1", b"0"]


def test_a_plan_that_somebody_deleted_is_not_made_again(lua: Lua) -> None:
    lua.commit(turn("f", ops=SEALED))
    lua.client.delete(lua.of("plan:h1"))
    assert expire(lua) == [1, 0]
    assert lua.client.exists(lua.of("plan:h1")) == 0


@pytest.mark.parametrize(("keep", "limit"), [("-1", 1), ("x", 1), (0, 0), (0, 1_001), (0, "x"), ("", 1)])
def test_a_removal_with_wrong_arguments_is_refused_and_removes_nothing(
    keep: Any, limit: Any, lua: Lua
) -> None:
    lua.commit(turn("f", ops=SEALED))
    lua.refuses("BADARG", "expire", [lua.ids[0]], INSTANCE, keep, limit)


@pytest.mark.parametrize("name", ["expire", "reap"])
def test_another_instance_is_refused(name: str, lua: Lua) -> None:
    lua.commit(turn("f", ops=SEALED))
    lua.refuses("EMPTIED", name, [lua.ids[0]], "another", 0, 100 if name == "expire" else 0)


# ---------------------------------------------------------------------- consumers


def waited(lua: Lua, *names: str) -> None:
    """Makes consumers that have read nothing."""
    lua.queues("a")
    for name in names:
        lua.call("XGROUP", "CREATECONSUMER", lua.of("work:a"), "engines", name)
    before = lua.call("TIME")
    while lua.call("TIME")[1][:-3] == before[1][:-3]:
        pass  # idle for a millisecond at least
    time = lua.call("TIME")
    while lua.call("TIME")[1][:-3] == time[1][:-3]:
        pass


def test_consumers_that_idle_go(lua: Lua) -> None:
    waited(lua, "e1", "e2")
    assert reap(lua, "work:a", "control", "work:nowhere") == 2
    assert consumers(lua) == []


def test_a_consumer_that_did_not_idle_for_long_stays(lua: Lua) -> None:
    waited(lua, "e1")
    assert reap(lua, "work:a", idle=3_600_000) == 0
    assert consumers(lua) == [b"e1"]


def test_a_consumer_with_pending_entries_stays(lua: Lua) -> None:
    waited(lua, "e1")
    lua.dispatch("r1")
    lua.deliver("e2")
    waited(lua)
    assert reap(lua, "work:a") == 1
    assert (consumers(lua), list(lua.owners().values())) == ([b"e2"], [b"e2"])


def test_a_live_engine_stays(lua: Lua) -> None:
    waited(lua, "e1", "e2")
    assert reap(lua, "work:a", live=("e1", "e3")) == 1
    assert consumers(lua) == [b"e1"]


@pytest.mark.parametrize(
    "arguments",
    [("x", 0), ("-1", 0), (0, "x"), (0, 1), (0, 0, "feed"), (0, 0, "work:a b"), (0, 1, "e1", "e2")],
)
def test_a_look_for_dead_engines_with_wrong_arguments_is_refused(
    arguments: tuple[Any, ...], lua: Lua
) -> None:
    waited(lua, "e1")
    lua.refuses("BADARG", "reap", [lua.ids[0]], INSTANCE, *arguments)
