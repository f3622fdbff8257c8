"""What `argyll demo` tells at its end: for people in 80 columns, for programs as one JSON document."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from argyll_redis.cli.demo_screen import folded
from argyll_redis.cli.texts import counted, duration, facts, paint, status, table

if TYPE_CHECKING:
    from argyll_redis.demo.run import Check, Outcome
    from argyll_redis.tally import StepTally, Tally

FIGURES = ("modules", "lines", "functions", "circles")
"""Figures of the report that the summary names."""
SHORT_ID = 6
"""Characters shown of an engine's id."""


def text(outcome: Outcome) -> str:
    """The summary for people."""
    tally = outcome.tally
    parts = [
        table(("plan", "why"), [(step, outcome.reasons[step]) for step in tally.steps]),
        table(("left out", "why"), _left_out(outcome).items()),
        _steps(tally),
        _engines(outcome),
        _why(outcome),
        _checks(outcome),
        facts(_facts(outcome)),
    ]
    return "\n" + "\n\n".join(part for part in parts if part)


def _left_out(outcome: Outcome) -> dict[str, str]:
    """The registered steps that the plan does without, and why."""
    return {
        step: why.removeprefix("left out: ")
        for step, why in outcome.reasons.items()
        if step not in outcome.tally.steps
    }


def _steps(tally: Tally) -> str:
    rows = [
        (
            step.id,
            status(step.status),
            step.done,
            step.retried,
            step.taken_over,
            duration(step.started_ms - tally.started_ms) if step.started_ms else "",
            duration(step.took_ms) if step.started_ms else "",
        )
        for step in tally.steps.values()
    ]
    return table(("ran", "status", "items", "retried", "taken over", "after", "took"), rows)


def _engines(outcome: Outcome) -> str:
    tally = outcome.tally
    rows = [
        (engine[:SHORT_ID], tally.done_by[engine], tally.rescued_by[engine], _fate(outcome, engine))
        for engine in outcome.engines
    ]
    return table(("engine", "items", "took over", "end"), rows)


def _fate(outcome: Outcome, engine: str) -> str:
    kill = outcome.kill
    if kill is None or kill.engine != engine:
        return ""
    return f"killed with {counted(kill.in_flight, 'attempt')} in flight"


def _why(outcome: Outcome) -> str:
    if not outcome.why:
        return ""
    step, state = outcome.why["step"], outcome.why["status"]
    clauses = [folded(f"- {each['text']} (event {each['version']})", indent=2) for each in outcome.why["why"]]
    return "\n".join([f"Why is {step} {state}?", *clauses])


def _checks(outcome: Outcome) -> str:
    if not outcome.checks:
        return ""
    rows = [(check.name, _verdict(check), check.good) for check in outcome.checks]
    return table(("check", "result", "what"), rows)


def _verdict(check: Check) -> str:
    return paint("off", "red") if check.problems else paint("good", "green")


def _facts(outcome: Outcome) -> Iterator[tuple[str, object]]:
    tally, report = outcome.tally, outcome.result.get("report")
    took = duration(tally.elapsed_ms)
    yield "flow", f"{outcome.flow_id} {tally.status}, {counted(tally.events, 'event')} in {took}"
    if outcome.check_ms:
        yield "one process", f"{duration(outcome.check_ms)} for the same"
    if report is not None:
        figures = report["figures"]
        yield "found", ", ".join(f"{figures[name]:,} {name}" for name in FIGURES)
        yield "report", _shortest(report["html"])
        yield "", _shortest(report["markdown"])


def _shortest(path: str) -> str:
    """A path from here where that is shorter."""
    return min(os.path.relpath(path), path, key=len)


# ------------------------------------------------------------------------- JSON


def document(outcome: Outcome) -> dict[str, Any]:
    """The summary for programs. Times are ms."""
    tally = outcome.tally
    return {
        "flow_id": outcome.flow_id,
        "status": tally.status,
        "server": {"kind": outcome.server.kind, "what": outcome.server.sentence},
        "root": outcome.request.root,
        "plan": {step: outcome.reasons[step] for step in tally.steps},
        "left_out": _left_out(outcome),
        "steps": [_step(tally, step) for step in tally.steps.values()],
        "engines": [_engine(outcome, engine) for engine in outcome.engines],
        "events": tally.events,
        "took": tally.elapsed_ms,
        "took_one_process": outcome.check_ms,
        "why": outcome.why,
        "checks": [
            {"name": check.name, "good": not check.problems, "what": check.good} for check in outcome.checks
        ],
        "report": outcome.result.get("report"),
        "problems": outcome.problems,
    }


def _step(tally: Tally, step: StepTally) -> dict[str, Any]:
    return {
        "id": step.id,
        "status": step.status,
        "items": step.items,
        "done": step.done,
        "retried": step.retried,
        "taken_over": step.taken_over,
        "started_after": step.started_ms - tally.started_ms if step.started_ms else None,
        "took": step.took_ms if step.started_ms and step.ended_ms else None,
        "ran": step.busy_ms,
    }


def _engine(outcome: Outcome, engine: str) -> dict[str, Any]:
    kill = outcome.kill
    is_killed = kill is not None and kill.engine == engine
    return {
        "id": engine,
        "items": outcome.tally.done_by[engine],
        "took_over": outcome.tally.rescued_by[engine],
        "killed": is_killed,
        "in_flight_when_killed": kill.in_flight if kill is not None and is_killed else None,
    }
