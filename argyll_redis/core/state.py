"""What is going on in a flow: the fold of its events, and the draft that a turn works on.

A `Flow` is only ever changed by merging a `Draft`. A draft starts empty: the first touch of a step
run or a work item copies that one, and reading falls through to the flow beneath. So a refused turn
costs what it touched and leaves no trace, and nobody ever reads a state that was not committed.

Every change of a status is checked against the tables below. A move that is not in them is a bug
and raises `InvariantBroken`; it is never silently accepted.

Times are not kept: a run or an item keeps the *version* of the event that changed it, and
`Flow.at_of` tells the time of a version, which only the store knows (it stamps the events).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple, Self

from argyll_redis.core.model import JSON, Plan, StepId, Token
from argyll_redis.errors import InvariantBroken


class FlowStatus(StrEnum):
    """Where a flow stands. Deactivation is a later fact, not a status."""

    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"


class StepStatus(StrEnum):
    """Where a step of a flow stands."""

    PENDING = "pending"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


class WorkStatus(StrEnum):
    """Where a work item stands."""

    PENDING = "pending"
    ACTIVE = "active"
    NOT_COMPLETED = "not_completed"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"


FLOW_MOVES: Mapping[FlowStatus, frozenset[FlowStatus]] = {
    FlowStatus.ACTIVE: frozenset({FlowStatus.COMPLETED, FlowStatus.FAILED}),
    FlowStatus.COMPLETED: frozenset(),
    FlowStatus.FAILED: frozenset(),
}

STEP_MOVES: Mapping[StepStatus, frozenset[StepStatus]] = {
    StepStatus.PENDING: frozenset({StepStatus.ACTIVE, StepStatus.SKIPPED, StepStatus.FAILED}),
    StepStatus.ACTIVE: frozenset({StepStatus.COMPLETED, StepStatus.FAILED}),
    StepStatus.COMPLETED: frozenset(),
    StepStatus.FAILED: frozenset(),
    StepStatus.SKIPPED: frozenset(),
}

WORK_MOVES: Mapping[WorkStatus, frozenset[WorkStatus]] = {
    WorkStatus.PENDING: frozenset(
        {WorkStatus.ACTIVE, WorkStatus.SUCCEEDED, WorkStatus.FAILED, WorkStatus.SKIPPED}
    ),
    WorkStatus.ACTIVE: frozenset(
        {WorkStatus.ACTIVE, WorkStatus.SUCCEEDED, WorkStatus.FAILED, WorkStatus.NOT_COMPLETED}
    ),
    WorkStatus.NOT_COMPLETED: frozenset({WorkStatus.PENDING, WorkStatus.FAILED}),
    WorkStatus.SUCCEEDED: frozenset({WorkStatus.COMPENSATING}),
    WorkStatus.FAILED: frozenset({WorkStatus.COMPENSATING}),
    WorkStatus.SKIPPED: frozenset(),
    WorkStatus.COMPENSATING: frozenset(
        {WorkStatus.COMPENSATING, WorkStatus.COMPENSATED, WorkStatus.COMPENSATION_FAILED}
    ),
    WorkStatus.COMPENSATED: frozenset(),
    WorkStatus.COMPENSATION_FAILED: frozenset(),
}

TOKENS = 1_024
"""Tokens that were derived lately: one turn asks for the same ones several times."""

THE_FLOW = "*"
"""The scope of a flow in `lingering`; a step's is its id."""

WORK_OVER = frozenset(WorkStatus) - {WorkStatus.PENDING, WorkStatus.ACTIVE, WorkStatus.NOT_COMPLETED}
"""What a work item has come to stays, also while it is undone and after."""
STEP_OVER = frozenset({StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED})


class Value(NamedTuple):
    """One value of an attribute."""

    value: JSON
    step: StepId | None
    """Who provided it; None for an initial value."""
    version: int
    """Of the event that set it."""


class RootCause(NamedTuple):
    """The failure that others followed from."""

    step: StepId
    error: str


class Deadline(NamedTuple):
    """Until when an optional input of a pending step is waited for."""

    started_version: int
    """Of its `deadline_started`: it passes `delay_ms` after that."""
    delay_ms: int
    passed_version: int = 0
    """Of its `deadline_passed`; what comes later is ignored by the step. 0 while it has not passed."""


class Late(NamedTuple):
    """A success that came after its work item had failed, of a step that knows how to undo it."""

    version: int
    """Of the `work_ignored` that has it on record."""
    outputs: Mapping[str, JSON]


class Undo(NamedTuple):
    """The compensation of a work item, over all its attempts."""

    attempt: int = 0
    """The current or last one."""
    version: int = 0
    """Of the `comp_started` of the current attempt."""
    retries: int = 0
    """Reported "not completed" so far."""
    losses: int = 0
    """Engines lost in a row."""
    due_attempt: int = 0
    """The attempt that the retry last scheduled will start."""
    due_version: int = 0
    due_delay_ms: int = 0
    ended_version: int = 0
    error: str | None = None
    """Of the last attempt that did not succeed."""

    @property
    def is_waiting(self) -> bool:
        """Whether a retry is scheduled."""
        return self.due_attempt > self.attempt and not self.ended_version


class WorkItem:
    """One call of a step, over all its attempts. Exists from its first event on."""

    __slots__ = (
        "accepted_version",
        "attempt",
        "due_attempt",
        "due_delay_ms",
        "due_version",
        "ended_version",
        "error",
        "first_version",
        "ignored",
        "index",
        "late",
        "losses",
        "outputs",
        "retries",
        "started_version",
        "status",
        "step",
        "timeout_ms",
        "token",
        "undo",
    )

    def __init__(self, step: StepId, index: int, token: Token) -> None:
        self.step = step
        self.index = index
        self.token = token
        self.status = WorkStatus.PENDING
        self.attempt = 0
        """The current or last attempt; 0 before the first start."""
        self.retries = 0
        """Reported "not completed" so far."""
        self.losses = 0
        """Engines lost in a row."""
        self.first_version = 0
        """Of its first `work_started`."""
        self.started_version = 0
        """Of the `work_started` of the current attempt."""
        self.accepted_version = 0
        """Of `work_accepted` of the current attempt; 0 when the outcome comes from the call."""
        self.timeout_ms = 0
        """Of the current attempt once accepted: how long from then its outcome is waited for."""
        self.due_attempt = 0
        """The attempt that the retry last scheduled will start; kept until that start."""
        self.due_version = 0
        """Of the last `work_retry_scheduled`."""
        self.due_delay_ms = 0
        self.ended_version = 0
        self.outputs: Mapping[str, JSON] | None = None
        self.error: str | None = None
        self.ignored: frozenset[int] = frozenset()
        """Attempts of which something was ignored on record; -1 stands for a late success."""
        self.late: Late | None = None
        self.undo: Undo | None = None
        """Once its compensation has started."""

    def clone(self) -> Self:
        new = self.__class__.__new__(self.__class__)
        new.step = self.step
        new.index = self.index
        new.token = self.token
        new.status = self.status
        new.attempt = self.attempt
        new.retries = self.retries
        new.losses = self.losses
        new.first_version = self.first_version
        new.started_version = self.started_version
        new.accepted_version = self.accepted_version
        new.timeout_ms = self.timeout_ms
        new.due_attempt = self.due_attempt
        new.due_version = self.due_version
        new.due_delay_ms = self.due_delay_ms
        new.ended_version = self.ended_version
        new.outputs = self.outputs
        new.error = self.error
        new.ignored = self.ignored
        new.late = self.late
        new.undo = self.undo
        return new

    @property
    def is_waiting(self) -> bool:
        """Whether a retry is scheduled."""
        return self.status is WorkStatus.PENDING and self.due_attempt > self.attempt

    @property
    def is_untouched(self) -> bool:
        """Whether it was neither started nor settled."""
        return self.status is WorkStatus.PENDING and self.attempt == 0

    @property
    def is_accepted(self) -> bool:
        """Whether the current attempt's outcome comes from elsewhere."""
        return self.status is WorkStatus.ACTIVE and self.accepted_version > 0

    @property
    def undone_outputs(self) -> Mapping[str, JSON]:
        """What its compensation undoes, by attribute name: what it gave in time, or too late."""
        return (self.late.outputs if self.late else self.outputs) or {}

    def move(self, status: WorkStatus) -> None:
        if status not in WORK_MOVES[self.status]:
            raise InvariantBroken(f"work item {self.token} cannot go from {self.status} to {status}")
        self.status = status

    def picture(self) -> tuple[object, ...]:
        """All of its state, for comparing."""
        return tuple(getattr(self, name) for name in WorkItem.__slots__)


class StepRun:
    """A step of a flow's plan and how far it has come. Counts its items, so that nobody scans them."""

    __slots__ = (
        "accepted",
        "active",
        "deadlines",
        "ended_version",
        "error",
        "failed",
        "first_error",
        "id",
        "inputs",
        "items",
        "next_index",
        "owed",
        "reason",
        "retrying",
        "root_cause",
        "size",
        "skipped",
        "started_version",
        "status",
        "succeeded",
        "tokens",
        "undo_failed",
        "undo_retrying",
        "undoing",
        "undone",
        "unsatisfied",
    )

    def __init__(self, id: StepId) -> None:
        self.id = id
        self.status = StepStatus.PENDING
        self.started_version = 0
        self.ended_version = 0
        self.inputs: Mapping[str, JSON] = {}
        """By inner name, as collected at the start; a `for_each` input is still its whole array."""
        self.size = 0
        """How many work items it has."""
        self.tokens: tuple[Token, ...] = ()
        """Of its items, in an imported flow; elsewhere they derive from the seed."""
        self.next_index = 0
        """Items below it have all been started, skipped or settled at least once."""
        self.items: dict[int, WorkItem] = {}
        """By index; only items with an event. Shared between a run and its copies: see `Draft`."""
        self.active = 0
        self.accepted = 0
        """Of the active ones, those whose outcome comes from elsewhere."""
        self.retrying: tuple[int, ...] = ()
        """Indexes of the items whose retry is scheduled, in item order."""
        self.succeeded = 0
        self.failed = 0
        self.skipped = 0
        self.first_error: RootCause | None = None
        """Of the first item that failed."""
        self.error: str | None = None
        self.root_cause: RootCause | None = None
        self.reason: str | None = None
        """Why it was skipped."""
        self.unsatisfied: tuple[str, ...] = ()
        self.deadlines: Mapping[str, Deadline] = {}
        """Those that have started, by attribute name. Never changed in place."""
        self.owed: tuple[int, ...] = ()
        """Indexes of the items that are to be undone and are not begun with, in item order."""
        self.undoing = 0
        """How many items have a compensation released to an engine."""
        self.undo_retrying: tuple[int, ...] = ()
        """Indexes of the items whose compensation waits for its retry, in item order."""
        self.undone = 0
        self.undo_failed = 0

    def clone(self) -> Self:
        new = self.__class__.__new__(self.__class__)
        new.id = self.id
        new.status = self.status
        new.started_version = self.started_version
        new.ended_version = self.ended_version
        new.inputs = self.inputs
        new.size = self.size
        new.tokens = self.tokens
        new.next_index = self.next_index
        new.items = self.items
        new.active = self.active
        new.accepted = self.accepted
        new.retrying = self.retrying
        new.succeeded = self.succeeded
        new.failed = self.failed
        new.skipped = self.skipped
        new.first_error = self.first_error
        new.error = self.error
        new.root_cause = self.root_cause
        new.reason = self.reason
        new.unsatisfied = self.unsatisfied
        new.deadlines = self.deadlines
        new.owed = self.owed
        new.undoing = self.undoing
        new.undo_retrying = self.undo_retrying
        new.undone = self.undone
        new.undo_failed = self.undo_failed
        return new

    @property
    def has_undos(self) -> bool:
        """Whether an item is to be undone, or is being undone."""
        return bool(self.owed or self.undoing or self.undo_retrying)

    @property
    def waiting(self) -> int:
        """How many items wait for their retry."""
        return len(self.retrying)

    @property
    def over(self) -> int:
        """How many items are over: succeeded, failed for good or skipped."""
        return self.succeeded + self.failed + self.skipped

    def move(self, status: StepStatus) -> None:
        if status not in STEP_MOVES[self.status]:
            raise InvariantBroken(f"step {self.id} cannot go from {self.status} to {status}")
        self.status = status

    def picture(self) -> tuple[object, ...]:
        """All of its state, for comparing."""
        own = tuple(getattr(self, name) for name in StepRun.__slots__ if name != "items")
        return (own, {index: item.picture() for index, item in sorted(self.items.items())})


@lru_cache(maxsize=TOKENS)
def token_of(seed: str, step: StepId, index: int) -> Token:
    """Names a work item: 128 bits that follow from the flow's secret seed, the step and the index."""
    digest = blake2b(f"{step}\0{index}".encode(), digest_size=16, key=bytes.fromhex(seed))
    return Token(digest.hexdigest())


class Flow:
    """One execution of a plan, at some version. Everything here follows from its events."""

    __slots__ = (
        "accepted",
        "active",
        "attributes",
        "catalog_version",
        "compensate",
        "deactivated_version",
        "deadlines",
        "ended_version",
        "error",
        "id",
        "init",
        "labels",
        "last_tx",
        "linger_ms",
        "lingering",
        "metadata",
        "plan",
        "plan_hash",
        "root_cause",
        "seed",
        "status",
        "steps",
        "timeout_ms",
        "tokens",
        "turn_ats",
        "turn_firsts",
        "undos",
        "version",
        "waiting",
        "waits",
    )

    plan: Plan
    """Set by `flow_started`."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.version = 0
        self.last_tx = ""
        self.status = FlowStatus.ACTIVE
        self.plan_hash = ""
        self.seed = ""
        """What tokens derive from; empty in an imported flow."""
        self.init: Mapping[str, list[JSON]] = {}
        self.metadata: Mapping[str, JSON] = {}
        self.labels: Mapping[str, str] = {}
        self.compensate: str | None = None
        self.timeout_ms = 0
        self.linger_ms = 0
        self.catalog_version = 0
        self.steps: dict[StepId, StepRun] = {}
        self.attributes: dict[str, list[Value]] = {}
        self.tokens: dict[Token, tuple[StepId, int]] = {}
        """Every work item of every started step, by token."""
        self.active = 0
        """Work items that are active, over all steps."""
        self.accepted = 0
        self.waiting = 0
        self.lingering: tuple[str, ...] = ()
        """What is over while items of it are active: `*` (the flow) or ids of failed steps. Each has a
        due entry that gives up those whose outcome comes from elsewhere."""
        self.deadlines: tuple[tuple[StepId, str], ...] = ()
        """The inputs of pending steps whose deadline runs, as (step, attribute name), in the order of
        their starts. Each has a due entry."""
        self.undos: tuple[StepId, ...] = ()
        """Steps with items that are to be undone, or are being undone."""
        self.error: str | None = None
        self.root_cause: RootCause | None = None
        self.ended_version = 0
        """Of `flow_completed` or `flow_failed`."""
        self.deactivated_version = 0
        self.turn_firsts: list[int] = []
        self.turn_ats: list[int] = []
        self.waits: dict[StepId, int] = {}
        """Which input a pending step was last found to wait for: no state, only where to look first."""

    @property
    def is_over(self) -> bool:
        """Whether the outcome is decided."""
        return self.status is not FlowStatus.ACTIVE

    @property
    def is_deactivated(self) -> bool:
        return self.deactivated_version > 0

    @property
    def is_imported(self) -> bool:
        """Whether its log was imported. Such a log has everything in full and no seed; it is read and
        explained, and nothing is ever added to it."""
        return self.version > 0 and not self.seed

    def step(self, id: StepId) -> StepRun:
        return self.steps[id]

    def token(self, step: StepId, index: int) -> Token:
        """The token of a work item of a step that has started."""
        return token_of(self.seed, step, index) if self.seed else self.steps[step].tokens[index]

    def item(self, step: StepId, index: int) -> WorkItem | None:
        return self.steps[step].items.get(index)

    def items(self, run: StepRun) -> Iterator[WorkItem]:
        """The items of a step that exist, in item order."""
        return (run.items[index] for index in sorted(run.items))

    def find(self, token: Token) -> tuple[StepId, int] | None:
        """Which work item a token names."""
        return self.tokens.get(token)

    def values(self, attribute: str) -> list[Value]:
        return self.attributes.get(attribute, [])

    def at_of(self, version: int) -> int:
        """When the event of a version was appended, by the server's clock (ms); 0 for version 0."""
        if self.turn_firsts and version >= self.turn_firsts[-1]:
            return self.turn_ats[-1]  # of the last turn: what is asked for most
        place = bisect_right(self.turn_firsts, version) - 1
        return self.turn_ats[place] if place >= 0 and version > 0 else 0

    def picture(self) -> dict[str, object]:
        """All of its state, for comparing: two folds of one log give equal pictures."""
        left_out = ("steps", "plan", "waits")
        plain: dict[str, object] = {
            name: getattr(self, name, None) for name in Flow.__slots__ if name not in left_out
        }
        plain["attributes"] = {name: tuple(values) for name, values in self.attributes.items()}
        plain["tokens"] = dict(self.tokens)
        plain["turn_firsts"] = tuple(self.turn_firsts)
        plain["turn_ats"] = tuple(self.turn_ats)
        plain["steps"] = {id: run.picture() for id, run in self.steps.items()}
        return plain


class Draft:
    """A flow with changes that are not committed yet. Events apply themselves to it."""

    __slots__ = (
        "_attributes",
        "_items",
        "_runs",
        "_terms",
        "_tokens",
        "accepted",
        "active",
        "base",
        "compensate",
        "deactivated_version",
        "deadlines",
        "ended_version",
        "error",
        "is_over",
        "linger_ms",
        "lingering",
        "plan",
        "root_cause",
        "seed",
        "status",
        "timeout_ms",
        "undos",
        "version",
        "waiting",
    )

    plan: Plan

    def __init__(self, base: Flow) -> None:
        self.base = base
        self.version = base.version
        self.status = base.status
        self.is_over = base.is_over
        """Whether the outcome is decided."""
        self.active = base.active
        self.accepted = base.accepted
        self.waiting = base.waiting
        self.lingering = base.lingering
        self.deadlines = base.deadlines
        self.undos = base.undos
        self.error = base.error
        self.root_cause = base.root_cause
        self.ended_version = base.ended_version
        self.deactivated_version = base.deactivated_version
        self.seed = base.seed
        self.linger_ms = base.linger_ms
        self.timeout_ms = base.timeout_ms
        self.compensate = base.compensate
        if base.version:
            self.plan = base.plan
        self._terms: Mapping[str, Any] = {}
        """What `flow_started` has fixed, by the names that a flow has for it; until it is committed."""
        self._runs: dict[StepId, StepRun] = {}
        self._items: dict[tuple[StepId, int], WorkItem] = {}
        self._attributes: dict[str, list[Value]] = {}
        self._tokens: dict[Token, tuple[StepId, int]] = {}

    @property
    def id(self) -> str:
        return self.base.id

    @property
    def is_deactivated(self) -> bool:
        return self.deactivated_version > 0

    # ------------------------------------------------------------------ read

    def step(self, id: StepId) -> StepRun:
        """The run of a step, for reading; its `items` are those of the base."""
        return self._runs.get(id) or self.base.steps[id]

    def item(self, step: StepId, index: int) -> WorkItem | None:
        """A work item, for reading; None when nothing has happened to it yet."""
        return self._items.get((step, index)) or self.step(step).items.get(index)

    def find(self, token: Token) -> tuple[StepId, int] | None:
        """Which work item a token names."""
        return self._tokens.get(token) or self.base.tokens.get(token)

    def token(self, step: StepId, index: int) -> Token:
        """The token of a work item of a step that has started."""
        return token_of(self.seed, step, index) if self.seed else self.step(step).tokens[index]

    def values(self, attribute: str) -> list[Value]:
        """The values of an attribute so far, in order of arrival."""
        found = self._attributes.get(attribute)
        return self.base.attributes.get(attribute, []) if found is None else found

    def items(self, run: StepRun) -> Iterator[WorkItem]:
        """The items of a step that exist, in item order."""
        changed = {index for step, index in self._items if step == run.id}
        for index in sorted(run.items.keys() | changed):
            yield self._items.get((run.id, index)) or run.items[index]

    def changed_items(self) -> Iterator[tuple[WorkItem | None, WorkItem]]:
        """The work items that were touched, each as it was (None: nothing had happened to it) and is."""
        for (step, index), item in self._items.items():
            known = self.base.steps.get(step)
            yield known.items.get(index) if known else None, item

    # ---------------------------------------------------------------- change

    def fix(self, **terms: Any) -> None:
        """Fixes what holds for the flow from its start on, by the names that a flow has for it."""
        self._terms = terms
        self.plan, self.seed = terms["plan"], terms["seed"]
        self.linger_ms, self.timeout_ms = terms["linger_ms"], terms["timeout_ms"]
        self.compensate = terms["compensate"]

    def linger(self, scope: str) -> None:
        """Notes that something is over while items of it are still active."""
        self.lingering = (*self.lingering, scope)

    def linger_no_more(self, scope: str) -> None:
        """Notes that no item of it is active any more."""
        if scope in self.lingering:
            self.lingering = tuple(each for each in self.lingering if each != scope)

    def start_deadline(self, step: StepId, name: str, deadline: Deadline) -> None:
        """Notes that the deadline of an optional input of a step runs."""
        run = self.edit_step(step)
        if run.status is not StepStatus.PENDING or name in run.deadlines:
            raise InvariantBroken(f'no deadline of input "{name}" of step {step} can start')
        run.deadlines = {**run.deadlines, name: deadline}
        self.deadlines = (*self.deadlines, (step, name))

    def pass_deadline(self, step: StepId, name: str, version: int) -> None:
        """Notes that a deadline that runs is over, by the event of a version."""
        if (step, name) not in self.deadlines:
            raise InvariantBroken(f'no deadline of input "{name}" of step {step} runs')
        run = self.edit_step(step)
        run.deadlines = {**run.deadlines, name: run.deadlines[name]._replace(passed_version=version)}
        self.deadlines = tuple(each for each in self.deadlines if each != (step, name))

    def drop_deadlines(self, step: StepId | None = None) -> None:
        """Notes that a step is no longer pending, or that the flow is over: no deadline of it runs."""
        if self.deadlines:
            self.deadlines = tuple(each for each in self.deadlines if step is not None and each[0] != step)

    def edit_step(self, id: StepId) -> StepRun:
        run = self._runs.get(id)
        if run is None:
            run = self._runs[id] = self.base.steps[id].clone()
        return run

    def edit_item(self, step: StepId, index: int) -> WorkItem:
        """A work item to change; made when nothing has happened to it yet."""
        key = (step, index)
        item = self._items.get(key)
        if item is None:
            known = self.step(step).items.get(index)
            item = known.clone() if known else WorkItem(step, index, self.token(step, index))
            self._items[key] = item
        return item

    def edit_token(self, token: Token) -> WorkItem:
        """The work item of a token, to change."""
        found = self.find(token)
        if found is None:
            raise InvariantBroken(f"no step of flow {self.id} has started a work item {token}")
        return self.edit_item(*found)

    def add_run(self, run: StepRun) -> None:
        self._runs[run.id] = run

    def add_value(self, attribute: str, value: Value) -> None:
        self._attributes[attribute] = [*self.values(attribute), value]

    def add_tokens(self, step: StepId, size: int) -> None:
        for index in range(size):
            self._tokens[self.token(step, index)] = (step, index)

    def move(self, status: FlowStatus) -> None:
        if status not in FLOW_MOVES[self.status]:
            raise InvariantBroken(f"flow {self.id} cannot go from {self.status} to {status}")
        self.status = status
        self.is_over = status is not FlowStatus.ACTIVE

    def merge(self, *, first: int, at: int, tx: str) -> None:
        """Makes the changes of one transaction the flow's own: from version `first` on, at `at`.

        A transaction may come in two parts, when a log was read in pages.
        """
        base = self.base
        base.version = self.version
        base.status = self.status
        base.active = self.active
        base.accepted = self.accepted
        base.waiting = self.waiting
        base.lingering = self.lingering
        base.deadlines = self.deadlines
        base.undos = self.undos
        base.error = self.error
        base.root_cause = self.root_cause
        base.ended_version = self.ended_version
        base.deactivated_version = self.deactivated_version
        for name, value in self._terms.items():
            setattr(base, name, value)
        base.steps.update(self._runs)
        for (step, index), item in self._items.items():
            base.steps[step].items[index] = item
        base.attributes.update(self._attributes)
        base.tokens.update(self._tokens)
        if self.version >= first and tx != base.last_tx:
            base.turn_firsts.append(first)
            base.turn_ats.append(at)
            base.last_tx = tx


View = Flow | Draft
"""Something to read a flow's state from."""
