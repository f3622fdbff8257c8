"""A turn starts, skips and abandons at most 100 items; another look does the rest."""

from __future__ import annotations

import pytest
from given import TIMER, World, each, script, step

from argyll_redis.core.commands import Look
from argyll_redis.core.state import StepStatus
from argyll_redis.core.turn import MAX_COMMANDS_A_TURN, MAX_ITEMS_A_TURN
from argyll_redis.errors import InvariantBroken


def fans(count: int, parallelism: int = 1_000, **more: object) -> World:
    """One step of many items."""
    return World(
        step("a", "", "y", attributes={"xs": each()}, work_config={"parallelism": parallelism}, **more),
        goals="a",
        xs=list(range(count)),
    )


def wide(count: int, **more: object) -> World:
    """Many steps that may start at once, and one that needs them all."""
    steps = [step(f"s{i:03}", "x", f"p{i}", **more) for i in range(count)]
    return World(*steps, step("goal", " ".join(f"p{i}" for i in range(count)), "z"), goals="goal", x=1)


def test_a_turn_starts_at_most_so_many_items_and_leaves_the_rest_to_a_look() -> None:
    world = fans(250)
    assert len(world.events("work_started")) == MAX_ITEMS_A_TURN
    assert world.control == ["f1 look"]


def test_looks_finish_what_a_bounded_turn_has_left() -> None:
    world = fans(250)
    world.look_on()
    assert list(range(250)) == sorted(
        world.flow.tokens[event.token][1] for event in world.events("work_started")
    )
    assert world.control == []


def test_a_turn_that_does_everything_leaves_no_look() -> None:
    assert fans(MAX_ITEMS_A_TURN).control == []


def test_no_look_is_left_when_only_slots_are_missing() -> None:
    world = fans(250, parallelism=5)
    assert len(world.events("work_started")) == 5
    assert world.control == []


def test_a_step_that_starts_counts_at_least_as_one_item() -> None:
    world = wide(250)
    assert MAX_ITEMS_A_TURN == len(world.events("step_started")) == len(world.events("work_started"))
    world.look_on()
    assert 250 == len(world.events("step_started")) == len(world.events("work_started"))


def test_steps_without_items_count_too() -> None:
    steps = [step(f"s{i:03}", "", f"p{i}", attributes={"xs": each()}) for i in range(150)]
    world = World(*steps, step("goal", " ".join(f"p{i}" for i in range(150)), "z"), goals="goal", xs=[])
    assert len(world.events("step_started")) == MAX_ITEMS_A_TURN
    world.look_on()
    assert StepStatus.ACTIVE is world.run("goal").status


def test_items_that_a_predicate_skips_count() -> None:
    world = fans(250, predicate=script("type(xs) is list or xs < 0"))
    assert len(world.events("work_skipped")) == MAX_ITEMS_A_TURN
    world.look_on()
    assert len(world.events("work_skipped")) == 250
    assert StepStatus.COMPLETED is world.run("a").status


def test_items_whose_predicate_raises_count() -> None:
    world = World(
        step(
            "a",
            "",
            "y",
            attributes={"xs": each()},
            work_config={"parallelism": 1_000, "on_failure": "tolerate"},
            predicate=script("xs + 1"),
        ),
        goals="a",
        xs=["text"] * 250,
    )
    assert len(world.events("work_failed")) == MAX_ITEMS_A_TURN
    world.look_on()
    assert world.values("y") == [[]]


def test_items_given_up_count() -> None:
    world = fans(250)
    world.look_on()
    for item in range(250):
        world.fall_short("a", item=item)
    assert sum(text.startswith("work_failed") for text in world.cancel()) == MAX_ITEMS_A_TURN
    world.look_on()
    assert len(world.events("work_failed")) == 250
    assert world.flow.is_deactivated


def test_accepted_items_whose_time_is_over_count_in_a_look() -> None:
    world = World(
        step("a", "", "y", attributes={"xs": each()}, work_config={"parallelism": 1_000, "timeout": 100}),
        goals="a",
        xs=list(range(250)),
    )
    world.look_on()
    for item in range(250):
        world.accept("a", item=item)
    world.due.clear()
    world.now_ms += 100
    assert sum("work_not_completed" in text for text in world.look()) == MAX_ITEMS_A_TURN
    world.look_on()
    assert len(world.events("work_not_completed")) == 250


def test_failures_and_skips_of_steps_are_not_bounded() -> None:
    steps = [step(f"s{i:03}", "p", f"q{i}") for i in range(250)]
    world = World(
        step("a", "x", "p"),
        *steps,
        step("goal", " ".join(f"q{i}" for i in range(250)), "z"),
        goals="goal",
        x=1,
    )
    world.fail("a")
    assert {
        status: list(world.statuses().values()).count(status) for status in set(world.statuses().values())
    } == {"failed": 252}


def test_a_bounded_turn_checks_predicates_only_of_what_it_can_start() -> None:
    world = wide(250, predicate=script("x == 1"))
    assert len(world.scripts.asked) == MAX_ITEMS_A_TURN


def test_a_turn_takes_at_most_so_many_commands() -> None:
    world = fans(1)
    with pytest.raises(InvariantBroken, match="at most 100 commands"):
        world.decide(*[Look(TIMER)] * (MAX_COMMANDS_A_TURN + 1))


def test_a_look_at_a_flow_that_waits_for_nothing_of_its_own_decides_nothing() -> None:
    world = fans(250)
    world.look_on()
    assert world.look() == []


@pytest.mark.parametrize("count", [1, 99, 100, 101, 200])
def test_every_turn_keeps_to_the_limit(count: int) -> None:
    world = wide(count)
    world.look_on()
    for tx in {recorded.tx for recorded in world.log}:
        mine = [recorded.event.type for recorded in world.log if recorded.tx == tx]
        assert sum(type == "work_started" for type in mine) <= MAX_ITEMS_A_TURN
