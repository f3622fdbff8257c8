"""What is shown of a flow: events and states in full, in the shapes that the contract gives them."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from api_apps import Apps, deactivated, event, token_of, types_of, version_of

from argyll_redis import ACCEPTED, Argyll, Failed, FlowHandle, InvalidInput, Retry

pytestmark = pytest.mark.anyio

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TOKEN = re.compile(r"[0-9a-f]{32}")


def chain(app: Argyll) -> None:
    @app.step(outputs="parts")
    async def split(order: dict[str, Any]) -> list[Any]:
        return order["parts"]

    @app.step(outputs="made", for_each="parts", parallelism=2)
    async def make(parts: Any) -> str:
        return f"made {parts}"


async def run_chain(apps: Apps, **options: Any) -> FlowHandle:
    app = apps()
    chain(app)
    await apps.run(app)
    flow = await app.start(["make"], {"order": {"parts": [1, 2]}}, **options)
    await deactivated(flow)
    return flow


async def all_events(flow: FlowHandle) -> list[dict[str, Any]]:
    return [each async for each in flow.events(follow=False)]


# ---------------------------------------------------------------------- events


async def test_every_event_says_what_when_why_and_by_whom(apps: Apps) -> None:
    flow = await run_chain(apps)
    events = await all_events(flow)
    assert {tuple(each) for each in events} == {("id", "type", "at", "cause", "by", "data")}
    assert [each["id"] for each in events] == [f"{n}-0" for n in range(1, len(events) + 1)]
    assert [each["at"] for each in events] == sorted(each["at"] for each in events)
    assert [each["type"] for each in events] == [
        "flow_started",
        *("step_started", "work_started", "work_succeeded", "attribute_set", "step_completed"),
        *("step_started", "work_started", "work_started", "work_succeeded", "work_succeeded"),
        *("attribute_set", "step_completed", "flow_completed", "flow_deactivated"),
    ]
    assert [each["cause"] for each in events][:6] == [0, 1, 2, 3, 4, 4]
    assert {each["by"].partition(":")[0] for each in events} == {"start", "work"}


async def test_events_show_all_that_the_log_holds_by_reference(apps: Apps) -> None:
    flow = await run_chain(apps)
    events = await all_events(flow)
    data = {each["type"]: each["data"] for each in events}
    tokens = data["step_started"]["tokens"]
    assert data["step_started"] == {"step": "make", "inputs": {"parts": [1, 2]}, "items": 2, "tokens": tokens}
    assert all(TOKEN.fullmatch(token) for token in tokens)
    assert [each["data"]["token"] for each in events if each["type"] == "work_started"][1:] == tokens
    rows = [{"parts": 1, "made": "made 1"}, {"parts": 2, "made": "made 2"}]
    assert data["attribute_set"] == {"name": "made", "value": rows, "step": "make"}
    assert data["flow_completed"] == {"result": {"made": rows}}
    assert data["flow_deactivated"] == {"status": "completed"}
    succeeded = await event(flow, "work_succeeded", token=tokens[1])
    assert isinstance(succeeded["data"].pop("ran_ms"), int)
    assert succeeded["data"] == {
        "step": "make",
        "token": tokens[1],
        "attempt": 1,
        "outputs": {"made": "made 2"},
    }


async def test_the_first_event_shows_the_whole_plan_and_never_the_seed(apps: Apps) -> None:
    flow = await run_chain(apps, labels={"tenant": "acme"}, metadata={"who": ["me"]}, timeout_ms=60_000)
    [first, *_] = await all_events(flow)
    plan = (await flow.state())["plan"]
    assert first["data"] == {
        "plan": plan,
        "init": {"order": [{"parts": [1, 2]}]},
        "metadata": {"who": ["me"]},
        "labels": {"tenant": "acme"},
        "options": {"linger_ms": 3_600_000, "timeout_ms": 60_000},
        "catalog_version": 2,
    }
    assert sorted(plan["steps"]) == ["make", "split"]
    assert "seed" not in repr(await all_events(flow))


async def test_retries_failures_and_skips_are_told_in_full(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="a", predicate="return false")
    def skipped(order: dict[str, Any]) -> int:
        return 1

    @app.step(outputs="b", retry=Retry(max_attempts=2, initial_ms=5, backoff="fixed"))
    def fails(order: dict[str, Any]) -> int:
        raise ValueError("no")

    await apps.run(app)
    flow = await app.start([skipped, fails], {"order": {"no": 1}})
    data = {each["type"]: each["data"] for each in await collect(flow)}
    token = data["work_failed"]["token"]
    of = {"step": "fails", "token": token}
    error = "ValueError: no (after 2 attempts)"
    assert data["step_skipped"] == {"step": "skipped", "reason": "predicate", "inputs": {"order": {"no": 1}}}
    assert data["work_retry_scheduled"] == {**of, "attempt": 2, "delay_ms": 5}
    assert data["work_not_completed"] == {**of, "attempt": 2, "error": "ValueError: no"}
    assert data["work_started"] == {**of, "attempt": 2, "reason": "retry"}
    assert data["work_failed"] == {**of, "attempt": 2, "error": error}
    root = {"step": "fails", "error": error}
    assert data["step_failed"] == {"step": "fails", "error": error, "root_cause": root}
    assert data["flow_failed"] == {"error": f'goal "fails" failed: {error}', "root_cause": root}


async def collect(flow: FlowHandle) -> list[dict[str, Any]]:
    return [each async for each in flow.events()]


async def test_following_goes_on_until_the_log_is_closed(apps: Apps) -> None:
    app = apps()
    chain(app)
    flow = await app.start(["make"], {"order": {"parts": [1, 2, 3]}})
    other = apps().flow(flow.id)
    followers = [asyncio.create_task(collect(each)) for each in (flow, other)]
    await apps.run(app)
    mine, others = await asyncio.gather(*followers)
    assert mine == others == await all_events(flow)
    assert mine[-1]["type"] == "flow_deactivated"


async def test_events_go_on_after_a_version(apps: Apps) -> None:
    flow = await run_chain(apps)
    events = await all_events(flow)
    for after in (0, 1, 3, len(events) - 1):
        assert [each async for each in flow.events(after)] == events[after:]
    assert [each async for each in flow.events(len(events))] == []


async def test_whoever_stops_following_leaves_nothing_behind(apps: Apps) -> None:
    app = apps()
    chain(app)
    flow = await app.start(["make"], {"order": {"parts": [1]}})
    events = flow.events()
    assert (await anext(events))["type"] == "flow_started"
    await events.aclose()
    assert (await app.node()).follower._following == {}


# ----------------------------------------------------------------------- state


async def test_a_state_holds_what_the_contract_lists(apps: Apps) -> None:
    flow = await run_chain(apps, id="order-1", labels={"tenant": "acme"}, metadata={"who": "me"})
    state = await flow.state()
    times = ["created_at", "completed_at", "deactivated_at", "last_updated"]
    assert all(TIME.fullmatch(state.pop(name)) for name in times)
    plan, attributes, executions = (state.pop(name) for name in ("plan", "attributes", "executions"))
    assert state == {
        "id": "order-1",
        "status": "completed",
        "metadata": {"who": "me"},
        "labels": {"tenant": "acme"},
    }
    assert list(plan) == ["goals", "required", "steps", "children", "attributes", "excluded", "why"]
    assert sorted(attributes) == ["made", "order", "parts"]
    assert sorted(executions) == ["make", "split"]


async def test_attributes_say_who_provided_them_and_when(apps: Apps) -> None:
    flow = await run_chain(apps)
    attributes = (await flow.state())["attributes"]
    given, parts = attributes["order"][0], attributes["parts"][0]
    assert TIME.fullmatch(given.pop("set_at"))
    assert TIME.fullmatch(parts.pop("set_at"))
    assert given == {"value": {"parts": [1, 2]}}
    assert parts == {"value": [1, 2], "step": "split"}


async def test_an_execution_shows_inputs_outputs_times_and_items(apps: Apps) -> None:
    flow = await run_chain(apps)
    make = (await flow.state())["executions"]["make"]
    assert list(make) == [
        *("status", "started_at", "completed_at", "inputs", "outputs", "duration", "work_items"),
    ]
    assert make["status"] == "completed"
    assert make["inputs"] == {"parts": [1, 2]}
    assert make["outputs"] == {"made": [{"parts": 1, "made": "made 1"}, {"parts": 2, "made": "made 2"}]}
    assert isinstance(make["duration"], int)
    started = await event(flow, "step_started", step="make")
    assert list(make["work_items"]) == started["data"]["tokens"]
    for number, item in enumerate(make["work_items"].values(), 1):
        assert TIME.fullmatch(item.pop("started_at"))
        assert TIME.fullmatch(item.pop("completed_at"))
        assert item == {
            "status": "succeeded",
            "inputs": {"parts": number},
            "outputs": {"made": f"made {number}"},
            "retry_count": 0,
        }


async def test_every_step_of_the_plan_is_there_from_version_1_on(apps: Apps) -> None:
    flow = await run_chain(apps)
    state = await flow.state(at=1)
    assert state["status"] == "active"
    assert state["executions"] == {
        "make": {"status": "pending", "work_items": {}},
        "split": {"status": "pending", "work_items": {}},
    }
    assert sorted(state["attributes"]) == ["order"]
    assert "completed_at" not in state


async def test_items_are_there_from_the_steps_start_on(apps: Apps) -> None:
    flow = await run_chain(apps)
    started = await event(flow, "step_started", step="make")
    state = await flow.state(at=int(started["id"].partition("-")[0]))
    assert list(state["executions"]["make"]["work_items"].values()) == [
        {"status": "pending", "inputs": {"parts": 1}, "retry_count": 0},
        {"status": "pending", "inputs": {"parts": 2}, "retry_count": 0},
    ]


async def test_every_version_has_its_state(apps: Apps) -> None:
    flow = await run_chain(apps)
    last = await version_of(flow)
    updates = [(await flow.state(at=version))["last_updated"] for version in range(1, last + 1)]
    assert updates == sorted(updates)
    assert await flow.state(at=last) == await flow.state()


@pytest.mark.parametrize("at", [0, -1, 999, 1.5, True, "1"])
async def test_a_version_that_is_none_is_refused(apps: Apps, at: Any) -> None:
    app = apps()
    chain(app)
    flow = await app.start(["make"], {"order": {"parts": [1]}})
    with pytest.raises(InvalidInput, match=f"at is {at!r}"):
        await flow.state(at=at)


async def test_an_item_that_waits_for_its_retry_says_when_it_comes(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x", retry=Retry(initial_ms=60_000))
    def fails() -> int:
        raise ValueError("no")

    await apps.run(app)
    flow = await app.start([fails])
    scheduled = await event(flow, "work_retry_scheduled")
    assert scheduled["data"]["delay_ms"] == 60_000
    [item] = (await flow.state())["executions"]["fails"]["work_items"].values()
    assert TIME.fullmatch(item.pop("next_retry_at"))
    assert TIME.fullmatch(item.pop("started_at"))
    assert item == {"status": "pending", "inputs": {}, "error": "ValueError: no", "retry_count": 1}


async def test_a_step_that_lost_an_input_says_which(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x")
    def fails() -> int:
        raise Failed("no")

    @app.step(outputs="y")
    def use(x: int) -> int:
        return x

    await apps.run(app)
    flow = await app.start([use])
    executions = (await deactivated(flow))["executions"]
    assert executions["use"]["status"] == "failed"
    assert executions["use"]["unsatisfied"] == ["x"]
    assert "x" in executions["use"]["error"]
    assert executions["fails"]["error"] == "no"
    assert "outputs" not in executions["fails"]


async def test_lists_hold_the_newest_flow_first(apps: Apps) -> None:
    app = apps()
    chain(app)
    await app.start(["make"], {"order": {"parts": [1]}}, id="one", labels={"tenant": "acme"})
    two = await app.start(["make"], {"order": {"parts": [1]}}, id="two")
    await two.cancel()
    rows = await app.flows()
    assert all(TIME.fullmatch(row.pop("timestamp")) for row in rows)
    assert sorted(rows, key=lambda row: row["id"]) == [
        {"id": "one", "status": "active", "labels": {"tenant": "acme"}},
        {"id": "two", "status": "failed", "labels": {}, "error": "cancelled"},
    ]
    assert await app.status("two") == {"id": "two", "status": "failed"}
    assert len(await app.flows(limit=1)) == 1


async def test_waiting_for_a_person_is_an_active_item(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="approved")
    def ask() -> Any:
        return ACCEPTED

    await apps.run(app)
    flow = await app.start([ask])
    token = await token_of(flow, "ask")
    accepted = await event(flow, "work_accepted")
    assert accepted["data"] == {"step": "ask", "token": token, "attempt": 1}
    [item] = (await flow.state())["executions"]["ask"]["work_items"].values()
    assert item["status"] == "active"
    assert (await types_of(flow))[-1] == "work_accepted"


async def test_an_audit_of_what_ran_finds_nothing(apps: Apps) -> None:
    flow = await run_chain(apps)
    assert await apps().audit(flow.id) == {"flows": 1, "violations": []}
    assert await apps().audit() == {"flows": 1, "violations": []}
