"""The store's contract, on every store: looking at a namespace as it stands, key by key."""

from __future__ import annotations

import pytest
from servers import StoreFactory
from store_words import Flow

from argyll_redis.store.keys import Keys, row_of
from argyll_redis.store.mending import (
    DropEntry,
    DropField,
    DropHead,
    PutField,
    PutRow,
    Repair,
    RepairOp,
    StoredKey,
)
from argyll_redis.store.protocol import Dispatch, Due, Entry, Index, Seal, SetHead, Store, UsePlan

pytestmark = pytest.mark.anyio


async def all_keys(store: Store) -> dict[str, StoredKey]:
    """Every key of the namespace, by small pages."""
    found: dict[str, StoredKey] = {}
    cursor = "0"
    while True:
        page, cursor = await store.keys(cursor, 5)
        found.update({key.name: key for key in page})
        if cursor == "0":
            return found


async def test_keys_come_with_their_types_and_times_to_live(store: Store, flow: Flow) -> None:
    await flow.commit(Index("open"), UsePlan("h", b"plan"), Due("control x look", 1_000))
    await store.memorize("m", b"{}", 60_000)
    found = await all_keys(store)
    keys = Keys(store.namespace)
    assert {name for name in found if row_of(name, store.namespace) is None} == set()
    of = {
        name: keys.of(flow.partition, name)
        for name in (f"flow:{flow.id}", f"head:{flow.id}", "plan:h", "due")
    }
    types = [found[key].type for key in of.values()]
    assert types == ["stream", "hash", "hash", "zset"]
    assert {found[key].ttl_ms for key in of.values()} == {-1}
    assert 0 < found[keys.memo("m")].ttl_ms <= 60_000


async def test_keys_are_found_before_the_store_is_open_once_it_has_looked(
    store: Store, flow: Flow, store_factory: StoreFactory
) -> None:
    await flow.commit()
    other: Store = store_factory()
    await other.peek()
    assert await all_keys(other) == await all_keys(store)


async def test_a_head_is_told_by_its_own_names(store: Store, flow: Flow) -> None:
    await flow.commit(
        Index("open"), Index("label:a=b"), SetHead("status", "active"), UsePlan("h", b"p"), Seal()
    )
    [head, none] = await store.head_fields([flow.id, "nobody"])
    [kept] = await store.heads([flow.id])
    assert none is None
    assert kept is not None
    assert head == {
        "v": "1", "tx": kept.tx, "at": str(kept.at), "t0": str(kept.started_at), "sealed": "1",
        ".status": "active", "#label:a=b": "", "@h": "1",
    }  # fmt: skip


async def test_the_end_of_a_log_is_told_by_the_log(store: Store, flow: Flow) -> None:
    await flow.commit(events=3, tx="t-1")
    await flow.commit(tx="t-2")
    assert await store.log_ends([flow.id, "nobody"]) == [(4, "t-2"), (0, "")]


async def test_rows_and_scores_of_any_index(store: Store, flow: Flow) -> None:
    done = await flow.commit(Index("open"), Seal())
    assert await store.rows(flow.partition, "open", "0", 10) == ([(flow.id, done.at)], "0")
    assert await store.rows(flow.partition, "expire", "0", 10) == ([(flow.id, done.at)], "0")
    assert await store.rows(flow.partition, "tree", "0", 10) == ([], "0")
    rows = [("open", flow.id), ("expire", flow.id), ("tree", flow.id), ("open", "nobody")]
    assert await store.scores(flow.partition, rows) == [done.at, done.at, None, None]
    with pytest.raises(ValueError, match="not the name of an index"):
        await store.rows(flow.partition, "feed", "0", 10)


async def test_users_of_plans_are_counted(store: Store, flow: Flow) -> None:
    await flow.commit(UsePlan("h", b"p"), UsePlan("h", b""))
    assert await store.plan_users([(flow.partition, "h"), (flow.partition, "other")]) == [2, 0]


async def test_what_is_pending_is_told_with_who_has_it(store: Store, flow: Flow) -> None:
    await flow.commit(Dispatch("work:a", "one"), Dispatch("work:a", "two"), Due("control x look", 1_000))
    entry = (await flow.fetch("e1", slots=1))[0]
    state = await store.pending(flow.partition, ["a", "nowhere"])
    control, a, nowhere = state.streams
    assert [each.stream for each in state.streams] == ["control", "work:a", "work:nowhere"]
    assert [each.has_group for each in state.streams] == [True, True, False]
    assert list(a.entries.values()) == ["one", "two"]
    assert [(id, held.consumer) for id, held in a.pending.items()] == [(entry.id, "e1")]
    assert [(each.name, each.pending) for each in a.consumers] == [("e1", 1)]
    assert (a.stranded, a.vanished, control.entries, nowhere.entries) == (frozenset(), [], {}, {})
    assert list(state.due) == ["control x look"]


async def test_entries_that_nobody_could_read_are_listed_the_newest_first(store: Store, flow: Flow) -> None:
    await flow.commit(Dispatch("work:a", "one"), Dispatch("work:a", "two"))
    for entry in await flow.fetch("e1"):
        await store.bury(Entry(flow.partition, "work:a", entry.id, entry.payload), f"not {entry.payload}")
    found = [(each.stream, each.payload, each.reason) for each in await store.dead_entries(10)]
    assert found == [("work:a", "two", "not two"), ("work:a", "one", "not one")]
    assert len(await store.dead_entries(1)) == 1


# --------------------------------------------------------------------- repair


async def test_a_repair_is_made_or_refused_by_where_the_log_ends(store: Store, flow: Flow) -> None:
    await flow.commit(SetHead("status", "active"), tx="t-1")
    ops = [DropField(".status"), PutRow("open", 7)]
    assert await store.repair(Repair(flow.partition, ops, flow.id, 1, "t-2")) is False
    assert await store.repair(Repair(flow.partition, ops, flow.id, 1, "t-1")) is True
    [head] = await store.head_fields([flow.id])
    assert head is not None
    assert ".status" not in head
    assert await store.scores(flow.partition, [("open", flow.id)]) == [7]


async def test_an_entry_of_nobody_goes(store: Store, flow: Flow) -> None:
    await flow.commit(Dispatch("work:a", "one"))
    entry = await flow.fetch_one()
    assert await store.repair(Repair(flow.partition, [DropEntry("work:a", entry.id)])) is True
    assert (await store.pending(flow.partition, ["a"])).streams[1].entries == {}


@pytest.mark.parametrize(
    ("ops", "flow_id", "version"),
    [
        ([DropHead()], "order-1", 1),
        ([PutField(".status", "active")], "order-1", 0),
        ([PutRow("open", 1)], "", 0),
        ([PutRow("due", 1)], "order-1", 1),
    ],
)
async def test_a_repair_that_cannot_be_meant_is_refused(
    ops: list[RepairOp], flow_id: str, version: int, store: Store, flow: Flow
) -> None:
    with pytest.raises(ValueError):
        await store.repair(Repair(flow.partition, ops, flow_id, version, "t" * version))


async def test_no_partition_has_lost_its_id(store: Store) -> None:
    assert await store.lost_ids() == []
    await store.restore_ids([0, 1])
    assert await store.lost_ids() == []
