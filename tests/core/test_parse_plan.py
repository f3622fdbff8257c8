"""A plan from outside passes only when it is what this package would have written."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from definitions import catalog, step

from argyll_redis.core.model import RetryDefaults, StepId
from argyll_redis.core.parse_plan import parse_plan
from argyll_redis.core.plan import make_plan
from argyll_redis.core.plan_json import plan_to_json
from argyll_redis.errors import InvalidInput

STEPS = catalog(step("load", "id", "order"), step("bill", "order", "receipt"))
PLAN = plan_to_json(make_plan(STEPS, [StepId("bill")], {"id": [7]}, RetryDefaults()))
Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> dict[str, Any]:
    plan = copy.deepcopy(PLAN)
    change(plan)
    return plan


def nested(levels: int) -> dict[str, Any]:
    """A plan within a plan, so many levels deep."""
    plan = copy.deepcopy(PLAN)
    for _ in range(levels):
        plan = {**copy.deepcopy(PLAN), "children": {"load": plan}}
    return plan


def test_a_plan_of_our_own_passes_in_any_order_of_its_keys() -> None:
    backwards = dict(reversed(PLAN.items()))
    assert plan_to_json(parse_plan(backwards)) == PLAN
    assert plan_to_json(parse_plan(nested(8))) == nested(8)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda plan: plan.pop("why"), "plan: is not an object with"),
        (lambda plan: plan.update(more=1), "plan: is not an object with"),
        (lambda plan: plan.update(goals="bill"), "plan.goals"),
        (lambda plan: plan.update(required=[1]), "plan.required"),
        (lambda plan: plan.update(steps=[]), "plan.steps"),
        (lambda plan: plan.update(children={"load": 1}), "plan.children"),
        (lambda plan: plan["attributes"]["id"].pop("consumers"), "plan.attributes"),
        (lambda plan: plan["excluded"].pop("missing"), "plan.excluded"),
        (lambda plan: plan["excluded"].update(missing={"load": "x"}), "plan.excluded"),
        (lambda plan: plan["why"].update(load=1), "plan.why"),
        (lambda plan: plan["steps"].update(load=1), "plan.steps"),
        (lambda plan: plan["steps"].update(load={}), "plan.steps.load.id"),
        (lambda plan: plan["steps"]["load"].update(id="other"), "plan.steps.load: is not a step with every"),
        (lambda plan: plan["steps"]["load"].pop("labels"), "plan.steps.load: is not a step with every"),
        (lambda plan: plan["steps"]["load"]["work_config"].pop("max_retries"), "plan.steps.load: is not a"),
        (lambda plan: plan["steps"]["load"].update(type="sink"), "plan.steps.load.type"),
        (lambda plan: plan.update(children={"load": {}}), "plan.children.load: is not an object with"),
    ],
)
def test_what_is_no_plan_is_refused_with_its_place(change: Change, place: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_plan(changed(change))
    assert str(refusal.value).startswith(place)


def test_steps_that_depend_on_each_other_are_refused() -> None:
    needs_bill = catalog(step("load", "receipt", "order"))
    around = plan_to_json(make_plan(needs_bill, [StepId("load")], {"receipt": [1]}, RetryDefaults()))
    plan = changed(lambda plan: plan["steps"].update(load=around["steps"]["load"]))
    with pytest.raises(InvalidInput, match="has steps that depend on each other"):
        parse_plan(plan)


def test_too_many_steps_or_levels_are_refused_without_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="more than 8 deep"):
        parse_plan(nested(9))
    monkeypatch.setattr("argyll_redis.core.parse_plan.MAX_PLAN_STEPS", 1)
    with pytest.raises(InvalidInput, match=r"plan\.steps: are more than 1"):
        parse_plan(PLAN)


@pytest.mark.parametrize("data", [None, 1, "plan", [], {}, {"goals": []}])
def test_what_is_not_even_like_a_plan_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInput, match="plan: is not an object"):
        parse_plan(data)
