"""Flows, steps and work items from start to end, and `first` and optional inputs."""

from __future__ import annotations

import pytest
from given import World, each, named, script, step

from argyll_redis.core.collect import result_of
from argyll_redis.core.model import StepId
from argyll_redis.core.state import (
    FLOW_MOVES,
    STEP_MOVES,
    WORK_MOVES,
    FlowStatus,
    StepStatus,
    WorkItem,
    WorkStatus,
)
from argyll_redis.errors import InvariantBroken

LOAD = step("load", "id", "order")
BILL = step("bill", "order", "receipt")

# ------------------------------------------------------------------------ chains


def test_a_start_runs_what_has_its_inputs_and_nothing_else() -> None:
    world = World(LOAD, BILL, goals="bill", id=7)
    assert world.first == ["flow_started", "step_started load", "work_started load #1 first"]


def test_an_outcome_and_all_that_follows_from_it_are_one_transaction() -> None:
    world = World(LOAD, BILL, goals="bill", id=7)
    assert world.succeed("load", order={"total": 3}) == [
        "work_succeeded load #1",
        "attribute_set order by load",
        "step_completed load",
        "step_started bill",
        "work_started bill #1 first",
    ]
    assert len({recorded.tx for recorded in world.log[3:]}) == 1


def test_a_flow_completes_when_its_goal_is_done_and_is_deactivated_in_the_same_transaction() -> None:
    world = World(LOAD, BILL, goals="bill", id=7)
    world.succeed("load", order={})
    assert world.succeed("bill", receipt="r1") == [
        "work_succeeded bill #1",
        "attribute_set receipt by bill",
        "step_completed bill",
        "flow_completed",
        "flow_deactivated",
    ]
    assert world.flow.status is FlowStatus.COMPLETED


@pytest.mark.contract("life", "An empty plan starts, completes and is deactivated in one commit.")
def test_an_empty_plan_starts_completes_and_is_deactivated_in_one_commit() -> None:
    world = World(LOAD, goals="load", order={"total": 3})
    assert world.first == ["flow_started", "flow_completed", "flow_deactivated"]


def test_a_step_waits_for_all_of_its_required_inputs() -> None:
    world = World(step("a", "x", "p"), step("b", "x", "q"), step("c", "p q", "r"), goals="c", x=1)
    assert world.succeed("a", p=1) == ["work_succeeded a #1", "attribute_set p by a", "step_completed a"]
    assert "step_started c" in world.succeed("b", q=1)


def test_a_step_without_inputs_starts_at_once() -> None:
    assert "step_started now" in World(step("now", "", "y"), goals="now").first


def test_leftovers_never_hold_a_flow_up() -> None:
    world = World(step("a", "x", "y"), step("b", "x", "y"), step("c", "y", "z"), goals="c", x=1)
    world.succeed("a", y=1)
    assert "flow_completed" in world.succeed("c", z=1)
    assert StepStatus.ACTIVE is world.run("b").status


def test_a_flow_with_work_still_running_completes_and_is_deactivated_when_that_ends() -> None:
    world = World(step("a", "x", "y"), step("b", "x", "y"), step("c", "y", "z"), goals="c", x=1)
    world.succeed("a", y=1)
    assert "flow_deactivated" not in world.succeed("c", z=1)
    assert world.succeed("b", y=2) == [
        "work_succeeded b #1",
        "attribute_set y by b",
        "step_completed b",
        "flow_deactivated",
    ]


# ----------------------------------------------------------------------- order


@pytest.mark.contract("life", "Failures and skips come before starts, whatever the names.")
def test_failures_come_before_starts_whatever_the_names() -> None:
    """One of two steps that may start has a predicate that raises and fails the goal: the other does
    not run, be its id before or behind."""
    for good, bad in (("a", "b"), ("b", "a")):
        world = World(
            step(good, "x", "p"),
            step(bad, "x", "q", predicate=script("fail()")),
            step("goal", "p q", "r"),
            goals="goal",
            x=1,
        )
        assert {good: "skipped", bad: "failed", "goal": "failed"} == world.statuses()
        assert world.events("work_started") == []


@pytest.mark.contract("life", "Consumers start before providers, so that what they make needless is skipped.")
def test_what_a_start_makes_needless_is_skipped_and_not_run() -> None:
    """The consumer starts first, and its optional input's provider is then not wanted any more."""
    for provider, consumer in (("a", "b"), ("b", "a")):
        world = World(step(provider, "x", "hint"), step(consumer, "x", "y", may="hint"), goals=consumer, x=1)
        assert [
            "flow_started",
            f"step_started {consumer}",
            f"step_skipped {provider} unwanted",
            f"work_started {consumer} #1 first",
        ] == world.first


@pytest.mark.contract("life", "Ties are decided by id.")
def test_steps_equally_far_from_the_end_start_by_id() -> None:
    world = World(step("b", "x", "p"), step("a", "x", "q"), step("c", "p q", "r"), goals="c", x=1)
    assert world.first == [
        "flow_started",
        "step_started a",
        "step_started b",
        "work_started a #1 first",
        "work_started b #1 first",
    ]


def test_an_item_that_fails_its_check_ends_the_flow_before_any_work_starts() -> None:
    for good, bad in (("a", "b"), ("b", "a")):
        world = World(
            step(good, "x", "p"),
            step(bad, "", "q", attributes={"xs": each()}, predicate=script("xs[0] and fail()")),
            step("goal", "p q", "r"),
            goals="goal",
            x=1,
            xs=[1],
        )
        assert FlowStatus.FAILED is world.flow.status
        assert world.events("work_started") == []


def test_no_step_starts_while_items_are_left_to_check() -> None:
    """`next` could start as soon as all items of `good` are skipped, but one of `bad` fails the goal."""
    for good, bad in (("a", "b"), ("b", "a")):
        world = World(
            step(good, "", "p", attributes={"xs": each()}, predicate=script("xs == [1]")),
            step(bad, "", "q", attributes={"xs": each()}, predicate=script("xs[0]")),
            step("next", "p", "r"),
            step("other", "q", "s"),
            step("goal", "r s", "z"),
            goals="goal",
            xs=[1],
        )
        assert world.run("next").started_version == 0


# ---------------------------------------------------------------- optional inputs


def test_an_optional_input_without_a_deadline_is_never_waited_for() -> None:
    world = World(step("a", "x", "hint"), step("b", "x", "y", may="hint"), goals="b", x=1)
    assert world.inputs("b") == {"x": 1}


def test_an_optional_input_is_used_when_it_is_there_in_time() -> None:
    world = World(
        step("a", "x", "hint"), step("slow", "x", "w"), step("b", "w", "y", may="hint"), goals="b", x=1
    )
    world.succeed("a", hint="h")
    world.succeed("slow", w=1)
    assert world.inputs("b") == {"hint": "h", "w": 1}


def test_the_provider_of_an_optional_input_that_came_too_late_is_still_recorded() -> None:
    world = World(
        step("a", "x", "hint"), step("slow", "x", "w"), step("b", "w", "y", may="hint"), goals="b", x=1
    )
    world.succeed("slow", w=1)
    assert world.succeed("a", hint="h") == [
        "work_succeeded a #1",
        "attribute_set hint by a",
        "step_completed a",
    ]
    assert world.inputs("b") == {"w": 1}


def test_a_failed_provider_of_an_optional_input_does_no_harm() -> None:
    world = World(
        step("a", "x", "hint"), step("slow", "x", "w"), step("b", "w", "y", may="hint"), goals="b", x=1
    )
    world.fail("a")
    assert "step_started b" in world.succeed("slow", w=1)


def test_a_default_stands_in_for_an_optional_input_and_never_becomes_an_attribute() -> None:
    optional = {"hint": named(role="optional", default='{"n": 1}')}
    world = World(step("b", "x", "y", attributes=optional), goals="b", x=1)
    assert world.inputs("b") == {"hint": {"n": 1}, "x": 1}
    assert world.values("hint") == []


def test_an_optional_input_without_a_value_or_a_default_is_left_out() -> None:
    world = World(step("b", "x", "y", may="hint"), goals="b", x=1)
    assert world.inputs("b") == {"x": 1}


# ---------------------------------------------------------------------- other roles


def test_a_required_input_takes_the_first_value() -> None:
    world = World(step("b", "x", "y"), goals="b", init={"x": ["one", "two"]})
    assert world.inputs("b") == {"x": "one"}


def test_a_const_is_always_its_value_and_no_initial_value_overrides_it() -> None:
    world = World(step("b", "x", "y", attributes={"k": named(role="const", value="5")}), goals="b", x=1, k=9)
    assert world.inputs("b") == {"k": 5, "x": 1}


def test_a_meta_input_is_not_among_the_inputs_that_are_recorded() -> None:
    world = World(
        step("b", "x", "y", attributes={"me": named(role="meta", key="receipt_token")}), goals="b", x=1
    )
    assert world.inputs("b") == {"x": 1}


def test_inputs_are_known_by_their_inner_names() -> None:
    world = World(step("b", "", "y", attributes={"x": named("inside")}), goals="b", x=1)
    assert world.inputs("b") == {"inside": 1}


def test_outputs_are_known_by_their_inner_names_and_become_attributes_under_their_own() -> None:
    world = World(step("b", "x", "", attributes={"y": named("inside", role="output")}), goals="b", x=1)
    world.succeed("b", inside=2, y=3)
    assert world.values("y") == [2]


def test_outputs_that_are_not_declared_never_become_attributes() -> None:
    world = World(LOAD, goals="load", id=7)
    world.succeed("load", order=1, extra=2)
    assert {"id", "order"} == set(world.flow.attributes)


def test_an_output_that_was_not_returned_is_not_set() -> None:
    world = World(step("a", "x", "y z"), goals="a", x=1)
    assert "attribute_set z by a" not in world.succeed("a", y=1)


# ------------------------------------------------------------------- alternatives


def alternatives() -> World:
    """Two providers of `y`; the second needs a longer way."""
    return World(
        step("a", "x", "y"),
        step("b1", "x", "w"),
        step("b2", "w", "y"),
        step("c", "y", "z"),
        goals="c",
        x=1,
    )


def test_all_providers_of_an_attribute_that_may_start_do() -> None:
    assert [event.step for event in alternatives().events("step_started")] == ["a", "b1"]


def test_a_loser_that_has_not_started_is_skipped_when_nobody_wants_it_any_more() -> None:
    world = alternatives()
    assert world.succeed("a", y=1) == [
        "work_succeeded a #1",
        "attribute_set y by a",
        "step_completed a",
        "step_skipped b2 unwanted",
        "step_started c",
        "work_started c #1 first",
    ]


def test_when_one_alternative_fails_the_other_wins() -> None:
    world = alternatives()
    assert world.fail("a") == ["work_failed a #1: broken", "step_failed a: broken"]
    world.succeed("b1", w=1)
    assert "step_started c" in world.succeed("b2", y=2)


def test_a_second_value_of_an_attribute_is_kept_behind_the_first() -> None:
    world = World(step("a", "x", "y"), step("b", "x", "y"), step("c", "y", "z"), goals="c", x=1)
    world.succeed("b", y="of b")
    world.succeed("a", y="of a")
    assert [(v.value, v.step) for v in world.flow.values("y")] == [("of b", "b"), ("of a", "a")]
    assert world.inputs("c") == {"y": "of b"}


def test_a_provider_that_completes_without_the_attribute_leaves_it_to_the_others() -> None:
    world = World(step("a", "x", "y"), step("b", "x", "y"), step("c", "y", "z"), goals="c", x=1)
    assert world.succeed("a") == ["work_succeeded a #1", "step_completed a"]
    assert "step_started c" in world.succeed("b", y=2)


# ------------------------------------------------------------------------- goals


def test_a_flow_with_several_goals_completes_when_every_one_is_done() -> None:
    world = World(step("a", "x", "p"), step("b", "x", "q"), goals="a b", x=1)
    assert "flow_completed" not in world.succeed("a", p=1)
    assert "flow_completed" in world.succeed("b", q=1)


def test_a_goal_that_its_predicate_skips_is_done() -> None:
    world = World(step("a", "x", "y", predicate=script("x > 5")), goals="a", x=1)
    assert world.first == ["flow_started", "step_skipped a predicate", "flow_completed", "flow_deactivated"]


def test_a_flow_fails_at_once_when_one_of_its_goals_has_failed() -> None:
    world = World(step("a", "x", "p"), step("b", "x", "q"), goals="a b", x=1)
    assert world.fail("a") == [
        "work_failed a #1: broken",
        "step_failed a: broken",
        'flow_failed: goal "a" failed: broken',
    ]


def test_a_goal_that_planning_left_out_is_done_from_the_start() -> None:
    world = World(step("a", "x", "p"), step("b", "x", "q"), goals="a b", x=1, p=5)
    assert list(world.flow.steps) == ["b"]
    assert "flow_completed" in world.succeed("b", q=1)


# ------------------------------------------------------------------------- result


def test_the_result_is_what_each_goal_provided_by_attribute_name() -> None:
    world = World(
        step("a", "x", "p"),
        step("b", "x", "", attributes={"q": named("inside", role="output")}),
        goals="b a",
        x=1,
    )
    world.succeed("a", p=1)
    world.succeed("b", inside=2)
    assert list(result_of(world.flow).items()) == [("q", 2), ("p", 1)]


def test_where_two_goals_provide_one_name_the_later_goal_wins() -> None:
    for goals, expected in (("a b", "of b"), ("b a", "of a")):
        world = World(step("a", "x", "p"), step("b", "x", "p"), goals=goals, x=1)
        world.succeed("b", p="of b")
        world.succeed("a", p="of a")
        assert {"p": expected} == result_of(world.flow)


def test_the_result_has_what_a_goal_provided_and_not_what_another_step_did() -> None:
    world = World(step("a", "x", "p"), step("b", "x", "p q"), step("c", "p", "r"), goals="b c", x=1)
    world.succeed("a", p="of a")
    world.succeed("c", r=1)
    world.succeed("b", p="of b", q=2)
    assert result_of(world.flow) == {"p": "of b", "q": 2, "r": 1}


@pytest.mark.contract(
    "life", "A goal that was left out gives the initial values of its outputs to the result."
)
def test_a_goal_that_was_left_out_gives_the_initial_values_of_its_outputs() -> None:
    world = World(step("a", "x", "p"), step("b", "x", "q"), goals="a b", x=1, p=5)
    world.succeed("b", q=6)
    assert result_of(world.flow) == {"p": 5, "q": 6}


# ------------------------------------------------------------------- legal moves


def test_every_status_is_in_its_table_and_leads_only_to_statuses() -> None:
    for table in (FLOW_MOVES, STEP_MOVES, WORK_MOVES):
        assert set(table) == set(type(next(iter(table))))
        assert set().union(*table.values()) <= set(table)


@pytest.mark.contract("life", "A change of status that is in no table is never accepted.")
def test_a_move_that_is_not_in_its_table_is_a_bug_and_never_accepted() -> None:
    world = World(LOAD, goals="load", id=7)
    item = WorkItem(StepId("load"), 0, world.token("load"))
    with pytest.raises(InvariantBroken, match="cannot go from pending to compensated"):
        item.move(WorkStatus.COMPENSATED)
    with pytest.raises(InvariantBroken, match="cannot go from active to skipped"):
        world.run("load").move(StepStatus.SKIPPED)


def test_a_flow_cannot_be_started_twice() -> None:
    world = World(LOAD, goals="load", id=7)
    with pytest.raises(InvariantBroken, match="started already"):
        world.say(world.start)
