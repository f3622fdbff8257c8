"""Plans as JSON: what a log keeps by its hash and the API shows. Equal plans give equal bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from argyll_redis.core.graph import rank
from argyll_redis.core.model import JSON, AttributeUse, Plan, Step, StepId
from argyll_redis.core.step_json import step_from_json, step_to_json


def attribute_uses(steps: Iterable[Step]) -> dict[str, AttributeUse]:
    """Who provides and who consumes each attribute among steps in id order, by attribute name."""
    providers: dict[str, list[StepId]] = {}
    consumers: dict[str, list[StepId]] = {}
    for step in steps:
        for output in step.outputs:
            providers.setdefault(output.name, []).append(step.id)
        for attribute in step.inputs:
            consumers.setdefault(attribute.name, []).append(step.id)
    return {
        name: AttributeUse(tuple(providers.get(name, ())), tuple(consumers.get(name, ())))
        for name in sorted(providers.keys() | consumers.keys())
    }


def has_gates(steps: Iterable[Step]) -> bool:
    """Whether any input of any step has a match."""
    return any(attribute.match is not None for step in steps for attribute in step.inputs)


def plan_to_json(plan: Plan) -> dict[str, JSON]:
    """The plan as JSON, keys and names in a fixed order."""
    return {
        "goals": list(plan.goals),
        "required": list(plan.required),
        "steps": {id: step_to_json(step) for id, step in plan.steps.items()},
        "children": {id: plan_to_json(child) for id, child in plan.children.items()},
        "attributes": {
            name: {"providers": list(use.providers), "consumers": list(use.consumers)}
            for name, use in plan.attributes.items()
        },
        "excluded": {
            kind: {id: list(names) for id, names in steps.items()} for kind, steps in plan.excluded.items()
        },
        "why": dict(plan.why),
    }


def plan_from_json(data: Mapping[str, JSON]) -> Plan:
    """Reads a plan that `plan_to_json` wrote, without checking it again."""
    steps = {StepId(id): step_from_json(step) for id, step in data["steps"].items()}
    return Plan(
        goals=tuple(data["goals"]),
        required=tuple(data["required"]),
        steps=steps,
        attributes={
            name: AttributeUse(tuple(use["providers"]), tuple(use["consumers"]))
            for name, use in data["attributes"].items()
        },
        excluded={
            kind: {id: tuple(names) for id, names in left_out.items()}
            for kind, left_out in data["excluded"].items()
        },
        why=data["why"],
        children={id: plan_from_json(child) for id, child in data["children"].items()},
        rank=rank(steps),
        has_gates=has_gates(steps.values()),
    )
