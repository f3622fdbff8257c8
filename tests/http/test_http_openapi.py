"""The description of the API says what the API does: every route and no other, every shape as it comes."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from http_words import DOUBLE, TRIPLE, api_of, client_of, mismatch

from argyll_redis.core import parse
from argyll_redis.core.model import AttributeType
from argyll_redis.http.openapi import document
from argyll_redis.http.requests import PLAN_FIELDS, QUERY_FIELDS, START_FIELDS
from argyll_redis.http.routes import ROUTES
from argyll_redis.http.schemas import COMPONENTS
from tests.api.api_apps import Apps, deactivated

pytestmark = pytest.mark.anyio


async def test_the_description_has_every_route_and_no_other(http: httpx.AsyncClient) -> None:
    described = (await http.get("/openapi.json")).json()
    found = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert found == {(route.method, route.path) for route in ROUTES}
    assert described == document(ROUTES)


def test_every_route_has_a_name_of_its_own_and_says_what_it_is_for() -> None:
    names = [route.name for route in ROUTES]
    assert len(set(names)) == len(names)
    assert [route.name for route in ROUTES if not route.says.endswith(".")] == []
    assert [route.name for route in ROUTES if not route.answers] == []


def test_every_reference_leads_to_a_schema_and_every_schema_is_used() -> None:
    named = set(re.findall(r"#/components/schemas/(\w+)", repr(document(ROUTES))))
    assert named | {"Error"} == set(COMPONENTS)


def test_the_path_of_every_route_has_its_parameters() -> None:
    for path, methods in document(ROUTES)["paths"].items():
        for operation in methods.values():
            named = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))


def test_the_fields_of_requests_are_those_that_are_read() -> None:
    assert set(COMPONENTS["Start"]["properties"]) == set(START_FIELDS)
    assert set(COMPONENTS["Query"]["properties"]) == set(QUERY_FIELDS)
    assert set(COMPONENTS["PlanRequest"]["properties"]) == set(PLAN_FIELDS)


FULL_STEP: dict[str, Any] = {
    "id": "full",
    "name": "Full",
    "type": "sync",
    "attributes": {
        "r": {"role": "required", "type": "array", "required": {"collect": "all", "for_each": True}},
        "o": {"role": "optional", "type": "number", "optional": {"default": "1", "deadline": 5}},
        "c": {"role": "const", "type": "any", "const": {"value": "{}"}},
        "m": {"role": "meta", "meta": {"key": "flow_id"}},
        "p": {"role": "output", "output": {"mapping": {"name": "q"}}},
    },
    "http": {"method": "PUT", "endpoint": "http://x/{r}", "timeout": 5, "health_check": "http://x/h"},
    "predicate": {"language": "lua", "script": "return true"},
    "memoizable": True,
    "work_config": {
        "parallelism": 2, "max_retries": 1, "init_backoff": 5, "max_backoff": 9, "backoff_type": "linear",
        "max_attempts": 3, "jitter": 0.5, "timeout": 7, "on_failure": "finish",
    },
    "labels": {"a": "b"},
}  # fmt: skip


def test_the_schema_of_a_step_knows_every_field_that_a_definition_may_have() -> None:
    """A definition with all fields parses, and the schema takes it; with any field of another name neither
    does."""
    parse.parse_step(FULL_STEP)
    assert mismatch(COMPONENTS["Step"], FULL_STEP) == ""
    sections = {"attributes", "http", "predicate", "work_config", "labels"}
    assert set(COMPONENTS["Step"]["properties"]) == {*FULL_STEP, "script", "flow", "python", *sections}
    assert set(COMPONENTS["Step"]["properties"]["work_config"]["properties"]) == set(FULL_STEP["work_config"])
    assert COMPONENTS["Attribute"]["properties"]["type"]["enum"] == [str(each) for each in AttributeType]


async def test_answers_are_as_they_are_described(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="d", for_each="many")
    def each(many: int) -> int:
        return many

    @app.step(outputs="e")
    def fails(a: int) -> int:
        raise ZeroDivisionError

    nested = {
        "id": "nested",
        "type": "flow",
        "attributes": {
            "a": {"role": "required"},
            "n": {"role": "output", "output": {"mapping": {"name": "b"}}},
        },
        "flow": {"goals": ["double"]},
    }
    await app.register_steps([DOUBLE, TRIPLE, nested])
    await apps.run(app)
    start = {"id": "f", "goals": ["triple"], "init": {"a": [2]}, "labels": {"x": "y"}, "metadata": {"m": 1}}
    asked: list[tuple[str, str, Any]] = [
        ("POST", "/engine/step", {**DOUBLE, "id": "other"}),
        ("PUT", "/engine/step/other", {**DOUBLE, "id": "other", "name": "n"}),
        ("POST", "/engine/flow", start),
        ("POST", "/engine/flow", {**start, "id": "g", "goals": ["each"], "init": {"many": [[1, 2]]}}),
        ("POST", "/engine/flow", {**start, "id": "h", "goals": ["nested"]}),
        *(("GET", f"/engine/flow/{id}{rest}", None) for id in "fgh" for rest in ("", "/status", "/events")),
        ("GET", "/engine/flow/f/why/triple", None),
        ("GET", "/engine/flow", None),
        ("POST", "/engine/flow/query", {"limit": 1}),
        ("POST", "/engine/plan", {"goals": ["triple"]}),
        ("POST", "/engine/flow/f/cancel", None),
        ("GET", "/engine/step", None),
        ("GET", "/engine/step/each", None),
        ("GET", "/engine", None),
        ("GET", "/engine/catalog", None),
        ("GET", "/engine/catalog/events", None),
        ("GET", "/engine/health", None),
        ("GET", "/engine/health/each", None),
        ("GET", "/health", None),
        ("GET", "/openapi.json", None),
        ("DELETE", "/engine/step/other", None),
    ]
    seen: set[str] = set()
    api = api_of(app)
    async with client_of(api) as http:
        for method, path, body in asked:
            answer = await http.request(method, path, json=body)
            route, _ = api._found(method, path)
            assert answer.status_code in (200, 201), answer.text
            assert mismatch(route.answers[answer.status_code].schema or {}, answer.json()) == "", path
            seen.add(route.name)
            if body and body.get("id") in ("f", "g", "h") and path == "/engine/flow":
                await deactivated(app.flow(body["id"]))
    not_json = {"show_metrics", "follow", "take_outcome"}
    assert seen | not_json == {route.name for route in ROUTES}
