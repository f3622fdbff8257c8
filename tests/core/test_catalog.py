"""The catalog: what may be registered together, and what registering, updating and removing do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from definitions import catalog, step
from hypothesis import given, settings
from hypothesis import strategies as st

from argyll_redis.core.catalog import (
    Catalog,
    CatalogEvent,
    Registered,
    StepRegistered,
    StepUnregistered,
    StepUpdated,
    apply,
    apply_all,
    catalog_event,
    check_initial,
    check_set,
    register,
    unregister,
)
from argyll_redis.core.graph import rank
from argyll_redis.core.limits import MAX_REGISTERED_STEPS
from argyll_redis.core.model import AttributeType, Script
from argyll_redis.core.parse import parse_step
from argyll_redis.errors import (
    InvalidCatalog,
    InvalidInput,
    InvalidStep,
    ScriptError,
    StepConflict,
    UnknownEvent,
    UnknownStep,
)

ORDER = step("order", "id", "order")
PRICE = step("price", "order", "total")


def typed(id: str, name: str, type: str, role: str = "output") -> dict[str, Any]:
    """A step that declares one attribute with a type."""
    return step(id, attributes={name: {"role": role, "type": type}})


def flow_step(id: str, *goals: str) -> dict[str, Any]:
    return {"id": id, "type": "flow", "flow": {"goals": list(goals)}}


def kinds(events: list[CatalogEvent]) -> list[tuple[str, str]]:
    """Type and step of each event."""
    return [(event.type, event.data()["step"]) for event in events]


# ------------------------------------------------------------------- registering


def test_steps_of_free_ids_are_registered_in_the_order_given() -> None:
    assert kinds(register(Catalog(), [PRICE, ORDER])) == [
        ("step_registered", "price"),
        ("step_registered", "order"),
    ]


def test_an_equal_definition_again_gives_no_event_whatever_the_order_of_its_keys() -> None:
    again = dict(reversed(PRICE.items()))
    assert register(catalog(PRICE), [again]) == []
    assert register(catalog(PRICE), [again, again], update=True) == []


@pytest.mark.contract("steps", "Definitions are compared as they were given, before defaults are filled in.")
def test_definitions_are_compared_as_given_before_defaults_are_filled() -> None:
    with pytest.raises(StepConflict):
        register(catalog(PRICE), [{**PRICE, "name": "price"}])


def test_another_definition_of_a_registered_id_is_a_conflict_that_names_it() -> None:
    with pytest.raises(StepConflict, match=r"`price`: a step of this id is registered with another"):
        register(catalog(ORDER, PRICE), [ORDER, step("price", "order", "total tax")])


def test_with_update_another_definition_replaces_the_old_one() -> None:
    events = register(catalog(ORDER, PRICE), [ORDER, {**PRICE, "name": "x"}, step("new")], update=True)
    assert kinds(events) == [("step_updated", "price"), ("step_registered", "new")]


def test_ids_are_compared_in_lower_case() -> None:
    with pytest.raises(StepConflict, match="`price`"):
        register(catalog(PRICE), [{**PRICE, "id": "PRICE"}])


def test_one_id_given_twice_differently_is_refused() -> None:
    with pytest.raises(InvalidCatalog, match="price: is given twice, differently"):
        register(Catalog(), [PRICE, {**PRICE, "name": "x"}])


def test_the_problems_of_several_definitions_are_reported_together_with_their_places() -> None:
    with pytest.raises(InvalidStep, match="2 of 3 steps are not valid") as refusal:
        register(Catalog(), [{"id": "a b", "type": "python"}, ORDER, 7])
    assert [problem.path for problem in refusal.value.problems] == ["[0].id", "[0].python", "[2]"]


def test_the_problems_of_a_single_definition_have_its_own_paths() -> None:
    with pytest.raises(InvalidStep, match="step `a` is not valid") as refusal:
        register(Catalog(), [{"id": "a", "type": "python"}])
    assert [problem.path for problem in refusal.value.problems] == ["python"]


def test_scripts_are_compiled_when_they_are_registered() -> None:
    def refuse(script: Script, purpose: str) -> None:
        raise ScriptError(f"no {purpose}", line=1, column=2)

    predicate = {"language": "lua", "script": "x"}
    with pytest.raises(InvalidStep, match=r"predicate: .*line 1, column 2: no predicate"):
        register(Catalog(), [step("s", predicate=predicate)], compile_script=refuse)


def test_too_many_steps_at_once_are_refused() -> None:
    with pytest.raises(InvalidStep, match="5,001 steps at once"):
        register(Catalog(), [ORDER] * (MAX_REGISTERED_STEPS + 1))


def test_a_registered_definition_is_a_copy_of_what_was_given() -> None:
    definition = step("s", "a")
    (event,) = register(Catalog(), [definition])
    definition["name"] = "changed"
    assert event.data()["definition"] == step("s", "a")


def test_removing_steps_gives_an_event_each_and_an_unknown_one_is_refused() -> None:
    events = unregister(catalog(ORDER, PRICE), ["order", "price", "order"])
    assert kinds(events) == [("step_unregistered", "order"), ("step_unregistered", "price")]
    with pytest.raises(UnknownStep, match=r"no step `prize` is registered \(did you mean `price`\?\)"):
        unregister(catalog(PRICE), ["prize"])


def test_among_many_steps_the_nearest_is_still_suggested() -> None:
    known = catalog(*(step(f"step-{number:04}") for number in range(2_000)), step("refund-customer"))
    with pytest.raises(UnknownStep, match=r"did you mean `refund-customer`\?"):
        unregister(known, ["refund-custmer"])


def test_a_step_can_be_removed_while_others_use_its_outputs() -> None:
    known = catalog(ORDER, PRICE)
    left = apply_all(known, [(event, 0) for event in unregister(known, ["order"])])
    assert list(left.steps) == ["price"]
    assert (left.providers, left.users) == ({"total": ("price",)}, {"order": ("price",), "total": ("price",)})


# ------------------------------------------------------------------ going together


@pytest.mark.parametrize(
    "definitions",
    [
        [typed("a", "x", "number"), typed("b", "x", "string")],
        [typed("a", "x", "number"), typed("b", "x", "string", "required")],
        [typed("a", "x", "object", "optional"), typed("b", "x", "any"), typed("c", "x", "array")],
    ],
)
def test_one_attribute_with_two_declared_types_is_refused(definitions: list[Any]) -> None:
    with pytest.raises(InvalidCatalog, match=r"attribute type conflict: `x` is .* in `.` and .* in `.`"):
        register(Catalog(), definitions)
    for number, definition in enumerate(definitions):
        others = definitions[:number] + definitions[number + 1 :]
        if len(others) == 1:
            with pytest.raises(InvalidCatalog, match="attribute type conflict"):
                register(catalog(*others), [definition])


@pytest.mark.contract("steps", "`any`, and no type, go with every declared type.")
def test_any_and_no_type_go_with_every_type() -> None:
    known = [typed("a", "x", "any"), step("b", "x"), typed("c", "x", "number", "required")]
    assert len(register(Catalog(), known)) == 3
    assert catalog(*known).declared_type("x") == AttributeType.NUMBER
    assert catalog(*known[:2]).declared_type("x") is None


def test_an_update_may_change_a_type_that_nobody_else_declares() -> None:
    known = catalog(typed("a", "x", "number"), step("b", "x"))
    assert kinds(register(known, [typed("a", "x", "string")], update=True)) == [("step_updated", "a")]


@pytest.mark.contract("steps", "Several steps are registered as one transaction and checked as a set.")
def test_steps_that_change_their_types_together_go_together() -> None:
    known = catalog(typed("a", "x", "number"), typed("b", "x", "number", "required"))
    changed = [typed("a", "x", "string"), typed("b", "x", "string", "required")]
    assert len(register(known, changed, update=True)) == 2
    with pytest.raises(InvalidCatalog, match="attribute type conflict"):
        register(known, changed[:1], update=True)


def test_a_cycle_through_attributes_is_refused_and_told() -> None:
    cycle = [step("b", "x", "y"), step("a", "y", "z"), step("c", may="z", gives="x")]
    with pytest.raises(InvalidCatalog) as refusal:
        register(Catalog(), cycle)
    assert [problem.what for problem in refusal.value.problems] == [
        "a cycle through attributes: `a` needs `y` of `b`, `b` needs `x` of `c`, `c` needs `z` of `a`"
    ]
    with pytest.raises(InvalidCatalog, match="cycle through attributes"):
        register(catalog(cycle[0], cycle[2]), [cycle[1]])


def test_a_const_of_the_name_of_an_output_makes_no_cycle() -> None:
    const = {"role": "const", "const": {"value": "1"}}
    assert len(register(Catalog(), [step("a", "x", "y"), step("b", gives="x", attributes={"y": const})])) == 2


def test_an_update_that_breaks_a_cycle_in_the_making_is_accepted() -> None:
    known = catalog(step("a", "x", "y"))
    with pytest.raises(InvalidCatalog, match="cycle"):
        register(known, [step("b", "y", "x")])
    assert len(register(known, [step("a", "x", "w"), step("b", "y", "x")], update=True)) == 2


def test_a_cycle_through_sub_flow_goals_is_refused_and_told() -> None:
    steps = [flow_step("a", "b"), flow_step("b", "c"), flow_step("c", "a")]
    with pytest.raises(InvalidCatalog, match=r"sub-flow goals: `a` -> `b` -> `c` -> `a`"):
        check_set(parse_step(each) for each in steps)
    with pytest.raises(InvalidCatalog, match=r"sub-flow goals: `a` -> `a`"):
        check_set([parse_step(flow_step("a", "a"))])
    check_set(parse_step(each) for each in steps[:2])


def test_all_that_does_not_go_together_is_reported_at_once() -> None:
    both = [
        {**step("a", "x", "y"), "attributes": {**step("a", "x", "y")["attributes"], "t": {"role": "output"}}},
        step("b", "y", "x"),
        typed("c", "t", "number", "required"),
        typed("d", "t", "string", "required"),
    ]
    with pytest.raises(InvalidCatalog) as refusal:
        register(Catalog(), both)
    assert [problem.what.partition(":")[0] for problem in refusal.value.problems] == [
        "attribute type conflict",
        "a cycle through attributes",
    ]


small_steps = st.lists(
    st.tuples(st.sets(st.sampled_from("abcde"), max_size=2), st.sets(st.sampled_from("abcde"), max_size=2)),
    max_size=6,
).map(
    lambda pairs: [
        step(f"s{number}", " ".join(sorted(needs - gives)), " ".join(sorted(gives)))
        for number, (needs, gives) in enumerate(pairs)
    ]
)


def depends_on_itself(definitions: list[dict[str, Any]]) -> bool:
    """Naively: whether some step can be reached from itself through providers."""
    steps = [parse_step(each) for each in definitions]
    needs = {
        one.id: {
            other.id
            for other in steps
            if {each.name for each in one.inputs} & {each.name for each in other.outputs}
        }
        for one in steps
    }
    for _ in steps:
        needs = {id: direct.union(*(needs[each] for each in direct)) for id, direct in needs.items()}
    return any(id in direct for id, direct in needs.items())


@settings(max_examples=200, deadline=None)
@given(small_steps)
def test_a_set_of_steps_is_refused_exactly_when_it_has_a_cycle(definitions: list[dict[str, Any]]) -> None:
    try:
        register(Catalog(), definitions)
        refused = False
    except InvalidCatalog:
        refused = True
    assert refused == depends_on_itself(definitions)


@settings(max_examples=100, deadline=None)
@given(small_steps)
def test_registering_one_by_one_refuses_what_registering_together_refuses(
    definitions: list[dict[str, Any]],
) -> None:
    known, refused = Catalog(), False
    for definition in definitions:
        try:
            known = apply_all(known, [(event, 0) for event in register(known, [definition])])
        except InvalidCatalog:
            refused = True
    assert refused == depends_on_itself(definitions)
    assert sorted(rank({id: each.step for id, each in known.steps.items()})) == sorted(known.steps)


# ---------------------------------------------------------------------------- fold


def test_each_event_counts_a_version_and_the_time_of_the_last_one_is_kept() -> None:
    known = apply(Catalog(), register(Catalog(), [ORDER])[0], at_ms=70)
    known = apply(known, register(known, [PRICE])[0], at_ms=60)
    assert (known.version, known.last_updated_at, list(known.steps)) == (2, 70, ["order", "price"])


@pytest.mark.contract("steps", "An update replaces all of a step's edges.")
def test_an_update_replaces_the_edges_of_the_step_completely() -> None:
    known = catalog(ORDER, step("a", "order id", "total"), step("b", "id", "total"))
    updated = apply(known, register(known, [step("a", "rate", "tax")], update=True)[0])
    assert updated.providers == {"order": ("order",), "tax": ("a",), "total": ("b",)}
    assert updated.users == {
        "id": ("b", "order"),
        "order": ("order",),
        "rate": ("a",),
        "tax": ("a",),
        "total": ("b",),
    }


def test_a_change_leaves_the_catalog_before_it_as_it_was() -> None:
    known = catalog(ORDER)
    apply(known, register(known, [PRICE])[0])
    apply(known, unregister(known, ["order"])[0])
    assert (list(known.steps), known.providers, known.version) == (["order"], {"order": ("order",)}, 1)


@pytest.mark.parametrize("kind", [StepRegistered, StepUpdated])
def test_an_event_with_a_definition_is_read_back_as_it_was(kind: Any) -> None:
    event = kind(Registered(PRICE, parse_step(PRICE)))
    assert catalog_event(event.type, json.loads(json.dumps(event.data()))) == event


def test_an_event_of_a_removal_is_read_back_as_it_was() -> None:
    event = StepUnregistered("price")  # type: ignore[arg-type]
    assert (event.type, event.data()) == ("step_unregistered", {"step": "price"})
    assert catalog_event(event.type, event.data()) == event


def test_an_event_of_an_unknown_type_is_refused_by_name() -> None:
    with pytest.raises(UnknownEvent, match="`step_renamed`"):
        catalog_event("step_renamed", {"step": "price"})


changes = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["", "x", "y", "x y"]),
        st.sampled_from(["", "z", "w", "z w"]),
        st.booleans(),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(changes)
def test_the_fold_of_the_log_is_the_catalog_that_decided_it_with_indexes_made_anew(changes: Any) -> None:
    known = Catalog()
    log: list[tuple[CatalogEvent, int]] = []
    for at_ms, (id, needs, gives, remove) in enumerate(changes):
        if not remove:
            events = register(known, [step(id, needs, gives)], update=True)
        else:
            events = unregister(known, [id]) if id in known.steps else []
        for event in events:
            log.append((event, at_ms))
            known = apply(known, event, at_ms=at_ms)
    read = [(catalog_event(event.type, json.loads(json.dumps(event.data()))), at) for event, at in log]
    assert apply_all(Catalog(), read) == known
    assert [ids for ids in known.users.values() if list(ids) != sorted(ids)] == []
    anew = apply_all(Catalog(), [(StepRegistered(each), 0) for each in known.steps.values()])
    assert (anew.steps, anew.providers, anew.users) == (known.steps, known.providers, known.users)


# ------------------------------------------------------------------- initial values


def test_an_initial_value_of_another_type_is_refused_by_name_and_place() -> None:
    known = catalog(typed("a", "x", "number"), typed("b", "y", "array", "required"), step("c", "z"))
    check_initial(known, {"x": [1, 2.5], "y": [[]], "z": [None, "a"], "unknown": [True]})
    with pytest.raises(InvalidInput) as refusal:
        check_initial(known, {"y": [{}], "x": [1, True, "1"]})
    assert [(each.path, each.what, each.mend) for each in refusal.value.problems] == [
        ("init.x[1]", "is of type boolean", "use a value of type number"),
        ("init.x[2]", "is of type string", "use a value of type number"),
        ("init.y[0]", "is of type object", "use a value of type array"),
    ]
