"""The store's contract, on every store: what it refuses, and a namespace that is not the one opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from store_words import ENGINE, Flow, ack, event, lease_of, payloads, renewed

from argyll_redis.errors import NamespaceEmptied
from argyll_redis.store.protocol import (
    CONTROL,
    Ack,
    Dispatch,
    Due,
    Entry,
    Fetch,
    Index,
    Keep,
    Lease,
    Seal,
    SetHead,
    Settle,
    Store,
    StreamRef,
    Turn,
    Unindex,
    UsePlan,
    partition_of,
)

pytestmark = pytest.mark.anyio


# ------------------------------------------------------------- what is refused


def turn_of(*ops: Any, flow: str = "order-1", **changes: Any) -> Turn:
    """A start of order-1 with something changed."""
    values: dict[str, Any] = {
        "partition": partition_of(flow, 2),
        "version": 0,
        "last_tx": "",
        "tx": "t-bad",
        "events": (event(),),
    }
    return Turn(**{**values, "flow": flow, "ops": ops, **changes})


BAD_TURNS = {
    "partition that is not there": turn_of(partition=2),
    "negative partition": turn_of(partition=-1),
    "partition of another flow": turn_of(partition=1 - partition_of("order-1", 2)),
    "no flow": turn_of(flow=""),
    "negative version": turn_of(version=-1, last_tx="t-1"),
    "version without its transaction": turn_of(version=1),
    "transaction without a version": turn_of(last_tx="t-1"),
    "no transaction": turn_of(tx=""),
    "transaction with a blank": turn_of(tx="t 1"),
    "transaction with a colon": turn_of(tx="t:1"),
    "event without a type": turn_of(events=(event(""),)),
    "event with a negative cause": turn_of(events=(event(cause=-1),)),
    "stream of no queue": turn_of(Dispatch("work:", "r1")),
    "stream of another kind": turn_of(Dispatch("feed", "r1")),
    "acknowledgement of no entry": turn_of(Ack("work:a", "r1")),
    "acknowledgement in no stream": turn_of(Ack("flow:order-1", "1-0")),
    "negative delay": turn_of(Due("work:a r1", -1)),
    "due entry for no stream": turn_of(Due("later r1", 1)),
    "due entry without a payload": turn_of(Due("control", 1)),
    "settled entry for no stream": turn_of(Settle("r1")),
    "field of the head's own": turn_of(SetHead("version", "9")),
    "field without a name": turn_of(SetHead("", "9")),
    "index of another kind": turn_of(Index("due")),
    "index without a status": turn_of(Index("done:")),
    "label without a value": turn_of(Unindex("label:tenant")),
    "plan without a hash": turn_of(UsePlan("", b"plan")),
    "head without a flow": turn_of(SetHead("status", "active"), events=()),
    "index without a flow": turn_of(Index("open"), events=()),
    "plan without a flow": turn_of(UsePlan("h", b"plan"), events=()),
    "seal without a flow": turn_of(Seal(), events=()),
}


@pytest.mark.parametrize("bad", BAD_TURNS.values(), ids=BAD_TURNS.keys())
async def test_a_bad_turn_is_refused_and_nothing_of_its_call_is_written(store: Store, bad: Turn) -> None:
    good = Flow(store, "order-2")
    with pytest.raises(ValueError):
        await store.commit([good.turn(Dispatch("work:a", "r1")), bad])
    assert await store.heads(["order-1", "order-2"]) == [None, None]
    assert frozenset() == await store.references(good.partition)


async def test_two_turns_of_one_flow_in_a_call_are_refused(flow: Flow, store: Store) -> None:
    with pytest.raises(ValueError, match="order-1"):
        await store.commit([flow.turn(), flow.turn()])
    assert await store.heads([flow.id]) == [None]


BAD_FETCHES = {
    "no consumer": Fetch("", 1, [StreamRef(0, "work:a")]),
    "negative slots": Fetch("e1", -1, [StreamRef(0, "work:a")]),
    "negative control": Fetch("e1", 1, [StreamRef(0, CONTROL)], control=-1),
    "negative number held": Fetch("e1", 1, [StreamRef(0, "work:a", 1, -1)]),
    "no readers": Fetch("e1", 1, [StreamRef(0, "work:a", 0)]),
    "unknown partition": Fetch("e1", 1, [StreamRef(2, "work:a")]),
    "unknown kind of stream": Fetch("e1", 1, [StreamRef(0, "feed")]),
}


@pytest.mark.parametrize("bad", BAD_FETCHES.values(), ids=BAD_FETCHES.keys())
async def test_a_bad_fetch_is_refused_and_its_call_writes_nothing(
    flow: Flow, store: Store, bad: Fetch
) -> None:
    with pytest.raises(ValueError):
        await store.fetch(bad)
    with pytest.raises(ValueError):
        await store.commit([flow.turn()], bad)
    assert await store.heads([flow.id]) == [None]


BAD_KEEPS = {
    "takeover without an engine": Keep(takeover=[(StreamRef(0, "work:a"), "0-0")]),
    "takeover from no cursor": Keep(ENGINE, takeover=[(StreamRef(0, "work:a"), "")]),
    "takeover of an unknown partition": Keep(ENGINE, takeover=[(StreamRef(2, "work:a"), "0-0")]),
    "takeover of an unknown kind of stream": Keep(ENGINE, takeover=[(StreamRef(0, "feed"), "0-0")]),
    "takeover of nothing": Keep(ENGINE, takeover_limit=0),
    "negative idle time": Keep(ENGINE, min_idle_ms=-1),
    "negative due limit": Keep(ENGINE, due_limit=-1),
    "no time to live": Keep(ENGINE, alive_ms=0),
}


@pytest.mark.parametrize("bad", BAD_KEEPS.values(), ids=BAD_KEEPS.keys())
async def test_a_bad_round_of_keeping_is_refused_and_does_nothing(store: Store, bad: Keep) -> None:
    with pytest.raises(ValueError):
        await store.keep(bad)
    assert await store.engines() == ()


@pytest.mark.parametrize("queue", ["", "two words"])
async def test_a_queue_name_without_letters_or_with_blanks_is_refused(store: Store, queue: str) -> None:
    with pytest.raises(ValueError):
        await store.add_queues(["c", queue])
    assert await store.queues() == ("a", "b")


async def test_a_bad_place_or_entry_is_refused_everywhere(store: Store) -> None:
    with pytest.raises(ValueError):
        store.renew("e1", [Lease(0, "work:a", "r1", "order-1")], [])
    with pytest.raises(ValueError):
        store.renew("e1", [], [(2, "work:a")])
    with pytest.raises(ValueError):
        await store.release("e1", [Entry(0, "feed", "1-0", "r1")])
    with pytest.raises(ValueError):
        await store.release("e1", [Entry(0, "work:a", "1-0", "r1")], -1)
    with pytest.raises(ValueError):
        await store.bury(Entry(2, "work:a", "1-0", "r1"), "why not")
    with pytest.raises(ValueError):
        await store.block("e1", [(0, "feed")], 0)
    with pytest.raises(ValueError):
        await store.feed({0: "now"}, 0)
    with pytest.raises(ValueError):
        await store.index("due")
    with pytest.raises(ValueError):
        await store.walk(0, "open", "0", 0)
    with pytest.raises(ValueError):
        await store.append_catalog(0, "", "t 1", [event()])


# ---------------------------------------------------------------- the namespace


async def test_two_connections_see_one_namespace(flow: Flow, store_factory: Any) -> None:
    second = store_factory()
    await second.open()
    await flow.commit(SetHead("status", "active"))
    assert flow.store.partitions == second.partitions
    assert await flow.store.heads([flow.id]) == await second.heads([flow.id])
    assert await second.queues() == ("a", "b")


async def test_the_partitions_are_those_of_the_namespace(store: Store, store_factory: Any) -> None:
    second = store_factory(partitions=8)
    await second.open()
    assert second.partitions == 2


async def test_opening_again_changes_nothing(flow: Flow, store_factory: Any) -> None:
    await flow.commit(Dispatch("work:a", "r1"))
    again = store_factory()
    await again.open()
    await again.add_queues(["a", "b"])
    assert payloads(await flow.fetch()) == ["r1"]


async def test_an_emptied_namespace_is_noticed_and_nothing_is_written_to_it(
    flow: Flow, store: Store, store_factory: Any
) -> None:
    await flow.commit(Dispatch("work:a", "r1"))
    entry = await flow.fetch_one("e1")
    await store_factory.empty()
    calls: Sequence[Any] = [
        lambda: store.commit([flow.turn(ack(entry))]),
        lambda: store.commit([Flow(store, "order-9").turn()]),
        lambda: flow.fetch("e1"),
        lambda: store.block("e1", [(flow.partition, "work:a")], 10),
        lambda: store.keep(Keep(ENGINE)),
        lambda: store.release("e1", [entry]),
        lambda: store.append_catalog(0, "", "t-1", [event()]),
        lambda: renewed(flow, "e1", [lease_of(entry, flow)]),
    ]
    for call in calls:
        with pytest.raises(NamespaceEmptied):
            await call()
    fresh = store_factory()
    await fresh.open()
    assert await fresh.heads([flow.id, "order-9"]) == [None, None]
    assert (await fresh.engines(), await fresh.catalog(0)) == ((), [])


async def test_a_namespace_that_was_made_anew_is_not_the_one_that_was_opened(
    flow: Flow, store_factory: Any
) -> None:
    await flow.commit()
    await store_factory.empty()
    fresh = store_factory()
    await fresh.open()
    with pytest.raises(NamespaceEmptied):
        await flow.commit()
    assert await fresh.heads([flow.id]) == [None]
