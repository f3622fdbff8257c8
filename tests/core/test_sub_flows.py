"""Sub-flows: their plans, and what passes between a flow and its children."""

from __future__ import annotations

from typing import Any

import pytest
from definitions import MATCH, catalog, step
from given import OPERATOR, TIMER, World, each, named

from argyll_redis.core import plan_family
from argyll_redis.core.commands import Broken, Cancel, CancelChildren, Lose, Start, Succeeded, Unfinished
from argyll_redis.core.explain import explain
from argyll_redis.core.model import Plan, RetryDefaults, StepId, Token
from argyll_redis.core.plan import make_plan, plan_from_json, plan_to_json, preview
from argyll_redis.core.state import Flow
from argyll_redis.core.sub_flows import (
    Parent,
    child_id,
    is_waited_for,
    metadata_for,
    outcome_of,
    parent_of,
    start_of,
)
from argyll_redis.errors import InvalidInput, UnknownGoal
from argyll_redis.runtime.logs import PlanBook
from argyll_redis.store.codec import encode

CHILD = "child:e1"


def sub(id: str, goals: str, attributes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A flow step."""
    return {"id": id, "type": "flow", "flow": {"goals": goals.split()}, "attributes": attributes, **fields}


def gives(name: str, inner: str = "") -> dict[str, Any]:
    return {name: named(inner, role="output")}


DOUBLE = step("double", "n", "doubled")
TWICE = sub("twice", "double", {"x": named("n"), **gives("y", "doubled")})
"""Gives `y`, which is what `double` makes of `x`."""


def plan_of(*definitions: dict[str, Any], goals: str, **init: Any) -> Plan:
    given = {name: [value] for name, value in init.items()}
    return make_plan(catalog(*definitions), goals.split(), given, RetryDefaults())


def child_plan(*definitions: dict[str, Any], of: str, **init: Any) -> Plan:
    """The plan of the children of a flow step that is the only goal."""
    return plan_of(*definitions, goals=of, **init).children[StepId(of)]


# -------------------------------------------------------------------- planning


def test_a_flow_steps_child_is_planned_with_its_parent() -> None:
    assert list(child_plan(DOUBLE, TWICE, of="twice", x=1).steps) == ["double"]


def test_a_required_input_is_known_to_the_child_by_its_inner_name() -> None:
    assert child_plan(DOUBLE, TWICE, of="twice", x=1).required == ()


def test_an_initial_value_of_the_parent_is_not_known_to_the_child() -> None:
    taking_nothing = sub("twice", "double", gives("y", "doubled"))
    with pytest.raises(InvalidInput, match="flow step `twice`: its goals need `n`"):
        plan_of(DOUBLE, taking_nothing, goals="twice", n=1)


@pytest.mark.parametrize(
    "spec",
    [
        {"role": "const", "const": {"value": "1"}},
        {"role": "optional", "optional": {"default": "1"}},
        {"role": "required"},
    ],
    ids=lambda spec: spec["role"],
)
def test_an_input_that_is_surely_there_is_known_to_the_child(spec: dict[str, Any]) -> None:
    assert child_plan(DOUBLE, sub("twice", "double", {"n": spec}), of="twice", n=1).required == ()


@pytest.mark.contract("planning", "A child is planned with the inputs that its parent gives for sure.")
@pytest.mark.parametrize(
    "spec",
    [
        {"role": "optional"},
        {"role": "meta", "meta": {"key": "attempt"}},
        {"role": "required", "required": {"collect": "none"}},
    ],
    ids=["optional", "meta", "none"],
)
def test_an_input_that_may_be_missing_is_not_known_to_the_child(spec: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="need `n`"):
        plan_of(DOUBLE, sub("twice", "double", {"n": spec}), goals="twice")


def test_a_preview_names_what_a_child_lacks() -> None:
    shown = preview(catalog(DOUBLE, sub("twice", "double", {})), ["twice"], {}, RetryDefaults())
    assert shown.children[StepId("twice")].required == ("n",)


def test_a_child_has_the_steps_that_its_own_goals_need() -> None:
    read = step("read", "path", "n")
    assert list(
        child_plan(DOUBLE, read, sub("all", "double", {"path": named()}), of="all", path="p").steps
    ) == ["double", "read"]


def test_an_input_that_the_parent_gives_leaves_its_providers_out_of_the_child() -> None:
    assert list(child_plan(DOUBLE, step("read", "", "n"), TWICE, of="twice", x=1).steps) == ["double"]


def test_a_gate_of_a_child_is_undecided_when_it_is_planned() -> None:
    gated = step("double", "", "doubled", attributes={"n": named(match=MATCH)})
    assert list(child_plan(gated, step("read", "", "n"), TWICE, of="twice", x=1).steps) == ["double", "read"]


def test_a_child_may_have_children() -> None:
    outer = sub("outer", "twice", {"x": named()})
    assert list(child_plan(DOUBLE, TWICE, outer, of="outer", x=1).children) == ["twice"]


def test_an_unknown_goal_of_a_child_is_refused_with_its_flow_step() -> None:
    with pytest.raises(UnknownGoal, match="the goal `nobody` of flow step `twice` is not a registered step"):
        plan_of(sub("twice", "nobody", {}), goals="twice")


def nested(levels: int) -> list[dict[str, Any]]:
    """Flow steps each within the one before."""
    steps = [sub(f"f{n}", f"f{n + 1}", {}) for n in range(levels)]
    return [*steps, step(f"f{levels}")]


def test_children_may_be_eight_deep() -> None:
    depth, plan = 0, plan_of(*nested(8), goals="f0")
    while plan.children:
        depth, [plan] = depth + 1, plan.children.values()
    assert depth == 8


@pytest.mark.contract("children", "Children are eight deep at most.")
def test_children_nine_deep_are_refused() -> None:
    with pytest.raises(InvalidInput, match="flow step `f8`: is 9 sub-flows deep"):
        plan_of(*nested(9), goals="f0")


def test_a_flow_step_provides_nothing_within_its_own_sub_flow() -> None:
    total = sub("total", "report", {"n": named(), **gives("doubled")})
    plan = child_plan(DOUBLE, step("report", "doubled", "text"), total, of="total", n=1)
    assert list(plan.steps) == ["double", "report"]


def test_a_goal_that_only_its_own_flow_step_could_provide_for_is_refused() -> None:
    total = sub("total", "report", gives("sum"))
    with pytest.raises(InvalidInput, match="flow step `total`: its goals need `sum`"):
        plan_of(step("report", "sum", "text"), total, goals="total")


def test_steps_of_children_count_for_the_size_of_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_family, "MAX_PLAN_STEPS", 3)
    others = [sub(f"twice{n}", "double", {"x": named("n")}) for n in range(2)]
    with pytest.raises(InvalidInput, match="the plan has 4 steps with its sub-flows"):
        plan_of(DOUBLE, *others, goals="twice0 twice1", x=1)


def test_the_plan_of_a_child_has_one_hash_wherever_it_is_read() -> None:
    plan = plan_of(DOUBLE, TWICE, goals="twice", x=1)
    again = plan_from_json(plan_to_json(plan))
    names = [PlanBook().name(each.children[StepId("twice")]) for each in (plan, again)]
    assert names[0] == names[1]


def test_a_plan_of_a_child_that_left_the_book_is_named_again() -> None:
    book, plan = PlanBook(), plan_of(DOUBLE, TWICE, goals="twice", x=1)
    child = plan.children[StepId("twice")]
    hash = book.name(child)
    for n in range(300):
        book.add(plan_of(step(f"s{n}"), goals=f"s{n}"))
    assert (book.name(child), book.bytes_of(hash)) == (hash, encode(plan_to_json(child)))


# ------------------------------------------------------------------------ names


def test_a_child_is_named_by_its_parent_its_step_and_its_token() -> None:
    assert parent_of(child_id("a:b:c", "s", "t")) == Parent("a:b:c", StepId("s"), Token("t"))


def test_a_root_is_nobodys_child() -> None:
    assert parent_of("order-1") is None


# ---------------------------------------------------------------------- deciding


def twice(**fields: Any) -> World:
    """A flow whose only step has a child, which is accepted."""
    world = World(DOUBLE, {**TWICE, **fields}, goals="twice", x=3)
    world.accept("twice")
    return world


def many(count: int = 3, **work: Any) -> World:
    """A flow with a child for each of several items, all accepted."""
    flow_step = sub("twice", "double", {"x": each("n"), **gives("y", "doubled")}, work_config=work)
    world = World(DOUBLE, flow_step, goals="twice", x=list(range(count)))
    for item in range(min(count, world.run("twice").active)):
        world.accept("twice", item=item)
    return world


def word(
    world: World, outcome: Succeeded | Broken, *, item: int = 0, attempt: int | None = None
) -> list[str]:
    """The child of an item tells what it came to."""
    return world.report("twice", outcome, item=item, attempt=attempt, by=CHILD)


def cancel_of(world: World, item: int = 0) -> str:
    return f"{child_id('f1', 'twice', world.token('twice', item))} cancel"


def test_a_childs_result_is_its_items_outputs() -> None:
    world = twice()
    word(world, Succeeded({"doubled": 6}))
    assert world.values("y") == [6]


def test_what_a_child_says_came_from_outside() -> None:
    world = twice()
    word(world, Succeeded({"doubled": 6}))
    told = world.last("work_succeeded")
    assert (told.cause, told.by) == (0, CHILD)


def test_a_mapped_output_that_a_child_did_not_give_fails_its_item_for_good() -> None:
    lines = word(twice(), Succeeded({"other": 6}))
    missing = 'a mapped output is missing: the sub-flow gave no "doubled", so there is no "y"'
    assert lines[0] == f"work_failed twice #1: {missing}"


def test_a_failed_child_fails_its_item_for_good() -> None:
    assert word(twice(), Broken("the sub-flow failed: no"))[:2] == [
        "work_failed twice #1: the sub-flow failed: no",
        "step_failed twice: the sub-flow failed: no",
    ]


@pytest.mark.contract("children", "A child's outcome speaks for its token, whatever the attempt.")
def test_a_childs_failure_speaks_for_its_token_whatever_the_attempt() -> None:
    world = World(DOUBLE, TWICE, goals="twice", x=3)
    world.lose("twice")
    assert word(world, Broken("no"), attempt=1)[0] == "work_failed twice #1: no"


def test_a_childs_word_asks_for_no_cancel() -> None:
    world = twice()
    word(world, Broken("no"))
    assert world.control == []


def test_a_childs_word_that_comes_twice_is_ignored_on_record() -> None:
    world = twice()
    word(world, Succeeded({"doubled": 6}))
    word(world, Succeeded({"doubled": 6}))
    assert world.answer.counted is False


def test_a_flow_step_that_is_not_completed_fails_for_good() -> None:
    world = twice()
    assert world.report("twice", Unfinished("later"), by=OPERATOR)[0] == "work_failed twice #1: later"


@pytest.mark.contract("children", "A flow step that times out fails for good: there is no second child.")
def test_a_flow_step_that_times_out_fails_for_good() -> None:
    assert twice(work_config={"timeout": 50}).wait(50)[0] == "work_failed twice #1: timed out"


def test_a_flow_step_that_times_out_cancels_its_child() -> None:
    world = twice(work_config={"timeout": 50})
    world.wait(50)
    assert world.control == [cancel_of(world)]


def test_an_item_completed_from_outside_cancels_its_child() -> None:
    world = twice()
    world.complete("twice", doubled=6)
    assert world.control == [cancel_of(world)]


def test_an_item_that_took_an_earlier_success_has_no_child_to_cancel() -> None:
    world = World(DOUBLE, TWICE, goals="twice", x=3)
    world.report("twice", Succeeded({"doubled": 6}, memo=True))
    assert world.control == []


def test_a_later_attempt_that_took_an_earlier_success_cancels_the_child_of_the_first() -> None:
    world = World(DOUBLE, TWICE, goals="twice", x=3)
    world.lose("twice")
    world.report("twice", Succeeded({"doubled": 6}, memo=True))
    assert world.control == [cancel_of(world)]


def test_a_flow_that_is_cancelled_cancels_its_children() -> None:
    world = many(parallelism=3)
    world.cancel()
    assert world.control == [cancel_of(world, item) for item in range(3)]


def test_a_step_that_fails_cancels_its_other_children() -> None:
    world = many(parallelism=3)
    word(world, Broken("no"), item=1)
    assert world.control == [cancel_of(world, 0), cancel_of(world, 2)]


def test_a_step_that_runs_all_its_items_cancels_none_when_one_has_failed() -> None:
    world = many(parallelism=3, on_failure="finish")
    word(world, Broken("no"), item=1)
    assert world.control == []


def test_a_flow_with_more_children_than_a_turn_ends_cancels_them_in_turns() -> None:
    world = many(130, parallelism=130)
    world.look_on()
    for item in range(100, 130):
        world.accept("twice", item=item)
    world.cancel()
    first, world.control = world.control, []
    assert (len(first), first[-1]) == (101, "f1 children twice 100")


def test_the_rest_of_the_children_is_cancelled_by_the_next_turn() -> None:
    world = many(130, parallelism=130)
    world.look_on()
    for item in range(100, 130):
        world.accept("twice", item=item)
    world.cancel()
    world.control.clear()
    world.say(CancelChildren(TIMER, StepId("twice"), 100))
    assert world.control == [cancel_of(world, item) for item in range(100, 130)]


@pytest.mark.contract("children", "A child that starts too late is cancelled in the commit that accepts it.")
def test_an_acceptance_after_the_flows_outcome_cancels_the_child_in_the_same_commit() -> None:
    world = World(DOUBLE, TWICE, goals="twice", x=3)
    world.cancel()
    assert (world.accept("twice"), world.control) == (["work_accepted twice #1"], [cancel_of(world)])


def test_an_acceptance_after_its_items_outcome_cancels_the_child() -> None:
    world = World(DOUBLE, TWICE, goals="twice", x=3)
    world.complete("twice", doubled=1)
    world.control.clear()
    assert (world.accept("twice"), world.control) == ([], [cancel_of(world)])


def test_an_item_given_up_after_its_engine_was_lost_cancels_what_it_may_have_started() -> None:
    world = World(DOUBLE, TWICE, goals="twice", x=3)
    world.cancel()
    world.lose("twice")
    assert world.control == [cancel_of(world)]


def test_an_accepted_item_is_not_lost_with_its_engine() -> None:
    assert twice().lose("twice") == []


def test_an_item_whose_child_does_not_exist_counts_as_lost() -> None:
    world = twice()
    lost = Lose(TIMER, world.token("twice"), 1, is_child_absent=True)
    assert world.say(lost) == ["work_started twice #2 lost"]


# ------------------------------------------------------------------------ children


class Child(World):
    """The child of the only item of a flow."""

    def __init__(self, parent: World) -> None:
        vars(self).update(vars(World(step("nothing"), goals="nothing")))
        item = parent.item("twice")
        assert item is not None
        start = start_of(parent.flow, item, {"n": 3}, plan_hash="hash", by="start:e1")
        self.flow = Flow(child_id("f1", "twice", item.token))
        self.log, self.work, self.control, self.due = [], {}, [], {}
        self.started = start
        self.first = self.say(start)

    def token(self, step: str, item: int = 0) -> Any:
        return self.flow.token(StepId(step), item)


def started() -> Start:
    return Child(twice()).started


def test_a_child_starts_with_each_input_as_an_initial_value() -> None:
    assert started().init == {"n": [3]}


def test_a_child_says_whose_it_is() -> None:
    parent = twice()
    assert Child(parent).flow.metadata == {
        "parent_flow_id": "f1",
        "parent_step_id": "twice",
        "parent_token": parent.token("twice"),
    }


def test_a_childs_tokens_are_not_its_parents() -> None:
    assert started().seed != twice().flow.seed


def test_a_child_that_completes_tells_its_parent() -> None:
    parent = twice()
    child = Child(parent)
    child.succeed("double", doubled=6)
    assert child.control == [f"f1 child twice {parent.token('twice')} {child.last('flow_completed').version}"]


def test_a_child_that_fails_tells_its_parent() -> None:
    parent = twice()
    child = Child(parent)
    child.say(Cancel(CHILD))
    assert child.control == [f"f1 child twice {parent.token('twice')} {child.last('flow_failed').version}"]


def test_a_root_tells_nobody() -> None:
    world = World(DOUBLE, goals="double", n=3)
    world.succeed("double", doubled=6)
    assert world.control == []


def test_a_completed_child_means_its_result() -> None:
    parent = twice()
    child = Child(parent)
    child.succeed("double", doubled=6)
    assert outcome_of(child.flow, Parent("f1", StepId("twice"), parent.token("twice"))) == Succeeded(
        {"doubled": 6}
    )


def test_a_failed_child_means_its_error() -> None:
    parent = twice()
    child = Child(parent)
    child.fail("double", "no")
    assert outcome_of(child.flow, Parent("f1", StepId("twice"), parent.token("twice"))) == Broken(
        'the sub-flow failed: goal "double" failed: no'
    )


def test_a_child_without_an_outcome_means_nothing_yet() -> None:
    parent = twice()
    assert outcome_of(Child(parent).flow, Parent("f1", StepId("twice"), parent.token("twice"))) is None


def test_another_flow_under_a_childs_id_fails_its_item() -> None:
    child = Child(twice()).flow
    child.metadata = {}
    outcome = outcome_of(child, Parent("f1", StepId("twice"), twice().token("twice")))
    assert outcome == Broken(f'flow "{child.id}" exists, and was not started by this step')


def test_metadata_names_flow_step_and_token() -> None:
    assert list(metadata_for(Parent("f", StepId("s"), started().metadata["parent_token"]))) == [
        "parent_flow_id",
        "parent_step_id",
        "parent_token",
    ]


def test_a_child_is_waited_for_until_its_item_is_over() -> None:
    world = twice()
    parent = Parent("f1", StepId("twice"), world.token("twice"))
    before = is_waited_for(world.flow, parent)
    word(world, Broken("no"))
    assert (before, is_waited_for(world.flow, parent)) == (True, False)


def test_a_child_of_a_flow_that_is_over_is_not_waited_for() -> None:
    world = twice()
    world.cancel()
    assert not is_waited_for(world.flow, Parent("f1", StepId("twice"), world.token("twice")))


# ----------------------------------------------------------------------------- why


def why(world: World) -> list[str]:
    return [clause.text for clause in explain("f1", world.log, "twice", now_ms=world.now_ms).clauses]


def test_a_step_that_waits_for_a_child_says_for_which() -> None:
    world = twice()
    child = child_id("f1", "twice", world.token("twice"))
    assert f"attempt 1 waits for its child flow `{child}`, started 0 ms ago" in why(world)


def test_a_step_that_failed_by_a_child_says_by_which() -> None:
    world = twice()
    word(world, Broken("the sub-flow failed: no"))
    assert f"the child flow is `{child_id('f1', 'twice', world.token('twice'))}`" in why(world)
