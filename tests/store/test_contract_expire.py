"""The store's contract, on every store: trees that were kept for long enough go, and dead engines' names."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from store_words import ENGINE, HOUR_MS, Flow, event, log_of, payloads, same_partition, take_over

from argyll_redis.store.protocol import (
    Dispatch,
    Expired,
    Fetch,
    ImportedLog,
    Index,
    Keep,
    Op,
    PlanMissing,
    Seal,
    SetHead,
    Store,
    StoredEvent,
    Unindex,
    UsePlan,
)

pytestmark = pytest.mark.anyio

MANY = 100
DONE: Sequence[Op] = (Index("done:failed"), Index("label:k=v=w"), SetHead("status", "failed"))


def child(flow: Flow, name: str) -> Flow:
    """A child flow that does not exist yet."""
    return Flow(flow.store, f"{flow.id}:{name}")


async def sealed(flow: Flow, *ops: Op) -> Flow:
    """Starts and ends a flow."""
    short = "children" if ":" in flow.id else "open"
    await flow.commit(Index(short))
    await flow.commit(*ops, Unindex(short), Seal(), events=[event("flow_deactivated")])
    return flow


async def expire(flow: Flow, *, keep_ms: int = 0, limit: int = MANY) -> Expired:
    """Removes what is due in the partition of a flow."""
    return await flow.store.expire(flow.partition, keep_ms=keep_ms, limit=limit)


async def are_there(*flows: Flow) -> list[bool]:
    """Whether flows exist, by their heads."""
    return [head is not None for head in await flows[0].store.heads([flow.id for flow in flows])]


# ----------------------------------------------------------------------- one flow


async def test_a_flow_whose_time_is_over_is_in_no_log_head_or_index(store: Store, flow: Flow) -> None:
    await sealed(flow, *DONE)
    assert await expire(flow) == Expired(1, False)
    assert (await log_of(flow), await are_there(flow)) == ([], [False])
    assert [await store.index(name) for name in ("open", "done:failed", "label:k=v=w")] == [[], [], []]


async def test_a_flow_is_kept_until_its_time_is_over(flow: Flow) -> None:
    await sealed(flow, *DONE)
    assert await expire(flow, keep_ms=HOUR_MS) == Expired(0, False)
    assert (len(await log_of(flow)), await are_there(flow)) == (2, [True])


async def test_a_flow_that_is_not_sealed_is_kept(flow: Flow) -> None:
    await flow.commit(*DONE)
    assert await expire(flow) == Expired(0, False)
    assert await are_there(flow) == [True]


async def test_another_flow_in_the_same_indexes_stays(store: Store, flow: Flow) -> None:
    other = same_partition(flow, "other")
    await other.commit(*DONE)
    await sealed(flow, *DONE)
    await expire(flow)
    assert [[id for id, _ in await store.index(name)] for name in ("done:failed", "label:k=v=w")] == [
        [other.id],
        [other.id],
    ]


async def test_an_index_that_was_left_is_not_asked_again(store: Store, flow: Flow) -> None:
    await sealed(flow, Index("label:a=b"), Unindex("label:a=b"))
    assert await expire(flow) == Expired(1, False)
    assert await store.index("label:a=b") == []


async def test_the_id_of_a_flow_that_has_expired_is_free(flow: Flow) -> None:
    await sealed(flow, *DONE)
    await expire(flow)
    again = Flow(flow.store)
    await again.commit(SetHead("status", "active"))
    assert await expire(flow) == Expired(0, False)
    [head] = await flow.store.heads([flow.id])
    assert head is not None
    assert (head.version, head.sealed, head.fields) == (1, False, {"status": "active"})


async def test_an_imported_flow_is_kept_from_its_import_on(store: Store, flow: Flow) -> None:
    log = (StoredEvent(1, "flow_started", 1_000, 0, "start:c", "t-1", 1, 1, b"{}"),)
    await store.import_log(ImportedLog(flow.partition, flow.id, log, {}, ["done:failed", "label:a=b"]))
    assert await expire(flow, keep_ms=HOUR_MS) == Expired(0, False)
    assert await expire(flow) == Expired(1, False)
    assert [await store.index("done:failed"), await store.index("label:a=b")] == [[], []]


# -------------------------------------------------------------------------- plans


async def test_a_plan_goes_with_its_last_flow(store: Store, flow: Flow) -> None:
    other = same_partition(flow, "other")
    await sealed(flow, UsePlan("h1", b"plan"))
    await other.commit(UsePlan("h1", b""))
    await expire(flow)
    assert await store.plans([(flow.partition, "h1")]) == [b"plan"]
    await other.commit(Seal())
    await expire(flow)
    assert await store.plans([(flow.partition, "h1")]) == [None]


async def test_a_plan_that_went_is_asked_for_by_the_next_flow(store: Store, flow: Flow) -> None:
    await sealed(flow, UsePlan("h1", b"plan"))
    await expire(flow)
    reply = await store.commit([Flow(store).turn(UsePlan("h1", b""))])
    assert reply.turns == (PlanMissing("h1"),)


# -------------------------------------------------------------------------- trees


async def test_children_are_kept_as_long_as_their_root_is_open(flow: Flow) -> None:
    await flow.commit(Index("open"))
    one = await sealed(child(flow, "a:1"))
    assert await expire(flow) == Expired(0, False)
    assert await are_there(flow, one) == [True, True]


async def test_a_tree_goes_whole(store: Store, flow: Flow) -> None:
    await flow.commit(Index("open"))
    one, inner = child(flow, "a:1"), child(flow, "a:1:b:2")
    for each in (inner, one):
        await sealed(each, UsePlan("h1", b"plan"))
    await flow.commit(*DONE, Unindex("open"), Seal())
    assert await expire(flow) == Expired(3, False)
    assert await are_there(flow, one, inner) == [False] * 3
    assert await store.plans([(flow.partition, "h1")]) == [None]


async def test_a_flow_whose_id_only_begins_as_another_one_is_of_another_tree(flow: Flow) -> None:
    longer = same_partition(flow, flow.id)
    await longer.commit(Index("open"))
    inner = await sealed(child(longer, "a:1"))
    await sealed(flow)
    assert await expire(flow) == Expired(1, False)
    assert await are_there(flow, longer, inner) == [False, True, True]


async def test_a_child_that_is_open_keeps_its_tree(flow: Flow) -> None:
    one, late = child(flow, "a:1"), child(flow, "a:2")
    await late.commit(Index("children"))
    await sealed(one)
    await sealed(flow)
    assert await expire(flow) == Expired(0, False)
    assert await are_there(flow, one, late) == [True] * 3
    await late.commit(Unindex("children"), Seal())
    assert await expire(flow) == Expired(3, False)


async def test_the_time_of_a_tree_begins_with_its_last_seal(flow: Flow) -> None:
    late = child(flow, "a:1")
    await late.commit(Index("children"))
    await sealed(flow)
    await expire(flow, keep_ms=0)
    await late.commit(Unindex("children"), Seal())
    assert await expire(flow, keep_ms=HOUR_MS) == Expired(0, False)
    assert await are_there(flow, late) == [True, True]


async def test_a_tree_that_is_kept_by_an_open_child_holds_up_no_other(flow: Flow) -> None:
    await child(flow, "a:1").commit(Index("children"))
    await sealed(flow)
    other = await sealed(same_partition(flow, "other"))
    found = [await expire(flow, limit=1) for _ in range(2)]
    assert (sum(each.flows for each in found), await are_there(flow, other)) == (1, [True, False])


async def test_a_child_that_ends_after_its_root_has_expired_goes_too(flow: Flow) -> None:
    await sealed(flow)
    await expire(flow)
    late = await sealed(child(flow, "a:1"))
    assert await expire(flow, keep_ms=HOUR_MS) == Expired(0, False)
    assert await expire(flow) == Expired(1, False)
    assert await are_there(late) == [False]


async def test_what_is_left_of_a_tree_waits_for_another_flow_of_its_root_id(flow: Flow) -> None:
    late = await sealed(child(flow, "a:1"))
    await flow.commit(Index("open"))
    assert await expire(flow) == Expired(0, False)
    assert await are_there(flow, late) == [True, True]
    await flow.commit(Unindex("open"), Seal())
    assert await expire(flow) == Expired(2, False)


async def test_a_large_tree_goes_in_calls_that_are_bounded_children_first(flow: Flow) -> None:
    inner, one, two = child(flow, "a:1:b:2"), child(flow, "a:1"), child(flow, "a:3")
    for each in (inner, one, two, flow):
        await sealed(each)
    seen: list[tuple[Expired, list[bool]]] = []
    while not seen or seen[-1][0].more:
        seen.append((await expire(flow, limit=1), await are_there(flow, one, inner, two)))
    assert seen == [
        (Expired(1, True), [True, True, True, False]),
        (Expired(1, True), [True, True, False, False]),
        (Expired(1, True), [True, False, False, False]),
        (Expired(1, True), [False, False, False, False]),
        (Expired(0, False), [False, False, False, False]),
    ]


async def test_the_oldest_go_first(flow: Flow) -> None:
    others = [flow, same_partition(flow, "z"), same_partition(flow, "a")]
    for place, each in enumerate(others):
        await sealed(each)
        now_ms = await flow.store.now_ms()
        while place < 2 and await flow.store.now_ms() == now_ms:
            pass  # a later seal has a later time
    assert await expire(flow, limit=2) == Expired(2, True)
    assert await are_there(*others) == [False, False, True]


# ------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("partition", "keep_ms", "limit"), [(-1, 0, 1), (2, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 1_001)]
)
async def test_a_removal_that_cannot_be_meant_is_refused(
    store: Store, partition: int, keep_ms: int, limit: int
) -> None:
    with pytest.raises(ValueError, match=r"partition|keep_ms|limit"):
        await store.expire(partition, keep_ms=keep_ms, limit=limit)


@pytest.mark.parametrize(("partition", "idle_ms"), [(2, 0), (0, -1)])
async def test_consumers_are_not_forgotten_where_that_cannot_be_meant(
    store: Store, partition: int, idle_ms: int
) -> None:
    with pytest.raises(ValueError, match=r"partition|idle_ms"):
        await store.reap(partition, idle_ms)


# ---------------------------------------------------------------------- consumers


async def test_what_is_pending_for_a_dead_engine_is_not_forgotten_with_it(store: Store, flow: Flow) -> None:
    await flow.commit(Dispatch("work:a", "r1"))
    await flow.fetch_one("dead")
    await store.reap(flow.partition, 0)
    assert payloads((await take_over(flow, "e2")).taken) == ["r1"]


async def test_a_consumer_that_was_forgotten_reads_on(store: Store, flow: Flow) -> None:
    await store.keep(Keep(ENGINE))
    assert await flow.fetch("e9") == ()
    await store.reap(flow.partition, 0)
    await flow.commit(Dispatch("work:a", "r1"))
    entries = await store.fetch(Fetch("e9", 1, [flow.ref()]))
    assert payloads(entries) == ["r1"]
