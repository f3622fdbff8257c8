"""Whether each event of a work item may stand where it stands: I-05 to I-07, I-13, I-15, I-16."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from argyll_redis.core import events as e
from argyll_redis.core.audit_past import EARLY_MS, Findings, Past, origin_of
from argyll_redis.core.limits import MAX_LOSSES, MAX_RETRY_AFTER_MS
from argyll_redis.core.model import StepType, Token
from argyll_redis.core.parse import type_matches
from argyll_redis.core.retry import delay_ms, retries_left
from argyll_redis.core.state import WORK_OVER, StepStatus, WorkItem, WorkStatus

WorkEvent = (
    e.WorkStarted
    | e.WorkAccepted
    | e.WorkSucceeded
    | e.WorkFailed
    | e.WorkNotCompleted
    | e.WorkRetryScheduled
    | e.WorkSkipped
    | e.WorkIgnored
)
Call = (
    e.WorkStarted
    | e.WorkAccepted
    | e.WorkSucceeded
    | e.WorkFailed
    | e.WorkNotCompleted
    | e.WorkRetryScheduled
    | e.WorkIgnored
)
"""Those that name an attempt."""


def check_token(past: Past, event: WorkEvent) -> Findings:
    """A work event names a step of the plan, and a token that this step's start has made."""
    run = past.run(event.step)
    if run is None:
        yield "I-08", f"step `{event.step}` is not in the plan"
    else:
        past.moved[event.step] = None
    found = past.flow.tokens.get(event.token)
    if found is None:
        yield "I-07", f"token {event.token} was not made by any step that has started"
    elif found[0] != event.step:
        yield "I-07", f"token {event.token} is one of step `{found[0]}`, not of `{event.step}`"


def _item(past: Past, token: Token) -> Iterator[WorkItem]:
    """The work item of a token, if there is one; `check_token` has said when there is none."""
    item = past.item(token)
    if item is not None:
        yield item


def _named(event: Call) -> str:
    return f"attempt {event.attempt} of {event.token}"


# ---------------------------------------------------------------------- starts


def check_started(past: Past, event: e.WorkStarted) -> Findings:
    """Attempts are 1, 2, 3, ..., each for the reason it gives, while they matter and there is room."""
    for item in _item(past, event.token):
        if event.attempt != item.attempt + 1:
            yield "I-06", f"{_named(event)} follows attempt {item.attempt}"
        yield from _check_reason(past, event, item)
        yield from _check_room(past, event, item)
    past.released[event.token, event.attempt] = past.recorded.version


def _check_reason(past: Past, event: e.WorkStarted, item: WorkItem) -> Findings:
    match event.reason:
        case "first":
            if not item.is_untouched:
                yield "I-06", f"{_named(event)} is the first, and the work item is {item.status}"
            yield from _check_order(past, item)
        case "retry":
            yield from _check_due(past, event, item)
        case "lost":
            is_child = past.definition(item.step).type is StepType.FLOW
            if item.status is not WorkStatus.ACTIVE or (item.accepted_version and not is_child):
                yield "I-06", f"{_named(event)} replaces one that could not be lost"
            elif item.losses + 1 >= MAX_LOSSES:
                yield "I-16", f"{_named(event)} follows {MAX_LOSSES} losses in a row"
        case _:
            yield "I-06", f'{_named(event)} is started for a reason that does not exist: "{event.reason}"'


def _check_order(past: Past, item: WorkItem) -> Findings:
    """Items start in item order. Looks at each item once, however many starts there are."""
    run = past.flow.steps[item.step]
    place = past.begun.get(run.id, 0)
    while (earlier := run.items.get(place)) is not None and not earlier.is_untouched:
        place += 1
    past.begun[run.id] = place
    if place < item.index:
        yield "I-06", f"work item {item.index} of step `{run.id}` is started before item {place}"


def _check_due(past: Past, event: e.WorkStarted, item: WorkItem) -> Findings:
    """A retry starts once its delay has passed."""
    if not item.is_waiting or item.due_attempt != event.attempt:
        yield "I-06", f"{_named(event)} is a retry that was not scheduled"
        return
    due_ms = past.flow.at_of(item.due_version) + item.due_delay_ms
    if past.recorded.at < due_ms - EARLY_MS:
        yield "I-16", f"{_named(event)} is started {due_ms - past.recorded.at} ms before it is due"


def _check_room(past: Past, event: e.WorkStarted, item: WorkItem) -> Findings:
    run, work = past.flow.steps[item.step], past.definition(item.step).work
    if past.flow.is_over:
        yield "I-13", f"{_named(event)} is started after the flow's outcome"
    elif run.status is not StepStatus.ACTIVE:
        yield "I-13", f"{_named(event)} is started while step `{run.id}` is {run.status}"
    active = run.active + (item.status is not WorkStatus.ACTIVE)
    if active > work.parallelism:
        yield "I-15", f"{active} work items of step `{run.id}` are active, of {work.parallelism} allowed"
    if work.max_attempts and event.attempt > work.max_attempts:
        yield "I-16", f"{_named(event)} is more than the {work.max_attempts} attempts allowed"


# -------------------------------------------------------------------- outcomes


def _check_current(event: Call, item: WorkItem) -> Findings:
    """Only the current attempt, while it is active, can come to nothing or be accepted."""
    if item.status is not WorkStatus.ACTIVE:
        yield "I-06", f"{_named(event)} has an outcome while the work item is {item.status}"
    elif event.attempt != item.attempt:
        yield "I-06", f"{_named(event)} has an outcome, and the current attempt is {item.attempt}"


def _check_first(event: Call, item: WorkItem) -> Findings:
    """The first outcome of a work item is the only one that counts."""
    if item.status in WORK_OVER:
        yield "I-05", f"{_named(event)} counts, and the work item has {item.status} already"
    if not 0 <= event.attempt <= item.attempt:
        yield "I-06", f"{_named(event)} has an outcome, and was never started"


def check_accepted(past: Past, event: e.WorkAccepted) -> Findings:
    """The current attempt is accepted once, and waited for no longer than its timeout."""
    for item in _item(past, event.token):
        yield from _check_current(event, item)
        if item.is_accepted:
            yield "I-06", f"{_named(event)} is accepted for the second time"
        timeout = past.definition(item.step).work.timeout_ms
        if not 0 <= (event.timeout_ms or 0) <= timeout or bool(event.timeout_ms) != bool(timeout):
            yield "I-16", f"{_named(event)} is waited for {event.timeout_ms} ms, of {timeout} allowed"


def check_succeeded(past: Past, event: e.WorkSucceeded) -> Findings:
    """A success counts from any attempt, once, and gives declared outputs of their declared types."""
    for item in _item(past, event.token):
        yield from _check_first(event, item)
        step = past.definition(item.step)
        declared = {each.name: each for each in step.outputs}
        for name, value in event.outputs.items():
            attribute = declared.get(name)
            if attribute is None:
                yield "I-11", f"{_named(event)} gives `{name}`, which is no output of step `{step.id}`"
            elif attribute.type and not step.for_each and not type_matches(attribute.type, value):
                yield "I-11", f"{_named(event)} gives `{name}`, which is not of its declared type"


def check_failed(past: Past, event: e.WorkFailed) -> Findings:
    """A permanent failure counts from the current attempt, or from a webhook, once."""
    past.fallen.pop(event.token, None)
    for item in _item(past, event.token):
        yield from _check_first(event, item)
        is_webhook = origin_of(past.recorded.by) == "webhook"
        if event.attempt != item.attempt and not is_webhook:
            yield "I-06", f"{_named(event)} fails, and the current attempt is {item.attempt}"


def check_not_completed(past: Past, event: e.WorkNotCompleted) -> Findings:
    """The current attempt comes to nothing, and what follows is said in the same transaction."""
    past.fallen[event.token] = event.attempt
    for item in _item(past, event.token):
        yield from _check_current(event, item)


def check_retry_scheduled(past: Past, event: e.WorkRetryScheduled) -> Findings:
    """A retry is scheduled within the step's budget, with the delay that its policy gives."""
    past.fallen.pop(event.token, None)
    for item in _item(past, event.token):
        step = past.definition(item.step)
        if item.status is not WorkStatus.NOT_COMPLETED or event.attempt != item.attempt + 1:
            yield "I-16", f"{_named(event)} is scheduled while the work item is {item.status}"
        if past.flow.is_over or past.flow.steps[item.step].status is not StepStatus.ACTIVE:
            yield "I-13", f"{_named(event)} is scheduled, and nobody waits for it any more"
        if not retries_left(step.work, item.retries):
            yield "I-16", f"{_named(event)} is more than the {step.work.max_retries} retries allowed"
        if step.work.max_attempts and event.attempt > step.work.max_attempts:
            yield "I-16", f"{_named(event)} is more than the {step.work.max_attempts} attempts allowed"
        yield from _check_delay(past, event, item)


def _check_delay(past: Past, event: e.WorkRetryScheduled, item: WorkItem) -> Findings:
    """The delay is the computed one, or one that the step may have asked for."""
    work = past.definition(item.step).work
    computed = delay_ms(work, retry=item.retries, token=item.token, attempt=item.attempt)
    can_ask = origin_of(past.recorded.by) != "timer"
    is_asked = can_ask and 0 <= event.delay_ms <= MAX_RETRY_AFTER_MS
    if event.delay_ms != computed and not is_asked:
        yield "I-16", f"{_named(event)} is due after {event.delay_ms} ms, its policy says {computed} ms"


def check_skipped(past: Past, event: e.WorkSkipped) -> Findings:
    """A work item that never started is skipped by its step's predicate."""
    for item in _item(past, event.token):
        step = past.definition(item.step)
        if not item.is_untouched:
            yield "I-06", f"work item {event.token} is skipped while it is {item.status}"
        if step.predicate is None or not step.for_each:
            yield "I-09", f"work item {event.token} is skipped, and step `{step.id}` has no check for it"
        if past.flow.is_over:
            yield "I-13", f"work item {event.token} is skipped after the flow's outcome"


def check_ignored(past: Past, event: e.WorkIgnored) -> Findings:
    """What does not count is on record once a token and attempt, a late success once more."""
    for item in _item(past, event.token):
        is_late = event.outputs is not None
        mark = e.LATE_SUCCESS if is_late else event.attempt
        if mark in item.ignored:
            yield "I-05", f"{_named(event)} is ignored on record for the second time"
        if not 0 <= event.attempt <= item.attempt:
            yield "I-06", f"{_named(event)} is ignored, and was never started"
        if is_late and item.status is not WorkStatus.FAILED:
            yield "I-05", f"{_named(event)} is a late success, and the work item has not failed"


def check_fallen(past: Past) -> Findings:
    """At the end of a transaction no attempt that came to nothing is without a sequel."""
    for token, attempt in past.fallen.items():
        yield "I-16", f"attempt {attempt} of {token} came to nothing, and is neither retried nor failed"


WORK_CHECKS: Mapping[type[e.Event], Callable[[Past, Any], Findings]] = {
    e.WorkStarted: check_started,
    e.WorkAccepted: check_accepted,
    e.WorkSucceeded: check_succeeded,
    e.WorkFailed: check_failed,
    e.WorkNotCompleted: check_not_completed,
    e.WorkRetryScheduled: check_retry_scheduled,
    e.WorkSkipped: check_skipped,
    e.WorkIgnored: check_ignored,
}
