"""I-24: what an audit finds between a flow and its children."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from given import World
from test_sub_flows import DOUBLE, TWICE, Child, twice, word

from argyll_redis.core.audit_children import Kinship
from argyll_redis.core.commands import Broken, Succeeded
from argyll_redis.core.state import Flow


def found(world: World, child: Flow | None) -> list[str]:
    """What is wrong between a flow and the child of its only item, by the invariant's name."""
    kinship = Kinship(world.flow, world.log)
    [(item, id)] = kinship.children()
    told = list(kinship.check(item, id, child))
    assert {name for _, name, _ in told} <= {"I-24"}
    return [text.replace(id, "C").replace(item.token, "T") for _, _, text in told]


def completed() -> tuple[World, Child]:
    """A flow and its child, both done and of one mind."""
    world = twice()
    child = Child(world)
    child.succeed("double", doubled=6)
    word(world, Succeeded({"doubled": 6}))
    return world, child


def test_a_flow_and_its_child_that_agree_are_right() -> None:
    world, child = completed()
    assert found(world, child.flow) == []


def test_a_child_that_has_ended_before_its_parent_knows_is_right() -> None:
    world = twice()
    child = Child(world)
    child.succeed("double", doubled=6)
    assert found(world, child.flow) == []


def test_a_failed_child_is_right() -> None:
    world = twice()
    child = Child(world)
    child.fail("double")
    word(world, Broken("the sub-flow failed"))
    assert found(world, child.flow) == []


def test_a_completed_child_without_a_mapped_output_is_right() -> None:
    world = twice()
    child = Child(world)
    child.succeed("double")
    word(world, Succeeded({}))
    assert found(world, child.flow) == []


def test_an_item_completed_from_outside_is_right_whatever_its_child_came_to() -> None:
    world = twice()
    child = Child(world)
    world.complete("twice", doubled=7)
    child.fail("double")
    assert found(world, child.flow) == []


def test_an_accepted_item_without_a_child_is_found() -> None:
    assert found(twice(), None) == ["work item T was accepted, and its child C does not exist"]


def test_a_flow_that_is_deactivated_may_outlive_its_children() -> None:
    world, _ = completed()
    assert (world.flow.is_deactivated, found(world, None)) == (True, [])


def test_a_released_item_without_a_child_is_right() -> None:
    assert found(World(DOUBLE, TWICE, goals="twice", x=3), None) == []


def test_an_item_that_succeeded_by_a_child_that_failed_is_found() -> None:
    world = twice()
    child = Child(world)
    child.fail("double")
    word(world, Succeeded({"doubled": 6}))
    assert found(world, child.flow) == ["child C has failed, and its work item succeeded"]


def test_an_item_with_other_outputs_than_its_child_gave_is_found() -> None:
    world = twice()
    child = Child(world)
    child.succeed("double", doubled=6)
    word(world, Succeeded({"doubled": 7}))
    assert found(world, child.flow) == ["child C gave other outputs than its work item has"]


def test_a_word_of_a_child_that_goes_on_is_found() -> None:
    world = twice()
    child = Child(world)
    word(world, Succeeded({"doubled": 6}))
    assert found(world, child.flow) == ["child C has told its parent of an outcome that it does not have"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("metadata", {}, "child C does not say that it belongs to work item T"),
        ("init", {"n": [4]}, "child C was started with other values than its work item has"),
        ("init", {"n": [3], "m": [1]}, "child C was started with other values than its work item has"),
    ],
)
def test_a_child_that_was_started_otherwise_is_found(field: str, value: Any, message: str) -> None:
    world, child = completed()
    setattr(child.flow, field, value)
    assert found(world, child.flow) == [message]


def test_a_child_with_another_plan_is_found() -> None:
    world, child = completed()
    child.flow.plan = replace(child.flow.plan, why={})
    assert found(world, child.flow) == ["child C has another plan than its parent made for it"]


def test_a_flow_without_flow_steps_has_no_children() -> None:
    world = World(DOUBLE, goals="double", n=1)
    assert list(Kinship(world.flow, world.log).children()) == []
