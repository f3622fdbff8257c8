"""The description of the API, as an OpenAPI document made from the table of routes."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from argyll_redis import __version__
from argyll_redis.http.route import Answer, Route
from argyll_redis.http.schemas import COMPONENTS, ref
from argyll_redis.http.stream import MEDIA_TYPE
from argyll_redis.http.webhook import ATTEMPT, PROBLEM

VERSION = "3.1.0"
STREAMED = "list_events"
"""The route that answers with a stream when it is asked to."""
TAKES_PROBLEMS = "take_outcome"


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """Describes these routes."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": VERSION,
        "info": {"title": "argyll", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": dict(COMPONENTS),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    answers = {str(status): _answer(route, status, answer) for status, answer in route.answers.items()}
    found: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.says,
        "parameters": _parameters(route),
        "responses": {**answers, "default": _error()},
        "security": [{"key": []}] if route.role else [],
    }
    if route.role:
        found["x-role"] = route.role.word
    if route.body is not None:
        found["requestBody"] = {"required": True, "content": _content(route)}
        found["x-max-body-bytes"] = route.max_body_bytes
    return found


def _content(route: Route) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": route.body}}
    if route.name == TAKES_PROBLEMS:
        content[PROBLEM] = {"schema": ref("Problem")}
    return content


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.names
    ]
    found += [
        {
            "name": name,
            "in": "query",
            "description": number.says,
            "schema": {"type": "integer", "minimum": number.least},
        }
        for name, number in route.numbers.items()
    ]
    if route.name == STREAMED:
        found.append({"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}})
    if route.name == TAKES_PROBLEMS:
        found.append({"name": ATTEMPT, "in": "header", "schema": {"type": "integer", "minimum": 1}})
    return found


def _answer(route: Route, status: int, answer: Answer) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if answer.schema is not None:
        content[answer.media_type] = {"schema": answer.schema}
    elif answer.media_type != "application/json":
        content[answer.media_type] = {"schema": {"type": "string"}}
    if route.name == STREAMED and status == HTTPStatus.OK:
        content[MEDIA_TYPE] = {"schema": {"type": "string"}}
    found: dict[str, Any] = {"description": answer.says}
    return {**found, "content": content} if content else found


def _error() -> dict[str, Any]:
    return {
        "description": "Refused: the error says why.",
        "content": {"application/json": {"schema": ref("Error")}},
    }
