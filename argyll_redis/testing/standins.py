"""What stands in for a step in a test: a function, a value, or what each attempt comes to.

Stand-ins are given as a mapping from a step (the function or its id) to one of

- a function of the step's inputs: it names those that it wants, and `ctx` for the context of the call;
- `attempts(...)`: what the first attempt of a work item comes to, the second, and so on;
- anything else: what every attempt comes to.

An attempt comes to a value (returned), an exception (raised), `LOST` (its engine dies in it),
`Takes(ms, ...)` (the same, after a while), or `Later(..., after_ms=...)` (the step answers `ACCEPTED`,
and the outcome comes from outside). A function may return each of these, too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from argyll_redis.core.model import JSON
from argyll_redis.declare.function import CONTEXT
from argyll_redis.errors import InvalidInput, Problem
from argyll_redis.steps.context import StepContext

LATER_MS = 1_000
"""After how long an outcome comes from outside unless told otherwise."""


class Lost(Enum):
    """The type of `LOST`."""

    LOST = "lost"

    def __repr__(self) -> str:
        return "LOST"


LOST: Final = Lost.LOST
"""The engine dies in the middle of the attempt, and reports nothing."""


@dataclass(frozen=True, slots=True)
class Takes:
    """An attempt that takes `ms` of virtual time, then comes to `then`."""

    ms: int
    then: Any = None


@dataclass(frozen=True, slots=True)
class Later:
    """The step answers `ACCEPTED`; `then`, a value or an exception, comes from outside `after_ms` later."""

    then: Any = None
    after_ms: int = LATER_MS


@dataclass(frozen=True, slots=True)
class Attempts:
    """What the attempts of each work item come to, in order; the last goes for all that follow."""

    each: tuple[Any, ...]

    def of(self, attempt: int) -> Any:
        """What an attempt comes to; the first is 1."""
        return self.each[min(attempt, len(self.each)) - 1]


def attempts(*each: Any) -> Attempts:
    """What the attempts of each work item come to, in order; the last goes for all that follow.

    Raises `InvalidInput` when none is given.
    """
    if not each:
        raise InvalidInput("attempts() says of no attempt what it comes to (give at least one)")
    return Attempts(each)


class StandIn:
    """What stands in for one step."""

    def __init__(self, step: str, given: Any) -> None:
        self.step = step
        self._given = given
        self._names: frozenset[str] | None = None
        """The inputs that a function wants; None for all."""
        if callable(given):
            self._names = _wanted(given)

    def check(self, inputs: Collection[str]) -> None:
        """Refuses a function that wants what the step has not. Raises `InvalidInput`."""
        unknown = _needed(self._given) - {*inputs, CONTEXT} if callable(self._given) else set[str]()
        if unknown:
            what = f"wants {', '.join(sorted(unknown))}, which the step has not"
            mend = f"name its inputs: {', '.join([*inputs, CONTEXT])}"
            raise InvalidInput(problems=[Problem(f"replace.{self.step}", what, mend)])

    def answer(self, inputs: Mapping[str, JSON], context: StepContext) -> Any:
        """What an attempt comes to: of a function what it returns, which may be something to await."""
        if isinstance(self._given, Attempts):
            return self._given.of(context.attempt)
        if not callable(self._given):
            return self._given
        known = {**inputs, CONTEXT: context}
        if self._names is None:
            known = {**inputs}
        else:
            known = {name: value for name, value in known.items() if name in self._names}
        return self._given(**known)


def _wanted(function: Callable[..., Any]) -> frozenset[str] | None:
    parameters = inspect.signature(function).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return None
    return frozenset(each.name for each in parameters)


def _needed(function: Callable[..., Any]) -> set[str]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is inspect.Parameter.empty and parameter.kind in named
    }


def read_stand_ins(
    given: Mapping[Any, Any] | None, id_of: Callable[[Any], str], inputs: Mapping[str, Collection[str]]
) -> dict[str, StandIn]:
    """Reads a mapping of stand-ins; `inputs` are those of each known step, by inner name.

    Raises `InvalidInput` naming the step that is not known, or what a function wants in vain.
    """
    found: dict[str, StandIn] = {}
    for step, stand_in in (given or {}).items():
        id = id_of(step)
        if id not in inputs:
            known = ", ".join(sorted(inputs)) or "none"
            problem = Problem(f"replace.{id}", "is no step of this app", f"use one of {known}")
            raise InvalidInput(problems=[problem])
        found[id] = StandIn(id, stand_in)
        found[id].check(inputs[id])
    return found
