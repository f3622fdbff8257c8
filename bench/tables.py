"""The tables of a report, as data: text for a terminal and Markdown are made from the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.profile import OTHER, PARTS
from bench.profiling import Profile
from bench.rows import OURS, Row

REDIS_MODES = ("off", "everysec", "always")
"""Those of the append-only file; a system with a store of its own has other words."""
Cell = Callable[[Row], str]
"""What a row says in a column."""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text; a column without a name holds words, any other one figures."""

    title: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """All tables that the rows have something to say in."""
    for title, columns, belongs in (
        ("Speed: flows started at once, and one at a time", _SPEED, _is_throughput),
        ("Cost of a flow (CPU in ms), and the longest server call of all runs (SLOWLOG)", _COST, _has_cost),
        (
            "Ceiling: the run's commit calls from a dumb socket, each replay beside its run",
            _CEILING,
            _has_ceiling,
        ),
        ("W5: a hot flow over several engines", _HOT, _of("W5")),
        ("W6: engines beside each other", _SCALE, _of("W6")),
        ("W7: an engine killed, until its items run again", _RECOVERY, _of("W7")),
        ("W8: an idle engine", _IDLE, _of("W8")),
        ("W9: cost as it grows", _GROWTH, _of("W9")),
    ):
        chosen = [row for row in rows if belongs(row)]
        if chosen:
            is_alone = all(row.system == OURS for row in chosen)
            names = [each for each in _NAMES if each is not _SYSTEM or not is_alone]
            yield _table(title, [*names, *columns], chosen)


def table_of_profile(profile: Profile) -> Table:
    """Where the engine's time goes."""
    looks = sum(profile.looks.values())
    body = [(part, f"{us:.1f}", f"{share:.0%}") for part, us, share in parts_of(profile)]
    total = profile.cpu_s / profile.turns * 1e6
    gc_us = profile.gc_s / profile.turns * 1e6
    body += [
        ("all", f"{total:.1f}", ""),
        ("of which collecting garbage", f"{gc_us:.1f}", f"{gc_us / total:.0%}"),
    ]
    name = profile.workload.name
    what = f"Where the engine's time goes in {name}, one process: CPU us a turn, {looks:,} looks"
    return Table(what, ("", "us", "share"), body)


def parts_of(profile: Profile) -> Iterator[tuple[str, float, float]]:
    """Each part with its CPU us a turn and its share, in the order of the table."""
    looks = sum(profile.looks.values()) or 1
    for part in (*PARTS, OTHER):
        share = profile.looks.get(part, 0) / looks
        yield part, share * profile.cpu_s / profile.turns * 1e6, share


def number(figure: float | None) -> str:
    """A figure with as many digits as it deserves; nothing for None."""
    if figure is None:
        return ""
    if figure >= 100 or figure == int(figure):
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def span(row: Row, name: str) -> str:
    """Least and most of a figure."""
    low, high = row.low(name), row.high(name)
    return "" if low is None else f"({number(low)}-{number(high)})"


def circumstances(row: Row) -> str:
    """What is not as usual: the append-only file, and the distance."""
    told: list[str] = []
    if row.aof != "everysec":
        told.append(f"AOF {row.aof}" if row.aof in REDIS_MODES else f"on disk {row.aof}")
    if row.rtt_ms:
        told.append(f"{row.rtt_ms:g} ms away")
    return ", ".join(told)


# ------------------------------------------------------------------------- columns


def _figure(name: str) -> Cell:
    return lambda row: number(getattr(row, name))


def _span(name: str) -> Cell:
    return lambda row: span(row, name)


def _share(name: str) -> Cell:
    def cell(row: Row) -> str:
        figure = getattr(row, name)
        return "" if figure is None else f"{figure:.0%}"

    return cell


_SYSTEM: tuple[str, Cell] = ("", lambda row: row.system)
"""Left out where nobody else is in the table."""
_NAMES: Sequence[tuple[str, Cell]] = (
    ("", lambda row: row.workload),
    _SYSTEM,
    ("", lambda row: row.layout),
    ("", circumstances),
)
_SPEED: Sequence[tuple[str, Cell]] = (
    ("flows", lambda row: f"{row.flows:,}"),
    ("flows/s", _figure("flows_per_s")),
    ("(least-most)", _span("flows_per_s")),
    ("steps/s", _figure("steps_per_s")),
    ("items/s", _figure("items_per_s")),
    ("alone p50", _figure("p50_ms")),
    ("p99 ms", _figure("p99_ms")),
    ("not HTTP", _share("share_without_calls")),
)
_COST: Sequence[tuple[str, Cell]] = (
    ("commits", _figure("commits_per_flow")),
    ("calls", _figure("round_trips_per_flow")),
    ("events", _figure("events_per_flow")),
    ("bytes", _figure("bytes_per_flow")),
    ("server", _figure("server_cpu_ms_per_flow")),
    ("engine", _figure("engine_cpu_ms_per_flow")),
    ("client ms", _figure("client_cpu_ms_per_flow")),
    ("longest ms", _figure("longest_call_ms")),
    ("over 1 ms", _figure("calls_over_1_ms")),
)
_CEILING: Sequence[tuple[str, Cell]] = (
    ("commits/s", _figure("commits_per_s")),
    ("dumb socket", _figure("ceiling_commits_per_s")),
    ("share", _share("ceiling_share")),
    ("server ms a flow", _figure("server_cpu_ms_per_flow")),
    ("dumb socket", _figure("ceiling_server_cpu_ms_per_flow")),
)
_HOT: Sequence[tuple[str, Cell]] = (
    ("engines", lambda row: f"{row.engines}"),
    ("items", _figure("size")),
    ("seconds", _figure("seconds")),
    ("(least-most)", _span("seconds")),
    ("items/s", _figure("items_per_s")),
    ("p50", _figure("p50_ms")),
    ("p99 ms", _figure("p99_ms")),
    ("commits", _figure("commits_per_flow")),
    ("conflicts a commit", _figure("conflicts_per_commit")),
    ("longest ms", _figure("longest_call_ms")),
)
_SCALE: Sequence[tuple[str, Cell]] = (
    ("engines", lambda row: f"{row.engines}"),
    ("flows", lambda row: f"{row.flows:,}"),
    ("flows/s", _figure("flows_per_s")),
    ("(least-most)", _span("flows_per_s")),
    ("engine ms a flow", _figure("engine_cpu_ms_per_flow")),
    ("conflicts a commit", _figure("conflicts_per_commit")),
)
_RECOVERY: Sequence[tuple[str, Cell]] = (
    ("engines", lambda row: f"{row.engines}"),
    ("lease ms", _figure("lease_ms")),
    ("kills", _figure("kills")),
    ("items", _figure("lost_items")),
    ("p50", _figure("p50_ms")),
    ("p99 ms", _figure("p99_ms")),
    ("(least-most)", _span("p99_ms")),
)
_IDLE: Sequence[tuple[str, Cell]] = (
    ("flows kept", lambda row: f"{row.flows:,}"),
    ("engine CPU %", _figure("engine_cpu_percent")),
    ("server CPU %", _figure("server_cpu_percent")),
    ("commands/s", _figure("commands_per_s")),
    ("round trips/s", _figure("round_trips_per_s")),
)
_GROWTH: Sequence[tuple[str, Cell]] = (
    ("size", _figure("size")),
    ("flows", lambda row: f"{row.flows:,}"),
    ("flows/s", _figure("flows_per_s")),
    ("items/s", _figure("items_per_s")),
    ("us an event", _figure("us_per_event")),
    ("(least-most)", _span("us_per_event")),
    ("plan ms", _figure("plan_ms")),
    ("(least-most)", _span("plan_ms")),
)


def _is_throughput(row: Row) -> bool:
    return row.workload in ("W0", "W1", "W2", "W3", "W4")


def _has_cost(row: Row) -> bool:
    return _is_throughput(row) and any(_costs(row))


def _costs(row: Row) -> Iterable[float | None]:
    return (row.commits_per_flow, row.bytes_per_flow, row.engine_cpu_ms_per_flow)


def _has_ceiling(row: Row) -> bool:
    return row.ceiling_share is not None


def _of(workload: str) -> Callable[[Row], bool]:
    return lambda row: row.workload == workload


def _table(title: str, columns: Sequence[tuple[str, Cell]], rows: Sequence[Row]) -> Table:
    """Columns in which no row says anything are left out."""
    kept = [(name, cell) for name, cell in columns if any(map(cell, rows))]
    body = [[cell(row) for _, cell in kept] for row in rows]
    return Table(title, [name for name, _ in kept], body)
