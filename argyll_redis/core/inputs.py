"""When an input is fulfilled or decided, what a step then gets, and who is still wanted for it.

One function a collect policy, in a table. `T` in the sentences is "all planned providers of the
attribute are terminal", `V` the values so far that the input's match gate lets through.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, IntEnum
from functools import lru_cache
from typing import Protocol

from argyll_redis.core.model import JSON, Attribute, Collect, Script, Step, StepId
from argyll_redis.core.state import STEP_OVER, StepStatus, View
from argyll_redis.core.values import Missing
from argyll_redis.errors import ScriptError

LITERALS = 4_096
"""Parsed defaults and consts kept at a time."""


class Evaluate(Protocol):
    """Evaluates scripts; handed to the core by whoever decides. Raises `ScriptError`."""

    def predicate(self, script: Script, inputs: Mapping[str, JSON]) -> bool: ...

    def match(self, script: Script, value: JSON) -> bool: ...

    def mapping(
        self, script: Script, value: JSON, *, inner: str, is_list: bool = False
    ) -> JSON | Missing: ...


class InputState(Enum):
    """Where an input stands."""

    WAITING = "waiting"
    FULFILLED = "fulfilled"
    IMPOSSIBLE = "impossible"


class Want(IntEnum):
    """How much a pending step is wanted by those who could use what it provides."""

    NOT = 0
    PERHAPS = 1
    """Only behind a gate that is not decided yet."""
    SURELY = 2


@lru_cache(maxsize=LITERALS)
def literal(text: str) -> JSON:
    """The value of a default or a const."""
    return json.loads(text)


# ------------------------------------------------------------------- policies


def providers_over(view: View, attribute: str) -> bool:
    """Whether all planned providers of an attribute are terminal (`T`)."""
    for id in view.plan.attributes[attribute].providers:  # noqa: SIM110 - asked all the time, mostly of one
        if view.step(id).status not in STEP_OVER:
            return False
    return True


def _all_provided(view: View, attribute: str) -> bool:
    """Whether no planned provider is terminal without having provided the attribute."""
    given = {value.step for value in view.values(attribute)}
    return all(
        id in given or view.step(id).status not in STEP_OVER
        for id in view.plan.attributes[attribute].providers
    )


def _first(view: View, attribute: str, passing: Sequence[object]) -> InputState:
    """Fulfilled when V is not empty; impossible when T and V is empty."""
    if passing:
        return InputState.FULFILLED
    return InputState.IMPOSSIBLE if providers_over(view, attribute) else InputState.WAITING


def _some(view: View, attribute: str, passing: list[int]) -> InputState:
    """Fulfilled when T and V is not empty; impossible when T and V is empty."""
    if not providers_over(view, attribute):
        return InputState.WAITING
    return InputState.FULFILLED if passing else InputState.IMPOSSIBLE


def _all(view: View, attribute: str, passing: list[int]) -> InputState:
    """Fulfilled when T, V is not empty and every provider provided, all of it passing; impossible
    when a provider failed, was skipped or provided nothing, or a value does not pass."""
    if len(passing) < len(view.values(attribute)) or not _all_provided(view, attribute):
        return InputState.IMPOSSIBLE
    return _some(view, attribute, passing)


def _none(view: View, attribute: str, passing: list[int]) -> InputState:
    """Fulfilled when T and V is empty, whatever became of the providers; impossible when V is not."""
    if passing:
        return InputState.IMPOSSIBLE
    return InputState.FULFILLED if providers_over(view, attribute) else InputState.WAITING


POLICIES: Mapping[Collect, Callable[[View, str, list[int]], InputState]] = {
    Collect.FIRST: _first,
    Collect.LAST: _some,
    Collect.SOME: _some,
    Collect.ALL: _all,
    Collect.NONE: _none,
}


def passing_values(view: View, attribute: Attribute, evaluate: Evaluate) -> list[int]:
    """The places of an attribute's values that the input's match gate lets through (`V`)."""
    values = view.values(attribute.name)
    if attribute.match is None:
        return list(range(len(values)))
    return [i for i, value in enumerate(values) if evaluate.match(attribute.match, value.value)]


def state_of(view: View, attribute: Attribute, evaluate: Evaluate) -> InputState:
    """Where an input stands by its policy and its match gate."""
    if attribute.match is None and attribute.collect is Collect.FIRST:  # nearly every input
        return _first(view, attribute.name, view.values(attribute.name))
    return POLICIES[attribute.collect](view, attribute.name, passing_values(view, attribute, evaluate))


def is_closed(view: View, attribute: Attribute, evaluate: Evaluate) -> bool:
    """Whether the match gate of an input can no longer be met because of values that are there. That
    all providers failed, or one that `all` needs, is a failure and not a closed gate."""
    if attribute.match is None or not view.values(attribute.name):
        return False
    if attribute.collect is Collect.ALL:
        return len(passing_values(view, attribute, evaluate)) < len(view.values(attribute.name))
    return state_of(view, attribute, evaluate) is InputState.IMPOSSIBLE


def waits_for(view: View, step: Step, evaluate: Evaluate, *, start: int = 0) -> int | None:
    """The place among what a step needs of an input that is not fulfilled; None when it may start.

    `start` is where to look first, such as what the last look found: a step with a thousand inputs
    is looked at a thousand times. What optional inputs there are to wait for: `undecided`.
    """
    count = len(step.needs)
    for place in (*range(start, count), *range(start)) if start else range(count):
        if state_of(view, step.needs[place], evaluate) is not InputState.FULFILLED:
            return place
    return None


# ------------------------------------------------------------------- deadlines


def passed_version(view: View, step: StepId, attribute: Attribute) -> int:
    """The version of the event that ended the wait for an optional input; 0 when none has."""
    deadline = view.step(step).deadlines.get(attribute.name)
    return deadline.passed_version if deadline else 0


def is_awaited(view: View, step: StepId, attribute: Attribute, evaluate: Evaluate) -> bool:
    """Whether an input of a pending step may still get something, by its policy and its deadline."""
    if attribute.deadline_ms and passed_version(view, step, attribute):
        return False
    return state_of(view, attribute, evaluate) is InputState.WAITING


def is_undecided(view: View, step: StepId, attribute: Attribute) -> bool:
    """Whether an optional input has to be waited for: it has a deadline that has not passed, and its
    policy still waits. Without a deadline it never has; it has no gate, so no script is asked."""
    if not attribute.deadline_ms or passed_version(view, step, attribute):
        return False
    places = list(range(len(view.values(attribute.name))))
    return POLICIES[attribute.collect](view, attribute.name, places) is InputState.WAITING


def undecided(view: View, step: Step) -> list[Attribute]:
    """The optional inputs that hold up a pending step which has all that it needs."""
    return [attribute for attribute in step.patience if is_undecided(view, step.id, attribute)]


# ------------------------------------------------------------------ collecting


def collect_inputs(view: View, step: Step, evaluate: Evaluate) -> dict[str, JSON]:
    """What a step that starts gets, by inner name, as its event records it: a reference to one value
    of an attribute (`index`) or to several (`indexes`), or a value of its own."""
    recorded: dict[str, JSON] = {
        attribute.inner: {"value": literal(attribute.value or "null")} for attribute in step.constants
    }
    for attribute in step.inputs:
        source = _source(view, step.id, attribute, evaluate)
        if source is not None:
            recorded[attribute.inner] = source
        elif attribute.default is not None:
            recorded[attribute.inner] = {"value": literal(attribute.default)}
    return recorded


def _source(view: View, step: StepId, attribute: Attribute, evaluate: Evaluate) -> dict[str, JSON] | None:
    """Which values an input takes; None when it takes none. An optional one takes what its policy
    can use so far, or could when its deadline passed; with `all` that is all or nothing."""
    if attribute.collect is Collect.NONE:
        return None
    passed = passed_version(view, step, attribute) if attribute.deadline_ms else 0
    if attribute.collect is Collect.ALL and (
        passed or state_of(view, attribute, evaluate) is not InputState.FULFILLED
    ):
        return None
    places = passing_values(view, attribute, evaluate)
    if passed:
        values = view.values(attribute.name)
        places = [place for place in places if values[place].version < passed]
    if not places:
        return None
    if attribute.collect is Collect.FIRST:
        return {"attribute": attribute.name, "index": places[0]}
    if attribute.collect is Collect.LAST:
        return {"attribute": attribute.name, "index": places[-1]}
    if attribute.collect is Collect.ALL:
        values = view.values(attribute.name)
        places.sort(key=lambda place: (values[place].step is not None, values[place].step or "", place))
    return {"attribute": attribute.name, "indexes": places}


# --------------------------------------------------------------------- wanting


def want_of(view: View, step: StepId, evaluate: Evaluate, *, known: dict[StepId, Want] | None = None) -> Want:
    """How much a pending step is wanted: it is a goal, or a pending step that is wanted itself still
    waits for what it provides. What only a perhaps wanted step would use is at most perhaps wanted,
    and so is what serves only the other inputs of a step with an undecided gate.

    `known` is what was found in the same state before; what is found now is added to it."""
    plan = view.plan
    known = {} if known is None else known
    if not plan.has_gates:
        # A pending step is surely wanted then, or it would have been skipped already.
        if step in plan.goals or next(_users(view, step, evaluate), None) is not None:
            return Want.SURELY
        return Want.NOT
    todo = [step]
    while todo:
        current = todo[-1]
        if current in plan.goals:
            known[current] = Want.SURELY
        if current in known:
            todo.pop()
            continue
        users = list(_users(view, current, evaluate))
        unknown = [user for user, _ in users if user not in known]
        todo.extend(unknown)
        if not unknown:
            known[current] = max((min(known[user], limit) for user, limit in users), default=Want.NOT)
    return known[step]


def _users(view: View, step: StepId, evaluate: Evaluate) -> Iterator[tuple[StepId, Want]]:
    """The pending steps that still wait for something a step provides, each with the most it can
    want of it."""
    for output in view.plan.steps[step].outputs:
        for user in view.plan.attributes[output.name].consumers:
            if view.step(user).status is not StepStatus.PENDING:
                continue
            definition = view.plan.steps[user]
            wanted = definition.attributes[output.name]
            if is_awaited(view, user, wanted, evaluate):
                gated = wanted.match is None and _has_undecided_gate(view, definition, evaluate)
                yield user, Want.PERHAPS if gated else Want.SURELY


def _has_undecided_gate(view: View, step: Step, evaluate: Evaluate) -> bool:
    return view.plan.has_gates and any(
        attribute.match is not None and state_of(view, attribute, evaluate) is InputState.WAITING
        for attribute in step.inputs
    )


def initial_gates(evaluate: Evaluate) -> Callable[[Step, Attribute, Sequence[JSON]], bool]:
    """What a planner asks: whether the match gate of an input is open for initial values alone. A gate
    whose script raises counts as open: it is for the flow to fail its step."""

    def is_open(step: Step, attribute: Attribute, values: Sequence[JSON]) -> bool:
        del step
        if attribute.match is None:
            return True
        try:
            passed = [evaluate.match(attribute.match, value) for value in values]
        except ScriptError:
            return True
        if attribute.collect is Collect.NONE:
            return not any(passed)
        return all(passed) if attribute.collect is Collect.ALL else any(passed)

    return is_open
