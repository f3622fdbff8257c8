"""What a log alone can prove: every invariant that one flow's events and head can show.

Users trust what they can run themselves, so the checks that our own chaos runs end with are shipped.
They never raise, however broken a log is: what cannot be read or applied is a violation too, and
the rest is looked at as far as it makes sense. Cost is linear in events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from argyll_redis.core import events as e
from argyll_redis.core.audit_calls import audit_calls
from argyll_redis.core.audit_causes import check_cause
from argyll_redis.core.audit_flow import FLOW_CHECKS, check_transaction
from argyll_redis.core.audit_past import MAX_VIOLATIONS, Findings, Past, Violation
from argyll_redis.core.audit_plan import check_plan
from argyll_redis.core.audit_shape import check_shape
from argyll_redis.core.audit_undo import UNDO_CHECKS
from argyll_redis.core.audit_work import WORK_CHECKS, check_fallen, check_token
from argyll_redis.core.decide import evolve
from argyll_redis.core.events import Recorded
from argyll_redis.core.limits import MAX_ITEMS
from argyll_redis.core.state import Draft, Flow

__all__ = [
    "INVARIANTS",
    "JOURNALLED",
    "MAX_VIOLATIONS",
    "Audited",
    "Violation",
    "audit_and_fold",
    "audit_calls",
    "audit_log",
]

INVARIANTS: Mapping[str, str] = {
    "I-01": "versions run from 1 without a gap, and the head tells the last version, transaction and status",
    "I-02": "flow_started comes first and once, and time never falls",
    "I-03": "every event can be read and applied to the state before it",
    "I-04": "a transaction is whole, in one place, and of one time",
    "I-05": "a work item has one outcome that counts, and what is ignored is on record once an attempt",
    "I-06": "attempts are 1, 2, 3, ..., each for its reason, and only current ones come to nothing",
    "I-07": "tokens derive from the seed, the step and the item, and no two flows have one seed",
    "I-08": "steps are in the plan, start once and end once",
    "I-09": "a step starts or is skipped only as its inputs, its scripts and those who want it allow",
    "I-10": "a step is completed or failed just when its work items, or its inputs, say so",
    "I-11": "attributes are set once, by steps that declare them, as these complete",
    "I-12": "a flow completes just when every goal is done, and fails only for a reason",
    "I-13": "nothing starts after the outcome of the flow or the failure of the step",
    "I-14": "a flow is deactivated just when nothing of it can act any more, and that is its last event",
    "I-15": "a step never has more active work items than its parallelism",
    "I-16": "retries keep to their number, their delay and their time",
    "I-17": "what a failed step or flow has done is undone where the step knows how, once, and no more",
    "I-18": "two folds of one log give one state, and head, indexes and plans have what it says",
    "I-19": "the plan has no cycle, and no step without a reason",
    "I-20": "an open flow has pending what moves it on, and none is open where all has ended",
    "I-21": "what was answered as done is in the logs, and what was refused is not",
    "I-22": "every call was released before, and every success has a call that gave it",
    "I-23": "an attempt is called at most once",
    "I-24": "a child flow is that of one work item, which has what the child came to",
    "I-25": "there is no key that nobody knows, none that goes too early, and no entry when no flow is open",
    "I-26": "who follows a flow gets its events in order, without a gap and once",
    "I-27": "who reads a flow never gets an earlier version than before",
    "I-29": "what is remembered is what the same work gave before",
    "I-30": "what an engine knew of a flow is in its log",
    "causes": "every event names an earlier event as its cause, or came from outside",
}
"""What each name stands for."""
JOURNALLED: Mapping[str, str] = {
    "I-21": "answers",
    "I-22": "calls",
    "I-23": "calls",
    "I-26": "answers",
    "I-27": "answers",
    "I-30": "answers",
}
"""Those of which nothing can be said without a journal, and of what."""


class Audited(NamedTuple):
    """What is wrong with a log, and the state that it makes, as far as it can be folded."""

    violations: list[Violation]
    flow: Flow


def audit_log(
    flow_id: str,
    events: Sequence[Recorded],
    *,
    head_version: int,
    head_tx: str,
    status: str,
    sealed: bool | None = None,
) -> list[Violation]:
    """Checks one flow's log, from its first event on, against its head; gives what is wrong, in order.

    `status` is what the index says; `sealed` whether the log is closed, None where that is not known. An
    imported log is closed whatever it says. At most `MAX_VIOLATIONS`; never raises.
    """
    audited = audit_and_fold(
        flow_id, events, head_version=head_version, head_tx=head_tx, status=status, sealed=sealed
    )
    return audited.violations


def audit_and_fold(
    flow_id: str,
    events: Sequence[Recorded],
    *,
    head_version: int,
    head_tx: str,
    status: str,
    sealed: bool | None = None,
) -> Audited:
    """Does as `audit_log`, and gives the state, too."""
    audit = _Audit(flow_id, events)
    for place, recorded in enumerate(events, 1):
        audit.look(place, recorded)
        if audit.is_full:
            break
    else:
        audit.finish()
        audit.compare(head_version, head_tx, status, sealed)
    return Audited(audit.violations, audit.past.flow)


class _Audit:
    """One walk over a log."""

    def __init__(self, flow_id: str, events: Sequence[Recorded]) -> None:
        self.events = events
        self.past = Past(flow_id, events)
        self.violations: list[Violation] = []
        self.transactions: set[object] = set()
        self.last: Recorded | None = None
        self.is_started = False
        """Whether there is a state to look at."""

    @property
    def is_full(self) -> bool:
        return len(self.violations) >= MAX_VIOLATIONS

    def look(self, place: int, recorded: Recorded) -> None:
        """Looks at one event: where it stands, whether it may stand there, and what it changes."""
        version = _number(recorded.version, place)
        begins = self.last is None or recorded.tx != self.last.tx
        if begins:
            self._end_transaction()
        self._guard(version, lambda: check_shape(recorded))
        self._guard(version, lambda: self._envelope(place, recorded))
        self.past.recorded = recorded
        starts = isinstance(recorded.event, e.FlowStarted)
        if starts or self.is_started:
            self._guard(version, lambda: check_cause(self.past, recorded))
            for check in self._checks(recorded.event):
                self._guard(version, check)
            self._guard(version, lambda: self._apply(recorded, version))
            if starts and self.is_started:
                self._guard(version, lambda: check_plan(self.past.flow.plan, self.past.flow.init))
        self.last = recorded

    def finish(self) -> None:
        """Looks at what only the end of a log shows."""
        self._end_transaction()
        if not self.violations:
            self._guard(self.past.flow.version, self._refold)

    def compare(self, head_version: int, head_tx: str, status: str, sealed: bool | None) -> None:
        """Compares the log with its head."""
        version = self.past.flow.version
        self._guard(version, lambda: self._head(head_version, head_tx, status, sealed))

    # ------------------------------------------------------------------- guard

    def _guard(self, version: int, check: Callable[[], Findings]) -> None:
        """Runs one check. A log may hold anything, and so a check may raise anything: that is an event
        that nobody can make sense of."""
        try:
            for invariant, message in check():
                self._add(version, invariant, message)
        except Exception as error:
            self._add(version, "I-03", f"{type(error).__name__}: {error}")

    def _add(self, version: int, invariant: str, message: str) -> None:
        if not self.is_full:
            self.violations.append(Violation(invariant, version, message))

    def _checks(self, event: e.Event) -> Iterator[Callable[[], Findings]]:
        past, kind = self.past, type(event)
        if past.flow.is_deactivated:
            yield lambda: iter([("I-14", f"{event.type} comes after the flow was deactivated")])
        if kind in WORK_CHECKS:
            yield lambda: check_token(past, event)  # type: ignore[arg-type]
            yield lambda: WORK_CHECKS[kind](past, event)
        elif kind in UNDO_CHECKS:
            yield lambda: check_token(past, event)  # type: ignore[arg-type]
            yield lambda: UNDO_CHECKS[kind](past, event)
        elif kind in FLOW_CHECKS:
            yield lambda: FLOW_CHECKS[kind](past, event)

    # ---------------------------------------------------------------- envelope

    def _envelope(self, place: int, recorded: Recorded) -> Findings:
        """I-01, I-02 and I-04, which need no state."""
        last, version = self.last, recorded.version
        expected = last.version + 1 if last else 1
        if version != expected:
            yield "I-01", f"version {version} stands where {expected} should"
        if (place == 1) != isinstance(recorded.event, e.FlowStarted):
            yield "I-02", f"{recorded.event.type} is event number {place} of the log"
        if last and recorded.at < last.at:
            yield (
                "I-02",
                f"{recorded.event.type} is {last.at - recorded.at} ms older than the event before it",
            )
        yield from self._place_in_transaction(recorded)

    def _place_in_transaction(self, recorded: Recorded) -> Findings:
        last, tx = self.last, recorded.tx
        if last is None or tx != last.tx:
            if tx in self.transactions:
                yield "I-04", f"transaction {tx} is in two places"
            if recorded.place != 1:
                yield "I-04", f"transaction {tx} begins with its event {recorded.place} of {recorded.count}"
            self.transactions.add(tx)
        elif recorded.place != last.place + 1 or recorded.count != last.count:
            yield (
                "I-04",
                f"event {recorded.place} of {recorded.count} of transaction {tx} follows {last.place}",
            )
        elif recorded.at != last.at:
            yield "I-04", f"transaction {tx} has two times"
        if not 1 <= recorded.place <= recorded.count:
            yield "I-04", f"transaction {tx} has an event {recorded.place} of {recorded.count}"

    def _end_transaction(self) -> None:
        last = self.last
        if last is None:
            return
        version = _number(last.version, 0)
        self._guard(version, lambda: _whole(last))
        if self.is_started:
            self._guard(version, lambda: check_fallen(self.past))
            self._guard(version, lambda: check_transaction(self.past))
        self.past.begin_transaction()

    # -------------------------------------------------------------------- fold

    def _apply(self, recorded: Recorded, version: int) -> Findings:
        """I-03. Each event is merged for itself, so one that cannot be applied leaves no trace."""
        if recorded.event.data().get("items", 0) > MAX_ITEMS:
            return  # it was found to be wrong, and nobody could hold so many tokens
        draft = Draft(self.past.flow)
        draft.version = version
        recorded.event.apply(draft, version)
        draft.merge(first=version, at=recorded.at, tx=recorded.tx)
        self.is_started = True
        yield from ()

    def _refold(self) -> Findings:
        """I-18: the fold by transactions, as engines do it, gives the state of the fold by events."""
        folded = evolve(Flow(self.past.flow.id), self.events)
        if folded.picture() != self.past.flow.picture():
            yield "I-18", "two folds of the log give two states"

    # -------------------------------------------------------------------- head

    def _head(self, head_version: int, head_tx: str, status: str, sealed: bool | None) -> Findings:
        version, tx = (self.last.version, self.last.tx) if self.last else (0, "")
        if head_version != version:
            yield "I-01", f"the head says version {head_version}, the log ends at {version}"
        if head_tx != tx:
            yield "I-01", f"the head says transaction {head_tx}, the last event is of {tx}"
        flow = self.past.flow
        if self.is_started and status != flow.status:
            yield "I-01", f'the index says "{status}", the log says "{flow.status}"'
        is_closed = flow.is_deactivated or flow.is_imported
        if sealed is not None and self.is_started and sealed != is_closed:
            stands = "closed" if sealed else "open"
            was = (
                "was imported"
                if flow.is_imported
                else "is deactivated"
                if is_closed
                else "is not deactivated"
            )
            yield "I-14", f"the log is {stands}, and the flow {was}"
        if not self.events:
            yield "I-02", "the log has no flow_started"


def _number(version: object, otherwise: int) -> int:
    """A version as a broken log has it, if it is one at all."""
    return version if isinstance(version, int) else otherwise


def _whole(last: Recorded) -> Findings:
    if last.place != last.count:
        yield "I-04", f"transaction {last.tx} ends with its event {last.place} of {last.count}"
