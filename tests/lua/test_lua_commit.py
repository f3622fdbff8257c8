"""commit.lua alone: every reply, every operation, and arguments that write nothing."""

from __future__ import annotations

from typing import Any

import pytest
from lua_words import EVENT, INSTANCE, Lua, turn

NO_FETCH = ("", 0, 0, 0)


def head(lua: Lua, flow: str) -> dict[bytes, bytes]:
    return lua.client.hgetall(lua.of(f"head:{flow}"))


def test_a_turn_is_committed_with_its_version_and_time(lua: Lua) -> None:
    now, turns, entries = lua.commit(turn("f", events=2))
    assert (turns, entries) == ([[1, 2, now]], [])


def test_an_event_has_its_fields_in_a_fixed_order(lua: Lua) -> None:
    now, _, _ = lua.commit((1, "f", 0, "", "t1", 1, 0, "flow_started", 7, "start", b"\x00\xff"))
    ((id, fields),) = lua.call("XRANGE", lua.of("flow:f"), "-", "+")
    at = str(now).encode()
    assert id == b"1-0"
    assert fields == [
        b"type", b"flow_started", b"at", at, b"cause", b"7", b"by", b"start",
        b"tx", b"t1:1/1", b"data", b"\x00\xff",
    ]  # fmt: skip


def test_the_head_holds_the_last_event_and_the_start(lua: Lua) -> None:
    start, _, _ = lua.commit(turn("f", tx="t1", ops=(("h", "status", "active"),)))
    end, _, _ = lua.commit(turn("f", 1, "t1", "t2", events=2))
    assert head(lua, "f") == {
        b"v": b"3",
        b"tx": b"t2",
        b"at": str(end).encode(),
        b"t0": str(start).encode(),
        b".status": b"active",
    }


def test_time_never_falls_within_a_flow(lua: Lua) -> None:
    later = 9_000_000_000_000
    lua.commit(turn("f"))
    lua.client.hset(lua.of("head:f"), "at", later)
    _, turns, _ = lua.commit(turn("f", 1, "t1", "t2", ops=(("t", "control c", 5),)))
    assert turns == [[1, 2, later]]
    assert lua.client.zscore(lua.of("due"), "control c") == later + 5


def test_a_start_of_a_flow_that_exists_is_refused_with_its_first_event(lua: Lua) -> None:
    lua.commit(turn("f", events=2))
    _, ((kind, version, more, sealed, missed),), _ = lua.commit(turn("f", tx="t2"))
    assert (kind, version, more, sealed, [id for id, _ in missed]) == (0, 2, 1, 0, [b"1-0"])


def test_a_stale_turn_is_refused_with_what_it_missed_from_its_version_on(lua: Lua) -> None:
    lua.commit(turn("f", events=2))
    lua.commit(turn("f", 2, "t1", "t2", ops=(("z",),)))
    _, ((kind, version, more, sealed, missed),), _ = lua.commit(turn("f", 2, "t0", "t3"))
    assert (kind, version, more, sealed, [id for id, _ in missed]) == (0, 3, 0, 1, [b"2-0", b"3-0"])


def test_a_refusal_brings_a_limited_number_of_events_and_says_that_there_are_more(lua: Lua) -> None:
    lua.commit(turn("f", events=502))
    _, ((_, _, at_500, _, first),), _ = lua.commit(turn("f", 2, "t0", "t2"))
    _, ((_, _, at_501, _, second),), _ = lua.commit(turn("f", 3, "t0", "t2"))
    assert ([at_500, len(first)], [at_501, len(second)]) == ([1, 500], [0, 500])


def test_a_version_above_the_servers_is_refused_with_nothing(lua: Lua) -> None:
    lua.commit(turn("f"))
    _, turns, _ = lua.commit(turn("f", 3, "t3", "t4"), turn("g", 1, "t1", "t2"))
    assert turns == [[0, 1, 0, 0, []], [0, 0, 0, 0, []]]


def test_a_sealed_flow_refuses_events_and_takes_acknowledgements(lua: Lua) -> None:
    lua.dispatch("r1")
    lua.commit(turn("f", ops=(("z",),)))
    _, ((kind, version, _, sealed, missed),), _ = lua.commit(turn("f", 1, "t1", "t2"))
    assert (kind, version, sealed, len(missed)) == (0, 1, 1, 1)
    lua.deliver("c")
    (entry,) = lua.owners()
    now, turns, _ = lua.commit(turn("f", 1, "t1", "t3", events=0, ops=(("a", "work:a", entry),)))
    assert (turns, lua.payloads()) == ([[1, 1, now]], [])


def test_a_refused_turn_changes_nothing_and_the_others_of_its_call_are_applied(lua: Lua) -> None:
    lua.commit(turn("f"))
    ops = (("d", "work:a", "r"), ("h", "status", "x"), ("i", "open"))
    _, turns, _ = lua.commit(turn("g", tx="g1"), turn("f", 1, "t0", "t2", ops=ops), turn("h", tx="h1"))
    assert [reply[0] for reply in turns] == [1, 0, 1]
    assert lua.payloads() == []
    assert b".status" not in head(lua, "f")


def test_a_plan_that_is_missing_is_named_and_its_turn_not_applied(lua: Lua) -> None:
    _, turns, _ = lua.commit(turn("f", ops=(("d", "work:a", "r"), ("p", "h1", ""))))
    assert turns == [[2, b"h1"]]
    assert (lua.payloads(), head(lua, "f")) == ([], {})


def test_a_plan_is_stored_once_and_its_users_are_counted(lua: Lua) -> None:
    lua.commit(turn("f", ops=(("p", "h1", b"\x00plan"),)), turn("g", ops=(("p", "h1", ""),)))
    lua.commit(turn("h", ops=(("p", "h1", b"other"),)))
    assert lua.client.hgetall(lua.of("plan:h1")) == {b"b": b"\x00plan", b"n": b"3"}


def test_every_operation_does_its_part_in_order(lua: Lua) -> None:
    lua.dispatch("r0")
    lua.deliver("c")
    (entry,) = lua.owners()
    ops = (
        ("a", "work:a", entry), ("d", "work:a", "r1"), ("d", "control", "look"), ("t", "work:b later", 1000),
        ("t", "control gone", 5), ("s", "control gone"), ("h", "status", "active"), ("h", "status", "failed"),
        ("i", "open"), ("i", "label:a=b=c"), ("u", "label:a=b=c"), ("i", "done:failed"), ("z",),
    )  # fmt: skip
    now, _, _ = lua.commit(turn("f", ops=ops))
    score = float(now)
    assert (lua.payloads(), lua.payloads("control"), lua.owners()) == ([b"r1"], [b"look"], {})
    assert lua.client.zrange(lua.of("due"), 0, -1, withscores=True) == [(b"work:b later", score + 1000)]
    assert (head(lua, "f")[b".status"], head(lua, "f")[b"sealed"]) == (b"failed", b"1")
    for index in ("open", "done:failed", "expire"):
        assert lua.client.zrange(lua.of(index), 0, -1, withscores=True) == [(b"f", score)]
    assert lua.client.exists(lua.of("label:a=b=c")) == 0


def test_a_turn_with_events_tells_the_feed_and_one_without_does_not(lua: Lua) -> None:
    lua.commit(turn("f", events=2, ops=(("h", "status", "active"),)))
    lua.commit(turn("f", 2, "t1", "t2", events=0))
    lua.commit(turn("f", 2, "t1", "t3"))
    feed = [fields for _, fields in lua.call("XRANGE", lua.of("feed"), "-", "+")]
    assert feed == [[b"e", b"f 1 2 active"], [b"e", b"f 3 3 "]]


def test_a_commit_fetches_after_its_turns(lua: Lua) -> None:
    _, _, found = lua.commit(
        turn("f", ops=(("d", "work:a", "r1"), ("d", "control", "look"))),
        fetch=("c", 1, 10, 2, 1, "control", 1, 0, 1, "work:a", 1, 0),
    )
    got = [(number, stream, [fields[1] for _, fields in entries]) for number, stream, entries in found]
    assert got == [(1, b"control", [b"look"]), (1, b"work:a", [b"r1"])]


def test_a_missing_group_does_not_undo_what_was_committed(lua: Lua) -> None:
    now, turns, found = lua.commit(
        turn("f", ops=(("d", "work:new", "r1"),)),
        fetch=("c", 1, 10, 2, 1, "work:new", 1, 0, 1, "work:none", 1, 0),
    )
    assert (turns, found) == ([[1, 1, now]], [])
    assert lua.payloads("work:new") == [b"r1"]


def test_a_log_without_its_head_refuses_a_start_by_what_it_holds(lua: Lua) -> None:
    lua.commit(turn("f", events=2))
    lua.client.delete(lua.of("head:f"))
    _, turns, _ = lua.commit(turn("f", tx="t2", ops=(("d", "work:a", "r"),)), turn("g", tx="g1"))
    (kind, version, _, _, missed), other = turns
    assert (kind, version, [id for id, _ in missed], other[0]) == (0, 2, [b"1-0"], 1)
    assert lua.payloads() == []


def test_a_head_without_its_log_refuses_as_history_that_was_lost(lua: Lua) -> None:
    lua.commit(turn("f", events=2))
    lua.client.delete(lua.of("flow:f"))
    _, turns, _ = lua.commit(turn("f", 2, "t1", "t2", ops=(("d", "work:a", "r"),)), turn("g", tx="g1"))
    assert (turns[0], turns[1][0]) == ([0, 0, 0, 0, []], 1)
    assert (lua.payloads(), lua.client.exists(lua.of("flow:f"))) == ([], 0)


@pytest.mark.parametrize("partition", [0, 1])
def test_an_emptied_namespace_refuses_the_whole_call(lua: Lua, partition: int) -> None:
    lua.client.delete(lua.ids[partition])
    lua.refuses("EMPTIED", "commit", lua.ids, INSTANCE, 1, *NO_FETCH, *turn("f"))
    lua.client.set(lua.ids[partition], "another")
    lua.refuses("EMPTIED", "commit", lua.ids, INSTANCE, 1, *NO_FETCH, *turn("f"))


BAD: dict[str, tuple[Any, ...]] = {
    "number of turns": ("x", *NO_FETCH, *turn("f")),
    "a turn too few": (2, *NO_FETCH, *turn("f")),
    "arguments left over": (1, *NO_FETCH, *turn("f"), "z"),
    "too many turns": (1001, *NO_FETCH, *turn("f")),
    "partition": (1, *NO_FETCH, 3, "f", 0, "", "t1", 0, 0),
    "partition that is no number": (1, *NO_FETCH, "x", "f", 0, "", "t1", 0, 0),
    "no flow": (1, *NO_FETCH, 1, "", 0, "", "t1", 0, 0),
    "version": (1, *NO_FETCH, 1, "f", "1.5", "t0", "t1", 0, 0),
    "huge version": (1, *NO_FETCH, 1, "f", "9" * 16, "t0", "t1", 0, 0),
    "version without its tx": (1, *NO_FETCH, 1, "f", 1, "", "t1", 0, 0),
    "tx with a colon": (1, *NO_FETCH, 1, "f", 0, "", "t:1", 0, 0),
    "events cut short": (1, *NO_FETCH, 1, "f", 0, "", "t1", 2, 0, *EVENT),
    "number of events": (1, *NO_FETCH, 1, "f", 0, "", "t1", -1, 0),
    "cause": (1, *NO_FETCH, 1, "f", 0, "", "t1", 1, 0, "x", "y", "start", "{}"),
    "no type": (1, *NO_FETCH, 1, "f", 0, "", "t1", 1, 0, "", 0, "start", "{}"),
    "number of operations": (1, *NO_FETCH, 1, "f", 0, "", "t1", 0, "x"),
    "operation": (1, *NO_FETCH, *turn("f", ops=(("q", "x"),))),
    "operation cut short": (1, *NO_FETCH, 1, "f", 0, "", "t1", 0, 1, "d", "work:a"),
    "stream": (1, *NO_FETCH, *turn("f", ops=(("d", "flow:f", "r"),))),
    "stream with a blank": (1, *NO_FETCH, *turn("f", ops=(("d", "work:a b", "r"),))),
    "entry": (1, *NO_FETCH, *turn("f", ops=(("a", "work:a", "1"),))),
    "huge entry": (1, *NO_FETCH, *turn("f", ops=(("a", "work:a", f"{2**64}-0"),))),
    "due member": (1, *NO_FETCH, *turn("f", ops=(("t", "work:a", 1),))),
    "delay": (1, *NO_FETCH, *turn("f", ops=(("t", "work:a r", "-1"),))),
    "settled member": (1, *NO_FETCH, *turn("f", ops=(("s", "r"),))),
    "head field": (1, *NO_FETCH, *turn("f", ops=(("h", "version", "1"),))),
    "index": (1, *NO_FETCH, *turn("f", ops=(("i", "due"),))),
    "plan": (1, *NO_FETCH, *turn("f", ops=(("p", "", "x"),))),
    "head without a flow": (1, *NO_FETCH, *turn("f", events=0, ops=(("h", "status", "x"),))),
    "two turns of a flow": (2, *NO_FETCH, *turn("f"), *turn("f")),
    "slots": (1, "c", -1, 0, 0, *turn("f")),
    "number of streams": (1, "c", 1, 0, "x", *turn("f")),
    "fetched stream": (1, "c", 1, 0, 1, 1, "flow:f", 1, 0, *turn("f")),
    "fetched partition": (1, "c", 1, 0, 1, 3, "work:a", 1, 0, *turn("f")),
    "readers": (1, "c", 1, 0, 1, 1, "work:a", 0, 0, *turn("f")),
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD.keys())
def test_bad_arguments_write_nothing(lua: Lua, arguments: tuple[Any, ...]) -> None:
    lua.refuses("BADARG", "commit", lua.ids, INSTANCE, *arguments)


def test_a_bad_last_turn_leaves_the_good_ones_before_it_unwritten(lua: Lua) -> None:
    lua.refuses(
        "BADARG", "commit", lua.ids, INSTANCE, 2, *NO_FETCH, *turn("f"), *turn("g", ops=(("d", "feed", "r"),))
    )
