"""Whether every event says truly what led to it."""

from __future__ import annotations

from argyll_redis.core import audit_undo
from argyll_redis.core import events as e
from argyll_redis.core.audit_past import Findings, Past, origin_of
from argyll_redis.core.decide import CANCELLED, TIMED_OUT
from argyll_redis.core.events import Recorded
from argyll_redis.core.rules import ABANDONED

ORIGINS = frozenset({"start", "work", "webhook", "child", "timer", "operator"})
OUTCOMES = (e.WorkAccepted, e.WorkSucceeded, e.WorkFailed, e.WorkNotCompleted, e.WorkIgnored)
Outcome = e.WorkAccepted | e.WorkSucceeded | e.WorkFailed | e.WorkNotCompleted | e.WorkIgnored


def check_cause(past: Past, recorded: Recorded) -> Findings:
    """A cause is an earlier event; it is 0 only for what came from outside. The outcome of a call has
    the release of its attempt as cause, a retry what scheduled it, a replacement what was lost."""
    event, cause = recorded.event, recorded.cause
    if origin_of(recorded.by) not in ORIGINS:
        yield "causes", f'{event.type} is by "{recorded.by}", an origin that does not exist'
    if not 0 <= cause < recorded.version:
        yield "causes", f"{event.type} is caused by event {cause}, which does not come before it"
    elif cause == 0:
        if not _may_come_from_outside(recorded):
            yield "causes", f"{event.type} has no cause, and did not come from outside"
    elif isinstance(event, e.FlowStarted):
        yield "causes", f"flow_started is caused by event {cause}"
    elif isinstance(event, audit_undo.CompEvent):
        yield from audit_undo.check_cause(past, event, cause)
    elif isinstance(event, OUTCOMES):
        if not _is_cause_of_outcome(past, event, cause):
            yield "causes", f"{event.type} is caused by event {cause}, which did not release its attempt"
    elif isinstance(event, e.WorkStarted):
        expected = _cause_of_start(past, event)
        if expected not in (None, cause):
            yield "causes", f"{event.type} is caused by event {cause}, not by {expected}"


def _may_come_from_outside(recorded: Recorded) -> bool:
    match recorded.event:
        case e.FlowStarted():
            return True
        case e.FlowFailed() as event:
            return event.error in (CANCELLED, TIMED_OUT)
        case _:
            return isinstance(recorded.event, OUTCOMES) and origin_of(recorded.by) != "work"


def _is_cause_of_outcome(past: Past, event: Outcome, cause: int) -> bool:
    """Beside its release, an attempt's acceptance can have run out, and what came to nothing can have
    no retry left. What is abandoned follows from what made it needless, and an item that was never
    started fails by its predicate."""
    if past.released.get((event.token, event.attempt)) == cause:
        return True
    if isinstance(event, e.WorkFailed) and (event.error == ABANDONED or event.attempt == 0):
        return True
    led = past.event(cause)
    match led.event if led else None:
        case e.WorkAccepted() | e.WorkNotCompleted() as before:
            return before.token == event.token and before.attempt == event.attempt
        case _:
            return False


def _cause_of_start(past: Past, event: e.WorkStarted) -> int | None:
    """What a retry or a replacement follows from; None for a first attempt, which anything may allow."""
    item = past.item(event.token)
    if item is None or event.reason == "first":
        return None
    return item.due_version if event.reason == "retry" else item.started_version
