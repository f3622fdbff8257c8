"""The rules by which steps are over: what fails, completes or is skipped, and what that means for others.

They run to a fixed point before anything starts (see `rules.py`), so that no name decides what runs.
"""

from __future__ import annotations

from argyll_redis.core.collect import provided_outputs
from argyll_redis.core.events import AttributeSet, StepCompleted, StepFailed, StepSkipped
from argyll_redis.core.inputs import InputState, Want, is_closed, state_of
from argyll_redis.core.model import JSON, Attribute, Collect, OnFailure, Role, Step, StepId, StepType
from argyll_redis.core.state import RootCause, StepRun, StepStatus
from argyll_redis.core.turn import Turn
from argyll_redis.errors import ScriptError

CLOSED = "match"
PREDICATE = "predicate"
UNWANTED = "unwanted"
"""Why a step is skipped."""


def close_inputs(turn: Turn) -> bool:
    """A pending step fails when a required input can no longer appear; when an input is fulfilled
    the step may be ready."""
    draft = turn.draft
    while turn.touched and not draft.is_over:
        name, cause = turn.touched.take()
        use = draft.plan.attributes[name]
        for id in use.consumers:
            if draft.step(id).status is StepStatus.PENDING:
                _look_at_input(turn, draft.plan.steps[id].attributes[name], id, cause)
        for id in use.providers:
            if draft.step(id).status is StepStatus.PENDING:
                turn.unwanted.add(id, cause)
    return False


def _look_at_input(turn: Turn, attribute: Attribute, step: StepId, cause: int) -> None:
    draft = turn.draft
    try:
        state = state_of(draft, attribute, turn.evaluate)
    except ScriptError as error:
        fail_step(turn, step, f'the match of input "{attribute.inner}" failed: {error}', cause=cause)
        return
    if state is InputState.WAITING:
        return
    if state is InputState.FULFILLED or attribute.role is not Role.REQUIRED:
        turn.ready.add(step, cause)
        if attribute.match is not None:
            _look_upstream(turn, step, cause)
    elif is_closed(draft, attribute, turn.evaluate):
        turn.closed.add(step, cause)
    elif not _is_left_to_a_gate(turn, attribute):
        _fail_for_input(turn, step, attribute, cause)


def _is_left_to_a_gate(turn: Turn, attribute: Attribute) -> bool:
    """Whether a required input has neither a value nor a planned provider. A start without it would have
    been refused, but that the initial values close a match gate of the step: so it is skipped for that."""
    draft, name = turn.draft, attribute.name
    is_bare = not draft.values(name) and not draft.plan.attributes[name].providers
    return is_bare and name not in draft.plan.required


def _look_upstream(turn: Turn, step: StepId, cause: int) -> None:
    """Notes that a gate is open: what was only perhaps wanted for the step may start now."""
    draft = turn.draft
    todo, seen = [step], {step}
    while todo:
        for attribute in draft.plan.steps[todo.pop()].inputs:
            for id in draft.plan.attributes[attribute.name].providers:
                if id not in seen and draft.step(id).status is StepStatus.PENDING:
                    seen.add(id)
                    todo.append(id)
                    turn.ready.add(id, cause)


def _fail_for_input(turn: Turn, step: StepId, attribute: Attribute, cause: int) -> None:
    if attribute.collect is Collect.NONE:
        error, root = f'input "{attribute.name}" has a value, and the step runs only without one', None
    else:
        error, root = (
            f'required input no longer available: "{attribute.name}"',
            _root_of_missing(turn, attribute),
        )
    if root:
        error += f' (step "{root.step}": {root.error})'
    fail_step(turn, step, error, cause=cause, root=root, unsatisfied=[attribute.name])


def _root_of_missing(turn: Turn, attribute: Attribute) -> RootCause | None:
    """Why an attribute cannot appear: the first of its providers that failed, else that was skipped,
    else that completed without it."""
    draft = turn.draft
    runs = [draft.step(id) for id in draft.plan.attributes[attribute.name].providers]
    for run in runs:
        if run.root_cause:
            return run.root_cause
    for run in runs:
        if run.status is StepStatus.SKIPPED:
            return RootCause(run.id, f"skipped ({run.reason})")
    given = {value.step for value in draft.values(attribute.name)}
    for run in runs:
        if run.status is StepStatus.COMPLETED and run.id not in given:
            return RootCause(run.id, f'completed without "{attribute.name}"')
    return None


def conclude_step(turn: Turn) -> bool:
    """An active step completes when all its items are over, and fails when one has failed: at once
    (`fail_fast`), when all are over (`finish`), or never (`tolerate`)."""
    while turn.changed:
        name, cause = turn.changed.take(turn.draft.plan.rank)
        id = StepId(name)
        run = turn.draft.step(id)
        if run.status is not StepStatus.ACTIVE:
            continue
        policy = turn.draft.plan.steps[id].work.on_failure
        is_over = run.over == run.size
        if run.failed and (policy is OnFailure.FAIL_FAST or (policy is OnFailure.FINISH and is_over)):
            fail_step(turn, id, _items_error(run), cause=cause, root=run.first_error)
            turn.orphaning = turn.orphaning or turn.draft.plan.steps[id].type is StepType.FLOW
            return True
        if is_over:
            _complete_step(turn, run, cause)
            return True
        turn.hungry.setdefault(id, cause)
        if asks_items(turn.draft.plan.steps[id]):
            turn.unchecked.setdefault(id, cause)
    return False


def asks_items(step: Step) -> bool:
    """Whether the predicate of a step is asked for each item, beside the step itself."""
    return step.predicate is not None and bool(step.for_each)


def _items_error(run: StepRun) -> str:
    error = run.first_error.error if run.first_error else "failed"
    return error if run.size == 1 else f"{run.failed} of {run.size} work items failed; the first: {error}"


def _complete_step(turn: Turn, run: StepRun, cause: int) -> None:
    for name in provided_outputs(turn.draft, run.id):
        turn.touched.add(name, turn.emit(AttributeSet(name, run.id), cause=cause))
    step_is_over(turn, run.id, turn.emit(StepCompleted(run.id), cause=cause))


def fail_step(
    turn: Turn,
    step: StepId,
    error: str,
    *,
    cause: int,
    root: RootCause | None = None,
    inputs: dict[str, JSON] | None = None,
    unsatisfied: list[str] | None = None,
) -> None:
    root = root or RootCause(step, error)
    event = StepFailed(step, error, {"step": root.step, "error": root.error}, inputs, unsatisfied)
    version = turn.emit(event, cause=cause)
    turn.abandoning = True
    step_is_over(turn, step, version)


def step_is_over(turn: Turn, step: StepId, version: int) -> None:
    """Notes what a step that is over means for others."""
    turn.ending = turn.ending or version
    for attribute in turn.draft.plan.steps[step].outputs:
        turn.touched.add(attribute.name, version)
    inputs_are_settled(turn, step, version)


def inputs_are_settled(turn: Turn, step: StepId, version: int) -> None:
    """Notes that a step no longer waits for anything: its providers may not be wanted any more."""
    draft = turn.draft
    for attribute in draft.plan.steps[step].inputs:
        for id in draft.plan.attributes[attribute.name].providers:
            if draft.step(id).status is StepStatus.PENDING:
                turn.unwanted.add(id, version)


def skip_closed(turn: Turn) -> bool:
    """A pending step is skipped when a match gate of it is closed, unless it has failed by then."""
    while turn.closed and not turn.draft.is_over:
        name, cause = turn.closed.take(turn.draft.plan.rank)
        step = turn.draft.plan.steps[StepId(name)]
        if turn.draft.step(step.id).status is StepStatus.PENDING:
            closed = [each.name for each in step.inputs if is_closed(turn.draft, each, turn.evaluate)]
            version = turn.emit(StepSkipped(step.id, CLOSED, unsatisfied=closed), cause=cause)
            step_is_over(turn, step.id, version)
            return True
    return False


def skip_unwanted(turn: Turn) -> bool:
    """A pending step none of whose outputs is wanted or perhaps wanted is skipped."""
    while turn.unwanted and not turn.draft.is_over:
        name, cause = turn.unwanted.take(turn.draft.plan.rank)
        id = StepId(name)
        if turn.draft.step(id).status is not StepStatus.PENDING:
            continue
        if turn.want(id) is Want.NOT:
            step_is_over(turn, id, turn.emit(StepSkipped(id, UNWANTED), cause=cause))
            return True
        if turn.draft.plan.has_gates:
            turn.ready.add(id, cause)
    return False
