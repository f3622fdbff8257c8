"""Mapping scripts: what they make of inputs and outputs, by which names, and what a failing one means."""

from __future__ import annotations

from typing import Any

import pytest
from given import World, gate, named, script, step

from argyll_redis.core.limits import MAX_EVENT_BYTES


def mapped(source: str, inner: str = "", *, role: str = "required", type: str = "", **given: Any) -> Any:
    """The spec of an attribute with a mapping script."""
    spec = named(inner, role=role, type=type, **given)
    spec[role].setdefault("mapping", {})["script"] = script(source)
    return spec


def taking(source: str, inner: str = "", *, role: str = "required", **given: Any) -> World:
    """A goal that takes `v` (1) through a mapping."""
    goal = step("goal", "x", "z", attributes={"v": mapped(source, inner, role=role, **given)})
    return World(goal, goals="goal", x=1, v=1)


def giving(source: str, inner: str = "", **given: Any) -> World:
    """A goal that gives `z` through a mapping."""
    attributes = {"z": mapped(source, inner, role="output", **given)}
    return World(step("goal", "x", attributes=attributes), goals="goal", x=1)


def started(world: World, step_id: str = "goal") -> Any:
    """What `step_started` of a step holds of its inputs."""
    events: list[Any] = world.events("step_started")
    return next(each.inputs for each in events if each.step == step_id)


# --------------------------------------------------------------------------- inputs


def test_a_step_gets_what_its_mapping_makes_of_an_input() -> None:
    assert taking("value + 1").inputs("goal") == {"x": 1, "v": 2}


def test_a_mapping_sees_its_value_under_the_inner_name_as_well() -> None:
    assert taking("value + inner", "inner").inputs("goal") == {"x": 1, "inner": 2}


def test_what_a_mapping_made_is_in_the_event() -> None:
    world = taking("[value]")
    assert started(world) == {"v": {"value": [1]}, "x": {"attribute": "x", "index": 0}}
    assert world.refold().picture() == world.flow.picture()


@pytest.mark.contract("inputs", "What a script gave is in the log: reading a log runs none.")
def test_folding_evaluates_nothing() -> None:
    world = taking("[value]")
    world.scripts.asked.clear()
    world.refold()
    assert world.scripts.asked == []


def test_an_input_in_which_nothing_is_found_stays_as_it_was() -> None:
    world = taking("nothing")
    assert started(world)["v"] == {"attribute": "v", "index": 0}
    assert world.inputs("goal")["v"] == 1


def test_an_input_that_a_mapping_leaves_as_it_is_is_not_stored_again() -> None:
    assert started(taking("value"))["v"] == {"attribute": "v", "index": 0}


def test_null_is_something_that_a_mapping_may_give() -> None:
    assert taking("None").inputs("goal")["v"] is None


def test_a_mapping_sees_what_the_policy_has_collected() -> None:
    goal = step("goal", "", "z", attributes={"v": mapped("len(value)", collect="some")})
    world = World(step("a", "x", "v"), step("b", "x", "v"), goal, goals="goal", x=1)
    world.succeed("a", v=1)
    world.succeed("b", v=2)
    assert world.inputs("goal") == {"v": 2}


def test_a_default_goes_through_the_mapping_as_any_value_does() -> None:
    goal = step("goal", "x", "z", attributes={"o": mapped("value + 1", role="optional", default="5")})
    assert World(goal, goals="goal", x=1).inputs("goal") == {"o": 6, "x": 1}


def test_what_is_left_out_is_not_mapped() -> None:
    goal = step("goal", "x", "z", attributes={"o": mapped("fail()", role="optional")})
    assert World(goal, goals="goal", x=1).inputs("goal") == {"x": 1}


def test_a_predicate_sees_what_the_mapping_made() -> None:
    goal = step("goal", "", "z", attributes={"v": mapped("value + 1", "n")}, predicate=script("n == 2"))
    assert World(goal, goals="goal", v=1).statuses() == {"goal": "active"}


def test_a_gate_sees_the_value_before_the_mapping() -> None:
    spec = gate("value == 1")
    spec["required"]["mapping"] = {"script": script("'mapped'")}
    world = World(step("goal", "", "z", attributes={"v": spec}), goals="goal", v=1)
    assert world.inputs("goal") == {"v": "mapped"}


def test_a_mapping_of_an_input_that_raises_fails_the_step() -> None:
    world = taking("fail()")
    assert world.run("goal").error == 'the mapping of input "v" failed: ValueError: no'
    assert world.inputs("goal") == {"v": 1, "x": 1}


def test_a_failing_mapping_fails_a_for_each_step_before_its_items() -> None:
    goal = step("goal", "", "z", attributes={"v": mapped("fail()", for_each=True)})
    world = World(goal, goals="goal", v=[1, 2])
    assert (world.statuses(), world.events("work_failed")) == ({"goal": "failed"}, [])


def test_more_than_an_event_can_hold_fails_the_step() -> None:
    world = taking(f"'x' * {MAX_EVENT_BYTES}")
    assert "bytes, more than the 2,097,152 of an event" in str(world.run("goal").error)


# ------------------------------------------------------------------------- for each


def split(source: str, **output: Any) -> World:
    """A goal with an item for each of what a mapping makes of `rows`, seen as `row`."""
    attributes = {"rows": mapped(source, "row", for_each=True), "z": named("out", role="output", **output)}
    goal = step("goal", "", attributes=attributes, work_config={"parallelism": 9})
    return World(goal, goals="goal", rows={"all": [1, 2]})


@pytest.mark.contract("inputs", "A mapping of an input sees the whole value, before it is split.")
def test_a_mapping_works_on_the_whole_before_for_each_splits_it() -> None:
    world = split("value['all'] + [3]")
    assert world.run("goal").size == 3
    for item in range(3):
        world.succeed("goal", item, out=item)
    rows = [{"rows": 1, "z": 0}, {"rows": 2, "z": 1}, {"rows": 3, "z": 2}]
    assert world.values("z") == [rows]


def test_a_mapping_that_gives_no_array_to_split_fails_the_step() -> None:
    assert split("value").run("goal").error == (
        'input "row" is not an array, so its elements cannot be work items'
    )


@pytest.mark.contract("inputs", "A mapping of an output sees each item's value, before lists are made.")
def test_an_output_is_mapped_item_by_item_before_lists_are_made() -> None:
    attributes = {"n": named(for_each=True), "z": mapped("value * out", "out", role="output", type="array")}
    goal = step("goal", "", attributes=attributes, work_config={"parallelism": 9})
    world = World(goal, goals="goal", n=[1, 2])
    world.succeed("goal", 0, out=3)
    world.succeed("goal", 1, out=4)
    assert world.values("z") == [[{"n": 1, "z": 9}, {"n": 2, "z": 16}]]


def test_an_item_whose_output_is_absent_is_not_in_the_list() -> None:
    attributes = {"n": named(for_each=True), "z": mapped("nothing if value else 0", role="output")}
    goal = step("goal", "", attributes=attributes, work_config={"parallelism": 9})
    world = World(goal, goals="goal", n=[1, 2])
    world.succeed("goal", 0, z=True)
    world.succeed("goal", 1, z=False)
    assert world.values("z") == [[{"n": 2, "z": 0}]]


# -------------------------------------------------------------------------- outputs


def test_an_output_is_what_its_mapping_makes_of_the_value_under_the_inner_name() -> None:
    world = giving("value['id']", "answer")
    world.succeed("goal", answer={"id": 7}, z="not seen")
    assert world.values("z") == [7]


def test_the_event_has_the_output_after_the_mapping_by_attribute_name() -> None:
    world = giving("[out]", "out")
    world.succeed("goal", out=1)
    event: Any = world.last("work_succeeded").event
    assert event.outputs == {"z": [1]}


def test_an_output_in_which_nothing_is_found_is_absent() -> None:
    world = giving("nothing")
    world.succeed("goal", z=1)
    assert (world.values("z"), world.statuses()) == ([], {"goal": "completed"})


def test_an_output_is_of_its_declared_type_after_the_mapping() -> None:
    world = giving("str(value)", type="string")
    world.succeed("goal", z=1)
    assert world.values("z") == ["1"]


def test_an_output_that_a_mapping_makes_of_another_type_fails_its_item_for_good() -> None:
    world = giving("str(value)", type="number")
    error = 'output "z" is not of its declared type number'
    assert f"work_failed goal #1: {error}" in world.succeed("goal", z=1)


def test_a_mapping_of_an_output_that_raises_fails_its_item_for_good() -> None:
    error = 'the mapping of output "z" failed: ValueError: no'
    assert f"work_failed goal #1: {error}" in giving("fail()").succeed("goal", z=1)


def test_one_item_whose_mapping_raises_leaves_the_others_of_a_tolerant_step() -> None:
    attributes = {"n": named(for_each=True), "z": mapped("1 / value", role="output")}
    work = {"parallelism": 9, "on_failure": "tolerate"}
    world = World(step("goal", "", attributes=attributes, work_config=work), goals="goal", n=[1, 2])
    world.succeed("goal", 0, z=0)
    world.succeed("goal", 1, z=1)
    assert world.values("z") == [[{"n": 2, "z": 1.0}]]


@pytest.mark.parametrize("by", ["operator:o1", "webhook:w1"])
def test_what_comes_from_outside_goes_through_the_mapping(by: str) -> None:
    world = giving("value + 1")
    world.accept("goal")
    world.complete("goal", by=by, z=1)
    assert world.values("z") == [2]
