"""The store's contract, on every store: entries are delivered once, leased, and due."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from store_words import (
    ENGINE,
    HOUR_MS,
    Flow,
    ack,
    lease_of,
    other_partition,
    payloads,
    references,
    renewed,
    same_partition,
    take_over,
    until,
)

from argyll_redis.store.protocol import (
    CONTROL,
    UNNAMED_LIMIT,
    Ack,
    Dispatch,
    Due,
    EngineInfo,
    Entry,
    Fetch,
    Keep,
    Refused,
    SetHead,
    Settle,
    Store,
)

pytestmark = pytest.mark.anyio


# ---------------------------------------------------------------------- fetching


async def test_an_entry_tells_where_it_is_from_and_when_it_was_added(flow: Flow, store: Store) -> None:
    before = await store.now_ms()
    await flow.commit(Dispatch("work:a", "order-1 0f3c 1 grün"))
    after = await store.now_ms()
    entry = await flow.fetch_one()
    assert (flow.partition, "work:a", "order-1 0f3c 1 grün") == (entry.partition, entry.stream, entry.payload)
    assert before <= entry.added_ms <= after


async def test_two_consumers_never_get_one_entry(flow: Flow) -> None:
    await flow.commit(*[Dispatch("work:a", f"r{n}") for n in range(6)])
    first = await flow.fetch("e1", slots=4)
    second = await flow.fetch("e2", slots=4)
    assert payloads(first) == ["r0", "r1", "r2", "r3"]
    assert payloads(second) == ["r4", "r5"]
    assert await flow.fetch("e1") == ()


async def test_a_fetch_takes_at_most_its_slots_over_all_work_streams(flow: Flow, store: Store) -> None:
    await flow.commit(*[Dispatch("work:a", f"a{n}") for n in range(2)])
    await flow.commit(*[Dispatch("work:b", f"b{n}") for n in range(3)])
    found = await store.fetch(Fetch("e1", 4, [flow.ref("work:a"), flow.ref("work:b")]))
    assert payloads(found) == ["a0", "a1", "b0", "b1"]


async def test_a_fetch_takes_at_most_its_share_of_each_work_stream(flow: Flow, store: Store) -> None:
    await flow.commit(*[Dispatch("work:a", f"a{n}") for n in range(5)])
    await flow.commit(*[Dispatch("work:b", f"b{n}") for n in range(1)])
    refs = [flow.ref("work:a", readers=2), flow.ref("work:b", readers=2)]
    assert payloads(await store.fetch(Fetch("e1", 10, refs))) == ["a0", "a1", "a2", "b0"]
    # entries in flight count for the length of a stream
    assert payloads(await store.fetch(Fetch("e2", 10, refs))) == ["a3", "a4"]


async def test_what_a_consumer_holds_already_is_part_of_its_share(flow: Flow, store: Store) -> None:
    await flow.commit(*[Dispatch("work:a", f"a{n}") for n in range(6)])
    assert payloads(await store.fetch(Fetch("e1", 10, [flow.ref(readers=2, held=1)]))) == ["a0", "a1"]
    assert payloads(await store.fetch(Fetch("e1", 10, [flow.ref(readers=2, held=3)]))) == []


async def test_control_needs_no_slot_and_has_a_limit_of_its_own(flow: Flow, store: Store) -> None:
    await flow.commit(*[Dispatch(CONTROL, f"c{n}") for n in range(3)], Dispatch("work:a", "r1"))
    refs = [flow.ref(CONTROL), flow.ref("work:a")]
    assert payloads(await store.fetch(Fetch("e1", 0, refs, control=2))) == ["c0", "c1"]
    assert payloads(await store.fetch(Fetch("e1", 1, refs, control=0))) == ["r1"]
    assert payloads(await store.fetch(Fetch("e1", 0, refs, control=2))) == ["c2"]


async def test_control_entries_leave_the_slots_to_work(flow: Flow, store: Store) -> None:
    await flow.commit(Dispatch(CONTROL, "c1"), Dispatch(CONTROL, "c2"), Dispatch("work:a", "r1"))
    refs = [flow.ref(CONTROL), flow.ref("work:a")]
    assert payloads(await store.fetch(Fetch("e1", 1, refs))) == ["c1", "c2", "r1"]


async def test_commit_and_fetch_hands_the_entry_straight_back(flow: Flow) -> None:
    reply = await flow.commit_and_fetch(Fetch("e1", 1, [flow.ref()]), Dispatch("work:a", "r1"))
    assert payloads(reply.entries) == ["r1"]


async def test_a_call_whose_turns_are_refused_still_fetches(flow: Flow, store: Store) -> None:
    stale = flow.turn()
    await flow.commit(Dispatch("work:a", "r1"))
    reply = await store.commit([stale], Fetch("e1", 1, [flow.ref()]))
    assert isinstance(reply.turns[0], Refused)
    assert payloads(reply.entries) == ["r1"]


async def test_a_stream_without_its_group_is_passed_over_and_the_commit_stands(flow: Flow) -> None:
    refs = [flow.ref("work:new"), flow.ref("work:never"), flow.ref("work:a")]
    fetch = Fetch("e1", 10, refs)
    reply = await flow.commit_and_fetch(fetch, Dispatch("work:new", "n1"), Dispatch("work:a", "r1"))
    assert payloads(reply.entries) == ["r1"]
    assert [payload for stream, payload in await references(flow) if stream == "work:a"] == ["r1"]


async def test_entries_from_before_their_queue_was_recorded_are_delivered_after(flow: Flow) -> None:
    await flow.commit(Dispatch("work:new", "n1"))
    await flow.store.add_queues(["new"])
    assert payloads(await flow.fetch(stream="work:new")) == ["n1"]


async def test_an_acknowledged_entry_is_gone(flow: Flow) -> None:
    await flow.commit(Dispatch("work:a", "r1"), Dispatch("work:a", "r2"))
    first, _ = await flow.fetch()
    await flow.commit(ack(first))
    assert await references(flow) == [("work:a", "r2")]


async def test_an_acknowledgement_of_what_is_gone_changes_nothing(flow: Flow) -> None:
    await flow.commit(Dispatch("work:a", "r1"), Dispatch("work:a", "r2"))
    first, second = await flow.fetch()
    await flow.commit(ack(first))
    await flow.commit(ack(first), Ack("work:never", "1-1"), Dispatch("work:a", "r3"))
    assert await references(flow) == [("work:a", "r2"), ("work:a", "r3")]
    assert payloads(await flow.fetch()) == ["r3"]
    assert [second] == list((await renewed(flow, "e1", [])).unnamed)[:1]


# ---------------------------------------------------------------------- blocking


async def test_block_gives_at_most_one_entry_of_each_stream_that_has_one(flow: Flow, store: Store) -> None:
    await flow.commit(Dispatch("work:a", "a1"), Dispatch("work:a", "a2"), Dispatch(CONTROL, "c1"))
    places = [(flow.partition, "work:a"), (flow.partition, "work:b"), (flow.partition, CONTROL)]
    assert payloads(await store.block("e1", places, 2_000)) == ["a1", "c1"]


async def test_block_waits_for_a_commit(flow: Flow, store_factory: Any) -> None:
    waiting = store_factory()
    await waiting.open()
    found: list[Entry] = []

    async def wait() -> None:
        while not found:
            found.extend(await waiting.block("e1", [(flow.partition, "work:a")], 2_000))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await flow.commit(Dispatch("work:a", "r1"))
    assert payloads(found) == ["r1"]


async def test_block_gives_nothing_when_its_time_is_over(flow: Flow, store: Store) -> None:
    assert await store.block("e1", [(flow.partition, "work:a")], 20) == ()
    assert await store.block("e1", [(flow.partition, "work:a")], 0) == ()


async def test_two_who_block_on_one_stream_never_get_one_entry(flow: Flow, store_factory: Any) -> None:
    found: list[str] = []

    async def wait(consumer: str) -> None:
        store = store_factory()
        await store.open()
        while len(found) < 10:
            found.extend(payloads(await store.block(consumer, [(flow.partition, "work:a")], 50)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "e1")
        tasks.start_soon(wait, "e2")
        for n in range(10):
            await flow.commit(Dispatch("work:a", f"r{n}"))
    assert [f"r{n}" for n in range(10)] == sorted(found)


# ------------------------------------------------------------------------ leases


async def test_a_renewal_names_what_was_taken_over_and_does_not_steal_it_back(flow: Flow) -> None:
    await flow.commit(Dispatch("work:a", "r1"))
    entry = await flow.fetch_one("e1")
    assert (entry,) == (await take_over(flow, "e2")).taken
    lease = lease_of(entry, flow)
    assert (lease,) == (await renewed(flow, "e1", [lease])).lost
    assert (await renewed(flow, "e2", [lease])).lost == ()
    assert (lease,) == (await renewed(flow, "e1", [lease])).lost


async def test_a_renewal_names_what_was_settled(flow: Flow) -> None:
    await flow.commit(Dispatch("work:a", "r1"), Dispatch("work:a", "r2"))
    first, second = await flow.fetch("e1")
    await flow.commit(ack(first))
    leases = [lease_of(first, flow), lease_of(second, flow)]
    assert (leases[0],) == (await renewed(flow, "e1", leases)).lost


async def test_a_renewal_starts_the_idle_time_anew(flow: Flow, store: Store) -> None:
    idle_ms = 100
    await flow.commit(Dispatch("work:a", "r1"))
    entry = await flow.fetch_one("e1")

    async def is_idle() -> bool:
        return await store.now_ms() >= begun_ms + idle_ms

    for _ in range(20):
        begun_ms = await store.now_ms()
        await until(is_idle)
        before_ms = await store.now_ms()
        assert (await renewed(flow, "e1", [lease_of(entry, flow)])).lost == ()
        kept = await take_over(flow, "e1", min_idle_ms=idle_ms)
        if kept.now_ms < before_ms + idle_ms:  # else the machine was slow: look again
            break
    assert kept.taken == ()
    await until(is_idle)
    begun_ms = kept.now_ms
    await until(is_idle)
    assert (entry,) == (await take_over(flow, "e2", min_idle_ms=idle_ms)).taken


async def test_a_renewal_returns_what_is_pending_and_was_not_named(flow: Flow, store: Store) -> None:
    await flow.commit(*[Dispatch("work:a", f"r{n}") for n in range(3)], Dispatch(CONTROL, "c1"))
    named, *unnamed = await flow.fetch("e1")
    control = await flow.fetch_one("e1", stream=CONTROL)
    await flow.commit(Dispatch("work:a", "other"))
    await flow.fetch("e2")
    places = [(flow.partition, CONTROL), (flow.partition, "work:a"), (flow.partition, "work:b")]
    reply = store.renew("e1", [lease_of(named, flow)], places)
    assert (control, *unnamed) == reply.unnamed


async def test_a_renewal_tells_what_was_taken_over_apart_from_what_was_delivered(flow: Flow) -> None:
    await flow.commit(*[Dispatch("work:a", f"r{n}") for n in range(3)])
    entries = await flow.fetch("e1")
    assert (await renewed(flow, "e1", [lease_of(entry, flow) for entry in entries])).lost == ()
    first, *others = (await take_over(flow, "e2", min_idle_ms=0)).taken
    await flow.store.release("e2", [first])
    delivered = await flow.fetch_one("e2")
    reply = await renewed(flow, "e2", [])
    assert (reply.unnamed, reply.taken) == ((delivered,), tuple(others))


async def idle(store: Store, for_ms: int) -> None:
    """Lets the server's time go on."""
    until_ms = await store.now_ms() + for_ms

    async def is_over() -> bool:
        return await store.now_ms() >= until_ms

    await until(is_over)


async def test_a_renewal_renews_what_was_delivered_and_not_named(flow: Flow, store: Store) -> None:
    await flow.commit(Dispatch("work:a", "r1"))
    entry = await flow.fetch_one("e1")
    await idle(store, 50)
    assert (entry,) == (await renewed(flow, "e1", [])).unnamed
    assert (await take_over(flow, "e2", min_idle_ms=50)).taken == ()


async def test_a_renewal_does_not_renew_what_was_taken_over_and_not_named(flow: Flow, store: Store) -> None:
    await flow.commit(Dispatch("work:a", "r1"))
    await flow.fetch_one("e1")
    [entry] = (await take_over(flow, "e2", min_idle_ms=0)).taken
    await idle(store, 50)
    assert (entry,) == (await renewed(flow, "e2", [])).taken
    assert (entry,) == (await take_over(flow, "e3", min_idle_ms=50)).taken


async def test_a_renewal_neither_renews_nor_returns_what_was_let_go_of(flow: Flow, store: Store) -> None:
    await flow.commit(Dispatch("work:a", "r1"))
    entry = await flow.fetch_one("e1")
    await idle(store, 50)
    reply = store.renew("e1", [], [(flow.partition, "work:a")], known=[lease_of(entry, flow)[:3]])
    assert reply.unnamed == ()
    assert (entry,) == (await take_over(flow, "e2", min_idle_ms=50)).taken


async def test_a_renewal_returns_a_limited_number_of_unnamed_entries(flow: Flow) -> None:
    await flow.commit(*[Dispatch("work:a", f"r{n:03}") for n in range(UNNAMED_LIMIT + 20)])
    entries = await flow.fetch("e1", slots=1_000)
    named = [lease_of(entry, flow) for entry in entries[:10]]
    assert entries[10 : 10 + UNNAMED_LIMIT] == (await renewed(flow, "e1", named)).unnamed


async def test_a_renewal_tells_the_status_of_the_flows_named(flow: Flow) -> None:
    await flow.commit(*[Dispatch("work:a", f"r{n}") for n in range(3)], SetHead("status", "failed"))
    without = same_partition(flow, "order")
    await without.commit()
    entries = await flow.fetch("e1")
    flows = [flow, without, same_partition(flow, "unknown")]
    leases = [lease_of(entry, each) for entry, each in zip(entries, flows, strict=True)]
    reply = await renewed(flow, "e1", leases)
    assert {flow.id: "failed", without.id: ""} == reply.statuses


async def test_a_takeover_goes_on_from_its_cursor(flow: Flow) -> None:
    await flow.commit(*[Dispatch("work:a", f"r{n}") for n in range(5)])
    entries = await flow.fetch("e1")
    first = await take_over(flow, "e2", limit=2)
    second = await take_over(flow, "e2", limit=2, cursor=first.cursors[0])
    third = await take_over(flow, "e2", limit=2, cursor=second.cursors[0])
    assert [entries[:2], entries[2:4], entries[4:]] == [first.taken, second.taken, third.taken]
    assert (entries[2].id, entries[4].id, "0-0") == (*first.cursors, *second.cursors, *third.cursors)


async def test_a_takeover_leaves_what_has_not_idled_long_enough(flow: Flow) -> None:
    await flow.commit(Dispatch("work:a", "r1"))
    entry = await flow.fetch_one("e1")
    reply = await take_over(flow, "e2", min_idle_ms=HOUR_MS)
    assert (reply.taken, reply.cursors, reply.vanished) == ((), ("0-0",), 0)
    assert (await renewed(flow, "e1", [lease_of(entry, flow)])).lost == ()


async def test_a_takeover_never_takes_what_was_not_delivered(flow: Flow) -> None:
    await flow.commit(Dispatch("work:a", "r1"))
    assert (await take_over(flow, "e2")).taken == ()
    assert payloads(await flow.fetch("e1")) == ["r1"]


async def test_a_takeover_answers_each_stream_in_order(flow: Flow, store: Store) -> None:
    await flow.commit(Dispatch("work:a", "r1"), Dispatch("work:a", "r2"), Dispatch(CONTROL, "c1"))
    await flow.fetch("e1")
    await flow.fetch("e1", stream=CONTROL)
    refs = [(flow.ref(CONTROL), "0-0"), (flow.ref("work:never"), "0-0"), (flow.ref("work:a"), "0-0")]
    reply = await store.keep(Keep(ENGINE, takeover=refs, min_idle_ms=0, takeover_limit=1))
    assert payloads(reply.taken) == ["c1", "r1"]
    assert list(reply.cursors[:2]) == ["0-0", "0-0"]
    assert reply.cursors[2] != "0-0"


async def test_what_is_handed_back_is_delivered_anew_under_the_same_attempt(flow: Flow, store: Store) -> None:
    await flow.commit(*[Dispatch("work:a", f"r{n}") for n in range(3)])
    begun, *unbegun = await flow.fetch("e1")
    assert await store.release("e1", unbegun) == 2
    assert (begun,) == (await renewed(flow, "e1", [])).unnamed
    assert payloads(await flow.fetch("e2")) == ["r1", "r2"]


async def test_what_is_no_longer_ones_own_is_not_handed_back(flow: Flow, store: Store) -> None:
    await flow.commit(Dispatch("work:a", "r1"), Dispatch("work:a", "r2"))
    entries = await flow.fetch("e1")
    await take_over(flow, "e2", limit=1)
    await flow.commit(ack(entries[1]))
    assert await store.release("e1", entries) == 0
    assert await store.release("e2", entries) == 1
    assert await references(flow) == [("work:a", "r1")]


async def test_what_is_handed_back_with_a_delay_comes_by_a_due_entry(flow: Flow, store: Store) -> None:
    await flow.commit(Dispatch("work:a", "r1"), Dispatch("work:a", "r2"))
    entries = await flow.fetch("e1")
    assert await store.release("e1", entries[:1], HOUR_MS) == 1
    assert await store.release("e1", entries[1:], 1) == 1
    assert await flow.fetch("e2") == ()
    assert await references(flow) == [("work:a", "r1"), ("work:a", "r2")]

    async def is_moved() -> bool:
        return (await store.keep(Keep())).moved == 1

    await until(is_moved)
    assert payloads(await flow.fetch("e2")) == ["r2"]


async def test_a_buried_entry_is_out_of_the_way(flow: Flow, store: Store) -> None:
    await flow.commit(Dispatch("work:a", "\x00?"), Dispatch("work:a", "r1"))
    bad, good = await flow.fetch("e1")
    await store.bury(bad, "no payload that this version can read")
    assert await references(flow) == [("work:a", "r1")]
    assert (good,) == (await renewed(flow, "e1", [])).unnamed


async def test_a_consumer_retires_only_when_it_has_nothing_pending(flow: Flow, store: Store) -> None:
    await flow.commit(Dispatch("work:a", "r1"))
    entry = await flow.fetch_one("e1")
    assert await store.retire("e1") is False
    assert (entry,) == (await renewed(flow, "e1", [])).unnamed
    await flow.commit(ack(entry))
    assert await store.retire("e1") is True
    assert await store.retire("never seen") is True


async def test_an_engine_that_retires_is_no_longer_alive(store: Store) -> None:
    await store.keep(Keep(EngineInfo("e1", ("a",)), alive_ms=60_000))
    assert [engine.id for engine in await store.engines()] == ["e1"]
    await store.retire("e1")
    assert await store.engines() == ()


async def test_a_retired_consumer_may_come_back(flow: Flow, store: Store) -> None:
    await flow.fetch("e1")
    await store.retire("e1")
    await flow.commit(Dispatch("work:a", "r1"))
    assert payloads(await flow.fetch("e1")) == ["r1"]


# ------------------------------------------------------------------- due entries


async def test_a_due_entry_moves_to_the_stream_it_names_when_it_is_due(flow: Flow, store: Store) -> None:
    await flow.commit(Due("work:a r1 two words", 0), Due("control later", HOUR_MS))
    assert (await store.keep(Keep())).moved == 1
    assert payloads(await flow.fetch()) == ["r1 two words"]
    assert await flow.fetch(stream=CONTROL) == ()
    assert (await store.keep(Keep())).moved == 0


async def test_a_due_entry_is_never_lost_while_it_moves(flow: Flow, store: Store) -> None:
    await flow.commit(Due("work:a r1", 0))
    assert await references(flow) == [("work:a", "r1")]
    await store.keep(Keep())
    assert await references(flow) == [("work:a", "r1")]
    await flow.fetch("e1")
    assert await references(flow) == [("work:a", "r1")]


async def test_due_entries_move_lowest_first_up_to_a_limit_in_each_partition(
    flow: Flow, store: Store
) -> None:
    await flow.commit(Due("work:a r3", 0), Due("work:a r1", 0), Due("work:a r2", 0))
    await other_partition(flow).commit(Due("control c1", 0))
    reply = await store.keep(Keep(due_limit=2))
    assert reply.moved == 3
    assert reply.next_due_ms is not None
    assert reply.next_due_ms <= reply.now_ms
    assert payloads(await flow.fetch()) == ["r1", "r2"]
    assert (await store.keep(Keep(due_limit=2))).moved == 1


async def test_a_round_with_due_limit_zero_moves_nothing_and_tells_what_is_next(flow: Flow) -> None:
    committed = await flow.commit(Due("control c1", 0), Due("control c2", HOUR_MS))
    reply = await flow.store.keep(Keep(due_limit=0))
    assert (0, committed.at) == (reply.moved, reply.next_due_ms)


async def test_the_next_due_time_is_the_earliest_of_all_partitions(flow: Flow, store: Store) -> None:
    assert (await store.keep(Keep())).next_due_ms is None
    await flow.commit(Due("control c1", 2 * HOUR_MS))
    committed = await other_partition(flow).commit(Due("control c2", HOUR_MS))
    assert committed.at + HOUR_MS == (await store.keep(Keep())).next_due_ms


async def test_a_settled_due_entry_does_not_come(flow: Flow, store: Store) -> None:
    await flow.commit(Due("control c1", 0), Due("control c2", 0))
    await flow.commit(Settle("control c1"), Settle("control never"))
    assert (await store.keep(Keep())).moved == 1
    assert payloads(await flow.fetch(stream=CONTROL)) == ["c2"]


async def test_a_due_entry_that_is_added_again_has_its_new_time(flow: Flow, store: Store) -> None:
    await flow.commit(Due("control c1", 0))
    committed = await flow.commit(Due("control c1", HOUR_MS))
    reply = await store.keep(Keep())
    assert (0, committed.at + HOUR_MS) == (reply.moved, reply.next_due_ms)


async def test_operations_are_applied_in_their_order(flow: Flow) -> None:
    await flow.commit(
        Due("control c1", 0), Settle("control c1"), Settle("control c2"), Due("control c2", HOUR_MS)
    )
    assert await references(flow) == [(CONTROL, "c2")]
