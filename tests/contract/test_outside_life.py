"""The life of a flow and its steps, and what goes into them, from outside."""

from __future__ import annotations

import pytest
from contract_client import (
    QUICK,
    Outside,
    items,
    jpath,
    lua,
    optional,
    required,
    statuses,
    types,
    values,
)
from contract_services import Reply

contract = pytest.mark.contract


@contract(
    "life", "The result has what each goal gave, in goal order: where two give one name, the later one wins."
)
def test_the_later_goal_wins_a_name(outside: Outside) -> None:
    outside.register(
        outside.script("one", "", "a x", lua="return {a = 1, x = 1}"),
        outside.script("two", "", "b x", lua="return {b = 2, x = 2}"),
    )
    for goals, x in ((("one", "two"), 2), (("two", "one"), 1)):
        flow = outside.start(*goals)
        outside.end(flow)
        assert outside.result(flow) == {"a": 1, "b": 2, "x": x}


@contract("life", "A flow fails at once when a goal has failed, naming the step and the root cause.")
def test_a_failure_names_step_and_root_cause(outside: Outside) -> None:
    outside.desk.answer("look-up", Reply(404, "nobody"))
    outside.desk.hold("slow")
    outside.register(
        outside.service("look-up", "", "customer"),
        outside.service("greet", "customer", "greeting"),
        outside.service("slow", "", "s"),
    )
    flow = outside.start("greet", "slow")
    outside.follow(flow, "flow_failed")
    failed = outside.one(flow, "flow_failed")["data"]
    assert failed["root_cause"]["step"] == "look-up"
    assert ("404" in failed["root_cause"]["error"], "nobody" in failed["root_cause"]["error"]) == (True, True)
    assert ("greet" in failed["error"], outside.state(flow)["executions"]["slow"]["status"]) == (
        True,
        "active",
    )
    assert outside.http.get(f"/engine/flow/{flow}/status").json() == {"id": flow, "status": "failed"}


@contract("life", "Which starts make others needless is decided first: those are skipped and never called.")
def test_what_is_not_wanted_any_more_is_skipped(outside: Outside) -> None:
    outside.desk.answer("quick", {"rate": 1})
    outside.register(
        outside.service("quick", "", "rate"),
        outside.service("wait", "", "zone", type="async"),
        outside.service("careful", "zone", "rate"),
        outside.service("price", "rate", "price"),
    )
    outside.desk.answer("price", {"price": 3})
    flow = outside.start("price")
    outside.follow(flow, "flow_completed")
    state = outside.state(flow)
    assert (statuses(state)["careful"], outside.desk.calls("careful")) == ("skipped", [])
    assert outside.http.post(f"/engine/flow/{flow}/cancel").status_code == 200


@contract("life", "Results after the outcome are recorded, no retry is scheduled, nothing new starts.")
def test_after_the_outcome_nothing_new_starts(outside: Outside) -> None:
    outside.desk.hold("ends", "fails")
    outside.desk.answer("ends", {"a": 1})
    outside.desk.answer("fails", Reply(503))
    outside.register(
        outside.service("ends", "", "a"),
        outside.service("fails", "", "b"),
        outside.service("next", "a b", "c"),
    )
    flow = outside.start("next")
    for id in ("ends", "fails"):
        outside.desk.await_calls(id)
    assert outside.http.post(f"/engine/flow/{flow}/cancel").status_code == 200
    outside.desk.release_all()
    state = outside.end(flow)
    assert (state["status"], "cancelled" in state["error"]) == ("failed", True)
    assert statuses(state) == {"ends": "completed", "fails": "failed", "next": "pending"}
    assert "abandoned" in items(state, "fails")[0]["error"]
    assert outside.of_type(flow, "work_retry_scheduled") == []
    assert values(state, "a") == [1]
    assert [len(outside.desk.calls(id)) for id in ("ends", "fails", "next")] == [1, 1, 0]


@contract(
    "life", "A retry that was waiting at the outcome is dropped, and the log closed in the same commit."
)
def test_a_waiting_retry_is_dropped_at_the_outcome(outside: Outside) -> None:
    outside.desk.answer("charge", Reply(503))
    outside.register(
        outside.service("charge", "", "paid", work_config={"init_backoff": 600_000, "max_backoff": 600_000})
    )
    flow = outside.start("charge")
    outside.follow(flow, "work_retry_scheduled")
    outside.http.post(f"/engine/flow/{flow}/cancel")
    state = outside.end(flow)
    assert (statuses(state), len(outside.desk.calls("charge"))) == ({"charge": "failed"}, 1)
    assert types(outside.events(flow))[-1] == "flow_deactivated"


@contract(
    "life", "After the last event the log is closed: what comes then is answered, and nothing is written."
)
def test_nothing_is_written_after_deactivation(outside: Outside) -> None:
    outside.register(outside.service("approve", "", "approved", type="async"))
    flow = outside.start("approve")
    [call] = outside.desk.await_calls("approve")
    outside.http.post(call.webhook_path, json={"approved": 1})
    last = outside.follow(flow)
    answers = [client.post(call.webhook_path, json={"approved": 2}).status_code for client in outside.clients]
    again = outside.http.post(f"/engine/flow/{flow}/cancel").status_code
    assert (answers, again, outside.events(flow)) == ([200] * 3, 200, last)


@contract(
    "life", "Every event says what caused it and who brought it, versions have no gap, and time never falls."
)
def test_every_event_says_what_caused_it(outside: Outside) -> None:
    outside.desk.answer("first", Reply(503), {"a": 1})
    outside.register(
        outside.service("first", "", "a", work_config=QUICK),
        outside.service("second", "a", "b", type="async"),
    )
    flow = outside.start("second")
    [call] = outside.desk.await_calls("second")
    outside.http.post(call.webhook_path, json={"b": 2})
    events = outside.follow(flow)
    assert [event["id"] for event in events] == [f"{n}-0" for n in range(1, len(events) + 1)]
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert [event["type"] for event in events if not event["cause"]] == ["flow_started", "work_succeeded"]
    by = {event["by"].partition(":")[0] for event in events}
    assert by - {"timer"} == {"start", "work", "webhook"}
    for version, event in enumerate(events, 1):
        assert 0 <= event["cause"] < version


# ------------------------------------------------------------------------- inputs


def two_rates(outside: Outside, **spec: object) -> None:
    """Two providers of one attribute, of which the one that comes later by id is first, and a consumer."""
    outside.desk.hold("near")
    outside.desk.answer("near", {"rate": 1})
    outside.desk.answer("off", {"rate": 2})
    outside.register(
        outside.service("near", "", "rate"),
        outside.service("off", "", "rate"),
        outside.service("price", {"rate": required(**spec)}, "price"),
    )


def rate_of(outside: Outside) -> object:
    """What the consumer was given."""
    flow = outside.start("price")
    outside.follow(flow, "attribute_set", name="rate")
    outside.desk.release("near")
    outside.end(flow)
    [call] = outside.desk.calls("price")
    return call.body.get("rate")


@contract(
    "inputs",
    "`first` takes the first value, `last` and `some` wait for all providers, `all` needs each of them.",
)
@pytest.mark.parametrize(("collect", "given"), [("first", 2), ("last", 1), ("some", [2, 1]), ("all", [1, 2])])
def test_a_policy_gives_its_values(collect: str, given: object, outside: Outside) -> None:
    two_rates(outside, collect=collect)
    assert rate_of(outside) == given


@contract("inputs", "`all` can not be met when one provider fails; `some` takes what the others gave.")
def test_all_needs_every_provider(outside: Outside) -> None:
    outside.desk.answer("near", {"rate": 1})
    outside.desk.answer("off", Reply(400))
    outside.register(
        outside.service("near", "", "rate"),
        outside.service("off", "", "rate"),
        outside.service("every", {"rate": required(collect="all")}, "e"),
        outside.service("any", {"rate": required(collect="some")}, "s"),
    )
    assert (outside.run("every")["status"], outside.run("any")["status"]) == ("failed", "completed")
    assert outside.desk.calls("any")[0].body == {"rate": [1]}


@contract(
    "inputs", "`none` runs its step when nobody provides, be it that the providers failed or were skipped."
)
def test_none_runs_without_a_value(outside: Outside) -> None:
    outside.desk.answer("find", Reply(404))
    outside.register(
        outside.service("find", "", "found"),
        outside.service("make", {"found": required(collect="none")}, "m"),
        outside.service("use", "m", "u"),
    )
    state = outside.run("make")
    assert (state["status"], outside.desk.calls("make")[0].body) == ("completed", {})
    assert outside.plan("use", init={"found": 1})["excluded"]["blocked"] == {"make": ["found"]}


@contract("inputs", "A gate that closes skips its step, and what serves only that step is never started.")
def test_a_closed_gate_skips_its_step(outside: Outside) -> None:
    kind = {"role": "required", "required": {"match": lua("return value == 'big'")}}
    outside.desk.answer("look", lambda call: {"kind": call.body["order"]})
    outside.desk.answer("rate", {"rate": 1})
    outside.register(
        outside.service("look", "order", "kind"),
        outside.service("rate", "order", "rate"),
        outside.service("discount", {"kind": kind, "rate": required()}, "discount"),
        outside.service("ship", "order", "shipped"),
    )
    small = outside.run("discount", "ship", init={"order": "small"})
    assert (small["status"], statuses(small)["discount"], outside.desk.calls("rate")) == (
        "completed",
        "skipped",
        [],
    )
    big = outside.run("discount", "ship", init={"order": "big"})
    assert (big["status"], statuses(big)["discount"]) == ("completed", "completed")
    alone = outside.run("discount", init={"order": "small"})
    assert alone["status"] == "failed"


@contract("inputs", "An optional input is waited for until its deadline, then it is its default or left out.")
def test_an_optional_input_is_waited_for_until_its_deadline(outside: Outside) -> None:
    outside.register(
        outside.service("slow", "", "rate hint", type="async"),
        outside.service(
            "price",
            {"rate": optional(deadline=20, default="7"), "hint": optional(deadline=20), "id": required()},
            "price",
        ),
    )
    flow = outside.start("price", init={"id": 1})
    outside.follow(flow, "flow_completed")
    assert outside.desk.calls("price")[0].body == {"id": 1, "rate": 7}
    assert types(outside.events(flow)).count("deadline_passed") == 2
    assert "rate" not in outside.state(flow)["attributes"]


@contract("inputs", "An optional input without a deadline is never waited for.")
def test_without_a_deadline_nothing_is_waited_for(outside: Outside) -> None:
    outside.register(
        outside.service("slow", "", "rate", type="async"),
        outside.service("price", {"rate": optional(default="7")}, "price"),
    )
    assert (outside.run("price")["status"], outside.desk.calls("slow")) == ("completed", [])


@contract("inputs", "A script that never ends, or takes too much, fails its step for good and hurts nobody.")
def test_a_script_without_end_fails_its_step(outside: Outside) -> None:
    outside.register(
        outside.script("endless", "", "a", lua="while true do end"),
        outside.script("huge", "", "b", lua="local t = {} for i = 1, 1e9 do t[i] = 'x' .. i end return t"),
        outside.script("fine", "", "c", lua="return {c = 1}"),
    )
    ends = [outside.run(goal)["status"] for goal in ("endless", "huge", "fine")]
    assert ends == ["failed", "failed", "completed"]


@contract("inputs", "A Lua result that is no table is the output `result`; whole numbers stay whole.")
def test_a_value_of_a_script_is_its_result(outside: Outside) -> None:
    outside.register(
        outside.script("double", "a", "result", lua="a * 2"),
        outside.service("given", "result", "x", predicate=jpath("$.result")),
    )
    outside.run("given", init={"a": 21})
    assert outside.desk.calls("given")[0].text == '{"result":42}'
