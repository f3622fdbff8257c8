"""A log with what its fold forgets: which event said what about a step's inputs and work items.

For explaining only. Deciding needs the state alone, so a state keeps no more than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from argyll_redis.core import events as e
from argyll_redis.core import events_undo as undo
from argyll_redis.core.decide import evolve
from argyll_redis.core.events import Recorded
from argyll_redis.core.model import JSON, StepId
from argyll_redis.core.sources import sources_of
from argyll_redis.core.state import Flow, WorkItem


class Fact(NamedTuple):
    """Something that happened to a work item."""

    version: int
    item: int
    """Its index."""
    attempt: int
    error: str = ""


class Inputs(NamedTuple):
    """What a step got, as recorded: by inner name."""

    version: int
    sources: Mapping[str, Mapping[str, JSON]]


class History:
    """A flow at the end of its log, and facts by step, in the order in which they happened."""

    def __init__(self, flow_id: str, events: Sequence[Recorded]) -> None:
        self.flow: Flow = evolve(Flow(flow_id), events)
        self.inputs: dict[StepId, Inputs] = {}
        self.losses: dict[StepId, list[Fact]] = {}
        """Attempts that were started because the engine of the one before was lost."""
        self.fallen: dict[StepId, list[Fact]] = {}
        """Attempts that were not completed."""
        self.failures: dict[StepId, list[Fact]] = {}
        self.reuses: dict[StepId, list[Fact]] = {}
        """Items that took the outcome of an earlier success."""
        self.ignored: dict[StepId, list[Fact]] = {}
        self.undone: dict[StepId, list[Fact]] = {}
        """Items that were undone."""
        self.not_undone: dict[StepId, list[Fact]] = {}
        """Items that could not be."""
        for recorded in events:
            self._note(recorded.version, recorded.event)

    @classmethod
    def without_facts(cls, flow: Flow) -> History:
        """A flow alone, for what can be said without its log."""
        history = cls(flow.id, ())
        history.flow = flow
        return history

    def _note(self, version: int, event: e.Event) -> None:
        match event:
            case e.StepStarted() | e.StepSkipped() | e.StepFailed():
                if event.inputs is not None:
                    step = self.flow.plan.steps[event.step]
                    sources = sources_of(self.flow, step, event.inputs, before=version)
                    self.inputs[event.step] = Inputs(version, sources)
            case e.WorkStarted():
                if event.reason == "lost":
                    self._add(self.losses, version, event)
            case e.WorkNotCompleted():
                self._add(self.fallen, version, event, event.error)
            case e.WorkFailed():
                self._add(self.failures, version, event, event.error)
            case e.WorkSucceeded():
                if event.memo:
                    self._add(self.reuses, version, event)
            case e.WorkIgnored():
                self._add(self.ignored, version, event, event.reason)
            case undo.CompSucceeded():
                self._add(self.undone, version, event)
            case undo.CompFailed():
                self._add(self.not_undone, version, event, event.error)
            case _:
                pass

    def _add(
        self,
        facts: dict[StepId, list[Fact]],
        version: int,
        event: e.WorkStarted
        | e.WorkNotCompleted
        | e.WorkFailed
        | e.WorkSucceeded
        | e.WorkIgnored
        | undo.CompSucceeded
        | undo.CompFailed,
        error: str = "",
    ) -> None:
        _, index = self.flow.tokens[event.token]
        facts.setdefault(event.step, []).append(Fact(version, index, event.attempt, error))

    def items(self, step: StepId) -> Iterable[WorkItem]:
        """The work items of a step that anything has happened to, in item order."""
        items = self.flow.steps[step].items
        return (items[index] for index in sorted(items))
