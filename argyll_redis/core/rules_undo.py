"""The rule by which work items are undone, and what the outcomes of that come to.

A compensation is work: it is released to an engine, retried by its step's policy, and taken over when
its engine is lost. It begins whatever the flow's state, and the flow is not deactivated before its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from argyll_redis.core.commands import (
    DONE,
    UNKNOWN,
    Accepted,
    Answer,
    Broken,
    LoseUndo,
    ReportUndo,
    RetryUndo,
    Succeeded,
    Unfinished,
)
from argyll_redis.core.events_undo import CompFailed, CompRetryScheduled, CompStarted, CompSucceeded
from argyll_redis.core.limits import MAX_LOSSES
from argyll_redis.core.model import StepId
from argyll_redis.core.owed import is_owed_at_once, undoes_all
from argyll_redis.core.retry import delay_ms, spent
from argyll_redis.core.state import StepRun, StepStatus, Undo, WorkItem, WorkStatus
from argyll_redis.core.turn import Turn

UNDO_LOST = f"lost: {MAX_LOSSES} engines died while undoing it"
UNDO_UNKNOWN = "outcome unknown: the engine was lost, and the step allows no further attempt"
NOT_UNDOING = Answer(counted=False, reason="this attempt to undo is not the current one")


def undo_items(turn: Turn) -> bool:
    """The succeeded items of a failed step are undone, as many at a time as its parallelism. A failed
    flow that undoes everything does so one after the other: what others wait for no more at once, the
    rest when nothing is active, consumers before their providers. A retry that is due goes first."""
    draft = turn.draft
    if not draft.undos or draft.is_deactivated:
        return False
    if undoes_all(draft):
        _undo_next(turn)
    else:
        for id in sorted(draft.undos, key=draft.plan.rank.__getitem__):
            _undo_items_of(turn, id)
    return False


def _undo_items_of(turn: Turn, id: StepId) -> None:
    parallelism = turn.draft.plan.steps[id].work.parallelism
    while (run := turn.draft.step(id)).undoing < parallelism:
        item = _first_due(turn, run) or next(_owed(turn, run, at_once=True), None)
        if item is None or not _release(turn, item):
            return


def _undo_next(turn: Turn) -> None:
    """Goes on with the one compensation that may be on its way, or with the next."""
    draft = turn.draft
    runs = [draft.step(id) for id in sorted(draft.undos, key=draft.plan.rank.__getitem__)]
    if any(run.undoing for run in runs):
        return
    if any(run.undo_retrying for run in runs):
        item = next((due for run in runs if (due := _first_due(turn, run))), None)
    else:
        is_quiet = not draft.active and not draft.waiting
        if not is_quiet:  # only what needs not wait: of a step that has failed, or a late success of an item
            runs = [run for run in runs if run.status is StepStatus.FAILED or run.failed]
        item = next((each for run in runs for each in _owed(turn, run, at_once=not is_quiet)), None)
    if item is not None:
        _release(turn, item)


def _first_due(turn: Turn, run: StepRun) -> WorkItem | None:
    """The first item, in item order, whose compensation is due again."""
    for index in run.undo_retrying:
        item = turn.draft.item(run.id, index)
        if item and item.undo and turn.at_of(item.undo.due_version) + item.undo.due_delay_ms <= turn.now_ms:
            return item
    return None


def _owed(turn: Turn, run: StepRun, *, at_once: bool) -> Iterator[WorkItem]:
    """The items of a step that are to be undone: those that need not wait, or all."""
    for index in run.owed:
        item = turn.draft.item(run.id, index)
        if item is not None and (not at_once or is_owed_at_once(run, item)):
            yield item


def _release(turn: Turn, item: WorkItem) -> bool:
    """Releases the next attempt to undo an item; False when the turn has no room for it."""
    if turn.room <= 0:
        turn.left = True
        return False
    turn.room -= 1
    if item.undo is None:
        turn.emit(CompStarted(item.step, item.token, 1, "first"), cause=_cause(turn, item))
    else:
        event = CompStarted(item.step, item.token, item.undo.attempt + 1, "retry")
        turn.emit(event, cause=item.undo.due_version)
    return True


def _cause(turn: Turn, item: WorkItem) -> int:
    """What an item is undone for: that it came too late, or that its step or its flow has failed; its
    own success where that came after."""
    if item.late is not None:
        return item.late.version
    run = turn.draft.step(item.step)
    end = run.ended_version if run.status is StepStatus.FAILED else turn.draft.ended_version
    return max(end, item.ended_version)


# -------------------------------------------------------------------- outcomes


def _undoing(turn: Turn, command: ReportUndo | LoseUndo | RetryUndo) -> tuple[WorkItem, Undo] | None:
    """The item that a command is about, while it is being undone."""
    found = turn.draft.find(command.token)
    item = turn.draft.item(*found) if found else None
    if item is None or item.undo is None or item.status is not WorkStatus.COMPENSATING:
        return None
    return item, item.undo


def _report(turn: Turn, command: ReportUndo) -> Answer:
    """A success counts from any attempt, anything else from the current one."""
    if turn.draft.find(command.token) is None:
        return UNKNOWN
    found = _undoing(turn, command)
    if found is None or not 0 < command.attempt <= found[1].attempt:
        return NOT_UNDOING
    (item, undo), outcome = found, command.outcome
    cause = command.version or undo.version
    if isinstance(outcome, Succeeded | Accepted):
        ran_ms = outcome.ran_ms if isinstance(outcome, Succeeded) else outcome.elapsed_ms
        turn.emit(CompSucceeded(item.step, item.token, command.attempt, ran_ms), cause=cause)
        return DONE
    if command.attempt != undo.attempt or undo.is_waiting:
        return NOT_UNDOING
    if isinstance(outcome, Broken):
        _fail(turn, item, undo, outcome.error, cause=cause)
    else:
        _try_again(turn, item, undo, outcome, cause)
    return DONE


def _fail(turn: Turn, item: WorkItem, undo: Undo, error: str, *, cause: int) -> None:
    turn.emit(CompFailed(item.step, item.token, undo.attempt, error), cause=cause)


def _try_again(turn: Turn, item: WorkItem, undo: Undo, outcome: Unfinished, cause: int) -> None:
    work = turn.draft.plan.steps[item.step].work
    if over := spent(work, attempt=undo.attempt, retries=undo.retries):
        _fail(turn, item, undo, f"{outcome.error} ({over})", cause=cause)
    else:
        delay = delay_ms(
            work, retry=undo.retries, token=item.token, attempt=undo.attempt, asked_ms=outcome.after_ms
        )
        event = CompRetryScheduled(item.step, item.token, undo.attempt + 1, delay, outcome.error)
        turn.emit(event, cause=cause)


def _lose(turn: Turn, command: LoseUndo) -> Answer:
    found = _undoing(turn, command)
    if found is None or found[1].attempt != command.attempt or found[1].is_waiting:
        return NOT_UNDOING
    item, undo = found
    work = turn.draft.plan.steps[item.step].work
    if undo.losses + 1 >= MAX_LOSSES:
        _fail(turn, item, undo, UNDO_LOST, cause=undo.version)
    elif work.max_attempts and undo.attempt >= work.max_attempts:
        _fail(turn, item, undo, UNDO_UNKNOWN, cause=undo.version)
    else:
        event = CompStarted(item.step, item.token, undo.attempt + 1, "lost")
        turn.emit(event, cause=undo.version)
    return DONE


def _retry(turn: Turn, command: RetryUndo) -> Answer:
    """The rule starts it, when there is room."""
    found = _undoing(turn, command)
    is_due = found is not None and found[1].is_waiting and found[1].due_attempt == command.attempt
    return DONE if is_due else NOT_UNDOING


UNDO_HANDLERS: dict[type[Any], Callable[[Turn, Any], Answer]] = {
    ReportUndo: _report,
    LoseUndo: _lose,
    RetryUndo: _retry,
}
