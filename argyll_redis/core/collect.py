"""Values on their way: what a work item gets, what a step provides, what a flow results in.

All are functions of a state. Lists of a `for_each` step and the result of a flow are worked out here
and never stored in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from argyll_redis.core.model import JSON, Attribute, Step, StepId
from argyll_redis.core.state import View, WorkItem, WorkStatus


def count_items(step: Step, inputs: Mapping[str, JSON]) -> int:
    """How many work items a step has with these inputs; nothing is expanded. Inputs are by inner
    name, those of `for_each` are arrays."""
    if not step.for_each:
        return 1
    return prod(len(inputs[attribute.inner]) for attribute in present_for_each(step, inputs))


def present_for_each(step: Step, inputs: Mapping[str, JSON]) -> list[Attribute]:
    """The `for_each` inputs that the step has: an optional one may have been left out."""
    return [attribute for attribute in step.for_each if attribute.inner in inputs]


def for_each_inputs(step: Step, inputs: Mapping[str, JSON], index: int) -> dict[str, JSON]:
    """The elements that make up one work item, by *attribute* name: the cartesian product of the
    `for_each` arrays in name order, the first name slowest."""
    elements: dict[str, JSON] = {}
    for attribute in reversed(present_for_each(step, inputs)):
        array = inputs[attribute.inner]
        index, place = divmod(index, len(array))
        elements[attribute.name] = array[place]
    return dict(sorted(elements.items()))


def item_inputs(step: Step, inputs: Mapping[str, JSON], index: int) -> dict[str, JSON]:
    """All inputs of one work item, by inner name. Meta inputs are filled in at the call."""
    if not step.for_each:
        return dict(inputs)
    elements = for_each_inputs(step, inputs, index)
    return {**inputs, **{step.attributes[name].inner: value for name, value in elements.items()}}


def output_values(view: View, step_id: StepId, attribute: str) -> JSON:
    """What a step provides as an attribute. Without `for_each` that is its item's output; with it a
    list in item order, one object per succeeded item that provided it: the item's `for_each` inputs
    and the output, under their attribute names."""
    step = view.plan.steps[step_id]
    run = view.step(step_id)
    if not step.for_each:
        item = view.item(step_id, 0)
        return item.outputs[attribute] if item and item.outputs else None
    rows: list[JSON] = []
    for index in range(run.size):
        item = view.item(step_id, index)
        if item is not None and provides(item, attribute):
            elements = for_each_inputs(step, run.inputs, index)
            rows.append({**elements, attribute: (item.outputs or {})[attribute]})
    return rows


def provides(item: WorkItem, attribute: str) -> bool:
    """Whether a work item gave an output."""
    return item.status is WorkStatus.SUCCEEDED and item.outputs is not None and attribute in item.outputs


def provided_outputs(view: View, step_id: StepId) -> list[str]:
    """The declared outputs that a completed step provides, in name order. A `for_each` step always
    provides its lists, be they empty; another step what its item returned."""
    step = view.plan.steps[step_id]
    names = [attribute.name for attribute in step.outputs]
    if step.for_each:
        return names
    item = view.item(step_id, 0)
    return [name for name in names if item is not None and provides(item, name)]


def result_of(view: View) -> dict[str, JSON]:
    """What each goal provided for its declared outputs, by attribute name, in goal order; where two
    goals provide one name, the later wins. A goal that was left out gives the initial values."""
    result: dict[str, JSON] = {}
    for goal in view.plan.goals:
        if goal in view.plan.steps:
            for attribute in view.plan.steps[goal].outputs:
                for value in view.values(attribute.name):
                    if value.step == goal:
                        result[attribute.name] = value.value
        else:
            for name in view.plan.excluded["satisfied"][goal]:
                result[name] = view.values(name)[0].value
    return result
