"""What happened: one class an event, which says what it holds, means and does. Nobody changes one.

`apply` is the only place where an event changes a state; it evaluates no script and reads no clock.
Field names are the keys of the event's `data`; None is left out. **A value is stored once in a
flow's log**: an input taken unchanged from an attribute is a reference (`{"attribute": name,
"index": i}`, against `{"value": ...}` for all else), an attribute that a work item provided and the
result of a flow follow from what came before. `expand` gives an event's data in full.

An **imported log** holds every event as `expand` gave it, and no seed: the plan is in `flow_started`,
tokens are listed, inputs are values. What follows from other events is there as well, and the fold
does not read it: an audit compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

from argyll_redis.core.collect import output_values, result_of
from argyll_redis.core.model import JSON, Plan, StepId, Token
from argyll_redis.core.owed import flow_has_failed, item_has_ended, step_has_ended, with_index, without_index
from argyll_redis.core.plan import plan_to_json
from argyll_redis.core.schemas import SCHEMA, up_to_date, with_schema
from argyll_redis.core.state import (
    THE_FLOW,
    Deadline,
    Draft,
    FlowStatus,
    Late,
    RootCause,
    StepRun,
    StepStatus,
    Value,
    WorkItem,
    WorkStatus,
)
from argyll_redis.errors import InvariantBroken, UnknownEvent

FOLLOWS: Any = object()
"""The value of a field that is not in the log, because it follows from what is. (None is a value.)"""
LATE_SUCCESS = -1
"""In `WorkItem.ignored`: a success that came after the item had failed is on record."""

E = TypeVar("E", bound="type[Event]")
EVENTS: dict[str, type[Event]] = {}
"""Every event by its type."""


def event(type_: str, *, schema: int = 1) -> Any:
    """Makes a class the event of a type; `schema` is the version of its data (see `schemas.py`)."""

    def register(cls: E) -> E:
        made: Any = dataclass(slots=True)(cls)  # not frozen, which takes a third of the time to make one
        made.type = type_
        made.schema = schema
        made.fields = tuple(made.__dataclass_fields__)
        EVENTS[type_] = made
        return made

    return register


class Event:
    """Something that happened in a flow."""

    __slots__ = ()
    type: ClassVar[str]
    schema: ClassVar[int]
    fields: ClassVar[tuple[str, ...]]

    def stored(self) -> dict[str, JSON]:
        """What the log stores of it, with the version of its schema."""
        return with_schema(self.data(), self.schema)

    def data(self) -> dict[str, JSON]:
        """What it holds, as the log stores it; None is left out."""
        return {name: value for name in self.fields if (value := getattr(self, name)) is not None}

    def apply(self, draft: Draft, version: int) -> None:
        """Changes the state as the event says."""
        raise NotImplementedError

    def expand(self, draft: Draft) -> dict[str, JSON]:
        """Gives its data in full, on the state that it left."""
        del draft
        return self.data()


def parse_event(type_: str, data: Mapping[str, JSON], *, plan: Plan | None = None) -> Event:
    """Makes an event from what a log stores, brought up to date. Raises `UnknownEvent` for a type, a
    schema or a field that this version does not know: it belongs to a newer one, which must not be
    misread."""
    known = EVENTS.get(type_)
    if known is None:
        raise UnknownEvent(f'the log holds an event of type "{type_}", which this version does not know')
    if known.schema > 1 or SCHEMA in data:
        data = up_to_date(type_, data, known.schema)
    try:
        return known(**data) if plan is None else known(**data, plan_=plan)  # type: ignore[call-arg]
    except TypeError as error:
        raise UnknownEvent(f'the log holds a "{type_}" that this version cannot read: {error}') from error


class Recorded(NamedTuple):
    """An event with where and why it stands in its log."""

    version: int
    at: int
    cause: int
    by: str
    tx: str
    place: int
    count: int  # pyright: ignore[reportIncompatibleMethodOverride] - nobody counts in a record
    event: Event


# ----------------------------------------------------------------------- flow


@event("flow_started")
class FlowStarted(Event):
    """A flow was started with a plan and initial values."""

    plan: str
    """The hash of the plan's bytes."""
    init: dict[str, list[JSON]]
    seed: str
    """32 hexadecimal digits; tokens derive from it and it never leaves the log. Empty when the log was
    imported, so that nothing derives from it."""
    metadata: dict[str, JSON]
    labels: dict[str, str]
    options: dict[str, JSON]
    """`linger_ms`; `timeout_ms` and `compensate` when given."""
    catalog_version: int
    """Of the catalog that was planned from."""
    plan_: Plan | None = None
    """The plan itself, handed in by whoever reads the log."""

    def data(self) -> dict[str, JSON]:
        return {name: getattr(self, name) for name in self.fields if name != "plan_"}

    def apply(self, draft: Draft, version: int) -> None:
        if version != 1 or self.plan_ is None:
            raise InvariantBroken("flow_started comes first, once, and with its plan")
        draft.fix(
            plan=self.plan_,
            plan_hash=self.plan,
            seed=self.seed,
            init=self.init,
            metadata=self.metadata,
            labels=self.labels,
            compensate=self.options.get("compensate"),
            timeout_ms=self.options.get("timeout_ms", 0),
            linger_ms=self.options["linger_ms"],
            catalog_version=self.catalog_version,
        )
        for step in self.plan_.steps:
            draft.add_run(StepRun(step))
        for name, values in self.init.items():
            for value in values:
                draft.add_value(name, Value(value, None, version))

    def expand(self, draft: Draft) -> dict[str, JSON]:
        shown = {name: value for name, value in self.data().items() if name != "seed"}
        return {**shown, "plan": plan_to_json(draft.plan)}


def _end(draft: Draft, version: int) -> None:
    draft.ended_version = version
    draft.drop_deadlines()
    if draft.active:
        draft.linger(THE_FLOW)


@event("flow_completed")
class FlowCompleted(Event):
    """Every goal is done. The result follows from what the goals provided."""

    result: dict[str, JSON] | None = None
    """Only in an imported log."""

    def apply(self, draft: Draft, version: int) -> None:
        draft.move(FlowStatus.COMPLETED)
        _end(draft, version)

    def expand(self, draft: Draft) -> dict[str, JSON]:
        return {"result": result_of(draft)}


@event("flow_failed")
class FlowFailed(Event):
    """A goal has failed or can no longer be reached, or the flow was cancelled or timed out."""

    error: str
    root_cause: dict[str, str] | None = None

    def apply(self, draft: Draft, version: int) -> None:
        draft.move(FlowStatus.FAILED)
        _end(draft, version)
        draft.error = self.error
        if self.root_cause:
            draft.root_cause = RootCause(StepId(self.root_cause["step"]), self.root_cause["error"])
        flow_has_failed(draft)


@event("flow_deactivated")
class FlowDeactivated(Event):
    """None of the flow's own work items can act any more; the log is closed."""

    status: str

    def apply(self, draft: Draft, version: int) -> None:
        if not draft.is_over or draft.active or draft.waiting or draft.undos:
            raise InvariantBroken(f"flow {draft.id} is deactivated while something of it can still act")
        draft.deactivated_version = version


# ----------------------------------------------------------------------- step


@event("step_started")
class StepStarted(Event):
    """A step's inputs were collected and its work items counted."""

    step: StepId
    inputs: dict[str, JSON]
    """By inner name: `{"attribute": name, "index": i}`, with `indexes` for several, or `{"value": value}`
    for a const, a default, and what a mapping script has made."""
    items: int
    tokens: list[Token] | None = None
    """Of its items in their order; only in an imported log."""

    def apply(self, draft: Draft, version: int) -> None:
        run = draft.edit_step(self.step)
        run.move(StepStatus.ACTIVE)
        draft.drop_deadlines(self.step)
        run.started_version = version
        run.inputs = resolve(draft, self.inputs)
        run.size = self.items
        run.tokens = tuple(self.tokens or ())
        if not draft.seed and len(run.tokens) != self.items:
            raise InvariantBroken(f"step {self.step} of an imported flow does not list its tokens")
        draft.add_tokens(self.step, self.items)

    def expand(self, draft: Draft) -> dict[str, JSON]:
        inputs = resolve(draft, self.inputs)
        tokens = [draft.token(self.step, index) for index in range(self.items)]
        return {"step": self.step, "inputs": inputs, "items": self.items, "tokens": tokens}


@event("step_completed")
class StepCompleted(Event):
    """All work items of a step are over, and what they provided is set."""

    step: StepId

    def apply(self, draft: Draft, version: int) -> None:
        run = draft.edit_step(self.step)
        run.move(StepStatus.COMPLETED)
        run.ended_version = version


@event("step_failed")
class StepFailed(Event):
    """A step cannot be completed any more."""

    step: StepId
    error: str
    root_cause: dict[str, str]
    inputs: dict[str, JSON] | None = None
    """What it had, as in `step_started`; only when it failed before its start."""
    unsatisfied: list[str] | None = None
    """Attributes that it needs and that can no longer appear."""

    def apply(self, draft: Draft, version: int) -> None:
        run = draft.edit_step(self.step)
        run.move(StepStatus.FAILED)
        draft.drop_deadlines(self.step)
        run.ended_version = version
        run.error = self.error
        run.root_cause = RootCause(StepId(self.root_cause["step"]), self.root_cause["error"])
        if self.inputs is not None:
            run.inputs = resolve(draft, self.inputs)
        run.unsatisfied = tuple(self.unsatisfied or ())
        if run.active and not draft.is_over:
            draft.linger(self.step)
        if run.succeeded:
            step_has_ended(draft, run)

    def expand(self, draft: Draft) -> dict[str, JSON]:
        return _expand_inputs(self.data(), draft)


@event("step_skipped")
class StepSkipped(Event):
    """A step is not run: its predicate is false, a gate is closed, or nobody wants what it provides."""

    step: StepId
    reason: str
    """`predicate`, `match` or `unwanted`."""
    inputs: dict[str, JSON] | None = None
    unsatisfied: list[str] | None = None

    def apply(self, draft: Draft, version: int) -> None:
        run = draft.edit_step(self.step)
        run.move(StepStatus.SKIPPED)
        draft.drop_deadlines(self.step)
        run.ended_version = version
        run.reason = self.reason
        if self.inputs is not None:
            run.inputs = resolve(draft, self.inputs)
        run.unsatisfied = tuple(self.unsatisfied or ())

    def expand(self, draft: Draft) -> dict[str, JSON]:
        return _expand_inputs(self.data(), draft)


@event("deadline_started")
class DeadlineStarted(Event):
    """A step has all that it needs, and waits for an optional input no longer than this."""

    step: StepId
    name: str
    """Of the attribute."""
    delay_ms: int

    def apply(self, draft: Draft, version: int) -> None:
        draft.start_deadline(self.step, self.name, Deadline(version, self.delay_ms))


@event("deadline_passed")
class DeadlinePassed(Event):
    """An optional input is waited for no longer: what came before counts, what comes later does not."""

    step: StepId
    name: str
    """Of the attribute."""

    def apply(self, draft: Draft, version: int) -> None:
        draft.pass_deadline(self.step, self.name, version)


@event("attribute_set")
class AttributeSet(Event):
    """A step provides an attribute. The value follows from its work items' outputs."""

    name: str
    step: StepId
    value: JSON = FOLLOWS
    """Only in an imported log."""

    def data(self) -> dict[str, JSON]:
        return {name: value for name in self.fields if (value := getattr(self, name)) is not FOLLOWS}

    def apply(self, draft: Draft, version: int) -> None:
        value = output_values(draft, self.step, self.name)
        draft.add_value(self.name, Value(value, self.step, version))

    def expand(self, draft: Draft) -> dict[str, JSON]:
        value = next(value for value in draft.values(self.name) if value.step == self.step)
        return {"name": self.name, "value": value.value, "step": self.step}


# ----------------------------------------------------------------------- work


def _leave(draft: Draft, run: StepRun, item: WorkItem) -> None:
    """Takes an item out of the counts of what can still act or start, before its status changes."""
    if item.status is WorkStatus.ACTIVE:
        run.active -= 1
        draft.active -= 1
        if item.accepted_version:
            run.accepted -= 1
            draft.accepted -= 1
        if draft.lingering and not run.active:
            draft.linger_no_more(run.id)
        if draft.lingering and not draft.active:
            draft.linger_no_more(THE_FLOW)
    elif item.is_waiting:
        run.retrying = without_index(run.retrying, item.index)
        draft.waiting -= 1
    elif item.is_untouched and item.index == run.next_index:
        run.next_index += 1
        while (later := draft.item(run.id, run.next_index)) and not later.is_untouched:
            run.next_index += 1


@event("work_started")
class WorkStarted(Event):
    """An attempt of a work item is released: from now on an engine may call the step."""

    step: StepId
    token: Token
    attempt: int
    reason: str
    """`first`, `retry` or `lost`."""

    def apply(self, draft: Draft, version: int) -> None:
        item = draft.edit_token(self.token)
        run = draft.edit_step(self.step)
        _leave(draft, run, item)
        if self.attempt != item.attempt + 1:
            raise InvariantBroken(f"attempt {self.attempt} of {self.token} follows attempt {item.attempt}")
        item.move(WorkStatus.ACTIVE)
        item.attempt = self.attempt
        item.started_version = version
        item.first_version = item.first_version or version
        item.accepted_version = 0
        item.timeout_ms = 0
        item.due_attempt = 0
        item.losses = item.losses + 1 if self.reason == "lost" else 0
        run.active += 1
        draft.active += 1
        run.next_index = max(run.next_index, item.index + 1)


@event("work_accepted")
class WorkAccepted(Event):
    """The step was called and its outcome comes later, from elsewhere."""

    step: StepId
    token: Token
    attempt: int
    timeout_ms: int | None = None
    """How long from now the outcome is waited for; None is without end."""

    def apply(self, draft: Draft, version: int) -> None:
        item = draft.edit_token(self.token)
        if item.status is not WorkStatus.ACTIVE or item.accepted_version or item.attempt != self.attempt:
            raise InvariantBroken(f"attempt {self.attempt} of {self.token} cannot be accepted")
        item.accepted_version = version
        item.timeout_ms = self.timeout_ms or 0
        draft.edit_step(self.step).accepted += 1
        draft.accepted += 1


@event("work_succeeded")
class WorkSucceeded(Event):
    """A work item is done."""

    step: StepId
    token: Token
    attempt: int
    outputs: dict[str, JSON]
    """By attribute name, after mapping; only declared ones."""
    ran_ms: int
    memo: bool | None = None

    def apply(self, draft: Draft, version: int) -> None:
        item = draft.edit_token(self.token)
        run = draft.edit_step(self.step)
        _leave(draft, run, item)
        item.move(WorkStatus.SUCCEEDED)
        item.ended_version = version
        item.outputs = self.outputs
        run.succeeded += 1
        item_has_ended(draft, run, item)


@event("work_failed")
class WorkFailed(Event):
    """A work item has failed for good."""

    step: StepId
    token: Token
    attempt: int
    error: str

    def apply(self, draft: Draft, version: int) -> None:
        item = draft.edit_token(self.token)
        run = draft.edit_step(self.step)
        _leave(draft, run, item)
        item.move(WorkStatus.FAILED)
        item.ended_version = version
        item.error = self.error
        run.failed += 1
        if run.first_error is None:
            run.first_error = RootCause(self.step, self.error)


@event("work_not_completed")
class WorkNotCompleted(Event):
    """An attempt came to nothing; the item may be tried again."""

    step: StepId
    token: Token
    attempt: int
    error: str

    def apply(self, draft: Draft, version: int) -> None:
        item = draft.edit_token(self.token)
        _leave(draft, draft.edit_step(self.step), item)
        item.move(WorkStatus.NOT_COMPLETED)
        item.error = self.error


@event("work_retry_scheduled")
class WorkRetryScheduled(Event):
    """The next attempt of a work item starts after a delay, when there is room."""

    step: StepId
    token: Token
    attempt: int
    """The attempt that will start."""
    delay_ms: int

    def apply(self, draft: Draft, version: int) -> None:
        item = draft.edit_token(self.token)
        run = draft.edit_step(self.step)
        item.move(WorkStatus.PENDING)
        item.retries += 1
        item.due_attempt = self.attempt
        item.due_version = version
        item.due_delay_ms = self.delay_ms
        run.retrying = with_index(run.retrying, item.index)
        draft.waiting += 1


@event("work_skipped")
class WorkSkipped(Event):
    """A work item is not called, because the step's predicate is false for its inputs."""

    step: StepId
    token: Token

    def apply(self, draft: Draft, version: int) -> None:
        item = draft.edit_token(self.token)
        run = draft.edit_step(self.step)
        _leave(draft, run, item)
        item.move(WorkStatus.SKIPPED)
        item.ended_version = version
        run.skipped += 1


@event("work_ignored")
class WorkIgnored(Event):
    """An outcome arrived that does not count; it is on record once a token and attempt."""

    step: StepId
    token: Token
    attempt: int
    reason: str
    outputs: dict[str, JSON] | None = None
    """Of a success that came after its item had failed."""

    def apply(self, draft: Draft, version: int) -> None:
        item = draft.edit_token(self.token)
        mark = LATE_SUCCESS if self.outputs is not None else self.attempt
        item.ignored = item.ignored | {mark}
        if self.outputs is not None and draft.plan.steps[self.step].can_undo:
            item.late = Late(version, self.outputs)
            item_has_ended(draft, draft.edit_step(self.step), item)


# ---------------------------------------------------------------------- values


def resolve(draft: Draft, inputs: Mapping[str, JSON]) -> dict[str, JSON]:
    """The values of recorded inputs, by inner name; an imported log has recorded the values."""
    if not draft.seed:
        return dict(inputs)
    return {name: _resolve_one(draft, source) for name, source in inputs.items()}


def _resolve_one(draft: Draft, source: Mapping[str, JSON]) -> JSON:
    if "value" in source:
        return source["value"]
    values = draft.values(source["attribute"])
    if "index" in source:
        index: int = source["index"]
        return values[index].value
    indexes: list[int] = source["indexes"]
    return [values[index].value for index in indexes]


def _expand_inputs(data: dict[str, JSON], draft: Draft) -> dict[str, JSON]:
    """An event's data with its recorded inputs in full."""
    return {**data, "inputs": resolve(draft, data["inputs"])} if "inputs" in data else data
