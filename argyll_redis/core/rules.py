"""The sentences that advance a flow, run to a fixed point in a fixed order.

`settle` runs the rules in order, from the first again whenever one has done something that an earlier
one may have to follow up. Names never decide what runs: all failures, completions and skips come
first, to a fixed point, then the end of the flow; then whatever may start is checked, and only when
nothing of that has failed or been skipped does anything start, consumers before their providers (so
that what a start makes needless is skipped, not run). What is left over is given up. Ties go by id.
A rule's docstring is the sentence it implements. It goes as far as it can by itself, and says True when
a rule before it may have something to do again.
"""

from __future__ import annotations

from argyll_redis.core.events import FlowCompleted, FlowDeactivated, FlowFailed, WorkFailed
from argyll_redis.core.rules_children import child_is_needless, end_children
from argyll_redis.core.rules_deadlines import start_deadlines
from argyll_redis.core.rules_over import (
    CLOSED,
    PREDICATE,
    UNWANTED,
    close_inputs,
    conclude_step,
    skip_closed,
    skip_unwanted,
)
from argyll_redis.core.rules_start import check_items, check_step, look_at_fresh, start_items, start_step
from argyll_redis.core.rules_undo import undo_items
from argyll_redis.core.state import RootCause, StepRun, StepStatus, WorkItem
from argyll_redis.core.turn import Turn
from argyll_redis.errors import InvariantBroken

__all__ = [
    "ABANDONED",
    "CLOSED",
    "PREDICATE",
    "UNREACHABLE",
    "UNWANTED",
    "fail_flow",
    "give_up",
    "settle",
]

ABANDONED = "abandoned"
"""The error of an item that nobody waits for any more."""

UNREACHABLE = "can no longer be reached"
"""Of a goal, in the error of its flow; the root cause follows."""


def end_flow(turn: Turn) -> bool:
    """A flow fails when a goal has failed or every goal was closed off by its gate, and completes
    when every goal is done."""
    if not turn.ending or turn.draft.is_over:
        return False
    cause, turn.ending = turn.ending, 0
    draft = turn.draft
    runs = [draft.step(goal) for goal in draft.plan.goals if goal in draft.plan.steps]
    failed = next((run for run in runs if run.status is StepStatus.FAILED), None)
    if failed:
        _fail_flow_for(turn, failed)
    elif any(run.status in (StepStatus.PENDING, StepStatus.ACTIVE) for run in runs):
        return False
    elif len(runs) == len(draft.plan.goals) and all(run.reason == CLOSED for run in runs):
        fail_flow(turn, "every goal was closed off by its match gate", cause=cause)
    else:
        turn.emit(FlowCompleted(), cause=cause)
        turn.abandoning = turn.orphaning = True
    return True


def _fail_flow_for(turn: Turn, goal: StepRun) -> None:
    root = goal.root_cause or RootCause(goal.id, goal.error or "failed")
    if root.step == goal.id:
        error = f'goal "{goal.id}" failed: {root.error}'
    else:
        error = f'goal "{goal.id}" {UNREACHABLE}: step "{root.step}": {root.error}'
    fail_flow(turn, error, cause=goal.ended_version, root=root)


def fail_flow(turn: Turn, error: str, *, cause: int, root: RootCause | None = None) -> None:
    """Ends the flow as failed."""
    root_cause = {"step": str(root.step), "error": root.error} if root else None
    turn.emit(FlowFailed(error, root_cause), cause=cause)
    turn.abandoning = turn.orphaning = True


# ---------------------------------------------------------------- what is left over


def abandon(turn: Turn) -> bool:
    """When a flow or a step is over, a retry that waits is dropped, and an outcome that comes from
    elsewhere is waited for no longer than `linger`."""
    if not turn.abandoning:
        return False
    turn.abandoning = False
    before = turn.draft.version
    for id in turn.draft.plan.steps:
        run = turn.draft.step(id)
        if run.retrying or run.accepted:
            end = _end_of(turn, run)
            if end and not _abandon_items(turn, run, end):
                turn.left = True
                break
    return turn.draft.version > before


def _end_of(turn: Turn, run: StepRun) -> int:
    """The version at which the items of a step ceased to matter: its own failure or the flow's
    outcome, whichever came first; 0 when they still do."""
    ends = [turn.draft.ended_version, run.ended_version if run.status is StepStatus.FAILED else 0]
    return min((end for end in ends if end), default=0)


def _abandon_items(turn: Turn, run: StepRun, end: int) -> bool:
    """Gives up what may be given up; False when the turn has no room for all of it."""
    patience_is_over = turn.at_of(end) + turn.draft.linger_ms <= turn.now_ms
    for item in turn.draft.items(run):
        if item.is_waiting or (item.is_accepted and patience_is_over):
            if turn.room <= 0:
                return False
            turn.room -= 1
            give_up(turn, item, cause=max(end, item.accepted_version if item.is_accepted else 0))
    return True


def give_up(turn: Turn, item: WorkItem, *, cause: int) -> None:
    """Fails an item that nobody waits for any more."""
    child_is_needless(turn, item)
    version = turn.emit(WorkFailed(item.step, item.token, item.attempt, ABANDONED), cause=cause)
    turn.changed.add(item.step, version)


def deactivate(turn: Turn) -> bool:
    """A flow that is over is deactivated when none of its work items can still act or is to be undone."""
    draft = turn.draft
    if not draft.is_over or draft.is_deactivated or draft.active or draft.waiting or draft.undos:
        return False
    turn.emit(FlowDeactivated(draft.status), cause=draft.version)
    return False


MAX_ROUNDS = 100
"""Rounds of rules allowed for each step of the plan and each item of a turn: a fixed point that is
not reached by then is a bug."""


def settle(turn: Turn) -> None:
    """Runs the rules to a fixed point."""
    plan = turn.draft.plan
    rounds = MAX_ROUNDS * (len(plan.steps) + len(plan.attributes) + turn.room + 10)
    while _round(turn):
        rounds -= 1
        if rounds < 0:
            raise InvariantBroken(f"the rules of flow {turn.draft.id} come to no end")


def _round(turn: Turn) -> bool:
    """Runs the rules in order, up to the first after which an earlier one may have something to do. A rule
    is not even asked while there is nothing on what it looks at."""
    return bool(
        (turn.touched and close_inputs(turn))
        or (turn.changed and conclude_step(turn))
        or (turn.closed and skip_closed(turn))
        or (turn.unwanted and skip_unwanted(turn))
        or (turn.ending and end_flow(turn))
        or (turn.ready and check_step(turn))
        or (turn.unchecked and check_items(turn))
        or (turn.fit and start_step(turn))
        or (turn.fresh and look_at_fresh(turn))
        or (turn.hungry and start_items(turn))
        or (turn.timing and start_deadlines(turn))
        or (turn.abandoning and abandon(turn))
        or (turn.orphaning and end_children(turn))
        or (turn.draft.undos and undo_items(turn))
        or (turn.draft.is_over and deactivate(turn))
    )
