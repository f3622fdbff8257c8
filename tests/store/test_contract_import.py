"""The store's contract, on every store: importing logs, unreadable entries, looking without opening."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from servers import StoreFactory
from store_words import Flow, event, log_of

from argyll_redis.core.limits import MAX_IMPORT_EVENTS
from argyll_redis.store.keys import LAYOUT
from argyll_redis.store.protocol import (
    Dead,
    Dispatch,
    Head,
    ImportedLog,
    Index,
    NamespaceInfo,
    Refused,
    SetHead,
    Store,
    StoredEvent,
    UsePlan,
)

pytestmark = pytest.mark.anyio

LOG = (
    StoredEvent(1, "flow_started", 1_000, 0, "start:c", "t-1", 1, 2, b"\x00\xff"),
    StoredEvent(2, "step_started", 1_000, 1, "start:c", "t-1", 2, 2, b"{}"),
    StoredEvent(3, "flow_failed", 2_000, 0, "operator:o", "t-2", 1, 1, b""),
)
FIELDS = {"status": "failed", "error": "boom"}


def imported(flow: Flow, **changes: Any) -> ImportedLog:
    """A log of this flow, from elsewhere."""
    log = ImportedLog(flow.partition, flow.id, LOG, FIELDS, ["done:failed", "label:tenant=a=b"])
    return replace(log, **changes)


# ---------------------------------------------------------------------- import


async def test_an_imported_log_is_there_as_it_was_elsewhere(store: Store, flow: Flow) -> None:
    assert await store.import_log(imported(flow)) is True
    assert tuple(await log_of(flow)) == LOG
    assert await store.heads([flow.id]) == [Head(3, "t-2", 2_000, 1_000, True, FIELDS)]


async def test_an_imported_flow_is_found_by_its_indexes_at_the_time_of_its_start(
    store: Store, flow: Flow
) -> None:
    await store.import_log(imported(flow))
    found = {name: await store.index(name) for name in ("done:failed", "label:tenant=a=b", "open")}
    assert found == {"done:failed": [(flow.id, 1_000)], "label:tenant=a=b": [(flow.id, 1_000)], "open": []}


async def test_a_flow_that_exists_is_left_as_it_is(store: Store, flow: Flow) -> None:
    await flow.commit(SetHead("status", "active"), Index("open"))
    before = (await log_of(flow), await store.heads([flow.id]), await store.index("done:failed"))
    assert await store.import_log(imported(flow)) is False
    assert before == (await log_of(flow), await store.heads([flow.id]), await store.index("done:failed"))


async def test_an_imported_flow_that_exists_is_left_as_it_is(store: Store, flow: Flow) -> None:
    await store.import_log(imported(flow))
    other = tuple([each._replace(data=b"other") for each in LOG])
    assert await store.import_log(imported(flow, events=other)) is False
    assert tuple(await log_of(flow)) == LOG


async def test_an_imported_log_is_closed(store: Store, flow: Flow) -> None:
    await store.import_log(imported(flow))
    flow.version, flow.tx = 3, "t-2"
    reply = (await store.commit([flow.turn(events=[event()])])).turns[0]
    assert reply == Refused(3, LOG[2:], more=False, sealed=True)
    start = (await store.commit([Flow(store, flow.id).turn(SetHead("status", "x"))])).turns[0]
    assert start == Refused(3, LOG[:1], more=True, sealed=True)


async def test_an_import_is_no_news_and_leaves_nothing_to_be_done(store: Store, flow: Flow) -> None:
    before = (await store.feed({flow.partition: "0-0"}, 0)).entries
    await store.import_log(imported(flow))
    assert (await store.feed({flow.partition: "0-0"}, 0)).entries == before == ()
    assert await store.references(flow.partition) == frozenset()
    assert await store.plans([(flow.partition, "hash")]) == [None]


async def test_a_log_without_fields_and_indexes_can_be_imported(store: Store, flow: Flow) -> None:
    assert await store.import_log(imported(flow, fields={}, indexes=[])) is True
    assert (await store.heads([flow.id]))[0] == Head(3, "t-2", 2_000, 1_000, True, {})


async def test_a_log_of_many_events_is_imported_whole(store: Store, flow: Flow) -> None:
    many = [LOG[0]._replace(version=n, tx=f"t-{n}", count=1) for n in range(1, 1_201)]
    assert await store.import_log(imported(flow, events=many)) is True
    assert await log_of(flow) == many


@pytest.mark.parametrize(
    "changes",
    [
        {"flow": ""},
        {"partition": 7},
        {"events": ()},
        {"events": LOG[1:]},
        {"events": (*LOG, LOG[2])},
        {"events": (LOG[0]._replace(tx="two words"),)},
        {"events": (LOG[0]._replace(tx=""),)},
        {"events": (LOG[0]._replace(type=""),)},
        {"events": (LOG[0]._replace(cause=-1),)},
        {"events": (LOG[0]._replace(at=-1),)},
        {"events": (LOG[0], LOG[1]._replace(at=999))},
        {"fields": {"version": "9"}},
        {"fields": {"": "9"}},
        {"indexes": ["elsewhere"]},
        {"events": [LOG[0]] * (MAX_IMPORT_EVENTS + 1)},
    ],
    ids=lambda changes: str(changes)[:40],
)
async def test_a_log_that_cannot_have_been_one_is_refused_and_nothing_is_written(
    changes: dict[str, Any], store: Store, flow: Flow
) -> None:
    with pytest.raises(ValueError):
        await store.import_log(replace(imported(flow), **changes))
    found = (await log_of(flow), await store.heads([flow.id]), await store.index("done:failed"))
    assert found == ([], [None], [])


# ------------------------------------------------------------------------ dead


async def test_what_nobody_could_read_is_counted_with_the_newest_reason(store: Store, flow: Flow) -> None:
    assert await store.dead() == Dead(0, "")
    await flow.commit(Dispatch("work:a", "one"), Dispatch("work:a", "two"))
    for entry, reason in zip(await flow.fetch(), ("no payload", "no such flow"), strict=True):
        await store.bury(entry, reason)
    assert await store.dead() == Dead(2, "no such flow")


# ------------------------------------------------------------------------ peek


async def test_a_look_at_a_namespace_that_does_not_exist_creates_nothing(store_factory: StoreFactory) -> None:
    first, second = store_factory(), store_factory()
    assert [await first.peek(), await second.peek()] == [None, None]
    if store_factory.server is not None:
        assert store_factory.server.all_keys() == []


async def test_a_store_that_has_looked_can_be_read_without_being_opened(
    store: Store, flow: Flow, store_factory: StoreFactory
) -> None:
    await flow.commit(Index("open"), UsePlan("p", b"plan"))
    await store.append_catalog(0, "", "t-1", [event("step_registered")])
    other = store_factory(partitions=7)
    assert await other.peek() == NamespaceInfo(LAYOUT, 2, True)
    assert [id for id, _ in await other.index("open")] == [flow.id]
    assert len(await other.catalog(0)) == 1
    assert (await other.heads([flow.id]))[0] == (await store.heads([flow.id]))[0]


async def test_a_server_tells_of_itself_and_runs_scripts(store: Store) -> None:
    info = await store.info()
    assert "redis_version" in info or info in ({"server": "memory"}, {})
    assert await store.can_run_scripts() == ""
