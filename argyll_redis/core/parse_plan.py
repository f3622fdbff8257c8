"""A plan that comes from outside, within a log that is imported.

Plans of the engine's own are made by `make_plan` and not checked when they are read back. One in a
file may hold anything, so it passes only when it is what `plan_to_json` would have written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from argyll_redis.core.graph import Cycle
from argyll_redis.core.limits import MAX_CHILD_DEPTH, MAX_PLAN_STEPS
from argyll_redis.core.model import JSON, Plan
from argyll_redis.core.parse import parse_step, step_to_json
from argyll_redis.core.plan_json import plan_from_json, plan_to_json
from argyll_redis.core.values import shown
from argyll_redis.errors import InvalidInput, InvalidStep, Problem

EXCLUDED = frozenset({"satisfied", "missing", "blocked"})
MEND = "import what was exported, as it is"


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)  # pyright: ignore[reportUnknownVariableType]


def _is_map(value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(map(holds, value.values()))  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_use(value: Any) -> bool:
    return _is_map(value, _is_names) and value.keys() == {"providers", "consumers"}


SHAPE: Mapping[str, Callable[[Any], bool]] = {
    "goals": _is_names,
    "required": _is_names,
    "steps": lambda value: _is_map(value, lambda each: isinstance(each, dict)),
    "children": lambda value: _is_map(value, lambda each: isinstance(each, dict)),
    "attributes": lambda value: _is_map(value, _is_use),
    "excluded": lambda value: (
        _is_map(value, lambda each: _is_map(each, _is_names)) and value.keys() == EXCLUDED
    ),
    "why": lambda value: _is_map(value, _is_text),
}
"""Each field of a plan, and of what kind it is."""


def parse_plan(data: JSON, path: str = "plan") -> Plan:
    """Reads a plan. Raises `InvalidInput` that says what is wrong with it."""
    problems = list(_problems(data, path, depth=0))
    if problems:
        raise InvalidInput(problems=problems)
    try:
        plan = plan_from_json(data)
    except Cycle:
        raise InvalidInput(problems=[Problem(path, "has steps that depend on each other", MEND)]) from None
    if plan_to_json(plan) != data:
        raise InvalidInput(problems=[Problem(path, "is not as this version writes plans", MEND)])
    return plan


def _problems(data: JSON, path: str, *, depth: int) -> Iterator[Problem]:
    if not isinstance(data, dict) or data.keys() != SHAPE.keys():  # pyright: ignore[reportUnknownMemberType]
        yield Problem(path, f"is not an object with {', '.join(SHAPE)}", MEND)
        return
    found = cast("dict[str, Any]", data)
    wrong = [name for name, is_right in SHAPE.items() if not is_right(found[name])]
    yield from (Problem(f"{path}.{name}", "is not what a plan holds there", MEND) for name in wrong)
    if wrong:
        return
    if len(found["steps"]) > MAX_PLAN_STEPS:
        yield Problem(f"{path}.steps", f"are more than {MAX_PLAN_STEPS:,}", MEND)
        return
    for id, definition in found["steps"].items():
        yield from _wrong_step(f"{path}.steps.{shown(id)}", id, definition)
    if depth == MAX_CHILD_DEPTH and found["children"]:
        yield Problem(f"{path}.children", f"are more than {MAX_CHILD_DEPTH} deep", MEND)
        return
    for id, child in found["children"].items():
        yield from _problems(child, f"{path}.children.{shown(id)}", depth=depth + 1)


def _wrong_step(path: str, id: str, definition: JSON) -> Iterator[Problem]:
    """A step within a plan is a definition with every default filled in."""
    try:
        step = parse_step(definition)
    except InvalidStep as error:
        for problem in error.problems:
            yield Problem(f"{path}.{problem.path}".removesuffix("."), problem.what, problem.mend)
        return
    if step.id != id or step.work.left_out or step_to_json(step) != definition:
        yield Problem(path, "is not a step with every default filled in", MEND)
