"""What a check of a log sees: the state before an event, and what the fold does not keep.

Checks are small generators, one a kind of event; each yields what it finds as (invariant, message).
They read what the log says, not what the rules of this package would decide: an auditor that asks
the decider whether the decider was right would find nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from argyll_redis.core.events import Recorded
from argyll_redis.core.model import Attribute, Collect, Step, StepId, Token
from argyll_redis.core.state import STEP_OVER, Flow, StepRun, StepStatus, WorkItem

EARLY_MS = 1
"""How much before its due time something may happen: two roundings of one clock."""

MAX_VIOLATIONS = 1_000
"""Violations of one log that are listed; a log with more has one cause, and the first ones show it."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Something in a log that no rule allows."""

    invariant: str
    """A key of `INVARIANTS`."""
    version: int
    """Of the event that shows it; 0 when no event does."""
    message: str


Finding = tuple[str, str]
"""(invariant, message)."""
Findings = Iterator[Finding]


class Past:
    """A flow as it was before the event that is looked at."""

    __slots__ = (
        "_events",
        "begun",
        "fallen",
        "flow",
        "has_ended_goal",
        "moved",
        "provided",
        "recorded",
        "released",
        "settled",
        "undo_released",
    )

    def __init__(self, flow_id: str, events: Sequence[Recorded]) -> None:
        self._events = events
        self.flow = Flow(flow_id)
        self.recorded: Recorded
        """What is looked at."""
        self.released: dict[tuple[Token, int], int] = {}
        """(token, attempt) to the version of its `work_started`."""
        self.undo_released: dict[tuple[Token, int], int] = {}
        """(token, attempt) to the version of its `comp_started`."""
        self.begun: dict[StepId, int] = {}
        """Items of a step below it have been started, settled or skipped."""
        self.fallen: dict[Token, int] = {}
        """Tokens of this transaction whose attempt came to nothing, and of which no more is said."""
        self.provided: dict[StepId, dict[str, None]] = {}
        """Attributes that steps have set which are not completed yet."""
        self.moved: dict[StepId, None] = {}
        """Steps of this transaction with something that happened to their items."""
        self.settled: dict[StepId, None] = {}
        """Steps that this transaction has started or ended: what others wait for or want may differ."""
        self.has_ended_goal = False
        """Whether this transaction may have decided the outcome of the flow."""

    def event(self, version: int) -> Recorded | None:
        """The event of a version."""
        if not 1 <= version <= len(self._events):
            return None
        recorded = self._events[version - 1]
        return recorded if recorded.version == version else None

    def run(self, step: StepId) -> StepRun | None:
        return self.flow.steps.get(step)

    def item(self, token: Token) -> WorkItem | None:
        """The work item of a token; a blank one when nothing has happened to it yet."""
        found = self.flow.tokens.get(token)
        return (self.flow.item(*found) or WorkItem(*found, token)) if found else None

    def definition(self, step: StepId) -> Step:
        return self.flow.plan.steps[step]

    def providers_over(self, attribute: str) -> bool:
        """Whether all planned providers of an attribute are terminal."""
        providers = self.flow.plan.attributes[attribute].providers
        return all(self.flow.steps[id].status in STEP_OVER for id in providers)

    def is_wanted(self, step: StepId) -> bool:
        """Whether a step is a goal, or a pending step may still wait for what it provides. No script
        is evaluated: a gate is taken as undecided, so this errs on the side of yes."""
        if step in self.flow.plan.goals:
            return True
        return any(
            self.flow.steps[user].status is StepStatus.PENDING
            and self._may_wait(user, self.definition(user).attributes[output.name])
            for output in self.definition(step).outputs
            for user in self.flow.plan.attributes[output.name].consumers
        )

    def _may_wait(self, step: StepId, attribute: Attribute) -> bool:
        """Whether a pending step's input that has a pending provider may be undecided."""
        if self.passed(step, attribute):
            return False
        if attribute.match is not None:
            return True
        if attribute.collect is Collect.FIRST:
            return not self.flow.values(attribute.name)
        return not self.is_impossible(attribute)

    def passed(self, step: StepId, attribute: Attribute) -> int:
        """The version at which the deadline of an input has passed; 0 when none has."""
        deadline = self.flow.steps[step].deadlines.get(attribute.name)
        return deadline.passed_version if deadline else 0

    def is_undecided(self, step: StepId, attribute: Attribute) -> bool:
        """Whether a step still has to wait for an optional input."""
        if not attribute.deadline_ms or self.passed(step, attribute):
            return False
        if self.providers_over(attribute.name) or self.is_impossible(attribute):
            return False
        return attribute.collect is not Collect.FIRST or not self.flow.values(attribute.name)

    def is_impossible(self, attribute: Attribute) -> bool:
        """Whether an input without a gate can never be fulfilled any more."""
        values = self.flow.values(attribute.name)
        if attribute.collect is Collect.NONE:
            return bool(values)
        if attribute.collect is Collect.ALL:
            given = {value.step for value in values}
            providers = self.flow.plan.attributes[attribute.name].providers
            if any(self.flow.steps[id].status in STEP_OVER and id not in given for id in providers):
                return True
        return not values and self.providers_over(attribute.name)

    def begin_transaction(self) -> None:
        self.fallen.clear()
        self.moved.clear()
        self.settled.clear()
        self.has_ended_goal = False


def origin_of(by: str) -> str:
    """The kind of origin in a `by`: `work` of `work:engine-1`."""
    return by.partition(":")[0]


def not_planned(step: str) -> Finding:
    """What is found of a step that the plan does not have."""
    return "I-08", f"step `{step}` is not in the plan"
