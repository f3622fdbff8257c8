"""Where the inputs of a step came from.

A log records it: a reference to the value of an attribute, or a value of its own. An imported log has
the values alone, and there it is found out by the rule that `collect_inputs` follows, on the state
that the step started from. Nothing is evaluated: a gate let through what was taken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from argyll_redis.core.model import JSON, Attribute, Collect, Step
from argyll_redis.core.state import Value, View


def sources_of(
    view: View, step: Step, inputs: Mapping[str, JSON], *, before: int
) -> Mapping[str, Mapping[str, JSON]]:
    """The inputs of an event of version `before`, by inner name, in the form in which a log records
    them; `view` is the flow then or later."""
    if view.seed:
        return inputs
    declared = {attribute.inner: attribute for attribute in step.inputs}
    passed = {name: each.passed_version for name, each in view.step(step.id).deadlines.items()}
    return {
        inner: _source(view, attribute, value, (attribute and passed.get(attribute.name)) or before)
        for inner, value in inputs.items()
        for attribute in [declared.get(inner)]
    }


def _source(view: View, attribute: Attribute | None, value: JSON, before: int) -> Mapping[str, JSON]:
    if attribute is None or attribute.has_script:
        return {"value": value}
    values = [each for each in view.values(attribute.name) if each.version < before]
    if attribute.collect in (Collect.SOME, Collect.ALL):
        places = _places(values, attribute, value)
        return {"value": value} if places is None else {"attribute": attribute.name, "indexes": places}
    order = range(len(values)) if attribute.collect is Collect.FIRST else reversed(range(len(values)))
    place = next((place for place in order if is_same(values[place].value, value)), None)
    return {"value": value} if place is None else {"attribute": attribute.name, "index": place}


def _places(values: Sequence[Value], attribute: Attribute, taken: JSON) -> list[int] | None:
    """Which values a list was made of, each in its turn; None when it was made of something else."""
    if not isinstance(taken, list):
        return None
    order = sorted(range(len(values)), key=lambda place: _turn(values, attribute, place))
    rest = iter(order)
    found = [next((place for place in rest if is_same(values[place].value, one)), None) for one in taken]  # pyright: ignore[reportUnknownVariableType]
    places = [place for place in found if place is not None]
    return places if places and len(places) == len(found) else None


def _turn(values: Sequence[Value], attribute: Attribute, place: int) -> tuple[str, int]:
    """`some` takes values as they came, `all` the initial ones, then by provider."""
    return (values[place].step or "" if attribute.collect is Collect.ALL else "", place)


def is_same(one: JSON, other: JSON) -> bool:
    """Whether two JSON values are the same: 1, 1.0 and true are three."""
    return one == other and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
