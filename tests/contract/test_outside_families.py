"""Sub-flows, reuse and undoing, from outside."""

from __future__ import annotations

import pytest
from contract_client import (
    QUICK,
    Json,
    Outside,
    attributes,
    each,
    items,
    refused,
    types,
    values,
)
from contract_services import Reply

contract = pytest.mark.contract


def sub_flow(id: str, *goals: str, needs: object = "", gives: str = "", **more: object) -> Json:
    return {
        "id": id,
        "type": "flow",
        "flow": {"goals": list(goals)},
        "attributes": attributes(needs, gives),
        **more,
    }


# ----------------------------------------------------------------------- children


@contract("children", "A child is named by its parent, its step and its token; lists leave children out.")
@contract("children", "A child starts from its parent's inputs, and its result are the step's outputs.")
def test_a_child_belongs_to_its_parent(outside: Outside) -> None:
    outside.desk.answer("charge", lambda call: {"paid": call.body["item"] * 10})
    item = {"role": "required", "required": {"for_each": True, "mapping": {"name": "item"}}}
    outside.register(
        outside.service("charge", "item", "paid"),
        sub_flow("shop", "charge", needs={"order": item}, gives="paid"),
    )
    flow = outside.start("shop", init={"order": [1, 2]})
    state = outside.end(flow)
    assert values(state, "paid") == [[{"order": 1, "paid": 10}, {"order": 2, "paid": 20}]]
    children = [f"{flow}:shop:{token}" for token in state["executions"]["shop"]["work_items"]]
    assert sorted(call.headers["Argyll-Flow-ID"] for call in outside.desk.calls("charge")) == sorted(children)
    found = outside.http.post("/engine/flow/query", json={"id_prefix": flow}).json()["flows"]
    assert [row["id"] for row in found] == [flow]
    child = outside.state(children[0])
    assert (values(child, "item"), child["status"]) == ([1], "completed")
    for value in (flow, "shop", children[0].rpartition(":")[2]):
        assert value in child["metadata"].values()


@contract("children", "A user's id can not be a child's: colons are dropped.")
def test_a_colon_in_an_id_is_dropped(outside: Outside) -> None:
    outside.register(outside.script("one", "", "a", lua="return {a = 1}"))
    id = outside.id()
    assert outside.start("one", id=f"{id}:s:t") == f"{id}st"


@contract(
    "children",
    "A child that fails, or lacks a mapped output, fails its item for good, with the child's error.",
)
def test_a_failed_child_fails_its_item(outside: Outside) -> None:
    outside.desk.answer("charge", Reply(400, "no such card"))
    outside.desk.answer("empty", {})
    outside.register(
        outside.service("charge", "", "paid"),
        outside.service("empty", "", "given"),
        sub_flow("shop", "charge", gives="paid", work_config=QUICK),
        sub_flow("none", "empty", gives="given", work_config=QUICK),
    )
    shop, none = outside.run("shop"), outside.run("none")
    assert (shop["status"], "no such card" in shop["error"]) == ("failed", True)
    assert (none["status"], "given" in none["error"]) == ("failed", True)
    assert [len(outside.desk.calls(id)) for id in ("charge", "empty")] == [1, 1]


@contract("children", "A flow that is cancelled, and a flow step that times out, cancel their children.")
def test_children_end_with_their_parent(outside: Outside) -> None:
    outside.register(
        outside.service("approve", "", "approved", type="async"),
        sub_flow("office", "approve", gives="approved"),
        sub_flow("hasty", "approve", gives="approved", work_config={"timeout": 1_500, "init_backoff": 1}),
    )
    cancelled, hasty = outside.start("office"), outside.start("hasty")
    for flow in (cancelled, hasty):
        outside.follow(flow, "work_accepted")
    outside.clients[1].post(f"/engine/flow/{cancelled}/cancel")
    children = [call.headers["Argyll-Flow-ID"] for call in outside.desk.await_calls("approve", 2)]
    for child in children:
        outside.follow(child, "flow_failed")
        assert "cancelled" in outside.state(child)["error"]
    outside.follow(hasty, "flow_failed")
    assert outside.state(hasty)["executions"]["hasty"]["work_items"].keys() == {
        child.rpartition(":")[2] for child in children if child.startswith(f"{hasty}:")
    }


@contract(
    "children", "A plan holds its children's, eight deep at most; what a child lacks refuses the start."
)
def test_what_a_child_lacks_refuses_the_start(outside: Outside) -> None:
    outside.register(
        outside.service("charge", "order", "paid"), sub_flow("f1", "charge", needs="x", gives="paid")
    )
    error = refused(outside.http.post("/engine/flow", json={"goals": ["f1"], "init": {"x": [1]}}), 400)
    assert "order" in error
    outside.register(outside.script("leaf", "", "leaf", lua="return {leaf = 1}"))
    outside.register(sub_flow("d1", "leaf", gives="leaf1"))
    for n in range(2, 10):
        outside.register(sub_flow(f"d{n}", f"d{n - 1}"))
    deep = outside.http.post("/engine/flow", json={"goals": ["d9"], "init": {}})
    assert refused(deep, 400)
    assert outside.plan("d8")["children"]["d8"]["goals"] == ["d7"]


# ---------------------------------------------------------------------------- memo


@contract(
    "memo and undo",
    "A success is reused for the same definition and inputs, by every engine, and shown as reused.",
)
@contract(
    "memo and undo", "Name, labels and retry policy are no part of what is compared; the definition is."
)
def test_a_success_is_reused_by_every_engine(outside: Outside) -> None:
    outside.desk.answer("rate", {"rate": 3})
    step = outside.service("rate", "zone", "rate", memoizable=True)
    outside.register(step)
    outside.run("rate", init={"zone": {"a": 1, "b": 2}})
    flows = [outside.start("rate", init={"zone": {"b": 2, "a": 1}}) for _ in range(6)]
    memos = [outside.follow(flow, "work_succeeded")[-1]["data"].get("memo") for flow in flows]
    assert (memos, len(outside.desk.calls("rate"))) == ([True] * 6, 1)
    outside.http.put(
        "/engine/step/rate", json={**step, "name": "x", "work_config": QUICK, "labels": {"a": "b"}}
    )
    outside.run("rate", init={"zone": {"a": 1, "b": 2}})
    assert len(outside.desk.calls("rate")) == 1
    outside.http.put("/engine/step/rate", json={**step, "http": {**step["http"], "method": "PUT"}})
    outside.run("rate", init={"zone": {"a": 1, "b": 2}})
    assert len(outside.desk.calls("rate")) == 2


@contract("memo and undo", "A failure is never reused, nor what has other inputs.")
def test_a_failure_is_not_reused(outside: Outside) -> None:
    outside.desk.answer("rate", Reply(400), {"rate": 3})
    outside.register(outside.service("rate", "zone", "rate", memoizable=True))
    ends = [outside.run("rate", init={"zone": zone})["status"] for zone in (1, 1, 2, 1)]
    assert (ends, len(outside.desk.calls("rate"))) == (["failed", "completed", "completed", "completed"], 3)


# ---------------------------------------------------------------------------- undo


@contract(
    "memo and undo", "When a step fails, each of its succeeded items is undone with its input and output."
)
@contract(
    "memo and undo", "An undo is tried again by the step's policy; a 4xx ends it; the log is closed after it."
)
def test_the_succeeded_items_of_a_failed_step_are_undone(outside: Outside) -> None:
    outside.desk.answer(
        "book", lambda call: Reply(400) if call.body["room"] == 4 else {"key": call.body["room"]}
    )
    refunds = {1: [503, 200], 2: [200], 3: [404]}
    outside.desk.answer("refund", lambda call: Reply(refunds[call.body["output"]["key"]].pop(0)))
    outside.register(
        outside.service(
            "book",
            {"room": each()},
            "key",
            http={"compensate": outside.undone_at("refund/{key}")},
            work_config=QUICK,
        )
    )
    flow = outside.start("book", init={"room": [1, 2, 3, 4]})
    state = outside.end(flow)
    ends = ["compensated", "compensated", "compensation_failed", "failed"]
    assert [item["status"] for item in items(state, "book")] == ends
    calls = [(call.method, call.path, call.body, call.attempt) for call in outside.desk.calls("refund")]
    assert sorted(calls, key=lambda call: call[1:2] + call[3:]) == [
        ("POST", f"{n}", {"input": {"room": n}, "output": {"key": n}}, attempt)
        for n, attempt in ((1, 1), (1, 2), (2, 1), (3, 1))
    ]
    kinds = types(outside.events(flow))
    found = [
        kinds.count(kind)
        for kind in ("comp_started", "comp_retry_scheduled", "comp_succeeded", "comp_failed")
    ]
    assert (found, kinds[-1]) == ([4, 1, 2, 1], "flow_deactivated")


@contract(
    "memo and undo",
    "A flow that is to be undone as a whole undoes its steps from the last to the first, one by one.",
)
def test_a_flow_is_undone_from_the_last_step_to_the_first(outside: Outside) -> None:
    undo = {"compensate": outside.undone_at("undo")}
    for id, name in (("a", "x"), ("b", "y"), ("c", "z")):
        outside.desk.answer(id, {name: id})
    outside.desk.answer("d", Reply(400))
    outside.register(
        outside.service("a", "", "x", http=undo),
        outside.service("b", "x", "y", http=undo),
        outside.service("c", "y", "z"),
        outside.service("d", "z", "end"),
    )
    state = outside.end(outside.start("d", compensate="flow"))
    undone = [call.headers["Argyll-Step-ID"] for call in outside.desk.calls("undo")]
    assert (state["status"], undone, outside.desk.most_active["undo"]) == ("failed", ["b", "a"], 1)
    left = outside.end(outside.start("d"))
    assert (left["status"], len(outside.desk.calls("undo"))) == ("failed", 2)


@contract(
    "memo and undo",
    "A cancelled flow is undone once nothing is active any more; a cancel meanwhile changes nothing.",
)
def test_a_cancelled_flow_is_undone_once_nothing_is_active(outside: Outside) -> None:
    outside.desk.answer("a", {"x": 1})
    outside.desk.answer("b", {"y": 1})
    outside.desk.hold("b", "undo")
    outside.register(
        outside.service("a", "", "x", http={"compensate": outside.undone_at("undo")}),
        outside.service("b", "x", "y"),
    )
    flow = outside.start("b", compensate="flow")
    outside.desk.await_calls("b")
    outside.http.post(f"/engine/flow/{flow}/cancel")
    assert outside.desk.calls("undo") == []
    outside.desk.release("b")
    outside.desk.await_calls("undo")
    before = outside.events(flow)
    assert outside.http.post(f"/engine/flow/{flow}/cancel").status_code == 200
    assert outside.events(flow) == before
    outside.desk.release("undo")
    assert [item["status"] for item in items(outside.end(flow), "a")] == ["compensated"]


@contract("memo and undo", "Undoing a whole flow is refused for a plan with flow steps.")
def test_a_plan_with_flow_steps_can_not_be_undone(outside: Outside) -> None:
    outside.register(outside.script("one", "", "a", lua="return {a = 1}"), sub_flow("f1", "one", gives="a"))
    start = {"goals": ["f1"], "init": {}, "compensate": "flow"}
    refused(outside.http.post("/engine/flow", json=start), 400)
