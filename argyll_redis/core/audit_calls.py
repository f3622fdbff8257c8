"""I-22 and I-23: whether a flow's log and a journal of the calls of its steps agree.

A journal is what the called side saw, written down there. It knows nothing of logs, and a log nothing of
it: what both say is what happened.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from argyll_redis.core import events as e
from argyll_redis.core.audit_past import MAX_VIOLATIONS, Violation, origin_of
from argyll_redis.core.events import Recorded
from argyll_redis.core.events_undo import CompStarted, CompSucceeded
from argyll_redis.core.model import JSON, Step, StepId, StepType
from argyll_redis.core.outbox import UNDO
from argyll_redis.core.sources import is_same

MAX_SKEW_MS = 1_000
"""By how much the clock of a called service may differ from the server's."""
CALLS_NOBODY = frozenset({StepType.SCRIPT, StepType.FLOW})
"""Types of steps whose work is not a call."""


class Call(NamedTuple):
    """One call of a step, as who was called saw it."""

    token: str
    """With `:undo` behind it when the call was to undo."""
    attempt: int
    outputs: Mapping[str, JSON] | None = None
    """What was answered, by inner name, where that is known."""
    at_ms: int | None = None
    """When, by the clock of who was called."""


def audit_calls(
    flow_id: str,
    events: Sequence[Recorded],
    calls: Iterable[Call | tuple[str, int]],
    *,
    steps: Collection[str] | None = None,
) -> list[Violation]:
    """Compares a flow's log with the journal of what its steps were called with: a `Call`, or only its
    (token, attempt), each, in any order.

    Steps that call nobody (scripts, flows) need no call; `steps` are those whose calls a journal holds, None
    for all. At most `MAX_VIOLATIONS`; never raises.
    """
    del flow_id
    journal = _Journal((call if isinstance(call, Call) else Call(*call) for call in calls), steps)
    for recorded in events:
        journal.look(recorded.version, recorded)
    journal.finish()
    return journal.violations[:MAX_VIOLATIONS]


class _Journal:
    """The calls of a flow's steps, beside its log."""

    def __init__(self, calls: Iterable[Call], steps: Collection[str] | None) -> None:
        self.violations: list[Violation] = []
        self.calls: dict[tuple[str, int], list[Call]] = {}
        self.released: dict[tuple[str, int], tuple[int, int]] = {}
        """(token, attempt) to version and time of its release."""
        self.journalled = steps
        self.steps: Mapping[StepId, Step] = {}
        for call in calls:
            self.calls.setdefault((call.token, call.attempt), []).append(call)

    def look(self, version: int, recorded: Recorded) -> None:
        try:
            self._note(version, recorded)
        except Exception as error:  # a log may hold anything, and so a check may raise anything
            self._say("I-03", version, f"{type(error).__name__}: {error}")

    def _say(self, invariant: str, version: int, message: str) -> None:
        self.violations.append(Violation(invariant, version, message))

    def _note(self, version: int, recorded: Recorded) -> None:
        match recorded.event:
            case e.FlowStarted() as event:
                self.steps = event.plan_.steps if event.plan_ else {}
            case e.WorkStarted() as event:
                self.released[event.token, event.attempt] = version, recorded.at
            case CompStarted() as event:
                self.released[event.token + UNDO, event.attempt] = version, recorded.at
            case CompSucceeded() as event:
                if self._has_journal(event.step) and (event.token + UNDO, event.attempt) not in self.calls:
                    message = f"compensation {event.attempt} of {event.token} succeeded, and was never called"
                    self._say("I-22", version, message)
            case e.WorkAccepted() as event:
                if origin_of(recorded.by) == "work" and self._calls(event.step):
                    self._check_called(version, event, "was accepted")
            case e.WorkSucceeded() as event:
                if origin_of(recorded.by) == "work" and not event.memo and self._calls(event.step):
                    self._check_called(version, event, "succeeded")
                    self._check_outputs(version, event)
            case _:
                pass

    def _has_journal(self, step: StepId) -> bool:
        return self.journalled is None or step in self.journalled

    def _calls(self, step: StepId) -> bool:
        """Whether a call of a step would be in the journal."""
        known = self.steps.get(step)
        return self._has_journal(step) and (known is None or known.type not in CALLS_NOBODY)

    def _check_called(self, version: int, event: e.WorkAccepted | e.WorkSucceeded, what: str) -> None:
        """I-22: an attempt that an engine says has come to something was called."""
        if (event.token, event.attempt) not in self.calls:
            self._say(
                "I-22", version, f"attempt {event.attempt} of {event.token} {what}, and was never called"
            )

    def _check_outputs(self, version: int, event: e.WorkSucceeded) -> None:
        """I-22: what an attempt succeeded with is what its call gave, where no script came between."""
        step = self.steps.get(event.step)
        calls = self.calls.get((event.token, event.attempt), [])
        given = [call.outputs for call in calls if call.outputs is not None]
        if step is None or not given or len(given) < len(calls):
            return
        plain = {each.name: each.inner for each in step.outputs if not each.has_script}
        recorded = {name: value for name, value in event.outputs.items() if name in plain}
        answers = (
            {name: outputs[inner] for name, inner in plain.items() if inner in outputs} for outputs in given
        )
        if not any(is_same(recorded, answer) for answer in answers):
            message = f"attempt {event.attempt} of {event.token} succeeded with what its call did not give"
            self._say("I-22", version, message)

    def finish(self) -> None:
        """I-22, I-23: each attempt that was called was released before, and called once."""
        for (token, attempt), calls in self.calls.items():
            version, at_ms = self.released.get((token, attempt), (0, 0))
            called = f"attempt {attempt} of {token} was called"
            if not version:
                self._say("I-22", 0, f"{called}, and never released")
                continue
            if len(calls) > 1:
                self._say("I-23", version, f"{called} {len(calls)} times")
            early_ms = max((at_ms - call.at_ms for call in calls if call.at_ms is not None), default=0)
            if early_ms > MAX_SKEW_MS:
                self._say("I-22", version, f"{called} {early_ms} ms before it was released")
