"""Optional inputs with a deadline: how long they are waited for, what counts, and who is still wanted."""

from __future__ import annotations

from typing import Any

import pytest
from given import OPERATOR, TIMER, World, gate, named, script, step
from story import Story

from argyll_redis.core.commands import Deadline, Report, Succeeded
from argyll_redis.core.inputs import Want, want_of
from argyll_redis.core.model import StepId
from argyll_redis.core.outbox import deadline_member, linger_member, outstanding
from argyll_redis.core.state import THE_FLOW
from argyll_redis.core.turn import MAX_ITEMS_A_TURN


def waiting(*, collect: str = "first", deadline: int = 100, providers: str = "slow", **given: Any) -> World:
    """A goal that needs `order`, and takes `hint` from its providers when that comes in time."""
    goal = step("goal", "order", "z", attributes={"hint": hint(collect=collect, deadline=deadline, **given)})
    steps = [step(id, "x", "hint") for id in providers.split()]
    return World(step("load", "x", "order"), *steps, goal, goals="goal", x=1)


def hint(**given: Any) -> dict[str, Any]:
    return named(role="optional", **given)


STARTED = "deadline_started goal hint 100"
PASSED = "deadline_passed goal hint"


# -------------------------------------------------------------------------- starts


@pytest.mark.contract("inputs", "A deadline starts when the last required input is there.")
def test_a_deadline_starts_when_the_last_required_input_is_fulfilled() -> None:
    world = waiting()
    assert world.first[-1] == "work_started slow #1 first"
    assert world.succeed("load", order=1)[-1] == STARTED


def test_what_fulfilled_the_last_required_input_is_the_cause_of_the_deadline() -> None:
    world = waiting()
    world.succeed("load", order=1)
    assert world.last("deadline_started").cause == world.last("attribute_set").version


@pytest.mark.contract("inputs", "Where nothing is required it starts with the flow.")
def test_a_deadline_starts_with_the_flow_when_nothing_is_required() -> None:
    goal = step("goal", "", "z", attributes={"hint": hint(deadline=100)})
    world = World(step("slow", "x", "hint"), goal, goals="goal", x=1)
    assert STARTED in world.first
    assert world.last("deadline_started").cause == 1


def test_a_gate_that_is_undecided_keeps_the_deadline_from_starting() -> None:
    goal = step("goal", "", "z", attributes={"hint": hint(deadline=100), "v": gate("value")})
    world = World(step("slow", "x", "hint"), step("g", "x", "v"), goal, goals="goal", x=1)
    assert STARTED not in world.first
    assert STARTED in world.succeed("g", v=True)


@pytest.mark.parametrize("collect", ["first", "last", "some", "all", "none"])
def test_an_input_whose_providers_are_all_over_needs_no_deadline(collect: str) -> None:
    world = waiting(collect=collect)
    world.fail("slow")
    world.succeed("load", order=1)
    assert world.events("deadline_started") == []
    assert world.statuses()["goal"] == "active"


def test_an_input_without_any_provider_needs_no_deadline() -> None:
    goal = step("goal", "x", "z", attributes={"hint": hint(deadline=100)})
    assert World(goal, goals="goal", x=1).statuses() == {"goal": "active"}


def test_a_value_that_is_there_already_needs_no_deadline() -> None:
    world = waiting(providers="slow other")
    world.succeed("slow", hint=1)
    world.succeed("load", order=1)
    assert (world.events("deadline_started"), world.inputs("goal")["hint"]) == ([], 1)


def test_without_a_deadline_nothing_is_waited_for() -> None:
    world = waiting(deadline=0)
    world.succeed("load", order=1)
    assert (world.events("deadline_started"), world.inputs("goal")) == ([], {"order": 1})


def test_a_turn_starts_no_more_deadlines_than_it_may_and_looks_start_the_rest() -> None:
    names = [f"h{i}" for i in range(MAX_ITEMS_A_TURN + 20)]
    goal = step("goal", "", "z", attributes={name: hint(deadline=100) for name in names})
    world = World(step("slow", "x", " ".join(names)), goal, goals="goal", x=1)
    assert len(world.events("deadline_started")) < len(names)
    world.look_on()
    assert len(world.events("deadline_started")) == len(names)


# ------------------------------------------------------------------------- decides


def test_a_value_in_time_starts_the_step_and_settles_the_due_entry() -> None:
    world = waiting()
    world.succeed("load", order=1)
    assert list(world.due) == [deadline_member("f1", StepId("goal"), "hint")]
    world.succeed("slow", hint=7)
    assert (world.inputs("goal"), world.due) == ({"hint": 7, "order": 1}, {})


@pytest.mark.contract("inputs", "Once all providers are over nothing is waited for.")
def test_a_provider_that_failed_ends_the_wait_before_the_deadline() -> None:
    world = waiting(default="0")
    world.succeed("load", order=1)
    assert "step_started goal" in world.fail("slow")
    assert world.inputs("goal") == {"hint": 0, "order": 1}


def test_at_the_deadline_the_step_starts_without_the_input() -> None:
    world = waiting()
    world.succeed("load", order=1)
    assert world.wait(99) == []
    assert world.wait(1)[:2] == [PASSED, "step_started goal"]
    assert world.inputs("goal") == {"order": 1}


def test_a_deadline_that_passed_has_its_start_as_cause_and_is_the_cause_of_what_follows() -> None:
    world = waiting()
    world.succeed("load", order=1)
    world.wait(100)
    passed = world.last("deadline_passed")
    assert passed.cause == world.last("deadline_started").version
    assert world.last("step_started").cause == passed.version


def test_at_the_deadline_the_default_is_taken_and_never_becomes_an_attribute() -> None:
    world = waiting(default="[1]")
    world.succeed("load", order=1)
    world.wait(100)
    assert (world.inputs("goal")["hint"], world.values("hint")) == ([1], [])


@pytest.mark.contract("inputs", "At the deadline the policy takes what it can use.")
@pytest.mark.parametrize(
    ("collect", "expected"),
    [("last", "of a"), ("some", ["of a"]), ("all", "left out"), ("none", "left out")],
)
def test_at_the_deadline_the_input_is_what_its_policy_can_use(collect: str, expected: Any) -> None:
    world = waiting(collect=collect, providers="a b")
    world.succeed("load", order=1)
    if collect != "none":
        world.succeed("a", hint="of a")
    world.wait(100)
    assert world.inputs("goal").get("hint", "left out") == expected


@pytest.mark.contract("inputs", "A value after the deadline is ignored by that step only.")
@pytest.mark.parametrize(
    ("collect", "expected"),
    [("first", "left out"), ("last", "of a"), ("some", ["of a"]), ("all", "left out")],
)
def test_a_value_after_the_deadline_is_ignored_by_its_step_only(collect: str, expected: Any) -> None:
    """The step still waits for another input when the value comes."""
    attributes = {"hint": hint(collect=collect, deadline=100), "more": hint(deadline=200)}
    goal = step("goal", "x", "z", attributes=attributes)
    other = step("other", "go", "y", attributes={"hint": hint(collect=collect)})
    world = World(
        *(step(id, "x", "hint") for id in "ab"),
        step("slow", "x", "more"),
        step("clock", "x", "go"),
        goal,
        other,
        goals="goal other",
        x=1,
    )
    if collect != "first":
        world.succeed("a", hint="of a")
    world.wait(100)
    world.succeed("b", hint="of b")
    world.wait(100)
    world.succeed("clock", go=1)
    assert world.inputs("goal").get("hint", "left out") == expected
    assert "of b" in world.inputs("other")["hint"]


def test_each_input_has_its_own_deadline() -> None:
    attributes = {"near": hint(deadline=50), "far": hint(deadline=90)}
    world = World(
        step("a", "x", "near"), step("b", "x", "far"), step("goal", "", "z", attributes=attributes),
        goals="goal", x=1,
    )  # fmt: skip
    assert world.wait(50) == ["deadline_passed goal near"]
    assert world.wait(40)[:2] == ["deadline_passed goal far", "step_started goal"]


def test_a_deadline_before_its_time_decides_nothing() -> None:
    world = waiting()
    world.succeed("load", order=1)
    assert world.say(Deadline(TIMER, StepId("goal"), "hint")) == []
    assert not world.answer.counted


@pytest.mark.parametrize(("step_id", "name"), [("goal", "order"), ("nobody", "hint"), ("load", "hint")])
def test_a_deadline_that_never_started_decides_nothing(step_id: str, name: str) -> None:
    assert waiting().say(Deadline(TIMER, StepId(step_id), name)) == []


def test_a_name_with_blanks_has_its_deadline() -> None:
    goal = step("goal", "", "z", attributes={"a late hint": hint(deadline=100)})
    slow = step("slow", "x", attributes={"a late hint": named(role="output")})
    world = World(slow, goal, goals="goal", x=1)
    assert world.wait(100)[:2] == ["deadline_passed goal a late hint", "step_started goal"]


# ------------------------------------------------------------------------- wanting


def gated_hint() -> World:
    """The hint's provider needs `more`, which nobody has started yet when the goal has its order."""
    goal = step("goal", "order", "z", attributes={"hint": hint(deadline=100)})
    deep = step("deep", "x", "more")
    return World(step("load", "x", "order"), deep, step("slow", "more", "hint"), goal, goals="goal", x=1)


def test_a_provider_is_wanted_while_the_deadline_runs() -> None:
    world = gated_hint()
    world.succeed("load", order=1)
    assert want_of(world.flow, StepId("slow"), world.scripts) is Want.SURELY
    assert "step_started slow" in world.succeed("deep", more=1)


def test_a_provider_that_has_not_started_by_the_deadline_is_skipped() -> None:
    world = gated_hint()
    world.succeed("load", order=1)
    assert world.wait(100)[:3] == [PASSED, "step_skipped slow unwanted", "step_started goal"]


def test_time_runs_behind_an_undecided_gate_as_well() -> None:
    """`middle` has all it needs, but nobody is sure to want it; so its hint is not provided yet."""
    middle = step("middle", "x", "m", attributes={"hint": hint(deadline=100)})
    goal = step("goal", "m", "z", attributes={"v": gate("value")})
    world = World(step("slow", "x", "hint"), middle, step("g", "x", "v"), goal, goals="goal", x=1)
    assert world.statuses()["slow"] == "pending"
    assert world.wait(100) == ["deadline_passed middle hint", "step_skipped slow unwanted"]
    assert "step_started middle" in world.succeed("g", v=True)


def test_what_is_reported_with_the_passing_of_a_deadline_is_late() -> None:
    """Both are decided in one turn; the log has the passing first."""
    world = waiting()
    world.succeed("load", order=1)
    world.now_ms += 100
    found = world.item("slow")
    assert found is not None
    report = Report(OPERATOR, found.token, Succeeded({"hint": 7}))
    world.say(Deadline(TIMER, StepId("goal"), "hint"), report)
    assert (world.inputs("goal"), world.values("hint")) == ({"order": 1}, [7])


def test_a_skipped_provider() -> None:
    """It provides nothing, so there is nothing to wait for."""
    skipped = step("slow", "x", "hint", predicate=script("False"))
    goal = step("goal", "order", "z", attributes={"hint": hint(deadline=100, default="0")})
    world = World(step("load", "x", "order"), skipped, goal, goals="goal", x=1)
    world.succeed("load", order=1)
    assert (world.inputs("goal"), world.events("deadline_started")) == ({"hint": 0, "order": 1}, [])


def test_an_optional_provider_finishing_after_the_goal() -> None:
    """It is recorded, the flow has its result already, and is deactivated only then."""
    world = waiting()
    world.succeed("load", order=1)
    world.wait(100)
    assert world.succeed("goal", z=1)[-1] == "flow_completed"
    assert world.succeed("slow", hint=7)[1:] == [
        "attribute_set hint by slow",
        "step_completed slow",
        "flow_deactivated",
    ]
    assert world.values("hint") == [7]


def test_a_failed_alternative_provider_when_the_goal_is_done() -> None:
    world = World(step("a", "x", "v"), step("b", "x", "v"), step("goal", "v", "z"), goals="goal", x=1)
    world.succeed("a", v=1)
    assert world.succeed("goal", z=1)[-1] == "flow_completed"
    assert world.fail("b")[1:] == ["step_failed b: broken", "flow_deactivated"]
    assert world.flow.status == "completed"


# ---------------------------------------------------------------------------- ends


def test_a_step_that_fails_settles_the_due_entries_of_its_deadlines() -> None:
    """The predicate of `goal` is not asked before its inputs are decided, so it fails with `order`."""
    attributes = {"hint": hint(deadline=100)}
    world = World(
        step("slow", "x", "hint"), step("goal", "", "z", attributes=attributes, predicate=script("fail()")),
        goals="goal", x=1,
    )  # fmt: skip
    assert len(world.due) == 1
    assert "step_failed goal: the predicate failed: ValueError: no" in world.succeed("slow", hint=1)
    assert world.due == {}


def test_a_step_that_is_skipped_settles_the_due_entries_of_its_deadlines() -> None:
    """`middle` waits for its hint when nobody wants what it provides any more."""
    middle = step("middle", "", "m", attributes={"hint": hint(deadline=100)})
    world = World(
        step("slow", "x", "hint"), middle, step("fast", "x", "m"), step("goal", "m", "z"), goals="goal", x=1
    )
    assert len(world.due) == 1
    assert "step_skipped middle unwanted" in world.succeed("fast", m=1)
    assert world.due == {}


def test_a_flow_that_ends_settles_the_due_entries_of_all_deadlines() -> None:
    world = waiting()
    world.succeed("load", order=1)
    world.cancel()
    assert list(world.due) == [linger_member("f1", THE_FLOW)]
    assert world.flow.deadlines == ()


def test_a_deadline_is_outstanding_until_it_passes() -> None:
    world = waiting()
    world.succeed("load", order=1)
    member = deadline_member("f1", StepId("goal"), "hint")
    assert outstanding(world.flow, world.now_ms).due == {member: world.now_ms + 100}
    world.wait(100)
    assert outstanding(world.flow, world.now_ms).due == {}


def test_a_look_does_what_a_lost_due_entry_would_have() -> None:
    world = waiting()
    world.succeed("load", order=1)
    world.due.clear()
    world.now_ms += 100
    assert world.look()[:2] == [PASSED, "step_started goal"]


# ------------------------------------------------------------------------- explain


def told() -> Story:
    """A goal that has all it needs, and waits for `hint` from `slow`."""
    goal = step("goal", "order", "z", attributes={"hint": hint(deadline=5_000)})
    story = Story(
        [step("load", "x", "order"), step("slow", "x", "hint"), goal], "goal", {"x": [1]}
    )  # fmt: skip
    story.succeed("load", order=1)
    return story


def test_why_says_for_which_optional_input_a_step_waits_until_when() -> None:
    story = told()
    said = story.explain("goal", after=2_000).clauses
    text = "it waits for the optional `hint` from `slow`, at most until its deadline in 3.0 s"
    assert (text, story.version("deadline_started")) in said


def test_why_says_which_input_was_not_there_by_its_deadline() -> None:
    story = told()
    story.tell(Deadline(TIMER, StepId("goal"), "hint"), after=5_000)
    text = "`hint` was not there by its deadline, so it was left out"
    assert (text, story.version("deadline_passed")) in story.explain("goal").clauses


def test_an_audit_finds_nothing_wrong_with_deadlines() -> None:
    story = told()
    story.tell(Deadline(TIMER, StepId("goal"), "hint"), after=5_000)
    assert story.audit() == []
