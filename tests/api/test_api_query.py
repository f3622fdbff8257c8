"""Finding flows: filters, sort and pages, on every store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from api_apps import Apps, deactivated, token_of

from argyll_redis import ACCEPTED, Argyll, InvalidInput
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import Head, Index, NewEvent, Op, SetHead, Turn, partition_of

pytestmark = pytest.mark.anyio


async def filled(apps: Apps) -> Argyll:
    """Six flows: a0 to a3 with a label each, b0 that failed, b1 that is active."""
    app = apps()

    @app.step(outputs="x")
    def done(n: int) -> int:
        if n < 0:
            raise ZeroDivisionError
        return n

    @app.step(outputs="y", queue="nowhere")
    def waits(n: int) -> int:
        return n

    running = await apps.run(app, queues=["default"])
    for n in range(4):
        flow = await app.start([done], {"n": n}, id=f"a{n}", labels={"even": str(n % 2 == 0), "all": "1"})
        await deactivated(flow)
    failed = await app.start([done], {"n": -1}, id="b0")
    await app.start([waits], {"n": 1}, id="b1", labels={"all": "1"})
    await failed.cancel()
    await running.drain()
    return app


def ids(found: dict[str, Any]) -> list[str]:
    return [row["id"] for row in found["flows"]]


async def test_filters_choose_flows(apps: Apps) -> None:
    app = await filled(apps)
    assert sorted(ids(await app.query())) == ["a0", "a1", "a2", "a3", "b0", "b1"]
    assert sorted(ids(await app.query(id_prefix="A"))) == ["a0", "a1", "a2", "a3"]
    assert sorted(ids(await app.query(labels={"even": "True"}))) == ["a0", "a2"]
    assert sorted(ids(await app.query(labels={"even": "True", "all": "1"}, id_prefix="a2"))) == ["a2"]
    assert ids(await app.query(labels={"even": "no"})) == []
    assert ids(await app.query(statuses=["failed"])) == ["b0"]
    assert ids(await app.query(statuses=["active"])) == ["b1"]
    assert sorted(ids(await app.query(statuses=["active", "failed"]))) == ["b0", "b1"]
    assert ids(await app.query(labels={"all": "1"}, statuses=["active"])) == ["b1"]


@pytest.mark.contract("http", "Paging is stable whatever is started meanwhile.")
async def test_pages_go_on_where_the_last_one_ended_whatever_was_started_since(apps: Apps) -> None:
    app = await filled(apps)
    whole = ids(await app.query())
    first = await app.query(limit=2)
    await app.start(["waits"], {"n": 1}, id="c0")
    second = await app.query(limit=2, cursor=first["next_cursor"])
    third = await app.query(limit=2, cursor=second["next_cursor"])
    assert ids(first) + ids(second) + ids(third) == whole
    assert (third["has_more"], third["next_cursor"], third["total"]) == (False, None, 7)
    oldest = await app.query(sort="recent_asc", limit=1_000)
    assert [id for id in reversed(ids(oldest)) if id != "c0"] == whole


async def test_a_cursor_goes_with_its_own_query_alone(apps: Apps) -> None:
    app = await filled(apps)
    cursor = (await app.query(limit=1))["next_cursor"]
    changes: list[dict[str, Any]] = [
        {"id_prefix": "a"},
        {"sort": "recent_asc"},
        {"statuses": ["active"]},
        {"labels": {"all": "1"}},
    ]
    for change in changes:
        with pytest.raises(InvalidInput, match="cursor: is not one that this query gave"):
            await app.query(cursor=cursor, **change)
    assert len(ids(await app.query(cursor=cursor))) == 5


async def test_pages_stay_while_flows_start_and_end_between_them(apps: Apps) -> None:
    app = await filled(apps)
    whole = ids(await app.query(labels={"all": "1"}))
    found: list[str] = []
    cursor = None
    for n in range(len(whole)):
        page = await app.query(labels={"all": "1"}, limit=1, cursor=cursor)
        found += ids(page)
        cursor = page["next_cursor"]
        await app.start(["waits"], {"n": 1}, id=f"new{n}", labels={"all": "1"})
        await app.flow(f"new{n}").cancel()
    assert (found, cursor) == (whole, None)


async def test_a_page_ends_before_those_that_left_its_query(apps: Apps) -> None:
    app = await filled(apps)
    await app.start(["waits"], {"n": 1}, id="b2")
    first = await app.query(statuses=["active"], limit=1)
    await app.flow("b1").cancel()
    second = await app.query(statuses=["active"], limit=1, cursor=first["next_cursor"])
    assert (ids(first), first["total"], ids(second), second["has_more"]) == (["b2"], 2, [], False)


async def test_a_flow_that_is_over_and_not_deactivated_counts_once_by_its_status(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x")
    def ask(n: int) -> object:
        return ACCEPTED

    await apps.run(app)
    flow = await app.start([ask], {"n": 1}, id="f")
    await token_of(flow, "ask")
    await flow.cancel()
    store = (await app.node()).store
    assert await store.sizes(["open", "done:failed"]) == [1, 1]
    assert ((await app.query())["total"], len(await app.flows())) == (1, 1)
    assert ids(await app.query(statuses=["active"])) == []
    assert ids(await app.query(statuses=["failed", "active"])) == ["f"]


async def test_children_are_left_out(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x")
    def done(n: int) -> int:
        return n

    attributes = {"n": {"role": "required"}, "x": {"role": "output"}}
    sub = {"id": "sub", "type": "flow", "flow": {"goals": ["done"]}, "attributes": attributes}
    await app.register_steps([sub])
    await apps.run(app)
    await deactivated(await app.start(["sub"], {"n": 1}, id="f"))
    assert (ids(await app.query()), ids(await app.query(statuses=["completed"]))) == (["f"], ["f"])


# ------------------------------------------------------------------------- bounds


async def planted(app: Argyll, count: int) -> None:
    """Puts flows straight into the indexes; every third one has a label, every second one has failed."""
    store = (await app.node()).store
    for begin in range(0, count, 500):
        turns = [planted_turn(n, store.partitions) for n in range(begin, min(begin + 500, count))]
        await store.commit(turns)


def planted_turn(n: int, partitions: int) -> Turn:
    status = "failed" if n % 2 else "completed"
    ops: list[Op] = [SetHead("status", status), Index(f"done:{status}")]
    if n % 3 == 0:
        ops += [SetHead("labels", '{"third":"yes"}'), Index("label:third=yes")]
    flow = f"f{n}"
    place = partition_of(flow, partitions)
    return Turn(place, flow, 0, "", f"t{n}", [NewEvent("flow_started", 0, "start:c", b"{}")], ops)


async def test_a_query_looks_at_10000_flows_at_most(memory: Apps) -> None:
    app = memory()
    await planted(app, 10_001)
    found = await app.query(limit=1_000)
    assert (found["count"], found["total"], found["has_more"]) == (1_000, 10_000, True)
    assert (await app.query(statuses=["failed"]))["total"] == 5_000


async def test_every_page_of_a_long_list_is_there_once(memory: Apps) -> None:
    app = memory()
    await planted(app, 2_500)
    found: list[str] = []
    cursor, has_more = None, True
    while has_more:
        page = await app.query(labels={"third": "yes"}, statuses=["failed"], limit=50, cursor=cursor)
        found += ids(page)
        cursor, has_more = page["next_cursor"], page["has_more"]
    assert (len(found), len(set(found))) == (417, 417)
    assert set(found) == {f"f{n}" for n in range(2_500) if n % 6 == 3}


async def test_the_smallest_index_is_walked_and_a_page_of_heads_is_read() -> None:
    calls: list[tuple[str, Any]] = []

    class Noted(MemoryStore):
        async def index(
            self, index: str, *, newest: bool = True, limit: int = 1_000
        ) -> list[tuple[str, int]]:
            calls.append(("index", index))
            return await super().index(index, newest=newest, limit=limit)

        async def heads(self, flows: Sequence[str]) -> list[Head | None]:
            calls.append(("heads", len(flows)))
            return await super().heads(flows)

    server = MemoryServer()
    async with Argyll(make_store=lambda: Noted(server=server)) as app:
        await planted(app, 600)
        await app.query(labels={"third": "yes"}, statuses=["failed"], limit=10)
        await app.query(labels={"third": "yes"}, limit=10)
        await app.query(statuses=["failed"], limit=10)
    assert calls == [
        *(("index", "label:third=yes"), ("heads", 200)),
        *(("index", "label:third=yes"), ("heads", 10)),
        *(("index", "done:failed"), ("heads", 10)),
    ]


# --------------------------------------------------------------------- bad fields


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"id_prefix": 5}, "id_prefix: is not text"),
        ({"id_prefix": "x" * 300}, "id_prefix: is 300 characters long"),
        ({"labels": ["a"]}, "labels: is not an object"),
        ({"labels": {"a": 1}}, "labels.a: is not a label value"),
        ({"statuses": "active"}, "statuses: is not a list"),
        ({"statuses": ["activ"]}, r"statuses\[0\]: is not one of active, completed, failed \(did you mean"),
        ({"statuses": [["active"]]}, r"statuses\[0\]: is not one of"),
        ({"limit": 1_001}, "limit: 1001 is out of range"),
        ({"limit": -1}, "limit: -1 is out of range"),
        ({"limit": True}, "limit: is not a whole number"),
        ({"limit": 1.5}, "limit: is not a whole number"),
        ({"sort": "newest"}, "sort: is not one of recent_desc, recent_asc"),
        ({"cursor": 5}, "cursor: is not one"),
        ({"cursor": "é"}, "cursor: is not one"),
        ({"cursor": "W10"}, "cursor: is not one"),
        ({"cursor": "WzEsMiwzXQ"}, "cursor: is not one"),
        ({"limit": 0, "sort": 1, "cursor": "x"}, "sort: .*; cursor: "),
    ],
)
async def test_a_bad_field_is_named(given: dict[str, Any], words: str, memory: Apps) -> None:
    with pytest.raises(InvalidInput, match=words):
        await memory().query(**given)
