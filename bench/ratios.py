"""What can be compared between machines and between days: ratios of figures of one run, and counts.

The n-th runs of all rows were neighbours in time, so a ratio is taken run by run; median, least and most
are those of the runs' own ratios.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from bench.rows import ONE_PROCESS, OURS, Row

PYTHON_PEERS = ("saq", "taskiq", "celery", "docket", "dbos")
THROUGHPUT = ("W0", "W1", "W2", "W3", "W4")


@dataclass(frozen=True, slots=True)
class Ratio:
    """Something that each run says about itself."""

    name: str
    values: Sequence[float]
    """One a run."""
    is_better_when: str
    """`more` or `less`."""

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


class Rows:
    """The rows of a run, found by what they are about."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = list(rows)

    def find(self, workload: str, **about: object) -> Row | None:
        """The first row of a workload that is about this; ours, with AOF everysec and no distance,
        where nothing else is said."""
        wanted = {"system": OURS, "rtt_ms": 0, **about}
        for row in self._rows:
            if row.workload == workload and all(
                getattr(row, name) == value for name, value in wanted.items()
            ):
                return row
        return None

    def all(self, workload: str, **about: object) -> list[Row]:
        """All of them."""
        return [
            row
            for row in self._rows
            if row.workload == workload and all(getattr(row, name) == value for name, value in about.items())
        ]

    def main(self, workload: str, **about: object) -> Row | None:
        """Ours in one process, with AOF everysec and no distance."""
        return self.find(workload, **{"layout": ONE_PROCESS, "aof": "everysec", **about})

    def peers(self, workload: str, names: Sequence[str] | None = None) -> list[Row]:
        """Other systems' rows."""
        return [
            row
            for row in self._rows
            if row.workload == workload and row.system != OURS and (names is None or row.system in names)
        ]


def per_run(over: Row | None, under: Row | None, name: str) -> list[float]:
    """One row's figure over another's, run by run."""
    if over is None or under is None:
        return []
    pairs = zip(over.each.get(name, ()), under.each.get(name, ()), strict=False)
    return [a / b for a, b in pairs if a is not None and b]


def figures(row: Row | None, name: str) -> list[float]:
    """A figure of every run in which it is known."""
    return [] if row is None else [value for value in row.each.get(name, ()) if value is not None]


def over_best(rows: Rows, workload: str, names: Sequence[str] | None = None) -> list[float]:
    """Our flows/s over those of the best of some peers, run by run."""
    return _over(rows.main(workload), rows.peers(workload, names), "flows_per_s", max)


def p50_over_best(rows: Rows, workload: str) -> list[float]:
    """Our p50, one flow at a time, over the best of all peers'."""
    return _over(rows.main(workload), rows.peers(workload), "p50_ms", min)


def growth(rows: Rows, layout: str) -> list[float]:
    """What an event costs at the size where it is dearest, over what it costs at the smallest size."""
    series = [row for row in rows.all("W9", layout=layout) if row.us_per_event and row.size]
    if len(series) < 2:
        return []
    first, *others = sorted(series, key=lambda row: row.size or 0)
    dearest = max(others, key=lambda row: row.us_per_event or 0)
    return per_run(dearest, first, "us_per_event")


def ratios(given: Iterable[Row]) -> Iterator[Ratio]:
    """All that the rows allow."""
    rows = Rows(given)
    for name, values, better in _all(rows):
        if values:
            yield Ratio(name, values, better)


def _all(rows: Rows) -> Iterator[tuple[str, list[float], str]]:
    for workload in THROUGHPUT:
        row = rows.main(workload)
        yield f"{workload}: share of the ceiling", figures(row, "ceiling_share"), "more"
        for peer in rows.peers(workload):
            yield f"{workload}: flows/s over {peer.system}", per_run(row, peer, "flows_per_s"), "more"
        always = rows.main(workload, aof="always")
        yield f"{workload}: flows/s, AOF always over everysec", per_run(always, row, "flows_per_s"), "more"
        for far in rows.all(workload, system=OURS, layout=ONE_PROCESS, aof="everysec"):
            if far.rtt_ms:
                name = f"{workload}: flows/s, {far.rtt_ms:g} ms away over 0"
                yield name, per_run(far, row, "flows_per_s"), "more"
        for name, words in _COUNTS:
            yield f"{workload}: {words}", figures(row, name), "less"
    for row in rows.all("W5"):
        yield f"W5, {row.layout}: conflicts a commit", figures(row, "conflicts_per_commit"), "less"
    for row in rows.all("W6"):
        one = rows.find("W6", layout=row.layout, engines=1, aof=row.aof, rtt_ms=row.rtt_ms)
        if row.engines > 1:
            name = f"W6, {row.layout}: flows/s, {row.engines} engines over 1"
            yield name, per_run(row, one, "flows_per_s"), "more"
    for row in rows.all("W7"):
        leases = [p99 / (row.lease_ms or 1) for p99 in figures(row, "p99_ms")]
        yield "W7: p99 in leases", leases, "less"
    for row in rows.all("W8"):
        yield "W8: round trips a second", figures(row, "round_trips_per_s"), "less"
    for layout in sorted({row.layout for row in rows.all("W9")}):
        yield f"W9, {layout}: dearest event over that of the smallest size", growth(rows, layout), "less"


_COUNTS = (
    ("commits_per_flow", "commits a flow"),
    ("round_trips_per_flow", "round trips a flow"),
    ("events_per_flow", "events a flow"),
    ("bytes_per_flow", "bytes a flow"),
)


def _over(
    ours: Row | None, peers: Sequence[Row], name: str, best: Callable[[Iterable[float]], float]
) -> list[float]:
    if ours is None or not peers:
        return []
    found: list[float] = []
    for number, own in enumerate(ours.each.get(name, ())):
        theirs = [row.each[name][number] for row in peers if len(row.each.get(name, ())) > number]
        known = [value for value in theirs if value]
        if own is not None and known:
            found.append(own / best(known))
    return found
