"""An audit of a namespace on every store: in use, at rest, and after somebody's hand was in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from servers import StoreFactory, TestServer

from argyll_redis import Argyll, Failed, NotCompleted, StepContext
from argyll_redis.audit import Journals, Report, audit_namespace, namespace
from argyll_redis.runtime import intake, keeper
from argyll_redis.store.keys import GROUP
from argyll_redis.store.protocol import EngineInfo, Keep, partition_of
from argyll_redis.store.redis import RedisStore

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines look around more often than once a second."""
    monkeypatch.setattr(intake, "BLOCK_MS", 200)
    monkeypatch.setattr(keeper, "KEEP_MS", 100)


class Shop:
    """An app whose steps write down how they were called."""

    def __init__(self, app: Argyll) -> None:
        self.app = app
        self.calls: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []

        @app.step(outputs="price", memoizable=True)
        async def look_up(item: int, ctx: StepContext) -> int:
            self.note(ctx, price=item * 10)
            return item * 10

        @app.step(outputs="paid")
        async def pay(price: int, ctx: StepContext) -> int:
            self.note(ctx, paid=price)
            if price == 30 and ctx.attempt == 1:
                raise NotCompleted(after_ms=1)
            if price == 40:
                raise Failed("too much")
            return price

        @app.step(outputs="each", for_each="items", parallelism=2)
        async def pack(items: int, ctx: StepContext) -> int:
            self.note(ctx, each=items)
            return items

    def note(self, ctx: StepContext, **outputs: Any) -> None:
        line = {"flow": ctx.flow_id, "step": ctx.step_id, "token": ctx.token, "attempt": ctx.attempt}
        self.calls.append(line | {"outputs": outputs})

    async def trade(self, orders: range) -> None:
        """Starts flows, and waits until they are deactivated, with all that they are followed by."""
        flows = [await self._start(order) for order in orders]
        await asyncio.gather(*(self._follow(flow) for flow in flows))

    async def _start(self, order: int) -> Any:
        goals = ["settle"] if order % 5 == 4 else ["pay", "pack"]
        init = {"item": order % 5, "items": [1, 2, 3]}
        flow = await self.app.start(goals, init, id=f"order-{order}", labels={"day": str(order % 2)})
        self.answers.append({"do": "start", "flow": flow.id, "answer": "ok"})
        return flow

    async def _follow(self, flow: Any) -> None:
        async for event in flow.events():
            version = int(event["id"].partition("-")[0])
            self.answers.append({"do": "feed", "client": "c", "flow": flow.id, "version": version})
            self.answers.append({"do": "read", "client": "c", "flow": flow.id, "version": version})

    async def knew(self) -> None:
        """Writes down what this process knows of every flow."""
        node = await self.app.node()
        for flow_id in {each["flow"] for each in self.answers}:
            known = node.committer.cache.get(flow_id)
            if known is not None:
                line = {"do": "knew", "engine": "e1", "flow": flow_id, "version": known.version}
                self.answers.append(line | {"tx": known.last_tx})

    def journals(self, directory: Path) -> Journals:
        paths = {"calls": directory / "calls.jsonl", "answers": directory / "answers.jsonl"}
        for name, path in paths.items():
            path.write_text("".join(f"{json.dumps(line)}\n" for line in getattr(self, name)))
        return Journals(calls=[paths["calls"]], answers=[paths["answers"]])


SETTLE = {
    "id": "settle",
    "type": "flow",
    "flow": {"goals": ["pay"]},
    "attributes": {
        "item": {"role": "required"},
        "settled": {"role": "output", "output": {"mapping": {"name": "paid"}}},
    },
}


@pytest.fixture
async def shop(store_factory: StoreFactory) -> AsyncIterator[Shop]:
    """A shop whose engine runs until the end of the test."""
    app = Argyll(make_store=store_factory)
    shop, stop = Shop(app), asyncio.Event()
    await app.register_steps([SETTLE])
    engine = asyncio.create_task(app.run(until=stop.wait))
    yield shop
    stop.set()
    await engine
    await app.close()


async def test_a_namespace_in_use_has_no_violations(shop: Shop, store_factory: StoreFactory) -> None:
    """Flows that start, go on and end while they are audited are no violations."""
    auditor = Argyll(make_store=store_factory)
    trading = asyncio.create_task(shop.trade(range(30)))
    audits = 0
    while not trading.done():
        assert (await auditor.audit())["violations"] == []
        audits += 1
        await asyncio.sleep(0)  # nothing waits where the store is in memory
    await trading
    await auditor.close()
    assert audits > 0  # how many there is time for, the machine decides


async def test_all_that_happened_agrees_with_all_that_was_seen(shop: Shop, tmp_path: Path) -> None:
    """With journals of calls and answers nothing is left unchecked when all work has ended."""
    await shop.trade(range(20))
    await shop.knew()
    journals = shop.journals(tmp_path)
    report = await audit_namespace(shop.app, journals=journals, is_drained=True)
    journals.close()
    assert (report.violations, report.unchecked) == ([], {})
    assert report.flows == 24


# --------------------------------------------------------------------- by hand


@pytest.fixture
async def app(server: TestServer) -> AsyncIterator[Argyll]:
    """An app with a flow that waits for an engine, and one that has ended."""

    def make_store() -> RedisStore:
        return RedisStore("", server.namespace, partitions=2, connector=server.connector)

    app = Argyll(make_store=make_store)

    @app.step(outputs="paid")
    async def pay(price: int) -> int:
        raise NotImplementedError

    for flow_id in (OPEN, DONE):
        flow = await app.start(["pay"], {"price": 1}, id=flow_id, labels={"day": "1"}, timeout_ms=3_600_000)
        state = await flow.state()
    [token] = state["executions"]["pay"]["work_items"]
    await app.complete(DONE, "pay", token, {"paid": 1})
    yield app
    await app.close()


OPEN, DONE = "open", "done"
Hand = Callable[[TestServer], Any]


def key(server: TestServer, flow_id: str, name: str) -> str:
    return server.keys.of(partition_of(flow_id, 2), name)


def strand(server: TestServer) -> None:
    """Somebody reads an entry, and acknowledges it without a commit."""
    stream = key(server, OPEN, "work:default")
    [(_, [(entry, _)])] = server.client.xreadgroup(GROUP, "somebody", {stream: ">"}, count=1)
    server.client.xack(stream, GROUP, entry)


def foreign(server: TestServer, flow_id: str, name: str) -> None:
    """Somebody writes something else under a name."""
    server.client.set(key(server, flow_id, name), "foreign")


def elsewhere(flow_id: str) -> int:
    """A partition that is not that of a flow."""
    return 1 - partition_of(flow_id, 2)


def append(server: TestServer) -> None:
    """Somebody appends an event without its head."""
    [(_, fields)] = server.client.xrange(key(server, OPEN, f"flow:{OPEN}"), "3-0", "3-0")
    data = {"step": "pay", "token": json.loads(fields[b"data"])["token"], "attempt": 1, "reason": "late"}
    fields |= {b"type": b"work_ignored", b"tx": b"x:1/1", b"cause": b"3", b"data": json.dumps(data).encode()}
    fields |= {b"by": b"work:somebody"}
    server.client.xadd(key(server, OPEN, f"flow:{OPEN}"), fields, id="4-0")


HANDS: dict[str, tuple[set[str], Hand]] = {
    "nothing": (set(), lambda _: None),
    "an unknown key": ({"I-25"}, lambda s: s.client.set(key(s, OPEN, "lock:x"), "1")),
    "a key that goes by itself": ({"I-25"}, lambda s: s.client.pexpire(key(s, OPEN, f"flow:{OPEN}"), 10**7)),
    "a memo that stays": ({"I-25"}, lambda s: s.client.set(s.keys.memo("ab"), "{}")),
    "a key of another type": ({"I-25"}, lambda s: s.client.set(key(s, OPEN, "label:day=2"), "1")),
    "a head without a log": ({"I-25"}, lambda s: s.client.hset(key(s, "x", "head:x"), "v", 1)),
    "a log without a head": ({"I-01"}, lambda s: s.client.delete(key(s, DONE, f"head:{DONE}"))),
    "an event without a head": ({"I-01"}, append),
    "a head behind its log": ({"I-01"}, lambda s: s.client.hset(key(s, OPEN, f"head:{OPEN}"), "v", 2)),
    "a head that says nothing": ({"I-01"}, lambda s: s.client.hdel(key(s, OPEN, f"head:{OPEN}"), "v", "tx")),
    "a time that differs": ({"I-18"}, lambda s: s.client.hset(key(s, OPEN, f"head:{OPEN}"), "at", 7)),
    "an index that is lost": ({"I-18"}, lambda s: s.client.delete(key(s, OPEN, "open"))),
    "a label too many": ({"I-25"}, lambda s: s.client.zadd(key(s, OPEN, "label:day=3"), {OPEN: 1})),
    "a row of nobody": ({"I-25"}, lambda s: s.client.zadd(key(s, "x", "expire"), {"x": 1})),
    "an entry trimmed": ({"I-20"}, lambda s: s.client.xtrim(key(s, OPEN, "work:default"), 0)),
    "an entry acknowledged": ({"I-20"}, strand),
    "due entries deleted": ({"I-20"}, lambda s: s.client.delete(key(s, OPEN, "due"))),
    "a due entry put off": ({"I-20"}, lambda s: s.client.zincrby(key(s, OPEN, "due"), 10**7, DUE)),
    "a log of another type": ({"I-01", "I-02", "I-25"}, lambda s: foreign(s, OPEN, f"flow:{OPEN}")),
    "a head of another type": ({"I-01", "I-25"}, lambda s: foreign(s, DONE, f"head:{DONE}")),
    "an index of another type": ({"I-18", "I-25"}, lambda s: foreign(s, DONE, "done:completed")),
    "a queue of another type": ({"I-25"}, lambda s: foreign(s, OPEN, "work:default")),
    "a partition too many": ({"I-25"}, lambda s: s.client.zadd(s.keys.of(7, "open"), {OPEN: 1})),
    "a row elsewhere": ({"I-25"}, lambda s: s.client.zadd(s.keys.of(elsewhere(OPEN), "open"), {OPEN: 1})),
    "a head elsewhere": (
        {"I-25"},
        lambda s: s.client.hset(s.keys.of(elsewhere(OPEN), f"head:{OPEN}"), "v", 1),
    ),
    "an empty log": ({"I-01", "I-02"}, lambda s: s.client.xtrim(key(s, DONE, f"flow:{DONE}"), 0)),
    "a plan miscounted": ({"I-25"}, lambda s: s.client.hincrby(one_plan(s), "n", 1)),
}
"""What somebody did, what that breaks, and how."""
DUE = f"control {OPEN} time_out"
UNKNOWN = ("lock:x", "label:day=2", f"flow:{OPEN}", f"head:{DONE}", "done:completed", "work:default")
"""Keys that somebody has made, which no test may leave behind."""


def one_plan(server: TestServer) -> str:
    return next(name for name in server.all_keys() if "}:plan:" in name)


async def audited(app: Argyll) -> Report:
    journals = Journals()
    try:
        return await audit_namespace(app, journals=journals)
    finally:
        journals.close()


@pytest.mark.parametrize("hand", HANDS)
async def test_what_somebody_did_by_hand_is_found(server: TestServer, app: Argyll, hand: str) -> None:
    """Each is found as what it breaks, whoever wrote it."""
    broken, do = HANDS[hand]
    do(server)
    report = await audited(app)
    assert {each.invariant for each in report.violations} == broken, report.violations
    server.client.delete(*(key(server, flow_id, name) for flow_id in (OPEN, DONE) for name in UNKNOWN))


async def test_an_entry_that_is_left_when_all_has_ended_is_found(server: TestServer, app: Argyll) -> None:
    """Where no flow is open, no entry may be: where all work has ended, no flow may be open either."""
    assert [each.invariant for each in (await drained(app)).violations].count("I-20") == 1
    for flow_id in (OPEN, DONE):  # no engine has taken what was completed from outside
        server.client.xtrim(key(server, flow_id, "work:default"), 0)
    await app.cancel(OPEN)
    state = await app.state(OPEN)
    [token] = state["executions"]["pay"]["work_items"]
    await app.complete(OPEN, "pay", token, {"paid": 1})
    assert (await drained(app)).violations == []
    server.client.xadd(key(server, OPEN, "control"), {"r": "nobody look"})
    server.client.zadd(key(server, OPEN, "due"), {"control nobody look": 10**15})
    assert {each.invariant for each in (await drained(app)).violations} == {"I-25"}


async def test_what_is_left_is_for_an_engine_to_take_while_there_is_none(
    server: TestServer, app: Argyll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that decides to nothing waits for an engine: only one that is alive ought to have taken it."""
    monkeypatch.setattr(namespace, "PAUSE_MS", 1)
    await app.cancel(OPEN)
    [token] = (await app.state(OPEN))["executions"]["pay"]["work_items"]
    await app.complete(OPEN, "pay", token, {"paid": 1})
    report = await audit_namespace(app)
    assert report.violations == []
    assert report.unchecked["I-25, queues"] == "no flow is open, and no engine is alive"
    node = await app.node()
    await node.store.keep(Keep(EngineInfo("e1", ()), due_limit=0))
    report = await audit_namespace(app)
    assert {each.message.partition(", and ")[0] for each in report.violations} == {"no flow is open"}
    assert len(report.violations) == 2


async def drained(app: Argyll) -> Report:
    return await audit_namespace(app, is_drained=True)
