"""What a turn asks of the world, and what a flow ought to have pending.

`outbox` gives the effects that travel in the same commit as the events that need them; `outstanding`
says from a state alone which references must exist. A property test holds them equal: the effects
over a whole log, minus what was consumed, are what is outstanding. So everything but the log can be
lost and rebuilt.

A reference is text. An entry of `work:<queue>` is `<flow> <token> <attempt> <version>`, one of
`control` is `<flow> <kind> ...`, a due entry's member is the stream it goes to, a blank, and that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from argyll_redis.core import events as e
from argyll_redis.core.model import StepId
from argyll_redis.core.state import THE_FLOW, Draft, Flow, FlowStatus, View, WorkItem, WorkStatus
from argyll_redis.core.turn import Decided

CONTROL = "control"


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


class PlanUse(NamedTuple):
    """Counts the flow among the users of its plan."""

    hash: str


class Closed(NamedTuple):
    """Closes the log: the flow is deactivated."""


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


def time_out_member(flow: str) -> str:
    return f"{CONTROL} {flow} time_out"


def look_payload(flow: str) -> str:
    return f"{flow} look"


def work_payload(flow: str, item: WorkItem) -> str:
    """Names the current attempt of an item, and the version of its `work_started`."""
    return f"{flow} {item.token} {item.attempt} {item.started_version}"


def outbox(draft: Draft, events: Iterable[Decided], *, left: bool = False) -> list[Effect]:
    """Gives the effects of a turn's events: what each of them asks for, and the due entries by which
    the state that they left differs from the one before."""
    effects: list[Effect] = []
    version = draft.base.version
    for decided in events:
        version += 1
        _effects_of(draft, decided.event, version, effects)
    _set_timers(draft, effects)
    if left:
        effects.append(Control(look_payload(draft.id)))
    return effects


def _effects_of(draft: Draft, event: e.Event, version: int, effects: list[Effect]) -> None:
    match event:
        case e.WorkStarted():
            _release(draft, event, version, effects)
        case e.FlowStarted():
            effects.append(PlanUse(event.plan))
            effects.append(Status(FlowStatus.ACTIVE, labels=event.labels))
        case e.FlowCompleted() | e.FlowFailed():
            effects.append(Status(draft.status, error=draft.error))
        case e.FlowDeactivated():
            effects.append(Closed())
        case _:
            pass


def _release(draft: Draft, event: e.WorkStarted, version: int, effects: list[Effect]) -> None:
    """Releases an attempt, unless the same turn has gone on without it."""
    found = draft.find(event.token)
    item = draft.item(*found) if found else None
    if item is not None and item.started_version == version and _is_released(item):
        effects.append(Release(draft.plan.steps[event.step].queue, work_payload(draft.id, item)))


def _set_timers(draft: Draft, effects: list[Effect]) -> None:
    """Sets the due entries that the turn brought, each counted from its own time, and drops those
    that have nothing left to decide."""
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    for was, item in draft.changed_items():
        if was is not None:
            before.update(_item_timer(draft.id, was))
        after.update(_item_timer(draft.id, item))
    before.update(_flow_timers(draft.base))
    after.update(_flow_timers(draft))
    effects.extend(Timer(member, after[member]) for member in after if member not in before)
    effects.extend(Settled(member) for member in before if member not in after)


def _is_released(item: WorkItem) -> bool:
    """Whether an attempt waits for an engine, or for what an engine will say of it."""
    return item.status is WorkStatus.ACTIVE and not item.accepted_version


def _item_timer(flow: str, item: WorkItem) -> dict[str, int]:
    """The due entry that an item has, if any, and its delay."""
    if item.is_waiting:
        return {retry_member(flow, item.token, item.due_attempt): item.due_delay_ms}
    if item.is_accepted and item.timeout_ms:
        return {expire_member(flow, item.token, item.attempt): item.timeout_ms}
    return {}


def _flow_timers(view: View) -> dict[str, int]:
    """The due entries that a flow has by itself, and their delays."""
    timers = {linger_member(view.id, scope): view.linger_ms for scope in view.lingering}
    if view.version and view.timeout_ms and not view.is_over:
        timers[time_out_member(view.id)] = view.timeout_ms
    return timers


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
        elif item.timeout_ms:
            member = expire_member(flow.id, item.token, item.attempt)
            due[member] = flow.at_of(item.accepted_version) + item.timeout_ms
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
    if until_ms <= after_ms or not (flow.waiting or flow.lingering):
        return False
    return any(at_ms <= until_ms for at_ms in outstanding(flow, after_ms).due.values())


def _moving_items(flow: Flow) -> Iterator[WorkItem]:
    """The items that can still act by themselves: active, or waiting for a retry."""
    for run in flow.steps.values():
        if run.active or run.waiting:
            for index in sorted(run.items):
                item = run.items[index]
                if item.status is WorkStatus.ACTIVE or item.is_waiting:
                    yield item
