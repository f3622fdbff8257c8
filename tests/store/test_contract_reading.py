"""The store's contract, on every store: engines, feeds, indexes and counts."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from store_words import ENGINE, HOUR_MS, Flow, other_partition, same_partition, until

from argyll_redis.store.protocol import (
    CONTROL,
    FEED_LENGTH,
    Dispatch,
    Due,
    EngineInfo,
    Index,
    Keep,
    QueueStat,
    SetHead,
    Store,
    Unindex,
)

pytestmark = pytest.mark.anyio


# ----------------------------------------------------------------------- engines


async def test_a_heartbeat_makes_an_engine_known(store: Store) -> None:
    second = EngineInfo("e0", ("builtin",), (), 2_000)
    await store.keep(Keep(ENGINE, alive_ms=HOUR_MS))
    reply = await store.keep(Keep(second, alive_ms=HOUR_MS))
    assert (second, ENGINE) == reply.engines
    assert (second, ENGINE) == await store.engines()


async def test_a_heartbeat_says_what_is_new(store: Store) -> None:
    changed = EngineInfo("e1", ("c",), ("charge",), 5_000, '{"stopped":"prüfe"}')
    await store.keep(Keep(ENGINE, alive_ms=HOUR_MS))
    assert (changed,) == (await store.keep(Keep(changed, alive_ms=HOUR_MS))).engines


async def test_an_engine_without_a_heartbeat_is_forgotten(store: Store) -> None:
    await store.keep(Keep(ENGINE, alive_ms=1))

    async def is_forgotten() -> bool:
        return await store.engines() == ()

    await until(is_forgotten)
    assert (await store.keep(Keep())).engines == ()


async def test_what_an_engine_found_of_health_is_kept_for_a_while(store: Store) -> None:
    await store.tell_health("e1", b"old", HOUR_MS)
    await store.tell_health("e1", b"new \xff", HOUR_MS)
    await store.tell_health("e2", b"gone", 1)

    async def is_gone() -> bool:
        return await store.health(["e2"]) == [None]

    await until(is_gone)
    assert await store.health(["e1", "e2", "never"]) == [b"new \xff", None, None]
    assert await store.health([]) == []


async def test_an_outcome_is_kept_for_a_while_and_the_last_word_counts(store: Store) -> None:
    await store.memorize("k1", b"old", HOUR_MS)
    await store.memorize("k1", b"new \xff", HOUR_MS)
    await store.memorize("k2", b"gone", 1)

    async def is_gone() -> bool:
        return await store.recall("k2") is None

    await until(is_gone)
    assert [await store.recall(key) for key in ("k1", "k2", "never")] == [b"new \xff", None, None]


async def test_an_outcome_that_is_kept_for_no_time_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="alive_ms 0 is less than 1"):
        await store.memorize("k1", b"x", 0)
    assert await store.recall("k1") is None


async def test_health_that_is_kept_for_no_time_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="alive_ms 0"):
        await store.tell_health("e1", b"x", 0)
    assert await store.health(["e1"]) == [None]


async def test_queues_are_known_for_ever_in_name_order(store: Store) -> None:
    await store.add_queues(["c", "a"])
    await store.add_queues([])
    assert await store.queues() == ("a", "b", "c")


# -------------------------------------------------------------------------- feed


async def test_the_feed_has_an_entry_for_each_turn_with_events(flow: Flow, store: Store) -> None:
    await flow.commit(SetHead("status", "active"), events=2)
    await flow.commit(SetHead("status", "failed"), SetHead("goal", "x"))
    await flow.commit(events=0)
    await same_partition(flow, "order").commit(events=3)
    reply = await store.feed({flow.partition: "0-0"}, 0)
    second = same_partition(flow, "order").id
    expected = [(flow.id, 1, 2, "active"), (flow.id, 3, 3, "failed"), (second, 1, 3, "")]
    assert expected == [(e.flow, e.first, e.last, e.status) for e in reply.entries]
    assert {flow.partition: reply.entries[-1].id} == reply.cursors
    assert frozenset() == reply.gaps


async def test_the_feed_tells_the_last_status_that_a_turn_set(flow: Flow, store: Store) -> None:
    await flow.commit(SetHead("status", "active"), SetHead("status", "completed"))
    reply = await store.feed({flow.partition: "0-0"}, 0)
    assert [entry.status for entry in reply.entries] == ["completed"]


async def test_the_feed_goes_on_from_its_cursors(flow: Flow, store: Store) -> None:
    other = other_partition(flow)
    await flow.commit()
    await other.commit()
    first = await store.feed({flow.partition: "0-0", other.partition: "0-0"}, 0)
    await flow.commit()
    second = await store.feed(first.cursors, 0)
    third = await store.feed(second.cursors, 0)
    assert {(flow.id, 1), (other.id, 1)} == {(e.flow, e.first) for e in first.entries}
    assert [(flow.partition, flow.id, 2)] == [(e.partition, e.flow, e.first) for e in second.entries]
    assert ((), second.cursors) == (third.entries, third.cursors)


async def test_a_feed_can_start_now(flow: Flow, store: Store) -> None:
    await flow.commit()
    now = await store.feed({flow.partition: "$"}, 0)
    await flow.commit()
    later = await store.feed(now.cursors, 0)
    assert now.entries == ()
    assert [entry.first for entry in later.entries] == [2]


async def test_an_empty_feed_that_starts_now_misses_nothing(flow: Flow, store: Store) -> None:
    now = await store.feed({flow.partition: "$"}, 0)
    await flow.commit()
    later = await store.feed(now.cursors, 0)
    assert ([1], frozenset()) == ([entry.first for entry in later.entries], later.gaps)


async def test_a_follower_waits_for_the_next_turn(flow: Flow, store_factory: Any) -> None:
    follower = store_factory()
    await follower.open()
    now = await follower.feed({flow.partition: "$"}, 0)
    found: list[int] = []

    async def follow() -> None:
        while not found:
            reply = await follower.feed(now.cursors, 2_000)
            found.extend(entry.first for entry in reply.entries)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await flow.commit()
    assert found == [1]


async def test_a_feed_that_was_trimmed_before_it_was_read_shows_a_gap(flow: Flow, store: Store) -> None:
    await flow.commit()
    read = await store.feed({flow.partition: "0-0"}, 0)
    turns = FEED_LENGTH + 200
    flows = [same_partition(flow, f"f{n}-") for n in range(turns)]
    for begin in range(0, turns, 100):
        await store.commit([each.turn() for each in flows[begin : begin + 100]])
    reply = await store.feed(read.cursors, 0)
    assert {flow.partition} == set(reply.gaps)
    entries = list(reply.entries)
    while reply.entries:
        reply = await store.feed(reply.cursors, 0)
        entries += reply.entries
        assert frozenset() == reply.gaps
    assert FEED_LENGTH <= len(entries) < turns
    assert [each.id for each in flows[-len(entries) :]] == [entry.flow for entry in entries]


# ----------------------------------------------------------------------- indexes


async def test_an_index_is_in_order_of_start_over_all_partitions(store: Store) -> None:
    started: list[tuple[str, int]] = []
    for n in (3, 1, 2, 4, 0):
        flow = Flow(store, f"order-{n}")
        committed = await flow.commit(Index("open"), Index("label:tenant=a=b"))
        started.append((flow.id, committed.at))
    expected = sorted(started, key=lambda row: (row[1], row[0]))
    assert expected == await store.index("open", newest=False)
    assert expected[::-1] == await store.index("open")
    assert expected[::-1][:2] == await store.index("open", limit=2)
    assert expected[:2] == await store.index("label:tenant=a=b", newest=False, limit=2)
    assert await store.index("done:failed") == []


async def test_flows_of_one_moment_are_in_order_of_id(store: Store) -> None:
    flows = [Flow(store, f"order-{n}") for n in (2, 0, 3, 1)]
    reply = await store.commit([flow.turn(Index("open")) for flow in flows])
    expected = [(f"order-{n}", reply.now_ms) for n in range(4)]
    assert expected == await store.index("open", newest=False)
    assert expected[::-1] == await store.index("open")


async def test_a_flow_leaves_an_index_and_keeps_its_start_time_in_the_next(flow: Flow, store: Store) -> None:
    first = await flow.commit(Index("open"))
    await flow.commit(Unindex("open"), Index("done:completed"), Unindex("done:never"))
    assert await store.index("open") == []
    assert [(flow.id, first.at)] == await store.index("done:completed")


async def test_a_walk_visits_each_flow_of_an_index_once(store: Store) -> None:
    flows = [Flow(store, f"order-{n}") for n in range(12)]
    await store.commit([flow.turn(Index("open")) for flow in flows])
    for partition in range(store.partitions):
        expected = [flow.id for flow in flows if flow.partition == partition]
        seen: list[str] = []
        cursor = "0"
        for _ in range(100):
            page, cursor = await store.walk(partition, "open", cursor, 2)
            assert len(page) <= 2
            seen += page
            if cursor == "0":
                break
        assert sorted(expected) == seen


async def test_a_walk_of_nothing_ends_at_once(store: Store) -> None:
    assert await store.walk(0, "open", "0", 10) == ([], "0")
    assert await store.walk(0, "open", "50", 10) == ([], "0")


async def test_references_are_what_waits_is_pending_or_due(flow: Flow, store: Store) -> None:
    await flow.commit(Dispatch("work:a", "pending"))
    await flow.fetch("e1")
    await flow.commit(
        Dispatch("work:a", "waits"), Dispatch(CONTROL, "look now"), Due("work:b r1 late", HOUR_MS)
    )
    expected = {("work:a", "pending"), ("work:a", "waits"), (CONTROL, "look now"), ("work:b", "r1 late")}
    assert expected == await store.references(flow.partition)
    assert frozenset() == await store.references(other_partition(flow).partition)


async def test_queue_stats_count_what_waits_runs_and_is_due(flow: Flow, store: Store) -> None:
    await flow.commit(*[Dispatch("work:a", f"r{n}") for n in range(3)], Due("work:a later", HOUR_MS))
    await flow.fetch("e1", slots=1)
    await other_partition(flow).commit(Dispatch("work:a", "r9"), Due("control later", HOUR_MS))
    stats = await store.queue_stats()
    expected = [
        QueueStat(CONTROL, depth=0, in_flight=0, due=1, oldest_ms=0),
        QueueStat("a", depth=3, in_flight=1, due=1, oldest_ms=stats[1].oldest_ms),
        QueueStat("b", depth=0, in_flight=0, due=0, oldest_ms=0),
    ]
    assert expected == stats


async def test_queue_stats_tell_the_age_of_the_oldest_entry(flow: Flow, store: Store) -> None:
    await flow.commit(Dispatch("work:a", "r1"))
    entry = await flow.fetch_one("e1")

    async def has_aged() -> bool:
        return await store.now_ms() >= entry.added_ms + 5

    await until(has_aged)
    before_ms = await store.now_ms()
    (oldest_ms,) = [stat.oldest_ms for stat in await store.queue_stats() if stat.queue == "a"]
    assert before_ms - entry.added_ms <= oldest_ms <= await store.now_ms() - entry.added_ms


# ------------------------------------------------------------------ large indexes


async def test_a_long_index_is_merged_over_all_partitions_however_unevenly_they_are_filled(
    store: Store,
) -> None:
    """Those of one partition are all newer than those of the other."""
    many = 1_300
    here = Flow(store)
    candidates = (Flow(store, f"f{n}") for n in range(10 * many))
    flows = [each for each in candidates if each.partition == here.partition][:many]
    older = [each for each in (Flow(store, f"o{n}") for n in range(100)) if each.partition != here.partition]
    for begin in range(0, len(older), 500):
        await store.commit([each.turn(Index("open")) for each in older[begin : begin + 500]])
    now_ms = await store.now_ms()
    while await store.now_ms() == now_ms:
        pass  # later flows have a later time
    for begin in range(0, many, 500):
        await store.commit([each.turn(Index("open")) for each in flows[begin : begin + 500]])
    rows = await store.index("open", limit=many + 10)
    assert rows == sorted(rows, key=lambda row: (row[1], row[0]), reverse=True)
    assert {id for id, _ in rows[:many]} == {each.id for each in flows}
    assert len(rows) == many + 10
    oldest = await store.index("open", newest=False, limit=len(older) + 700)
    assert {id for id, _ in oldest[: len(older)]} == {each.id for each in older}
    assert len(oldest) == len(older) + 700
