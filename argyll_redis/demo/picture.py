"""Draws the core of an import graph as one SVG, for the page and nowhere else to look.

Colours are the classes of `report.css`. Whoever points at a module sees its lines: that is done by
style rules, one a block, because the page has no script.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any, TypeAlias

from argyll_redis.demo.layout import Block, Box, Drawing, Line, Point, draw
from argyll_redis.demo.report import many

Row: TypeAlias = Mapping[str, Any]

RANKED_DRAWN = (54, 48, 42, 36)
"""How many modules are drawn because of their rank: the first of these that fits the page."""
FEWEST_DRAWN = 30
"""How many are drawn when none of them fits."""
MAX_WIDTH = 1250
"""Width in pixels of a drawing that is still readable when the page shrinks it to its 1136."""
SMALLEST_SCALE = 0.85
"""How far a narrow page shrinks the drawing before it scrolls."""
MAX_IN_CYCLES = 40
"""Modules drawn because they are in a cycle."""
NAME_ADVANCE = 7.25
"""Width in pixels of a character of a name: monospace at 12 px."""
COUNT_ADVANCE = 6.1
CHIP_PADDING = 9
NAME_TO_COUNT = 7
COMPLEXITY_STEPS = (50, 150, 300)
"""Where the shade of a module changes; also shown in the legend."""


def core(graph: Row, ranking: Sequence[Row], cycles: Iterable[Row]) -> tuple[int, str]:
    """Draws the modules that carry the most and those in cycles on load; returns how many, and the SVG.

    Takes as many of the ranked as leave the names readable at the width of the page.
    """
    in_cycles = [name for cycle in cycles if not cycle["deferred"] for name in cycle["modules"]]
    always = set(in_cycles[:MAX_IN_CYCLES])

    def drawn(ranked: int) -> tuple[Drawing, dict[str, Row]]:
        rows = {row["module"]: row for row in ranking if row["rank"] <= ranked or row["module"] in always}
        return draw(graph["imports"], widths={name: _chip_width(row) for name, row in rows.items()}), rows

    tries = (drawn(ranked) for ranked in RANKED_DRAWN)
    fitting = ((drawing, rows) for drawing, rows in tries if drawing.width <= MAX_WIDTH)
    drawing, rows = next(fitting, None) or drawn(FEWEST_DRAWN)
    return len(rows), _svg(drawing, rows)


def _svg(drawing: Drawing, rows: Mapping[str, Row]) -> str:
    lines = "\n".join(_line(line) for line in _faint_first(drawing.lines))
    blocks = "\n".join(_block(block, number=number, rows=rows) for number, block in enumerate(drawing.blocks))
    width, height = round(drawing.width), round(drawing.height)
    return (
        f'<svg class="map" viewBox="0 0 {width} {height}" width="{width}" '
        f'style="min-width:{width * SMALLEST_SCALE:.0f}px" role="img" '
        f'aria-label="{many(len(rows), "module")}, each above the modules it imports">\n'
        f"<style>{_pointing(drawing)}</style>\n{lines}\n{blocks}\n</svg>"
    )


def shade(complexity: int) -> int:
    """Returns the shade of a module, 0 to 3."""
    return sum(complexity > step for step in COMPLEXITY_STEPS)


def _chip_width(row: Row) -> float:
    count = len(str(row["dependents"]))
    return 2 * CHIP_PADDING + len(row["module"]) * NAME_ADVANCE + NAME_TO_COUNT + count * COUNT_ADVANCE


def _faint_first(lines: Iterable[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: line.is_direct)


def _line(line: Line) -> str:
    kind = "line" if line.is_direct else "line via"
    return f'<path class="{kind} l{line.source} l{line.target}" d="{_curve(line.points)}"/>'


def _curve(points: Sequence[Point]) -> str:
    """Leads through points: straight where they are above each other, else bending half way."""
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (from_x, from_y), (x, y) in pairwise(points):
        half = (from_y + y) / 2
        if abs(from_x - x) < 0.1:
            parts.append(f"V{y:.1f}")
        else:
            parts.append(f"C{from_x:.1f} {half:.1f} {x:.1f} {half:.1f} {x:.1f} {y:.1f}")
    return "".join(parts)


def _block(block: Block, *, number: int, rows: Mapping[str, Row]) -> str:
    chips = "".join(_chip(rows[name], box) for name, box in block.chips)
    ring = _rectangle(block.box, radius=12, kind="ring") if len(block.chips) > 1 else ""
    return f'<g class="block b{number}">{ring}{chips}</g>'


def _chip(row: Row, box: Box) -> str:
    name = escape(row["module"])
    title = (
        f"{name}: needed by {many(row['dependents'], 'module')}, imported by {row['imported_by']:,}, "
        f"imports {row['imports']:,}. Complexity {row['complexity']:,}, {many(row['lines'], 'line')}, "
        f"rank {row['rank']:,}"
    )
    right = box.x + box.width - CHIP_PADDING
    baseline = box.y + box.height / 2 + 4.2
    return (
        f'<g class="chip s{shade(row["complexity"])}"><title>{title}</title>'
        f"{_rectangle(box, radius=7, kind='plate')}"
        f'<text x="{box.x + CHIP_PADDING:.1f}" y="{baseline:.1f}">{name}</text>'
        f'<text class="count" x="{right:.1f}" y="{baseline:.1f}">{row["dependents"]}</text></g>'
    )


def _rectangle(box: Box, *, radius: int, kind: str) -> str:
    return (
        f'<rect class="{kind}" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="{radius}"/>'
    )


def _pointing(drawing: Drawing) -> str:
    """Returns the rules that bring out the lines of the block that is pointed at."""
    hovers = (f".map:has(.b{number}:hover) .l{number}" for number in range(len(drawing.blocks)))
    return ",".join(hovers) + "{stroke:var(--ink);stroke-width:1.8;opacity:1}"
