"""What a run of the bench was asked for: one frozen object, made at the edge, in which every size has a
default that a full run uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum

from bench.rows import ONE_PROCESS
from bench.worker import Role

Tell = Callable[[str], None]
"""Told what is going on, for people who wait."""


class Layout(StrEnum):
    """Who does what."""

    ONE = ONE_PROCESS
    """The engine process also starts the flows and waits for their results."""
    TWO = "two processes"
    """One engine process; another one starts the flows and waits for their results."""

    @property
    def roles(self) -> tuple[Role, ...]:
        return (Role.BOTH,) if self is Layout.ONE else (Role.ENGINE, Role.CLIENT)


@dataclass(frozen=True, slots=True)
class Options:
    """How much of everything. Sizes are small in tests; the figures mean nothing then."""

    layouts: Sequence[Layout] = (Layout.ONE, Layout.TWO)
    flows: int | None = None
    """Started at once; None for the workload's own number."""
    tell: Tell = lambda text: None
    open: ExitStack = field(default_factory=ExitStack)
    """Closed when the bench is over: what probes share between rounds goes here."""

    hot_items: int = 10_000
    """W5: of one flow."""
    hot_parallelism: int = 400
    """W5: items of the flow that may run at a time: as many as four engines have slots."""
    hot_completions: int = 1_000
    """W5: from outside, into one flow."""
    engine_counts: Sequence[int] = (1, 2, 4)
    """W6: engines that are compared; W5 has the most of them."""
    scale_slots: Sequence[int] = (5, 100)
    """W6: slots an engine; few of them wait most of the time, many of them keep the processor busy."""
    kills: int = 3
    """W7: in each round."""
    lease_ms: int = 2_000
    """W7: how long an engine may be silent."""
    supply: int = 60
    """W7: flows on their way at any time."""
    idle_flows: int = 10_000
    """W8: finished ones."""
    idle_s: float = 20
    kept: Sequence[int] = (1_000, 10_000, 100_000)
    """W9: flows that are there already."""
    kept_step: int = 1_000
    """W9: flows that are measured beside them."""
    item_counts: Sequence[int] = (10, 100, 1_000, 10_000)
    """W9: of one flow; all flows of a run together have as many as the largest."""
    plan_sizes: Sequence[int] = (10, 100, 1_000)
    """W9: steps of a plan."""
