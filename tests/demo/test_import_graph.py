"""Cycles and dependents agree with the slow and obvious way to find them; ranks are explainable."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from argyll_redis.demo import graph

NAMES = "abcdefgh"


def measure(module: str, imports: str = "", *, deferred: str = "", **figures: Any) -> dict[str, Any]:
    """A measure whose imports are words."""
    return {
        "module": module,
        "imports": imports.split(),
        "deferred": deferred.split(),
        "outside": [],
        "complexity": 1,
        "lines": 1,
        **figures,
    }


@st.composite
def imports(draw: st.DrawFn) -> dict[str, list[str]]:
    """Any imports among a few modules, in themselves excepted."""
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    return {
        name: sorted(draw(st.sets(st.sampled_from(names))) - {name})  # one set a module
        for name in names
    }


def reachable(edges: dict[str, list[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for target in edges[waiting.pop()]:
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen


# ----------------------------------------------------------------------- graph


def test_the_graph_holds_what_was_measured_and_counts_the_rest_as_outside() -> None:
    built = graph.import_graph(
        [
            measure("b", "a gone.part", outside=["sys"]),
            measure("a", deferred="b", outside=["sys", "time"]),
        ]
    )
    assert built == {
        "imports": {"a": [], "b": ["a"]},
        "deferred": {"a": ["b"], "b": []},
        "outside": {"gone": 1, "sys": 2, "time": 1},
    }


# ---------------------------------------------------------------------- cycles


def test_cycles_are_found_largest_first_with_a_shortest_way_round() -> None:
    built = graph.import_graph(
        [
            measure("a", "b"),
            measure("b", "c"),
            measure("c", "a b"),
            measure("x", "y a"),
            measure("y", "x"),
            measure("alone", "a"),
        ]
    )
    assert graph.cycles(built) == [
        {"modules": ["a", "b", "c"], "imports": 4, "shortest": ["b", "c"]},
        {"modules": ["x", "y"], "imports": 2, "shortest": ["x", "y"]},
    ]


def test_a_cycle_by_a_deferred_import_is_marked_and_its_way_begins_with_it() -> None:
    built = graph.import_graph(
        [
            measure("a", "b"),
            measure("b", "a"),
            measure("x", "y"),
            measure("y", deferred="x"),
        ]
    )
    assert graph.all_cycles(built) == [
        {"modules": ["a", "b"], "imports": 2, "shortest": ["a", "b"], "deferred": False},
        {"modules": ["x", "y"], "imports": 2, "shortest": ["y", "x"], "deferred": True},
    ]


@given(imports())
@settings(deadline=None)
def test_components_are_the_sets_of_modules_that_reach_each_other(edges: dict[str, list[str]]) -> None:
    reached = {name: reachable(edges, name) | {name} for name in edges}
    expected = {frozenset(other for other in reached[name] if name in reached[other]) for name in edges}
    found = graph.components(edges)
    assert {frozenset(component) for component in found} == expected
    assert sorted(name for component in found for name in component) == sorted(edges)


@given(imports())
@settings(deadline=None)
def test_components_come_after_all_they_import(edges: dict[str, list[str]]) -> None:
    seen: set[str] = set()
    for component in graph.components(edges):
        seen.update(component)
        assert {target for name in component for target in edges[name]} <= seen


@given(imports())
@settings(deadline=None)
def test_the_shortest_way_round_is_a_way_and_none_is_shorter(edges: dict[str, list[str]]) -> None:
    for cycle in graph.cycles({"imports": edges, "deferred": {}}):
        trip = cycle["shortest"]
        for name, target in zip(trip, [*trip[1:], trip[0]], strict=True):
            assert target in edges[name]
        assert len(trip) == min(distance_round(edges, name) for name in cycle["modules"])


def distance_round(edges: dict[str, list[str]], start: str) -> int:
    """Counts the imports of a shortest way from a module back to itself."""
    here, steps = {start}, 0
    while steps == 0 or start not in here:
        here = {target for name in here for target in edges[name]}
        steps += 1
    return steps


def test_chains_longer_than_recursion_allows_are_followed() -> None:
    names = [f"m{number:05}" for number in range(5_000)]
    edges = {name: [names[(position + 1) % len(names)]] for position, name in enumerate(names)}
    assert [len(component) for component in graph.components(edges)] == [5_000]


# ------------------------------------------------------------------------ rank


@given(imports())
@settings(deadline=None)
def test_dependents_are_the_modules_that_lead_to_a_module(edges: dict[str, list[str]]) -> None:
    expected = {
        name: sum(1 for other in edges if other != name and name in reachable(edges, other)) for name in edges
    }
    assert graph.reach(edges).dependents() == expected


def test_weight_is_dependents_times_the_logarithm_of_complexity() -> None:
    measures = [
        measure("base", complexity=7, lines=70),
        measure("middle", "base", complexity=15),
        measure("top", "middle base", complexity=99),
    ]
    rows = graph.rank(graph.import_graph(measures), measures)
    assert rows[0] == {
        "rank": 1,
        "module": "base",
        "weight": 2 * math.log2(8),
        "dependents": 2,
        "imported_by": 2,
        "imports": 0,
        "complexity": 7,
        "lines": 70,
    }
    assert [(row["rank"], row["module"], row["weight"]) for row in rows[1:]] == [
        (2, "middle", math.log2(16)),
        (3, "top", 0.0),
    ]


def test_equal_weights_are_in_order_of_name_whatever_order_measures_come_in() -> None:
    measures = [measure("c"), measure("a"), measure("b")]
    ranked = [graph.rank(graph.import_graph(given), given) for given in (measures, measures[::-1])]
    assert [[row["module"] for row in rows] for rows in ranked] == [["a", "b", "c"]] * 2
