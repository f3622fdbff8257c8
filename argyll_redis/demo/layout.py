"""Places modules on a page: above what they import, with few crossings (after Sugiyama 1981).

Modules that import each other become one block. Blocks go into rows, a block above all it needs;
a line that passes a row gets a place in it; rows are ordered to cross little and then moved to
stand under their neighbours. No chance is involved: the same graph gives the same drawing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

from argyll_redis.demo.graph import Imports, reach
from argyll_redis.demo.rows import BLOCK_GAP, rows_of

Point: TypeAlias = tuple[float, float]

CHIP_HEIGHT = 28
CHIP_GAP = 8
BLOCK_PADDING = 10
"""Around the chips of a block of several modules."""
PASSING_WIDTH = 2
"""Room a line takes where it passes a row."""
PASSING_GAP = 12
"""Between lines that pass a row side by side."""
ROW_GAP = 44
MARGIN = 14
ORDER_SWEEPS = 24
PLACE_SWEEPS = 80
STRAIGHTNESS = 8.0
"""How much more a line minds a bend where it passes rows than where it ends (Gansner et al. 1993)."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle by its upper left corner, in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Block:
    """One module, or several that import each other, with a box for each (a chip)."""

    box: Box
    chips: tuple[tuple[str, Box], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """An import from one block to another; blocks are given by their positions."""

    source: int
    target: int
    is_direct: bool
    """False when it leads through modules that are not drawn."""
    points: tuple[Point, ...]
    """From the source's lower edge to the target's upper edge."""


@dataclass(frozen=True, slots=True)
class Drawing:
    width: float
    height: float
    blocks: tuple[Block, ...]
    lines: tuple[Line, ...]


def draw(imports: Imports, *, widths: Mapping[str, float]) -> Drawing:
    """Draws the modules that have a width (of their chip, in pixels), and what leads between them.

    Lines follow all imports, those through modules not drawn included; a line is left out where
    others lead the same way, as an import of an import.
    """
    groups, needs = _groups(imports, drawn=sorted(widths))
    sizes = [_size(group, widths) for group in groups]
    rows = rows_of(needs, widths=[width for width, _ in sizes])
    grid = _grid(rows, needs)
    _order(grid)
    centres = _place(grid, widths=[width for width, _ in sizes])
    return _drawing(grid, centres=centres, groups=groups, imports=imports, sizes=sizes, widths=widths)


# --------------------------------------------------------------------- blocks


def _groups(imports: Imports, *, drawn: Sequence[str]) -> tuple[list[tuple[str, ...]], list[set[int]]]:
    """Returns the blocks, and for each those it needs that no other block between leads to."""
    known = reach(imports)
    by_group: dict[int, list[str]] = {}
    for name in drawn:
        by_group.setdefault(known.group[name], []).append(name)
    keys = list(by_group)
    all_needs = [
        {other for other, key in enumerate(keys) if other != index and known.needs[by_group[own][0]] & key}
        for index, own in enumerate(keys)
    ]
    reduced = [needs.difference(*(all_needs[other] for other in needs)) for needs in all_needs]
    return [tuple(names) for names in by_group.values()], reduced


def _size(group: Sequence[str], widths: Mapping[str, float]) -> tuple[float, float]:
    if len(group) == 1:
        return widths[group[0]], CHIP_HEIGHT
    rows = _chip_rows(group)
    width = max(sum(widths[name] + CHIP_GAP for name in row) - CHIP_GAP for row in rows)
    height = len(rows) * (CHIP_HEIGHT + CHIP_GAP) - CHIP_GAP
    return width + 2 * BLOCK_PADDING, height + 2 * BLOCK_PADDING


def _chip_rows(group: Sequence[str]) -> list[Sequence[str]]:
    columns = math.ceil(math.sqrt(len(group)))
    return [group[start : start + columns] for start in range(0, len(group), columns)]


# ----------------------------------------------------------------------- grid


@dataclass(slots=True)
class _Grid:
    """Rows of cells. A cell is a block, or a place where a line passes; cells are numbered, blocks first."""

    rows: list[list[int]]
    blocks: int
    below: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    above: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    lines: list[list[int]] = field(default_factory=list[list[int]])
    """Each line as the cells it leads through, from its source to its target."""

    def is_block(self, cell: int) -> bool:
        return cell < self.blocks


def _grid(rows: list[list[int]], needs: Sequence[set[int]]) -> _Grid:
    grid = _Grid(rows=rows, blocks=len(needs))
    row_of = {block: index for index, row in enumerate(rows) for block in row}
    passing = len(needs)
    for source in sorted(row_of):
        for target in sorted(needs[source]):
            line = [source]
            for row in range(row_of[source] - 1, row_of[target], -1):
                rows[row].append(passing)
                line.append(passing)
                passing += 1
            line.append(target)
            grid.lines.append(line)
    for line in grid.lines:
        for upper, lower in pairwise(line):
            grid.below.setdefault(upper, []).append(lower)
            grid.above.setdefault(lower, []).append(upper)
    return grid


def _order(grid: _Grid) -> None:
    """Orders the cells of each row by where their neighbours stand, and keeps the best order seen."""
    best = [list(row) for row in grid.rows]
    fewest = _crossings(grid)
    for sweep in range(ORDER_SWEEPS):
        downwards = sweep % 2 == 0
        neighbours = grid.above if downwards else grid.below
        rows = range(len(grid.rows) - 1, -1, -1) if downwards else range(len(grid.rows))
        for row in rows:
            _sort_row(grid, row, neighbours=neighbours)
        crossings = _crossings(grid)
        if crossings < fewest:
            best, fewest = [list(row) for row in grid.rows], crossings
    grid.rows[:] = best


def _sort_row(grid: _Grid, row: int, *, neighbours: Mapping[int, Sequence[int]]) -> None:
    position = _positions(grid)

    def wish(cell: int) -> float:
        near = neighbours.get(cell, ())
        return sum(position[other] for other in near) / len(near) if near else position[cell]

    grid.rows[row].sort(key=lambda cell: (wish(cell), position[cell]))


def _positions(grid: _Grid) -> dict[int, float]:
    """Returns where each cell stands in its row, from 0 to 1."""
    return {cell: (index + 0.5) / len(row) for row in grid.rows for index, cell in enumerate(row)}


def _crossings(grid: _Grid) -> int:
    position = _positions(grid)
    count = 0
    for row in grid.rows:
        ends = sorted((position[cell], position[below]) for cell in row for below in grid.below.get(cell, ()))
        for index, (left, left_end) in enumerate(ends):
            count += sum(1 for right, end in ends[index + 1 :] if right > left and end < left_end)
    return count


# ---------------------------------------------------------------------- place


def _place(grid: _Grid, *, widths: Sequence[float]) -> dict[int, float]:
    """Returns the centre of each cell across the page: near its neighbours, never over another."""
    room = {cell: widths[cell] if grid.is_block(cell) else PASSING_WIDTH for row in grid.rows for cell in row}
    centres: dict[int, float] = {}
    for row in grid.rows:
        edge = -sum(room[cell] + BLOCK_GAP for cell in row) / 2
        for cell in row:
            centres[cell] = edge + room[cell] / 2
            edge += room[cell] + BLOCK_GAP
    for sweep in range(PLACE_SWEEPS):
        for row in grid.rows if sweep % 2 else reversed(grid.rows):
            wishes = [_wish(grid, cell, centres) for cell in row]
            gaps = [_gap(grid, left, right, room) for left, right in pairwise(row)]
            centres.update(zip(row, _spread(wishes, gaps), strict=True))
    return centres


def _gap(grid: _Grid, left: int, right: int, room: Mapping[int, float]) -> float:
    """Returns how far apart the centres of two neighbours in a row are at least."""
    both_pass = not grid.is_block(left) and not grid.is_block(right)
    return (room[left] + room[right]) / 2 + (PASSING_GAP if both_pass else BLOCK_GAP)


def _wish(grid: _Grid, cell: int, centres: Mapping[int, float]) -> tuple[float, float]:
    """Returns where a cell would like its centre, and how much; passing lines want to be straight."""
    near = [*grid.above.get(cell, ()), *grid.below.get(cell, ())]
    if not near:
        return centres[cell], 0.1
    passing = not grid.is_block(cell)
    pulls = [
        (STRAIGHTNESS if passing and not grid.is_block(other) else 1.0, centres[other]) for other in near
    ]
    strength = sum(pull for pull, _ in pulls)
    return sum(pull * centre for pull, centre in pulls) / strength, strength


def _spread(wishes: Sequence[tuple[float, float]], gaps: Sequence[float]) -> list[float]:
    """Returns positions at least the gaps apart, with the least squared distance from the wishes.

    Without the gaps taken off this is a regression to a rising sequence, and pooling neighbours that
    stand the wrong way round solves it exactly.
    """
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    pools: list[tuple[float, float, int]] = []  # mean, weight, cells
    for (wish, weight), offset in zip(wishes, offsets, strict=True):
        mean, cells = wish - offset, 1
        while pools and pools[-1][0] > mean:
            left_mean, left_weight, left_cells = pools.pop()
            mean = (left_mean * left_weight + mean * weight) / (left_weight + weight)
            weight, cells = left_weight + weight, left_cells + cells
        pools.append((mean, weight, cells))
    level = [mean for mean, _, cells in pools for _ in range(cells)]
    return [mean + offset for mean, offset in zip(level, offsets, strict=True)]


# -------------------------------------------------------------------- drawing


def _drawing(
    grid: _Grid,
    *,
    groups: Sequence[tuple[str, ...]],
    sizes: Sequence[tuple[float, float]],
    centres: Mapping[int, float],
    widths: Mapping[str, float],
    imports: Imports,
) -> Drawing:
    """Turns rows and centres into pixels, from the upper left corner."""
    shafts = _shafts(grid, sizes=sizes, centres=centres)
    boxes = [
        Box(shafts[block].x - width / 2, shafts[block].middle - height / 2, width, height)
        for block, (width, height) in enumerate(sizes)
    ]
    lines = [
        Line(
            source=line[0],
            target=line[-1],
            is_direct=any(name in groups[line[-1]] for user in groups[line[0]] for name in imports[user]),
            points=_points(boxes[line[0]], boxes[line[-1]], shafts=[shafts[cell] for cell in line]),
        )
        for line in grid.lines
    ]
    right = max([box.x + box.width for box in boxes] + [shaft.x for shaft in shafts.values()])
    return Drawing(
        width=right + MARGIN,
        height=max(shaft.bottom for shaft in shafts.values()) + MARGIN,
        blocks=tuple(
            Block(box, _chips(group, box, widths)) for group, box in zip(groups, boxes, strict=True)
        ),
        lines=tuple(lines),
    )


@dataclass(frozen=True, slots=True)
class _Shaft:
    """The upright through a cell, as high as its row: lines only bend between rows."""

    x: float
    top: float
    bottom: float

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


def _shafts(
    grid: _Grid, *, sizes: Sequence[tuple[float, float]], centres: Mapping[int, float]
) -> dict[int, _Shaft]:
    left = min(
        centre - (sizes[cell][0] / 2 if grid.is_block(cell) else 0.0) for cell, centre in centres.items()
    )
    shafts: dict[int, _Shaft] = {}
    top = float(MARGIN)
    for row in reversed(grid.rows):
        bottom = top + max(sizes[cell][1] for cell in row if grid.is_block(cell))
        shafts.update((cell, _Shaft(x=centres[cell] - left + MARGIN, top=top, bottom=bottom)) for cell in row)
        top = bottom + ROW_GAP
    return shafts


def _points(source: Box, target: Box, *, shafts: Sequence[_Shaft]) -> tuple[Point, ...]:
    """Leads from the source's lower edge, through the shafts of a line, to the target's upper edge."""
    points: list[Point] = [(shafts[0].x, source.y + source.height)]
    for upper, lower in pairwise(shafts):
        points.append((upper.x, upper.bottom))
        points.append((lower.x, lower.top))
    return (*points, (shafts[-1].x, target.y))


def _chips(group: Sequence[str], box: Box, widths: Mapping[str, float]) -> tuple[tuple[str, Box], ...]:
    if len(group) == 1:
        return ((group[0], box),)
    chips: list[tuple[str, Box]] = []
    y = box.y + BLOCK_PADDING
    for row in _chip_rows(group):
        x = box.x + (box.width - sum(widths[name] + CHIP_GAP for name in row) + CHIP_GAP) / 2
        for name in row:
            chips.append((name, Box(x, y, widths[name], CHIP_HEIGHT)))
            x += widths[name] + CHIP_GAP
        y += CHIP_HEIGHT + CHIP_GAP
    return tuple(chips)
