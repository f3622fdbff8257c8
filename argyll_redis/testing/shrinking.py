"""Which faults of a run that fails are needed for it to fail.

Delta debugging, after Zeller: halves are left out first, then quarters, at last single ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

MAX_TRIES = 80
"""Runs that are spent on making the faults of one seed fewer."""


def needed(drawn: Sequence[str], fails: Callable[[Sequence[str]], bool]) -> list[str]:
    """The faults without any of which a run does not fail, or, where that takes too many tries, fewer
    than before. `fails` runs it once more under some of them."""
    tries = 0

    def still_fails(faults: Sequence[str]) -> bool:
        nonlocal tries
        tries += 1
        return fails(faults)

    if still_fails([]):
        return []
    left, parts = list(drawn), 2
    while len(left) > 1 and tries < MAX_TRIES:
        size = -(-len(left) // parts)
        pieces = [left[place : place + size] for place in range(0, len(left), size)]
        smaller = _first_that_fails(pieces, left, still_fails)
        if smaller is not None:
            left, parts = smaller, max(2, parts - 1)
        elif parts >= len(left):
            break
        else:
            parts = min(len(left), 2 * parts)
    return left


def _first_that_fails(
    pieces: Sequence[list[str]], left: Sequence[str], fails: Callable[[Sequence[str]], bool]
) -> list[str] | None:
    """A piece that is enough, or what is enough without one."""
    for piece in pieces:
        if len(piece) < len(left) and fails(piece):
            return piece
    for piece in pieces if len(pieces) > 2 else ():
        rest = [fault for fault in left if fault not in piece]
        if fails(rest):
            return rest
    return None
