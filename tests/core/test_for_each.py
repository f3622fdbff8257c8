"""Work items: how many, which inputs, which order, which outputs."""

from __future__ import annotations

import time

import pytest
from given import World, each, named, script, step

from argyll_redis.core.collect import item_inputs
from argyll_redis.core.limits import MAX_ITEMS
from argyll_redis.core.state import StepStatus, token_of

CHARGE = step("charge", "", "receipt", attributes={"item": each()}, work_config={"parallelism": 10})


def items_of(world: World, id: str) -> list[dict[str, object]]:
    """The inputs of every work item of a step."""
    run = world.run(id)
    return [item_inputs(world.plan.steps[run.id], run.inputs, index) for index in range(run.size)]


# ---------------------------------------------------------------------- counting


def test_a_step_without_for_each_has_one_work_item() -> None:
    world = World(step("a", "xs", "y"), goals="a", xs=[1, 2, 3])
    assert items_of(world, "a") == [{"xs": [1, 2, 3]}]


def test_one_for_each_array_makes_one_item_an_element() -> None:
    world = World(CHARGE, goals="charge", item=["a", "b"])
    assert items_of(world, "charge") == [{"item": "a"}, {"item": "b"}]


def test_several_arrays_make_their_product_in_name_order_the_first_name_slowest() -> None:
    pair = step("pair", "k", "y", attributes={"b": each(), "a": each()})
    world = World(pair, goals="pair", a=[1, 2], b=["x", "y", "z"], k=0)
    pairs = [(1, "x"), (1, "y"), (1, "z"), (2, "x"), (2, "y"), (2, "z")]
    assert [{"a": a, "b": b, "k": 0} for a, b in pairs] == items_of(world, "pair")


def test_the_order_is_that_of_attribute_names_and_not_of_inner_names() -> None:
    pair = step("pair", "", "y", attributes={"a": each("z"), "b": each("c")})
    world = World(pair, goals="pair", a=[1, 2], b=[3, 4])
    assert items_of(world, "pair") == [{"z": 1, "c": 3}, {"z": 1, "c": 4}, {"z": 2, "c": 3}, {"z": 2, "c": 4}]


def test_the_start_of_a_step_says_how_many_items_it_has() -> None:
    world = World(CHARGE, goals="charge", item=[1, 2, 3])
    assert world.last("step_started").event.data()["items"] == 3


def test_an_optional_for_each_input_that_was_left_out_makes_no_items_of_its_own() -> None:
    optional = step("a", "", "y", attributes={"xs": each(), "zs": each(role="optional")})
    world = World(optional, goals="a", xs=[1, 2])
    assert items_of(world, "a") == [{"xs": 1}, {"xs": 2}]


def test_a_default_of_a_for_each_input_is_split_like_any_value() -> None:
    optional = step("a", "", "y", attributes={"xs": each(role="optional", default="[1, 2]")})
    assert items_of(World(optional, goals="a"), "a") == [{"xs": 1}, {"xs": 2}]


def test_an_empty_array_gives_no_items_and_the_step_completes_with_empty_lists() -> None:
    assert (world := World(CHARGE, goals="charge", item=[])).first == [
        "flow_started",
        "step_started charge",
        "attribute_set receipt by charge",
        "step_completed charge",
        "flow_completed",
        "flow_deactivated",
    ]
    assert world.values("receipt") == [[]]


def test_one_empty_array_among_several_gives_no_items() -> None:
    pair = step("pair", "", "y", attributes={"a": each(), "b": each()})
    assert "step_completed pair" in World(pair, goals="pair", a=[1, 2], b=[]).first


@pytest.mark.parametrize("value", ["text", 5, None, {"a": 1}, True])
def test_a_for_each_value_that_is_no_array_fails_the_step_and_names_the_input(value: object) -> None:
    named_inside = step("a", "", "y", attributes={"xs": each("inside")})
    world = World(named_inside, goals="a", xs=value)
    error = 'input "inside" is not an array, so its elements cannot be work items'
    assert f"step_failed a: {error}" in world.first
    assert world.last("step_failed").event.data()["inputs"] == {"inside": {"attribute": "xs", "index": 0}}


def test_as_many_items_as_allowed_are_taken() -> None:
    world = World(CHARGE, goals="charge", item=list(range(MAX_ITEMS)))
    assert world.run("charge").size == MAX_ITEMS


@pytest.mark.contract("items", "Items are counted before any is made.")
def test_more_items_than_allowed_fail_the_step_before_anything_is_expanded() -> None:
    names = [f"a{i}" for i in range(20)]
    wide = step("wide", "", "y", attributes={name: each() for name in names})
    started = time.perf_counter()
    world = World(wide, goals="wide", **{name: list(range(1000)) for name in names})
    assert StepStatus.FAILED is world.run("wide").status
    assert f"step_failed wide: {1000**20} work items are more than {MAX_ITEMS}" in world.first
    assert time.perf_counter() - started < 5


# ------------------------------------------------------------------------ tokens


@pytest.mark.contract("items", "The same decision always names the same token.")
def test_tokens_follow_from_seed_step_and_index_and_differ() -> None:
    world = World(CHARGE, goals="charge", item=[1, 2, 3])
    expected = [token_of(world.flow.seed, world.run("charge").id, index) for index in range(3)]
    assert expected == [event.token for event in world.events("work_started")]
    assert len(set(expected)) == 3
    assert token_of("00" * 16, world.run("charge").id, 0) != expected[0]


def test_a_token_is_128_bits_in_hexadecimal_digits() -> None:
    assert len(World(CHARGE, goals="charge", item=[1]).token("charge")) == 32


# ------------------------------------------------------------------- parallelism


def test_items_start_in_item_order_no_more_than_parallelism_at_once() -> None:
    two = step("a", "", "y", attributes={"xs": each()}, work_config={"parallelism": 2})
    world = World(two, goals="a", xs=[1, 2, 3, 4])
    assert world.first[2:] == ["work_started a[0] #1 first", "work_started a[1] #1 first"]
    assert world.succeed("a", 1, y=1) == ["work_succeeded a[1] #1", "work_started a[2] #1 first"]


def test_parallelism_is_one_when_nothing_is_said() -> None:
    world = World(step("a", "", "y", attributes={"xs": each()}), goals="a", xs=[1, 2])
    assert world.first[2:] == ["work_started a[0] #1 first"]


def test_an_item_that_waits_for_its_retry_frees_its_slot() -> None:
    world = World(step("a", "", "y", attributes={"xs": each()}), goals="a", xs=[1, 2])
    assert "work_started a[1] #1 first" in world.fall_short("a", item=0)


def test_an_accepted_item_keeps_its_slot() -> None:
    world = World(step("a", "", "y", attributes={"xs": each()}), goals="a", xs=[1, 2])
    assert world.accept("a") == ["work_accepted a[0] #1"]


def test_an_item_completed_from_outside_before_its_turn_is_passed_over() -> None:
    world = World(step("a", "", "y", attributes={"xs": each()}), goals="a", xs=[1, 2, 3])
    assert world.complete("a", 1, y=1) == ["work_succeeded a[1] #0"]
    assert world.succeed("a", 0, y=1) == ["work_succeeded a[0] #1", "work_started a[2] #1 first"]


def test_items_that_failed_their_check_are_not_looked_at_again() -> None:
    config = {"on_failure": "finish", "parallelism": 2}
    picky = step("a", "", "y", attributes={"x": each()}, predicate=script("x + 1"), work_config=config)
    world = World(picky, goals="a", x=["text"] * 50)
    assert world.run("a").next_index == 50


# ----------------------------------------------------------------------- outputs


def test_an_output_is_a_list_in_item_order_of_inputs_and_output_under_attribute_names() -> None:
    renamed = step(
        "a",
        "k",
        "",
        attributes={"x": each("inside"), "y": named("given", role="output")},
        work_config={"parallelism": 2},
    )
    world = World(renamed, goals="a", x=["p", "q"], k=1)
    world.succeed("a", 1, given="second")
    world.succeed("a", 0, given="first")
    assert world.values("y") == [[{"x": "p", "y": "first"}, {"x": "q", "y": "second"}]]


def test_one_element_gives_a_list_of_one() -> None:
    world = World(CHARGE, goals="charge", item=["a"])
    world.succeed("charge", receipt=1)
    assert world.values("receipt") == [[{"item": "a", "receipt": 1}]]


@pytest.mark.contract("items", "An item that did not give an output is not in its list.")
def test_an_item_that_did_not_provide_an_output_is_not_in_its_list() -> None:
    both = step("a", "", "y z", attributes={"x": each()}, work_config={"parallelism": 2})
    world = World(both, goals="a", x=[1, 2])
    world.succeed("a", 0, y=1)
    world.succeed("a", 1, y=2, z=3)
    assert world.values("y") == [[{"x": 1, "y": 1}, {"x": 2, "y": 2}]]
    assert world.values("z") == [[{"x": 2, "z": 3}]]


@pytest.mark.contract("steps", "The declared type of an output of a `for_each` step is that of its list.")
def test_single_items_are_not_checked_against_the_type_of_their_list() -> None:
    typed = step("a", "", "", attributes={"x": each(), "y": named(role="output", type="array")})
    world = World(typed, goals="a", x=[1])
    assert "work_succeeded a #1" in world.succeed("a", y="text")


# --------------------------------------------------------------------- predicates


def test_a_predicate_is_checked_for_the_step_and_for_each_item_with_its_inputs() -> None:
    picky = step("a", "k", "y", attributes={"x": each()}, predicate=script("x != 2"))
    world = World(picky, goals="a", x=[1, 2, 3], k=0)
    world.succeed("a", 0, y=1)
    world.succeed("a", 2, y=3)
    assert [text for text in world.lines() if "skipped" in text] == ["work_skipped a[1]"]
    assert world.values("y") == [[{"x": 1, "y": 1}, {"x": 3, "y": 3}]]
    assert [names for _, names in world.scripts.asked] == [
        {"x": [1, 2, 3], "k": 0},
        {"x": 1, "k": 0},
        {"x": 2, "k": 0},
        {"x": 3, "k": 0},
    ]


def test_without_for_each_a_predicate_is_asked_once() -> None:
    world = World(step("a", "x", "y", predicate=script("x == 1")), goals="a", x=1)
    assert world.scripts.asked == [("x == 1", {"x": 1})]


def test_a_predicate_that_is_false_for_the_whole_step_skips_the_step() -> None:
    none = step("a", "", "y", attributes={"x": each()}, predicate=script("False"))
    assert "step_skipped a predicate" in World(none, goals="a", x=[1]).first


@pytest.mark.contract("items", "A predicate that raises for the step is left to the items.")
def test_with_for_each_a_check_that_raises_at_the_step_is_left_to_the_items() -> None:
    picky = step("a", "", "y", attributes={"x": each()}, predicate=script("x + 1 > 2"))
    assert "work_started a[1] #1 first" in World(picky, goals="a", x=[1, 2]).first


def test_a_predicate_that_raises_for_an_item_fails_that_item() -> None:
    picky = step("a", "", "y", attributes={"x": each()}, predicate=script("x + 1 > 0"))
    world = World(picky, goals="a", x=["text"])
    assert (
        'work_failed a #0: the predicate failed: TypeError: can only concatenate str (not "int") to str'
        in (world.first)
    )
    assert StepStatus.FAILED is world.run("a").status


def test_a_step_whose_items_are_all_skipped_completes_with_empty_lists() -> None:
    picky = step("a", "", "y", attributes={"x": each()}, predicate=script("x == [1, 2]"))
    world = World(picky, goals="a", x=[1, 2])
    assert world.first[2:4] == ["work_skipped a[0]", "work_skipped a[1]"]
    assert world.values("y") == [[]]


def test_a_skipped_item_does_not_take_a_slot() -> None:
    picky = step("a", "", "y", attributes={"x": each()}, predicate=script("x != 1"))
    world = World(picky, goals="a", x=[1, 2, 3])
    assert world.first[2:] == ["work_skipped a[0]", "work_started a[1] #1 first"]


# ---------------------------------------------------------------------- on_failure


def on_failure(policy: str, count: int = 3) -> World:
    config = {"parallelism": 2, "on_failure": policy}
    fans = step("a", "", "y", attributes={"x": each()}, work_config=config)
    return World(fans, goals="a", x=list(range(count)))


def test_fail_fast_is_the_default_and_the_first_permanent_failure_fails_the_step() -> None:
    default = World(step("a", "", "y", attributes={"x": each()}), goals="a", x=[1, 2])
    for world in (default, on_failure("fail_fast")):
        assert "step_failed a: " in " ".join(world.fail("a"))


@pytest.mark.contract("items", "Items that never started stay pending and get no event.")
def test_with_fail_fast_items_that_never_started_stay_pending_and_get_no_event() -> None:
    world = on_failure("fail_fast")
    world.fail("a", item=0)
    assert [recorded for recorded in world.log if world.token("a", 2) in str(recorded.event.data())] == []


def test_the_error_of_a_step_says_how_many_items_failed_and_the_first_error() -> None:
    world = on_failure("finish")
    world.fail("a", "no card", item=1)
    world.fail("a", "no stock", item=0)
    world.succeed("a", 2, y=1)
    assert world.run("a").error == "2 of 3 work items failed; the first: no card"
    assert world.last("step_failed").event.data()["root_cause"] == {"step": "a", "error": "no card"}


def test_finish_runs_all_items_and_then_fails() -> None:
    world = on_failure("finish")
    assert world.fail("a", item=0) == ["work_failed a[0] #1: broken", "work_started a[2] #1 first"]
    world.succeed("a", 1, y=1)
    assert "step_failed a: 1 of 3 work items failed; the first: broken" in world.succeed("a", 2, y=1)


def test_tolerate_runs_all_items_and_completes_with_what_succeeded() -> None:
    world = on_failure("tolerate")
    world.fail("a", item=0)
    world.succeed("a", 1, y="one")
    assert "step_completed a" in world.fail("a", item=2)
    assert world.values("y") == [[{"x": 1, "y": "one"}]]


@pytest.mark.contract("items", "`tolerate` completes with empty lists when nothing succeeded.")
def test_tolerate_completes_with_empty_lists_when_nothing_succeeded() -> None:
    world = on_failure("tolerate", 1)
    assert world.fail("a")[:3] == ["work_failed a #1: broken", "attribute_set y by a", "step_completed a"]
    assert world.values("y") == [[]]


def test_tolerate_without_for_each_completes_and_provides_nothing() -> None:
    world = World(step("a", "x", "y", work_config={"on_failure": "tolerate"}), goals="a", x=1)
    assert world.fail("a") == [
        "work_failed a #1: broken",
        "step_completed a",
        "flow_completed",
        "flow_deactivated",
    ]
