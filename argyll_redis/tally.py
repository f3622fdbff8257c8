"""What has happened in a flow so far: its events counted, for those who show it.

Everything comes from the events, as anybody can read them: `argyll demo` and `argyll flow watch` say no
more of a flow than that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Event: TypeAlias = Mapping[str, Any]
"""An event as `FlowHandle.events` gives it."""

ENDS = {"step_completed": "completed", "step_failed": "failed", "step_skipped": "skipped"}


@dataclass(slots=True)
class StepTally:
    """One step. Times are ms of the server's clock, 0 for what has not happened."""

    id: str
    status: str = "pending"
    items: int = 0
    done: int = 0
    """Items that have succeeded."""
    retried: int = 0
    """Attempts that came to nothing and were scheduled again."""
    taken_over: int = 0
    """Attempts started again because their engine was lost."""
    outside: int = 0
    """Attempts whose outcome comes from outside."""
    busy_ms: int = 0
    """What the calls of its items took, together."""
    error: str = ""
    """Of the step, or of its last attempt that came to nothing."""
    started_ms: int = 0
    ended_ms: int = 0

    @property
    def is_over(self) -> bool:
        return self.status in ENDS.values()

    @property
    def took_ms(self) -> int:
        return self.ended_ms - self.started_ms if self.started_ms else 0


@dataclass(slots=True)
class Tally:
    """The whole flow."""

    steps: dict[str, StepTally]
    """The planned ones, in the order in which they are shown."""
    events: int = 0
    status: str = "active"
    error: str = ""
    started_ms: int = 0
    at_ms: int = 0
    """Of the newest event."""
    done_by: Counter[str] = field(default_factory=Counter[str])
    """Items that each engine has completed, by engine id."""
    rescued_by: Counter[str] = field(default_factory=Counter[str])
    """Lost attempts that each engine has started again."""
    lost_tokens: set[str] = field(default_factory=set[str])

    @classmethod
    def of(cls, steps: Sequence[str]) -> Tally:
        """Makes the tally of a flow of which nothing has happened."""
        return cls({id: StepTally(id) for id in steps})

    @property
    def elapsed_ms(self) -> int:
        """From the flow's start to the newest event."""
        return self.at_ms - self.started_ms

    def add(self, event: Event) -> None:
        """Counts one event."""
        self.events += 1
        self.at_ms = event["at"]
        data = event["data"]
        if "step" in data:
            self._add_to(self.steps[data["step"]], event)
        elif event["type"] == "flow_started":
            self.started_ms = event["at"]
        elif event["type"] in ("flow_completed", "flow_failed"):
            self.status = event["type"].removeprefix("flow_")
            self.error = data.get("error", "")

    def _add_to(self, step: StepTally, event: Event) -> None:
        kind, data = event["type"], event["data"]
        if kind == "step_started":
            step.status, step.items, step.started_ms = "active", data["items"], event["at"]
        elif kind in ENDS:
            step.status, step.ended_ms = ENDS[kind], event["at"]
            step.error = data.get("error", "")  # what was mended is no error of the step
        elif kind == "work_succeeded":
            step.done += 1
            step.busy_ms += data["ran_ms"]
            self.done_by[_engine(event)] += 1
        elif kind == "work_not_completed":
            step.error = data["error"]
        elif kind == "work_retry_scheduled":
            step.retried += 1
        elif kind == "work_accepted":
            step.outside += 1
        elif kind == "work_started" and data["reason"] == "lost":
            step.taken_over += 1
            self.rescued_by[_engine(event)] += 1
            self.lost_tokens.add(data["token"])


def _engine(event: Event) -> str:
    """The engine that an event is by: `work:<id>`."""
    return str(event["by"]).partition(":")[2]
