"""One transaction in the making: a draft, the events decided so far, and what is still to be looked at.

Rules never scan a plan for work. Whatever happens puts names on a few worklists, each with the
version of the event that led there (the cause of what follows); the rules take from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import NamedTuple

from argyll_redis.core.events import Event
from argyll_redis.core.inputs import Evaluate, Want, want_of
from argyll_redis.core.model import JSON, StepId
from argyll_redis.core.state import Draft, Flow, StepStatus, WorkItem

MAX_ITEMS_A_TURN = 100
"""Items that one transaction starts, skips or abandons; a step started counts its items, at least one, and
a deadline started counts as one."""
MAX_COMMANDS_A_TURN = 100
"""Commands of one flow that are decided together."""


class Decided(NamedTuple):
    """An event of a transaction that is not committed yet."""

    event: Event
    cause: int
    by: str


class Worklist(dict[str, int]):
    """Names to look at, each once, with the version that first led there; taken in a fixed order.

    A dict, so that asking whether there is anything on it, which the rules do all the time, costs nothing.
    Most lists of most turns stay empty or have one name: there is a heap only where there were more.
    """

    _heap: list[tuple[int, str]] | None = None
    """All of its names but `_added`, in their order, once there was more than one of them to take from."""
    _added: list[str]
    """Names that are to come into the heap."""

    def add(self, name: str, cause: int) -> None:
        if name not in self:
            self[name] = cause
            if self._heap is not None:
                self._added.append(name)

    def take(self, rank: Mapping[StepId, int] | None = None) -> tuple[str, int]:
        """Takes the first name off; gives its cause with it. Steps go by their rank, attributes by name."""
        if len(self) == 1:
            self._heap = None
            return self.popitem()
        if self._heap is None:
            self._heap, self._added = [], list(self)
        for name in self._added:
            heappush(self._heap, (rank[StepId(name)] if rank else 0, name))
        self._added.clear()
        _, name = heappop(self._heap)
        return name, self.pop(name)

    def clear(self) -> None:
        super().clear()
        self._heap = None


class Turn:
    """A transaction in the making. Nothing of it is seen by anybody until it is committed."""

    __slots__ = (
        "_wanted_at",
        "_wants",
        "abandoning",
        "by",
        "changed",
        "closed",
        "collected",
        "controls",
        "draft",
        "ending",
        "evaluate",
        "events",
        "fit",
        "fresh",
        "held",
        "hungry",
        "left",
        "now_ms",
        "orphaning",
        "paid",
        "ready",
        "room",
        "timing",
        "touched",
        "unchecked",
        "unwanted",
    )

    def __init__(self, flow: Flow, *, now_ms: int, evaluate: Evaluate) -> None:
        self.draft = Draft(flow)
        self.now_ms = now_ms
        self.evaluate = evaluate
        self.events: list[Decided] = []
        self.by = ""
        self.room = MAX_ITEMS_A_TURN
        """Items that this turn may still start, skip or abandon."""
        self.left = False
        """Whether something was left for another look."""
        self.touched = Worklist()
        """Attributes that got a value, or one of whose providers is over."""
        self.closed = Worklist()
        """Pending steps whose match gate is closed."""
        self.unwanted = Worklist()
        """Pending steps that may not be wanted any more."""
        self.ready = Worklist()
        """Pending steps that may start."""
        self.timing = Worklist()
        """Pending steps that have all they need, and optional inputs to wait for."""
        self.fit = Worklist()
        """Pending steps that start as soon as no other step has to be looked at before."""
        self.collected: dict[StepId, tuple[dict[str, JSON], int]] = {}
        """What fit steps get, as their start records it, and how many work items that makes."""
        self.fresh: dict[StepId, int] = {}
        """Steps that have just started, each with the version that says so."""
        self.changed = Worklist()
        """Active steps that may be over."""
        self.hungry: dict[StepId, int] = {}
        """Active steps that may start items, each with what led there."""
        self.unchecked: dict[StepId, int] = {}
        """Of the hungry steps, those whose items have to be checked before any is started."""
        self.held: dict[StepId, list[int]] = {}
        """Items of hungry steps whose predicate holds, by index, not started yet."""
        self.paid: set[StepId] = set()
        """Steps started in this turn whose first item is counted already."""
        self.ending = 0
        """The cause for looking whether the flow is over; 0 for no cause."""
        self._wants: dict[StepId, Want] = {}
        self._wanted_at = 0
        self.abandoning = False
        """Whether to look for items that nobody waits for any more."""
        self.orphaning = False
        """Whether to look for children that nobody waits for any more."""
        self.controls: list[str] = []
        """Control entries that the turn adds for children."""

    def emit(self, event: Event, *, cause: int) -> int:
        """Appends an event and applies it; gives its version."""
        draft = self.draft
        draft.version += 1
        event.apply(draft, draft.version)
        self.events.append(Decided(event, cause, self.by))
        return draft.version

    def want(self, step: StepId) -> Want:
        """How much a pending step is wanted. What was found is kept until something happens, as every
        step of a chain asks all that follow it."""
        if self._wanted_at != self.draft.version:
            self._wanted_at = self.draft.version
            self._wants.clear()
        return want_of(self.draft, step, self.evaluate, known=self._wants)

    def matters(self, step: StepId) -> bool:
        """Whether anybody still waits for what the items of a step come to."""
        return not self.draft.is_over and self.draft.step(step).status is StepStatus.ACTIVE

    def at_of(self, version: int) -> int:
        """When the event of a version was appended; for this turn's own, now."""
        return self.draft.base.at_of(version) if version <= self.draft.base.version else self.now_ms

    def is_due(self, item: WorkItem) -> bool:
        """Whether the delay before an item's retry has passed."""
        return item.is_waiting and self.at_of(item.due_version) + item.due_delay_ms <= self.now_ms
