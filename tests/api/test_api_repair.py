"""A repair finds what was broken by hand, changes nothing before it is told to, and puts it right."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from api_apps import Apps, deactivated, event, token_of
from broken import Hand, ServerHand
from servers import StoreFactory, kinds

from argyll_redis import (
    ACCEPTED,
    Argyll,
    Failed,
    FlowHandle,
    InvalidInput,
    NamespaceEmptied,
    NotCompleted,
    Retry,
)
from argyll_redis.repair import queues
from argyll_redis.store.protocol import partition_of

pytestmark = pytest.mark.anyio

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
Found = list[tuple[str, str, str]]


@pytest.fixture
def hand(store_factory: StoreFactory) -> Hand:
    return Hand(store_factory)


@pytest.fixture
def server_hand(store_factory: StoreFactory) -> ServerHand:
    return ServerHand(store_factory)


on_servers = pytest.mark.parametrize("store_factory", kinds("fakeredis"), indirect=True)
"""For what cannot happen in memory."""
on_real_servers = pytest.mark.parametrize("store_factory", kinds(), indirect=True)
"""For what fakeredis does in its own way: consumers that are removed."""


def steps_of(app: Argyll) -> None:
    """One step of every kind of waiting."""

    @app.step(outputs="b")
    async def double(a: int) -> int:
        return 2 * a

    @app.step(outputs="signed", timeout_ms=HOUR_MS)
    async def sign(b: int) -> Any:
        return ACCEPTED

    @app.step(outputs="sent", queue="mail")
    async def send(signed: bool) -> bool:
        return signed

    @app.step(outputs="later")
    async def again(a: int) -> int:
        raise NotCompleted("not yet", after_ms=HOUR_MS)

    @app.step(outputs="never", retry=Retry(max_attempts=1))
    async def fail(a: int) -> int:
        raise Failed("no")


CHILD = {
    "id": "outer",
    "type": "flow",
    "flow": {"goals": ["double"]},
    "attributes": {
        "a": {"role": "required", "required": {}},
        "twice": {"role": "output", "output": {"mapping": {"name": "b"}}},
    },
}


class World:
    """A namespace with flows in all states, and no engine."""

    def __init__(self, app: Argyll, hand: Hand) -> None:
        self.app = app
        self.hand = hand

    async def look(self, **options: bool) -> Found:
        """What a dry run finds, as (what, key without the tag, flow)."""
        return (await self.looked(**options))[0]

    async def looked(self, **options: bool) -> tuple[Found, Found]:
        before = self.hand.picture()
        found = await self.app.repair(**options)
        assert self.hand.picture() == before
        assert found["applied"] is False
        return told(found["repairs"]), told(found["left"])

    async def mend_ids(self) -> Found:
        """As `mend` with `ids`; a second look needs none."""
        dry = await self.look(ids=True)
        found = await self.app.repair(apply=True, ids=True)
        assert (told(found["repairs"]), found["left"]) == (dry, [])
        assert await self.looked() == ([], [])
        return dry

    async def mend(self, **options: bool) -> Found:
        """Puts right what is found; a second look finds nothing."""
        dry = await self.look(**options)
        found = await self.app.repair(apply=True, **options)
        assert (told(found["repairs"]), found["applied"]) == (dry, True)
        assert await self.looked() == ([], told(found["left"]))
        return dry


def told(findings: Any) -> Found:
    assert all(each["detail"] for each in findings)
    return sorted((each["what"], each["key"].partition("}:")[2], each["flow"]) for each in findings)


@pytest.fixture
async def world(apps: Apps, hand: Hand) -> World:
    """Flows that are done, failed, imported, wait for a person, for a retry and for an engine; a child."""
    app = apps()
    steps_of(app)
    await app.register_declared()
    await app.register_steps([CHILD])
    running = await apps.run(app)
    labels = {"tenant": "acme"}
    done = await app.start([double_of(app)], {"a": 1}, id="done", labels=labels)
    tree = await app.start(["outer"], {"a": 1}, id="tree")
    failed = await app.start(["fail"], {"a": 1}, id="failed")
    waits = await app.start(["send"], {"a": 1}, id="waits", labels=labels)
    retries = await app.start(["again"], {"a": 1}, id="retries")
    for flow in (done, tree, failed):
        await deactivated(flow)
    await token_of(waits, "sign")
    await event(retries, "work_retry_scheduled")
    lines = [line async for line in app.export_flow("done")]
    lines[0]["flow_id"] = "imported"
    await app.import_flow(lines)
    await running.drain()
    await app.start(["double"], {"a": 2}, id="released")
    return World(app, hand)


def double_of(app: Argyll) -> str:
    assert "double" in app.declared
    return "double"


async def finish(world: World, apps: Apps) -> None:
    """Engines find everything well: what can go on goes on and ends."""
    await apps.run(world.app)
    assert await FlowHandle(world.app, "released").result() == {"b": 4}
    waits = FlowHandle(world.app, "waits")
    await world.app.complete("waits", "sign", await token_of(waits, "sign"), {"signed": True})
    assert await waits.result() == {"sent": True}
    assert (await world.app.audit())["violations"] == []


# --------------------------------------------------------------------- nothing


async def test_where_all_is_well_nothing_is_found(world: World) -> None:
    assert await world.looked() == ([], [])
    assert await world.mend() == []


async def test_a_namespace_that_does_not_exist_is_refused(apps: Apps) -> None:
    with pytest.raises(InvalidInput, match="does not exist there: there is no log"):
        await apps().repair()


# ----------------------------------------------------------------- head, index


def open_of(hand: Hand, name: str) -> Found:
    """Rows of the open flows that are in the partition of one of them."""
    home = partition_of(name, 2)
    return [("index", "open", id) for id in ("released", "retries", "waits") if partition_of(id, 2) == home]


async def test_an_index_that_is_gone_is_made_again(world: World, hand: Hand) -> None:
    before = hand.picture()
    hand.forget_index("waits", "open")
    assert await world.mend() == open_of(hand, "waits")
    assert hand.picture() == before


@pytest.mark.parametrize(
    ("flow_id", "index"),
    [("done", "done:completed"), ("failed", "done:failed"), ("done", "label:tenant=acme")],
)
async def test_rows_of_lists_are_made_again(flow_id: str, index: str, world: World, hand: Hand) -> None:
    before = hand.picture()
    hand.forget_index(flow_id, index)
    found = await world.mend()
    assert ("index", index, flow_id) in found
    assert {each[:2] for each in found} == {("index", index)}
    assert hand.picture() == before


@pytest.mark.parametrize(
    ("flow_id", "index"),
    [
        ("done", "label:tenant=other"),
        ("waits", "done:failed"),
        ("done", "open"),
        ("retries", "children"),
        ("nobody", "open"),
        ("nobody", "label:a=b"),
    ],
)
async def test_a_row_too_many_goes(flow_id: str, index: str, world: World, hand: Hand) -> None:
    before = hand.picture()
    hand.put_row(flow_id, index, 7)
    assert await world.mend() == [("index", index, flow_id)]
    assert hand.picture() == before


async def test_a_row_at_a_wrong_place_is_put_where_it_belongs(world: World, hand: Hand) -> None:
    before = hand.picture()
    hand.put_row("done", "done:completed", 7)
    assert await world.mend() == [("index", "done:completed", "done")]
    assert hand.picture() == before


@pytest.mark.parametrize(("flow_id", "name"), [("done", "expire"), ("tree", "expire")])
async def test_a_closed_tree_that_would_never_expire_does_so_again(
    flow_id: str, name: str, world: World, hand: Hand
) -> None:
    before = hand.picture()
    hand.forget_end(flow_id, name)
    assert await world.mend() == [("index", name, flow_id)]
    assert hand.picture() == before


async def test_a_closed_child_is_found_by_its_tree_again(world: World, hand: Hand) -> None:
    before = hand.picture()
    [child] = [each async for each in children(world.app)]
    hand.forget_end(child, "tree")
    assert await world.mend() == [("index", "tree", child)]
    assert hand.picture() == before


async def children(app: Argyll) -> Any:
    async for each in FlowHandle(app, "tree").events(follow=False):
        if each["type"] == "work_started":
            yield f"tree:{each['data']['step']}:{each['data']['token']}"


@pytest.mark.parametrize(
    ("flow_id", "field", "value"),
    [
        ("done", ".status", "active"),
        ("waits", ".status", "completed"),
        ("waits", ".error", "none of it"),
        ("done", ".labels", "{}"),
        ("failed", ".error", "another"),
    ],
)
async def test_what_a_head_says_is_what_the_log_says(
    flow_id: str, field: str, value: str, world: World, hand: Hand
) -> None:
    before = hand.picture()
    hand.set_field(flow_id, field, value)
    assert await world.mend() == [("head", f"head:{flow_id}", flow_id)]
    assert hand.picture() == before


async def test_a_log_that_is_closed_is_closed_again(world: World, hand: Hand) -> None:
    before = hand.picture()
    hand.unseal("failed")
    assert await world.mend() == [("head", "head:failed", "failed")]
    assert hand.picture() == before


@pytest.mark.parametrize("users", [1, 77])
async def test_a_plan_is_counted_anew(users: int, world: World, hand: Hand) -> None:
    before = hand.picture()
    flow_id = "released" if partition_of("released", 2) == partition_of("done", 2) else "waits"
    key = hand.miscount(flow_id, users)
    expected = [] if hand.picture() == before else [("plan", key.partition("}:")[2], "")]
    assert await world.mend() == expected
    assert hand.picture() == before


# --------------------------------------------------------------------- pending


async def test_all_that_is_pending_is_made_again_and_flows_go_on(
    world: World, hand: Hand, apps: Apps
) -> None:
    hand.lose_dispatch()
    found = await world.mend()
    assert {(what, flow_id) for what, _, flow_id in found} == {
        ("due", "retries"),
        ("due", "waits"),
        ("entry", "released"),
        ("group", ""),
        ("queue", ""),
    }
    await finish(world, apps)


async def test_a_due_entry_comes_when_it_would_have_come(world: World, hand: Hand) -> None:
    before = hand.due("retries")
    hand.lose_due("retries")
    found = await world.mend()
    assert ("due", "due", "retries") in found
    assert {what for what, _, _ in found} == {"due"}
    after = hand.due("retries")
    assert after.keys() == before.keys()
    assert all(abs(after[member] - before[member]) < MINUTE_MS for member in before)


async def test_what_names_a_flow_that_does_not_exist_goes(world: World, hand: Hand) -> None:
    hand.add_due("nobody", "control nobody time_out")
    hand.add_entry("nobody", "control", "nobody look")
    hand.add_entry("nobody", "work:default", "nobody token 1 3")
    assert await world.mend() == [
        ("orphan", "control", "nobody"),
        ("orphan", "due", "nobody"),
        ("orphan", "work:default", "nobody"),
    ]


# ------------------------------------------------------------- only on a server


@on_servers
async def test_a_head_that_is_gone_is_made_of_its_log(world: World, server_hand: ServerHand) -> None:
    before = server_hand.picture()
    for flow_id in ("done", "tree", "waits", "imported"):
        server_hand.drop_head(flow_id)
    assert await world.mend() == [
        ("head", f"head:{flow_id}", flow_id) for flow_id in ("done", "imported", "tree", "waits")
    ]
    assert server_hand.picture() == before


@on_servers
async def test_a_head_that_is_behind_its_log_catches_up(
    world: World, server_hand: ServerHand, apps: Apps
) -> None:
    before = server_hand.picture()
    server_hand.put_field("waits", "v", "3")
    server_hand.put_field("waits", "tx", "another")
    assert await world.mend() == [("head", "head:waits", "waits")]
    assert server_hand.picture() == before
    await finish(world, apps)


@pytest.mark.parametrize(("field", "value"), [("v", "99"), ("tx", "another")])
@on_servers
async def test_a_head_that_knows_more_than_its_log_is_set_back_only_when_asked_for(
    field: str, value: str, world: World, server_hand: ServerHand, apps: Apps
) -> None:
    before = server_hand.picture()
    server_hand.put_field("waits", field, value)
    assert await world.looked() == ([], [("head", "head:waits", "waits")])
    found = await world.app.repair(apply=True)
    assert "--heads sets the head back" in found["left"][0]["detail"]
    assert server_hand.field("waits", field) == value
    assert await world.mend(heads=True) == [("head", "head:waits", "waits")]
    assert server_hand.picture() == before
    await world.app.close()
    await finish(world, apps)


@on_servers
async def test_what_is_left_of_a_flow_without_a_log_goes_only_when_asked_for(
    world: World, server_hand: ServerHand
) -> None:
    for flow_id in ("done", "retries"):
        server_hand.drop_log(flow_id)
    repairs, left = await world.looked()
    assert left == [("head", f"head:{flow_id}", flow_id) for flow_id in ("done", "retries")]
    assert [each for each in repairs if each[0] != "orphan"] == []
    found = await world.mend(heads=True)
    assert {each for each in found if each[0] == "head"} == {*left}
    names = [key for key in server_hand.picture() if "done" in key or "retries" in key]
    assert [name for name in names if "head:" in name or "flow:" in name] == []
    assert {flow["id"] for flow in (await world.app.flows())} == {
        "failed", "imported", "released", "tree", "waits"
    }  # fmt: skip


@on_servers
async def test_a_log_with_a_gap_is_said_and_left(world: World, server_hand: ServerHand) -> None:
    server_hand.drop_event("waits", 2)
    assert await world.looked() == ([], [("log", "flow:waits", "waits")])
    found = await world.app.repair(apply=True, heads=True)
    [left] = found["left"]
    assert "version 3 cannot follow 1" in left["detail"]
    assert server_hand.field("waits", ".status") == "active"


@on_servers
async def test_a_log_that_holds_anything_is_said_and_left(world: World, server_hand: ServerHand) -> None:
    key = server_hand.key("waits", "flow:waits")
    server_hand.client.delete(key)
    event = {"type": "flow_started", "at": 1, "cause": 0, "by": "x", "tx": "t:1/1", "data": "\xff{"}
    server_hand.client.xadd(key, event, id="1-0")
    _, left = await world.looked()
    assert ("log", "flow:waits", "waits") in left
    assert await world.app.repair(apply=True, heads=True)
    assert server_hand.client.xlen(key) == 1


@on_servers
async def test_a_plan_whose_bytes_are_gone_is_said_and_left(world: World, server_hand: ServerHand) -> None:
    key = server_hand.miscount("failed", 1)
    server_hand.client.delete(key)
    repairs, left = await world.looked()
    assert repairs == []
    assert ("log", "flow:failed", "failed") in left
    assert ("plan", key.partition("}:")[2], "") in left


@on_real_servers
async def test_an_entry_that_nobody_can_take_is_released_again(
    world: World, server_hand: ServerHand, apps: Apps
) -> None:
    """Somebody removes a consumer that has entries: they are in the stream, and no reader gets them."""
    server_hand.deliver("released", "work:default", "dead")
    server_hand.drop_consumer("released", "work:default", "dead")
    assert await world.mend() == [
        ("entry", "work:default", ""),
        ("entry", "work:default", "released"),
    ]
    await finish(world, apps)


@on_servers
async def test_an_entry_that_a_dead_engine_has_is_no_finding(world: World, server_hand: ServerHand) -> None:
    server_hand.deliver("released", "work:default", "dead")
    assert await world.looked() == ([], [])


@on_real_servers
async def test_the_name_of_a_dead_engine_goes_when_it_has_nothing(
    world: World, server_hand: ServerHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_hand.client.xgroup_createconsumer(server_hand.key("done", "control"), "engines", "dead")
    server_hand.deliver("released", "work:default", "busy")
    assert await world.looked() == ([], [])
    monkeypatch.setattr(queues, "REAP_IDLE_MS", -1)
    assert await world.mend() == [("consumer", "control", "")]


@on_servers
async def test_a_partition_without_an_id_gets_one_only_when_asked_for(
    world: World, server_hand: ServerHand, apps: Apps
) -> None:
    before = server_hand.picture()
    assert server_hand.client.delete(server_hand.key("waits", "id"))
    for apply in (False, True):
        with pytest.raises(NamespaceEmptied, match="1 of 2 partitions have lost their id"):
            await world.app.repair(apply=apply)
    await world.app.close()
    assert await world.mend_ids() == [("id", "id", "")]
    assert server_hand.picture() == before
    await finish(world, apps)


@on_servers
async def test_entries_that_nobody_could_read_go_only_when_asked_for(
    world: World, server_hand: ServerHand
) -> None:
    key = server_hand.key("done", "dead")
    server_hand.client.xadd(key, {"stream": "control", "reason": "no such kind", "r": "nonsense"})
    assert await world.looked() == ([], [])
    assert await world.mend(dead=True) == [("dead", "dead", "")]
    assert server_hand.client.xlen(key) == 0
    server_hand.client.delete(key)


# ------------------------------------------------------------------ while it runs


async def test_a_flow_that_has_gone_on_is_not_overwritten(
    world: World, hand: Hand, apps: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was decided on an older log is refused, and looked at again."""
    hand.put_row("released", "open", 7)
    app = world.app
    store_repair = []

    async def late(self: Any, repair: Any) -> bool:
        if not store_repair:
            store_repair.append(repair)
            await apps.run(app)
            assert await FlowHandle(app, "released").result() == {"b": 4}
            await deactivated(FlowHandle(app, "released"))
        return await original(self, repair)

    kind = type((await app.node()).store)
    original = kind.repair
    monkeypatch.setattr(kind, "repair", late)
    found = await app.repair(apply=True)
    assert len(store_repair) == 1
    assert told(found["repairs"]) == []
    assert await world.looked() == ([], [])
    assert (await FlowHandle(app, "released").state())["status"] == "completed"


async def test_a_namespace_that_is_busy_is_found_well_all_the_while(world: World, apps: Apps) -> None:
    """Flows of all kinds begin, go on and end, and no look takes that for a loss."""
    await apps.run(world.app)
    flows = [
        await world.app.start([goal], {"a": n}, id=f"{goal}-{n}", labels={"n": str(n % 3)})
        for n in range(20)
        for goal in ("double", "outer", "fail")
    ]
    looks = 0
    pending = [asyncio.ensure_future(deactivated(flow)) for flow in flows]
    try:
        while not all(each.done() for each in pending) or looks < 3:
            found = await world.app.repair(apply=True)
            assert (told(found["repairs"]), told(found["left"])) == ([], [])
            looks += 1
    finally:
        await asyncio.gather(*pending)
    assert (await world.app.audit())["violations"] == []
