"""What is skipped, what fails, and how both reach others."""

from __future__ import annotations

import pytest
from given import World, each, script, step

from argyll_redis.core.state import FlowStatus, RootCause


def cause_of(world: World) -> RootCause | None:
    return world.flow.root_cause


# ------------------------------------------------------------------- propagation


def chain(**first: object) -> World:
    """`a` makes `p`, `b` makes `q` of it, `c` makes `r` of that."""
    return World(step("a", "x", "p", **first), step("b", "p", "q"), step("c", "q", "r"), goals="c", x=1)


@pytest.mark.contract("life", "A failure reaches the goal in the same transaction.")
def test_a_failure_reaches_the_goal_and_ends_the_flow_in_the_same_transaction() -> None:
    because = '(step "a": no stock)'
    assert [
        "work_failed a #1: no stock",
        "step_failed a: no stock",
        f'step_failed b: required input no longer available: "p" {because}',
        f'step_failed c: required input no longer available: "q" {because}',
        'flow_failed: goal "c" can no longer be reached: step "a": no stock',
        "flow_deactivated",
    ] == chain().fail("a", "no stock")


def test_every_failure_names_the_root_cause() -> None:
    world = chain()
    world.fail("a", "no stock")
    roots = [event.data()["root_cause"] for event in world.events("step_failed")]
    assert roots == [{"step": "a", "error": "no stock"}] * 3
    assert RootCause("a", "no stock") == cause_of(world)


def test_a_failed_step_names_the_attributes_that_it_lacks() -> None:
    world = chain()
    world.fail("a")
    assert world.run("b").unsatisfied == ("p",)


def test_a_skipped_provider_fails_those_that_need_what_it_did_not_provide_and_is_named() -> None:
    world = chain(predicate=script("x > 5"))
    error = 'required input no longer available: "p" (step "a": skipped (predicate))'
    assert f"step_failed b: {error}" in world.first
    assert RootCause("a", "skipped (predicate)") == cause_of(world)


def test_a_provider_that_completes_without_the_attribute_fails_those_that_need_it() -> None:
    world = chain()
    error = 'required input no longer available: "p" (step "a": completed without "p")'
    assert f"step_failed b: {error}" in world.succeed("a")


def test_of_several_providers_the_one_that_failed_is_the_root_cause() -> None:
    world = World(
        step("a", "x", "p", predicate=script("False")),
        step("b", "x", "p"),
        step("c", "p", "q"),
        goals="c",
        x=1,
    )
    world.fail("b", "no stock")
    assert RootCause("b", "no stock") == cause_of(world)


def test_a_step_that_has_failed_does_not_fail_again_by_another_input() -> None:
    world = World(
        step("a", "x", "p"), step("b", "x", "q"), step("c", "p q", "r"), step("d", "x", "s"), goals="c d", x=1
    )
    world.fail("a")
    world.fail("b")
    assert len([text for text in world.lines() if text.startswith("step_failed c")]) == 1


def test_what_only_a_failed_step_wanted_is_skipped() -> None:
    world = World(
        step("a", "x", "p"),
        step("slow", "x", "w"),
        step("late", "w", "q"),
        step("c", "p q", "r"),
        step("d", "x", "s"),
        step("e", "s", "t", may="r"),
        goals="e",
        x=1,
    )
    assert "step_skipped late unwanted" in world.fail("a")


@pytest.mark.contract("life", "Skips and failures spread until nothing more follows.")
def test_skips_and_failures_go_on_to_a_fixed_point() -> None:
    names = [f"s{i:02}" for i in range(20)]
    steps = [step(name, f"p{i}", f"p{i + 1}") for i, name in enumerate(names)]
    world = World(*steps, step("goal", "p20", "z"), goals="goal", p0=1)
    world.fail("s00")
    assert {"failed"} == set(world.statuses().values())
    assert len({recorded.tx for recorded in world.log}) == 2


# ------------------------------------------------------------------------ raising


def test_a_predicate_that_raises_fails_its_step_with_the_inputs_it_had() -> None:
    world = World(step("a", "x", "y", predicate=script("fail()")), goals="a", x=1)
    failed = world.last("step_failed").event.data()
    assert failed["error"] == "the predicate failed: ValueError: no"
    assert failed["inputs"] == {"x": {"attribute": "x", "index": 0}}


def test_a_step_that_a_predicate_skips_keeps_the_inputs_it_had() -> None:
    world = World(step("a", "x", "y", predicate=script("False")), goals="a", x=1)
    assert world.inputs("a") == {"x": 1}


def test_a_predicate_sees_consts_and_defaults_by_inner_name() -> None:
    attributes = {
        "k": {"role": "const", "const": {"value": "2"}},
        "d": {"role": "optional", "optional": {"default": "3", "mapping": {"name": "dd"}}},
    }
    world = World(step("a", "x", "y", attributes=attributes, predicate=script("k + dd == 5")), goals="a", x=1)
    assert "step_started a" in world.first


def test_a_predicate_is_not_asked_before_the_step_has_its_inputs() -> None:
    world = World(step("a", "x", "p"), step("b", "p", "q", predicate=script("fail()")), goals="b", x=1)
    assert world.scripts.asked == []


# ------------------------------------------------------------------------- wanting


def test_a_step_that_two_want_is_skipped_only_when_neither_does() -> None:
    world = World(
        step("slow", "x", "w"),
        step("late", "w", "hint"),
        step("a", "x v", "p", may="hint"),
        step("b", "x u", "q", may="hint"),
        step("v", "x", "v"),
        step("u", "x", "u"),
        goals="a b",
        x=1,
    )
    world.succeed("v", v=1)
    assert world.statuses()["late"] == "pending"
    assert "step_skipped late unwanted" in world.succeed("u", u=1)


def test_a_skip_of_what_is_not_wanted_goes_up_the_whole_way() -> None:
    world = World(
        step("a", "x", "y"),
        step("b1", "x", "u"),
        step("b2", "u", "v"),
        step("b3", "v", "y"),
        step("c", "y", "z"),
        goals="c",
        x=1,
    )
    assert [text for text in world.succeed("a", y=1) if "skipped" in text] == [
        "step_skipped b3 unwanted",
        "step_skipped b2 unwanted",
    ]
    assert world.statuses()["b1"] == "active"


def test_a_goal_is_wanted_even_when_nobody_uses_what_it_provides() -> None:
    world = World(step("a", "x", "y"), step("b", "x w", "y"), step("w", "x", "w"), goals="a b", x=1)
    world.succeed("a", y=1)
    assert "step_started b" in world.succeed("w", w=1)


def test_a_late_value_starts_nothing_in_a_step_that_has_started_already() -> None:
    world = World(step("a", "x", "y"), step("b", "x", "y"), step("c", "y", "z"), goals="c", x=1)
    world.succeed("a", y=1)
    assert world.succeed("b", y=2) == ["work_succeeded b #1", "attribute_set y by b", "step_completed b"]


# ------------------------------------------------------------------- failed steps


def fans(**config: object) -> World:
    """A step of four items, two at once, that is not a goal; the flow goes on without it."""
    return World(
        step("a", "", "y", attributes={"xs": each()}, work_config={"parallelism": 2, **config}),
        step("other", "x", "y"),
        step("c", "y", "z"),
        goals="c",
        xs=[0, 1, 2, 3],
        x=1,
    )


def test_results_of_items_of_a_failed_step_are_still_recorded() -> None:
    world = fans()
    world.fail("a", item=0)
    assert world.succeed("a", 1, y=1) == ["work_succeeded a[1] #1"]
    assert world.values("y") == []


def test_no_item_of_a_failed_step_starts_any_more() -> None:
    world = fans()
    world.fail("a", item=0)
    assert world.fail("a", item=1) == ["work_failed a[1] #1: broken"]


def test_a_waiting_retry_of_a_failed_step_is_dropped_as_abandoned() -> None:
    world = fans()
    world.fall_short("a", item=0)
    assert world.fail("a", item=1) == [
        "work_failed a[1] #1: broken",
        "step_failed a: 1 of 4 work items failed; the first: broken",
        "work_failed a[0] #1: abandoned",
    ]
    assert list(world.due) == ["control f1 linger a"]


def test_what_is_not_completed_in_a_failed_step_is_not_retried() -> None:
    world = fans()
    world.fail("a", item=0)
    assert world.fall_short("a", item=1) == [
        "work_not_completed a[1] #1: not yet",
        "work_failed a[1] #1: abandoned",
    ]


def test_a_lost_item_of_a_failed_step_is_not_called_again() -> None:
    world = fans()
    world.fail("a", item=0)
    assert world.lose("a", item=1) == ["work_failed a[1] #1: abandoned"]


@pytest.mark.contract("life", "Work of a failed step that was released and not begun is not called.")
def test_an_item_of_a_failed_step_that_was_released_but_not_begun_is_not_called() -> None:
    world = fans()
    world.fail("a", item=0)
    assert world.abandon("a", item=1) == ["work_failed a[1] #1: abandoned"]


def test_an_item_that_still_matters_is_not_abandoned() -> None:
    world = fans()
    assert world.abandon("a", item=1) == []


def test_an_accepted_item_of_a_failed_step_is_waited_for_until_linger_and_then_abandoned() -> None:
    world = fans()
    world.accept("a", item=1)
    world.fail("a", item=0)
    assert world.wait(3_599_999) == []
    assert world.wait(1) == ["work_failed a[1] #1: abandoned"]


def test_a_flow_goes_on_while_the_items_of_a_failed_step_end() -> None:
    world = fans()
    world.fail("a", item=0)
    world.succeed("other", y=1)
    assert "flow_completed" in world.succeed("c", z=1)
    assert FlowStatus.COMPLETED is world.flow.status
    assert "flow_deactivated" in world.succeed("a", 1, y=1)
