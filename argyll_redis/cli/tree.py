"""The steps of a plan as a tree: goals at the left, under each step what it needs.

A plan is a graph, so a step that several others need stands under the first of them; that the others
wait for it is said beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

MAX_DEPTH = 4
"""Levels that are indented: deeper steps stand as deep as these, after an ellipsis."""


class Glyphs(NamedTuple):
    """What branches are drawn with, two columns each."""

    more: str
    last: str
    past: str
    """Beside the branches of a step that has others after it."""
    none: str
    cut: str


UNICODE = Glyphs("├ ", "└ ", "│ ", "  ", "… ")
ASCII = Glyphs("|-", "`-", "| ", "  ", "..")


def branches(needs: Mapping[str, Sequence[str]], goals: Sequence[str], glyphs: Glyphs) -> dict[str, str]:
    """Each step in the order of the tree, with what is drawn before its name.

    `needs` are all steps, each with those that provide for it. Not recursive: a chain may be long.
    """
    shown: dict[str, str] = {}
    roots = [goal for goal in goals if goal in needs]
    todo: list[tuple[str, tuple[str, ...], str]] = [(step, (), "") for step in reversed(roots)]
    claimed = set(roots)
    while todo:
        step, above, branch = todo.pop()
        shown[step] = _indented((*above, branch), glyphs) if branch else ""
        children = [each for each in needs[step] if each in needs and each not in claimed]
        claimed.update(children)
        if branch:
            above = (*above, glyphs.none if branch == glyphs.last else glyphs.past)
        below = [(child, above, glyphs.more) for child in children]
        if below:
            below[-1] = (below[-1][0], above, glyphs.last)
        todo.extend(reversed(below))
        if not todo:
            todo.extend((each, (), "") for each in needs if each not in claimed)
            claimed.update(needs)
    return shown


def _indented(levels: tuple[str, ...], glyphs: Glyphs) -> str:
    if len(levels) <= MAX_DEPTH:
        return "".join(levels)
    return glyphs.cut + "".join(levels[-MAX_DEPTH + 1 :])
