"""I-03, the first half: whether what a log holds of an event is of the kind that its fields have.

Reading a log checks names only, as its writers are this package. An auditor does not take their word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from argyll_redis.core.audit_past import Findings
from argyll_redis.core.events import Event, Recorded


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))  # type: ignore[arg-type]


def _root_cause(value: Any) -> bool:
    return _object(value) and value.keys() == {"step", "error"} and all(map(_text, value.values()))


def _maybe(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or kind(value)


ENVELOPE: Mapping[str, Callable[[Any], bool]] = {
    "version": _number,
    "at": _number,
    "cause": _number,
    "by": _text,
    "tx": _text,
    "place": _number,
    "count": _number,
}
"""What every event is recorded with."""

FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "attempt": _number,
    "catalog_version": _number,
    "delay_ms": _number,
    "error": _text,
    "init": lambda value: _object(value) and all(isinstance(values, list) for values in value.values()),
    "inputs": _maybe(_object),
    "items": _number,
    "labels": lambda value: _object(value) and all(map(_text, value.values())),
    "memo": _maybe(lambda value: value is True),
    "metadata": _object,
    "name": _text,
    "options": _object,
    "outputs": _maybe(_object),
    "plan": _text,
    "ran_ms": _number,
    "reason": _text,
    "root_cause": _maybe(_root_cause),
    "seed": _text,
    "result": _maybe(_object),
    "status": _text,
    "step": _text,
    "timeout_ms": _maybe(_number),
    "token": _text,
    "tokens": _maybe(_names),
    "unsatisfied": _maybe(_names),
    "value": lambda value: True,
}
"""A field means the same in every event that has it."""


def check_shape(recorded: Recorded) -> Findings:
    """Every field is of its kind."""
    event = recorded.event
    version, at, cause, by, tx, place, count, _ = recorded
    if not (
        type(version) is type(at) is type(cause) is type(place) is type(count) is int
        and type(by) is type(tx) is str
    ):
        for name, is_right in ENVELOPE.items():
            if not is_right(getattr(recorded, name)):
                yield "I-03", f"{event.type} has a `{name}` of the wrong kind"
    for name, is_right in _checks_of(type(event)):
        if not is_right(getattr(event, name)):
            yield "I-03", f"{event.type} has a `{name}` of the wrong kind"


@cache
def _checks_of(kind: type[Event]) -> tuple[tuple[str, Callable[[Any], bool]], ...]:
    return tuple((name, FIELDS[name]) for name in kind.fields if name in FIELDS)
