"""The store's contract, on every store: logs under compare-and-set, heads, plans, the catalog."""

from __future__ import annotations

import pytest
from store_words import (
    HOUR_MS,
    Flow,
    ack,
    commit_one,
    event,
    log_of,
    other_partition,
    payloads,
    same_partition,
)

from argyll_redis.store.cluster import ClusterStore
from argyll_redis.store.protocol import (
    CONTROL,
    MISSED_LIMIT,
    Committed,
    Dispatch,
    Due,
    Head,
    Index,
    Keep,
    PlanMissing,
    Refused,
    Seal,
    SetHead,
    Settle,
    Store,
    StoredEvent,
    Turn,
    UsePlan,
)

pytestmark = pytest.mark.anyio


# ------------------------------------------------------------ compare and append


async def test_a_start_appends_its_events_as_versions_from_one_with_their_place(flow: Flow) -> None:
    new = [
        event("flow_started", by="start c1", data=b'{"a": 1}'),
        event("step_started", cause=1, data=b"\x00\xff\r\n{}"),
    ]
    reply = await flow.commit(events=new, tx="t-1")
    expected = [
        StoredEvent(1, "flow_started", reply.at, 0, "start c1", "t-1", 1, 2, b'{"a": 1}'),
        StoredEvent(2, "step_started", reply.at, 1, "start", "t-1", 2, 2, b"\x00\xff\r\n{}"),
    ]
    assert expected == await log_of(flow)
    assert reply.version == 2


async def test_the_time_of_a_commit_is_the_servers_clock(flow: Flow, store: Store) -> None:
    before = await store.now_ms()
    reply = await store.commit([flow.turn()])
    after = await store.now_ms()
    [committed] = reply.turns
    assert isinstance(committed, Committed)
    assert (committed.version, before <= reply.now_ms <= after) == (1, True)
    # A cluster shows the clock of its slowest node, and a turn has that of its own.
    at_all = (before, after) if isinstance(store, ClusterStore) else (reply.now_ms, reply.now_ms)
    assert at_all[0] <= committed.at <= at_all[1]


async def test_a_turn_at_the_held_version_and_transaction_is_applied(flow: Flow) -> None:
    first = await flow.commit(events=2)
    second = await flow.commit(events=1)
    assert second.version == 3
    assert first.at <= second.at
    assert [stored.version for stored in await log_of(flow)] == [1, 2, 3]


async def test_a_stale_version_is_refused_with_what_it_missed_the_held_event_included(flow: Flow) -> None:
    await flow.commit(events=2)
    stale = flow.turn()
    await flow.commit(events=3)
    reply = await commit_one(flow.store, stale)
    assert reply == Refused(5, tuple((await log_of(flow))[1:]), more=False, sealed=False)


async def test_the_held_version_under_another_transaction_is_refused_and_shows_the_fork(flow: Flow) -> None:
    await flow.commit(events=2, tx="t-server")
    turn = Turn(flow.partition, flow.id, 2, "t-mine", "t-next", (event(),))
    reply = await commit_one(flow.store, turn)
    held = (await log_of(flow))[1]
    assert reply == Refused(2, (held,), more=False, sealed=False)
    assert held.tx == "t-server"


async def test_a_version_above_the_servers_is_refused_without_events(flow: Flow) -> None:
    await flow.commit(events=2, tx="t-1")
    turn = Turn(flow.partition, flow.id, 3, "t-lost", "t-next", (event(),))
    assert Refused(2, (), more=False, sealed=False) == await commit_one(flow.store, turn)


async def test_a_flow_that_does_not_exist_refuses_a_version_with_version_zero(flow: Flow) -> None:
    turn = Turn(flow.partition, flow.id, 3, "t-lost", "t-next", (event(),))
    assert Refused(0, (), more=False, sealed=False) == await commit_one(flow.store, turn)


async def test_a_refused_start_brings_event_one_only(flow: Flow) -> None:
    again = flow.turn(tx="t-other")
    await flow.commit(events=3, tx="t-1")
    reply = await commit_one(flow.store, again)
    assert reply == Refused(3, tuple((await log_of(flow))[:1]), more=True, sealed=False)


async def test_a_refused_start_of_a_flow_with_one_event_has_no_more(flow: Flow) -> None:
    again = flow.turn(tx="t-other")
    await flow.commit(events=1)
    reply = await commit_one(flow.store, again)
    assert reply == Refused(1, tuple(await log_of(flow)), more=False, sealed=False)


async def test_a_turn_that_is_sent_again_finds_its_own_transaction(flow: Flow) -> None:
    await flow.commit()
    turn = flow.turn(Dispatch("work:a", "r1"), events=2, tx="t-mine")
    await commit_one(flow.store, turn)
    reply = await commit_one(flow.store, turn)
    assert isinstance(reply, Refused)
    assert [(e.tx, e.place, e.count) for e in reply.missed[1:]] == [("t-mine", 1, 2), ("t-mine", 2, 2)]
    assert payloads(await flow.fetch()) == ["r1"]


@pytest.mark.parametrize(("missed", "has_more"), [(MISSED_LIMIT, False), (MISSED_LIMIT + 1, True)])
async def test_a_refusal_brings_a_limited_number_of_events_and_says_when_there_are_more(
    flow: Flow, missed: int, has_more: bool
) -> None:
    await flow.commit()
    stale = flow.turn()
    await flow.commit(events=missed - 1)
    reply = await commit_one(flow.store, stale)
    assert isinstance(reply, Refused)
    assert (missed, MISSED_LIMIT, has_more) == (reply.version, len(reply.missed), reply.more)
    assert list(range(1, MISSED_LIMIT + 1)) == [stored.version for stored in reply.missed]


async def test_a_refused_turn_does_none_of_its_operations(flow: Flow) -> None:
    await flow.commit(Dispatch("work:a", "kept"), Due("control later", HOUR_MS), SetHead("status", "active"))
    entry = await flow.fetch_one()
    await flow.commit()
    before = await flow.store.heads([flow.id])
    stale = Flow(flow.store).turn(
        ack(entry),
        Dispatch("work:a", "no"),
        Due("control no", 0),
        Settle("control later"),
        SetHead("status", "failed"),
        Index("open"),
        UsePlan("h", b"plan"),
        Seal(),
    )
    assert isinstance(await commit_one(flow.store, stale), Refused)
    assert {("work:a", "kept"), (CONTROL, "later")} == await flow.store.references(flow.partition)
    assert before == await flow.store.heads([flow.id])
    assert await flow.store.index("open") == []
    assert await flow.store.plans([(flow.partition, "h")]) == [None]


async def test_each_turn_of_a_batch_is_applied_or_refused_on_its_own(store: Store) -> None:
    flows = [Flow(store, f"order-{n}") for n in range(4)]
    await flows[1].commit()
    turns = [flow.turn() for flow in flows]
    stale = Flow(store, flows[1].id).turn()
    reply = await store.commit([turns[0], stale, turns[2], turns[3]])
    assert [Committed, Refused, Committed, Committed] == [type(turn) for turn in reply.turns]
    assert [head.version for head in await store.heads([f.id for f in flows]) if head] == [1, 1, 1, 1]


async def test_a_call_without_turns_commits_nothing(store: Store) -> None:
    assert (await store.commit([])).turns == ()


async def test_a_turn_without_events_leaves_the_version_and_the_log(flow: Flow) -> None:
    first = await flow.commit(events=2)
    head = (await flow.store.heads([flow.id]))[0]
    reply = await flow.commit(Dispatch(CONTROL, "look"), events=0)
    assert reply.version == 2
    assert reply.at >= first.at
    assert [head] == await flow.store.heads([flow.id])
    assert payloads(await flow.fetch(stream=CONTROL)) == ["look"]


async def test_a_turn_without_events_is_refused_when_it_is_stale(flow: Flow) -> None:
    await flow.commit()
    stale = flow.turn(Dispatch(CONTROL, "look"), events=0)
    await flow.commit()
    reply = await commit_one(flow.store, stale)
    assert reply == Refused(2, tuple(await log_of(flow)), more=False, sealed=False)
    assert await flow.fetch(stream=CONTROL) == ()


async def test_the_due_time_is_the_turns_time_plus_the_delay(flow: Flow) -> None:
    reply = await flow.commit(Due("work:a r1", HOUR_MS))
    assert reply.at + HOUR_MS == (await flow.store.keep(Keep())).next_due_ms


# ----------------------------------------------------------------------- sealing


async def test_a_sealed_flow_refuses_events_and_shows_that_it_is_sealed(flow: Flow) -> None:
    await flow.commit(Seal(), events=2)
    reply = await commit_one(flow.store, flow.turn())
    assert reply == Refused(2, tuple((await log_of(flow))[1:]), more=False, sealed=True)


async def test_a_sealed_flow_refuses_a_start_with_its_first_event(flow: Flow) -> None:
    again = flow.turn()
    await flow.commit(Seal(), events=2)
    reply = await commit_one(flow.store, again)
    assert reply == Refused(2, tuple((await log_of(flow))[:1]), more=True, sealed=True)


async def test_an_acknowledgement_passes_on_a_sealed_flow(flow: Flow) -> None:
    await flow.commit(Dispatch("work:a", "r1"), Seal())
    await flow.commit(ack(await flow.fetch_one()), events=0)
    assert frozenset() == await flow.store.references(flow.partition)


async def test_an_acknowledgement_passes_on_a_flow_that_does_not_exist(flow: Flow, store: Store) -> None:
    await flow.commit(Dispatch("work:a", "r1"))
    unknown = same_partition(flow, "unknown")
    reply = await unknown.commit(ack(await flow.fetch_one()), events=0)
    assert reply.version == 0
    assert await store.heads([unknown.id]) == [None]
    assert frozenset() == await store.references(flow.partition)


# ------------------------------------------------------------------------- heads


async def test_a_head_tells_version_transaction_times_and_what_was_set(flow: Flow) -> None:
    first = await flow.commit(SetHead("status", "active"), SetHead("goal", "grün"))
    last = await flow.commit(SetHead("status", "failed"), Seal(), events=2, tx="t-last")
    expected = Head(3, "t-last", last.at, first.at, True, {"status": "failed", "goal": "grün"})
    assert [None, expected] == await flow.store.heads(["unknown", flow.id])


async def test_logs_are_read_after_a_version_up_to_a_limit_in_one_call(flow: Flow) -> None:
    await flow.commit(events=5)
    reads = [(flow.id, 1, 2), ("unknown", 0, 10), (flow.id, 0, 100), (flow.id, 5, 10), (flow.id, 0, 0)]
    found = await flow.store.load(reads)
    assert [[e.version for e in events] for events in found] == [[2, 3], [], [1, 2, 3, 4, 5], [], []]


async def test_a_child_lives_in_the_partition_of_its_root(store: Store) -> None:
    child = Flow(store, "order-1:ship:0f3c")
    await child.commit(Index("children"))
    assert child.partition == Flow(store, "order-1").partition
    assert await store.walk(child.partition, "children", "0", 10) == (["order-1:ship:0f3c"], "0")


# ------------------------------------------------------------------------- plans


async def test_a_plan_used_by_hash_alone_is_asked_for_and_then_shared(flow: Flow) -> None:
    missing = flow.turn(UsePlan("h1", b""), Dispatch("work:a", "r1"))
    assert PlanMissing("h1") == await commit_one(flow.store, missing)
    assert await flow.store.heads([flow.id]) == [None]
    await flow.commit(UsePlan("h1", b"\x00plan\xff"))
    await same_partition(flow, "order").commit(UsePlan("h1", b""))
    expected = [b"\x00plan\xff", None]
    assert expected == await flow.store.plans([(flow.partition, "h1"), (flow.partition, "h2")])
    assert await flow.fetch() == ()


async def test_a_plan_is_held_by_partition(flow: Flow) -> None:
    await flow.commit(UsePlan("h1", b"plan"))
    elsewhere = other_partition(flow)
    assert PlanMissing("h1") == await commit_one(flow.store, elsewhere.turn(UsePlan("h1", b"")))


async def test_a_plan_sent_by_one_turn_is_there_for_the_next_one_of_the_call(flow: Flow) -> None:
    second = same_partition(flow, "order")
    turns = [flow.turn(UsePlan("h1", b"plan")), second.turn(UsePlan("h1", b""))]
    reply = await flow.store.commit(turns)
    assert [Committed, Committed] == [type(turn) for turn in reply.turns]


async def test_a_plan_sent_earlier_in_a_turn_is_there_for_the_rest_of_it(flow: Flow) -> None:
    await flow.commit(UsePlan("h1", b"plan"), UsePlan("h1", b""))
    assert await flow.store.plans([(flow.partition, "h1")]) == [b"plan"]


async def test_a_stale_turn_with_a_missing_plan_is_refused(flow: Flow) -> None:
    stale = flow.turn(UsePlan("h1", b""))
    await flow.commit()
    assert isinstance(await commit_one(flow.store, stale), Refused)


# ----------------------------------------------------------------------- catalog


async def test_the_catalog_appends_under_the_same_rule_as_a_flow(store: Store) -> None:
    first = await store.append_catalog(0, "", "t-1", [event("step_registered"), event("step_registered")])
    assert isinstance(first, Committed)
    second = await store.append_catalog(2, "t-1", "t-2", [event("step_updated", data=b"\xff")])
    assert isinstance(second, Committed)
    events = await store.catalog(0)
    expected = [
        StoredEvent(1, "step_registered", first.at, 0, "start", "t-1", 1, 2, b"{}"),
        StoredEvent(2, "step_registered", first.at, 0, "start", "t-1", 2, 2, b"{}"),
        StoredEvent(3, "step_updated", second.at, 0, "start", "t-2", 1, 1, b"\xff"),
    ]
    assert expected == events
    assert expected[2:] == await store.catalog(2)
    assert Refused(3, tuple(expected[1:]), more=False, sealed=False) == await store.append_catalog(
        2, "t-1", "t-3", [event()]
    )
    assert Refused(3, tuple(expected[:1]), more=True, sealed=False) == await store.append_catalog(
        0, "", "t-3", [event()]
    )
    assert Refused(3, (), more=False, sealed=False) == await store.append_catalog(4, "t-9", "t-3", [event()])
    assert expected == await store.catalog(0)


async def test_the_catalog_refuses_a_forked_history_and_shows_it(store: Store) -> None:
    await store.append_catalog(0, "", "t-server", [event("step_registered")])
    reply = await store.append_catalog(1, "t-mine", "t-next", [event("step_updated")])
    assert reply == Refused(1, tuple(await store.catalog(0)), more=False, sealed=False)
    assert [stored.tx for stored in await store.catalog(0)] == ["t-server"]


async def test_a_catalog_append_without_events_is_only_a_compare(store: Store) -> None:
    await store.append_catalog(0, "", "t-1", [event("step_registered")])
    compared = await store.append_catalog(1, "t-1", "t-2", [])
    assert isinstance(compared, Committed)
    assert compared.version == 1
    assert isinstance(await store.append_catalog(1, "t-1", "t-3", [event("step_updated")]), Committed)


async def test_an_empty_catalog_has_no_events(store: Store) -> None:
    assert await store.catalog(0) == []
