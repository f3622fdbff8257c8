"""Engines inside apps: several of them, queues, functions that only some have, and how they end."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from api_apps import Apps, Running, deactivated, event, items_of, types_of, until

from argyll_redis import (
    ACCEPTED,
    AppConfig,
    Argyll,
    FlowHandle,
    InvalidInput,
    NamespaceEmptied,
    Retry,
    StepContext,
)
from argyll_redis.runtime import engine as engine_module

pytestmark = pytest.mark.anyio


def double(app: Argyll, seen: list[str] | None = None) -> None:
    @app.step(outputs="doubled", for_each="n", parallelism=50, queue="numbers")
    async def double(n: int, ctx: StepContext) -> int:
        if seen is not None:
            seen.append(app.client_id)
        return n * 2


def doubled(flow_result: dict[str, Any]) -> list[int]:
    return [row["doubled"] for row in flow_result["doubled"]]


async def attempts_of(flow: FlowHandle) -> set[int]:
    """The attempts that were started."""
    return {e["data"]["attempt"] async for e in flow.events(follow=False) if e["type"] == "work_started"}


# --------------------------------------------------------------------- several


async def test_several_engines_share_the_work_and_do_none_twice(apps: Apps) -> None:
    engines = [apps() for _ in range(3)]
    seen: list[str] = []
    for app in engines:
        double(app, seen)
        await apps.run(app, concurrency=2)
    starts = await apps().start_many({"goals": ["double"], "init": {"n": [k] * 20}} for k in range(10))
    flows = [flow for flow in starts if isinstance(flow, FlowHandle)]
    results = await asyncio.gather(*(flow.result() for flow in flows))
    assert [doubled(result) for result in results] == [[2 * k] * 20 for k in range(10)]
    assert len(seen) == 200
    assert len(set(seen)) > 1
    assert (await engines[0].audit())["violations"] == []


@pytest.mark.contract("steps", "A python step runs only on engines that serve its queue.")
async def test_an_engine_serves_the_queues_that_it_is_told(apps: Apps) -> None:
    app, picky = apps(), apps()
    double(app)
    double(picky)
    running = await apps.run_known(picky, queues=["other"])
    engine = await running.engine()
    assert (engine.config.queues, engine.config.handlers) == (("builtin", "other"), ())
    assert (await (await apps.run_known(app)).engine()).config.queues == ("builtin", "numbers")
    flow = await app.start(["double"], {"n": [1]})
    assert doubled(await flow.result()) == [2]
    assert {row["queue"]: row["engines"] for row in (await app.queue_stats())["queues"]} == {
        "control": 2,
        "builtin": 2,
        "numbers": 1,
        "other": 1,
    }


async def test_one_queue_needs_no_list(apps: Apps) -> None:
    app = apps()
    double(app)
    running = await apps.run(app, queues="numbers")
    assert (await running.engine()).config.queues == ("builtin", "numbers")


async def test_work_waits_for_an_engine_of_its_queue(apps: Apps) -> None:
    app, other = apps(), apps()
    double(app)
    await apps.run(other)
    flow = await app.start(["double"], {"n": [1]})
    started = await event(flow, "work_started")
    why = await app.why(flow.id, "double")
    told = {"text": "no live engine has this handler (`double`)", "version": int(started["id"][:-2])}
    assert told in why["why"]
    assert why["status"] == "active"
    await apps.run(app)
    assert doubled(await flow.result()) == [2]
    assert await attempts_of(flow) == {1}


@pytest.mark.contract(
    "steps", "Work whose function an engine lacks is handed back, uncounted, and done by one that has it."
)
async def test_an_engine_without_the_function_hands_work_back_and_another_does_it(
    apps: Apps, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "HAND_BACK_DELAY_MS", 10)
    able, unable = apps(), apps()
    double(able)

    @unable.step(outputs="x", queue="numbers")
    def unrelated() -> int:
        return 1

    running = await apps.run(unable)
    engine = await running.engine()
    flow = await able.start(["double"], {"n": [1, 2]})
    await until(lambda: engine.counters.handed_back > 0)
    why = await able.why(flow.id, "double")
    assert "no live engine has this handler (`double`)" in [clause["text"] for clause in why["why"]]
    await apps.run(able)
    assert doubled(await flow.result()) == [2, 4]
    assert await attempts_of(flow) == {1}
    said = [each for each in caplog.messages if each.startswith("no function")]
    assert said == ['no function "double" here: its work is handed back']
    assert engine.counters.begun == 0


async def test_an_app_can_be_an_engine_again(apps: Apps) -> None:
    app = apps()
    double(app)
    names: set[str] = set()
    for round in range(3):
        running = await apps.run(app)
        names.add((await running.engine()).config.id)
        flow = await app.start(["double"], {"n": [round]})
        assert doubled(await flow.result()) == [2 * round]
        await running.drain()
    assert len(names) == 3


async def test_an_app_is_one_engine_at_a_time(apps: Apps) -> None:
    app = apps()
    double(app)
    await apps.run(app)
    with pytest.raises(InvalidInput, match="the app is an engine already"):
        await app.run()
    flow = await app.start(["double"], {"n": [1]})
    assert doubled(await flow.result()) == [2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "concurrency is 0"),
        ({"concurrency": 1.5}, "concurrency is 1.5"),
        ({"queues": ["two words"]}, "queues: queue name 'two words'"),
        ({"queues": [""]}, "queues: queue name ''"),
    ],
)
async def test_an_engine_that_cannot_be_is_refused(
    memory: Apps, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        await memory().run(**options)


@pytest.mark.contract("outcomes", "Settings that cannot work stop an engine at its start.")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lease_ms": 10}, "lease_ms: 10 is out of range .use 100 to 3,600,000"),
        ({"grace_ms": -1}, "grace_ms: -1 is out of range"),
        ({"linger_ms": -1}, "linger_ms: -1 is out of range"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        AppConfig(**settings)


# ----------------------------------------------------------------------- draining


async def test_a_drain_waits_until_running_work_is_committed(apps: Apps) -> None:
    app = apps()
    begun, may_end = asyncio.Event(), asyncio.Event()
    in_thread = threading.Event()

    @app.step(outputs="a")
    async def waits() -> int:
        begun.set()
        await may_end.wait()
        return 1

    @app.step(outputs="b")
    def blocks() -> int:
        in_thread.set()
        while not may_end.is_set():
            pass
        return 2

    running = await apps.run(app)
    flow = await app.start([waits, blocks])
    await begun.wait()
    assert await asyncio.to_thread(in_thread.wait, 20)
    running.stop()
    await asyncio.sleep(0)
    assert not running.task.done()
    may_end.set()
    await running.task
    state = await flow.state()
    assert (state["status"], await attempts_of(flow)) == ("completed", {1})
    assert {name: values[0]["value"] for name, values in state["attributes"].items()} == {"a": 1, "b": 2}


@pytest.mark.contract("outcomes", "Work that a draining engine hands back is neither an attempt nor a loss.")
async def test_what_is_not_begun_is_handed_back_uncounted(apps: Apps) -> None:
    first, second = apps(), apps()
    begun, may_end = asyncio.Event(), asyncio.Event()
    done_by: dict[int, str] = {}

    def declare(app: Argyll, name: str) -> None:
        @app.step(outputs="x", for_each="n", parallelism=30, retry=Retry(max_attempts=1))
        async def it(n: int) -> int:
            done_by[n] = name
            begun.set()
            await may_end.wait()
            return n

    declare(first, "first")
    declare(second, "second")
    running = await apps.run(first, concurrency=2)
    flow = await first.start(["it"], {"n": list(range(30))})
    await begun.wait()
    running.stop()
    may_end.set()
    await running.task
    left = 30 - len(done_by)
    assert left > 0
    assert await first.engines() == ()
    stats = {row["queue"]: row for row in (await first.queue_stats())["queues"]}
    assert (stats["default"]["in_flight"], stats["default"]["depth"]) == (0, left)
    await apps.run(second)
    assert [row["x"] for row in (await flow.result())["x"]] == list(range(30))
    assert sorted(done_by.values()) == ["first"] * (30 - left) + ["second"] * left
    assert await attempts_of(flow) == {1}


async def test_many_drains_under_load_lose_nothing_and_do_nothing_twice(apps: Apps) -> None:
    calls: list[int] = []

    def declare(app: Argyll) -> None:
        @app.step(outputs="x", for_each="n", parallelism=10)
        async def it(n: int) -> int:
            calls.append(n)
            await asyncio.sleep(0)
            return n

        @app.step(outputs="sum")
        def add(x: list[Any]) -> int:
            return sum(row["x"] for row in x)

    client = apps()
    declare(client)
    starts = await client.start_many({"goals": ["add"], "init": {"n": list(range(20))}} for _ in range(10))
    flows = [flow for flow in starts if isinstance(flow, FlowHandle)]
    waiting = [asyncio.create_task(flow.result()) for flow in flows]
    for _ in range(5):
        app = apps()
        declare(app)
        running = await apps.run(app, concurrency=4)
        enough = len(calls) + 5
        await until(lambda: len(calls) >= enough or all(task.done() for task in waiting))  # noqa: B023
        await running.drain()
    app = apps()
    declare(app)
    await apps.run(app)
    assert await asyncio.gather(*waiting) == [{"sum": 190}] * 10
    assert [await attempts_of(flow) for flow in flows] == [{1}] * 10
    assert len(calls) == 200


async def test_a_drain_that_takes_longer_than_its_grace_leaves_the_work_to_others(apps: Apps) -> None:
    stuck = apps(config=AppConfig(lease_ms=200, grace_ms=20))
    begun = asyncio.Event()
    stopped: list[bool] = []

    @stuck.step(outputs="x")
    async def it(ctx: StepContext) -> int:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(ctx.cancelled)
        return 1

    running = await apps.run(stuck)
    flow = await stuck.start([it])
    await begun.wait()
    await running.drain()
    assert len(stopped) == 1
    other = apps(lease_ms=200)

    @other.step(outputs="x", id="it")
    async def again(ctx: StepContext) -> int:
        return ctx.attempt

    await apps.run(other)
    assert (await flow.result())["x"] > 1
    reasons = [e["data"]["reason"] async for e in flow.events() if e["type"] == "work_started"]
    assert (reasons[0], set(reasons[1:])) == ("first", {"lost"})


async def test_an_engine_that_is_stopped_at_once_is_replaced(apps: Apps) -> None:
    app = apps(lease_ms=200)
    begun, calls = asyncio.Event(), list[int]()

    @app.step(outputs="x")
    async def it(ctx: StepContext) -> int:
        calls.append(ctx.attempt)
        begun.set()
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        return ctx.attempt

    running = await apps.run(app)
    flow = await app.start([it])
    await begun.wait()
    await running.kill()
    await apps.run(app)
    last = (await flow.result())["x"]
    assert calls == list(range(1, last + 1))
    assert last > 1


async def test_a_process_without_an_engine_starts_and_completes_flows(apps: Apps) -> None:
    engine, client = apps(), apps()

    @engine.step(outputs="x")
    async def ask() -> Any:
        return ACCEPTED

    await apps.run(engine)
    flow = await client.start(["ask"])
    token = (await event(flow, "work_accepted"))["data"]["token"]
    await client.complete(flow.id, "ask", token, {"x": 1})
    assert await flow.result() == {"x": 1}
    assert (await deactivated(flow))["status"] == "completed"


async def test_until_may_raise_and_ends_the_engine(apps: Apps) -> None:
    app = apps()
    double(app)

    async def until() -> None:
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        await app.run(until=until)
    flow = await app.start(["double"], {"n": [1]})
    await apps.run(app)
    assert doubled(await flow.result()) == [2]


async def test_steps_and_cancel_scopes_of_a_user_end_an_engine_cleanly(apps: Apps) -> None:
    app = apps()
    double(app)
    ready = asyncio.Event()
    async with asyncio.timeout(20):
        running = asyncio.create_task(app.run(on_ready=lambda *_: ready.set()))
        await ready.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    flow = await app.start(["double"], {"n": [1]})
    await apps.run(app)
    assert doubled(await flow.result()) == [2]


async def test_an_emptied_namespace_stops_the_engine_and_is_not_written_to(
    apps: Apps, store_factory: Any
) -> None:
    app = apps(lease_ms=400)
    double(app)
    running = Running(app)
    await running.engine()
    flow = await app.start(["double"], {"n": [1]})
    await flow.result()
    await store_factory.empty()
    with pytest.raises(NamespaceEmptied):
        await running.task
    with pytest.raises(NamespaceEmptied):
        await app.start(["double"], {"n": [1]})
    await app.close()
    # whoever connects anew gets a new namespace
    await apps.run(app)
    flow = await app.start(["double"], {"n": [3]})
    assert doubled(await flow.result()) == [6]
    assert (await items_of(flow, "double"))[0]["status"] == "succeeded"
    assert (await types_of(flow))[-1] == "flow_deactivated"
