"""What the analysis came to, in words: the findings, and the report as Markdown.

The report says nothing that differs between two runs over the same files (no date, no duration), so
that a self-check can compare it byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from argyll_redis.demo.analysis import SKIPPED_FOLDERS, standard_library

Row: TypeAlias = Mapping[str, Any]

MAX_RANKS_SHOWN = 20
"""Rows of the ranking in a report; the whole ranking is an attribute of the flow."""
MAX_CYCLES_SHOWN = 12
"""Cycles of each kind in a report."""
MAX_MEMBERS_SHOWN = 300
"""Modules listed of one cycle."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything a report is written from, as the steps give it."""

    root: str
    """The folder that was analysed."""
    summary: Row
    graph: Row
    cycles: Sequence[Row]
    ranking: Sequence[Row]
    licence: Row

    @property
    def title(self) -> str:
        return f"What {subject(self.root)} rests on"

    @property
    def on_load(self) -> list[Row]:
        """The cycles that are there while modules load."""
        return [cycle for cycle in self.cycles if not cycle["deferred"]]

    @property
    def put_off(self) -> list[Row]:
        """The cycles that deferred imports keep from being there on load."""
        return [cycle for cycle in self.cycles if cycle["deferred"]]


def subject(root: str) -> str:
    """Says what a folder holds: the standard library of this interpreter, or what it is named."""
    if os.path.realpath(root) == os.path.realpath(standard_library()):
        return f"the Python {platform.python_version()} standard library"
    return os.path.basename(os.path.abspath(root)) or root


def sentences(findings: Findings) -> list[str]:
    """Says the main findings, one sentence or two each; names of modules are in backticks."""
    said = [_about_base(findings), _about_cycles(findings), _about_deferred(findings), _about_worst(findings)]
    return [sentence for sentence in said if sentence]


def _about_base(findings: Findings) -> str:
    base = max(findings.ranking, key=lambda row: (row["dependents"], row["module"]))
    if not base["dependents"]:
        return "No module imports another one as it loads."
    others = findings.summary["modules"] - 1
    return (
        f"Most rests on `{base['module']}`: {base['dependents']:,} of the other {others:,} modules "
        "cannot load without it."
    )


def _about_cycles(findings: Findings) -> str:
    sizes = [len(cycle["modules"]) for cycle in findings.on_load]
    if not sizes:
        return "No modules import each other in circles as they load."
    if len(sizes) == 1:
        return f"{sizes[0]:,} modules import each other in a circle as they load."
    return (
        f"{sum(sizes):,} modules import each other in circles as they load: "
        f"{len(sizes):,} circles, the largest of {max(sizes):,}."
    )


def _about_deferred(findings: Findings) -> str:
    if not findings.put_off:
        return ""
    largest = max(len(cycle["modules"]) for cycle in findings.put_off)
    deferred = findings.summary["deferred"]
    are = "import is" if deferred == 1 else "imports are"
    return (
        f"{deferred:,} {are} deferred past loading. "
        f"Otherwise {largest:,} modules would hang together in one knot."
    )


def _about_worst(findings: Findings) -> str:
    if not findings.summary["worst"]:
        return ""
    worst = findings.summary["worst"][0]
    return (
        f"The most complex function is `{worst['function']}` in `{worst['module']}`, "
        f"at {worst['complexity']:,}."
    )


def figures(findings: Findings) -> dict[str, Any]:
    """Returns the few figures that tell one analysis from another: totals, and a digest of each part."""
    parts = {
        "summary": findings.summary,
        "graph": findings.graph,
        "cycles": findings.cycles,
        "ranking": findings.ranking,
        "licence": findings.licence,
    }
    return {
        **dict(totals(findings)),
        "circles": len(findings.on_load),
        "digests": {name: _digest(part) for name, part in parts.items()},
    }


def _digest(part: Any) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def totals(findings: Findings) -> list[tuple[str, int]]:
    """Returns the figures that go above everything, each with its label."""
    summary = findings.summary
    labels = {
        "modules": "modules",
        "lines": "lines",
        "functions": "functions",
        "classes": "classes",
        "complexity": "complexity",
        "imports": "imports on load",
        "deferred": "deferred imports",
    }
    return [(label, summary[key]) for key, label in labels.items()]


def method() -> list[str]:
    """Says how the figures were counted; formulas and names are in backticks."""
    skipped = ", ".join(f"`{name}`" for name in sorted(SKIPPED_FOLDERS))
    return [
        "Only source is read and parsed; nothing that is analysed is imported or run.",
        "Weight is `dependents × log₂(1 + complexity)`: what cannot load without a module, directly or "
        "not, times how much there is to go wrong in it. The logarithm keeps one giant module from "
        "deciding alone.",
        "Complexity is McCabe's: each function starts at 1; each `if`, `elif`, conditional expression, "
        "`for`, `while`, `except`, further operand of `and` or `or`, `for` and `if` of a comprehension, "
        "and `case` that does not accept everything adds 1. Decisions outside functions add to the module.",
        "An import is deferred when it does not happen as the module loads: inside a function, or under "
        '`if TYPE_CHECKING` or `if __name__ == "__main__"`. The packages around a module are not counted '
        "as its imports.",
        f"Folders left out: {skipped}.",
    ]


def trip(cycle: Row, graph: Row) -> str:
    """Writes the shortest round trip of a cycle, back to where it starts; ⇢ is a deferred import."""
    stops = [*cycle["shortest"], cycle["shortest"][0]]
    steps = (
        f" {'→' if target in graph['imports'][name] else '⇢'} {target}" for name, target in pairwise(stops)
    )
    return stops[0] + "".join(steps)


def many(count: int, noun: str) -> str:
    """Writes a number and what it counts: "1 module", "2,000 modules"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def about_licence(licence: Row) -> str:
    if not licence["file"]:
        return "No licence file was found beside the source."
    return f"The source is under: {licence['title']} ({licence['file']}, {many(licence['lines'], 'line')})."


# ------------------------------------------------------------------- markdown


def markdown(findings: Findings) -> str:
    """Writes the report as Markdown (GitHub's tables)."""
    parts = [
        f"# {findings.title}",
        _table(("", ""), [(label, f"{value:,}") for label, value in totals(findings)], numbers=1),
        "\n".join(f"- {sentence}" for sentence in sentences(findings)),
        "## What carries the most",
        _ranking(findings.ranking[:MAX_RANKS_SHOWN]),
        "## Circles",
        *_circles(findings),
        "## The most complex functions",
        _functions(findings.summary["worst"]),
        "## The largest packages",
        _packages(findings.summary["packages"]),
        *_problems(findings.summary),
        "## How it was counted",
        "\n".join(f"- {sentence}" for sentence in (*method(), about_licence(findings.licence))),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(titles: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: int) -> str:
    """Writes a table whose last columns, so many of them, are numbers."""
    texts = len(titles) - numbers
    rule = ["---"] * texts + ["--:"] * numbers
    lines = [titles, rule, *rows]
    return "\n".join(
        f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in lines
    )


def _ranking(rows: Iterable[Row]) -> str:
    titles = ("module", "rank", "weight", "dependents", "imported by", "imports", "complexity", "lines")
    keys = ("rank", "weight", "dependents", "imported_by", "imports", "complexity", "lines")
    cells = ((f"`{row['module']}`", *(f"{row[key]:,}" for key in keys)) for row in rows)
    return _table(titles, cells, numbers=len(keys))


def _circles(findings: Findings) -> list[str]:
    return [
        "As modules load:" if findings.on_load else "None as modules load.",
        _cycle_list(findings.on_load, findings.graph),
        "Only with the deferred imports (⇢):" if findings.put_off else "",
        _cycle_list(findings.put_off, findings.graph),
    ]


def _cycle_list(cycles: Sequence[Row], graph: Row) -> str:
    lines = [
        f"- {len(cycle['modules']):,} modules, {many(cycle['imports'], 'import')}, the shortest way round "
        f"`{trip(cycle, graph)}`" + (f": {_members(cycle)}" if len(cycle["modules"]) > 2 else "")
        for cycle in cycles[:MAX_CYCLES_SHOWN]
    ]
    left_out = len(cycles) - len(lines)
    return "\n".join([*lines, f"- and {left_out:,} more"] if left_out else lines)


def _members(cycle: Row) -> str:
    names = [f"`{name}`" for name in cycle["modules"][:MAX_MEMBERS_SHOWN]]
    left_out = len(cycle["modules"]) - len(names)
    return ", ".join([*names, f"and {left_out:,} more"] if left_out else names)


def _functions(rows: Iterable[Row]) -> str:
    cells = ((f"`{row['function']}`", f"`{row['module']}`", row["line"], row["complexity"]) for row in rows)
    return _table(("function", "module", "line", "complexity"), cells, numbers=2)


def _packages(rows: Iterable[Row]) -> str:
    keys = ("modules", "lines", "functions", "classes", "complexity")
    cells = ((f"`{row['package']}`", *(f"{row[key]:,}" for key in keys)) for row in rows)
    return _table(("package", *keys), cells, numbers=len(keys))


def _problems(summary: Row) -> list[str]:
    if not summary["problem_count"]:
        return []
    lines = [f"- `{row['module']}`: {row['problem']}" for row in summary["problems"]]
    return [f"## {many(summary['problem_count'], 'file')} could not be parsed", "\n".join(lines)]
