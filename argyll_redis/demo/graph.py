"""Turns measures into a graph of imports, finds its cycles, and says what carries the most.

All of it works on the imports that happen as modules load; the deferred ones matter only where it
is asked what they keep apart. Values are plain JSON, every order is fixed.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
Imports: TypeAlias = Mapping[str, Sequence[str]]
"""Module to the modules it imports, sorted; every module is a key."""

MAX_TRIPS = 2_000
"""Imports of one cycle from which its shortest round trip is looked for."""


def import_graph(measures: Iterable[Mapping[str, Any]]) -> Json:
    """Builds `{"imports", "deferred", "outside"}` from the measures of all modules.

    The first two map each module to the sorted modules it imports, as it loads and later. `outside`
    maps every other name to how many modules import it; modules written in C are there.
    """
    measured = {measure["module"]: measure for measure in measures}
    graph: Json = {"imports": {}, "deferred": {}, "outside": {}}
    outside: Counter[str] = Counter()
    for name in sorted(measured):
        measure = measured[name]
        for kind in ("imports", "deferred"):
            graph[kind][name] = [target for target in measure[kind] if target in measured]
        named = (*measure["imports"], *measure["deferred"])
        unlisted = {target.partition(".")[0] for target in named if target not in measured}
        outside.update(unlisted.union(measure["outside"]))
    graph["outside"] = {name: outside[name] for name in sorted(outside)}
    return graph


# --------------------------------------------------------------------- cycles


def cycles(graph: Mapping[str, Any], *, deferred: bool = False) -> list[Json]:
    """Finds the groups of modules that import each other, each as `{"modules", "imports", "shortest"}`.

    A group is a strongly connected component of two or more modules: from each there is a way to
    each. `imports` counts the imports inside it, `shortest` is one shortest round trip. With
    `deferred`, imports that do not happen on load count too, and `shortest` begins with one where
    the group has any. Largest first, then by name.
    """
    imports: Imports = graph["imports"]
    later: Imports = graph["deferred"] if deferred else {}
    if deferred:
        imports = {name: sorted({*imports[name], *later[name]}) for name in imports}
    groups = [sorted(group) for group in components(imports) if len(group) > 1]
    groups.sort(key=lambda group: (-len(group), group))
    return [_cycle(group, imports=imports, later=later) for group in groups]


def all_cycles(graph: Mapping[str, Any]) -> list[Json]:
    """Finds the cycles on load, then those that exist only by deferred imports, marked `"deferred"`."""
    on_load = cycles(graph)
    known = [cycle["modules"] for cycle in on_load]
    with_deferred = [cycle for cycle in cycles(graph, deferred=True) if cycle["modules"] not in known]
    return [
        {**cycle, "deferred": deferred}
        for deferred, found in ((False, on_load), (True, with_deferred))
        for cycle in found
    ]


def _cycle(group: Sequence[str], *, imports: Imports, later: Imports) -> Json:
    inside = _within(group, imports)
    first_steps = _within(group, later) or inside
    starts = [(name, target) for name, targets in first_steps.items() for target in targets]
    trips = (_round_trip(inside, name, target) for name, target in starts[:MAX_TRIPS])
    return {
        "modules": list(group),
        "imports": sum(len(targets) for targets in inside.values()),
        "shortest": min(trips, key=lambda trip: (len(trip), trip)),
    }


def _within(group: Sequence[str], imports: Imports) -> dict[str, list[str]]:
    """Returns the imports that stay inside a group, of the modules that have any."""
    members = set(group)
    inside = {name: [target for target in imports.get(name, ()) if target in members] for name in group}
    return {name: targets for name, targets in inside.items() if targets}


def _round_trip(imports: Imports, start: str, first: str) -> list[str]:
    """Returns a shortest way in a group from `start` over `first` back, without its last step."""
    came_from = {first: start}
    waiting = deque([first])
    while start not in came_from:
        name = waiting.popleft()
        for target in imports[name]:
            if target not in came_from:
                came_from[target] = name
                waiting.append(target)
    trip = [came_from[start]]
    while trip[-1] != start:
        trip.append(came_from[trip[-1]])
    return trip[::-1]


def components(imports: Imports) -> list[list[str]]:
    """Returns the strongly connected components, each after all it imports (Tarjan 1972)."""
    search = _Search(imports=imports)
    for name in sorted(imports):
        if name not in search.order:
            search.visit(name)
    return search.found


@dataclass(slots=True)
class _Search:
    """A depth-first search that closes a component when it leaves the first module of it.

    The way back is a list, because import chains may be longer than Python's recursion allows.
    """

    imports: Imports
    order: dict[str, int] = field(default_factory=dict[str, int])
    lowest: dict[str, int] = field(default_factory=dict[str, int])
    """Module to the earliest module still open that it is known to lead to."""
    open: dict[str, None] = field(default_factory=dict[str, None])
    """Modules whose component is not closed, in order of arrival."""
    found: list[list[str]] = field(default_factory=list[list[str]])

    def visit(self, root: str) -> None:
        path = [(root, self._arrive(root))]
        while path:
            name, targets = path[-1]
            target = next(targets, None)
            if target is None:
                path.pop()
                self._leave(name, back_to=path[-1][0] if path else None)
            elif target not in self.order:
                path.append((target, self._arrive(target)))
            elif target in self.open:
                self.lowest[name] = min(self.lowest[name], self.order[target])

    def _arrive(self, name: str) -> Iterator[str]:
        self.order[name] = self.lowest[name] = len(self.order)
        self.open[name] = None
        return iter(self.imports[name])

    def _leave(self, name: str, *, back_to: str | None) -> None:
        if back_to is not None:
            self.lowest[back_to] = min(self.lowest[back_to], self.lowest[name])
        if self.lowest[name] == self.order[name]:
            component: list[str] = []
            while not component or component[-1] != name:
                component.append(self.open.popitem()[0])
            self.found.append(component)


# ----------------------------------------------------------------------- rank


@dataclass(frozen=True, slots=True)
class Reach:
    """Who needs whom, through any number of imports."""

    index: dict[str, int]
    """Module to its bit."""
    group: dict[str, int]
    """Module to the bits of its component."""
    needs: dict[str, int]
    """Module to the bits of all it needs to load, its own component included."""

    def dependents(self) -> dict[str, int]:
        """Counts for each module the others that cannot load without it."""
        counts = dict.fromkeys(self.index, -1)
        names = list(self.index)
        for name in names:
            bits = self.needs[name]
            while bits:
                lowest = bits & -bits
                counts[names[lowest.bit_length() - 1]] += 1
                bits ^= lowest
        return counts


def reach(imports: Imports) -> Reach:
    """Follows all imports to their ends; sets of modules are integers, one bit a module."""
    index = {name: position for position, name in enumerate(sorted(imports))}
    group: dict[str, int] = {}
    needs: dict[str, int] = {}
    for component in components(imports):
        own = sum(1 << index[name] for name in component)
        all_needs = own
        for name in component:
            for target in imports[name]:
                all_needs |= needs.get(target, 0)
        group.update(dict.fromkeys(component, own))
        needs.update(dict.fromkeys(component, all_needs))
    return Reach(index=index, group=group, needs=needs)


def rank(graph: Mapping[str, Any], measures: Iterable[Mapping[str, Any]]) -> list[Json]:
    """Ranks modules by how much rests on them and how much there is to go wrong in them.

        weight = dependents * log2(1 + complexity)

    `dependents` are the modules that cannot load without it, directly or not. The logarithm keeps
    one giant module from deciding alone. Equal weights are in order of name.
    """
    imports: Imports = graph["imports"]
    dependents = reach(imports).dependents()
    imported_by = Counter(target for targets in imports.values() for target in targets)
    rows = [
        {
            "module": name,
            "weight": round(dependents[name] * math.log2(1 + measure["complexity"]), 1),
            "dependents": dependents[name],
            "imported_by": imported_by[name],
            "imports": len(imports[name]),
            "complexity": measure["complexity"],
            "lines": measure["lines"],
        }
        for measure in measures
        if (name := measure["module"]) in imports
    ]
    rows.sort(key=lambda row: (-row["weight"], row["module"]))
    return [{"rank": place, **row} for place, row in enumerate(rows, start=1)]
