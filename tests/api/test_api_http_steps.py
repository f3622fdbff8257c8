"""Flows whose steps are services: called, asked again, answered later, undone."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiohttp import web
from api_apps import Apps, deactivated, event, items_of, token_of, types_of, until
from api_services import Asked, Reply, http_step, service

from argyll_redis import AppConfig, Argyll, FlowFailed
from argyll_redis.runtime import engine as engine_module
from argyll_redis.steps import http as http_module

pytestmark = pytest.mark.anyio

BASE_URL = "http://argyll.test:8080"
WITH_WEBHOOKS = AppConfig(webhook_base_url=BASE_URL)
QUICK = {"max_retries": 3, "init_backoff": 1}


async def test_services_are_called_one_after_the_other(apps: Apps) -> None:
    """GET with a parameter, then POST of what it gave."""

    async def answer(asked: Asked) -> Reply:
        return (
            {"customer": {"name": "ada"}}
            if asked.method == "GET"
            else {"greeting": asked.body["customer"]["name"]}
        )

    app = apps()
    async with service(answer) as shop:
        await app.register_steps(
            [
                http_step(
                    "look-up", f"{shop.url}/customers/{{id}}", inputs={"id": "required"}, output="customer",
                    http_method="GET",
                ),
                http_step("greet", f"{shop.url}/greet", inputs={"customer": "required"}, output="greeting"),
            ]
        )  # fmt: skip
        await apps.run(app)
        flow = await app.start(["greet"], {"id": "a/1"})
        assert await flow.result() == {"greeting": "ada"}
    assert [(asked.method, asked.path, asked.body) for asked in shop.asked] == [
        ("GET", "/customers/a%2F1", None),
        ("POST", "/greet", {"customer": {"name": "ada"}}),
    ]
    assert (await app.audit())["violations"] == []


async def test_a_service_that_is_busy_is_called_again_when_it_says(apps: Apps) -> None:
    async def answer(asked: Asked) -> Reply:
        busy = asked.attempt < 3
        return (
            web.Response(status=503, headers={"Retry-After": "0"}, text="busy")
            if busy
            else {"a": asked.attempt}
        )

    app = apps()
    async with service(answer) as shop:
        await app.register_steps([http_step("ask", shop.url, inputs={}, output="a")])
        await apps.run(app)
        flow = await app.start(["ask"])
        assert await flow.result() == {"a": 3}
    assert [asked.attempt for asked in shop.asked] == [1, 2, 3]
    assert len({asked.token for asked in shop.asked}) == 1
    retry = await event(flow, "work_retry_scheduled", attempt=2)
    assert retry["data"]["delay_ms"] == 0


async def test_a_refused_call_fails_the_flow_with_the_words_of_the_service(apps: Apps) -> None:
    async def answer(asked: Asked) -> Reply:
        text = '{"detail": "no such order"}'
        return web.Response(status=404, text=text, content_type="application/problem+json")

    app = apps()
    async with service(answer) as shop:
        await app.register_steps([http_step("ask", shop.url, inputs={}, output="a")])
        await apps.run(app)
        flow = await app.start(["ask"])
        with pytest.raises(FlowFailed) as failed:
            await flow.result()
    assert failed.value.root_cause == {"step": "ask", "error": "no such order"}
    assert len(shop.asked) == 1


async def test_an_async_step_is_completed_by_its_token(apps: Apps) -> None:
    async def answer(asked: Asked) -> Reply:
        return None

    app = apps(config=WITH_WEBHOOKS)
    async with service(answer) as shop:
        await app.register_steps([http_step("ask", shop.url, inputs={}, output="a", type="async")])
        await apps.run(app)
        flow = await app.start(["ask"])
        token = await token_of(flow, "ask")
        assert await app.complete(flow.id, "ask", token, {"a": 1}) is True
        assert await flow.result() == {"a": 1}
    assert shop.asked[0].headers["Argyll-Webhook-URL"] == f"{BASE_URL}/webhook/{flow.id}/ask/{token}"
    assert (await app.audit())["violations"] == []


async def test_an_outcome_that_comes_before_the_answer_of_its_call_counts(apps: Apps) -> None:
    answered = asyncio.Event()
    app = apps(config=WITH_WEBHOOKS)

    async def answer(asked: Asked) -> Reply:
        flow_id, step = asked.headers["Argyll-Flow-ID"], asked.headers["Argyll-Step-ID"]
        assert await app.complete(flow_id, step, asked.token, {"a": 1}) is True
        answered.set()
        return None

    async with service(answer) as shop:
        await app.register_steps([http_step("ask", shop.url, inputs={}, output="a", type="async")])
        running = await apps.run(app)
        flow = await app.start(["ask"])
        assert await flow.result() == {"a": 1}
        await answered.wait()
        engine = await running.engine()
        await until(lambda: len(engine.hand) == 0)  # what the call came to is said, too
    types = await types_of(flow)
    assert types.count("work_succeeded") == 1
    assert "work_accepted" not in types
    assert (await app.audit())["violations"] == []


async def test_an_outcome_that_never_comes_is_asked_for_again(apps: Apps) -> None:
    async def answer(asked: Asked) -> Reply:
        return None

    app = apps(config=WITH_WEBHOOKS)
    async with service(answer) as shop:
        definition = http_step("ask", shop.url, inputs={}, output="a", type="async")
        await app.register_steps([{**definition, "work_config": {**QUICK, "timeout": 50}}])
        await apps.run(app)
        flow = await app.start(["ask"])
        missed = await event(flow, "work_not_completed", step="ask", attempt=1)
        again = await event(flow, "work_accepted", step="ask", attempt=2)
        await app.complete(flow.id, "ask", again["data"]["token"], {"a": 2})
        assert await flow.result() == {"a": 2}
    assert "timed out" in missed["data"]["error"]
    assert len({asked.token for asked in shop.asked}) == 1


async def test_an_engine_that_dies_before_the_answer_leaves_the_call_to_another(apps: Apps) -> None:
    async def answer(asked: Asked) -> Reply:
        if asked.attempt == 1:
            await asyncio.Event().wait()
        return {"a": asked.attempt}

    config = AppConfig(lease_ms=300)
    first, second = apps(config=config), apps(config=config)
    async with service(answer) as shop:
        await first.register_steps([http_step("ask", shop.url, inputs={}, output="a")])
        running = await apps.run(first)
        flow = await second.start(["ask"])
        await shop.came.wait()
        await running.kill()
        await apps.run(second)
        assert await flow.result() == {"a": 2}
    assert len({asked.token for asked in shop.asked}) == 1


async def test_a_call_of_a_cancelled_flow_is_left_to_finish_and_recorded(apps: Apps) -> None:
    go_on = asyncio.Event()

    async def answer(asked: Asked) -> Reply:
        await go_on.wait()
        return {"a": 1}

    app = apps(lease_ms=300)
    async with service(answer) as shop:
        await app.register_steps([http_step("ask", shop.url, inputs={}, output="a")])
        running = await apps.run(app)
        flow = await app.start(["ask"])
        await shop.came.wait()
        await app.cancel(flow.id)
        engine = await running.engine()
        await until(lambda: all(held.context is None or held.context.cancelled for held in engine.hand.all()))
        go_on.set()
        await deactivated(flow)
    assert [item["status"] for item in await items_of(flow, "ask")] == ["succeeded"]


async def test_what_a_service_did_is_undone_by_its_compensate_url(apps: Apps) -> None:
    async def answer(asked: Asked) -> Reply:
        if asked.path.startswith("/undo"):
            return web.Response(status=503) if asked.attempt == 1 else None
        return (
            {"receipt": "r1"} if asked.body["item"] == "book" else web.Response(status=400, text="sold out")
        )

    app = apps()
    async with service(answer) as shop:
        definition = http_step(
            "charge", f"{shop.url}/charge", output="receipt",
            inputs={"item": {"role": "required", "required": {"for_each": True}}},
            http_compensate=f"{shop.url}/undo/{{receipt}}",
        )  # fmt: skip
        await app.register_steps([{**definition, "work_config": QUICK}])
        await apps.run(app)
        flow = await app.start(["charge"], {"item": ["book", "pen"]})
        await deactivated(flow)
    undone = [asked for asked in shop.asked if asked.path == "/undo/r1"]
    assert [(asked.method, asked.attempt, asked.body) for asked in undone] == [
        ("POST", attempt, {"input": {"item": "book"}, "output": {"receipt": "r1"}}) for attempt in (1, 2)
    ]
    assert [item["status"] for item in await items_of(flow, "charge")] == ["compensated", "failed"]


async def test_a_hundred_calls_are_under_way_at_a_time(apps: Apps) -> None:
    together = asyncio.Barrier(100)

    async def answer(asked: Asked) -> Reply:
        await together.wait()
        return {"a": asked.body["n"]}

    app = apps()
    async with service(answer) as shop:
        definition = http_step(
            "ask", shop.url, inputs={"n": {"role": "required", "required": {"for_each": True}}}, output="a"
        )
        await app.register_steps([{**definition, "work_config": {"parallelism": 100}}])
        await apps.run(app, concurrency=100)
        flow = await app.start(["ask"], {"n": list(range(100))})
        result = await flow.result()
    assert [each["a"] for each in result["a"]] == list(range(100))
    assert len(shop.connections) == 100


async def test_calls_one_after_the_other_share_a_connection(memory: Apps) -> None:
    async def answer(asked: Asked) -> Reply:
        return {"a": 1}

    app = memory()
    async with service(answer) as shop:
        definition = http_step(
            "ask", shop.url, inputs={"n": {"role": "required", "required": {"for_each": True}}}, output="a"
        )
        await app.register_steps([definition])
        await memory.run(app)
        await (await app.start(["ask"], {"n": list(range(20))})).result()
    assert (len(shop.asked), len(shop.connections)) == (20, 1)


async def test_meta_inputs_are_filled_in_at_the_call(memory: Apps) -> None:
    async def answer(asked: Asked) -> Reply:
        return {"a": 1}

    app = memory(config=WITH_WEBHOOKS)
    async with service(answer) as shop:
        keys = ("flow_id", "step_id", "receipt_token", "webhook_url", "attempt", "tenant")
        metas = {key: {"role": "meta", "meta": {"key": key}} for key in keys}
        await app.register_steps([http_step("ask", shop.url, inputs=metas, output="a")])
        await memory.run(app)
        flow = await app.start(["ask"], id="f1", metadata={"tenant": "acme"})
        await flow.result()
        log = [each async for each in flow.events(follow=False)]
    [asked] = shop.asked
    assert asked.body == {
        "flow_id": "f1",
        "step_id": "ask",
        "receipt_token": asked.token,
        "webhook_url": f"{BASE_URL}/webhook/f1/ask/{asked.token}",
        "attempt": 1,
        "tenant": "acme",
    }
    assert BASE_URL not in str(log)


async def test_an_address_that_is_closed_fails_the_flow(memory: Apps) -> None:
    app = memory()
    await app.register_steps([http_step("ask", "http://169.254.169.254/", inputs={}, output="a")])
    await memory.run(app)
    with pytest.raises(FlowFailed, match=r"169\.254\.169\.254 is link-local"):
        await (await app.start(["ask"])).result()


async def test_a_host_that_is_not_on_the_allow_list_fails_the_flow(memory: Apps) -> None:
    app = memory(config=AppConfig(http_allow=("10.0.0.0/8",)))
    await app.register_steps([http_step("ask", "http://127.0.0.1:1/", inputs={}, output="a")])
    await memory.run(app)
    with pytest.raises(FlowFailed, match="not on the allow-list"):
        await (await app.start(["ask"])).result()


async def test_the_health_of_a_step_is_what_its_health_check_says(memory: Apps) -> None:
    async def answer(asked: Asked) -> Reply:
        return None if asked.path == "/well" else web.Response(status=503, text="no database")

    app = memory()
    async with service(answer) as shop:
        for name in ("well", "ill"):
            await app.register_steps(
                [http_step(name, shop.url, inputs={}, http_health_check=f"{shop.url}/{name}")]
            )
        await memory.run(app)
        while (await app.health_of("ill"))["status"] == "unknown":
            await asyncio.sleep(0)
        health = (await app.step_health())["health"]
    assert health["well"]["status"] == "healthy"
    assert (health["ill"]["status"], health["ill"]["error"]) == ("unhealthy", "status 503: no database")


# ------------------------------------------------------------- who can do what


async def handed_back(memory: Apps, app: Argyll, type: str) -> list[str]:
    """Starts a flow that this engine cannot go on with; gives what `why` says."""
    await app.register_steps([http_step("ask", "http://127.0.0.1:1/", inputs={}, output="a", type=type)])
    engine = await (await memory.run(app)).engine()
    flow = await app.start(["ask"])
    await until(lambda: engine.counters.handed_back > 0)
    assert engine.counters.begun == 0
    return [clause["text"] for clause in (await app.why(flow.id, "ask"))["why"]]


async def test_an_engine_without_the_package_hands_the_work_back_and_why_says_so(
    memory: Apps, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http_module, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        why = await handed_back(memory, memory(), "sync")
    assert "no live engine can run steps of type sync" in why
    assert "pip install 'argyll-redis[http]'" in caplog.text


async def test_why_keeps_that_nobody_could_call_a_service_when_the_flow_has_timed_out(
    memory: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_module, "find_spec", lambda name: None)
    monkeypatch.setattr(engine_module, "HAND_BACK_DELAY_MS", 20)
    app = memory()
    await app.register_steps([http_step("ask", "http://127.0.0.1:1/", inputs={}, output="a")])
    await memory.run(app)
    flow = await app.start(["ask"], timeout_ms=50)
    state = await deactivated(flow)
    why = await app.why(flow.id, "ask")
    assert (state["error"], state["executions"]["ask"]["error"]) == ("timed out", "abandoned")
    assert "no live engine can run steps of type sync" in [clause["text"] for clause in why["why"]]


async def test_an_engine_without_a_webhook_address_hands_async_work_back_and_why_says_so(
    memory: Apps, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        why = await handed_back(memory, memory(), "async")
    assert "no live engine can run steps of type async" in why
    assert "there is no webhook address" in caplog.text


async def test_work_that_one_engine_cannot_do_another_one_does(
    memory: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "HAND_BACK_DELAY_MS", 20)

    async def answer(asked: Asked) -> Reply:
        return None

    unable, able = memory(), memory(config=WITH_WEBHOOKS)
    async with service(answer) as shop:
        await unable.register_steps([http_step("ask", shop.url, inputs={}, output="a", type="async")])
        engine = await (await memory.run(unable)).engine()
        flow = await unable.start(["ask"])
        await until(lambda: engine.counters.handed_back > 0)
        await memory.run(able)
        token = await token_of(flow, "ask")
        await unable.complete(flow.id, "ask", token, {"a": 1})
        assert await flow.result() == {"a": 1}
    assert [asked.attempt for asked in shop.asked] == [1]
