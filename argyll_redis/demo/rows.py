"""Gives each block of a drawing its row: above all it needs, and close to what uses it.

Blocks are numbers here; `needs` says for each which others it leads to, and never in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

MAX_ROW_WIDTH = 1080
"""Width in pixels that the blocks of one row fill at most, unless one alone is wider."""
BLOCK_GAP = 20
"""Between neighbours in a row, in pixels."""


def rows_of(needs: Sequence[set[int]], *, widths: Sequence[float]) -> list[list[int]]:
    """Gives each block a row above all it needs; row 0 is the lowest."""
    shelves = _Shelves(widths=widths)
    users = _users(needs)
    upwards = _upwards(needs)
    for block in upwards:
        shelves.put(block, at_least=_row_above(needs[block], shelves.row_of))
    # Lifting a block to just below its lowest user shortens a line for each user and stretches one
    # for each need. Blocks that nobody uses do not hold others down: they are put on top at the end.
    for block in reversed(upwards):
        if len(users[block]) >= max(1, len(needs[block])):
            holding = [user for user in users[block] if users[user]] or users[block]
            shelves.lift(block, below=min(shelves.row_of[user] for user in holding))
    for block in upwards:
        if not users[block]:
            floor = _row_above(needs[block], shelves.row_of) if needs[block] else max(shelves.row_of.values())
            shelves.put(block, at_least=floor)
    return shelves.rows()


def _row_above(needs: Iterable[int], row_of: Mapping[int, int]) -> int:
    return max((row_of[needed] + 1 for needed in needs), default=0)


@dataclass(slots=True)
class _Shelves:
    """Which block stands in which row, and how full the rows are."""

    widths: Sequence[float]
    row_of: dict[int, int] = field(default_factory=dict[int, int])
    filled: dict[int, float] = field(default_factory=dict[int, float])

    def put(self, block: int, *, at_least: int) -> None:
        """Puts a block into the lowest row from `at_least` on that has room."""
        self._take_out(block)
        row = at_least
        while not self._has_room(row, block):
            row += 1
        self._put_in(block, row)

    def lift(self, block: int, *, below: int) -> None:
        """Moves a block up to the highest row under `below` that has room, if that is any higher."""
        old = self.row_of[block]
        self._take_out(block)
        rows = (row for row in range(below - 1, old, -1) if self._has_room(row, block))
        self._put_in(block, next(rows, old))

    def rows(self) -> list[list[int]]:
        used = sorted(set(self.row_of.values()))
        return [[block for block in sorted(self.row_of) if self.row_of[block] == row] for row in used]

    def _has_room(self, row: int, block: int) -> bool:
        filled = self.filled.get(row, 0.0)
        return not filled or filled + self.widths[block] + BLOCK_GAP <= MAX_ROW_WIDTH

    def _put_in(self, block: int, row: int) -> None:
        self.row_of[block] = row
        self.filled[row] = self.filled.get(row, 0.0) + self.widths[block] + BLOCK_GAP

    def _take_out(self, block: int) -> None:
        if block in self.row_of:
            self.filled[self.row_of.pop(block)] -= self.widths[block] + BLOCK_GAP


def _upwards(needs: Sequence[set[int]]) -> list[int]:
    """Orders blocks so that each comes after all it needs."""
    depths: dict[int, int] = {}
    waiting = list(range(len(needs)))
    while waiting:
        ready = [block for block in waiting if needs[block] <= depths.keys()]
        depths.update((block, len(depths)) for block in ready)
        waiting = [block for block in waiting if block not in depths]
    return list(depths)


def _users(needs: Sequence[set[int]]) -> list[list[int]]:
    users: list[list[int]] = [[] for _ in needs]
    for block, needed in enumerate(needs):
        for other in sorted(needed):
            users[other].append(block)
    return users
