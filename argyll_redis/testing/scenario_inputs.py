"""What a scenario's inputs may have beside their values: policies, gates, deadlines and mapping scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

WITH_INPUTS = 0.4
"""How many scenarios have any of it."""
CHANGED = 0.4
"""How many inputs of such a scenario have it."""
LOOSENED = 0.35
"""How many inputs of such a scenario that steps provide are optional, though they were drawn as required."""
GATES = (
    {"language": "lua", "script": 'type(value) ~= "number" or value % 4 ~= 0'},
    {"language": "lua", "script": "value > 2"},
    {"language": "jpath", "script": "$[?@ > 2]"},
)
"""The second one raises for all but numbers, the third finds something in lists alone."""
MAPPINGS = (
    {"language": "lua", "script": 'if type(value) == "table" then return value end return {value}'},
    {"language": "lua", "script": "value + 1"},
    {"language": "jpath", "script": "$[*]"},
    {"language": "jpath", "script": "$.nothing"},
)
"""The second one raises for all but numbers, the third finds nothing in them."""
DEADLINES = (0.1, 0.4, 1.5)
"""In leases."""


def draw_inputs(seed: int, steps: Sequence[dict[str, Any]], lease_ms: int) -> None:
    """Gives some attributes of steps that were drawn more than a role. From a source of its own, so that
    all else is as it would be without; nothing of it keeps a step from being planned."""
    draw = Random(f"inputs {seed}")
    if draw.random() >= WITH_INPUTS:
        return
    provided = {name for step in steps for name in _of(step, "output")}
    for step in steps:
        for name in sorted(step["attributes"]):
            spec: dict[str, Any] = step["attributes"][name]
            if spec["role"] == "required" and name in provided and draw.random() < LOOSENED:
                spec["role"], spec["optional"] = "optional", spec.pop("required", {})
            if spec["role"] == "optional" or draw.random() < CHANGED:
                _CHANGES[spec["role"]](draw, spec.setdefault(spec["role"], {}), name in provided, lease_ms)


def _of(step: Mapping[str, Any], role: str) -> list[str]:
    return [name for name, spec in step["attributes"].items() if spec["role"] == role]


def _change_required(draw: Random, given: dict[str, Any], is_provided: bool, lease_ms: int) -> None:
    """Initial values neither close a gate nor stand against `none`: those have to be provided."""
    del lease_ms
    kind = draw.random()
    if kind < 0.35:
        given["collect"] = draw.choice(("last", "some", "all", *("none",) * is_provided))
    if is_provided and 0.25 < kind < 0.7:
        given["match"] = draw.choice(GATES)
    if kind > 0.6:
        given["mapping"] = {"script": draw.choice(MAPPINGS)}


def _change_optional(draw: Random, given: dict[str, Any], is_provided: bool, lease_ms: int) -> None:
    del is_provided
    given["deadline"] = round(draw.choice(DEADLINES) * lease_ms)
    if draw.random() < 0.4:
        given["collect"] = draw.choice(("last", "some", "all", "none"))
    if draw.random() < 0.4:
        given["default"] = "[1, 2]"
    if draw.random() < 0.2:
        given["mapping"] = {"script": draw.choice(MAPPINGS)}


def _change_output(draw: Random, given: dict[str, Any], is_provided: bool, lease_ms: int) -> None:
    del is_provided, lease_ms
    if draw.random() < 0.3:
        given["mapping"] = {"script": draw.choice(MAPPINGS)}


_CHANGES = {"required": _change_required, "optional": _change_optional, "output": _change_output}
