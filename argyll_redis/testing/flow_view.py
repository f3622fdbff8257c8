"""A flow as a test looks at it: what it came to, what was called and when, and why.

It is read from the log, and from the calls that were written down while the flow ran; it does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from argyll_redis.core.collect import result_of
from argyll_redis.core.events import Recorded, WorkRetryScheduled
from argyll_redis.core.explain import explain
from argyll_redis.core.model import JSON, StepId
from argyll_redis.core.state import Flow, FlowStatus, StepRun
from argyll_redis.errors import InvalidInput
from argyll_redis.testing.expect import differences
from argyll_redis.testing.functions import StepCall
from argyll_redis.views import show_events

StepName = str | Callable[..., Any]
"""A step's function, or its id."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a view is made of."""

    flow: Flow
    events: Sequence[Recorded]
    calls: Sequence[StepCall]
    now_ms: int
    id_of: Callable[[Any], str]
    world: Any = None


class FlowView:
    """A flow, as far as it went."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._flow = seen.flow
        self.world = seen.world
        """What `world` gave for this run of a simulation; None elsewhere."""

    def __repr__(self) -> str:
        return f"FlowView({self.id!r}, {self.status})"

    # --------------------------------------------------------------------- outcome

    @property
    def id(self) -> str:
        return self._flow.id

    @property
    def status(self) -> str:
        """`active`, `completed` or `failed`."""
        return str(self._flow.status)

    @property
    def result(self) -> dict[str, JSON] | None:
        """What the goals provided, by attribute name; None unless the flow completed."""
        return result_of(self._flow) if self._flow.status is FlowStatus.COMPLETED else None

    @property
    def error(self) -> str | None:
        """Why the flow failed."""
        return self._flow.error

    @property
    def root_cause(self) -> dict[str, str] | None:
        """`{step, error}` of the failure that the flow's own followed from."""
        root = self._flow.root_cause
        return {"step": str(root.step), "error": root.error} if root else None

    @property
    def took_ms(self) -> int:
        """The virtual ms from the start to the outcome, or to now."""
        ended = self._flow.ended_version
        return (self._flow.at_of(ended) if ended else self._seen.now_ms) - self._flow.at_of(1)

    def values(self, attribute: str) -> list[JSON]:
        """The values of an attribute, in order of arrival."""
        return [value.value for value in self._flow.values(attribute)]

    # ----------------------------------------------------------------------- steps

    @property
    def steps(self) -> dict[str, str]:
        """The status of each step of the plan, by id."""
        return {str(id): str(run.status) for id, run in self._flow.steps.items()}

    @property
    def ran(self) -> list[str]:
        """The steps that were started, in order."""
        runs = [run for run in self._flow.steps.values() if run.started_version]
        return [str(run.id) for run in sorted(runs, key=lambda run: run.started_version)]

    @property
    def skipped(self) -> list[str]:
        """The steps of the plan that were skipped, by id."""
        return [id for id, status in self.steps.items() if status == "skipped"]

    @property
    def waits(self) -> list[str]:
        """The steps that wait for an outcome from outside, by id."""
        return [str(run.id) for run in self._flow.steps.values() if run.accepted]

    @property
    def calls(self) -> list[StepCall]:
        """Every call of a function, in order, those whose engine died among them."""
        return list(self._seen.calls)

    def calls_of(self, step: StepName) -> list[StepCall]:
        """The calls of one step."""
        id = self.step_id(step)
        return [call for call in self._seen.calls if call.step == id]

    def called_at_ms(self, step: StepName) -> list[int]:
        """When a step was called, in virtual ms from the start of the flow: a retry is called a moment
        after it is due."""
        return [call.at_ms - self._flow.at_of(1) for call in self.calls_of(step)]

    def retried_after_ms(self, step: StepName) -> list[int]:
        """The delays of a step's retries, in the order in which they were decided."""
        id = self.step_id(step)
        delays: list[int] = []
        for recorded in self._seen.events:
            event: Any = recorded.event
            if isinstance(event, WorkRetryScheduled) and event.step == id:
                delays.append(event.delay_ms)
        return delays

    def attempts_of(self, step: StepName) -> int:
        """How many attempts the work item of a step with the most of them had."""
        return max((item.attempt for item in self._run(step).items.values()), default=0)

    def why(self, step: StepName) -> list[str]:
        """Says why a step ran, waits, was skipped, failed or was never planned, a sentence each."""
        said = explain(self.id, self._seen.events, self.step_id(step), now_ms=self._seen.now_ms)
        return [clause.text for clause in said.clauses]

    def step_id(self, step: StepName) -> str:
        """The id of a step. Raises `InvalidInput` for a function that is none."""
        return self._seen.id_of(step)

    def _run(self, step: StepName) -> StepRun:
        id = self.step_id(step)
        run = self._flow.steps.get(StepId(id))
        if run is None:
            planned = ", ".join(self.steps) or "nothing"
            raise InvalidInput(f'step "{id}" is not in the plan of flow "{self.id}" (planned: {planned})')
        return run

    # ---------------------------------------------------------------------- events

    @property
    def events(self) -> list[dict[str, JSON]]:
        """The events, each `{id, type, at, cause, by, data}`, in full."""
        return list(show_events(Flow(self.id), self._seen.events))

    # ------------------------------------------------------------------------ then

    def then(
        self,
        *,
        result: Mapping[str, JSON] | None = None,
        failed: str | None = None,
        root_cause: StepName | None = None,
        waits: Sequence[StepName] | None = None,
        ran: Sequence[StepName] | None = None,
        skipped: Sequence[StepName] | None = None,
        calls: Mapping[Any, int] | None = None,
        attempts: Mapping[Any, int] | None = None,
        retried_after_ms: Mapping[Any, Sequence[int]] | None = None,
        why: Mapping[Any, str] | None = None,
        events: Sequence[str] | None = None,
    ) -> Self:
        """Holds the flow against what is expected of it, and gives the view again.

        It must have completed, unless `failed` (a part of the error's text), `root_cause` (the step where
        it began) or `waits` is given: all steps that wait for an outcome from outside. `ran` and `skipped`
        are all such steps, too, in any order. The others speak of the steps that they name: how often its
        function was called (`calls`), how many `attempts` the work item with the most of them had, what
        delays its retries had, and a part of a sentence of its `why`. `events` are types that must occur
        in this order, with others between them.

        Raises `AssertionError` with all that differs, and what happened.
        """
        __tracebackhide__ = True  # pytest then shows the test's own line, not this
        found = differences(
            self,
            result=result,
            failed=failed,
            root_cause=root_cause,
            waits=waits,
            ran=ran,
            skipped=skipped,
            calls=calls,
            attempts=attempts,
            retried_after_ms=retried_after_ms,
            why=why,
            events=events,
        )
        if found:
            raise AssertionError("\n".join([*found, "what happened:", self.text()]))
        return self

    # ------------------------------------------------------------------------ text

    def text(self) -> str:
        """What happened, for people: a line for the flow and one for each step of its plan."""
        head = f'flow "{self.id}" is {self.status} after {self.took_ms:,} ms'
        end = f": {self.error}" if self.error else ""
        rows = [self._row(run) for run in self._flow.steps.values()]
        widths = [max((len(row[place]) for row in rows), default=0) for place in range(2)]
        lines = ["  ".join((row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2])) for row in rows]
        return "\n".join([f"  {head}{end}", *(f"  {line}".rstrip() for line in lines)])

    def _row(self, run: StepRun) -> tuple[str, str, str]:
        calls = self.calls_of(run.id)
        told: list[str] = []
        if calls:
            times = ", ".join(f"{at_ms:,}" for at_ms in self.called_at_ms(run.id)[:8])
            told.append(f"{len(calls)} call{'s' * (len(calls) > 1)} at {times} ms; last {calls[-1].came_to}")
        if run.error or run.reason:
            told.append(str(run.error or run.reason))
        if run.accepted:
            told.append("waits for an outcome from outside")
        return (str(run.id), str(run.status), "; ".join(told))
