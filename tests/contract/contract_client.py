"""What the contract tests speak in: plain HTTP, as a client in any language would, and nothing else.

Waiting is following: the events of a flow are read as they come, until the one that is waited for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import httpx
from contract_services import Desk

FOLLOW_LIMIT_S = 30
"""How long a test follows a flow; the server says that it is there more often than that."""
QUICK = {"max_retries": 3, "init_backoff": 1, "backoff_type": "fixed"}
"""Retries that nobody has to wait for."""

Json = dict[str, Any]


def required(**more: Any) -> Json:
    """A required input."""
    return {"role": "required", "required": more} if more else {"role": "required"}


def each() -> Json:
    """A required input whose elements make an item each."""
    return required(for_each=True)


def optional(**more: Any) -> Json:
    return {"role": "optional", "optional": more}


def output(type: str | None = None) -> Json:
    return {"role": "output", "type": type} if type else {"role": "output"}


def lua(script: str) -> Json:
    return {"language": "lua", "script": script}


def jpath(script: str) -> Json:
    return {"language": "jpath", "script": script}


def attributes(needs: Any, gives: str) -> Json:
    """Attributes in few words: names in a text, or inputs by name; outputs are names in a text."""
    inputs = {name: required() for name in needs.split()} if isinstance(needs, str) else dict(needs)
    return {**inputs, **{name: output() for name in gives.split()}}


class Outside:
    """A client of a test: its steps, its flows, its services, and several processes to ask."""

    def __init__(self, urls: Sequence[str], desk: Desk) -> None:
        self.desk = desk
        self.clients = [httpx.Client(base_url=url, timeout=30) for url in urls]
        self.http = self.clients[0]
        self.name = uuid4().hex[:8]
        self._flows = 0

    # ------------------------------------------------------------------- steps

    def service(
        self, id: str, needs: Any = "", gives: str = "", *, http: Json | None = None, **more: Any
    ) -> Json:
        """A step that calls a service of the test's desk; `type="async"` for one that answers later."""
        return {
            "id": id,
            "type": "sync",
            "http": {"endpoint": f"{self.desk.url}/{id}", **(http or {})},
            "attributes": attributes(needs, gives),
            **more,
        }

    def script(self, id: str, needs: Any = "", gives: str = "", *, lua: str, **more: Any) -> Json:
        """A step that is a script."""
        return {
            "id": id,
            "type": "script",
            "script": {"language": "lua", "script": lua},
            "attributes": attributes(needs, gives),
            **more,
        }

    def undone_at(self, id: str) -> str:
        """The URL of a service that undoes."""
        return f"{self.desk.url}/{id}"

    def register(self, *steps: Json) -> None:
        """Registers steps, one request each."""
        for step in steps:
            answer = self.http.post("/engine/step", json=step)
            assert answer.status_code == 201, answer.text

    def forget_steps(self) -> None:
        """Removes all steps, so that the next test finds none."""
        for step in self.http.get("/engine/step").json()["steps"]:
            self.http.delete(f"/engine/step/{step['id']}")

    # ------------------------------------------------------------------- flows

    def id(self) -> str:
        """The id of a flow that nobody else has."""
        self._flows += 1
        return f"{self.name}-{self._flows}"

    def start(self, *goals: str, init: Mapping[str, Any] | None = None, **more: Any) -> str:
        """Starts a flow; `init` has one value of each attribute."""
        request = {"goals": list(goals), "init": {name: [value] for name, value in (init or {}).items()}}
        answer = self.http.post("/engine/flow", json={"id": self.id(), **request, **more})
        assert answer.status_code == 201, answer.text
        return answer.json()["flow_id"]

    def follow(self, flow: str, type: str = "", number: int = 1, **data: Any) -> list[Json]:
        """Follows a flow until so many events of a type, with these in their data, have come; without a
        type to the end of its log. Gives all events up to there."""
        events: list[Json] = []
        limit_s = time.monotonic() + FOLLOW_LIMIT_S
        headers = {"accept": "text/event-stream"}
        with self.http.stream("GET", f"/engine/flow/{flow}/events", headers=headers) as stream:
            for line in stream.iter_lines():
                assert time.monotonic() < limit_s, f"waits for {type or 'the end'} after {types(events)}"
                if not line.startswith("data:"):
                    continue
                events.append(json.loads(line.removeprefix("data:")))
                number -= events[-1]["type"] == type and data.items() <= events[-1]["data"].items()
                if not number:
                    return events
        assert not type, f"no {type} with {data} in {types(events)}"
        return events

    def end(self, flow: str) -> Json:
        """The state of a flow once it is deactivated."""
        self.follow(flow)
        return self.state(flow)

    def run(self, *goals: str, init: Mapping[str, Any] | None = None, **more: Any) -> Json:
        """Starts a flow and gives its last state."""
        return self.end(self.start(*goals, init=init, **more))

    def result(self, flow: str) -> Any:
        """What a completed flow gave."""
        return self.one(flow, "flow_completed")["data"]["result"]

    def state(self, flow: str, **query: Any) -> Json:
        answer = self.http.get(f"/engine/flow/{flow}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def events(self, flow: str) -> list[Json]:
        return self.http.get(f"/engine/flow/{flow}/events").json()["events"]

    def of_type(self, flow: str, *kinds: str) -> list[Json]:
        return [event for event in self.events(flow) if event["type"] in kinds]

    def one(self, flow: str, type: str) -> Json:
        """The only event of its type."""
        [event] = self.of_type(flow, type)
        return event

    def plan(self, *goals: str, init: Mapping[str, Any] | None = None) -> Json:
        given = {name: [value] for name, value in (init or {}).items()}
        return self.http.post("/engine/plan", json={"goals": list(goals), "init": given}).json()

    def close(self) -> None:
        for client in self.clients:
            client.close()


def types(events: Sequence[Json]) -> list[str]:
    return [event["type"] for event in events]


def statuses(state: Json) -> dict[str, str]:
    """The status of each step."""
    return {id: each["status"] for id, each in state["executions"].items()}


def items(state: Json, step: str) -> list[Json]:
    """The work items of a step, in item order."""
    return list(state["executions"][step]["work_items"].values())


def values(state: Json, name: str) -> list[Any]:
    """The values of an attribute, in the order in which they came."""
    return [each["value"] for each in state["attributes"].get(name, ())]


def refused(answer: httpx.Response, status: int) -> str:
    """The error of a refusal, which always has one shape."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert set(answer.json()) == {"error", "status"}
    assert answer.json()["status"] == status
    return answer.json()["error"]


def problem(status: int | None = None, **more: Any) -> Json:
    """A problem as the body and headers of a request."""
    body = {"status": status, **more} if status else more
    return {"content": json.dumps(body), "headers": {"content-type": "application/problem+json"}}
