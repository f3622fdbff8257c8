"""Limits that are too wide for a short run to meet, made narrow for one run.

Nobody has 500 missed events, or 100 items in a turn, in a run of seconds; but the code for what lies
beyond is the code that nobody tries. A seed draws some limits and makes them small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from random import Random
from types import ModuleType

from argyll_redis.core import turn
from argyll_redis.runtime import committer, logs, sweep
from argyll_redis.store import memory, memory_partition, memory_types

LIKELY = 0.12
"""How likely a limit is made narrow."""

LIMITS: Mapping[str, tuple[ModuleType, tuple[int, ...]]] = {
    "MAX_ITEMS_A_TURN": (turn, (1, 2, 5)),
    "MAX_COMMANDS_A_TURN": (committer, (1, 2)),
    "TURNS_A_CALL": (committer, (1, 2)),
    "EVENTS_A_CALL": (committer, (1, 6)),
    "CALLS_IN_FLIGHT": (committer, (1, 2)),
    "PAGE_EVENTS": (logs, (1, 2, 5)),
    "PLANS": (logs, (1, 2)),
    "SWEEP_HEADS": (sweep, (1, 2)),
    "MISSED_LIMIT": (memory_partition, (2, 5)),
    "UNNAMED_LIMIT": (memory, (1,)),
    "FEED_LENGTH": (memory_types, (1, 3)),
}
"""By name: the module that goes by it, and what it may be. A refusal brings the event that its caller holds
and the one after it at least: by that one a transaction knows itself."""


def draw_limits(draw: Random) -> dict[str, int]:
    """Draws which limits are narrow in a run."""
    return {name: draw.choice(values) for name, (_, values) in LIMITS.items() if draw.random() < LIKELY}


@contextmanager
def narrowed(limits: Mapping[str, int]) -> Iterator[None]:
    """Makes limits narrow for a while."""
    before = {name: getattr(LIMITS[name][0], name) for name in limits}
    try:
        for name, limit in limits.items():
            setattr(LIMITS[name][0], name, limit)
        yield
    finally:
        for name, limit in before.items():
            setattr(LIMITS[name][0], name, limit)
