"""How often Python looks for garbage while a process is an engine.

Nearly everything that an engine makes is freed as soon as nobody refers to it, or kept for as long as a
flow is known. Looking for cycles among that each few hundred objects, as Python does by itself, takes a
fifth of an engine's time, on a busy machine two fifths, and finds next to nothing (docs/performance.md).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

AT_FIRST = frozenset({(700, 10, 10), (2_000, 10, 10), (2_000, 10, 0)})
"""What versions of Python set by themselves. Who has set something else has thought about it."""
SELDOM = (50_000, 20, 50)
"""Objects made beyond those freed before the youngest are looked through (some MB), and how many such looks
before one at the older ones."""


class _Engines:
    """The engines that run in this process."""

    count: int = 0
    before: tuple[int, int, int] = (0, 0, 0)
    """What had been set before the first of them."""


@contextmanager
def collected_seldom() -> Iterator[None]:
    """Looks for garbage less often until the last engine of this process has ended; a process that has
    set how often is left as it is."""
    if _Engines.count == 0 and gc.get_threshold() in AT_FIRST:
        _Engines.before = gc.get_threshold()
        gc.set_threshold(*SELDOM)
    _Engines.count += 1
    try:
        yield
    finally:
        _Engines.count -= 1
        if _Engines.count == 0 and gc.get_threshold() == SELDOM:
            gc.set_threshold(*_Engines.before)
