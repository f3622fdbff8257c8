"""I-19: whether a plan is what its rules allow, as far as the plan and the initial values show.

Which steps were registered when it was made is not in a log, so that a provider is missing from a
plan cannot be seen here; that one is in it without a reason can.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from argyll_redis.core.audit_past import Findings
from argyll_redis.core.graph import Cycle, providers_first
from argyll_redis.core.limits import MAX_CHILD_DEPTH
from argyll_redis.core.model import JSON, Attribute, Collect, Plan, StepId, StepType
from argyll_redis.core.plan_json import attribute_uses

Init = Mapping[str, Sequence[JSON]]


def check_plan(plan: Plan, init: Init) -> Findings:
    """The plan of a flow, and those of its children, of whose initial values nothing is known."""
    yield from (("I-19", message) for message in _faults(plan, init))
    missing = [name for name in plan.required if not init.get(name)]
    if missing:
        yield "I-19", f"the flow was started without required initial values: {', '.join(missing)}"


def _faults(plan: Plan, init: Init | None, depth: int = 0) -> Iterator[str]:
    yield from _wrong_goals(plan, init)
    if any(id != step.id for id, step in plan.steps.items()):
        yield "the plan holds a step under another id"
    if plan.attributes != attribute_uses(plan.steps.values()):
        yield "the plan's providers and consumers are not those of its steps"
        return
    try:
        providers = {name: use.providers for name, use in plan.attributes.items()}
        providers_first(plan.steps, plan.steps.__getitem__, providers)
    except Cycle:
        yield "the steps of the plan depend on each other in a cycle"
        return
    reached = _reached(plan, init)
    for id in plan.steps:
        if id not in reached:
            yield f"step `{id}` is in the plan, and no goal needs it"
        if id not in plan.why:
            yield f"the plan does not say why step `{id}` is in it"
    for id, step in plan.steps.items():
        if step.type is StepType.FLOW and id not in plan.children:
            yield f"the plan has no plan for the children of flow step `{id}`"
    for id, child in plan.children.items():
        if id not in plan.steps or plan.steps[id].type is not StepType.FLOW:
            yield f"the plan has a plan for the children of `{id}`, which is no flow step of it"
        elif depth < MAX_CHILD_DEPTH:
            yield from _faults(child, None, depth + 1)


def _wrong_goals(plan: Plan, init: Init | None) -> Iterator[str]:
    if not plan.goals:
        yield "the plan has no goals"
    for goal in plan.goals:
        left_out = plan.excluded["satisfied"].get(goal)
        if goal not in plan.steps and left_out is None:
            yield f"goal `{goal}` is neither in the plan nor left out as satisfied"
        elif goal not in plan.steps and init is not None and not _all_given(left_out or (), init):
            yield f"goal `{goal}` is left out, and its outputs are not given initially"


def _all_given(names: Sequence[str], init: Init) -> bool:
    return bool(names) and all(init.get(name) for name in names)


def _reached(plan: Plan, init: Init | None) -> dict[StepId, None]:
    """The steps that the goals need by the rules of planning."""
    reached = dict.fromkeys(goal for goal in plan.goals if goal in plan.steps)
    todo = list(reached)
    while todo:
        for attribute in plan.steps[todo.pop()].inputs:
            if not _is_given(attribute, init):
                for id in plan.attributes[attribute.name].providers:
                    if id not in reached:
                        reached[id] = None
                        todo.append(id)
    return reached


def _is_given(attribute: Attribute, init: Init | None) -> bool:
    """Whether an initial value surely satisfies an input; behind a gate that is not sure."""
    is_simple = attribute.collect is Collect.FIRST and attribute.match is None
    return is_simple and init is not None and bool(init.get(attribute.name))
