"""What a turn asks of the world, and what a flow ought to have pending.

`outbox` gives the effects that travel in the same commit as the events that need them; `outstanding`
says from a state alone which references must exist. A property test holds them equal: the effects
over a whole log, minus what was consumed, are what is outstanding. So everything but the log can be
lost and rebuilt.

A reference is text. An entry of `work:<queue>` is `<flow> <token> <attempt> <version>`, one of
`control` is `<flow> <kind> ...`, a due entry's member is the stream it goes to, a blank, and that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from argyll_redis.core import events as e
from argyll_redis.core import events_undo as undo
from argyll_redis.core.model import StepId
from argyll_redis.core.state import THE_FLOW, Draft, Flow, FlowStatus, View, WorkItem, WorkStatus
from argyll_redis.core.sub_flows import is_child, parent_of, word_payload
from argyll_redis.core.turn import Decided

CONTROL = "control"
UNDO = ":undo"
"""Behind a token in an entry of work: its compensation, and not its work."""


class Release(NamedTuple):
    """Releases an attempt to the engines that serve a queue."""

    queue: str
    payload: str


class Control(NamedTuple):
    """Asks any engine to look at the flow."""

    payload: str


class Timer(NamedTuple):
    """Does so after a delay, counted from the turn's own time."""

    member: str
    delay_ms: int


class Settled(NamedTuple):
    """Drops a due entry that has nothing left to decide."""

    member: str


class Status(NamedTuple):
    """Tells the index that the flow is started, over (a status) or deactivated."""

    status: str
    labels: Mapping[str, str] | None = None
    """At the start."""
    error: str | None = None
    """Of a flow that has failed."""
    is_child: bool = False
    """Whether it is a child flow, which no list shows."""


class PlanUse(NamedTuple):
    """Counts the flow among the users of its plan."""

    hash: str


class Closed(NamedTuple):
    """Closes the log: the flow is deactivated."""

    is_child: bool = False


Effect = Release | Control | Timer | Settled | Status | PlanUse | Closed


@dataclass(frozen=True, slots=True)
class References:
    """What a flow ought to have pending."""

    work: frozenset[tuple[str, str]]
    """(queue, payload)."""
    due: Mapping[str, int]
    """Members, each with when it is due (ms, server clock)."""


def retry_member(flow: str, token: str, attempt: int) -> str:
    return f"{CONTROL} {flow} retry {token} {attempt}"


def expire_member(flow: str, token: str, attempt: int) -> str:
    return f"{CONTROL} {flow} expire {token} {attempt}"


def linger_member(flow: str, scope: str) -> str:
    return f"{CONTROL} {flow} linger {scope}"


def deadline_member(flow: str, step: StepId, name: str) -> str:
    """The name comes last: it may hold blanks."""
    return f"{CONTROL} {flow} deadline {step} {name}"


def time_out_member(flow: str) -> str:
    return f"{CONTROL} {flow} time_out"


def look_payload(flow: str) -> str:
    return f"{flow} look"


def work_payload(flow: str, item: WorkItem) -> str:
    """Names the current attempt of an item, and the version of its `work_started`."""
    return f"{flow} {item.token} {item.attempt} {item.started_version}"


def undo_payload(flow: str, item: WorkItem) -> str:
    """Names the current attempt to undo an item, and the version of its `comp_started`."""
    attempt, version = (item.undo.attempt, item.undo.version) if item.undo else (0, 0)
    return f"{flow} {item.token}{UNDO} {attempt} {version}"


def undo_retry_member(flow: str, token: str, attempt: int) -> str:
    return f"{CONTROL} {flow} undo {token} {attempt}"


def outbox(
    draft: Draft, events: Iterable[Decided], *, left: bool = False, controls: Iterable[str] = ()
) -> list[Effect]:
    """Gives the effects of a turn's events: what each of them asks for, and the due entries by which
    the state that they left differs from the one before."""
    effects: list[Effect] = []
    version = draft.base.version
    for decided in events:
        version += 1
        _effects_of(draft, decided.event, version, effects)
    _set_timers(draft, effects)
    effects.extend(map(Control, controls))
    if left:
        effects.append(Control(look_payload(draft.id)))
    return effects


def _effects_of(draft: Draft, event: e.Event, version: int, effects: list[Effect]) -> None:
    asks = EFFECTS.get(type(event))
    if asks is not None:
        asks(draft, event, version, effects)


def _start(draft: Draft, event: e.FlowStarted, version: int, effects: list[Effect]) -> None:
    del version
    effects.append(PlanUse(event.plan))
    effects.append(Status(FlowStatus.ACTIVE, labels=event.labels, is_child=is_child(draft.id)))


def _end(draft: Draft, event: e.Event, version: int, effects: list[Effect]) -> None:
    del event
    effects.append(Status(draft.status, error=draft.error, is_child=is_child(draft.id)))
    if parent := parent_of(draft.id):
        effects.append(Control(word_payload(parent, version)))


def _close(draft: Draft, event: e.Event, version: int, effects: list[Effect]) -> None:
    del event, version
    effects.append(Closed(is_child=is_child(draft.id)))


def _release(draft: Draft, event: e.WorkStarted, version: int, effects: list[Effect]) -> None:
    """Releases an attempt, unless the same turn has gone on without it."""
    found = draft.find(event.token)
    item = draft.item(*found) if found else None
    if item is not None and item.started_version == version and _is_released(item):
        effects.append(Release(draft.plan.steps[event.step].queue, work_payload(draft.id, item)))


def _release_undo(draft: Draft, event: undo.CompStarted, version: int, effects: list[Effect]) -> None:
    """Releases an attempt to undo, unless the same turn has gone on without it."""
    found = draft.find(event.token)
    item = draft.item(*found) if found else None
    is_current = item is not None and item.undo is not None and item.undo.version == version
    if item is not None and is_current and _is_undo_released(item):
        effects.append(Release(draft.plan.steps[event.step].queue, undo_payload(draft.id, item)))


EFFECTS: Mapping[type[e.Event], Callable[[Draft, Any, int, list[Effect]], None]] = {
    e.FlowStarted: _start,
    e.WorkStarted: _release,
    undo.CompStarted: _release_undo,
    e.FlowCompleted: _end,
    e.FlowFailed: _end,
    e.FlowDeactivated: _close,
}
"""What each event asks for; the others ask for nothing."""


def _is_undo_released(item: WorkItem) -> bool:
    """Whether an attempt to undo waits for an engine, or for what an engine will say of it."""
    return item.status is WorkStatus.COMPENSATING and item.undo is not None and not item.undo.is_waiting


def _set_timers(draft: Draft, effects: list[Effect]) -> None:
    """Sets the due entries that the turn brought, each counted from its own time, and drops those
    that have nothing left to decide."""
    before, after = _flow_timers(draft.base), _flow_timers(draft)
    for was, item in draft.changed_items():
        if was is not None and (timer := _item_timer(draft.id, was)):
            before[timer[0]] = timer[1]
        if timer := _item_timer(draft.id, item):
            after[timer[0]] = timer[1]
    if draft.deadlines is not draft.base.deadlines:
        before.update(_deadline_timers(draft.base))
        after.update(_deadline_timers(draft))
    if before or after:
        effects.extend(Timer(member, after[member]) for member in after if member not in before)
        effects.extend(Settled(member) for member in before if member not in after)


def _is_released(item: WorkItem) -> bool:
    """Whether an attempt waits for an engine, or for what an engine will say of it."""
    return item.status is WorkStatus.ACTIVE and not item.accepted_version


def _item_timer(flow: str, item: WorkItem) -> tuple[str, int] | None:
    """The due entry that an item has, if any, and its delay."""
    if item.is_waiting:
        return retry_member(flow, item.token, item.due_attempt), item.due_delay_ms
    if item.is_accepted and item.timeout_ms:
        return expire_member(flow, item.token, item.attempt), item.timeout_ms
    if item.undo is not None and item.undo.is_waiting:
        return undo_retry_member(flow, item.token, item.undo.due_attempt), item.undo.due_delay_ms
    return None


def _flow_timers(view: View) -> dict[str, int]:
    """The due entries that a flow has by itself, and their delays."""
    timers = {linger_member(view.id, scope): view.linger_ms for scope in view.lingering}
    if view.version and view.timeout_ms and not view.is_over:
        timers[time_out_member(view.id)] = view.timeout_ms
    return timers


def _deadline_timers(view: View) -> dict[str, int]:
    """The due entries of the deadlines that run, and their delays."""
    return {
        deadline_member(view.id, step, name): view.step(step).deadlines[name].delay_ms
        for step, name in view.deadlines
    }


def outstanding(flow: Flow, now_ms: int) -> References:
    """Says which references a flow must have pending: a released attempt that nobody has settled, and
    each due entry whose time is still to come.

    What a bounded turn left over, and what a time that has passed allows, is not among them: whoever
    needs to know decides a `Look` and sees whether it brings anything.
    """
    if flow.is_deactivated:
        return References(frozenset(), {})
    work: set[tuple[str, str]] = set()
    due: dict[str, int] = {}
    for item in _moving_items(flow):
        if item.is_waiting:
            member = retry_member(flow.id, item.token, item.due_attempt)
            due[member] = flow.at_of(item.due_version) + item.due_delay_ms
        elif _is_released(item):
            work.add((flow.plan.steps[item.step].queue, work_payload(flow.id, item)))
        elif _is_undo_released(item):
            work.add((flow.plan.steps[item.step].queue, undo_payload(flow.id, item)))
        elif item.undo is not None:
            member = undo_retry_member(flow.id, item.token, item.undo.due_attempt)
            due[member] = flow.at_of(item.undo.due_version) + item.undo.due_delay_ms
        elif item.timeout_ms:
            member = expire_member(flow.id, item.token, item.attempt)
            due[member] = flow.at_of(item.accepted_version) + item.timeout_ms
    for step, name in flow.deadlines:
        deadline = flow.steps[step].deadlines[name]
        due[deadline_member(flow.id, step, name)] = flow.at_of(deadline.started_version) + deadline.delay_ms
    for scope in flow.lingering:
        end = flow.ended_version if scope == THE_FLOW else flow.steps[StepId(scope)].ended_version
        due[linger_member(flow.id, scope)] = flow.at_of(end) + flow.linger_ms
    if flow.timeout_ms and not flow.is_over:
        due[time_out_member(flow.id)] = flow.at_of(1) + flow.timeout_ms
    return References(frozenset(work), {member: at_ms for member, at_ms in due.items() if at_ms > now_ms})


def has_come_due(flow: Flow, *, after_ms: int, until_ms: int) -> bool:
    """Whether anything of a flow came due between two times, the second one included.

    A turn is decided some time before it is committed. What came due in between may have been looked
    at on the state before that turn, where it had nothing to decide, and is gone.
    """
    if until_ms <= after_ms or not (flow.waiting or flow.lingering or flow.undos):
        return False
    return any(at_ms <= until_ms for at_ms in outstanding(flow, after_ms).due.values())


def _moving_items(flow: Flow) -> Iterator[WorkItem]:
    """The items that can still act by themselves: active, waiting for a retry, or being undone."""
    moving = (WorkStatus.ACTIVE, WorkStatus.COMPENSATING)
    for run in flow.steps.values():
        if run.active or run.waiting or run.has_undos:
            yield from (item for item in flow.items(run) if item.status in moving or item.is_waiting)
