"""What happens when the work of an item is undone: its compensation is work, with attempts of its own.

An item is `compensating` from the first of these events on, while a retry is waited for as well. See
`events.py` for what an event is.
"""

from __future__ import annotations

from argyll_redis.core.events import Event, event
from argyll_redis.core.model import StepId, Token
from argyll_redis.core.owed import undos_have_changed, with_index, without_index
from argyll_redis.core.state import Draft, StepRun, Undo, WorkItem, WorkStatus
from argyll_redis.errors import InvariantBroken


def _leave(run: StepRun, item: WorkItem) -> Undo:
    """Takes an item out of where its undoing stands, before that changes."""
    undo = item.undo or Undo()
    if item.status is not WorkStatus.COMPENSATING:
        run.owed = without_index(run.owed, item.index)
    elif undo.is_waiting:
        run.undo_retrying = without_index(run.undo_retrying, item.index)
    else:
        run.undoing -= 1
    return undo


@event("comp_started")
class CompStarted(Event):
    """An attempt to undo a work item is released: from now on an engine may call the step's undo."""

    step: StepId
    token: Token
    attempt: int
    """Of the compensation: 1 for its first start, whatever the work item's attempts were."""
    reason: str
    """`first`, `retry` or `lost`."""

    def apply(self, draft: Draft, version: int) -> None:
        item = draft.edit_token(self.token)
        run = draft.edit_step(self.step)
        undo = _leave(run, item)
        if self.attempt != undo.attempt + 1:
            raise InvariantBroken(f"compensation {self.attempt} of {self.token} follows {undo.attempt}")
        item.move(WorkStatus.COMPENSATING)
        losses = undo.losses + 1 if self.reason == "lost" else 0
        item.undo = undo._replace(attempt=self.attempt, version=version, losses=losses, due_attempt=0)
        run.undoing += 1
        undos_have_changed(draft, run)


@event("comp_retry_scheduled")
class CompRetryScheduled(Event):
    """An attempt to undo a work item came to nothing; the next one starts after a delay."""

    step: StepId
    token: Token
    attempt: int
    """The attempt that will start."""
    delay_ms: int
    error: str

    def apply(self, draft: Draft, version: int) -> None:
        item = draft.edit_token(self.token)
        run = draft.edit_step(self.step)
        undo = _leave(run, item)
        item.move(WorkStatus.COMPENSATING)
        item.undo = undo._replace(
            retries=undo.retries + 1,
            due_attempt=self.attempt,
            due_version=version,
            due_delay_ms=self.delay_ms,
            error=self.error,
        )
        run.undo_retrying = with_index(run.undo_retrying, item.index)


@event("comp_succeeded")
class CompSucceeded(Event):
    """What a work item has done is undone."""

    step: StepId
    token: Token
    attempt: int
    ran_ms: int

    def apply(self, draft: Draft, version: int) -> None:
        item = draft.edit_token(self.token)
        run = draft.edit_step(self.step)
        undo = _leave(run, item)
        item.move(WorkStatus.COMPENSATED)
        item.undo = undo._replace(ended_version=version)
        run.undone += 1
        undos_have_changed(draft, run)


@event("comp_failed")
class CompFailed(Event):
    """What a work item has done is not undone, and nobody tries again."""

    step: StepId
    token: Token
    attempt: int
    error: str

    def apply(self, draft: Draft, version: int) -> None:
        item = draft.edit_token(self.token)
        run = draft.edit_step(self.step)
        undo = _leave(run, item)
        item.move(WorkStatus.COMPENSATION_FAILED)
        item.undo = undo._replace(ended_version=version, error=self.error)
        run.undo_failed += 1
        undos_have_changed(draft, run)
