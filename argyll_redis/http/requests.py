"""From bodies to the arguments of the app's methods, with their problems named as the bodies name things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argyll_redis.core.model import JSON
from argyll_redis.core.parse_request import parse_goals, parse_init
from argyll_redis.core.reader import Reader
from argyll_redis.errors import InvalidInput, Problem
from argyll_redis.steps.context import Values

START_FIELDS = ("id", "goals", "init", "labels", "metadata", "compensate", "timeout")
QUERY_FIELDS = ("id_prefix", "labels", "statuses", "limit", "sort", "cursor")
PLAN_FIELDS = ("goals", "init")


def read_plan(body: Mapping[str, JSON]) -> tuple[list[str], dict[str, Values]]:
    """Reads goals and initial values, name to list. Raises `NoGoals`, `InvalidInput`."""
    _refuse_unknown(body, PLAN_FIELDS)
    return list(parse_goals(body.get("goals"))), _values(body.get("init"))


def read_start(body: Mapping[str, JSON]) -> dict[str, Any]:
    """Reads a start, as `Argyll.start_many` takes it. Raises `NoGoals`, `InvalidInput`."""
    _refuse_unknown(body, START_FIELDS)
    return {
        "id": body.get("id"),
        "goals": list(parse_goals(body.get("goals"))),
        "init": _values(body.get("init")),
        "labels": body.get("labels"),
        "metadata": body.get("metadata"),
        "compensate": body.get("compensate"),
        "timeout_ms": body.get("timeout"),
    }


def read_query(body: Mapping[str, JSON]) -> dict[str, Any]:
    """Reads a query, as `Argyll.query` takes it. Raises `InvalidInput`."""
    _refuse_unknown(body, QUERY_FIELDS)
    return {name: value for name, value in body.items() if value is not None}


def named_as_given(error: Exception) -> Exception:
    """A refused start with its problems named as the body names things."""
    if not isinstance(error, InvalidInput) or not error.problems:
        return error
    return InvalidInput(
        problems=[
            Problem("timeout" if each.path == "timeout_ms" else each.path, each.what, each.mend)
            for each in error.problems
        ]
    )


def _values(init: JSON) -> dict[str, Values]:
    return {name: Values(*values) for name, values in parse_init(init).items()}


def _refuse_unknown(body: Mapping[str, JSON], known: tuple[str, ...]) -> None:
    problems: list[Problem] = []
    reader = Reader(body, problems=problems)
    reader.asked.update(known)
    reader.finish()
    if problems:
        raise InvalidInput(problems=problems)
