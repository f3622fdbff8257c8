"""Tokens: duplicates, late answers, unknown callers, and starts that are made again, from outside."""

from __future__ import annotations

import pytest
from contract_client import QUICK, Outside, items, problem, types, values
from contract_services import Call

contract = pytest.mark.contract


def approved(outside: Outside) -> tuple[str, Call]:
    """A flow with an item that waits for its webhook, beside one that keeps the flow going."""
    outside.register(
        outside.service("approve", "", "approved", type="async"),
        outside.service("other", "", "other", type="async"),
    )
    flow = outside.start("approve", "other")
    [call] = outside.desk.await_calls("approve")
    outside.follow(flow, "work_accepted", step="approve")
    return flow, call


@contract("tokens", "Of many completions the first counts; the others are answered alike, on record once.")
def test_duplicates_are_on_record_once(outside: Outside) -> None:
    flow, call = approved(outside)
    answers = [
        client.post(call.webhook_path, json={"approved": n}).status_code
        for n in range(4)
        for client in outside.clients
    ]
    state = outside.state(flow)
    assert (answers, values(state, "approved")) == ([200] * 12, [0])
    kinds = types(outside.events(flow))
    assert (kinds.count("work_succeeded"), kinds.count("work_ignored")) == (1, 1)
    outside.http.post(f"/engine/flow/{flow}/cancel")


@contract("tokens", "Unknown flow, step and token are answered alike with 400, and nothing is written.")
def test_what_is_unknown_is_answered_alike(outside: Outside) -> None:
    flow, call = approved(outside)
    before = outside.events(flow)
    none = "0" * 32
    paths = [
        f"/webhook/{flow}/approve/{none}",
        f"/webhook/{flow}/other/{call.token}",
        f"/webhook/none/approve/{call.token}",
    ]
    answers = [client.post(path, json={}) for path in paths for client in outside.clients]
    assert {(answer.status_code, answer.text) for answer in answers} == {(400, answers[0].text)}
    assert outside.http.post(call.webhook_path, content="no json").status_code == 400
    now = [event for event in outside.events(flow) if event["data"].get("step") != "other"]
    assert now == [event for event in before if event["data"].get("step") != "other"]
    outside.http.post(f"/engine/flow/{flow}/cancel")


@contract(
    "tokens",
    "`Not completed` counts from the current attempt only; a success from any while the item is open.",
)
def test_only_a_success_counts_from_an_earlier_attempt(outside: Outside) -> None:
    outside.register(outside.service("approve", "", "approved", type="async", work_config=QUICK))
    flow = outside.start("approve")
    [call] = outside.desk.await_calls("approve")
    first = {"Argyll-Attempt": "1"}
    busy = problem(503)
    busy["headers"] |= first
    assert outside.http.post(call.webhook_path, **busy).status_code == 200
    outside.follow(flow, "work_accepted", attempt=2)
    assert outside.http.post(call.webhook_path, **busy).status_code == 200
    assert outside.http.post(call.webhook_path, json={"approved": 1}, headers=first).status_code == 200
    state = outside.end(flow)
    assert (state["status"], items(state, "approve")[0]["retry_count"]) == ("completed", 1)
    assert len(outside.desk.calls("approve")) == 2


@contract(
    "tokens",
    "The same start again, from anywhere, is a success that does nothing; another one is a conflict.",
)
def test_a_start_is_made_once(outside: Outside) -> None:
    outside.register(outside.service("approve", "order", "approved", type="async"))
    start = {"id": outside.id(), "goals": ["approve"], "init": {"order": [1]}, "labels": {"a": "b"}}
    answers = [client.post("/engine/flow", json=start) for client in outside.clients]
    assert [answer.status_code for answer in answers] == [201] * 3
    outside.forget_steps()
    assert outside.http.post("/engine/flow", json=start).status_code == 201
    outside.desk.await_calls("approve")
    for change in ({"init": {"order": [2]}}, {"labels": {}}, {"timeout": 5}, {"metadata": {"x": 1}}):
        assert outside.clients[1].post("/engine/flow", json={**start, **change}).status_code == 409
    assert types(outside.events(start["id"])).count("flow_started") == 1
    assert len(outside.desk.calls("approve")) == 1
    outside.http.post(f"/engine/flow/{start['id']}/cancel")
