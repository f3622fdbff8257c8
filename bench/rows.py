"""Rows of figures: what every system gives, ours and others', in one shape.

A measurement is a list of `Probe`s, each of which can be run once on a fresh server and then gives plain
figures. The probes are run in turn, round by round, so that a busy neighbour meets all of them alike;
then the figures of each become one `Row`: medians, with least, most and every single run.

Peers give probes, too: `with bench.peers.ready(names, tell) as ready` opens what they need for the whole
run (`ready.missing` says by name why one cannot be measured), and `ready.probes(workload, servers, flows)`
gives the probes of one of W0 to W3, `flows` None for each peer's own size. Their processes may be
`bench.hand.Hand`s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any

from bench.hand import WorkerFailed

OURS = "argyll_redis"
ONE_PROCESS = "one process"
"""The engine process also starts the flows and waits for their results."""

Figures = Mapping[str, float | None]
"""What one run came to, by the names of `Row`'s figures; None, or absent, where it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one system came to in one workload under one set of circumstances.

    The fields up to `note` name the row and are the same in all of its runs; those after it are medians
    over the runs, None where nobody measured. The field's name ends with its unit.
    """

    workload: str
    system: str = OURS
    """`argyll_redis`, `bullmq`, `saq`, `taskiq`, `celery`, `docket`, `dbos`."""
    layout: str = ONE_PROCESS
    """Who does what, for people."""
    engines: int = 1
    """Engine processes, or a peer's worker processes."""
    aof: str = "everysec"
    """When the server writes to disk: `off`, `everysec`, `always`; for a peer with a server of its own,
    its words for it; `none` where nothing is kept."""
    rtt_ms: float = 0
    """Added to every round trip to the server by the delay proxy."""
    flows: int
    """Started at once in one run."""
    size: int | None = None
    """Of what grows, in workloads that grow: items, flows kept, steps of a plan."""
    runs: int = 0
    note: str = ""
    """What a reader has to know beside the figures."""

    seconds: float | None = None
    """From the first start to the last result."""
    flows_per_s: float | None = None
    steps_per_s: float | None = None
    items_per_s: float | None = None
    commits_per_s: float | None = None
    p50_ms: float | None = None
    """One flow at a time, from its start to its result; in W5 and W7 what the workload says."""
    p99_ms: float | None = None
    share_without_calls: float | None = None
    """W4: of the time, beyond what the same calls of a service take without an engine."""

    ceiling_share: float | None = None
    """Of the flows/s that the run's recorded bytes reach from a dumb socket, each run beside the replay
    that followed it."""
    ceiling_flows_per_s: float | None = None
    ceiling_commits_per_s: float | None = None
    ceiling_server_cpu_ms_per_flow: float | None = None

    commits_per_flow: float | None = None
    conflicts_per_commit: float | None = None
    """Turns that were refused because another engine had gone on with the flow."""
    round_trips_per_flow: float | None = None
    """Calls of scripts; for others, all commands that were sent by themselves."""
    events_per_flow: float | None = None
    bytes_per_flow: float | None = None
    """What the server's memory (or its disk, see the note) grew by."""
    feed_bytes_per_flow: float | None = None
    """The part of it that the feed holds, which is trimmed."""
    server_cpu_ms_per_flow: float | None = None
    """Of Redis, or of the database that a peer keeps its flows in."""
    engine_cpu_ms_per_flow: float | None = None
    client_cpu_ms_per_flow: float | None = None
    """None in one process, where it is part of the engine's."""
    server_us_per_commit: float | None = None
    """Of time within scripts."""
    longest_call_ms: float | None = None
    """The longest call of the server in all runs; so this one is no median, but the most."""
    calls_over_1_ms: float | None = None
    """In a run."""

    lease_ms: float | None = None
    """W7: how long an engine may be silent."""
    kills: float | None = None
    """W7: engines killed in a run."""
    lost_items: float | None = None
    """W7: items of killed engines that were started again, in a run."""
    engine_cpu_percent: float | None = None
    """W8: of one core, by the engine process."""
    server_cpu_percent: float | None = None
    commands_per_s: float | None = None
    """W8: that the server carries out, those that scripts make among them."""
    round_trips_per_s: float | None = None
    """W8: that the server has read from connections, a pipeline being one."""
    us_per_event: float | None = None
    """W9: time by the clock for each event that was committed."""
    plan_ms: float | None = None
    """W9: from the question to the plan, through the public API."""

    each: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    """Every figure of every run, in order: the n-th runs of all rows were neighbours in time."""

    def low(self, name: str) -> float | None:
        """The least that a figure was in any run."""
        return min(self._known(name), default=None)

    def high(self, name: str) -> float | None:
        return max(self._known(name), default=None)

    def _known(self, name: str) -> list[float]:
        return [figure for figure in self.each.get(name, ()) if figure is not None]

    def json(self) -> dict[str, Any]:
        """The row as one flat object; least and most of the figures in `SPREAD` are fields of their own."""
        shown = asdict(self)
        for name in SPREAD:
            shown[f"{name}_min"], shown[f"{name}_max"] = self.low(name), self.high(name)
        return shown

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Row:
        """Reads what `json` gave; fields of an older or a newer bench are left out."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in shown.items() if name in known})


SPREAD = ("flows_per_s", "p50_ms", "p99_ms", "seconds", "conflicts_per_commit")
"""Figures whose least and most stand beside them in JSON."""
FAILED = "runs failed"
"""In the note of a row, with their number and the reason."""
MOST = ("longest_call_ms",)
"""Figures of which the most of all runs is kept, not the median."""
_NAMES = [each.name for each in fields(Row)]
FIGURES = tuple(_NAMES[_NAMES.index("note") + 1 : -1])
"""The names of all figures."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What becomes one row: `run` measures once, on a fresh server, and is called once a round."""

    about: Mapping[str, Any]
    """The fields that name the row: `workload`, `system`, `layout`, `flows`, `aof`, `rtt_ms`, ..."""
    run: Callable[[], Figures]

    @property
    def is_ours(self) -> bool:
        return self.about.get("system", OURS) == OURS

    @property
    def name(self) -> str:
        """Says which probe it is, for people who wait."""
        told = [self.about["workload"], self.about.get("system", OURS), self.about.get("layout", "")]
        if self.about.get("engines", 1) > 1:
            told.append(f"{self.about['engines']} engines")
        if self.about.get("size") is not None:
            told.append(f"size {self.about['size']:,}")
        if self.about.get("aof", "everysec") != "everysec":
            told.append(f"AOF {self.about['aof']}")
        if self.about.get("rtt_ms"):
            told.append(f"{self.about['rtt_ms']:g} ms away")
        return ", ".join(filter(None, told))


def fold(about: Mapping[str, Any], runs: Sequence[Figures]) -> Row:
    """Makes the row of a probe from what its runs came to."""
    each = {
        name: [run.get(name) for run in runs]
        for name in FIGURES
        if any(run.get(name) is not None for run in runs)
    }
    figures: dict[str, Any] = {
        name: (_most if name in MOST else _median)(values) for name, values in each.items()
    }
    return Row(**{**about, "runs": len(runs)}, **figures, each=each)


def measure(probes: Iterable[Probe], *, rounds: int, tell: Callable[[str], None]) -> list[Row]:
    """Runs all probes in turn, as often as there are rounds; gives a row for each.

    A run of ours that fails ends the measurement with `WorkerFailed`. Somebody else's is told, and said in
    the row's note: it has no figures, and the others go on.
    """
    kept = list(probes)
    found: list[list[Figures]] = [[] for _ in kept]
    failed: list[list[str]] = [[] for _ in kept]
    for number in range(1, rounds + 1):
        for place, probe in enumerate(kept):
            tell(f"round {number} of {rounds}: {probe.name}")
            try:
                found[place].append(probe.run())
            except WorkerFailed as error:
                if probe.is_ours:
                    raise
                tell(f"{probe.name} has failed: {error}")
                found[place].append({})
                failed[place].append(str(error))
    return [
        fold({**probe.about, "note": _noted(probe.about.get("note", ""), errors)}, figures)
        for probe, figures, errors in zip(kept, found, failed, strict=True)
    ]


def _noted(note: str, errors: Sequence[str]) -> str:
    told = f"{len(errors)} {FAILED}: {errors[0]}" if errors else ""
    return "; ".join(filter(None, (note, told)))


def _median(figures: Iterable[float | None]) -> float:
    return median(figure for figure in figures if figure is not None)


def _most(figures: Iterable[float | None]) -> float:
    return max(figure for figure in figures if figure is not None)


def percentile(figures: Sequence[float], percent: int) -> float:
    """The figure that this share of all figures does not exceed."""
    place = -(-len(figures) * percent // 100)  # rounded up
    return sorted(figures)[place - 1]
