"""Steps that know how to undo what they have done: when, with what, and how often they are asked to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from api_apps import Apps, deactivated, event, items_of, token_of, types_of

from argyll_redis import ACCEPTED, AppConfig, Argyll, Failed, InvalidInput, NotCompleted, Retry, StepContext

pytestmark = pytest.mark.anyio

ONCE = Retry(max_attempts=1)
QUICK = Retry(max_retries=3, initial_ms=1)


class Shop:
    """An app that charges for items, refuses some of them, and writes down what it refunds."""

    def __init__(self, app: Argyll, **options: Any) -> None:
        self.app = app
        self.refunds: list[tuple[dict[str, Any], dict[str, Any]]] = []

        def refund(inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
            self.refunds.append((inputs, outputs))

        @app.step(outputs="receipt", for_each="item", undo=refund, retry=ONCE, **options)
        async def charge(item: str, customer: str) -> str:
            if item == "broken":
                raise Failed("no such item")
            return f"{item} for {customer}"


INIT = {"item": ["book", "pen", "broken"], "customer": "ada"}


async def test_what_a_failed_step_has_done_is_undone_with_its_inputs_and_outputs(apps: Apps) -> None:
    shop = Shop(apps())
    await apps.run(shop.app)
    flow = await shop.app.start(["charge"], INIT)
    await deactivated(flow)
    assert shop.refunds == [
        ({"item": "book", "customer": "ada"}, {"receipt": "book for ada"}),
        ({"item": "pen", "customer": "ada"}, {"receipt": "pen for ada"}),
    ]
    statuses = [item["status"] for item in await items_of(flow, "charge")]
    assert statuses == ["compensated", "compensated", "failed"]
    assert (await shop.app.audit())["violations"] == []


async def test_a_flow_is_not_deactivated_before_all_is_undone(apps: Apps) -> None:
    shop = Shop(apps())
    await apps.run(shop.app)
    flow = await shop.app.start(["charge"], INIT)
    await deactivated(flow)
    types = await types_of(flow)
    assert types[-2:] == ["comp_succeeded", "flow_deactivated"]
    assert types.index("flow_failed") < types.index("comp_succeeded")


async def test_an_undo_is_tried_again_by_its_steps_policy(apps: Apps) -> None:
    app = apps()
    contexts: list[StepContext] = []

    async def refund(inputs: dict[str, Any], outputs: dict[str, Any], ctx: StepContext) -> None:
        contexts.append(ctx)
        if len(contexts) < 3:
            raise ConnectionError("bank is closed")

    @app.step(outputs="receipt", for_each="item", undo=refund, retry=QUICK)
    def charge(item: str) -> str:
        if item == "broken":
            raise Failed("no")
        return item

    await apps.run(app)
    flow = await app.start(["charge"], {"item": ["book", "broken"]})
    await deactivated(flow)
    [book, _] = (await flow.state())["executions"]["charge"]["work_items"]
    assert [(ctx.token, ctx.attempt) for ctx in contexts] == [(book, 1), (book, 2), (book, 3)]
    retry = await event(flow, "comp_retry_scheduled", attempt=2)
    assert (retry["data"]["error"], retry["data"]["delay_ms"]) == ("ConnectionError: bank is closed", 1)
    assert (await app.audit())["violations"] == []


class Gone(Exception):
    pass


@pytest.mark.parametrize("error", [Failed("account closed"), Gone("account closed")])
async def test_an_undo_that_fails_for_good_is_left_undone(apps: Apps, error: Exception) -> None:
    app = apps()

    def refund(inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        raise error

    @app.step(outputs="receipt", for_each="item", undo=refund, permanent=Gone)
    def charge(item: str) -> str:
        if item == "broken":
            raise Failed("no")
        return item

    await apps.run(app)
    flow = await app.start(["charge"], {"item": ["book", "broken"]})
    await deactivated(flow)
    [item, _] = await items_of(flow, "charge")
    assert (item["status"], item["error"].removeprefix("Gone: ")) == ("compensation_failed", "account closed")
    why = [clause["text"] for clause in (await app.why(flow.id, "charge"))["why"]]
    assert f"item 1 could not be undone: {item['error']}" in why


async def test_no_more_undos_than_the_parallelism_of_the_step_run_at_a_time(apps: Apps) -> None:
    app = apps()
    running = most = 0

    async def refund(inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1

    @app.step(outputs="receipt", for_each="item", undo=refund, parallelism=3)
    async def charge(item: int) -> int:
        if item == 9:
            raise Failed("no")
        return item

    await apps.run(app)
    flow = await app.start(["charge"], {"item": list(range(10))})
    await deactivated(flow)
    assert (running, most) == (0, 3)


async def test_a_late_result_after_the_step_has_failed_is_undone(apps: Apps) -> None:
    app = apps()
    undone: list[str] = []

    def refund(inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        undone.append(outputs["receipt"])

    @app.step(outputs="receipt", for_each="item", undo=refund, parallelism=2)
    def charge(item: str) -> Any:
        if item == "broken":
            raise Failed("no")
        return ACCEPTED

    await apps.run(app)
    flow = await app.start(["charge"], {"item": ["book", "broken"]})
    token = await token_of(flow, "charge")
    await event(flow, "step_failed")
    await app.complete(flow.id, "charge", token, {"receipt": "r1"})
    await deactivated(flow)
    assert undone == ["r1"]


async def test_a_success_that_comes_after_its_item_has_failed_is_undone(apps: Apps) -> None:
    app = apps(config=AppConfig(linger_ms=60_000))
    undone: list[dict[str, Any]] = []

    def refund(inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        undone.append(outputs)

    @app.step(outputs="receipt", undo=refund, timeout_ms=100, retry=ONCE)
    def charge(item: str) -> Any:
        return ACCEPTED

    @app.step(outputs="waited")
    def wait(item: str) -> Any:
        return ACCEPTED

    await apps.run(app)
    flow = await app.start(["charge", "wait"], {"item": "book"})
    token = await token_of(flow, "charge")
    await event(flow, "step_failed")
    await app.complete(flow.id, "charge", token, {"receipt": "too late"})
    await event(flow, "comp_succeeded")
    assert undone == [{"receipt": "too late"}]
    assert (await types_of(flow)).count("work_ignored") == 1


# ------------------------------------------------------------------- whole flows


def trip(app: Argyll, undone: list[str], *, fails: bool = True) -> None:
    """A trip in three steps, of which the last one fails or waits."""

    def undo(inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        undone.append(next(iter(outputs)))

    @app.step(outputs="flight", undo=undo)
    def book_flight(day: str) -> str:
        return f"flight on {day}"

    @app.step(outputs="hotel", undo=undo)
    def book_hotel(flight: str) -> str:
        return f"hotel after {flight}"

    @app.step(outputs="car")
    def rent_car(hotel: str) -> Any:
        if fails:
            raise Failed("no cars")
        return ACCEPTED


async def test_a_flow_that_undoes_everything_does_so_from_the_last_step_to_the_first(apps: Apps) -> None:
    app, undone = apps(), list[str]()
    trip(app, undone)
    await apps.run(app)
    flow = await app.start(["rent_car"], {"day": "monday"}, compensate="flow")
    state = await deactivated(flow)
    assert undone == ["hotel", "flight"]
    assert state["executions"]["book_flight"]["outputs"] == {"flight": "flight on monday"}
    assert (await app.audit())["violations"] == []


async def test_a_flow_that_does_not_ask_for_it_keeps_what_was_completed(memory: Apps) -> None:
    app, undone = memory(), list[str]()
    trip(app, undone)
    await memory.run(app)
    flow = await app.start(["rent_car"], {"day": "monday"})
    await deactivated(flow)
    assert undone == []


async def test_a_cancelled_flow_undoes_everything_once_nothing_is_active(memory: Apps) -> None:
    app, undone = memory(), list[str]()
    trip(app, undone, fails=False)
    await memory.run(app)
    flow = await app.start(["rent_car"], {"day": "monday"}, compensate="flow")
    token = await token_of(flow, "rent_car")
    await app.cancel(flow.id)
    assert undone == []
    await app.complete(flow.id, "rent_car", token, {"car": "small"})
    await deactivated(flow)
    assert undone == ["hotel", "flight"]


async def test_a_cancel_while_a_flow_is_undone_changes_nothing(memory: Apps) -> None:
    app, gate = memory(), asyncio.Event()
    called = asyncio.Event()

    async def undo(inputs: dict[str, Any], outputs: dict[str, Any], ctx: StepContext) -> None:
        called.set()
        await gate.wait()
        assert not ctx.cancelled

    @app.step(outputs="flight", undo=undo)
    def book_flight(day: str) -> str:
        return day

    @app.step(outputs="car")
    def rent_car(flight: str) -> str:
        raise Failed("no cars")

    await memory.run(app)
    flow = await app.start(["rent_car"], {"day": "monday"}, compensate="flow")
    await called.wait()
    before = await types_of(flow)
    await app.cancel(flow.id)
    assert await types_of(flow) == before
    gate.set()
    await deactivated(flow)
    assert [item["status"] for item in await items_of(flow, "book_flight")] == ["compensated"]


async def test_undoing_everything_is_refused_for_a_plan_with_flow_steps(memory: Apps) -> None:
    app = memory()
    trip(app, [])
    await app.register_declared()
    travel = {
        "id": "travel",
        "type": "flow",
        "flow": {"goals": ["rent_car"]},
        "attributes": {"day": {"role": "required"}, "car": {"role": "output"}},
    }
    await app.register_steps([travel | {"attributes": {"day": {"role": "required"}}}])
    with pytest.raises(InvalidInput, match=r"compensate: is .flow., and .* goals that do without `travel`"):
        await app.start(["travel"], {"day": "monday"}, compensate="flow")


# ------------------------------------------------------------------------ engines


async def test_an_undo_whose_engine_dies_is_done_by_another_one(apps: Apps) -> None:
    first, second = apps(lease_ms=200), apps(lease_ms=200)
    called = asyncio.Event()
    attempts: list[int] = []

    async def hang(inputs: dict[str, Any], outputs: dict[str, Any], ctx: StepContext) -> None:
        called.set()
        await asyncio.sleep(60)

    async def refund(inputs: dict[str, Any], outputs: dict[str, Any], ctx: StepContext) -> None:
        attempts.append(ctx.attempt)

    for app, undo in ((first, hang), (second, refund)):

        @app.step(outputs="receipt", for_each="item", undo=undo, id="charge")
        def charge(item: str) -> str:
            if item == "broken":
                raise Failed("no")
            return item

    dying = await apps.run(first)
    flow = await first.start(["charge"], {"item": ["book", "broken"]})
    await called.wait()
    await apps.run(second)
    await dying.kill()
    await deactivated(flow)
    assert attempts == [2]
    assert (await event(flow, "comp_started", attempt=2))["data"]["reason"] == "lost"
    assert (await second.audit())["violations"] == []


async def test_why_says_that_no_engine_has_the_function_that_undoes(memory: Apps) -> None:
    app = memory()

    @app.step(outputs="receipt", for_each="item", undo="refund_elsewhere")
    def charge(item: str) -> str:
        if item == "broken":
            raise Failed("no")
        return item

    running = await memory.run(app)
    flow = await app.start(["charge"], {"item": ["book", "broken"]})
    await event(flow, "comp_started")
    why = [clause["text"] for clause in (await app.why(flow.id, "charge"))["why"]]
    assert "no live engine has this handler (`refund_elsewhere`)" in why
    assert "as it failed, what its work items had done is undone" in why
    engine = await running.engine()
    assert list(engine.counters.unhandled) in ([], ["refund_elsewhere"])


async def test_an_undo_may_be_a_function_of_another_step_by_name(memory: Apps) -> None:
    app = memory()
    seen: list[tuple[Any, Any]] = []

    @app.step(id="refund")
    def refund(inputs: Any, outputs: Any) -> None:
        seen.append((inputs, outputs))

    @app.step(outputs="receipt", for_each="item", undo="refund", retry=ONCE)
    def charge(item: str) -> str:
        if item == "broken":
            raise NotCompleted("busy")
        return item

    await memory.run(app)
    flow = await app.start(["charge"], {"item": ["book", "broken"]})
    await deactivated(flow)
    assert seen == [({"item": "book"}, {"receipt": "book"})]
