"""What someone wants, or learned, about a flow; and what they are answered.

A command is decided on the flow's newest state, possibly together with others of the same flow.
`by` is the origin and the id of the engine or client: `work:<engine>`, `operator:<client>`, ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from argyll_redis.core.model import JSON, Plan, StepId, Token


@dataclass(frozen=True, slots=True)
class Start:
    """Starts the flow."""

    by: str
    plan: Plan
    plan_hash: str
    seed: str
    init: Mapping[str, list[JSON]]
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    metadata: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    compensate: str | None = None
    timeout_ms: int = 0
    linger_ms: int = 3_600_000
    catalog_version: int = 0


class Succeeded(NamedTuple):
    """The work is done."""

    outputs: Mapping[str, JSON]
    """By inner name, as the step gave them."""
    ran_ms: int = 0
    memo: bool = False


class Unfinished(NamedTuple):
    """The work is not completed and may be tried again."""

    error: str
    after_ms: int | None = None
    """Delay that the step asked for, in place of the computed one."""


class Broken(NamedTuple):
    """The work has failed for good."""

    error: str


class Accepted(NamedTuple):
    """The step was called; its outcome comes later, from elsewhere."""

    elapsed_ms: int = 0
    """How long the attempt has lasted already, of its timeout."""


Outcome = Succeeded | Unfinished | Broken | Accepted


@dataclass(frozen=True, slots=True)
class Report:
    """Says what an attempt came to."""

    by: str
    token: Token
    outcome: Outcome
    attempt: int | None = None
    """None speaks for the current attempt."""
    version: int = 0
    """Of the attempt's `work_started`, where the caller knows it."""
    step: StepId | None = None
    """Given by callers from outside: a token of another step is an unknown one."""


@dataclass(frozen=True, slots=True)
class Lose:
    """Says that the engine of an attempt is lost: its entry was taken over."""

    by: str
    token: Token
    attempt: int
    is_child_absent: bool = False
    """Whether it was accepted, and the child flow that it waits for does not exist."""


@dataclass(frozen=True, slots=True)
class ReportUndo:
    """Says what an attempt to undo a work item came to."""

    by: str
    token: Token
    """Of the work item."""
    outcome: Outcome
    attempt: int
    """Of the compensation."""
    version: int = 0
    """Of the attempt's `comp_started`, where the caller knows it."""


@dataclass(frozen=True, slots=True)
class LoseUndo:
    """Says that the engine of an attempt to undo is lost: its entry was taken over."""

    by: str
    token: Token
    attempt: int


@dataclass(frozen=True, slots=True)
class RetryUndo:
    """A scheduled retry of a compensation has come due."""

    by: str
    token: Token
    attempt: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """Says that an attempt was released but is not begun, as its flow or step is over."""

    by: str
    token: Token
    attempt: int


@dataclass(frozen=True, slots=True)
class Retry:
    """A scheduled retry has come due."""

    by: str
    token: Token
    attempt: int


@dataclass(frozen=True, slots=True)
class Expire:
    """The outcome of an accepted attempt was waited for long enough."""

    by: str
    token: Token
    attempt: int


@dataclass(frozen=True, slots=True)
class Deadline:
    """An optional input was waited for long enough."""

    by: str
    step: StepId
    name: str
    """Of the attribute."""


@dataclass(frozen=True, slots=True)
class TimeOut:
    """The flow's own time is over."""

    by: str


@dataclass(frozen=True, slots=True)
class Look:
    """Goes on with what a bounded turn left, or what a time that has passed allows."""

    by: str


@dataclass(frozen=True, slots=True)
class CancelChildren:
    """Goes on with the end of the children that nobody waits for, from an item of a step on."""

    by: str
    step: StepId
    index: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ends the flow as failed, with "cancelled"."""

    by: str


Command = (
    Start
    | Report
    | Lose
    | ReportUndo
    | LoseUndo
    | RetryUndo
    | Abandon
    | Retry
    | Expire
    | Deadline
    | TimeOut
    | Look
    | CancelChildren
    | Cancel
)


class Answer(NamedTuple):
    """What a command came to."""

    counted: bool
    """Whether it changed anything."""
    unknown: bool = False
    """Whether it named a token that no work item of the flow has."""
    reason: str = ""
    """Why it did not count."""


DONE = Answer(counted=True)
UNKNOWN = Answer(counted=False, unknown=True, reason="no such token")
IMPORTED = Answer(counted=False, reason="the flow was imported: it is read, never run")
