"""Waiting for a flow: its result, its root cause, giving up, and flows that do not exist."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from api_apps import Apps, deactivated

from argyll_redis import Argyll, Failed, FlowFailed, UnknownFlow

pytestmark = pytest.mark.anyio


def chain(app: Argyll) -> None:
    """`first` gives what `second` needs; `first` fails for good on a negative number."""

    @app.step(outputs="b")
    async def first(a: int) -> int:
        if a < 0:
            raise Failed(f"{a} is negative")
        return a + 1

    @app.step(outputs=("c", "d"))
    async def second(b: int) -> dict[str, Any]:
        return {"c": b + 1, "d": None, "e": "nobody declared me"}


async def test_the_result_is_what_the_goals_provide(apps: Apps) -> None:
    app = apps()
    chain(app)
    await apps.run(app)
    flow = await app.start(["second", "first"], {"a": 1})
    assert await flow.result() == {"c": 3, "d": None, "b": 2}
    assert await flow.outcome() == {
        "id": flow.id,
        "status": "completed",
        "result": {"c": 3, "d": None, "b": 2},
        "error": None,
    }


async def test_a_result_can_be_asked_for_before_at_and_after_the_end_by_anybody(apps: Apps) -> None:
    app, other = apps(), apps()
    chain(app)
    flow = await app.start(["second"], {"a": 1})
    early = [asyncio.create_task(each.flow(flow.id).result()) for each in (app, other, other)]
    await apps.run(app)
    assert await asyncio.gather(*early) == [{"c": 3, "d": None}] * 3
    assert await apps().flow(flow.id).result(timeout_ms=1_000) == {"c": 3, "d": None}


async def test_results_of_many_flows_can_be_waited_for_together(apps: Apps) -> None:
    app = apps()
    chain(app)
    await apps.run(app)
    flows = await app.start_many([{"goals": ["second"], "init": {"a": a}} for a in range(60)])
    results = await asyncio.gather(*(flow.result() for flow in flows if not isinstance(flow, Exception)))
    assert [result["c"] for result in results] == [a + 2 for a in range(60)]


async def test_a_failure_carries_its_root_cause(apps: Apps) -> None:
    app = apps()
    chain(app)
    await apps.run(app)
    flow = await app.start(["second"], {"a": -1}, id="order-1")
    with pytest.raises(FlowFailed) as failed:
        await flow.result()
    error = 'goal "second" can no longer be reached: step "first": -1 is negative'
    assert str(failed.value) == f'flow "order-1" failed: {error}'
    assert failed.value.flow_id == "order-1"
    assert failed.value.root_cause == {"step": "first", "error": "-1 is negative"}
    assert await flow.outcome() == {"id": "order-1", "status": "failed", "result": None, "error": error}


async def test_a_cancelled_flow_has_failed_and_no_step_is_to_blame(apps: Apps) -> None:
    app = apps()
    chain(app)
    flow = await app.start(["second"], {"a": 1})
    await flow.cancel()
    with pytest.raises(FlowFailed) as failed:
        await flow.result()
    assert failed.value.root_cause == {"error": "cancelled"}


async def test_waiting_can_be_given_up_and_changes_nothing(apps: Apps) -> None:
    app = apps()
    chain(app)
    flow = await app.start(["second"], {"a": 1}, id="order-2")
    with pytest.raises(TimeoutError, match='flow "order-2" has no outcome after 20 ms'):
        await flow.result(timeout_ms=20)
    with pytest.raises(TimeoutError):
        await flow.outcome(timeout_ms=20)
    await apps.run(app)
    assert await flow.result() == {"c": 3, "d": None}


async def test_a_timeout_around_the_wait_is_the_callers_own(apps: Apps) -> None:
    app = apps()
    chain(app)
    flow = await app.start(["second"], {"a": 1})
    with pytest.raises(TimeoutError) as raised:
        async with asyncio.timeout(0.02):
            await flow.result(timeout_ms=60_000)
    assert str(raised.value) == ""


NO_FLOWS: list[Any] = ["nobody", "", "Not An Id", "a:b", "a b", "\ud800", "\x00", None, 7]


@pytest.mark.parametrize("id", NO_FLOWS, ids=repr)
async def test_a_flow_that_does_not_exist_is_called_unknown_whatever_is_asked(apps: Apps, id: Any) -> None:
    app = apps()
    flow = app.flow(id)
    for ask in (
        flow.result,
        flow.outcome,
        flow.state,
        flow.cancel,
        lambda: anext(flow.events()),
        lambda: flow.state(at=1),
        lambda: app.state(id),
        lambda: app.status(id),
        lambda: app.log(id),
        lambda: app.why(id, "s"),
        lambda: app.cancel(id),
        lambda: app.audit(id) if id is not None else app.state(id),
    ):
        with pytest.raises(UnknownFlow):
            await ask()


async def test_asking_for_a_flow_that_does_not_exist_hurts_no_other(apps: Apps) -> None:
    app = apps()
    chain(app)
    await apps.run(app)
    for id in NO_FLOWS:
        with pytest.raises(UnknownFlow):
            await app.cancel(id)
    flow = await app.start(["second"], {"a": 1})
    assert await flow.result() == {"c": 3, "d": None}


async def test_the_outcome_is_known_before_leftovers_end(apps: Apps) -> None:
    app = apps()
    may_end = asyncio.Event()

    @app.step(outputs="x", id="slow")
    async def slow() -> int:
        await may_end.wait()
        return 1

    @app.step(outputs="x", id="fast")
    async def fast() -> int:
        return 2

    @app.step(outputs="y")
    async def use(x: int) -> int:
        return x

    await apps.run(app)
    flow = await app.start([use])
    assert await flow.result() == {"y": 2}
    state = await flow.state()
    assert (state["status"], "deactivated_at" in state) == ("completed", False)
    assert state["executions"]["slow"]["status"] == "active"
    may_end.set()
    state = await deactivated(flow)
    assert state["executions"]["slow"]["outputs"] == {"x": 1}
    assert [value["step"] for value in state["attributes"]["x"]] == ["fast", "slow"]
