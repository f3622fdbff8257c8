"""Auditing deadlines and mapped inputs: each rule by a log that breaks it."""

from __future__ import annotations

from typing import Any

import pytest
from definitions import step
from given import named
from story import TIMER, Story
from test_audit import changed, forged, found, of

from argyll_redis.core import events as e
from argyll_redis.core.audit import Violation
from argyll_redis.core.commands import Deadline
from argyll_redis.core.model import StepId

GOAL = StepId("goal")


def waiting(**given: Any) -> Story:
    """A goal that has its `order`, and takes `hint` from `a` or `b` within 500 ms."""
    spec = named(role="optional", deadline=500, **given)
    steps = [step("load", "x", "order"), step("a", "x", "hint"), step("b", "x", "hint")]
    story = Story([*steps, step("goal", "order", "z", attributes={"hint": spec})], "goal", {"x": [1]})
    story.succeed("load", order=1)
    return story


def passed(**given: Any) -> Story:
    story = waiting(**given)
    story.tell(Deadline(TIMER, GOAL, "hint"), after=500)
    return story


def broken(story: Story, event: e.Event, *, after: int = 0) -> list[Violation]:
    return found(story, forged(story, (event, 1), by=TIMER, after=after))


def says(invariant: str, violations: list[Violation]) -> str:
    return "\n".join(message for _, message in of(invariant, violations))


@pytest.mark.parametrize("story", [waiting, passed])
def test_a_log_that_was_decided_is_clean(story: Any) -> None:
    assert found(story()) == []


def test_a_deadline_that_passes_before_its_time_is_found() -> None:
    violations = broken(waiting(), e.DeadlinePassed(GOAL, "hint"), after=100)
    assert says("I-16", violations) == "the deadline of `hint` of step `goal` passes 400 ms before its time"


def test_a_deadline_that_passes_without_having_started_is_found() -> None:
    violations = broken(passed(), e.DeadlinePassed(GOAL, "hint"), after=900)
    assert "a deadline of `hint` of step `goal` passes that does not run" in says("I-09", violations)


def test_a_deadline_that_starts_twice_is_found() -> None:
    violations = broken(waiting(), e.DeadlineStarted(GOAL, "hint", 500))
    assert "the deadline of `hint` of step `goal` starts for the second time" in says("I-09", violations)


def test_a_deadline_of_another_length_is_found() -> None:
    story = waiting()
    violations = found(story, changed(story, story.version("deadline_started"), delay_ms=50))
    assert says("I-16", violations) == "the deadline of `hint` of step `goal` is 500 ms, not 50"


def test_a_deadline_that_starts_too_early_is_found() -> None:
    goal = step("goal", "order", "z", attributes={"hint": named(role="optional", deadline=500)})
    steps = [step("load", "x", "order"), step("a", "x", "hint"), goal]
    violations = broken(Story(steps, "goal", {"x": [1]}), e.DeadlineStarted(GOAL, "hint", 500))
    assert "the deadline of `hint` of step `goal` starts before `order` is fulfilled" in says(
        "I-09", violations
    )


def test_a_deadline_of_an_input_that_is_decided_is_found() -> None:
    goal = step("goal", "order", "z", attributes={"hint": named(role="optional", deadline=500)})
    steps = [step("load", "x", "order"), step("a", "x", "hint"), goal]
    story = Story(steps, "goal", {"x": [1]})
    story.succeed("a", hint=1)
    violations = broken(story, e.DeadlineStarted(GOAL, "hint", 500))
    assert "a deadline of `hint` of step `goal` starts, and that is decided" in says("I-09", violations)


def test_a_deadline_of_a_required_input_is_found() -> None:
    violations = broken(waiting(), e.DeadlineStarted(GOAL, "order", 500))
    assert "a deadline for `order`, which is no optional input of it" in says("I-09", violations)


def test_a_deadline_of_a_step_that_has_started_is_found() -> None:
    violations = broken(passed(), e.DeadlineStarted(GOAL, "hint", 500))
    assert says("I-08", violations) == "step `goal` has a deadline while it is active"


def test_a_deadline_of_a_step_outside_the_plan_is_found() -> None:
    violations = broken(waiting(), e.DeadlineStarted(StepId("other"), "hint", 500))
    assert says("I-08", violations) == "step `other` is not in the plan"


def test_a_deadline_after_the_outcome_is_found() -> None:
    story = waiting()
    story.cancel()
    violations = broken(story, e.DeadlineStarted(GOAL, "hint", 500))
    assert says("I-13", violations) == "step `goal` has a deadline after the flow's outcome"


def test_a_step_that_starts_before_its_deadline_is_found() -> None:
    inputs = {"order": {"attribute": "order", "index": 0}}
    violations = broken(waiting(), e.StepStarted(GOAL, inputs, 1))
    text = "step `goal` is started with input `hint` not decided, and its deadline has not passed"
    assert says("I-09", violations) == text


def test_a_value_from_after_the_deadline_is_found() -> None:
    """`goal` is skipped by no rule: its start is forged with what came too late."""
    attributes = {
        "hint": named(role="optional", deadline=500, collect="last"),
        "more": named(role="optional", deadline=900),
    }
    steps = [step("a", "x", "hint"), step("b", "x", "hint"), step("c", "x", "more")]
    story = Story([*steps, step("goal", "x", "z", attributes=attributes)], "goal", {"x": [1]})
    story.succeed("a", hint=1)
    story.tell(Deadline(TIMER, GOAL, "hint"), after=500)
    story.succeed("b", hint=2)
    story.tell(Deadline(TIMER, GOAL, "more"), after=400)
    started = story.version("step_started", step=GOAL)
    inputs = {"x": {"attribute": "x", "index": 0}, "hint": {"attribute": "hint", "index": 1}}
    assert found(story) == []
    violations = found(story, changed(story, started, inputs=inputs))
    text = "step `goal` is started with input `hint` not as its collect policy says"
    assert says("I-09", violations) == text


def test_a_provider_that_nobody_waits_for_after_the_deadline_and_is_not_skipped_is_found() -> None:
    """Without the deadline's passing, its skip would be the fault."""
    goal = step("goal", "", "z", attributes={"hint": named(role="optional", deadline=500)})
    steps = [step("deep", "x", "more"), step("slow", "more", "hint"), goal]
    story = Story(steps, "goal", {"x": [1]})
    violations = broken(story, e.DeadlinePassed(GOAL, "hint"), after=500)
    assert "nobody wants what step `slow` provides, and it is not skipped" in says("I-09", violations)


def test_a_mapped_value_of_nothing_is_found() -> None:
    spec = named(role="optional", mapping={"script": {"language": "lua", "script": "yes"}})
    story = Story([step("goal", "x", "z", attributes={"o": spec})], "goal", {"x": [1]})
    inputs = {"x": {"attribute": "x", "index": 0}, "o": {"value": True}}
    violations = found(story, changed(story, 2, inputs=inputs))
    text = "step `goal` is started with input `o` mapped, and there is no value of it"
    assert says("I-09", violations) == text
