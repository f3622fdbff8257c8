"""Flow steps for a scenario: sub-flows of the steps it has, one within another, and a step that uses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

FLOW_STEPS = 0.3
"""How many scenarios have any."""
GIVEN = ("a", "l")
"""What every step of a scenario can be reached from."""
ITEMS = ("v0", "v1")
"""The lists whose elements may be work items of the flow steps."""


def draw_flow_steps(
    seed: int, steps: Sequence[dict[str, Any]], draw_work: Callable[[Random], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Draws flow steps over steps that were drawn, and a step that uses what they provide. From a
    source of its own, so that all else is as it would be without them."""
    draw = Random(f"children {seed}")
    if draw.random() >= FLOW_STEPS:
        return []
    goal = draw.choice(steps)
    output = next(name for name, spec in goal["attributes"].items() if spec["role"] == "output")
    drawn: list[dict[str, Any]] = []
    for number in range(draw.choice((1, 1, 2))):
        drawn.append(_flow_step(draw, number, str(goal["id"]), output, draw_work(draw)))
        goal, output = drawn[-1], f"c{number}"
    attributes = {output: {"role": "required"}, "z": {"role": "output"}}
    return [*drawn, {"id": "u", "type": "python", "python": {"handler": "number"}, "attributes": attributes}]


def _flow_step(draw: Random, number: int, goal: str, output: str, work: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {name: {"role": "required"} for name in (*GIVEN, *ITEMS[: number + 1])}
    if draw.random() < 0.5:
        given[ITEMS[number]] = {"role": "required", "required": {"for_each": True}}
    provided = {"role": "output", "output": {"mapping": {"name": output}}}
    return {
        "id": f"t{number}",
        "type": "flow",
        "flow": {"goals": [goal]},
        "attributes": {**given, f"c{number}": provided},
        "work_config": work,
    }


def draw_items(seed: int) -> dict[str, list[Any]]:
    """Initial values for the flow steps of a scenario."""
    draw = Random(f"items {seed}")
    return {name: [list(range(draw.randint(0, 3)))] for name in ITEMS}
