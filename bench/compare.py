"""A run beside one that was recorded: its ratios and counts, and which of them have become worse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.ratios import Ratio, ratios
from bench.rows import Row
from bench.tables import Table, number

MARGIN = 0.25
"""How much worse a ratio may be before that is bad news: neighbours on a shared machine move it by less."""
LEAST = 0.05
"""And by how much in absolute numbers, where less is better: what was nothing may become next to nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """One ratio, then and now."""

    then: Ratio
    now: Ratio | None
    """None where the new run has not measured it."""
    margin: float

    @property
    def is_worse(self) -> bool:
        """Whether the median is beyond the margin."""
        if self.now is None:
            return False
        if self.then.is_better_when == "more":
            return self.now.value < self.then.value * (1 - self.margin)
        return self.now.value > self.then.value * (1 + self.margin) + LEAST

    @property
    def verdict(self) -> str:
        """What to say of it."""
        if self.now is None:
            return "not measured"
        return "worse" if self.is_worse else "as it was, or better"


def compare(then: Iterable[Row], now: Iterable[Row], *, margin: float = MARGIN) -> Iterator[Change]:
    """Every ratio of the old run beside that of the new one. A row of other sizes than the old one's is no
    measurement of the same."""
    old = list(then)
    flows = {_about(row): row.flows for row in old}
    alike = (row for row in now if flows.get(_about(row), row.flows) == row.flows)
    found = {ratio.name: ratio for ratio in ratios(alike)}
    for ratio in ratios(old):
        yield Change(ratio, found.get(ratio.name), margin)


def _about(row: Row) -> tuple[object, ...]:
    """What a row is about, its number of flows left out."""
    return (row.workload, row.system, row.layout, row.engines, row.aof, row.rtt_ms, row.size)


def table_of(changes: Iterable[Change], *, margin: float) -> Table:
    """What was compared."""
    body = [
        (
            change.then.name,
            number(change.then.value),
            "" if change.now is None else number(change.now.value),
            "" if change.now is None else f"({number(change.now.low)}-{number(change.now.high)})",
            change.verdict,
        )
        for change in changes
    ]
    return Table(f"Then and now; worse means by more than {margin:.0%}", ("", "then", "now", "", ""), body)
