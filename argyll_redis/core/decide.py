"""Deciding and folding: from commands to events, and from events to a state.

`decide` works on a draft and leaves the flow as it was; `Decision.keep` makes the draft the flow's
own once the store has committed the events. `evolve` folds events that others have appended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from argyll_redis.core import rules
from argyll_redis.core.commands import (
    DONE,
    IMPORTED,
    UNKNOWN,
    Abandon,
    Accepted,
    Answer,
    Broken,
    Cancel,
    CancelChildren,
    Command,
    Deadline,
    Expire,
    Look,
    Lose,
    Outcome,
    Report,
    Retry,
    Start,
    Succeeded,
    TimeOut,
    Unfinished,
)
from argyll_redis.core.events import (
    LATE_SUCCESS,
    FlowStarted,
    Recorded,
    WorkAccepted,
    WorkFailed,
    WorkIgnored,
    WorkNotCompleted,
    WorkRetryScheduled,
    WorkStarted,
    WorkSucceeded,
)
from argyll_redis.core.inputs import Evaluate
from argyll_redis.core.limits import MAX_LOSSES
from argyll_redis.core.mapping import judge
from argyll_redis.core.model import JSON, Attribute, Collect, StepType, Token
from argyll_redis.core.retry import delay_ms, spent
from argyll_redis.core.rules_children import cancel_children, child_is_needless, item_is_over
from argyll_redis.core.rules_deadlines import pass_deadline
from argyll_redis.core.rules_undo import UNDO_HANDLERS
from argyll_redis.core.state import WORK_OVER, Draft, Flow, StepStatus, WorkItem, WorkStatus
from argyll_redis.core.sub_flows import CHILD
from argyll_redis.core.turn import MAX_COMMANDS_A_TURN, Decided, Turn
from argyll_redis.errors import ArgyllError, InvariantBroken

LOST = f"lost: {MAX_LOSSES} engines died while running it"
OUTCOME_UNKNOWN = "outcome unknown: the engine was lost, and the step allows no further attempt"
TIMED_OUT = "timed out"
CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided on a flow: events to append, and an answer for each command, in order."""

    draft: Draft
    events: tuple[Decided, ...]
    answers: tuple[Answer, ...]
    left: bool
    """Whether a bounded turn left something for another look."""
    controls: tuple[str, ...] = ()
    """Control entries for children, to be added with it."""

    def keep(self, *, at: int, tx: str) -> Flow:
        """Makes it the flow's state, once its events are committed."""
        base = self.draft.base
        self.draft.merge(first=base.version + 1, at=at, tx=tx)
        return base


def decide(flow: Flow, commands: Sequence[Command], *, now_ms: int, evaluate: Evaluate) -> Decision:
    """Decides what commands make happen. Leaves the flow as it is; at most `MAX_COMMANDS_A_TURN`.

    `now_ms` is the server's clock, never less than the time at which a due entry that led to one of
    the commands was moved.
    """
    if len(commands) > MAX_COMMANDS_A_TURN:
        raise InvariantBroken(f"a turn takes at most {MAX_COMMANDS_A_TURN} commands, not {len(commands)}")
    turn = Turn(flow, now_ms=now_ms, evaluate=evaluate)
    answers = tuple([_obey(turn, command) for command in commands])
    left = turn.left and not turn.draft.is_deactivated
    return Decision(turn.draft, tuple(turn.events), answers, left, tuple(turn.controls))


def _obey(turn: Turn, command: Command) -> Answer:
    turn.by = command.by
    if turn.draft.version == 0 and not isinstance(command, Start):
        return UNKNOWN
    if turn.draft.base.is_imported and not turn.draft.is_deactivated:
        return IMPORTED
    answer = HANDLERS[type(command)](turn, command)
    if turn.draft.version and not turn.draft.is_deactivated:
        rules.settle(turn)
    return answer


def evolve(flow: Flow, events: Iterable[Recorded]) -> Flow:
    """Folds events that the log holds after the flow's version; gives the flow. Each transaction is
    merged whole; a gap or an event out of order is refused.

    Raises `InvariantBroken` for whatever cannot be folded: a log may hold anything.
    """
    try:
        _fold(flow, events)
    except ArgyllError:
        raise
    except Exception as error:
        what = f"flow {flow.id}: nobody can make sense of its log after version {flow.version}"
        raise InvariantBroken(f"{what} ({error!r:.500})") from error
    return flow


def _fold(flow: Flow, events: Iterable[Recorded]) -> None:
    draft: Draft | None = None
    first, last = 0, None
    for recorded in events:
        if draft is not None and last is not None and recorded.tx != last.tx:
            draft.merge(first=first, at=last.at, tx=last.tx)
            draft = None
        if draft is None:
            draft, first = Draft(flow), recorded.version
        if recorded.version != draft.version + 1:
            raise InvariantBroken(f"flow {flow.id}: version {recorded.version} cannot follow {draft.version}")
        draft.version = recorded.version
        recorded.event.apply(draft, recorded.version)
        last = recorded
    if draft is not None and last is not None:
        draft.merge(first=first, at=last.at, tx=last.tx)


# -------------------------------------------------------------------- commands


def _start(turn: Turn, command: Start) -> Answer:
    if turn.draft.version:
        raise InvariantBroken(f"flow {turn.draft.id} is started already")
    options: dict[str, JSON] = {"linger_ms": command.linger_ms}
    if command.timeout_ms:
        options["timeout_ms"] = command.timeout_ms
    if command.compensate:
        options["compensate"] = command.compensate
    event = FlowStarted(
        plan=command.plan_hash,
        init=dict(command.init),
        seed=command.seed,
        metadata=dict(command.metadata),
        labels=dict(command.labels),
        options=options,
        catalog_version=command.catalog_version,
        plan_=command.plan,
    )
    turn.emit(event, cause=0)
    _look_at_everything(turn)
    return DONE


def _look(turn: Turn, command: Look) -> Answer:
    draft = turn.draft
    if draft.is_deactivated:
        return Answer(counted=False, reason="the flow is deactivated")
    if _is_time_over(turn):
        rules.fail_flow(turn, TIMED_OUT, cause=0)
    for id in draft.plan.steps:
        run = draft.step(id)
        for item in draft.items(run) if run.accepted else ():
            if _is_expired(turn, item):
                turn.left = turn.left or turn.room <= 0
                if turn.room > 0:
                    turn.room -= 1
                    _expire(turn, Expire(turn.by, item.token, item.attempt))
    for step, name in draft.deadlines:
        pass_deadline(turn, step, name)
    _look_at_everything(turn)
    return DONE


def _look_at_everything(turn: Turn) -> None:
    """Puts everything that could go on onto the worklists, with what it follows from."""
    plan = turn.draft.plan
    turn.ending, turn.abandoning = turn.draft.version, True
    for name in plan.attributes:
        turn.touched.add(name, _last_version(turn, name))
    for id, step in plan.steps.items():
        run = turn.draft.step(id)
        if run.status is StepStatus.PENDING:
            cause = max((_met_version(turn, attribute) for attribute in step.inputs), default=1)
            turn.ready.add(id, cause)
            turn.unwanted.add(id, cause)
        elif run.status is StepStatus.ACTIVE:
            turn.changed.add(id, run.started_version)


def _met_version(turn: Turn, attribute: Attribute) -> int:
    """The version that met an input, if anything has."""
    values = turn.draft.values(attribute.name)
    if values and attribute.collect is Collect.FIRST and attribute.match is None:
        return values[0].version
    return _last_version(turn, attribute.name)


def _last_version(turn: Turn, attribute: str) -> int:
    """The version at which something last happened to an attribute; at least the flow's start."""
    values = turn.draft.values(attribute)
    last = values[-1].version if values else 1
    for id in turn.draft.plan.attributes[attribute].providers:
        last = max(last, turn.draft.step(id).ended_version)
    return last


def _is_time_over(turn: Turn) -> bool:
    """Whether the flow has not ended within its own time."""
    draft = turn.draft
    return bool(draft.timeout_ms) and not draft.is_over and turn.at_of(1) + draft.timeout_ms <= turn.now_ms


def _is_expired(turn: Turn, item: WorkItem) -> bool:
    """Whether the outcome of an accepted attempt was waited for long enough."""
    if not item.is_accepted or not item.timeout_ms:
        return False
    return turn.at_of(item.accepted_version) + item.timeout_ms <= turn.now_ms


def _report(turn: Turn, command: Report) -> Answer:
    found = turn.draft.find(command.token)
    if found is None or (command.step is not None and found[0] != command.step):
        return UNKNOWN
    item = turn.draft.item(*found) or WorkItem(*found, command.token)
    outcome = command.outcome
    if isinstance(outcome, Succeeded):
        outcome = judge(turn.draft.plan.steps[item.step], outcome, turn.evaluate)
    refusal = _refusal(turn, item, outcome, command)
    # Only attempts that ran are on record, so that a caller who makes up numbers cannot grow a log.
    attempt = item.attempt if command.attempt is None else max(0, min(command.attempt, item.attempt))
    if refusal is not None:
        if isinstance(outcome, Accepted) and (item.status in WORK_OVER or turn.draft.is_deactivated):
            child_is_needless(turn, item)
        return _ignore(turn, item, attempt, outcome, command, refusal)
    cause = _cause_of(item, command)
    RECORDERS[type(outcome)](turn, item, attempt, outcome, cause)
    return DONE


def _refusal(turn: Turn, item: WorkItem, outcome: Outcome, command: Report) -> str | None:
    """Why an outcome does not count; None when it does."""
    if turn.draft.is_deactivated:
        return "the flow is deactivated"
    if item.status in WORK_OVER:
        return f"the work item is over already: {item.status}"
    if isinstance(outcome, Succeeded) or (
        isinstance(outcome, Broken) and command.by.startswith(("webhook:", CHILD))
    ):
        return None
    if command.attempt is not None and command.attempt != item.attempt:
        return f"attempt {command.attempt} is not the current one, {item.attempt}"
    if isinstance(outcome, Broken):
        return None
    if item.status is not WorkStatus.ACTIVE:
        return "the work item is not active"
    if isinstance(outcome, Accepted) and item.accepted_version:
        return "the attempt was accepted already"
    return None


def _cause_of(item: WorkItem, command: Report) -> int:
    """The `work_started` of the attempt for the outcome of a call; 0 for what came from outside."""
    return command.version or item.started_version if command.by.startswith("work:") else 0


def _ignore(
    turn: Turn, item: WorkItem, attempt: int, outcome: Outcome, command: Report, reason: str
) -> Answer:
    """Records what does not count once a token and attempt, a late success once more; never an
    acceptance, and nothing on a closed log."""
    late = isinstance(outcome, Succeeded) and item.status is WorkStatus.FAILED
    mark = LATE_SUCCESS if late else attempt
    if not turn.draft.is_deactivated and not isinstance(outcome, Accepted) and mark not in item.ignored:
        outputs = dict(outcome.outputs) if isinstance(outcome, Succeeded) and late else None
        event = WorkIgnored(item.step, item.token, attempt, reason, outputs)
        turn.emit(event, cause=_cause_of(item, command))
    return Answer(counted=False, reason=reason)


def _succeed(turn: Turn, item: WorkItem, attempt: int, outcome: Succeeded, cause: int) -> None:
    memo = True if outcome.memo else None
    if not outcome.memo or item.attempt > 1:  # a first attempt that took a memo has started no child
        item_is_over(turn, item)
    event = WorkSucceeded(item.step, item.token, attempt, dict(outcome.outputs), outcome.ran_ms, memo)
    turn.changed.add(item.step, turn.emit(event, cause=cause))


def _break(turn: Turn, item: WorkItem, attempt: int, outcome: Broken, cause: int) -> None:
    _fail(turn, item, outcome.error, attempt=attempt, cause=cause)


def _fail(turn: Turn, item: WorkItem, error: str, *, attempt: int, cause: int) -> None:
    item_is_over(turn, item)
    turn.changed.add(item.step, turn.emit(WorkFailed(item.step, item.token, attempt, error), cause=cause))


def _try_again(turn: Turn, item: WorkItem, attempt: int, outcome: Unfinished, cause: int) -> None:
    if turn.draft.plan.steps[item.step].type is StepType.FLOW:
        _fail(turn, item, outcome.error, attempt=attempt, cause=cause)  # there is one child, and no other
        return
    version = turn.emit(WorkNotCompleted(item.step, item.token, attempt, outcome.error), cause=cause)
    work = turn.draft.plan.steps[item.step].work
    if not turn.matters(item.step):
        _fail(turn, item, rules.ABANDONED, attempt=attempt, cause=version)
    elif over := spent(work, attempt=attempt, retries=item.retries):
        _fail(turn, item, f"{outcome.error} ({over})", attempt=attempt, cause=version)
    else:
        delay = delay_ms(
            work, retry=item.retries, token=item.token, attempt=attempt, asked_ms=outcome.after_ms
        )
        event = WorkRetryScheduled(item.step, item.token, attempt + 1, delay)
        turn.changed.add(item.step, turn.emit(event, cause=version))


def _accept(turn: Turn, item: WorkItem, attempt: int, outcome: Accepted, cause: int) -> None:
    timeout = turn.draft.plan.steps[item.step].work.timeout_ms
    left = max(1, timeout - outcome.elapsed_ms) if timeout else None
    turn.emit(WorkAccepted(item.step, item.token, attempt, left), cause=cause)
    if not turn.matters(item.step):
        turn.abandoning = True
        child_is_needless(turn, item)


RECORDERS: dict[type[Any], Callable[[Turn, WorkItem, int, Any, int], None]] = {
    Succeeded: _succeed,
    Broken: _break,
    Unfinished: _try_again,
    Accepted: _accept,
}


def _current(turn: Turn, token: Token, attempt: int) -> WorkItem | None:
    """The item of a token, when this attempt of it is active."""
    found = turn.draft.find(token)
    item = turn.draft.item(*found) if found else None
    if item is None or item.status is not WorkStatus.ACTIVE or item.attempt != attempt:
        return None
    return item


NOT_CURRENT = Answer(counted=False, reason="the attempt is not the current one")


def _lose(turn: Turn, command: Lose) -> Answer:
    item = _current(turn, command.token, command.attempt)
    if item is None or (item.accepted_version and not command.is_child_absent):
        return NOT_CURRENT
    work = turn.draft.plan.steps[item.step].work
    cause = item.started_version
    if not turn.matters(item.step):
        rules.give_up(turn, item, cause=cause)
    elif item.losses + 1 >= MAX_LOSSES:
        _fail(turn, item, LOST, attempt=item.attempt, cause=cause)
    elif work.max_attempts and item.attempt >= work.max_attempts:
        _fail(turn, item, OUTCOME_UNKNOWN, attempt=item.attempt, cause=cause)
    else:
        turn.emit(WorkStarted(item.step, item.token, item.attempt + 1, "lost"), cause=cause)
    return DONE


def _abandon(turn: Turn, command: Abandon) -> Answer:
    item = _current(turn, command.token, command.attempt)
    if item is None or item.accepted_version or turn.matters(item.step):
        return NOT_CURRENT
    rules.give_up(turn, item, cause=item.started_version)
    return DONE


def _retry(turn: Turn, command: Retry) -> Answer:
    found = turn.draft.find(command.token)
    item = turn.draft.item(*found) if found else None
    if item is None or not item.is_waiting or item.due_attempt != command.attempt:
        return NOT_CURRENT
    turn.changed.add(item.step, item.due_version)
    return DONE


def _expire(turn: Turn, command: Expire) -> Answer:
    item = _current(turn, command.token, command.attempt)
    if item is None or not _is_expired(turn, item):
        return NOT_CURRENT
    if not turn.matters(item.step):
        rules.give_up(turn, item, cause=item.accepted_version)
    else:
        _try_again(turn, item, item.attempt, Unfinished(TIMED_OUT), item.accepted_version)
    return DONE


def _deadline(turn: Turn, command: Deadline) -> Answer:
    if not pass_deadline(turn, command.step, command.name):
        return Answer(counted=False, reason="nothing waits for that deadline")
    return DONE


def _time_out(turn: Turn, command: TimeOut) -> Answer:
    if not turn.draft.is_over and not _is_time_over(turn):
        return Answer(counted=False, reason="the flow's time is not over")
    return _end(turn, TIMED_OUT)


def _cancel_children(turn: Turn, command: CancelChildren) -> Answer:
    cancel_children(turn, command.step, command.index)
    return DONE


def _cancel(turn: Turn, command: Cancel) -> Answer:
    return _end(turn, CANCELLED)


def _end(turn: Turn, error: str) -> Answer:
    if turn.draft.is_over:
        return Answer(counted=False, reason=f"the flow has {turn.draft.status} already")
    rules.fail_flow(turn, error, cause=0)
    return DONE


HANDLERS: dict[type[Any], Callable[[Turn, Any], Answer]] = {
    Start: _start,
    Look: _look,
    Report: _report,
    Lose: _lose,
    Abandon: _abandon,
    Retry: _retry,
    Expire: _expire,
    Deadline: _deadline,
    TimeOut: _time_out,
    CancelChildren: _cancel_children,
    Cancel: _cancel,
    **UNDO_HANDLERS,
}
