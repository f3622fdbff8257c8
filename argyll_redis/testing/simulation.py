"""`simulate`: a user's own flow, on whole engines, under faults, for many seeds.

For a while engines crash and freeze around the calls of the user's functions, and calls to the server
are refused, lost, delayed and done late; then all is calm and the flow must come to its end. Then the
log is audited as in the tests of the engines, and the user's `check` says whether the world is as it
should be. A seed is the same run every time; one that fails is tried again with fewer faults, until
those are left that it takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from argyll_redis.app import Argyll
from argyll_redis.core.catalog import Catalog, apply_all, register
from argyll_redis.core.model import JSON, Plan, StepId
from argyll_redis.core.plan import make_plan, preview
from argyll_redis.errors import InvalidInput
from argyll_redis.scripting import Evaluator
from argyll_redis.starting import Goals, check_types, missing_inputs, read_request
from argyll_redis.testing.fates import Fates
from argyll_redis.testing.flow_view import FlowView
from argyll_redis.testing.function_run import Subject, play_seed
from argyll_redis.testing.in_memory import inputs_of, quiet_engines
from argyll_redis.testing.shrinking import needed
from argyll_redis.testing.standins import read_stand_ins

SEEDS = 200
MAX_FAILURES = 3
"""Failing seeds after which no more are run: the first has been made small, and shows enough."""
SHOWN = 60
"""Lines of what happened in a run that a report shows."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed that failed."""

    seed: int
    violations: tuple[str, ...]
    """What was wrong, a line each."""
    faults: tuple[str, ...]
    """The faults that it takes: leave one out and it does not fail in this way."""
    drawn: int
    """How many faults the seed had before they were made fewer."""
    trace: tuple[str, ...]
    """What happened: virtual ms, who, what."""
    flow: str
    """The flow as a test looks at it, as text."""

    @property
    def replay(self) -> str:
        """The arguments that show this run again."""
        return f"simulate(..., seeds=[{self.seed}], faults={list(self.faults)!r})"

    def text(self) -> str:
        """The failure for people."""
        count = len(self.faults)
        left = f"{count} of its {self.drawn} faults" if count else "no fault at all"
        lines = [f"seed {self.seed} fails with {left}:"]
        lines += [f"  {each}" for violation in self.violations for each in violation.splitlines()]
        lines += ["faults:", *(f"  {each}" for each in self.faults or ("none",))]
        shown = self.trace[-SHOWN:]
        lines += ["trace (virtual ms, who, what):", *(f"  {each}" for each in shown)]
        if not any(self.flow in violation for violation in self.violations):
            lines += ["the flow:", self.flow]
        lines.append(f"replay: {self.replay}")
        return "\n".join(lines)


@dataclass(slots=True)
class SimulationReport:
    """What a simulation came to."""

    seeds: int = 0
    """How many were run."""
    failures: list[Failure] = field(default_factory=list[Failure])
    statuses: Counter[str] = field(default_factory=Counter[str])
    """In how many seeds the flow ended how."""
    faults: int = 0
    """Over all seeds; calls that were only delayed are not counted."""
    repeated: Counter[str] = field(default_factory=Counter[str])
    """By step: in how many seeds a work item of it was called more than once. A step that is not here
    was never tried for what it does when it is called again."""

    @property
    def passed(self) -> bool:
        """Whether no seed failed."""
        return not self.failures

    def text(self) -> str:
        """The report for people."""
        ended = ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items()))
        again = ", ".join(f"{step} in {count}" for step, count in sorted(self.repeated.items())) or "none"
        lines = [
            f"{self.seeds} seeds, {len(self.failures)} failed; flows: {ended}; {self.faults} faults",
            f"steps called more than once for one work item: {again}",
        ]
        lines += [failure.text() for failure in self.failures[:1]]
        if len(self.failures) > 1:
            others = ", ".join(str(failure.seed) for failure in self.failures[1:])
            lines.append(f"other seeds that fail: {others}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


def simulate(
    app: Argyll,
    goals: Goals,
    init: Mapping[str, Any] | None = None,
    *,
    seeds: int | Iterable[int] = SEEDS,
    world: Callable[[], Any] | None = None,
    check: Callable[[FlowView], object] | None = None,
    replace: Mapping[Any, Any] | None = None,
    steps: Sequence[JSON] = (),
    compensate: str | None = None,
    faults: Collection[str] | None = None,
) -> SimulationReport:
    """Runs a flow of an app once for each seed, and reports what failed.

    `world` is called before each run: it makes what stands for the outside world anew (a list of
    charges, a fake bank), puts it where the steps find it, and gives it. `check` is called after each
    run with the flow, whose `world` is that one; it asserts what must hold then. The flow may have
    failed: faults use up attempts. `seeds` is a number of them, from 0, or the seeds themselves;
    `replace` and `steps` are those of `InMemory`, `compensate` is that of `Argyll.start`. Where `faults`
    is given, only these strike: the `replay` of a failure names them.

    It ends after `MAX_FAILURES` failing seeds. Raises what a start raises: `MissingInputs`, ...
    """
    start = {"goals": goals, "init": init, "compensate": compensate}
    subject = _read_subject(app, start, replace, steps, world, check)
    report = SimulationReport()
    with quiet_engines():
        for seed in _read_seeds(seeds):
            fates = Fates(seed, faults)
            played = play_seed(subject, seed, fates)
            report.seeds += 1
            report.statuses[played.status] += 1
            report.faults += played.faults
            report.repeated.update(played.repeated)
            if played.violations:
                is_first = not report.failures and faults is None
                report.failures.append(_failure(subject, seed, fates, shrinks=is_first))
                if len(report.failures) == MAX_FAILURES:
                    break
    return report


def _failure(subject: Subject, seed: int, fates: Fates, *, shrinks: bool) -> Failure:
    """Describes a seed that fails, with as few faults as it takes."""
    drawn = list(dict.fromkeys(fates.struck))
    needed = _needed(subject, seed, drawn) if shrinks else drawn
    again = play_seed(subject, seed, Fates(seed, needed))
    return Failure(
        seed,
        tuple(again.violations),
        tuple(needed),
        len(drawn),
        tuple(again.trace),
        again.flow,
    )


def _needed(subject: Subject, seed: int, drawn: list[str]) -> list[str]:
    """The faults without any of which a seed does not fail."""
    return needed(drawn, lambda faults: bool(play_seed(subject, seed, Fates(seed, faults)).violations))


# ---------------------------------------------------------------------------- reading


def _read_seeds(given: int | Iterable[int]) -> list[int]:
    if isinstance(given, int):
        if given < 1:
            raise InvalidInput(f"seeds is {given}: nothing would be run (use 1 or more, or a list of seeds)")
        return list(range(given))
    return list(given)


def _read_subject(
    app: Argyll,
    start: Mapping[str, Any],
    replaced: Mapping[Any, Any] | None,
    steps: Sequence[JSON],
    world: Callable[[], Any] | None,
    check: Callable[[FlowView], object] | None,
) -> Subject:
    """Plans the flow, and refuses what a start refuses."""
    stand_ins = read_stand_ins(replaced, app.id_of, inputs_of(app, steps))
    definitions = [*(each.definition for each in app.declared.values()), *steps]
    request = read_request(start, app.id_of)
    events = register(Catalog(), definitions, compile_script=Evaluator().compile)
    catalog = apply_all(Catalog(), [(event, 0) for event in events])
    check_types(catalog, request)
    plan = _plan(catalog, request.goals, request.init, app)
    return Subject(app, definitions, plan, request.init, stand_ins, world, check, request.compensate)


def _plan(catalog: Catalog, goals: tuple[StepId, ...], init: Mapping[str, list[JSON]], app: Argyll) -> Plan:
    plan = make_plan(catalog, goals, init, app.config.retry)
    if plan.required:
        leaves = preview(catalog, goals, init, app.config.retry).required
        raise missing_inputs(plan, leaves or plan.required, init)
    return plan
