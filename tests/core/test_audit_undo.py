"""Auditing and explaining compensations: each rule and each sentence by a log that shows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from definitions import step
from story import TIMER, WORK, Story, each
from test_audit import changed, forged, found, of, with_plan, without

from argyll_redis.core import events as e
from argyll_redis.core.audit import Violation, audit_calls
from argyll_redis.core.commands import Broken, LoseUndo, Outcome, ReportUndo, RetryUndo, Succeeded, Unfinished
from argyll_redis.core.events_undo import CompFailed, CompRetryScheduled, CompStarted, CompSucceeded
from argyll_redis.core.model import StepId

CHARGE = StepId("charge")
UNDO = {"handler": "charge", "undo": "refund"}


def failed(*, count: int = 2, python: dict[str, Any] | None = None, **work: Any) -> Story:
    """All items of a step have succeeded but the last one, which has failed it."""
    config = {"parallelism": count, "init_backoff": 100, **work}
    charge = step("charge", "", "paid", attributes=each("xs"), python=python or UNDO, work_config=config)
    story = Story([charge], "charge", {"xs": [list(range(count))]})
    for item in range(count - 1):
        story.succeed("charge", item, paid=item)
    story.fail("charge", item=count - 1)
    return story


def trip() -> Story:
    """Two steps that know how to undo, and one that fails the flow, which undoes everything."""
    steps = [
        step("flight", "day", "seat", python={"handler": "f", "undo": "u"}),
        step("hotel", "seat", "room", python={"handler": "h", "undo": "u"}),
        step("car", "room", "key"),
    ]
    story = Story(steps, "car", {"day": [1]}, compensate="flow")
    story.succeed("flight", seat=1)
    story.succeed("hotel", room=1)
    story.fail("car")
    return story


def undo(story: Story, outcome: Outcome, name: str = "charge", item: int = 0, *, after: int = 0) -> Story:
    """Reports what the current attempt to undo an item came to."""
    known = story.flow.item(StepId(name), item)
    assert known is not None
    assert known.undo is not None
    report = ReportUndo(WORK, known.token, outcome, known.undo.attempt, known.undo.version)
    story.tell(report, after=after)
    return story


def retried() -> Story:
    """An undo that came to nothing, was lost, and then succeeded."""
    story = undo(failed(), Unfinished("busy"))
    token = story.token("charge")
    story.tell(RetryUndo(TIMER, token, 2), after=100)
    story.tell(LoseUndo(TIMER, token, 2))
    return undo(story, Succeeded({}, 4))


def says(violations: list[Violation]) -> list[str]:
    return [message for _, message in of("I-17", violations)]


def broken(story: Story, event: e.Event, cause: int = 1, *, by: str = WORK, after: int = 0) -> list[str]:
    return says(found(story, forged(story, (event, cause), by=by, after=after)))


def named(story: Story, attempt: int, item: int = 0) -> str:
    return f"compensation {attempt} of {story.token('charge', item)}"


# ------------------------------------------------------------------------ audit


@pytest.mark.parametrize("story", [failed, retried, trip])
def test_a_log_that_was_decided_is_clean(story: Any) -> None:
    assert found(story()) == []


def test_a_flow_that_has_undone_everything_is_clean() -> None:
    story = undo(undo(trip(), Broken("no"), "hotel"), Succeeded({}), "flight")
    assert story.flow.is_deactivated
    assert found(story) == []


def test_a_success_that_was_never_undone_is_found() -> None:
    story = failed(count=3)
    version = story.version("comp_started", token=story.token("charge", 1))
    story.events = without(story, version)
    undo(story, Succeeded({}))
    assert says(found(story)) == []  # the log is not closed yet
    closed = forged(story, (e.FlowDeactivated("failed"), 1))
    assert f"the flow is deactivated, and work item {story.token('charge', 1)} was not undone" in says(
        found(story, closed)
    )


def test_a_flow_that_is_deactivated_while_something_is_undone_is_found() -> None:
    story = failed()
    violations = found(story, forged(story, (e.FlowDeactivated("failed"), 1)))
    token = story.token("charge")
    message = f"the flow is deactivated while work item {token} is being undone"
    assert message in [each for _, each in of("I-14", violations)]


def test_an_undo_of_a_step_that_does_not_know_how_is_found() -> None:
    story = failed(python={"handler": "charge"}, count=3, on_failure="finish")
    event = CompStarted(CHARGE, story.token("charge"), 1, "first")
    assert broken(story, event) == [
        f"{named(story, 1)} is started, and step `charge` does not know how to undo"
    ]


def test_an_undo_of_what_counts_is_found() -> None:
    charge = step("charge", "", "paid", attributes=each("xs"), python=UNDO, work_config={"parallelism": 2})
    story = Story([charge], "charge", {"xs": [[1, 2]]})
    story.succeed("charge", paid=1)
    event = CompStarted(CHARGE, story.token("charge"), 1, "first")
    assert broken(story, event) == [
        f"{named(story, 1)} undoes what counts: the item is succeeded, its step active"
    ]


def test_a_second_undo_of_one_item_is_found() -> None:
    story = undo(failed(count=3), Succeeded({}))
    event = CompStarted(CHARGE, story.token("charge"), 2, "first")
    assert broken(story, event) == [
        f"{named(story, 2)} undoes what counts: the item is compensated, its step failed"
    ]


def test_attempts_to_undo_out_of_order_are_found() -> None:
    story = failed()
    event = CompStarted(CHARGE, story.token("charge"), 3, "lost")
    assert f"{named(story, 3)} follows attempt 1" in broken(story, event)


def test_an_attempt_to_undo_for_no_reason_is_found() -> None:
    story = failed()
    event = CompStarted(CHARGE, story.token("charge"), 2, "whim")
    assert f'{named(story, 2)} is started for a reason that does not exist: "whim"' in broken(story, event)


def test_a_retry_of_an_undo_that_was_not_scheduled_is_found() -> None:
    story = failed()
    event = CompStarted(CHARGE, story.token("charge"), 2, "retry")
    assert f"{named(story, 2)} is a retry that was not scheduled" in broken(story, event)


def test_a_retry_of_an_undo_before_its_time_is_found() -> None:
    story = undo(failed(), Unfinished("busy"))
    event = CompStarted(CHARGE, story.token("charge"), 2, "retry")
    cause = story.version("comp_retry_scheduled")
    assert broken(story, event, cause, after=50) == [f"{named(story, 2)} is started before it is due"]


def test_an_undo_that_waits_and_is_said_to_be_lost_is_found() -> None:
    story = undo(failed(), Unfinished("busy"))
    event = CompStarted(CHARGE, story.token("charge"), 2, "lost")
    assert f"{named(story, 2)} replaces one that could not be lost" in broken(story, event)


def test_more_losses_of_an_undo_than_allowed_are_found() -> None:
    story = failed()
    token = story.token("charge")
    for attempt in range(1, 5):
        story.tell(LoseUndo(TIMER, token, attempt))
    event = CompStarted(CHARGE, token, 6, "lost")
    assert broken(story, event) == [f"{named(story, 6)} follows 5 losses in a row"]


def test_more_attempts_to_undo_than_allowed_are_found() -> None:
    story = failed(max_attempts=1)
    event = CompStarted(CHARGE, story.token("charge"), 2, "lost")
    assert broken(story, event) == [f"{named(story, 2)} is more than the 1 attempts allowed"]


def test_more_undos_at_a_time_than_the_parallelism_are_found() -> None:
    story = failed(count=3)
    charge = story.flow.plan.steps[CHARGE]
    narrow = replace(charge, work=replace(charge.work, parallelism=1))
    violations = found(story, with_plan(story, steps={CHARGE: narrow}))
    assert says(violations) == [f"{named(story, 1, 1)} is more than the parallelism of step `charge`"]


def test_an_undo_of_a_whole_flow_before_the_one_before_has_ended_is_found() -> None:
    story = trip()
    event = CompStarted(StepId("flight"), story.token("flight"), 1, "first")
    violations = found(story, forged(story, (event, story.version("flow_failed"))))
    assert says(violations) == [
        f"compensation 1 of {story.token('flight')} is started before the one before it has ended"
    ]


def test_an_undo_of_a_whole_flow_in_the_wrong_order_is_found() -> None:
    story = trip()
    version = story.version("comp_started")
    swapped = changed(story, version, step=StepId("flight"), token=story.token("flight"))
    assert says(found(story, swapped)) == [
        f"compensation 1 of {story.token('flight')} is started before step `hotel` behind it is undone"
    ]


@pytest.mark.parametrize("kind", [CompSucceeded, CompFailed])
def test_an_outcome_of_an_undo_that_is_over_is_found(kind: Any) -> None:
    story = undo(failed(count=3), Succeeded({}))
    last: Any = 1 if kind is CompSucceeded else "no"
    assert len(broken(story, kind(CHARGE, story.token("charge"), 1, last))) == 1


def test_a_failure_of_an_old_attempt_to_undo_is_found() -> None:
    story = failed()
    story.tell(LoseUndo(TIMER, story.token("charge"), 1))
    assert broken(story, CompFailed(CHARGE, story.token("charge"), 1, "no")) == [
        f"{named(story, 1)} has an outcome, and the current attempt is 2"
    ]


def test_a_retry_of_an_undo_beyond_the_budget_is_found() -> None:
    story = failed(max_retries=1)
    undo(story, Unfinished("busy"))
    story.tell(RetryUndo(TIMER, story.token("charge"), 2), after=100)
    event = CompRetryScheduled(CHARGE, story.token("charge"), 3, 100, "busy")
    assert f"{named(story, 3)} is more than the 1 retries allowed" in broken(story, event)


def test_a_delay_of_an_undo_that_nobody_asked_for_is_found() -> None:
    story = failed()
    event = CompRetryScheduled(CHARGE, story.token("charge"), 2, 7, "busy")
    assert broken(story, event, by=TIMER) == [f"{named(story, 2)} is due after 7 ms, its policy says 100 ms"]


@pytest.mark.parametrize("type", ["comp_started", "comp_retry_scheduled", "comp_succeeded"])
def test_an_event_of_a_compensation_that_names_a_wrong_cause_is_found(type: str) -> None:
    story = retried()
    violations = found(story, changed(story, story.version(type), cause=2))
    assert len(of("causes", violations)) == 1


def test_an_undo_that_was_never_called_is_found() -> None:
    story = retried()
    token = story.token("charge")
    works = [(story.token("charge", item), 1) for item in range(2)]
    calls = [*works, (f"{token}:undo", 1), (f"{token}:undo", 3)]
    assert audit_calls("flow-1", story.events, calls) == []
    [missing] = audit_calls("flow-1", story.events, calls[:-1])
    assert (missing.invariant, missing.message) == (
        "I-22",
        f"compensation 3 of {token} succeeded, and was never called",
    )


# ---------------------------------------------------------------------- explain


def texts(story: Story, name: str = "charge", **given: Any) -> list[str]:
    return [clause.text for clause in story.explain(name, **given).clauses]


def test_what_is_being_undone_is_said_with_its_reason() -> None:
    assert texts(failed(), after=2_000)[-2:] == [
        "as it failed, what its work items had done is undone",
        "attempt 1 to undo of item 1 was released 2.0 s ago and has no outcome yet",
    ]


def test_an_undo_that_waits_for_its_retry_is_said_with_what_it_waits_for() -> None:
    assert texts(undo(failed(), Unfinished("busy")), after=40)[-1] == (
        "attempt 2 to undo of item 1 is due in 60 ms, as the one before was not completed: busy"
    )


def test_what_was_undone_and_what_could_not_be_is_said() -> None:
    story = undo(undo(failed(count=3), Succeeded({})), Broken("account closed"), item=1)
    assert texts(story)[-2:] == ["1 work item was undone", "item 2 could not be undone: account closed"]


def test_what_waits_to_be_undone_with_its_flow_is_said() -> None:
    assert texts(trip(), "flight")[-2:] == [
        "as the flow failed, all that its steps had done is undone",
        "1 work item waits to be undone: one after the other, once nothing is active any more",
    ]


def test_what_waits_for_a_slot_to_be_undone_is_said() -> None:
    story = Story(
        [step("charge", "", "paid", attributes=each("xs"), python=UNDO)], "charge", {"xs": [[1, 2, 3]]}
    )
    story.succeed("charge", 0, paid=1)
    story.succeed("charge", 1, paid=1)
    story.fail("charge", item=2)
    assert texts(story)[-1] == "1 work item waits to be undone: 1 on their way, parallelism 1"


def test_that_no_engine_has_the_function_that_undoes_is_said() -> None:
    assert "no live engine has this handler (`refund`)" in texts(
        failed(), handlers=["charge"], queues=["default"]
    )


def test_a_late_success_that_is_undone_is_said_in_a_step_that_completed() -> None:
    config = {"parallelism": 2, "on_failure": "tolerate"}
    charge = step("charge", "", "paid", attributes=each("xs"), python=UNDO, work_config=config)
    wait = step("wait", "xs", "z")
    story = Story([charge, wait], "charge wait", {"xs": [[1, 2]]})
    story.fail("charge", item=0)
    story.succeed("charge", 1, paid=2)
    story.succeed("charge", 0, by="operator:c", paid=1)
    assert "what succeeded after it had failed is undone" in texts(story)
