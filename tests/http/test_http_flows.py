"""The routes of flows, in their exact shapes."""

from __future__ import annotations

import pytest
from http_words import DOUBLE, TRIPLE, api_of, client_of, refused

from argyll_redis import ACCEPTED, Argyll
from tests.api.api_apps import Apps, deactivated

pytestmark = pytest.mark.anyio


async def shop(apps: Apps) -> Argyll:
    """An engine with two script steps, and one that waits for somebody."""
    app = apps()

    @app.step(outputs="approved")
    async def approve(c: int) -> object:
        return ACCEPTED

    await app.register_steps([DOUBLE, TRIPLE])
    await apps.run(app)
    return app


START = {"id": "Order 17!", "goals": ["triple"], "init": {"a": [5]}, "labels": {"tenant": "acme"}}


async def test_a_flow_is_started_once_under_its_sanitized_id(apps: Apps) -> None:
    app = await shop(apps)
    async with client_of(api_of(app)) as http:
        started = await http.post("/engine/flow", json=START)
        again = await http.post("/engine/flow", json=START)
        other = await http.post("/engine/flow", json={**START, "init": {"a": [6]}})
        unnamed = await http.post("/engine/flow", json={"goals": ["triple"], "init": {"a": [1]}})
    assert (started.status_code, again.status_code) == (201, 201)
    assert started.json() == again.json() == {"message": "flow order-17 is started", "flow_id": "order-17"}
    assert "order-17" in refused(other, 409)
    assert len(unnamed.json()["flow_id"]) == 16
    assert await app.flow("order-17").result() == {"c": 30}


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"init": {}}, 400, "initial values for: a"),
        ({"init": {"a": 5}}, 400, "init.a: is not a list"),
        ({"init": {"a": ["x"]}}, 400, "init.a[0]: is of type string"),
        ({"goals": ["tripel"]}, 404, "tripel"),
        ({"goals": "triple"}, 400, "goals: is not a list"),
        ({"goals": []}, 400, "No goals were given"),
        ({"id": "!!!"}, 400, "id: has no character"),
        ({"id": 7}, 400, "id: is not text"),
        ({"compensate": "step"}, 400, "compensate"),
        ({"timeout": -1}, 400, "timeout: is -1"),
        ({"timeout": "1"}, 400, "timeout: is '1'"),
        ({"labels": {"a=b": "c"}}, 400, "labels.a=b: is not a label key"),
        ({"goal": ["triple"]}, 400, "goal: is not a known field (did you mean `goals`?)"),
        ({"timeout_ms": 5}, 400, "timeout_ms: is not a known field (did you mean `timeout`?)"),
    ],
)
async def test_a_start_that_cannot_be_is_refused(
    change: dict[str, object], status: int, words: str, app: Argyll
) -> None:
    async with client_of(api_of(app)) as http:
        answer = await http.post("/engine/flow", json={**START, **change})
    assert words in refused(answer, status)
    assert await app.flows() == []


async def test_a_flow_is_shown_as_it_is_and_as_it_was(apps: Apps) -> None:
    app = await shop(apps)
    async with client_of(api_of(app)) as http:
        await http.post("/engine/flow", json={**START, "metadata": {"who": ["me"]}})
        await deactivated(app.flow("order-17"))
        state = (await http.get("/engine/flow/order-17")).json()
        then = (await http.get("/engine/flow/order-17?at=1")).json()
        status = (await http.get("/engine/flow/order-17/status")).json()
        rows = (await http.get("/engine/flow")).json()
        why = (await http.get("/engine/flow/order-17/why/triple")).json()
    assert set(state) == {
        *("id", "status", "created_at", "completed_at", "deactivated_at", "last_updated", "plan"),
        *("metadata", "labels", "attributes", "executions"),
    }
    assert (state["status"], state["metadata"], state["labels"]) == (
        "completed",
        {"who": ["me"]},
        {"tenant": "acme"},
    )
    assert [value["value"] for value in state["attributes"]["c"]] == [30]
    assert {id: each["status"] for id, each in then["executions"].items()} == {
        "double": "pending",
        "triple": "pending",
    }
    assert status == {"id": "order-17", "status": "completed"}
    assert [set(row) for row in rows] == [{"id", "status", "timestamp", "labels"}]
    assert (why["flow_id"], why["step"], why["status"]) == ("order-17", "triple", "completed")
    assert all(set(clause) == {"text", "version"} for clause in why["why"])


async def test_events_are_listed_in_full_and_after_a_version(apps: Apps) -> None:
    app = await shop(apps)
    async with client_of(api_of(app)) as http:
        await http.post("/engine/flow", json=START)
        await deactivated(app.flow("order-17"))
        whole = (await http.get("/engine/flow/order-17/events")).json()
        rest = (await http.get("/engine/flow/order-17/events?after=3")).json()
        none = (await http.get("/engine/flow/order-17/events?after=999")).json()
    events = whole["events"]
    assert [event["id"] for event in events] == [f"{n}-0" for n in range(1, len(events) + 1)]
    assert whole["count"] == len(events)
    assert (events[0]["data"]["plan"]["goals"], "seed" in events[0]["data"]) == (["triple"], False)
    assert rest == {"events": events[3:], "count": len(events) - 3}
    assert none == {"events": [], "count": 0}


async def test_a_flow_is_cancelled_once(apps: Apps) -> None:
    app = await shop(apps)
    async with client_of(api_of(app)) as http:
        await http.post("/engine/flow", json={"id": "f", "goals": ["approve"], "init": {"c": [1]}})
        first = await http.post("/engine/flow/f/cancel")
        version = await app.position("f")
        again = await http.post("/engine/flow/f/cancel")
        rows = (await http.get("/engine/flow")).json()
    assert (first.status_code, first.json()) == (200, {"message": "flow f is cancelled", "flow_id": "f"})
    assert (again.status_code, again.json()["message"]) == (200, "flow f was over already")
    assert [(row["status"], row["error"]) for row in rows] == [("failed", "cancelled")]
    assert version[0] >= 2


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""), ("GET", "?at=1"), ("GET", "/status"), ("GET", "/events"), ("POST", "/cancel"),
        ("GET", "/why/double"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("flow", ["gone", "Not-One", "%20", "a%0Ab"])
async def test_an_unknown_flow_is_not_found(method: str, path: str, flow: str, app: Argyll) -> None:
    async with client_of(api_of(app)) as http:
        answer = await http.request(method, f"/engine/flow/{flow}{path}")
    assert "exists" in refused(answer, 404)


async def test_a_step_that_a_flow_does_not_know_is_not_found(app: Argyll) -> None:
    async with client_of(api_of(app)) as http:
        await http.post("/engine/flow", json=START)
        answer = await http.get("/engine/flow/order-17/why/nothing")
    assert 'no step "nothing"' in refused(answer, 404)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("?at=0", 'at: "0" is out of range'),
        ("?at=99", "at is 99"),
        ("?at=x", "use a whole number of at least 1"),
        ("?at=1&at=2", "at: is given twice"),
        ("?att=1", "att: is not a parameter of this route (did you mean `at`?)"),
        ("/events?after=-1", 'after: "-1" is out of range'),
        ("/events?after=" + "9" * 40, "is out of range"),
        ("/status?after=1", "after: is not a parameter of this route (leave it out)"),
    ],
)
async def test_a_wrong_parameter_is_named(path: str, words: str, app: Argyll) -> None:
    async with client_of(api_of(app)) as http:
        await http.post("/engine/flow", json=START)
        answer = await http.get(f"/engine/flow/order-17{path}")
    assert words in refused(answer, 400)


async def test_flows_are_found_in_pages(app: Argyll) -> None:
    async with client_of(api_of(app)) as http:
        for n in range(5):
            await http.post("/engine/flow", json={**START, "id": f"f{n}"})
        first = (await http.post("/engine/flow/query", json={"id_prefix": "f", "limit": 2})).json()
        body = {"id_prefix": "f", "limit": 100, "cursor": first["next_cursor"]}
        rest = (await http.post("/engine/flow/query", json=body)).json()
        bad = await http.post("/engine/flow/query", json={**body, "cursor": "bm8"})
    assert set(first) == {"flows", "count", "total", "has_more", "next_cursor"}
    assert (first["count"], first["total"], first["has_more"]) == (2, 5, True)
    assert (rest["count"], rest["total"], rest["has_more"], rest["next_cursor"]) == (3, 5, False, None)
    ids = [row["id"] for row in (*first["flows"], *rest["flows"])]
    assert sorted(ids) == [f"f{n}" for n in range(5)]
    assert "cursor: is not one that this query gave" in refused(bad, 400)
