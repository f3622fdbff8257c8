"""The API itself: its answers, its streams, its refusals, on three processes."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from contract_client import Json, Outside, items, output, refused, required
from contract_engines import Start
from contract_services import Reply, Services

contract = pytest.mark.contract


def done(outside: Outside, **more: Any) -> str:
    """A flow that is over."""
    outside.register(outside.script("double", "a", "b", lua="return {b = a * 2}"))
    flow = outside.start("double", init={"a": 1}, **more)
    outside.follow(flow)
    return flow


@contract("http", "Health is looked at when it is asked for, and says which service it is of.")
def test_health_is_said_by_every_process(outside: Outside) -> None:
    answers = [client.get("/health") for client in outside.clients]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert {frozenset(answer.json()) for answer in answers} == {frozenset({"service", "status", "details"})}


@contract("http", "Steps and the catalog are shown with defaults filled in, its events with their versions.")
def test_the_catalog_is_shown(outside: Outside) -> None:
    step = outside.script("double", "a", "b", lua="return {b = a * 2}")
    made = outside.http.post("/engine/step", json=step).json()
    listed = outside.clients[1].get("/engine/step").json()
    state = outside.clients[2].get("/engine").json()
    assert (set(made), listed) == ({"message", "step"}, {"steps": [made["step"]], "count": 1})
    assert (set(state), state["steps"]) == ({"steps", "version", "last_updated"}, {"double": made["step"]})
    assert outside.http.get("/engine/step/double").json() == made["step"]
    assert outside.http.get("/engine/catalog").json() == state
    last = outside.http.get("/engine/catalog/events").json()["events"][-1]
    assert (last["id"], last["type"]) == (f"{state['version']}-0", "step_registered")
    mismatch = outside.http.put("/engine/step/double", json={**step, "id": "triple"})
    refused(mismatch, 400)


@contract(
    "http",
    "Ids of flows are made fit: lower case, blanks as dashes, all else dropped; nothing left is refused.",
)
def test_an_id_is_made_fit(outside: Outside) -> None:
    outside.register(outside.script("one", "", "a", lua="return {a = 1}"))
    id = outside.id()
    assert outside.start("one", id=f"{id.upper()} Order!/7") == f"{id}-order7"
    refused(outside.http.post("/engine/flow", json={"id": "!!", "goals": ["one"], "init": {}}), 400)
    made = outside.http.post("/engine/flow", json={"goals": ["one"], "init": {}}).json()
    assert set(made) == {"message", "flow_id"}


@contract("http", "A start that can not be is refused with the field that is wrong, and nothing is started.")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"compensate": "all"}, "compensate"),
        ({"init": {"a": 1}}, "init.a"),
        ({"labels": {"a": 1}}, "labels"),
        ({"timeout": -1}, "timeout"),
        ({"gaols": []}, "did you mean `goals`"),
    ],
)
def test_a_start_that_can_not_be_is_refused(change: Json, words: str, outside: Outside) -> None:
    outside.register(outside.script("double", "a", "b", lua="return {b = a * 2}"))
    start = {"id": outside.id(), "goals": ["double"], "init": {"a": [1]}, **change}
    assert words in refused(outside.http.post("/engine/flow", json=start), 400)
    refused(outside.http.get(f"/engine/flow/{start['id']}"), 404)


@contract(
    "http",
    "The state of a flow has plan, attributes, executions; unset times are left out; `at` asks for the past.",
)
def test_a_flow_is_shown_as_it_is_and_as_it_was(outside: Outside) -> None:
    flow = done(outside, labels={"tenant": "acme"}, metadata={"who": "me"})
    state, past = outside.state(flow), outside.state(flow, at=2)
    assert set(state) == {
        *("id", "status", "created_at", "completed_at", "deactivated_at", "last_updated", "plan"),
        *("metadata", "labels", "attributes", "executions"),
    }
    assert set(state["executions"]["double"]) == {
        *("status", "started_at", "completed_at", "inputs", "outputs", "duration", "work_items")
    }
    assert [set(value) for value in state["attributes"]["b"]] == [{"value", "step", "set_at"}]
    assert set(items(state, "double")[0]) == {
        *("status", "started_at", "completed_at", "inputs", "outputs", "retry_count")
    }
    assert (past["status"], "completed_at" in past, list(past["attributes"])) == ("active", False, ["a"])
    assert len(past["executions"]["double"]["work_items"]) == 1
    for at in ("0", "x", "99"):
        refused(outside.http.get(f"/engine/flow/{flow}?at={at}"), 400)


@contract("http", "Every process answers alike: state, events, status, why.")
def test_every_process_answers_alike(outside: Outside) -> None:
    flow = done(outside)
    for path in ("", "/events", "/status", "/why/double"):
        answers = [client.get(f"/engine/flow/{flow}{path}") for client in outside.clients]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1


@contract("http", "Why a step ran, waits, was skipped or failed is told in clauses that cite versions.")
def test_why_cites_versions(outside: Outside) -> None:
    flow = done(outside)
    why = outside.http.get(f"/engine/flow/{flow}/why/double").json()
    last = len(outside.events(flow))
    assert (set(why), why["status"]) == ({"flow_id", "step", "status", "why"}, "completed")
    assert [set(clause) for clause in why["why"]] == [{"text", "version"}] * len(why["why"])
    assert all(1 <= clause["version"] <= last for clause in why["why"])
    refused(outside.http.get(f"/engine/flow/{flow}/why/nothing"), 404)


@contract(
    "http", "Lists are newest first and leave children out; a query filters, counts and pages by start time."
)
def test_flows_are_found_in_pages(outside: Outside) -> None:
    outside.register(outside.script("one", "", "a", lua="return {a = 1}"))
    flows = [outside.start("one", labels={"n": str(n % 2), "of": outside.name}) for n in range(5)]
    for flow in flows:
        outside.follow(flow)
    query = {"labels": {"of": outside.name}, "limit": 2, "sort": "recent_asc"}
    pages, cursor = [], None
    while cursor is not None or not pages:
        asked = query if cursor is None else {**query, "cursor": cursor}
        pages.append(outside.clients[len(pages) % 3].post("/engine/flow/query", json=asked).json())
        cursor = pages[-1].get("next_cursor")
    assert [row["id"] for page in pages for row in page["flows"]] == flows
    assert [(page["count"], page["total"], page["has_more"]) for page in pages] == [
        (2, 5, True),
        (2, 5, True),
        (1, 5, False),
    ]
    odd = {"labels": {"of": outside.name, "n": "1"}, "statuses": ["completed"], "id_prefix": outside.name}
    found = outside.http.post("/engine/flow/query", json=odd).json()
    assert [row["id"] for row in found["flows"]] == [flows[3], flows[1]]
    newest = outside.http.get("/engine/flow").json()
    assert [row["id"] for row in newest[:5]] == flows[::-1]
    assert set(newest[0]) == {"id", "status", "timestamp", "labels"}
    for bad in ({"limit": 1_001}, {"sort": "up"}, {"cursor": "x"}, {"statuses": ["done"]}):
        refused(outside.http.post("/engine/flow/query", json=bad), 400)


@contract(
    "http", "A stream of events goes on where the client left off, on any process, and ends with the log."
)
def test_a_stream_goes_on_on_another_process(outside: Outside) -> None:
    flow = done(outside)
    events = outside.events(flow)
    headers = {"accept": "text/event-stream", "last-event-id": "3-0"}
    with outside.clients[1].stream("GET", f"/engine/flow/{flow}/events", headers=headers) as stream:
        ids = [line.removeprefix("id: ") for line in stream.iter_lines() if line.startswith("id:")]
    assert ids == [event["id"] for event in events[3:]]
    after = outside.http.get(f"/engine/flow/{flow}/events?after=3").json()
    assert after == {"events": events[3:], "count": len(events) - 3}
    ended = {**headers, "last-event-id": events[-1]["id"]}
    assert outside.clients[2].get(f"/engine/flow/{flow}/events", headers=ended).status_code == 204


@contract("http", "A websocket gives the state and every event after it, none missed and none twice.")
def test_a_websocket_gives_the_state_and_what_follows(outside: Outside) -> None:
    outside.register(outside.service("approve", "", "approved", type="async"))
    flow = outside.start("approve")
    [call] = outside.desk.await_calls("approve")
    outside.follow(flow, "work_accepted")
    answer, messages = asyncio.run(
        listen(f"{outside.clients[1].base_url}", f"{outside.clients[2].base_url}", flow, call.webhook_path)
    )
    events = outside.events(flow)
    [item] = answer["items"]
    assert (answer["type"], item["id"], item["sequence"]) == ("subscribed", ["flow", flow], 4)
    assert [(each["sequence"], each["type"], each["data"]) for each in messages] == [
        (n, event["type"], event["data"]) for n, event in enumerate(events, 1) if n > 4
    ]


async def listen(url: str, other: str, flow: str, webhook: str) -> tuple[Json, list[Json]]:
    """Subscribes to a flow, completes it at another process, and reads to its end."""
    ask = {"sub_id": "s", "aggregate_ids": [["flow", flow]], "include_state": True}
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url.rstrip('/')}/engine/ws") as ws:
        await ws.send_json({"type": "subscribe", "data": ask})
        answer = await ws.receive_json()
        async with session.post(f"{other.rstrip('/')}{webhook}", json={"approved": True}) as posted:
            assert posted.status == 200
        messages = [await ws.receive_json()]
        while messages[-1]["type"] != "flow_deactivated":
            messages.append(await ws.receive_json())
    return answer, messages


@contract("http", "A cancel fails the flow with that word, tells python work, and again changes nothing.")
def test_a_cancel_ends_a_flow_once(outside: Outside) -> None:
    handler = {"type": "python", "python": {"handler": "answering"}}
    outside.register({"id": "ask", **handler, "attributes": {"what": required(), "answer": output()}})
    flow = outside.start("ask", init={"what": "slow"})
    outside.follow(flow, "work_started")
    first = outside.clients[1].post(f"/engine/flow/{flow}/cancel").status_code
    events = outside.follow(flow)
    again = outside.clients[2].post(f"/engine/flow/{flow}/cancel").status_code
    assert (first, again, outside.events(flow)) == (200, 200, events)
    assert outside.one(flow, "flow_failed")["by"].startswith("operator")


@contract("http", "All routes of flows answer 404 for an unknown id, in the one shape of all errors.")
def test_what_is_unknown_is_not_found(outside: Outside) -> None:
    for path in ("", "/status", "/events", "/why/a"):
        refused(outside.http.get(f"/engine/flow/no-such-flow{path}"), 404)
    refused(outside.http.post("/engine/flow/no-such-flow/cancel"), 404)
    refused(outside.http.get("/engine/step/no-such-step"), 404)
    refused(outside.http.get("/engine/health/no-such-step"), 404)


@contract("http", "Bodies have limits, half of them for steps: more is 413.")
def test_a_body_that_is_too_large_is_refused(outside: Outside) -> None:
    outside.register(outside.script("one", "", "a", lua="return {a = 1}"))
    step = outside.script("two", "", "b", lua="return {}", labels={"a": "x" * 600_000})
    refused(outside.http.post("/engine/step", json=step), 413)
    start = {"goals": ["one"], "init": {}, "metadata": {"a": "x" * 600_000}}
    assert outside.http.post("/engine/flow", json=start).status_code == 201
    start["metadata"] = {"a": "x" * 1_100_000}
    refused(outside.http.post("/engine/flow", json=start), 413)


@contract(
    "http",
    "How steps are is found out by the engines: services by their health check, functions by who has them.",
)
def test_steps_are_as_healthy_as_engines_find(start_engine: Start, services: Services) -> None:
    """An engine looks when it starts, and then once in a while."""
    outside = Outside([start_engine("--concurrency", "0").url], services.desk())
    outside.desk.answer("up", None)
    outside.desk.answer("down", Reply(503))
    outside.register(
        *(
            outside.service(f"s-{id}", http={"health_check": f"{outside.desk.url}/{id}"})
            for id in ("up", "down")
        ),
        {"id": "lost", "type": "python", "python": {"handler": "nobody-has-it"}, "attributes": {}},
    )
    assert outside.http.get("/engine/health/s-up").json()["status"] == "unknown"
    start_engine()
    found: dict[str, str] = {}
    while found.get("s-up") != "healthy" or found.get("s-down") != "unhealthy":
        health = outside.http.get("/engine/health").json()["health"]
        found = {id: each["status"] for id, each in health.items()}
    assert found == {"s-up": "healthy", "s-down": "unhealthy", "lost": "unhealthy"}
    assert outside.http.get("/engine/health/lost").json()["status"] == "unhealthy"
    outside.close()


@contract("http", "Figures are text for Prometheus, and name no flow.")
def test_figures_name_no_flow(outside: Outside) -> None:
    flow = done(outside)
    outside.http.get(f"/engine/flow/{flow}")
    answer = outside.http.get("/metrics")
    assert (answer.status_code, "# TYPE" in answer.text, flow in answer.text) == (200, True, False)
