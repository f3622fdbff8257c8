"""The engines of a scenario: what they serve and lack, when they begin and are asked to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

QUEUES = ("default", "slow")
ENGINES = (2, 2, 3)
"""How many there are; what stands twice is drawn twice as often."""
LATE = 0.12
"""In how many runs engines begin later than flows."""
NEW_EVENTS = ("work_ignored", "work_skipped", "work_accepted", "step_skipped", "work_retry_scheduled")
"""Types of events that an engine of an older version may not know."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine, or those that take its place one after the other."""

    queues: tuple[str, ...]
    concurrency: int
    lease_ms: int
    grace_ms: int
    lacks: frozenset[str]
    """Steps whose function it does not have."""
    unknown: str | None
    """A type of event that it does not know, as one of an older version."""
    drain_ms: int | None
    """When it is asked to stop; another one takes its place."""
    begin_ms: int = 0
    """When it begins."""


def late(seed: int, engines: tuple[EngineSpec, ...], faults_ms: int) -> tuple[EngineSpec, ...]:
    """Lets the engines of some seeds begin when flows have begun before them."""
    draw = Random(f"late {seed}")
    if draw.random() >= LATE:
        return engines
    return tuple(replace(spec, begin_ms=round(draw.random() * 0.5 * faults_ms)) for spec in engines)


def draw_engines(
    draw: Random, steps: Sequence[str], lease_ms: int, faults_ms: int, disaster: str, *, loses: bool
) -> tuple[EngineSpec, ...]:
    """Draws engines; each leaves out some of what others do."""
    engines: list[EngineSpec] = []
    for number in range(draw.choice(ENGINES)):
        serves_all = number == 0 or draw.random() < 0.7
        queues = QUEUES if serves_all else (draw.choice(QUEUES),)
        lacks = draw.sample(steps, 1) if number and draw.random() < 0.1 else []
        may_be_older = number > 0 and not loses and not disaster
        engines.append(
            EngineSpec(
                queues=("builtin", *queues),
                concurrency=1 if disaster == "full" else draw.randint(1, 4),
                lease_ms=lease_ms if draw.random() < 0.8 else round(1.5 * lease_ms),
                grace_ms=round(draw.choice((0.2, 3.0, 3.0)) * lease_ms),
                lacks=frozenset(lacks),
                unknown=draw.choice(NEW_EVENTS) if may_be_older and draw.random() < 0.12 else None,
                drain_ms=round(draw.random() * faults_ms) if draw.random() < 0.35 else None,
            )
        )
    return tuple(engines)
