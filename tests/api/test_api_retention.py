"""Flows that have expired, as a user sees it, on every store."""

from __future__ import annotations

from typing import Any

import pytest
from api_apps import Apps, deactivated

from argyll_redis import AppConfig, Argyll, FlowHandle, InvalidInput, UnknownFlow
from argyll_redis.runtime import retention

pytestmark = pytest.mark.anyio

SUB: dict[str, Any] = {
    "id": "sub",
    "type": "flow",
    "flow": {"goals": ["double"]},
    "attributes": {
        "ns": {"role": "required", "required": {"for_each": True, "mapping": {"name": "n"}}},
        "result": {"role": "output", "output": {"mapping": {"name": "doubled"}}},
    },
}
NUMBERS = {"ns": [1, 2]}


def doubling(apps: Apps, **settings: Any) -> Argyll:
    """An app that doubles numbers."""
    app = apps(config=AppConfig(**settings))

    @app.step(outputs="doubled")
    async def double(n: int) -> int:
        return 2 * n

    return app


async def ended(app: Argyll, apps: Apps, goal: str = "double", init: Any = None) -> FlowHandle:
    """Runs a flow to its end."""
    await app.register_steps([SUB])
    await apps.run(app)
    flow = await app.start([goal], init or {"n": 1}, id="f", labels={"a": "b"})
    await deactivated(flow)
    return flow


async def expire(app: Argyll, limit: int = 100) -> None:
    """Removes all that is over, or some of it in each partition."""
    store = (await app.node()).store
    for partition in range(store.partitions):
        await store.expire(partition, keep_ms=0, limit=limit)


async def test_a_flow_that_has_expired_does_not_exist(apps: Apps) -> None:
    app = doubling(apps)
    flow = await ended(app, apps)
    await expire(app)
    for ask in (app.state, app.status, app.events, app.log, app.cancel, app.audit):
        with pytest.raises(UnknownFlow, match='"f"'):
            await ask(flow.id)
    assert (await app.flows(), (await app.query(labels={"a": "b"}))["total"]) == ([], 0)


async def test_the_id_of_a_flow_that_has_expired_is_free(apps: Apps) -> None:
    app = doubling(apps)
    await ended(app, apps)
    await expire(app)
    again = await app.start(["double"], {"n": 3}, id="f")
    assert await again.result(timeout_ms=20_000) == {"doubled": 6}


async def test_an_engine_removes_what_is_over(apps: Apps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LOOK_MS", 10)
    app = doubling(apps, retention_ms=1)
    await app.register_steps([SUB])
    await apps.run(app)
    await app.start(["sub"], NUMBERS, id="f")
    while await app.flows():
        pass
    store = (await app.node()).store
    assert await store.sizes(["open", "children", "done:completed"]) == [0, 0, 0]


async def test_a_tree_that_is_going_breaks_no_invariant(apps: Apps) -> None:
    app = doubling(apps)
    flow = await ended(app, apps, "sub", NUMBERS)
    assert len((await flow.state())["executions"]["sub"]["work_items"]) == 2
    await expire(app, limit=1)
    assert await app.audit("f") == {"flows": 2, "violations": []}


async def test_a_child_goes_with_its_root(apps: Apps) -> None:
    app = doubling(apps)
    flow = await ended(app, apps, "sub", NUMBERS)
    items = (await flow.state())["executions"]["sub"]["work_items"].values()
    children = [item["child"] for item in items]
    await expire(app)
    for child in children:
        with pytest.raises(UnknownFlow):
            await app.state(child)


async def test_the_plan_of_a_flow_that_has_expired_is_sent_again(apps: Apps) -> None:
    app = doubling(apps)
    await ended(app, apps)
    await expire(app)
    for id in ("g", "h"):
        flow = await app.start(["double"], {"n": 1}, id=id)
        assert await flow.result(timeout_ms=20_000) == {"doubled": 2}


@pytest.mark.parametrize("retention_ms", [-1, 10 * 365 * 86_400_000 + 1])
def test_a_retention_that_cannot_be_meant_is_refused(retention_ms: int) -> None:
    with pytest.raises(InvalidInput, match=r"retention_ms: -?[0-9]+ is out of range"):
        AppConfig(retention_ms=retention_ms)


def test_flows_are_kept_for_a_week_when_nobody_says() -> None:
    assert AppConfig().retention_ms == 7 * 86_400_000
