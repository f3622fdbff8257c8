"""Following all flows, and the catalog: what comes, in which order, and what is said when some is missed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from api_apps import Apps, deactivated

from argyll_redis import Argyll
from argyll_redis.errors import EventsMissed, StoreUnavailable
from argyll_redis.runtime import catalogs, follower

pytestmark = pytest.mark.anyio


async def shop(apps: Apps) -> Argyll:
    app = apps()

    @app.step(outputs="x")
    def make(n: int) -> int:
        return n

    await apps.run(app)
    return app


async def test_all_flows_are_followed_from_any_process_in_the_order_of_each(apps: Apps) -> None:
    app = await shop(apps)
    await deactivated(await app.start(["make"], {"n": 0}, id="before"))
    seen: dict[str, list[dict[str, Any]]] = {}
    async with apps().all_events() as events:
        for n in range(3):
            await app.start(["make"], {"n": n}, id=f"f{n}")
        ended = 0
        async for flow_id, event in events:
            seen.setdefault(flow_id, []).append(event)
            ended += event["type"] == "flow_deactivated"
            if ended == 3:
                break
    assert seen == {flow_id: await app.events(flow_id) for flow_id in seen}
    assert sorted(seen) == ["f0", "f1", "f2"]


async def test_whoever_cannot_keep_up_is_told(memory: Apps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "MAX_NEWS", 1)
    app = await shop(memory)
    async with app.all_events() as events:
        for n in range(3):
            await deactivated(await app.start(["make"], {"n": n}))
        with pytest.raises(EventsMissed, match="more than 1 flows"):
            async for _ in events:
                pass


async def test_a_feed_that_was_trimmed_is_told(memory: Apps) -> None:
    app = await shop(memory)
    node = await app.node()
    async with app.all_events() as events:
        node.follower._miss()
        with pytest.raises(EventsMissed, match="trimmed"):
            await anext(events)


async def test_an_app_that_closes_ends_what_follows(memory: Apps) -> None:
    app = memory()
    async with app.all_events() as events:
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        await app.close()
        with pytest.raises(StoreUnavailable, match="was closed"):
            await first


async def test_the_catalog_is_followed_after_a_version(apps: Apps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogs, "LOOK_MS", 10)
    app = apps()
    step = {
        "id": "a",
        "type": "script",
        "attributes": {},
        "script": {"language": "lua", "script": "return {}"},
    }
    await app.register_steps([step])
    events = apps().follow_catalog(0)
    first = await anext(events)
    await app.register_steps([{**step, "name": "A"}], update=True)
    second = await anext(events)
    await events.aclose()
    assert [(each["id"], each["type"]) for each in (first, second)] == [
        ("1-0", "step_registered"),
        ("2-0", "step_updated"),
    ]
    assert [first, second] == await app.catalog_events()
