"""fetch, keep, renew, release, bury and retire alone."""

from __future__ import annotations

from typing import Any

import pytest
from lua_words import INSTANCE, Lua, turn


def payloads(found: Any) -> list[tuple[int, bytes, list[bytes]]]:
    """Reads arrays of {number of the partition, stream, entries}."""
    return [(number, stream, [fields[1] for _, fields in entries]) for number, stream, entries in found]


def fetch(lua: Lua, slots: int, control: int, *streams: Any, consumer: str = "c") -> Any:
    return lua.run("fetch", lua.ids, INSTANCE, consumer, slots, control, len(streams) // 3, *streams)


# --------------------------------------------------------------------------- fetch


def test_fetch_fills_its_slots_stream_by_stream(lua: Lua) -> None:
    lua.dispatch("a1", "a2")
    lua.dispatch("b1", "b2", stream="work:b")
    found = fetch(lua, 3, 0, 1, "work:a", 1, 0, 1, "work:b", 1, 0)
    assert payloads(found) == [(1, b"work:a", [b"a1", b"a2"]), (1, b"work:b", [b"b1"])]


def test_fetch_takes_its_share_of_a_stream_rounded_up(lua: Lua) -> None:
    lua.dispatch(*"12345")
    assert payloads(fetch(lua, 9, 0, 1, "work:a", 3, 0)) == [(1, b"work:a", [b"1", b"2"])]


def test_control_needs_no_slot(lua: Lua) -> None:
    lua.dispatch("x", "y", stream="control")
    lua.dispatch("a1")
    assert payloads(fetch(lua, 0, 1, 1, "control", 1, 0, 1, "work:a", 1, 0)) == [(1, b"control", [b"x"])]


def test_fetch_reads_the_partition_it_names(lua: Lua) -> None:
    lua.call("XADD", lua.of("work:a", 1), "*", "r", "there")
    assert payloads(fetch(lua, 9, 0, 1, "work:a", 1, 0, 2, "work:a", 1, 0)) == [(2, b"work:a", [b"there"])]


def test_fetch_counts_what_the_consumer_holds_as_part_of_its_share(lua: Lua) -> None:
    lua.dispatch(*(str(number) for number in range(1, 7)))
    assert payloads(fetch(lua, 9, 0, 1, "work:a", 2, 1)) == [(1, b"work:a", [b"1", b"2"])]
    assert payloads(fetch(lua, 9, 0, 1, "work:a", 2, 3)) == []


BAD_FETCHES = {
    "consumer": ("", 1, 1, 1, 1, "work:a", 1, 0),
    "slots": ("c", "x", 1, 1, 1, "work:a", 1, 0),
    "streams": ("c", 1, 1, "x", 1, "work:a", 1, 0),
    "cut short": ("c", 1, 1, 2, 1, "work:a", 1, 0),
    "partition": ("c", 1, 1, 1, 9, "work:a", 1, 0),
    "stream": ("c", 1, 1, 1, 1, "due", 1, 0),
    "readers": ("c", 1, 1, 1, 1, "work:a", "0", 0),
    "held": ("c", 1, 1, 1, 1, "work:a", 1, "x"),
}


@pytest.mark.parametrize("arguments", BAD_FETCHES.values(), ids=BAD_FETCHES.keys())
def test_a_bad_fetch_delivers_nothing(lua: Lua, arguments: tuple[Any, ...]) -> None:
    lua.dispatch("a1")
    lua.refuses("BADARG", "fetch", lua.ids, INSTANCE, *arguments)
    assert lua.owners() == {}


# ---------------------------------------------------------------------------- keep


def keep(
    lua: Lua,
    *takeovers: Any,
    engine: str = "e1",
    alive: Any = 5000,
    due: Any = 100,
    idle: Any = 0,
    count: Any = 100,
) -> Any:
    said = ('["a"]', '["charge"]', 10000, "ill") if engine else ("", "", 0, "")
    rest = (due, idle, count, len(takeovers) // 3)
    return lua.run("keep", [lua.keys.engines, *lua.ids], INSTANCE, engine, alive, *said, *rest, *takeovers)


def test_a_heartbeat_makes_an_engine_live_for_a_time(lua: Lua) -> None:
    *_, engines = keep(lua)
    assert engines == [[b"e1", b'["a"]', b'["charge"]', b"10000", b"ill"]]
    assert 0 < lua.client.pttl(lua.keys.engine("e1")) <= 5000


def test_an_engine_of_a_version_that_told_no_state_is_alive_all_the_same(lua: Lua) -> None:
    keep(lua)
    lua.client.hdel(lua.keys.engine("e1"), "state")
    *_, engines = keep(lua, engine="")
    assert engines == [[b"e1", b'["a"]', b'["charge"]', b"10000", None]]


def test_an_engine_whose_time_is_over_leaves_the_set(lua: Lua) -> None:
    keep(lua)
    lua.client.delete(lua.keys.engine("e1"))
    *_, engines = keep(lua, engine="e2")
    assert [engine[0] for engine in engines] == [b"e2"]
    assert lua.client.zrange(lua.keys.engines, 0, -1) == [b"e2"]


def test_no_engine_no_heartbeat(lua: Lua) -> None:
    *_, engines = keep(lua, engine="")
    assert (engines, lua.client.exists(lua.keys.engines)) == ([], 0)


def test_what_is_due_moves_oldest_first_and_the_next_is_told(lua: Lua) -> None:
    late = 9_000_000_000_000
    due = {"work:a two words": 2, "work:a first": 1, "control c": 3, "work:a later": late}
    lua.client.zadd(lua.of("due"), due)
    lua.client.zadd(lua.of("due", 1), {"work:a there": 4, "control next": late - 1})
    _, moved, next_due, *_ = keep(lua)
    assert (moved, next_due) == (4, late - 1)
    assert (lua.payloads(), lua.payloads("control")) == ([b"first", b"two words"], [b"c"])
    assert lua.client.zrange(lua.of("due"), 0, -1) == [b"work:a later"]


def test_a_limited_number_of_due_entries_moves_in_a_round(lua: Lua) -> None:
    lua.client.zadd(lua.of("due"), {f"work:a r{n}": n for n in range(5)})
    _, moved, next_due, *_ = keep(lua, due=3)
    assert (moved, next_due, lua.payloads()) == (3, 3, [b"r0", b"r1", b"r2"])
    _, moved, next_due, *_ = keep(lua, due=0)
    assert (moved, next_due) == (0, 3)


def test_nothing_is_due(lua: Lua) -> None:
    _, moved, next_due, *_ = keep(lua)
    assert (moved, next_due) == (0, -1)


def test_a_due_member_that_names_no_stream_is_put_aside(lua: Lua) -> None:
    lua.client.zadd(lua.of("due"), {"nonsense": 1, "work:a r": 2})
    assert keep(lua)[1] == 2
    ((_, dead),) = lua.call("XRANGE", lua.of("dead"), "-", "+")
    assert dict(zip(dead[::2], dead[1::2], strict=True))[b"r"] == b"nonsense"
    assert lua.payloads() == [b"r"]


def test_what_idles_is_taken_over_from_a_cursor(lua: Lua) -> None:
    ids = lua.dispatch(*"123")
    lua.deliver("dead engine")
    _, _, _, taken, cursors, vanished, _ = keep(lua, 1, "work:a", "0-0", 1, "control", "0-0", count=2)
    assert (payloads(taken), vanished) == ([(1, b"work:a", [b"1", b"2"])], 0)
    assert cursors == [ids[2], b"0-0"]
    assert [owner == b"e1" for owner in lua.owners().values()] == [True, True, False]
    taken, cursors = keep(lua, 1, "work:a", cursors[0], idle=60_000)[3:5]
    assert (taken, cursors) == ([], [b"0-0"])


def test_entries_that_somebody_trimmed_are_counted(lua: Lua) -> None:
    first, _ = lua.dispatch("r1", "r2")
    lua.deliver("dead engine")
    lua.call("XDEL", lua.of("work:a"), first)
    _, _, _, taken, _, vanished, _ = keep(lua, 1, "work:a", "0-0")
    assert (payloads(taken), vanished) == ([(1, b"work:a", [b"r2"])], 1)


def test_a_takeover_from_a_stream_without_its_group_gives_nothing(lua: Lua) -> None:
    _, _, _, taken, cursors, vanished, _ = keep(lua, 1, "work:none", "5-0")
    assert (taken, cursors, vanished) == ([], [b"0-0"], 0)


BAD_KEEPS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "alive": ((), {"alive": 0}),
    "due": ((), {"due": "x"}),
    "too many due": ((), {"due": 10_001}),
    "idle": ((), {"idle": -1}),
    "count": ((), {"count": 0}),
    "takeover without an engine": ((1, "work:a", "0-0"), {"engine": ""}),
    "partition": ((3, "work:a", "0-0"), {}),
    "stream": ((1, "due", "0-0"), {}),
    "cursor": ((1, "work:a", "-"), {}),
}


@pytest.mark.parametrize(("takeovers", "changes"), BAD_KEEPS.values(), ids=BAD_KEEPS.keys())
def test_a_bad_round_of_keeping_does_nothing(lua: Lua, takeovers: Any, changes: dict[str, Any]) -> None:
    lua.client.zadd(lua.of("due"), {"work:a r": 1})
    before = lua.picture()
    with pytest.raises(Exception, match=r"^BADARG"):
        keep(lua, *takeovers, **changes)
    assert lua.picture() == before


# --------------------------------------------------------------------------- renew


def renew(lua: Lua, leases: list[tuple[Any, ...]], *streams: Any, consumer: str = "c") -> Any:
    flat = [argument for lease in leases for argument in lease]
    return lua.run("renew", lua.ids, INSTANCE, consumer, len(leases), 0, len(streams) // 2, *flat, *streams)


def test_a_renewal_tells_what_is_lost_how_flows_stand_and_what_was_not_named(lua: Lua) -> None:
    lua.commit(turn("f", ops=(("h", "status", "failed"),)), turn("g"))
    first, second, third = lua.dispatch("r1", "r2", "r3")
    lua.deliver("c")
    lua.call("XCLAIM", lua.of("work:a"), "engines", "other", 0, second)
    leases = [(1, "work:a", first, "f"), (1, "work:a", second, "g"), (2, "work:a", first, "none")]
    lost, statuses, unnamed, taken = renew(lua, leases, 1, "work:a", 1, "control")
    assert (lost, statuses, taken) == ([2, 3], [b"failed", b"", None], [])
    assert payloads(unnamed) == [(1, b"work:a", [b"r3"])]
    assert lua.owners() == {first: b"c", second: b"other", third: b"c"}


def test_a_renewal_tells_what_was_taken_over_apart_and_a_renewal_is_no_takeover(lua: Lua) -> None:
    first, second = lua.dispatch("r1", "r2")
    lua.deliver("c")
    lua.call("XCLAIM", lua.of("work:a"), "engines", "other", 0, second)
    lua.call("XCLAIM", lua.of("work:a"), "engines", "c", 0, second)
    renew(lua, [(1, "work:a", first, "f"), (1, "work:a", second, "f")], 1, "work:a")
    _, _, unnamed, taken = renew(lua, [], 1, "work:a")
    assert payloads(unnamed) == [(1, b"work:a", [b"r1"])]
    assert payloads(taken) == [(1, b"work:a", [b"r2"])]


def test_a_renewal_starts_idle_time_anew_for_what_is_named_only(lua: Lua) -> None:
    named, unnamed = lua.dispatch("r1", "r2")
    lua.deliver("c")
    lua.call("XCLAIM", lua.of("work:a"), "engines", "c", 0, named, unnamed, "IDLE", 60_000)
    renew(lua, [(1, "work:a", named, "f")], 1, "work:a")
    rows = lua.call("XPENDING", lua.of("work:a"), "engines", "IDLE", 50_000, "-", "+", 10)
    assert [row[0] for row in rows] == [unnamed]


def test_a_pending_entry_that_is_gone_is_not_returned(lua: Lua) -> None:
    first, _ = lua.dispatch("r1", "r2")
    lua.deliver("c")
    lua.call("XDEL", lua.of("work:a"), first)
    assert payloads(renew(lua, [], 1, "work:a")[2]) == [(1, b"work:a", [b"r2"])]


def test_what_another_call_renews_is_neither_renewed_nor_returned(lua: Lua) -> None:
    first, _ = lua.dispatch("r1", "r2")
    lua.deliver("c")
    lua.call("XCLAIM", lua.of("work:a"), "engines", "c", 0, first, "IDLE", 60_000)
    reply = lua.run("renew", lua.ids, INSTANCE, "c", 0, 1, 1, 1, "work:a", first, 1, "work:a")
    assert (reply[:2], payloads(reply[2])) == ([[], []], [(1, b"work:a", [b"r2"])])
    rows = lua.call("XPENDING", lua.of("work:a"), "engines", "IDLE", 50_000, "-", "+", 10)
    assert [row[0] for row in rows] == [first]


BAD_RENEWALS = {
    "consumer": ("", 0, 0, 0),
    "leases": ("c", "x", 0, 0),
    "cut short": ("c", 1, 0, 0, 1, "work:a", "1-0"),
    "partition": ("c", 1, 0, 0, 3, "work:a", "1-0", "f"),
    "stream": ("c", 1, 0, 0, 1, "due", "1-0", "f"),
    "entry": ("c", 1, 0, 0, 1, "work:a", "1", "f"),
    "named stream": ("c", 0, 1, 0, 1, "due", "1-0"),
    "named entry": ("c", 0, 1, 0, 1, "work:a", "1"),
    "place": ("c", 0, 0, 1, 1, "due"),
}


@pytest.mark.parametrize("arguments", BAD_RENEWALS.values(), ids=BAD_RENEWALS.keys())
def test_a_bad_renewal_does_nothing(lua: Lua, arguments: tuple[Any, ...]) -> None:
    lua.refuses("BADARG", "renew", lua.ids, INSTANCE, *arguments)


# ------------------------------------------------------------ release, bury, retire


def release(lua: Lua, *entries: Any, consumer: str = "c", delay: Any = 0) -> Any:
    return lua.run("release", lua.ids, INSTANCE, consumer, delay, *entries)


def test_what_is_ones_own_is_handed_back_and_the_rest_passed_over(lua: Lua) -> None:
    first, second, third = lua.dispatch("r1", "r2", "r3")
    lua.deliver("c")
    lua.call("XCLAIM", lua.of("work:a"), "engines", "other", 0, second)
    lua.call("XDEL", lua.of("work:a"), third)
    entries = [argument for id in (first, second, third) for argument in (1, "work:a", id)]
    assert release(lua, *entries) == 1
    assert (lua.payloads(), lua.owners()) == ([b"r2", b"r1"], {second: b"other"})
    assert payloads(fetch(lua, 9, 0, 1, "work:a", 1, 0)) == [(1, b"work:a", [b"r1"])]


def test_what_is_handed_back_later_is_due(lua: Lua) -> None:
    (entry,) = lua.dispatch("r1 two")
    lua.deliver("c")
    now = int(lua.call("TIME")[0]) * 1000
    assert release(lua, 1, "work:a", entry, delay=60_000) == 1
    ((member, score),) = lua.client.zrange(lua.of("due"), 0, -1, withscores=True)
    assert (member, lua.payloads(), lua.owners()) == (b"work:a r1 two", [], {})
    assert now + 60_000 <= score <= now + 120_000


BAD_RELEASES = {
    "consumer": ("", 0, 1, "work:a", "1-0"),
    "delay": ("c", "x", 1, "work:a", "1-0"),
    "cut short": ("c", 0, 1, "work:a"),
    "partition": ("c", 0, 0, "work:a", "1-0"),
    "stream": ("c", 0, 1, "feed", "1-0"),
    "entry": ("c", 0, 1, "work:a", "*"),
}


@pytest.mark.parametrize("arguments", BAD_RELEASES.values(), ids=BAD_RELEASES.keys())
def test_a_bad_release_does_nothing(lua: Lua, arguments: tuple[Any, ...]) -> None:
    lua.refuses("BADARG", "release", lua.ids, INSTANCE, *arguments)


def test_an_entry_is_buried_once_with_all_its_fields(lua: Lua) -> None:
    entry = lua.call("XADD", lua.of("work:a"), "*", "foreign", b"\xff", "more", "x")
    lua.deliver("c")
    assert lua.run("bury", lua.ids[:1], INSTANCE, "work:a", entry, "not ours") == 1
    assert lua.run("bury", lua.ids[:1], INSTANCE, "work:a", entry, "not ours") == 0
    ((_, fields),) = lua.call("XRANGE", lua.of("dead"), "-", "+")
    said = [b"stream", b"work:a", b"reason", b"not ours", b"foreign", b"\xff", b"more", b"x"]
    assert (fields, lua.payloads(), lua.owners()) == (said, [], {})


@pytest.mark.parametrize("arguments", [("feed", "1-0", "why"), ("work:a", "1", "why")])
def test_a_bad_burial_does_nothing(lua: Lua, arguments: tuple[Any, ...]) -> None:
    lua.refuses("BADARG", "bury", lua.ids[:1], INSTANCE, *arguments)


def test_a_consumer_stays_in_the_groups_where_it_has_something_pending(lua: Lua) -> None:
    lua.dispatch("r1")
    for stream in ("work:a", "work:b", "control"):
        lua.call("XGROUP", "CREATECONSUMER", lua.of(stream), "engines", "c")
    lua.deliver("c")
    streams = ("control", "work:a", "work:b", "work:none")
    keys = [lua.keys.engines, *lua.ids]
    assert lua.run("retire", keys, INSTANCE, "c", *streams) == 0
    assert [len(lua.call("XINFO", "CONSUMERS", lua.of(s), "engines")) for s in streams[:3]] == [0, 1, 0]
    (entry,) = lua.owners()
    lua.call("XACK", lua.of("work:a"), "engines", entry)
    assert lua.run("retire", keys, INSTANCE, "c", *streams) == 1


def test_an_engine_that_retires_is_no_longer_alive(lua: Lua) -> None:
    keep(lua, engine="e1")
    lua.run("retire", [lua.keys.engines, *lua.ids], INSTANCE, "e1", "control")
    assert [key for key in (lua.keys.engines, lua.keys.engine("e1")) if lua.client.exists(key)] == []


@pytest.mark.parametrize("arguments", [("", "work:a"), ("c", "due")])
def test_a_bad_retirement_does_nothing(lua: Lua, arguments: tuple[Any, ...]) -> None:
    lua.refuses("BADARG", "retire", [lua.keys.engines, *lua.ids], INSTANCE, *arguments)


# -------------------------------------------------------------------------- health


def test_what_was_found_of_health_is_kept_for_so_long(lua: Lua) -> None:
    key = lua.keys.health("e1")
    lua.run("health", [key, lua.keys.meta], INSTANCE, "{}", 60_000)
    assert lua.client.get(key) == b"{}"
    assert 0 < lua.client.pttl(key) <= 60_000


@pytest.mark.parametrize("alive", ["0", "-1", "1.5", "x", ""])
def test_a_time_to_live_that_is_none_keeps_nothing(lua: Lua, alive: str) -> None:
    lua.refuses("BADARG", "health", [lua.keys.health("e1"), lua.keys.meta], INSTANCE, "{}", alive)


# ------------------------------------------------------------------------- emptied

CALLS: dict[str, tuple[Any, ...]] = {
    "fetch": ("c", 1, 1, 1, 1, "work:a", 1, 0),
    "keep": ("e1", 5000, "[]", "[]", 1, "", 100, 0, 100, 0),
    "renew": ("c", 1, 0, 0, 1, "work:a", "1-0", "f"),
    "release": ("c", 0, 1, "work:a", "1-0"),
    "retire": ("c", "work:a"),
    "queues": ("c",),
}


@pytest.mark.parametrize(("name", "arguments"), CALLS.items(), ids=CALLS.keys())
def test_an_emptied_namespace_is_not_touched(lua: Lua, name: str, arguments: tuple[Any, ...]) -> None:
    firsts = {"keep": lua.keys.engines, "retire": lua.keys.engines, "queues": lua.keys.queues}
    first = [firsts[name]] if name in firsts else []
    lua.client.zadd(lua.of("due"), {"work:a r": 1})
    lua.client.delete(lua.ids[1])
    lua.refuses("EMPTIED", name, [*first, *lua.ids], INSTANCE, *arguments)


ALONE: dict[str, tuple[Any, ...]] = {
    "keep": ("e1", 5000, "[]", "[]", 1, "", 100, 0, 100, 0),
    "retire": ("c", "work:a"),
    "queues": ("c",),
    "health": ("{}", 1000),
}


@pytest.mark.parametrize(("name", "arguments"), ALONE.items(), ids=ALONE.keys())
def test_a_call_that_names_no_partition_asks_the_namespace(
    lua: Lua, name: str, arguments: tuple[Any, ...]
) -> None:
    keys = {"keep": [lua.keys.engines], "retire": [lua.keys.engines], "queues": [lua.keys.queues]}
    named = keys.get(name, [lua.keys.health("e1"), lua.keys.meta])
    lua.client.hset(lua.keys.meta, "instance", "another")
    lua.refuses("EMPTIED", name, named, INSTANCE, *arguments)


def test_an_emptied_namespace_buries_nothing(lua: Lua) -> None:
    lua.client.delete(lua.ids[0])
    lua.refuses("EMPTIED", "bury", lua.ids[:1], INSTANCE, "work:a", "1-0", "why")
