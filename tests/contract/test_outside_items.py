"""Work items and what becomes of their calls, from outside."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from contract_client import (
    QUICK,
    Outside,
    each,
    items,
    output,
    problem,
    required,
    types,
    values,
)
from contract_services import Reply

contract = pytest.mark.contract


# ------------------------------------------------------------------------- items


@contract(
    "items", "Several lists make every combination, in order of attribute names, the first one slowest."
)
def test_several_lists_make_every_combination(outside: Outside) -> None:
    outside.desk.answer("pair", lambda call: {"pair": f"{call.body['a']}{call.body['b']}"})
    outside.register(outside.service("pair", {"b": each(), "a": each(), "c": required()}, "pair"))
    state = outside.run("pair", init={"b": ["x", "y"], "a": [1, 2], "c": 0})
    [rows] = values(state, "pair")
    assert [row["pair"] for row in rows] == ["1x", "1y", "2x", "2y"]
    assert rows[0] == {"a": 1, "b": "x", "pair": "1x"}


@contract("items", "Items start in item order, and at most `parallelism` of a step at once in a flow.")
def test_no_more_items_run_than_the_parallelism_allows(outside: Outside) -> None:
    outside.desk.hold("charge")
    outside.register(outside.service("charge", {"order": each()}, "paid", work_config={"parallelism": 3}))
    flow = outside.start("charge", init={"order": list(range(9))})
    begun = [call.body["order"] for call in outside.desk.await_calls("charge", 3)]
    active = [item["status"] for item in items(outside.state(flow), "charge")]
    outside.desk.release("charge")
    assert (sorted(begun), active) == ([0, 1, 2], ["active"] * 3 + ["pending"] * 6)
    assert (outside.end(flow)["status"], outside.desk.most_active["charge"]) == ("completed", 3)


@contract("items", "An item that waits for its retry frees its slot.")
def test_a_waiting_retry_frees_its_slot(outside: Outside) -> None:
    outside.desk.answer("charge", lambda call: Reply(503) if call.body["order"] == 1 else {"paid": 1})
    slow = {"init_backoff": 600_000, "max_backoff": 600_000}
    outside.register(outside.service("charge", {"order": each()}, "paid", work_config=slow))
    flow = outside.start("charge", init={"order": [1, 2, 3]})
    outside.follow(flow, "work_succeeded", 2)
    assert [call.body["order"] for call in outside.desk.calls("charge")] == [1, 2, 3]
    outside.http.post(f"/engine/flow/{flow}/cancel")


@contract(
    "items",
    "A value that is no list fails a step that splits it, naming the input; too many items fail it as well.",
)
def test_what_cannot_be_split_fails_the_step(outside: Outside) -> None:
    outside.register(outside.service("charge", {"order": each(), "b": each()}, "paid"))
    no_list = outside.run("charge", init={"order": 5, "b": [1]})
    many = outside.run("charge", init={"order": list(range(200)), "b": list(range(51))})
    assert (no_list["status"], "order" in no_list["error"]) == ("failed", True)
    assert (many["status"], "10200" in many["error"].replace(",", ""), outside.desk.calls("charge")) == (
        "failed",
        True,
        [],
    )


@contract("items", "`finish` runs all items and then fails, `tolerate` completes with what succeeded.")
@pytest.mark.parametrize(("on_failure", "status"), [("finish", "failed"), ("tolerate", "completed")])
def test_on_failure_says_what_one_failed_item_means(on_failure: str, status: str, outside: Outside) -> None:
    outside.desk.answer("charge", lambda call: Reply(400) if call.body["order"] == 1 else {"paid": 1})
    outside.register(
        outside.service("charge", {"order": each()}, "paid", work_config={"on_failure": on_failure})
    )
    state = outside.run("charge", init={"order": [1, 2, 3]})
    assert [item["status"] for item in items(state, "charge")] == ["failed", "succeeded", "succeeded"]
    assert (state["status"], len(outside.desk.calls("charge"))) == (status, 3)
    rows = [[{"order": 2, "paid": 1}, {"order": 3, "paid": 1}]]
    assert values(state, "paid") == (rows if status == "completed" else [])


@contract("items", "Each item has a token of its own, 128 bits that do not follow from anything shown.")
def test_tokens_differ_and_the_seed_is_not_shown(outside: Outside) -> None:
    outside.register(outside.service("charge", {"order": each()}, "paid"))
    flows = [outside.start("charge", init={"order": [1, 2]}) for _ in range(2)]
    tokens = [token for flow in flows for token in outside.end(flow)["executions"]["charge"]["work_items"]]
    assert ([len(token) for token in tokens], len(set(tokens))) == ([32] * 4, 4)
    assert "seed" not in outside.http.get(f"/engine/flow/{flows[0]}/events").text


# ------------------------------------------------------------------------- calls


@contract(
    "outcomes",
    "A call has the inputs as its body, headers that name the attempt, and values escaped in its URL.",
)
def test_a_call_says_what_it_is_for(outside: Outside) -> None:
    outside.desk.answer("look", {"customer": "ada"})
    outside.register(
        outside.service(
            "look",
            "id",
            "customer",
            http={"method": "GET", "endpoint": f"{outside.desk.url}/look/{{id}}"},
        ),
        outside.service("greet", "customer id", "greeting", http={"method": "PUT"}),
    )
    flow = outside.start("greet", init={"id": "a/b ?"})
    outside.end(flow)
    [look], [greet] = outside.desk.calls("look"), outside.desk.calls("greet")
    assert (look.method, look.path, look.text) == ("GET", "a%2Fb%20%3F", "")
    assert (greet.method, greet.body) == ("PUT", {"customer": "ada", "id": "a/b ?"})
    named = [greet.headers[f"Argyll-{name}"] for name in ("Flow-ID", "Step-ID", "Attempt")]
    assert (named, "Argyll-Webhook-URL" in greet.headers) == ([flow, "greet", "1"], False)
    assert greet.token in outside.state(flow)["executions"]["greet"]["work_items"]


@contract("outcomes", "2xx with an object or nothing succeeds; a cut body, 5xx and 429 are tried again.")
@pytest.mark.parametrize(
    "bad", [Reply(500), Reply(503), Reply(429), Reply(is_cut=True)], ids=["500", "503", "429", "cut"]
)
def test_what_may_pass_is_tried_again(bad: Reply, outside: Outside) -> None:
    outside.desk.answer("charge", bad, {"paid": 1})
    outside.desk.answer("mail", None)
    outside.register(
        outside.service("charge", "", "paid", work_config=QUICK), outside.service("mail", "paid", "")
    )
    state = outside.run("mail")
    assert (state["status"], items(state, "charge")[0]["retry_count"]) == ("completed", 1)
    first, second = outside.desk.calls("charge")
    assert (first.token, first.attempt, second.attempt) == (second.token, 1, 2)


@contract(
    "outcomes", "Other 4xx, 3xx and a 2xx that is no object fail for good, with the words of the service."
)
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (Reply(400, "no such card"), "no such card"),
        (Reply(404), "404"),
        (Reply(304), "304"),
        (Reply(200, "[1]"), "object"),
        (Reply(200, "hello"), "JSON"),
        (Reply(422, '{"detail": "too old"}', {"content-type": "application/problem+json"}), "too old"),
    ],
    ids=["400", "404", "304", "list", "text", "problem"],
)
def test_a_refusal_is_for_good(bad: Reply, words: str, outside: Outside) -> None:
    outside.desk.answer("charge", bad)
    outside.register(outside.service("charge", "", "paid", work_config=QUICK))
    state = outside.run("charge")
    assert (state["status"], len(outside.desk.calls("charge"))) == ("failed", 1)
    assert words in state["error"]


@contract("outcomes", "`Retry-After` replaces the computed delay, as seconds or as a date.")
def test_retry_after_replaces_the_delay(outside: Outside) -> None:
    past = formatdate(time.time() - 60, usegmt=True)
    outside.desk.answer(
        "seconds", Reply(429, headers={"Retry-After": "0"}), Reply(503, headers={"Retry-After": "7200"})
    )
    outside.desk.answer("date", Reply(429, headers={"Retry-After": past}), {"b": 1})
    outside.register(outside.service("seconds", "", "a"), outside.service("date", "", "b"))
    flow = outside.start("seconds", "date")
    outside.follow(flow, "work_retry_scheduled", 2, step="seconds")
    outside.follow(flow, "step_completed", step="date")
    delays = [
        event["data"]["delay_ms"]
        for event in outside.of_type(flow, "work_retry_scheduled")
        if event["data"]["step"] == "seconds"
    ]
    assert (delays[0] <= 1, delays[1]) == (True, 7_200_000)
    outside.http.post(f"/engine/flow/{flow}/cancel")


@contract("outcomes", "A call that takes too long is not completed; the budget of retries ends it.")
def test_a_call_that_takes_too_long_is_not_completed(outside: Outside) -> None:
    outside.desk.hold("charge")
    policy = {"max_retries": 1, "init_backoff": 1}
    outside.register(outside.service("charge", "", "paid", http={"timeout": 500}, work_config=policy))
    flow = outside.start("charge")
    state = outside.end(flow)
    assert (state["status"], len(outside.desk.calls("charge"))) == ("failed", 2)
    assert types(outside.events(flow)).count("work_not_completed") == 2


@contract(
    "outcomes", "Delays grow as the policy says, up to the longest; `max_attempts` bounds starts of any kind."
)
@pytest.mark.parametrize(
    ("backoff", "delays"), [("fixed", [2, 2, 2]), ("linear", [2, 4, 5]), ("exponential", [2, 4, 5])]
)
def test_delays_grow_as_the_policy_says(backoff: str, delays: list[int], outside: Outside) -> None:
    outside.desk.answer("charge", Reply(500))
    policy = {
        "init_backoff": 2,
        "max_backoff": 5,
        "backoff_type": backoff,
        "max_attempts": 4,
        "max_retries": 9,
    }
    outside.register(outside.service("charge", "", "paid", work_config=policy))
    flow = outside.start("charge")
    assert (outside.end(flow)["status"], len(outside.desk.calls("charge"))) == ("failed", 4)
    found = [event["data"]["delay_ms"] for event in outside.of_type(flow, "work_retry_scheduled")]
    assert found == delays


@contract("outcomes", "Retries start no earlier than their delay.")
def test_a_retry_waits_for_its_delay(outside: Outside) -> None:
    outside.desk.answer("charge", Reply(500), Reply(500), {"paid": 1})
    outside.register(
        outside.service("charge", "", "paid", work_config={"init_backoff": 60, "backoff_type": "fixed"})
    )
    flow = outside.start("charge")
    outside.end(flow)
    scheduled = [event["at"] for event in outside.of_type(flow, "work_retry_scheduled")]
    started = [event["at"] for event in outside.of_type(flow, "work_started")][1:]
    assert [then - at >= 60 for at, then in zip(scheduled, started, strict=True)] == [True, True]


@contract(
    "outcomes", "A webhook's object is a success; a problem with 5xx or 429 is tried again, any other fails."
)
@pytest.mark.parametrize("status", [503, 429])
def test_a_webhook_says_what_came_of_the_work(status: int, outside: Outside) -> None:
    outside.register(
        outside.service("approve", "", "approved", type="async", work_config=QUICK),
        outside.service("refuse", "", "refused", type="async", work_config=QUICK),
    )
    flow, other = outside.start("approve"), outside.start("refuse")
    [first] = outside.desk.await_calls("approve")
    assert outside.clients[0].post(first.webhook_path, **problem(status, title="busy")).status_code == 200
    second = outside.desk.await_calls("approve", 2)[1]
    assert outside.clients[1].post(second.webhook_path, json={"approved": True}).status_code == 200
    [call] = outside.desk.await_calls("refuse")
    assert (
        outside.clients[2].post(call.webhook_path, **problem(403, title="no", detail="not you")).status_code
        == 200
    )
    assert (outside.end(flow)["status"], outside.end(other)["status"]) == ("completed", "failed")
    assert (first.token, outside.result(flow)) == (second.token, {"approved": True})
    assert "not you" in outside.state(other)["error"]
    assert len(outside.desk.calls("refuse")) == 1


@contract(
    "outcomes", "A refused call of an async step is judged as any call; one that was accepted stays active."
)
def test_an_async_call_is_judged_like_any_other(outside: Outside) -> None:
    outside.desk.answer("approve", Reply(503), Reply(202, "whatever"))
    outside.desk.answer("refuse", Reply(410))
    outside.register(
        outside.service("approve", "", "approved", type="async", work_config=QUICK),
        outside.service("refuse", "", "refused", type="async", work_config=QUICK),
    )
    assert outside.run("refuse")["status"] == "failed"
    flow = outside.start("approve")
    outside.follow(flow, "work_accepted", attempt=2)
    assert items(outside.state(flow), "approve")[0]["status"] == "active"
    outside.http.post(f"/engine/flow/{flow}/cancel")


# ----------------------------------------------------------------- python, scripts


def python(outside: Outside, **more: object) -> dict[str, object]:
    return {
        "id": "ask",
        "type": "python",
        "python": {"handler": "answering", **more},
        "attributes": {"what": required(), "answer": output()},
        "work_config": QUICK,
    }


@contract(
    "outcomes",
    "A python step: what it raises is tried again, unless it says or the step lists that it is for good.",
)
def test_what_a_python_step_raises_is_judged(outside: Outside) -> None:
    outside.register(python(outside, permanent=["Declined"]))
    flows = {
        what: outside.run("ask", init={"what": what})
        for what in ("hello", "raise", "later", "fail", "decline", "no json")
    }
    ends = {what: (state["status"], items(state, "ask")[0]["retry_count"]) for what, state in flows.items()}
    assert ends == {
        "hello": ("completed", 0),
        "raise": ("completed", 1),
        "later": ("completed", 1),
        "fail": ("failed", 0),
        "decline": ("failed", 0),
        "no json": ("failed", 0),
    }


@contract(
    "outcomes", "A python step may leave its outcome to others: it is completed by its token, by any process."
)
def test_a_python_step_is_completed_by_its_token(outside: Outside) -> None:
    outside.register(python(outside))
    flow = outside.start("ask", init={"what": "accept"})
    token = outside.follow(flow, "work_accepted")[-1]["data"]["token"]
    answer = outside.clients[2].post(f"/webhook/{flow}/ask/{token}", json={"answer": 42})
    assert (answer.status_code, outside.end(flow)["status"], outside.result(flow)) == (
        200,
        "completed",
        {"answer": 42},
    )


@contract("outcomes", "A script fails for good, and its error says what and where.")
def test_an_error_of_a_script_is_for_good(outside: Outside) -> None:
    outside.register(outside.script("bad", "", "b", lua="local a = 1\nerror('boom')", work_config=QUICK))
    flow = outside.start("bad")
    state = outside.end(flow)
    assert (state["status"], "boom" in state["error"], "line 2" in state["error"]) == ("failed", True, True)
    assert len(outside.of_type(flow, "work_started")) == 1
