"""What mapping scripts make of inputs and outputs, when a turn is decided.

What a script gave is in the event that follows (`step_started`, `work_succeeded`), so that folding
evaluates nothing. Names alone are no scripts: `Attribute.inner` says what the step's code sees.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from argyll_redis.core.commands import Broken, Succeeded
from argyll_redis.core.inputs import Evaluate
from argyll_redis.core.limits import MAX_EVENT_BYTES
from argyll_redis.core.model import JSON, Attribute, AttributeType, Role, Step, StepType
from argyll_redis.core.sources import is_same
from argyll_redis.core.sub_flows import missing_output
from argyll_redis.core.values import Missing, type_matches
from argyll_redis.errors import ScriptError


def map_inputs(step: Step, inputs: Mapping[str, JSON], evaluate: Evaluate) -> dict[str, JSON]:
    """What the mapping scripts of a step make of its collected inputs, before `for_each` splits any; by
    inner name. An input that stays as it was is not among them, such as one in which a path finds nothing.

    Raises `ScriptError` when a script does, and when the results are more than an event can hold.
    """
    mapped: dict[str, JSON] = {}
    for attribute in step.inputs if step.maps_inputs else ():
        if attribute.inner in inputs and attribute.has_script:
            value = _map(attribute, inputs[attribute.inner], evaluate, is_list=_takes_list(attribute))
            if not isinstance(value, Missing) and not is_same(value, inputs[attribute.inner]):
                mapped[attribute.inner] = value
    _check_size(mapped, "what the mappings make of the inputs")
    return mapped


def judge(step: Step, success: Succeeded, evaluate: Evaluate) -> Succeeded | Broken:
    """Takes a success's declared outputs, by attribute name, each as its mapping makes it; an output in
    which a path finds nothing is absent. A failure for good when a mapping raises, when an output is
    not of its declared type after it, and when there is more than an event can hold."""
    outputs: dict[str, JSON] = {}
    for attribute in step.outputs:
        if attribute.inner not in success.outputs:
            continue
        # The declared type of an output of a `for_each` step is its list's: single items have none.
        value, declared = success.outputs[attribute.inner], None if step.for_each else attribute.type
        if attribute.has_script:
            try:
                value = _map(attribute, value, evaluate, is_list=declared is AttributeType.ARRAY)
            except ScriptError as error:
                return Broken(str(error))
        if isinstance(value, Missing):
            continue
        if declared and not type_matches(declared, value):
            return Broken(f'output "{attribute.name}" is not of its declared type {declared}')
        outputs[attribute.name] = value
    missing = missing_output(step, outputs) if step.type is StepType.FLOW else None
    if missing is not None:
        return Broken(missing)
    if step.maps_outputs:
        try:
            _check_size(outputs, "what the mappings make of the outputs")
        except ScriptError as error:
            return Broken(str(error))
    return success._replace(outputs=outputs)


def _takes_list(attribute: Attribute) -> bool:
    """Whether the step's code takes a list as this input."""
    return attribute.for_each or attribute.type is AttributeType.ARRAY


def _map(attribute: Attribute, value: JSON, evaluate: Evaluate, *, is_list: bool) -> JSON | Missing:
    assert attribute.mapping is not None
    assert attribute.mapping.script is not None
    try:
        return evaluate.mapping(attribute.mapping.script, value, inner=attribute.inner, is_list=is_list)
    except ScriptError as error:
        raise ScriptError(f"the mapping of {_named(attribute)} failed: {error}") from error


def _named(attribute: Attribute) -> str:
    """An input by the name that the step's code sees, as other messages have it."""
    return f'output "{attribute.name}"' if attribute.role is Role.OUTPUT else f'input "{attribute.inner}"'


def _check_size(values: Mapping[str, JSON], what: str) -> None:
    size = len(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()) if values else 0
    if size > MAX_EVENT_BYTES:
        raise ScriptError(f"{what} has {size:,} bytes, more than the {MAX_EVENT_BYTES:,} of an event")
