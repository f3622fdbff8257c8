"""What other engines get wrong: a test for each, from outside, with three engines running."""

from __future__ import annotations

import pytest
from contract_client import (
    Outside,
    attributes,
    each,
    items,
    lua,
    optional,
    refused,
    required,
    statuses,
    types,
    values,
)
from contract_engines import Start
from contract_services import Reply, Services

contract = pytest.mark.contract


@contract("items", "An empty list makes no items: the step completes with empty lists.")
def test_an_empty_for_each(outside: Outside) -> None:
    outside.register(
        outside.service("charge", {"order": each()}, "paid"),
        outside.script("count", "paid", "number", lua="return {number = #paid}"),
    )
    state = outside.run("count", init={"order": []})
    assert (state["status"], statuses(state)) == ("completed", {"charge": "completed", "count": "completed"})
    assert (values(state, "paid"), values(state, "number")) == ([[]], [0])
    assert items(state, "charge") == outside.desk.calls("charge") == []


@contract("items", "A predicate is asked again for each item, and false skips that item alone.")
def test_a_predicate_false_for_one_item(outside: Outside) -> None:
    outside.desk.answer("charge", lambda call: {"paid": call.body["order"] * 10})
    outside.register(
        outside.service("charge", {"order": each()}, "paid", predicate=lua("return order ~= 2")),
    )
    state = outside.run("charge", init={"order": [1, 2, 3]})
    assert state["status"] == "completed"
    assert [item["status"] for item in items(state, "charge")] == ["succeeded", "skipped", "succeeded"]
    assert values(state, "paid") == [[{"order": 1, "paid": 10}, {"order": 3, "paid": 30}]]
    assert [call.body["order"] for call in outside.desk.calls("charge")] == [1, 3]


@contract("life", "A provider that failed does no harm where another one provided, or the input is optional.")
def test_a_failed_optional_or_alternative_provider_when_the_goal_is_done(outside: Outside) -> None:
    outside.desk.answer("broken", Reply(400))
    outside.desk.answer("rate", {"rate": 3})
    outside.desk.hold("rate")
    outside.register(
        outside.service("broken", "", "rate hint"),
        outside.service("rate", "", "rate"),
        outside.script(
            "price",
            {"rate": required(), "hint": optional(default="7", deadline=60_000)},
            "price",
            lua="return {price = rate * hint}",
        ),
    )
    flow = outside.start("price")
    outside.follow(flow, "step_failed", step="broken")
    outside.desk.release("rate")
    state = outside.end(flow)
    assert (state["status"], outside.result(flow)) == ("completed", {"price": 21})
    assert statuses(state) == {"broken": "failed", "rate": "completed", "price": "completed"}


@contract("life", "A skipped goal is done; a skipped provider fails what needs it, and is named.")
def test_a_skipped_provider_or_goal(outside: Outside) -> None:
    never = {"predicate": lua("return false")}
    outside.register(
        outside.service("look-up", "id", "customer", **never),
        outside.service("greet", "customer", "greeting"),
        outside.service("mail", "id", "mailed", **never),
    )
    skipped, lacking = outside.run("mail", init={"id": 1}), outside.run("greet", init={"id": 1})
    assert (skipped["status"], statuses(skipped)) == ("completed", {"mail": "skipped"})
    assert (lacking["status"], statuses(lacking)) == ("failed", {"look-up": "skipped", "greet": "failed"})
    assert "required input no longer available" in lacking["executions"]["greet"]["error"]
    assert "look-up" in lacking["error"]
    assert lacking["executions"]["greet"]["unsatisfied"] == ["customer"]


@contract("life", "One goal may feed another: each runs once, and the result has what both gave.")
def test_one_goal_feeding_another(outside: Outside) -> None:
    outside.desk.answer("first", {"a": 1})
    outside.desk.answer("second", {"b": 2})
    outside.register(outside.service("first", "", "a"), outside.service("second", "a", "b"))
    flow = outside.start("second", "first")
    assert outside.end(flow)["status"] == "completed"
    assert outside.result(flow) == {"a": 1, "b": 2}
    assert [len(outside.desk.calls(id)) for id in ("first", "second")] == [1, 1]


@contract(
    "life", "Work that still runs when the goals are done is recorded, and only then the log is closed."
)
def test_an_optional_provider_finishing_after_the_goal(outside: Outside) -> None:
    outside.desk.answer("hint", {"hint": 5})
    outside.desk.hold("hint")
    outside.register(
        outside.service("hint", "", "hint"),
        outside.service("approve", "", "approved", type="async"),
        outside.script(
            "price",
            {"approved": required(), "hint": optional()},
            "price",
            lua="return {price = hint or 1}",
        ),
    )
    flow = outside.start("price")
    [call], _ = outside.desk.await_calls("approve"), outside.desk.await_calls("hint")
    outside.http.post(call.webhook_path, json={"approved": True})
    outside.follow(flow, "flow_completed")
    assert outside.state(flow)["executions"]["hint"]["status"] == "active"
    assert "deactivated_at" not in outside.state(flow)
    outside.desk.release("hint")
    state = outside.end(flow)
    assert (outside.result(flow), statuses(state)["hint"], values(state, "hint")) == (
        {"price": 1},
        "completed",
        [5],
    )


@contract(
    "items", "At the first failed item the step and the flow fail; running siblings end and are recorded."
)
@contract(
    "children", "A parent is told the outcome of its child at the outcome, not when its last work has ended."
)
def test_fail_fast_with_siblings_still_running(outside: Outside) -> None:
    outside.desk.answer("charge", lambda call: Reply(400, "no") if call.body["order"] == 1 else {"paid": 1})
    outside.desk.hold("charge")
    outside.register(
        outside.service("charge", {"order": each()}, "paid", type="async", work_config={"parallelism": 2}),
        {
            "id": "shop",
            "type": "flow",
            "flow": {"goals": ["charge"]},
            "attributes": attributes("order", "paid"),
        },
    )
    flow = outside.start("shop", init={"order": [1, 2, 3]})
    calls = outside.desk.await_calls("charge", 2)
    child = calls[0].headers["Argyll-Flow-ID"]
    outside.desk.release("charge")
    parent = outside.end(flow)
    running = outside.state(child)
    assert (parent["status"], running["status"], "deactivated_at" in running) == ("failed", "failed", False)
    late = next(call for call in calls if call.body["order"] == 2)
    assert outside.http.post(late.webhook_url, json={"paid": 2}).status_code == 200
    state = outside.end(child)
    assert [item["status"] for item in items(state, "charge")] == ["failed", "succeeded", "pending"]
    assert len(outside.desk.calls("charge")) == 2


@contract(
    "tokens", "A success that comes after its step has failed is recorded, and undone where that is known."
)
def test_a_late_result_after_the_step_failed(outside: Outside) -> None:
    outside.desk.answer("charge", lambda call: Reply(400, "no") if call.body["order"] == 1 else {"paid": 2})
    outside.register(
        outside.service(
            "charge",
            {"order": each()},
            "paid",
            type="async",
            http={"compensate": outside.undone_at("refund")},
            work_config={"parallelism": 2},
        ),
    )
    flow = outside.start("charge", init={"order": [1, 2]})
    late = next(call for call in outside.desk.await_calls("charge", 2) if call.body["order"] == 2)
    outside.follow(flow, "flow_failed")
    assert outside.clients[1].post(late.webhook_path, json={"paid": 2}).status_code == 200
    state = outside.end(flow)
    assert [item["status"] for item in items(state, "charge")] == ["failed", "compensated"]
    assert (state["status"], values(state, "paid")) == ("failed", [])
    assert [call.body for call in outside.desk.calls("refund")] == [
        {"input": {"order": 2}, "output": {"paid": 2}}
    ]


@contract("outcomes", "A retry is called exactly once per attempt, however many engines run.")
def test_a_retry_with_three_engines_running(outside: Outside) -> None:
    retry = {"init_backoff": 20, "backoff_type": "fixed"}
    outside.register(
        outside.service("charge", {"order": each()}, "paid", work_config=retry | {"parallelism": 20})
    )
    outside.desk.answer("charge", lambda call: Reply(503) if call.attempt == 1 else {"paid": 1})
    flow = outside.start("charge", init={"order": list(range(20))})
    assert outside.end(flow)["status"] == "completed"
    calls = sorted((call.body["order"], call.attempt) for call in outside.desk.calls("charge"))
    assert calls == [(order, attempt) for order in range(20) for attempt in (1, 2)]


@contract(
    "planning", "An update replaces what a step provides: what it no longer gives is missing from then on."
)
def test_an_updated_step_that_no_longer_provides_an_attribute(outside: Outside) -> None:
    look_up = outside.service("look-up", "id", "customer address")
    outside.register(look_up, outside.service("send", "address", "sent"))
    assert outside.plan("send", init={"id": 1})["required"] == []
    less = {**look_up, "attributes": attributes("id", "customer")}
    assert outside.http.put("/engine/step/look-up", json=less).status_code == 200
    start = {"id": outside.id(), "goals": ["send"], "init": {"id": [1]}}
    for client in outside.clients:
        assert "address" in refused(client.post("/engine/flow", json=start), 400)
    assert outside.plan("send")["required"] == ["address"]


@contract("memo and undo", "Each item of a memoizable step is reused by itself, whatever runs beside it.")
def test_a_memoizable_for_each_with_parallelism(outside: Outside) -> None:
    outside.desk.answer("charge", lambda call: {"paid": call.body["order"] * 10})
    outside.register(
        outside.service("charge", {"order": each()}, "paid", memoizable=True, work_config={"parallelism": 10})
    )
    outside.run("charge", init={"order": [1, 2, 3]})
    flow = outside.start("charge", init={"order": [3, 4, 1, 5]})
    outside.end(flow)
    assert [row["paid"] for row in outside.result(flow)["paid"]] == [30, 40, 10, 50]
    assert sorted(call.body["order"] for call in outside.desk.calls("charge")) == [1, 2, 3, 4, 5]
    hits = [event["data"].get("memo") for event in outside.of_type(flow, "work_succeeded")]
    assert sorted(map(bool, hits)) == [False, False, True, True]


@contract(
    "memo and undo", "A step without a URL to undo is never undone, and its endpoint is not called for it."
)
def test_no_compensation_call_without_a_compensate_url(outside: Outside) -> None:
    outside.desk.answer("charge", lambda call: Reply(400, "no") if call.body["order"] == 2 else {"paid": 1})
    outside.register(outside.service("charge", {"order": each()}, "paid"))
    flow = outside.start("charge", init={"order": [1, 2]}, compensate="flow")
    state = outside.end(flow)
    assert [item["status"] for item in items(state, "charge")] == ["succeeded", "failed"]
    assert [kind for kind in types(outside.events(flow)) if kind.startswith("comp_")] == []
    assert len(outside.desk.calls("charge")) == 2


@contract("children", "No parent waits for a child that ended, whenever its engine died.")
def test_a_crash_just_after_a_child_ended(start_engine: Start, services: Services) -> None:
    """The engine is frozen when the child ends, so the word to the parent reaches it and is never read;
    then it is killed, and another engine has to find that word."""
    api, doomed = start_engine("--concurrency", "0"), start_engine()
    outside = Outside([api.url], services.desk())
    outside.register(
        outside.service("approve", "order", "approved", type="async"),
        {
            "id": "office",
            "type": "flow",
            "flow": {"goals": ["approve"]},
            "attributes": attributes("order", "approved"),
        },
    )
    assert doomed.url
    flow = outside.start("office", init={"order": 1})
    [call] = outside.desk.await_calls("approve")
    outside.follow(call.headers["Argyll-Flow-ID"], "work_accepted")
    outside.follow(flow, "work_accepted")
    doomed.freeze()
    assert outside.http.post(call.webhook_path, json={"approved": True}).status_code == 200
    assert outside.state(flow)["status"] == "active"
    doomed.kill()
    start_engine()
    assert outside.end(flow)["status"] == "completed"
    assert outside.result(flow) == {"approved": True}
    outside.close()
