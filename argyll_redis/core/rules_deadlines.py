"""The rules by which optional inputs are waited for, and no longer than their deadlines.

A deadline starts when nothing but optional inputs holds its step up, and runs as a due entry. An input
that is decided by then (its policy is met, or all its providers are over) needs none, and no event.
"""

from __future__ import annotations

from argyll_redis.core.events import DeadlinePassed, DeadlineStarted
from argyll_redis.core.inputs import is_undecided, undecided
from argyll_redis.core.model import StepId
from argyll_redis.core.state import StepStatus
from argyll_redis.core.turn import Turn


def start_deadlines(turn: Turn) -> bool:
    """When the last required input of a pending step is fulfilled, the deadlines of its optional inputs
    that are not decided yet start."""
    while turn.timing and not turn.draft.is_over:
        name, cause = turn.timing.take(turn.draft.plan.rank)
        if not _start_deadlines_of(turn, StepId(name), cause):
            turn.left = True
            turn.timing.clear()
    return False


def _start_deadlines_of(turn: Turn, id: StepId, cause: int) -> bool:
    """False when the turn has no room for all of them."""
    draft = turn.draft
    if draft.step(id).status is not StepStatus.PENDING:
        return True
    for attribute in undecided(draft, draft.plan.steps[id]):
        if attribute.name not in draft.step(id).deadlines:
            if turn.room <= 0:
                return False
            turn.room -= 1
            turn.emit(DeadlineStarted(id, attribute.name, attribute.deadline_ms), cause=cause)
    return True


def pass_deadline(turn: Turn, step: StepId, name: str) -> bool:
    """Ends the wait for an optional input whose deadline runs and is over; False when there is nothing
    to end: it does not run, its time is still to come, or the input is decided."""
    draft = turn.draft
    if (step, name) not in draft.deadlines:
        return False
    deadline = draft.step(step).deadlines[name]
    is_over = turn.at_of(deadline.started_version) + deadline.delay_ms <= turn.now_ms
    attribute = draft.plan.steps[step].attributes[name]
    if not is_over or not is_undecided(draft, step, attribute):
        return False
    version = turn.emit(DeadlinePassed(step, name), cause=deadline.started_version)
    turn.ready.add(step, version)
    for id in draft.plan.attributes[name].providers:
        if draft.step(id).status is StepStatus.PENDING:
            turn.unwanted.add(id, version)
    return True
