"""What the demo tells of its flow is counted from events alone."""

from __future__ import annotations

from typing import Any

from argyll_redis.demo import steps
from argyll_redis.demo.app import QUEUE, build
from argyll_redis.tally import StepTally, Tally


def event(kind: str, at: int, by: str = "work:e1", **data: Any) -> dict[str, Any]:
    return {"id": "1-0", "type": kind, "at": at, "cause": 0, "by": by, "data": data}


def tally_of(*events: dict[str, Any], planned: tuple[str, ...] = ("measure",)) -> Tally:
    tally = Tally.of(planned)
    for each in events:
        tally.add(each)
    return tally


def test_a_step_is_counted_from_its_start_to_its_end() -> None:
    tally = tally_of(
        event("flow_started", 100),
        event("step_started", 105, step="measure", items=2),
        event("work_started", 105, step="measure", token="a", attempt=1, reason="first"),
        event("work_succeeded", 120, step="measure", token="a", attempt=1, outputs={}, ran_ms=7),
        event(
            "work_succeeded", 130, step="measure", token="b", attempt=1, outputs={}, ran_ms=9, by="work:e2"
        ),
        event("attribute_set", 130, name="measures", step="measure", value=[]),
        event("step_completed", 130, step="measure"),
        event("flow_completed", 130, result={}),
    )
    assert tally.steps["measure"] == StepTally(
        "measure", "completed", items=2, done=2, busy_ms=16, started_ms=105, ended_ms=130
    )
    assert (tally.status, tally.elapsed_ms, tally.events) == ("completed", 30, 8)
    assert dict(tally.done_by) == {"e1": 1, "e2": 1}


def test_a_retry_and_a_takeover_are_told_apart() -> None:
    tally = tally_of(
        event("step_started", 1, step="measure", items=2),
        event("work_not_completed", 2, step="measure", token="a", attempt=1, error="locked"),
        event("work_retry_scheduled", 2, step="measure", token="a", attempt=2, delay_ms=1),
        event("work_started", 3, step="measure", token="a", attempt=2, reason="retry"),
        event("work_started", 4, step="measure", token="b", attempt=2, reason="lost", by="work:e2"),
    )
    step = tally.steps["measure"]
    assert (step.status, step.retried, step.taken_over) == ("active", 1, 1)
    assert dict(tally.rescued_by) == {"e2": 1}


def test_failures_and_skips_keep_their_words() -> None:
    tally = tally_of(
        event("step_failed", 1, step="measure", error="no", root_cause={"step": "measure", "error": "no"}),
        event("step_skipped", 1, step="extra", reason="unwanted"),
        event("flow_failed", 1, error="goal lost"),
        planned=("measure", "extra"),
    )
    assert (tally.steps["measure"].error, tally.steps["extra"].status) == ("no", "skipped")
    assert (tally.status, tally.error) == ("failed", "goal lost")


def test_the_app_declares_what_the_table_of_the_steps_says() -> None:
    assert steps.__doc__ is not None
    table = [line.split() for line in steps.__doc__.splitlines() if line.startswith("    ")][1:]
    rows = {row[0]: row[1] for row in table if row[0] in vars(steps)}
    declared = build("memory://", "x").declared
    assert {id: list(each.outputs) for id, each in declared.items()} == {
        id: [name] for id, name in rows.items()
    }
    assert {each.queue for each in declared.values()} == {QUEUE}
    assert declared["list_modules"].permanent == (ValueError,)
    assert declared["measure"].definition["work_config"]["parallelism"] == steps.PARALLELISM
    assert declared["profile_heavy_modules"].definition["predicate"]["script"] == steps.DEEP
