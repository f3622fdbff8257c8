"""What argyll_redis sets out to reach, each with what a run has measured.

Ratios are of one run; absolute figures say as much as the machine does. What was measured in a smaller size
than a workload's own says nothing of a target, and does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from bench.options import Options
from bench.ratios import (
    PYTHON_PEERS,
    Rows,
    figures,
    growth,
    over_best,
    p50_over_best,
    per_run,
)
from bench.rows import OURS, Row
from bench.tables import number
from bench.workloads import WORKLOADS

WHOLE = Options()
"""The sizes of a full run."""
GROWN = 10_000
"""W9: the least that the largest size has to be."""


@dataclass(frozen=True, slots=True)
class Target:
    """One row of the table."""

    what: str
    values: Callable[[Rows], Sequence[float]]
    """What each run came to; nothing where it was not measured."""
    goal: float
    unit: str = ""
    is_at_most: bool = False
    """Whether less is better."""
    dream: float | None = None
    """What would be more than enough."""

    def is_reached(self, value: float) -> bool:
        return value <= self.goal if self.is_at_most else value >= self.goal

    @property
    def words(self) -> str:
        """The goal, for people."""
        return f"{'at most' if self.is_at_most else 'at least'} {number(self.goal)}{self.unit}"


@dataclass(frozen=True, slots=True)
class Judged:
    """A target, and what came of it."""

    target: Target
    values: Sequence[float]

    @property
    def verdict(self) -> str:
        """`reached`, `not reached`, `in some runs`, or `not measured`."""
        if not self.values:
            return "not measured"
        reached = [self.target.is_reached(value) for value in self.values]
        if self.target.is_reached(median(self.values)):
            return "reached" if all(reached) else "reached, not in every run"
        return "not reached"

    @property
    def measured(self) -> str:
        """Median, least and most."""
        if not self.values:
            return ""
        middle = f"{number(median(self.values))}{self.target.unit}"
        if len(self.values) == 1:
            return middle
        return f"{middle} ({number(min(self.values))} to {number(max(self.values))})"


def judge(rows: Iterable[Row]) -> Iterator[Judged]:
    """Every target with what the rows say of it."""
    found = Rows(row for row in rows if _is_whole(row))
    for target in TARGETS:
        yield Judged(target, target.values(found))


def _is_whole(row: Row) -> bool:
    """Whether a row is of its workload's own size."""
    if row.system != OURS:
        return True  # a slow system has fewer flows, which are enough for a rate
    match row.workload:
        case "W5":
            sizes = {"items": WHOLE.hot_items, "completions": WHOLE.hot_completions}
            return row.size == sizes[row.layout] and row.engines == max(WHOLE.engine_counts)
        case "W8":
            return row.flows >= WHOLE.idle_flows
        case workload if workload in WORKLOADS:
            return row.flows >= WORKLOADS[workload].flows
        case _:
            return True


# ------------------------------------------------------------------------ measured


def _over(workload: str, peer: str) -> Callable[[Rows], Sequence[float]]:
    return lambda rows: over_best(rows, workload, (peer,))


def _main(workload: str, name: str) -> Callable[[Rows], Sequence[float]]:
    return lambda rows: figures(rows.main(workload), name)


def _hot(layout: str, name: str) -> Callable[[Rows], Sequence[float]]:
    return lambda rows: figures(rows.find("W5", layout=layout), name)


def _round_trips_a_commit(rows: Rows) -> Sequence[float]:
    row = rows.main("W1")
    trips, commits = figures(row, "round_trips_per_flow"), figures(row, "commits_per_flow")
    return [a / b for a, b in zip(trips, commits, strict=False)]


def _engines(count: int) -> Callable[[Rows], Sequence[float]]:
    """Of the layout in which engines wait most, the processors being shared by all."""

    def values(rows: Rows) -> Sequence[float]:
        one = rows.find("W6", engines=1, aof="everysec")
        if one is None:
            return []
        more = rows.find("W6", engines=count, layout=one.layout, aof="everysec")
        return per_run(more, one, "flows_per_s")

    return values


def _beyond_leases(rows: Rows) -> Sequence[float]:
    """The s that p99 takes beyond 1.25 leases."""
    row = rows.find("W7")
    if row is None or row.lease_ms is None:
        return []
    return [(ms - 1.25 * row.lease_ms) / 1000 for ms in figures(row, "p99_ms")]


def _growth(layout: str) -> Callable[[Rows], Sequence[float]]:
    """Where it has grown far enough."""

    def values(rows: Rows) -> Sequence[float]:
        largest = max((row.size or 0 for row in rows.all("W9", layout=layout)), default=0)
        return growth(rows, layout) if largest >= GROWN else []

    return values


def _largest_plan(rows: Rows) -> Sequence[float]:
    plans = [row for row in rows.all("W9") if row.plan_ms is not None and row.size == 1_000]
    return figures(plans[0], "plan_ms") if plans else []


def _kept_of(workload: str, **about: object) -> Callable[[Rows], Sequence[float]]:
    """The share of flows/s that is left under other circumstances."""

    def values(rows: Rows) -> Sequence[float]:
        return per_run(rows.main(workload, **about), rows.main(workload), "flows_per_s")

    return values


TARGETS: Sequence[Target] = (
    Target("W1, one engine process: flows/s over BullMQ", _over("W1", "bullmq"), 3, " times"),
    Target(
        "W1: flows/s over the fastest Python peer",
        lambda rows: over_best(rows, "W1", PYTHON_PEERS), 10, " times",
    ),
    Target("W1: flows/s over DBOS", _over("W1", "dbos"), 30, " times"),
    Target("W1, one flow at a time: p50", _main("W1", "p50_ms"), 3, " ms", is_at_most=True, dream=1.5),
    Target(
        "W1, one flow at a time: p50 over the best peer's",
        lambda rows: p50_over_best(rows, "W1"), 0.5, " times", is_at_most=True,
    ),
    Target("W2: flows/s over BullMQ", _over("W2", "bullmq"), 3, " times", dream=5),
    Target("W3: flows/s over BullMQ", _over("W3", "bullmq"), 3, " times", dream=5),
    Target("W1: share of the ceiling", _main("W1", "ceiling_share"), 0.35, dream=0.6),
    Target("W1: commits a flow", _main("W1", "commits_per_flow"), 6, is_at_most=True),
    Target("W1: round trips a commit, under load", _round_trips_a_commit, 1, is_at_most=True),
    Target("W5: a flow of 10,000 items", _hot("items", "seconds"), 15, " s", is_at_most=True, dream=5),
    Target("W5: conflicts a commit, items", _hot("items", "conflicts_per_commit"), 0.2, is_at_most=True),
    Target(
        "W5: conflicts a commit, completions from outside",
        _hot("completions", "conflicts_per_commit"), 0.2, is_at_most=True,
    ),
    Target("W6: flows/s of two engines over one", _engines(2), 1.8, " times"),
    Target(
        "W7: p99 until an item runs again, beyond 1.25 leases", _beyond_leases, 1, " s", is_at_most=True
    ),
    Target(
        "W8: an idle engine's processor time",
        lambda rows: figures(rows.find("W8"), "engine_cpu_percent"), 1, " % of a core", is_at_most=True,
    ),
    Target(
        "W8: an idle engine's round trips",
        lambda rows: figures(rows.find("W8"), "round_trips_per_s"), 10, " a second", is_at_most=True,
    ),
    Target(
        "W9: an event beside more flows that are kept, over few",
        _growth("W1, flows kept"), 1.3, " times", is_at_most=True,
    ),
    Target(
        "W9: an event of flows of more items, over few",
        _growth("items of a flow"), 1.3, " times", is_at_most=True,
    ),
    Target("W9: a plan of 1,000 steps", _largest_plan, 50, " ms", is_at_most=True),
    Target(
        "W1: bytes a flow, whole history",
        _main("W1", "bytes_per_flow"), 6_000, is_at_most=True, dream=4_000,
    ),
    Target("W1: flows/s left with AOF always", _kept_of("W1", aof="always"), 0.5),
    Target("W1: flows/s left at 2 ms", _kept_of("W1", rtt_ms=2.0), 0.5),
    Target("W1: longest call of the server", _main("W1", "longest_call_ms"), 1, " ms", is_at_most=True),
)  # fmt: skip
"""In the order in which the report shows them."""
