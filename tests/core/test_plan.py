"""Planning: each rule by example, and all of them against a naive reading of the same rules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from definitions import catalog, catalog_of, optional, required, step
from hypothesis import given, settings
from hypothesis import strategies as st

from argyll_redis.core.catalog import Catalog
from argyll_redis.core.limits import MAX_PLAN_STEPS
from argyll_redis.core.model import Attribute, AttributeUse, Collect, Plan, RetryDefaults, Role, Step
from argyll_redis.core.plan import make_plan, plan_from_json, plan_to_json, preview
from argyll_redis.errors import ArgyllError, InvalidCatalog, InvalidInput, NoGoals, UnknownGoal

DEFAULTS = RetryDefaults()
ORDER = step("order", "order_id", "order")
CUSTOMER = step("customer", "customer_id", "customer")
PRICE = step("price", "order customer", "total")
RECEIPT = step("receipt", "total", "receipt")
SHOP = catalog(RECEIPT, PRICE, CUSTOMER, ORDER, step("report", "total", "report"))


def matches(value: Any) -> bool:
    """The one match of these tests, as `definitions.MATCH` says it."""
    return value is True


def gate_open(step: Step, attribute: Attribute, values: Sequence[Any]) -> bool:
    passed = [matches(value) for value in values]
    if attribute.collect is Collect.NONE:
        return not any(passed)
    return all(passed) if attribute.collect is Collect.ALL else any(passed)


def planned(known: Catalog, goals: str, init: str | Mapping[str, Any] = "", **options: Any) -> Plan:
    """The plan for goals and initial names (or values), both blank-separated."""
    values = {name: [1] for name in init.split()} if isinstance(init, str) else init
    return make_plan(known, goals.split(), values, DEFAULTS, gate_open=gate_open, **options)


def shown(known: Catalog, goals: str, init: str | Mapping[str, Any] = "") -> Plan:
    """The preview, likewise."""
    values = {name: [1] for name in init.split()} if isinstance(init, str) else init
    return preview(known, goals.split(), values, DEFAULTS, gate_open=gate_open)


def names(plan: Plan) -> str:
    """The ids of the plan's steps."""
    return " ".join(plan.steps)


# ------------------------------------------------------------------------- rule 1


def test_no_goals_are_refused() -> None:
    with pytest.raises(NoGoals):
        planned(SHOP, "")


def test_an_unknown_goal_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(UnknownGoal, match=r"`prise` is not a registered step \(did you mean `price`\?\)"):
        planned(SHOP, "receipt prise")
    with pytest.raises(UnknownGoal, match=r"`x` is not a registered step \(register it first\)"):
        planned(Catalog(), "x")


def test_too_many_goals_are_refused() -> None:
    known = catalog(*(step(f"g{number}") for number in range(65)))
    with pytest.raises(InvalidInput, match=r"goals: 65 goals \(use at most 64\)"):
        planned(known, " ".join(f"g{number}" for number in range(65)))
    assert len(planned(known, " ".join(f"g{number}" for number in range(64))).goals) == 64


def test_too_large_a_plan_is_refused() -> None:
    known = catalog(*(step(f"s{n}", f"a{n}", f"a{n + 1}") for n in range(MAX_PLAN_STEPS + 1)))
    with pytest.raises(InvalidInput, match=r"the plan has 5,001 steps \(at most 5,000\)"):
        planned(known, f"s{MAX_PLAN_STEPS}", "a0")
    assert len(planned(known, f"s{MAX_PLAN_STEPS - 1}", "a0").steps) == MAX_PLAN_STEPS


# ------------------------------------------------------------------- rules 2 and 3


def test_a_plan_has_what_the_goal_needs_and_nothing_else() -> None:
    plan = planned(SHOP, "receipt", "order_id customer_id")
    assert (names(plan), plan.required) == ("customer order price receipt", ())
    assert plan.attributes == {
        "customer": AttributeUse(("customer",), ("price",)),
        "customer_id": AttributeUse((), ("customer",)),
        "order": AttributeUse(("order",), ("price",)),
        "order_id": AttributeUse((), ("order",)),
        "receipt": AttributeUse(("receipt",), ()),
        "total": AttributeUse(("price",), ("receipt",)),
    }
    assert plan.why == {
        "customer": "provides `customer`, which `price` needs",
        "order": "provides `order`, which `price` needs",
        "price": "provides `total`, which `receipt` needs",
        "receipt": "goal",
    }


def test_goals_keep_their_order_and_are_named_once() -> None:
    plan = planned(SHOP, "report receipt report", "total")
    assert (plan.goals, names(plan)) == (("report", "receipt"), "receipt report")


def test_an_initial_value_satisfies_first_and_its_providers_are_left_out() -> None:
    plan = planned(SHOP, "receipt", "order_id customer")
    assert names(plan) == "order price receipt"
    assert plan.excluded == {"satisfied": {"customer": ("customer",)}, "missing": {}, "blocked": {}}
    assert plan.why["customer"] == "left out: its outputs are given initially"


def test_a_provider_left_out_for_one_of_its_outputs_says_which() -> None:
    plan = planned(catalog(step("p", gives="a b"), step("g", "a", "c")), "g", "a")
    assert plan.excluded["satisfied"] == {"p": ("a",)}
    assert plan.why["p"] == "left out: `a` is given initially"


def test_steps_left_out_are_listed_by_id_not_by_when_they_were_found() -> None:
    known = catalog(step("p2", gives="a"), step("p1", gives="b"), step("g", "a b", "c"))
    assert list(planned(known, "g", "a b").excluded["satisfied"]) == ["p1", "p2"]


def test_a_name_without_values_is_not_given() -> None:
    assert names(planned(SHOP, "customer", {"customer_id": []})) == "customer"
    assert planned(SHOP, "customer", {"customer_id": []}).required == ("customer_id",)
    assert planned(SHOP, "customer", {"customer": [], "customer_id": [1]}).excluded["satisfied"] == {}


def test_all_satisfiable_providers_join_and_the_others_are_left_out_with_what_they_lack() -> None:
    known = catalog(
        step("fast", "cache", "x"), step("slow", "id", "x"), step("safe", "id", "x"), step("g", "x", "y")
    )
    plan = planned(known, "g", "id")
    assert (names(plan), plan.required) == ("g safe slow", ())
    assert plan.excluded == {"satisfied": {}, "missing": {"fast": ("cache",)}, "blocked": {}}
    assert plan.why["fast"] == "left out: cannot be reached, needs `cache`"


def test_providers_of_an_optional_input_join_when_they_are_satisfiable() -> None:
    known = catalog(step("p", "id", "x"), step("q", "no", "z"), step("g", may="x z", gives="y"))
    plan = planned(known, "g", "id")
    assert (names(plan), plan.required) == ("g p", ())
    assert plan.why == {
        "g": "goal",
        "p": "provides `x`, which `g` can use",
        "q": "left out: cannot be reached, needs `no`",
    }


def test_an_optional_input_that_nobody_provides_is_not_required() -> None:
    plan = planned(catalog(step("g", may="x", gives="y")), "g")
    assert (names(plan), plan.required, plan.attributes["x"]) == ("g", (), AttributeUse((), ("g",)))


def test_consts_and_metas_are_no_part_of_planning() -> None:
    known = catalog(
        step("p", gives="c m"),
        step(
            "g",
            gives="y",
            attributes={
                "c": {"role": "const", "const": {"value": "1"}},
                "m": {"role": "meta", "meta": {"key": "attempt"}},
            },
        ),
    )
    assert names(planned(known, "g")) == "g"


@pytest.mark.contract("planning", "All policies but `first` keep their providers beside an initial value.")
@pytest.mark.parametrize("collect", ["last", "some", "all"])
def test_policies_beyond_first_keep_their_providers_beside_an_initial_value(collect: str) -> None:
    known = catalog(step("p", gives="x"), step("g", gives="y", attributes={"x": required(collect)}))
    plan = planned(known, "g", "x")
    assert (names(plan), plan.required) == ("g p", ())
    assert plan.why["p"] == "provides `x`, which `g` needs"


@pytest.mark.parametrize("collect", ["last", "some", "all"])
def test_an_initial_value_alone_satisfies_policies_beyond_first(collect: str) -> None:
    known = catalog(step("g", gives="y", attributes={"x": required(collect)}))
    assert planned(known, "g", "x").required == ()
    assert planned(known, "g").required == ("x",)


@pytest.mark.contract("planning", "`all` needs every provider to be reachable.")
def test_all_needs_every_provider_satisfiable() -> None:
    known = catalog(
        step("p", gives="x"), step("q", "no", "x"), step("g", gives="y", attributes={"x": required("all")})
    )
    plan = planned(known, "g", "x")
    assert (names(plan), plan.required) == ("g p", ("x",))
    assert planned(known, "g", "no").required == ()
    assert shown(known, "g").required == ("no",)


@pytest.mark.contract(
    "planning", "An input that must not come is never required, and its providers are planned."
)
@pytest.mark.parametrize("spec", [required("none"), optional("none")])
def test_a_none_input_is_never_required_and_its_providers_join(spec: Any) -> None:
    known = catalog(step("p", gives="x"), step("g", gives="y", attributes={"x": spec}))
    plan = planned(known, "g")
    assert (names(plan), plan.required) == ("g p", ())
    assert plan.why["p"] == "provides `x`, which `g` must not get"
    assert planned(catalog(step("g", gives="y", attributes={"x": spec})), "g").required == ()


@pytest.mark.contract("planning", "An initial value blocks the step that must not have it.")
def test_an_initial_value_blocks_the_step_that_requires_none() -> None:
    known = catalog(step("p", gives="z", attributes={"x": required("none")}), step("g", "z", "y"))
    plan = planned(known, "g", "x")
    assert (names(plan), plan.required) == ("g", ("z",))
    assert plan.excluded == {"satisfied": {}, "missing": {}, "blocked": {"p": ("x",)}}
    assert plan.why["p"] == "left out: it runs only without `x`, given initially"
    assert planned(known, "p", "x").why["p"] == "goal, but it runs only without `x`, given initially"
    assert (planned(known, "g").required, names(planned(known, "g"))) == ((), "g p")


def test_an_initial_value_does_not_block_a_step_with_an_optional_none_input() -> None:
    known = catalog(step("p", gives="z", attributes={"x": optional("none")}), step("g", "z", "y"))
    assert names(planned(known, "g", "x")) == "g p"


# -------------------------------------------------------------------------- rule 4


def test_a_required_input_with_neither_value_nor_provider_is_required() -> None:
    plan = planned(SHOP, "receipt report", "order_id")
    assert (names(plan), plan.required) == ("receipt report", ("total",))
    assert plan.excluded["missing"] == {"price": ("customer",)}
    assert plan.why["price"] == "left out: cannot be reached, needs `customer`"


@pytest.mark.contract(
    "planning", "A preview walks what cannot be reached, down to the leaves that are missing."
)
def test_a_preview_names_the_leaves_that_are_missing() -> None:
    plan = shown(SHOP, "receipt", "order_id")
    assert (names(plan), plan.required) == ("customer order price receipt", ("customer_id",))
    assert plan.why == {
        "customer": "could provide `customer`, which `price` needs, but needs `customer_id`",
        "order": "provides `order`, which `price` needs",
        "price": "could provide `total`, which `receipt` needs, but needs `customer`",
        "receipt": "goal",
        "report": "left out: no goal needs what it provides",
    }


def test_a_preview_takes_no_unsatisfiable_provider_beside_a_satisfiable_one() -> None:
    known = catalog(step("p", gives="x"), step("q", "no", "x"), step("g", "x", "y"))
    plan = shown(known, "g")
    assert (names(plan), plan.required, plan.excluded["missing"]) == ("g p", (), {"q": ("no",)})


def test_a_preview_requires_what_only_a_blocked_step_provides() -> None:
    known = catalog(step("p", gives="z", attributes={"x": required("none")}), step("g", "z", "y"))
    plan = shown(known, "g", "x")
    assert (names(plan), plan.required, plan.excluded["blocked"]) == ("g", ("z",), {"p": ("x",)})


def test_a_preview_says_why_for_every_registered_step_and_a_plan_only_for_those_considered() -> None:
    known = catalog(ORDER, CUSTOMER, step("lonely"), step("g", "order", "y"))
    assert planned(known, "g", "order").why == {
        "g": "goal",
        "order": "left out: its outputs are given initially",
    }
    assert shown(known, "g", "order").why == {
        "customer": "left out: no goal needs what it provides",
        "g": "goal",
        "lonely": "left out: it is no goal and provides nothing",
        "order": "left out: its outputs are given initially",
    }


# -------------------------------------------------------------------------- rule 5


def test_a_goal_whose_outputs_are_all_given_is_left_out_with_all_that_only_it_needs() -> None:
    plan = planned(SHOP, "price", "total")
    assert (names(plan), plan.goals, plan.required) == ("", ("price",), ())
    assert plan.excluded == {"satisfied": {"price": ("total",)}, "missing": {}, "blocked": {}}
    assert plan.why == {"price": "left out: its outputs are given initially"}
    assert plan.attributes == {}


def test_a_goal_with_an_output_that_is_not_given_stays() -> None:
    assert names(planned(catalog(step("g", gives="a b")), "g", "a")) == "g"


@pytest.mark.contract("planning", "A goal without outputs is never left out.")
def test_a_goal_without_outputs_is_never_left_out() -> None:
    assert names(planned(catalog(step("g", "a")), "g", "a")) == "g"


@pytest.mark.contract(
    "planning", "A goal whose outputs are given stays in the plan when a consumer needs it."
)
def test_a_goal_whose_outputs_are_given_stays_when_a_consumer_needs_it() -> None:
    known = catalog(step("p", gives="x"), step("g", gives="y", attributes={"x": required("last")}))
    for goals in ("p g", "g p"):
        plan = planned(known, goals, "x")
        assert (names(plan), plan.excluded["satisfied"]) == ("g p", {})
        assert plan.why == {"g": "goal", "p": "provides `x`, which `g` needs"}
    assert names(planned(known, "p", "x")) == ""


def test_a_provider_whose_outputs_are_all_given_stays_when_a_consumer_needs_it() -> None:
    known = catalog(step("p", gives="x"), step("g", gives="y", attributes={"x": required("some")}))
    assert names(planned(known, "g", "x")) == "g p"


# -------------------------------------------------------------------------- rule 6

GATED = step("g", "a", "y", attributes={"x": required(match=True)})


@pytest.mark.parametrize(
    ("collect", "values", "provider", "closed"),
    [
        ("first", [True], False, False),
        ("first", [False, True], False, False),
        ("first", [False], False, True),
        ("first", [False], True, False),
        ("last", [False], False, True),
        ("some", [False, True], False, False),
        ("all", [True, False], True, True),
        ("all", [True], True, False),
        ("none", [True], True, True),
        ("none", [False], True, False),
    ],
)
def test_a_gate_is_closed_when_no_later_value_can_open_it(
    collect: str, values: list[Any], provider: bool, closed: bool
) -> None:
    gated = step("g", "a", "y", attributes={"x": required(collect, match=True)})
    known = catalog(gated, step("a", gives="a"), *([step("p", gives="x")] if provider else []))
    plan = planned(known, "g", {"x": values})
    assert ("gate" in plan.why["g"], "a" in plan.steps) == (closed, not closed)
    assert plan.required == ()


@pytest.mark.contract(
    "planning", "Behind a gate that the values have closed nothing else is planned, and the step stays."
)
def test_a_goal_behind_a_closed_gate_stays_and_its_other_inputs_are_not_walked() -> None:
    plan = planned(catalog(GATED, step("a", "id", "a")), "g", {"x": [False]})
    assert (names(plan), plan.required) == ("g", ())
    assert plan.why["g"] == "goal, but the initial values close its gate on `x`"


@pytest.mark.contract("planning", "A step behind a closed gate is nobody's provider.")
def test_a_step_behind_a_closed_gate_makes_nobody_satisfiable() -> None:
    known = catalog(GATED, step("h", "y", "z"))
    plan = planned(known, "h", {"x": [False], "a": [1]})
    assert (names(plan), plan.required) == ("h", ("y",))
    assert plan.excluded["blocked"] == {"g": ("x",)}
    assert plan.why["g"] == "left out: the initial values close its gate on `x`"


@pytest.mark.contract("planning", "An initial value that a gate refuses spares no provider.")
def test_an_initial_value_that_the_gate_refuses_does_not_spare_the_providers() -> None:
    known = catalog(GATED, step("p", gives="x"))
    assert names(planned(known, "g", {"x": [False], "a": [1]})) == "g p"
    assert names(planned(known, "g", {"x": [True], "a": [1]})) == "g"


def test_without_a_gate_function_gates_let_every_value_through() -> None:
    plan = make_plan(catalog(GATED), ["g"], {"x": [False], "a": [1]}, DEFAULTS)
    assert (names(plan), plan.why["g"]) == ("g", "goal")


# ------------------------------------------------------------------- what is made of it


def test_the_steps_of_a_plan_have_the_retry_defaults_of_who_plans() -> None:
    known = catalog(step("g", work_config={"init_backoff": 5}))
    work = make_plan(known, ["g"], {}, RetryDefaults(max_retries=3)).steps["g"].work  # type: ignore[index]
    assert (work.max_retries, work.init_backoff_ms, work.left_out) == (3, 5, frozenset())


def test_consumers_come_before_their_providers_in_rank_and_ties_by_id() -> None:
    plan = planned(SHOP, "receipt report", "order_id customer_id")
    assert sorted(plan.rank, key=plan.rank.__getitem__) == ["receipt", "report", "price", "customer", "order"]


def test_a_plan_as_json_has_the_shape_of_the_contract() -> None:
    plan = plan_to_json(planned(SHOP, "price", "order_id customer"))
    assert {**plan, "steps": list(plan["steps"])} == {
        "goals": ["price"],
        "required": [],
        "steps": ["order", "price"],
        "children": {},
        "attributes": {
            "customer": {"providers": [], "consumers": ["price"]},
            "order": {"providers": ["order"], "consumers": ["price"]},
            "order_id": {"providers": [], "consumers": ["order"]},
            "total": {"providers": ["price"], "consumers": []},
        },
        "excluded": {"satisfied": {"customer": ["customer"]}, "missing": {}, "blocked": {}},
        "why": {
            "customer": "left out: its outputs are given initially",
            "order": "provides `order`, which `price` needs",
            "price": "goal",
        },
    }
    assert list(plan["steps"]["price"]["work_config"])[:3] == ["parallelism", "max_retries", "init_backoff"]


def test_steps_that_depend_on_each_other_are_refused_and_never_a_loop() -> None:
    known = catalog(step("a", "x", "y"), step("b", "y", "x"))
    with pytest.raises(InvalidCatalog, match="cycle"):
        planned(known, "a")


# ----------------------------------------------------------------- a naive reading


class Rules:
    """The rules of docs/planning.md, sentence by sentence, with sets and repetition until nothing changes."""

    def __init__(self, steps: Mapping[str, Step], init: Mapping[str, list[Any]]) -> None:
        self.steps = steps
        self.init = init
        self.satisfiable: set[str] = set()
        self.until_fixed(self.satisfiable, self.newly_satisfiable)

    def until_fixed(self, found: set[str], more: Any) -> None:
        while not more() <= found:
            found |= more()

    def providers(self, name: str) -> set[str]:
        return {id for id, each in self.steps.items() if name in {output.name for output in each.outputs}}

    def passing(self, attribute: Attribute) -> list[Any]:
        given = self.init.get(attribute.name, [])
        return [value for value in given if attribute.match is None or matches(value)]

    def closed(self, attribute: Attribute) -> bool:
        """A match gate that the initial values have closed."""
        given, passing = self.init.get(attribute.name, []), self.passing(attribute)
        if attribute.match is None or not given:
            return False
        if attribute.collect is Collect.NONE:
            return passing != []
        if attribute.collect is Collect.ALL:
            return passing != given
        return passing == [] and not self.providers(attribute.name) & self.satisfiable

    def satisfied(self, attribute: Attribute) -> bool:
        providers = self.providers(attribute.name)
        if attribute.collect is Collect.NONE:
            return not self.passing(attribute)
        if attribute.collect is Collect.ALL:
            every = providers <= self.satisfiable and not self.closed(attribute)
            return every and bool(providers or self.passing(attribute))
        return bool(self.passing(attribute) or providers & self.satisfiable)

    def required(self, id: str) -> list[Attribute]:
        return [each for each in self.steps[id].inputs if each.role is Role.REQUIRED]

    def newly_satisfiable(self) -> set[str]:
        return {id for id in self.steps if all(self.satisfied(each) for each in self.required(id))}

    def plan(self, goals: Sequence[str]) -> tuple[set[str], set[str]]:
        """The steps of the plan, and the required names."""
        found = {goal for goal in goals if not self.left_out(goal)}
        self.until_fixed(found, lambda: found.union(*map(self.needed_by, found)))
        walked = [each for id in found if self.is_walked(id) for each in self.required(id)]
        return found, {
            each.name for each in walked if not self.satisfied(each) and each.collect is not Collect.NONE
        }

    def left_out(self, goal: str) -> bool:
        outputs = {output.name for output in self.steps[goal].outputs}
        return outputs != set() and outputs <= {name for name, values in self.init.items() if values}

    def is_walked(self, id: str) -> bool:
        return not any(self.closed(each) for each in self.required(id))

    def needed_by(self, id: str) -> set[str]:
        if not self.is_walked(id):
            return set()
        open_inputs = [
            each
            for each in self.steps[id].inputs
            if each.collect is not Collect.FIRST or not self.passing(each)
        ]
        return set[str]().union(*(self.providers(each.name) & self.satisfiable for each in open_inputs))


NAMES = [f"n{number}" for number in range(7)]


@st.composite
def situations(draw: st.DrawFn, collects: Sequence[str] = tuple(Collect), gates: bool = True) -> Any:
    """An acyclic set of definitions in any order, goals among them, and initial values."""
    definitions: list[dict[str, Any]] = []
    ids = draw(st.permutations([f"s{number}" for number in range(draw(st.integers(1, 8)))]))
    for id in ids:
        level = draw(st.integers(0, len(NAMES)))
        inputs = draw(st.sets(st.sampled_from(NAMES[:level]), max_size=3)) if level else set[str]()
        outputs = draw(st.sets(st.sampled_from(NAMES[level:]), max_size=2)) if level < len(NAMES) else set()
        specs: dict[str, Any] = {}
        for name in sorted(inputs):
            collect = draw(st.sampled_from(collects))
            gated = gates and draw(st.booleans())
            specs[name] = draw(st.sampled_from([required(collect, match=gated), optional(collect)]))
        definitions.append(step(id, gives=" ".join(sorted(outputs)), attributes=specs))
    goals = draw(st.lists(st.sampled_from(ids), min_size=1, max_size=3, unique=True))
    values = st.lists(st.sampled_from([True, False]), max_size=2)
    init = draw(st.dictionaries(st.sampled_from(NAMES), values, max_size=3))
    return definitions, goals, init


@pytest.mark.contract("planning", "Whatever is registered, a plan is what the rules give, read word by word.")
@settings(max_examples=100, deadline=None)
@given(situations())
def test_a_plan_is_what_a_naive_reading_of_the_rules_gives(situation: Any) -> None:
    definitions, goals, init = situation
    known = catalog_of(definitions)
    plan = make_plan(known, goals, init, DEFAULTS, gate_open=gate_open)
    rules = Rules({id: each.step for id, each in known.steps.items()}, init)
    steps, missing = rules.plan(goals)
    assert (set(plan.steps), set(plan.required)) == (steps, missing)


@pytest.mark.contract("planning", "The order of registration makes no difference to a plan.")
@settings(max_examples=75, deadline=None)
@given(situations(), st.randoms())
def test_a_plan_has_the_same_bytes_whatever_the_order_of_registration(situation: Any, random: Any) -> None:
    definitions, goals, init = situation
    shuffled = [
        {**each, "attributes": dict(random.sample(list(each["attributes"].items()), len(each["attributes"])))}
        for each in random.sample(definitions, len(definitions))
    ]
    turned = dict(reversed(init.items()))
    for plan_of in (make_plan, preview):
        one = plan_of(catalog_of(definitions), goals, init, DEFAULTS, gate_open=gate_open)
        other = plan_of(catalog_of(shuffled), goals, turned, DEFAULTS, gate_open=gate_open)
        assert json.dumps(plan_to_json(one)) == json.dumps(plan_to_json(other))


@settings(max_examples=75, deadline=None)
@given(situations())
def test_a_plan_is_read_back_as_it_was_written(situation: Any) -> None:
    definitions, goals, init = situation
    for plan_of in (make_plan, preview):
        plan = plan_of(catalog_of(definitions), goals, init, DEFAULTS, gate_open=gate_open)
        written = json.dumps(plan_to_json(plan))
        assert plan_from_json(json.loads(written)) == plan
        assert json.dumps(plan_to_json(plan_from_json(json.loads(written)))) == written


@pytest.mark.contract("planning", "Every step that is in, or was considered and left out, says why.")
@settings(max_examples=75, deadline=None)
@given(situations())
def test_every_step_in_a_plan_or_left_out_says_why_and_points_at_a_step_in_it(situation: Any) -> None:
    definitions, goals, init = situation
    plan = make_plan(catalog_of(definitions), goals, init, DEFAULTS, gate_open=gate_open)
    left_out = {id for steps in plan.excluded.values() for id in steps}
    assert set(plan.why) == set(plan.steps) | left_out
    assert not set(plan.steps) & left_out
    assert [list(steps) for steps in plan.excluded.values()] == [
        sorted(each) for each in plan.excluded.values()
    ]
    assert {id for id, why in plan.why.items() if why.startswith("left out: ")} == left_out
    given = {name for name, values in init.items() if values}
    as_goals = {
        goal
        for goal in set(goals) & set(plan.steps)
        if {each.name for each in plan.steps[goal].outputs} - given or not plan.steps[goal].outputs
    }
    assert {id for id, why in plan.why.items() if why.startswith("goal")} == as_goals
    for why in plan.why.values():
        if why.startswith("provides"):
            assert why.split("`")[3] in plan.steps


@settings(max_examples=75, deadline=None)
@given(situations())
def test_rank_numbers_the_steps_of_a_plan_with_consumers_before_providers(situation: Any) -> None:
    definitions, goals, init = situation
    plan = make_plan(catalog_of(definitions), goals, init, DEFAULTS, gate_open=gate_open)
    assert sorted(plan.rank.values()) == list(range(len(plan.steps)))
    for use in plan.attributes.values():
        for provider in use.providers:
            assert [each for each in use.consumers if plan.rank[each] > plan.rank[provider]] == []


@settings(max_examples=75, deadline=None)
@given(situations())
def test_a_preview_has_all_of_the_plan_and_requires_something_exactly_when_it_does(situation: Any) -> None:
    definitions, goals, init = situation
    known = catalog_of(definitions)
    plan = make_plan(known, goals, init, DEFAULTS, gate_open=gate_open)
    more = preview(known, goals, init, DEFAULTS, gate_open=gate_open)
    assert set(plan.steps) <= set(more.steps)
    assert bool(plan.required) == bool(more.required)
    assert set(more.why) == set(known.steps)
    if not plan.required:
        assert (more.steps, more.attributes, more.excluded) == (plan.steps, plan.attributes, plan.excluded)


@settings(max_examples=75, deadline=None)
@given(situations(collects=("first", "last", "some"), gates=False))
def test_what_a_preview_requires_is_enough_to_start(situation: Any) -> None:
    definitions, goals, init = situation
    known = catalog_of(definitions)
    leaves = preview(known, goals, init, DEFAULTS).required
    plan = make_plan(known, goals, {**init, **{name: [True] for name in leaves}}, DEFAULTS)
    assert plan.required == ()


any_definitions = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d"]),
        st.sets(st.sampled_from(NAMES[:4]), max_size=2),
        st.sets(st.sampled_from(NAMES[:4]), max_size=2),
    ),
    max_size=5,
    unique_by=lambda each: each[0],
)


@settings(max_examples=75, deadline=None)
@given(
    any_definitions, st.lists(st.sampled_from(["a", "b", "x"]), max_size=2), st.sets(st.sampled_from(NAMES))
)
def test_whatever_is_registered_planning_ends_in_a_plan_or_in_a_refusal_of_its_own(
    given: Any, goals: list[str], initial: set[str]
) -> None:
    known = catalog_of(
        step(id, " ".join(sorted(needs)), " ".join(sorted(gives - needs))) for id, needs, gives in given
    )
    for plan_of in (make_plan, preview):
        try:
            found: Plan | ArgyllError = plan_of(known, goals, {name: [1] for name in initial}, DEFAULTS)
        except ArgyllError as error:
            found = error
        if not goals:
            assert isinstance(found, NoGoals)
        elif not set(goals) <= set(known.steps):
            assert isinstance(found, UnknownGoal)
        else:
            assert isinstance(found, Plan | InvalidCatalog)


class Counted(tuple[str, ...]):
    """Providers of an attribute that count how often they are looked through."""

    looks = 0

    def __iter__(self) -> Any:
        type(self).looks += 1
        return super().__iter__()


@pytest.mark.parametrize("plan_of", [make_plan, preview])
@pytest.mark.parametrize("needs", ["", "id"])
def test_the_providers_of_an_attribute_are_looked_through_as_often_however_many_consume_it(
    plan_of: Any, needs: str
) -> None:
    def looks(consumers: int) -> int:
        goals = [f"c{number}" for number in range(consumers)]
        known = catalog(*(step(goal, "m") for goal in goals), *(step(f"p{n}", needs, "m") for n in range(9)))
        Counted.looks = 0
        providers = {name: Counted(ids) for name, ids in known.providers.items()}
        plan_of(Catalog(known.steps, 1, 0, providers, known.users), goals, {}, DEFAULTS)  # type: ignore[arg-type]
        return Counted.looks

    assert 0 < looks(2) == looks(60)
