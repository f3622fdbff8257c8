"""Steps as a client registers them, and plans as it is shown them."""

from __future__ import annotations

import pytest
from contract_client import (
    Outside,
    jpath,
    lua,
    output,
    refused,
    required,
    types,
    values,
)

contract = pytest.mark.contract


# ------------------------------------------------------------------- registering


@contract(
    "steps", "The same definition again is a success that changes nothing; another one needs an update."
)
def test_a_step_is_registered_updated_and_removed(outside: Outside) -> None:
    before = outside.http.get("/engine").json()["version"]
    step, paths = outside.script("double", "a", "b", lua="return {b = a * 2}"), "/engine/step/double"
    other = {**step, "name": "twice"}
    answers = [
        *(each.post("/engine/step", json=step).status_code for each in outside.clients),
        outside.clients[1].post("/engine/step", json=other).status_code,
        *(each.put(paths, json=other).status_code for each in outside.clients),
        outside.clients[2].delete(paths).status_code,
        outside.http.get(paths).status_code,
        outside.http.put(paths, json=step).status_code,
    ]
    assert answers == [201, 201, 201, 409, 200, 200, 200, 200, 404, 404]
    events = outside.http.get(f"/engine/catalog/events?after={before}").json()["events"]
    assert types(events) == ["step_registered", "step_updated", "step_unregistered"]


@contract(
    "steps", "All problems of a definition are reported together, unknown fields with the nearest known one."
)
def test_all_problems_of_a_definition_are_reported_together(outside: Outside) -> None:
    step = outside.service("-", "a", "b", pyton={}, script=lua("return 1"), memoizable="yes")
    step["http"] = {"endpoint": "file:///x", "metod": "GET"}
    error = refused(outside.http.post("/engine/step", json=step), 400)
    for words in ("id: ", "did you mean `python`", "script: ", "memoizable: ", "http.endpoint: ", "`method`"):
        assert words in error


@contract("steps", "A script is compiled when its step is registered, and refused with line and column.")
def test_a_script_that_does_not_compile_is_refused_with_its_place(outside: Outside) -> None:
    step = outside.script("bad", "", "b", lua="return {\n b = = }")
    assert "line 2, column" in refused(outside.http.post("/engine/step", json=step), 400)
    assert outside.http.get("/engine/step/bad").status_code == 404


@contract("steps", "An unknown language is refused with the known ones.")
def test_an_unknown_language_is_refused(outside: Outside) -> None:
    step = outside.script("bad", "", "b", lua="1", predicate={"language": "ale", "script": "1"})
    error = refused(outside.http.post("/engine/step", json=step), 400)
    assert ("jpath" in error, "lua" in error) == (True, True)


@contract("steps", "One attribute has one type over all steps, and no step depends on itself through others.")
def test_steps_that_do_not_go_together_are_refused(outside: Outside) -> None:
    outside.register(
        outside.script("one", "a", "", lua="return {}", attributes={"a": required(), "b": output("number")})
    )
    types_differ = outside.script("two", lua="return {}", attributes={"b": output("string")})
    circle = outside.script("two", "b", "a", lua="return {}")
    flow = {"id": "one-flow", "type": "flow", "flow": {"goals": ["other-flow"]}, "attributes": {}}
    outside.register(flow)
    other = {**flow, "id": "other-flow", "flow": {"goals": ["one-flow"]}}
    errors = [
        refused(outside.http.post("/engine/step", json=step), 400) for step in (types_differ, circle, other)
    ]
    assert ["attribute type conflict" in errors[0], *("cycle" in error for error in errors[1:])] == [True] * 3


@contract("steps", "What is reused cannot be undone: a memoizable step with a URL to undo is refused.")
def test_a_memoizable_step_cannot_be_undone(outside: Outside) -> None:
    step = outside.service("charge", memoizable=True, http={"compensate": outside.undone_at("refund")})
    assert "memoizable" in refused(outside.http.post("/engine/step", json=step), 400)


@contract("steps", "A start sees every registration that was answered before it was asked, whoever answered.")
def test_a_start_sees_what_another_process_has_registered(outside: Outside) -> None:
    first, second, third = outside.clients
    outside.register(outside.script("double", "a", "b", lua="return {b = 0}"))
    for n in range(10):
        step = outside.script("double", "a", "b", lua=f"return {{b = {n}}}")
        assert first.put("/engine/step/double", json=step).status_code == 200
        for client in (second, third):
            flow = client.post("/engine/flow", json={"goals": ["double"], "init": {"a": [1]}}).json()[
                "flow_id"
            ]
            outside.follow(flow)
            assert outside.result(flow) == {"b": n}


@contract("steps", "A running flow keeps the definitions of its plan, with every default filled in.")
def test_a_running_flow_keeps_its_plan(outside: Outside) -> None:
    outside.desk.answer("wait", {"a": 1})
    outside.desk.hold("wait")
    outside.register(outside.service("wait", "", "a"), outside.script("use", "a", "b", lua="return {b = 1}"))
    flow = outside.start("use")
    outside.desk.await_calls("wait")
    new = outside.script("use", "a", "b", lua="return {b = 2}")
    assert outside.http.put("/engine/step/use", json=new).status_code == 200
    outside.desk.release("wait")
    state = outside.end(flow)
    assert outside.result(flow) == {"b": 1}
    assert state["plan"]["steps"]["use"]["work_config"]["max_retries"] == 10
    assert state["plan"]["steps"]["wait"]["http"]["timeout"] == 30_000


# --------------------------------------------------------------------- attributes


@contract("steps", "Constants and metas are given to the call; an initial value never overrides a constant.")
def test_constants_and_metas_are_given_to_the_call(outside: Outside) -> None:
    metas = {
        "flow_id": "f",
        "step_id": "s",
        "receipt_token": "t",
        "webhook_url": "w",
        "attempt": "n",
        "tenant": "x",
    }
    outside.register(
        outside.service(
            "charge",
            {
                "rate": {"role": "const", "const": {"value": "7"}},
                **{name: {"role": "meta", "meta": {"key": key}} for key, name in metas.items()},
            },
            "paid",
        )
    )
    flow = outside.start("charge", init={"rate": 8}, metadata={"tenant": "acme"})
    outside.end(flow)
    [call] = outside.desk.calls("charge")
    assert call.body == {
        "rate": 7,
        "f": flow,
        "s": "charge",
        "t": call.token,
        "n": 1,
        "x": "acme",
        "w": call.body["w"],
    }
    assert call.body["w"].endswith(f"/webhook/{flow}/charge/{call.token}")


@contract("steps", "Mappings name and transform inputs and outputs; what is not declared is no attribute.")
def test_mappings_name_and_transform(outside: Outside) -> None:
    outside.desk.answer("charge", {"total": {"sum": 5}, "more": 1})
    order = {"role": "required", "required": {"mapping": {"name": "item", "script": jpath("$.id")}}}
    paid = {"role": "output", "output": {"mapping": {"name": "total", "script": lua("return value.sum + 1")}}}
    outside.register(outside.service("charge", attributes={"order": order, "paid": paid}))
    state = outside.run("charge", init={"order": {"id": 3}})
    assert outside.desk.calls("charge")[0].body == {"item": 3}
    assert (values(state, "paid"), set(state["attributes"])) == ([6], {"order", "paid"})
    execution = state["executions"]["charge"]
    assert (execution["inputs"], execution["outputs"]) == ({"item": 3}, {"paid": 6})


@contract(
    "steps", "Values are checked against declared types: an initial one is refused, an output fails for good."
)
def test_values_are_checked_against_declared_types(outside: Outside) -> None:
    outside.desk.answer("charge", {"paid": "much"})
    outside.register(
        outside.service("charge", {"order": {**required(), "type": "number"}, "paid": output("number")})
    )
    wrong = outside.http.post("/engine/flow", json={"goals": ["charge"], "init": {"order": ["x"]}})
    assert "init.order" in refused(wrong, 400)
    state = outside.run("charge", init={"order": 1})
    assert (state["status"], len(outside.desk.calls("charge")), "paid" in state["error"]) == (
        "failed",
        1,
        True,
    )


# ----------------------------------------------------------------------- planning


@contract("planning", "A plan has what the goals need and nothing else; nothing but the plan runs.")
def test_a_flow_runs_its_plan_and_nothing_else(outside: Outside) -> None:
    for id, name in (("a", "a"), ("b", "b"), ("c", "c"), ("other", "o")):
        outside.desk.answer(id, {name: 1})
    outside.register(
        outside.service("a", "", "a"),
        outside.service("b", "a", "b"),
        outside.service("c", "b", "c"),
        outside.service("other", "a", "o"),
    )
    state = outside.run("b")
    assert set(state["executions"]) == set(state["plan"]["steps"]) == {"a", "b"}
    assert [len(outside.desk.calls(id)) for id in ("a", "b", "c", "other")] == [1, 1, 0, 0]


@contract("planning", "An initial value spares the steps that would provide it.")
def test_an_initial_value_spares_its_providers(outside: Outside) -> None:
    outside.register(outside.service("a", "", "a"), outside.service("b", "a", "b"))
    assert set(outside.run("b", init={"a": 1})["executions"]) == {"b"}
    assert (outside.desk.calls("a"), len(outside.desk.calls("b"))) == ([], 1)


@contract(
    "planning", "All providers that can be satisfied join a plan; the others are listed with what they lack."
)
def test_all_satisfiable_providers_join(outside: Outside) -> None:
    outside.register(
        outside.service("near", "id", "rate"),
        outside.service("far", "id", "rate"),
        outside.service("paid-for", "key", "rate"),
        outside.service("price", "rate", "price"),
    )
    plan = outside.plan("price", init={"id": 1})
    assert set(plan["steps"]) == {"near", "far", "price"}
    assert plan["excluded"]["missing"] == {"paid-for": ["key"]}
    assert plan["attributes"]["rate"] == {"providers": ["far", "near"], "consumers": ["price"]}
    assert set(plan["why"]) == {"near", "far", "price", "paid-for"}


@contract(
    "planning", "A start without what its plan requires is refused, naming the leaves; a preview shows them."
)
def test_what_is_missing_is_named(outside: Outside) -> None:
    outside.register(outside.service("a", "id", "a"), outside.service("b", "a zip", "b"))
    start = {"id": outside.id(), "goals": ["b"], "init": {}}
    error = refused(outside.http.post("/engine/flow", json=start), 400)
    assert outside.plan("b")["required"] == ["id", "zip"]
    assert ("id" in error, "zip" in error) == (True, True)
    assert outside.http.get(f"/engine/flow/{start['id']}").status_code == 404


@contract("planning", "An unknown goal, and no goal at all, are refused.")
def test_goals_that_cannot_be_are_refused(outside: Outside) -> None:
    outside.register(outside.service("charge"))
    for path in ("/engine/plan", "/engine/flow"):
        unknown = outside.http.post(path, json={"goals": ["chrage"], "init": {}})
        assert "charge" in refused(unknown, 404)
        refused(outside.http.post(path, json={"goals": [], "init": {}}), 400)


@contract(
    "planning", "The same catalog, goals and values give the same plan in every process, byte for byte."
)
def test_a_plan_is_the_same_everywhere(outside: Outside) -> None:
    for n in (3, 1, 2):
        outside.register(outside.service(f"p{n}", f"a{n}", "rate"))
    outside.register(outside.service("price", {"rate": required(collect="all")}, "price"))
    ask = {"goals": ["price"], "init": {"a2": [1], "a1": [1], "a3": [1]}}
    assert len({client.post("/engine/plan", json=ask).content for client in outside.clients}) == 1


@contract("planning", "A goal whose outputs are all given is done from the start, in one commit.")
def test_a_goal_that_is_given_is_done_from_the_start(outside: Outside) -> None:
    outside.register(outside.service("charge", "order", "paid"))
    flow = outside.start("charge", init={"paid": 5})
    events = outside.events(flow)
    assert types(events) == ["flow_started", "flow_completed", "flow_deactivated"]
    assert (outside.result(flow), outside.desk.calls("charge")) == ({"paid": 5}, [])
