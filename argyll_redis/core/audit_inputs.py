"""Whether what steps get, and how long they wait for it, is what their declarations say: I-09, I-16."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from argyll_redis.core import events as e
from argyll_redis.core.audit_past import EARLY_MS, Findings, Past, not_planned
from argyll_redis.core.inputs import literal
from argyll_redis.core.limits import MAX_ITEMS
from argyll_redis.core.model import JSON, Attribute, Collect, Role, Step, StepId
from argyll_redis.core.sources import sources_of
from argyll_redis.core.state import StepStatus


def check_inputs(past: Past, step: Step, inputs: Mapping[str, JSON]) -> Findings:
    """What a step gets is what its policies give: by reference, or a default or const."""
    inputs = sources_of(past.flow, step, inputs, before=past.recorded.version)
    declared = {each.inner: each for each in (*step.inputs, *step.constants)}
    for inner in inputs:
        if inner not in declared:
            yield "I-09", f"step `{step.id}` is started with `{inner}`, which is no input of it"
    for inner, attribute in declared.items():
        wrong = _wrong_input(past, step.id, attribute, inputs.get(inner))
        if wrong:
            yield "I-09", f"step `{step.id}` is started with input `{attribute.name}` {wrong}"


def _wrong_input(
    past: Past, step: StepId, attribute: Attribute, source: Mapping[str, JSON] | None
) -> str | None:
    """What is wrong with one recorded input; None when nothing is."""
    if attribute.role is Role.CONST:
        return None if source == {"value": literal(attribute.value or "null")} else "not as its const says"
    if attribute.role is Role.REQUIRED and not _is_fulfilled(past, attribute):
        return "not fulfilled"
    if past.is_undecided(step, attribute):
        return "not decided, and its deadline has not passed"
    expected = _places(past, step, attribute)
    if source is None:
        has_none = attribute.role is Role.OPTIONAL or attribute.collect is Collect.NONE
        return None if has_none else "left out"
    if "value" in source:
        return _wrong_value(attribute, source["value"], has_values=bool(expected or attribute.match))
    if source.get("attribute") != attribute.name:
        return "taken from another attribute"
    values = past.flow.values(attribute.name)
    places = source["indexes"] if "indexes" in source else [source["index"]]
    if not places or not all(0 <= place < len(values) for place in places):
        return "referring to a value that is not there"
    return None if attribute.match or places == expected else "not as its collect policy says"


def _wrong_value(attribute: Attribute, value: JSON, *, has_values: bool) -> str | None:
    """A recorded value is a default, or was made of one or of a value by a mapping; all else is a
    reference."""
    has_default = attribute.default is not None
    if attribute.has_script:
        return None if has_values or has_default else "mapped, and there is no value of it"
    is_default = attribute.default is not None and value == literal(attribute.default)
    return None if is_default else "that is neither a reference nor its default"


def _is_fulfilled(past: Past, attribute: Attribute) -> bool:
    """Whether the collect policy of an input can be met; behind a gate, whether it may be."""
    values = past.flow.values(attribute.name)
    if attribute.collect is Collect.FIRST:
        return bool(values)
    if not past.providers_over(attribute.name):
        return False
    if attribute.collect is Collect.NONE:
        return not values or attribute.match is not None
    if attribute.collect is Collect.ALL:
        given = {value.step for value in values}
        providers = past.flow.plan.attributes[attribute.name].providers
        return bool(values) and given.issuperset(providers)
    return bool(values)


def _places(past: Past, step: StepId, attribute: Attribute) -> list[int]:
    """Which values an input without a gate takes, by its policy, of those before its deadline passed."""
    values = past.flow.values(attribute.name)
    passed = past.passed(step, attribute)
    places = [place for place, value in enumerate(values) if not passed or value.version < passed]
    if attribute.collect is Collect.NONE or (passed and attribute.collect is Collect.ALL):
        return []
    if attribute.collect is Collect.FIRST:
        return places[:1]
    if attribute.collect is Collect.LAST:
        return places[-1:]
    if attribute.collect is Collect.ALL:
        return sorted(places, key=lambda place: (values[place].step or "", place))
    return places


def check_count(past: Past, step: Step, event: e.StepStarted) -> Findings:
    """A step has one work item for each combination of its `for_each` elements."""
    inputs = sources_of(past.flow, step, event.inputs, before=past.recorded.version)
    arrays = [_value_of(past, inputs[each.inner]) for each in step.for_each if each.inner in inputs]
    if not all(isinstance(array, list) for array in arrays):
        yield "I-09", f"step `{step.id}` is started with a `for_each` input that is no array"
    elif event.items != prod(len(array) for array in arrays):
        yield "I-09", f"step `{step.id}` is started with {event.items} work items, not one an element"
    elif event.items > MAX_ITEMS:
        yield "I-09", f"step `{step.id}` is started with {event.items} work items, more than {MAX_ITEMS}"


def _value_of(past: Past, source: Mapping[str, JSON]) -> JSON:
    if "value" in source:
        return source["value"]
    values = past.flow.values(source["attribute"])
    if "indexes" in source:
        return [values[int(place)].value for place in source["indexes"]]
    return values[int(source["index"])].value


# ------------------------------------------------------------------- deadlines


def check_deadline_started(past: Past, event: e.DeadlineStarted) -> Findings:
    """The deadline of an optional input starts once, when nothing but such inputs holds its step up."""
    yield from _check_waiting(past, event.step, event.name)
    for step, attribute in _optional(past, event):
        run, named = past.flow.steps[step.id], f"`{event.name}` of step `{step.id}`"
        if event.name in run.deadlines:
            yield "I-09", f"the deadline of {named} starts for the second time"
        elif not past.is_undecided(step.id, attribute):
            yield "I-09", f"a deadline of {named} starts, and that is decided"
        if event.delay_ms != attribute.deadline_ms:
            yield "I-16", f"the deadline of {named} is {attribute.deadline_ms} ms, not {event.delay_ms}"
        for each in step.inputs:
            if each.role is Role.REQUIRED and not _is_fulfilled(past, each):
                yield "I-09", f"the deadline of {named} starts before `{each.name}` is fulfilled"


def check_deadline_passed(past: Past, event: e.DeadlinePassed) -> Findings:
    """A deadline that runs passes once, not before its time, when its input is not decided."""
    yield from _check_waiting(past, event.step, event.name)
    for step, attribute in _optional(past, event):
        past.settled[step.id] = None
        deadline = past.flow.steps[step.id].deadlines.get(event.name)
        named = f"`{event.name}` of step `{step.id}`"
        if deadline is None or deadline.passed_version:
            yield "I-09", f"a deadline of {named} passes that does not run"
            continue
        if not past.is_undecided(step.id, attribute):
            yield "I-09", f"the deadline of {named} passes, and that is decided"
        early_ms = past.flow.at_of(deadline.started_version) + deadline.delay_ms - past.recorded.at
        if early_ms > EARLY_MS:
            yield "I-16", f"the deadline of {named} passes {early_ms} ms before its time"


def _check_waiting(past: Past, step: StepId, name: str) -> Findings:
    """A deadline is one of an optional input of a pending step, before the flow's outcome."""
    run = past.run(step)
    if run is None:
        yield not_planned(step)
        return
    attribute = past.definition(step).attributes.get(name)
    if attribute is None or attribute.role is not Role.OPTIONAL:
        yield "I-09", f"step `{step}` has a deadline for `{name}`, which is no optional input of it"
    if run.status is not StepStatus.PENDING:
        yield "I-08", f"step `{step}` has a deadline while it is {run.status}"
    if past.flow.is_over:
        yield "I-13", f"step `{step}` has a deadline after the flow's outcome"


def _optional(past: Past, event: e.DeadlineStarted | e.DeadlinePassed) -> Iterator[tuple[Step, Attribute]]:
    """The step and the input of a deadline, if there are such; `_check_waiting` has said when not."""
    if past.run(event.step) is not None:
        step = past.definition(event.step)
        attribute = step.attributes.get(event.name)
        if attribute is not None and attribute.role is Role.OPTIONAL:
            yield step, attribute
