"""Faults in time: what is done to whom and when, drawn from the seed before anything begins."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from tests.chaos.report import Report

Strike = Callable[[], Coroutine[Any, Any, None]]
"""Does something bad, now; returns when it is over."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a plan."""

    at_s: float
    name: str


def exactly(draw: random.Random, counts: Mapping[str, int], *, over_s: float) -> list[Fault]:
    """So many of each, in random order, spread over a time."""
    names = [name for name, count in counts.items() for _ in range(count)]
    draw.shuffle(names)
    gap_s = over_s / max(1, len(names))
    return [Fault((place + draw.random()) * gap_s, name) for place, name in enumerate(names)]


def weighted(draw: random.Random, weights: Mapping[str, int], *, count: int, over_s: float) -> list[Fault]:
    """So many faults, each drawn by weight."""
    names = draw.choices(list(weights), list(weights.values()), k=count)
    gap_s = over_s / max(1, count)
    return [Fault((place + draw.random()) * gap_s, name) for place, name in enumerate(names)]


async def strike_all(plan: list[Fault], strikes: Mapping[str, Strike], report: Report) -> None:
    """Does all faults of a plan at their times. A fault that lasts does not hold up the next one."""
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for fault in plan:
            await asyncio.sleep(max(0.0, began_s + fault.at_s - time.monotonic()))
            report.faults[fault.name] += 1
            group.create_task(strikes[fault.name]())
