"""How far a flow is, as whoever watches it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from api_apps import Apps, event, token_of, until

from argyll_redis import ACCEPTED, Argyll, Failed, Retry, UnknownFlow, UnknownStep
from argyll_redis.core.commands import Lose

pytestmark = pytest.mark.anyio


class Shop:
    """Steps that go on when the test says so."""

    def __init__(self, app: Argyll) -> None:
        self.app = app
        self.gate = asyncio.Event()
        self.calls: list[int] = []

        @app.step(outputs="price", for_each="items", parallelism=2, retry=Retry(initial_ms=60_000))
        async def price(items: int) -> int:
            self.calls.append(items)
            if items == 0:
                raise ValueError("busy")
            await self.gate.wait()
            return items

        @app.step(outputs="approved")
        async def approve(order: int) -> Any:
            return ACCEPTED

        @app.step(outputs="sent")
        async def send(price: list[int], approved: bool, note: str = "") -> bool:
            return True

        @app.step(outputs="note")
        async def write(order: int) -> str:
            return "n"

        @app.step(outputs="broken", retry=Retry(max_attempts=1))
        async def broken(order: int) -> int:
            raise Failed("boom")


@pytest.fixture
async def shop(apps: Apps) -> AsyncIterator[Shop]:
    shop = Shop(apps())
    await apps.run(shop.app)
    yield shop
    shop.gate.set()


def by_id(progress: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["id"]: step for step in progress["steps"]}


async def now(app: Argyll, id: str) -> dict[str, Any]:
    """How far a flow is now."""
    watching = app.flow(id).watch()
    try:
        return await anext(watching)
    finally:
        await watching.aclose()


async def test_a_flow_in_the_middle_says_who_waits_for_whom_and_what_is_where(shop: Shop) -> None:
    flow = await shop.app.start(["send"], {"order": 1, "items": [0, 1, 2, 3]}, id="f")
    await token_of(flow, "approve")
    await event(flow, "work_retry_scheduled")
    await until(lambda: len(shop.calls) == 3)
    progress = await now(shop.app, "f")
    steps = by_id(progress)
    assert (progress["id"], progress["status"], progress["goals"]) == ("f", "active", ["send"])
    assert set(steps) == {"price", "approve", "send", "write"}
    assert (steps["send"]["needs"], steps["send"]["waits_for"]) == (
        ["approve", "write", "price"],
        ["approve", "price"],
    )
    price = steps["price"]
    found = {name: price[name] for name in ("items", "succeeded", "active", "waiting", "retries", "lost")}
    assert found == {"items": 4, "succeeded": 0, "active": 2, "waiting": 1, "retries": 1, "lost": 0}
    assert price["error"] == "ValueError: busy"
    assert price["next_retry_at"] > price["started_at"]
    assert (steps["approve"]["accepted"], steps["approve"]["active"]) == (1, 1)
    assert (steps["write"]["status"], steps["write"]["succeeded"]) == ("completed", 1)
    assert "started_at" not in steps["send"]


async def test_watching_ends_with_the_flow_as_it_is_at_its_end(shop: Shop) -> None:
    flow = await shop.app.start(["send"], {"order": 1, "items": [1]}, id="f")
    shop.gate.set()
    await shop.app.complete("f", "approve", await token_of(flow, "approve"), {"approved": True})
    shapes = [each async for each in flow.watch(interval_ms=0)]
    versions = [each["version"] for each in shapes]
    assert versions == sorted(set(versions))
    assert shapes[-1]["status"] == "completed"
    assert {step["status"] for step in shapes[-1]["steps"]} == {"completed"}
    assert shapes[-1] == await now(shop.app, "f")


async def test_a_flow_that_failed_says_why(shop: Shop) -> None:
    flow = await shop.app.start(["broken"], {"order": 1}, id="f")
    *_, last = [each async for each in flow.watch()]
    assert (last["status"], by_id(last)["broken"]["status"]) == ("failed", "failed")
    assert "boom" in last["error"]
    assert "boom" in by_id(last)["broken"]["error"]


async def test_attempts_that_were_taken_over_are_no_retries(shop: Shop) -> None:
    flow = await shop.app.start(["approve"], {"order": 1}, id="g")
    await token_of(flow, "approve")
    await shop.app.start(["price"], {"items": [5]}, id="f")
    await until(lambda: 5 in shop.calls)
    [token] = (await shop.app.state("f"))["executions"]["price"]["work_items"]
    node = await shop.app.node()
    await node.committer.ask("f", Lose("timer:t", token, 1))
    step = by_id(await now(shop.app, "f"))["price"]
    assert (step["lost"], step["retries"]) == (1, 0)


async def test_an_unknown_flow_cannot_be_watched(shop: Shop) -> None:
    with pytest.raises(UnknownFlow):
        await now(shop.app, "gone")


# --------------------------------------------------------------------- waiting


async def test_the_items_that_wait_for_outside_are_listed_in_item_order(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="ok", for_each="xs", parallelism=3)
    async def ask(xs: int) -> Any:
        return xs if xs == 2 else ACCEPTED

    await apps.run(app)
    flow = await app.start(["ask"], {"xs": [1, 2, 3]}, id="f")
    while len(await app.waiting("f", "ask")) < 2:
        await event(flow, "work_accepted")
    waiting = await app.waiting("f", "Ask")
    tokens = list((await app.state("f"))["executions"]["ask"]["work_items"])
    assert [(each["token"], each["item"], each["attempt"]) for each in waiting] == [
        (tokens[0], 1, 1),
        (tokens[2], 3, 1),
    ]
    await app.complete("f", "ask", tokens[0])
    await app.fail("f", "ask", tokens[2], "no")
    assert await app.waiting("f", "ask") == []


async def test_who_asks_for_what_is_not_there_is_told(shop: Shop) -> None:
    await shop.app.start(["send"], {"order": 1, "items": [1]}, id="f")
    with pytest.raises(UnknownFlow):
        await shop.app.waiting("gone", "send")
    with pytest.raises(UnknownStep, match="did you mean `approve`"):
        await shop.app.waiting("f", "aprove")
