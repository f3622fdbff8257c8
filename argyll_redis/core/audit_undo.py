"""Whether each event of a compensation may stand where it stands, and whether none is missing: I-17."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from argyll_redis.core import events as e
from argyll_redis.core.audit_past import EARLY_MS, Findings, Past, origin_of
from argyll_redis.core.events_undo import CompFailed, CompRetryScheduled, CompStarted, CompSucceeded
from argyll_redis.core.limits import MAX_LOSSES, MAX_RETRY_AFTER_MS
from argyll_redis.core.model import Token
from argyll_redis.core.owed import undoes_all
from argyll_redis.core.retry import delay_ms, retries_left
from argyll_redis.core.state import StepRun, StepStatus, Undo, WorkItem, WorkStatus

CompEvent = CompStarted | CompRetryScheduled | CompSucceeded | CompFailed


def _named(event: CompEvent) -> str:
    return f"compensation {event.attempt} of {event.token}"


def _item(past: Past, token: Token) -> Iterator[tuple[WorkItem, Undo]]:
    """The work item of a token, if there is one; who looks for tokens has said when there is none."""
    item = past.item(token)
    if item is not None:
        yield item, item.undo or Undo()


def _may_be_undone(past: Past, run: StepRun, item: WorkItem) -> bool:
    """Whether an item has a success on record that is of no use any more."""
    if item.status is WorkStatus.FAILED:
        return item.late is not None
    return item.status is WorkStatus.SUCCEEDED and (run.status is StepStatus.FAILED or undoes_all(past.flow))


# ---------------------------------------------------------------------- starts


def check_started(past: Past, event: CompStarted) -> Findings:
    """An item is undone when its success is of no use, by attempts 1, 2, 3, ..., while there is room."""
    for item, undo in _item(past, event.token):
        step = past.definition(item.step)
        if not step.can_undo:
            yield "I-17", f"{_named(event)} is started, and step `{step.id}` does not know how to undo"
        if event.attempt != undo.attempt + 1:
            yield "I-17", f"{_named(event)} follows attempt {undo.attempt}"
        if step.work.max_attempts and event.attempt > step.work.max_attempts:
            yield "I-17", f"{_named(event)} is more than the {step.work.max_attempts} attempts allowed"
        match event.reason:
            case "first":
                yield from _check_first(past, event, item)
            case "retry":
                yield from _check_due(past, event, item, undo)
            case "lost":
                if not _is_running(item, undo):
                    yield "I-17", f"{_named(event)} replaces one that could not be lost"
                elif undo.losses + 1 >= MAX_LOSSES:
                    yield "I-17", f"{_named(event)} follows {MAX_LOSSES} losses in a row"
            case _:
                yield (
                    "I-17",
                    f'{_named(event)} is started for a reason that does not exist: "{event.reason}"',
                )
        if event.reason != "lost":
            yield from _check_room(past, event, item)
    past.undo_released[event.token, event.attempt] = past.recorded.version


def _check_first(past: Past, event: CompStarted, item: WorkItem) -> Findings:
    run = past.flow.steps[item.step]
    if not _may_be_undone(past, run, item):
        yield (
            "I-17",
            f"{_named(event)} undoes what counts: the item is {item.status}, its step {run.status}",
        )
    elif item.late is None and run.status is not StepStatus.FAILED:
        if past.flow.active or past.flow.waiting:
            yield "I-17", f"{_named(event)} is started while work items can still act"
        rank = past.flow.plan.rank
        for other in past.flow.steps.values():
            if rank[other.id] < rank[run.id] and any(_owed(past, other)):
                yield (
                    "I-17",
                    f"{_named(event)} is started before step `{other.id}` behind it is undone",
                )


def _check_due(past: Past, event: CompStarted, item: WorkItem, undo: Undo) -> Findings:
    if not undo.is_waiting or undo.due_attempt != event.attempt:
        yield "I-17", f"{_named(event)} is a retry that was not scheduled"
    elif past.recorded.at < past.flow.at_of(undo.due_version) + undo.due_delay_ms - EARLY_MS:
        yield "I-17", f"{_named(event)} is started before it is due"


def _check_room(past: Past, event: CompStarted, item: WorkItem) -> Findings:
    """A step has at most as many on their way as its parallelism, a flow that undoes everything one."""
    if undoes_all(past.flow):
        if any(run.undoing for run in past.flow.steps.values()):
            yield "I-17", f"{_named(event)} is started before the one before it has ended"
    elif past.flow.steps[item.step].undoing >= past.definition(item.step).work.parallelism:
        yield "I-17", f"{_named(event)} is more than the parallelism of step `{item.step}`"


def _is_running(item: WorkItem, undo: Undo) -> bool:
    return item.status is WorkStatus.COMPENSATING and not undo.is_waiting


# -------------------------------------------------------------------- outcomes


def _check_current(event: CompEvent, attempt: int, item: WorkItem, undo: Undo) -> Findings:
    if not _is_running(item, undo):
        yield "I-17", f"{_named(event)} has an outcome while the work item is {item.status}"
    elif attempt != undo.attempt:
        yield "I-17", f"{_named(event)} has an outcome, and the current attempt is {undo.attempt}"


def check_succeeded(past: Past, event: CompSucceeded) -> Findings:
    """A success counts from any attempt, once."""
    for item, undo in _item(past, event.token):
        if item.status is not WorkStatus.COMPENSATING or not 0 < event.attempt <= undo.attempt:
            yield "I-17", f"{_named(event)} succeeds while the work item is {item.status}"


def check_failed(past: Past, event: CompFailed) -> Findings:
    """A permanent failure counts from the current attempt."""
    for item, undo in _item(past, event.token):
        yield from _check_current(event, event.attempt, item, undo)


def check_retry_scheduled(past: Past, event: CompRetryScheduled) -> Findings:
    """A retry is scheduled within the step's budget, with the delay of its policy or one asked for."""
    for item, undo in _item(past, event.token):
        work = past.definition(item.step).work
        yield from _check_current(event, event.attempt - 1, item, undo)
        if not retries_left(work, undo.retries):
            yield "I-17", f"{_named(event)} is more than the {work.max_retries} retries allowed"
        if work.max_attempts and event.attempt > work.max_attempts:
            yield "I-17", f"{_named(event)} is more than the {work.max_attempts} attempts allowed"
        computed = delay_ms(work, retry=undo.retries, token=item.token, attempt=undo.attempt)
        can_ask = origin_of(past.recorded.by) == "work" and 0 <= event.delay_ms <= MAX_RETRY_AFTER_MS
        if event.delay_ms != computed and not can_ask:
            yield (
                "I-17",
                f"{_named(event)} is due after {event.delay_ms} ms, its policy says {computed} ms",
            )


# ----------------------------------------------------------------- what is left


def _owed(past: Past, run: StepRun) -> Iterator[WorkItem]:
    """The items of a step that have to be undone and are not begun with."""
    if past.definition(run.id).can_undo:
        for item in run.items.values():
            if _may_be_undone(past, run, item):
                yield item


def check_nothing_left(past: Past) -> Findings:
    """A flow is deactivated when nothing of it is to be undone, or is being undone."""
    for run in past.flow.steps.values():
        for item in run.items.values():
            if item.status is WorkStatus.COMPENSATING:
                yield "I-14", f"the flow is deactivated while work item {item.token} is being undone"
        for item in _owed(past, run):
            yield "I-17", f"the flow is deactivated, and work item {item.token} was not undone"


def check_cause(past: Past, event: CompEvent, cause: int) -> Findings:
    """An item is undone because its step or its flow failed, or because its success came after that; a
    retry follows from what scheduled it, an outcome from the release of its attempt."""
    item = past.item(event.token)
    undo = item.undo if item else None
    expected: int | None
    if not isinstance(event, CompStarted):
        attempt = event.attempt - isinstance(event, CompRetryScheduled)
        expected = past.undo_released.get((event.token, attempt))
    elif event.reason == "first":
        led = past.event(cause)
        may_lead = (e.StepFailed, e.FlowFailed, e.WorkSucceeded, e.WorkIgnored)
        expected = cause if led and isinstance(led.event, may_lead) else 0
    elif undo is not None:
        expected = undo.due_version if event.reason == "retry" else undo.version
    else:
        expected = None
    if expected != cause:
        yield "causes", f"{event.type} is caused by event {cause}, not by {expected}"


UNDO_CHECKS: Mapping[type[e.Event], Callable[[Past, Any], Findings]] = {
    CompStarted: check_started,
    CompRetryScheduled: check_retry_scheduled,
    CompSucceeded: check_succeeded,
    CompFailed: check_failed,
}
