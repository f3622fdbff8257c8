"""Rows of figures, as JSON and as tables for people: medians over the runs, with least and most."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench.machine import Surroundings
from bench.measure import Layout, Measured, Profile, Run
from bench.profile import OTHER, PARTS

SYSTEM = "argyll_redis"


@dataclass(frozen=True, slots=True)
class Row:
    """What one workload came to in one layout. Each figure is the median of the runs; None where it
    was not measured."""

    workload: str
    system: str
    layout: str
    flows: int
    runs: int
    flows_per_s: float
    flows_per_s_min: float
    flows_per_s_max: float
    steps_per_s: float
    items_per_s: float | None
    commits_per_s: float
    p50_ms: float | None
    """One flow at a time, from its start to its result."""
    p50_ms_min: float | None
    p50_ms_max: float | None
    p99_ms: float | None
    p99_ms_min: float | None
    p99_ms_max: float | None
    share_without_calls: float | None
    """Of the time, beyond what the same calls of a service take without an engine."""
    ceiling_share: float | None
    """Of the flows/s that the run's recorded bytes reach from a dumb socket: the median of the runs'
    own shares, each beside the replay that followed it."""
    ceiling_flows_per_s: float | None
    ceiling_commits_per_s: float | None
    ceiling_redis_cpu_ms_per_flow: float | None
    commits_per_flow: float
    round_trips_per_flow: float | None
    """Script calls."""
    events_per_flow: float
    bytes_per_flow: float | None
    feed_bytes_per_flow: float | None
    """The part of it that the feed holds."""
    redis_cpu_ms_per_flow: float | None
    engine_cpu_ms_per_flow: float
    client_cpu_ms_per_flow: float | None
    server_us_per_commit: float | None
    """Of time within scripts."""
    longest_call_ms: float | None
    longest_call: str | None
    calls_over_1_ms: float | None
    """In a run."""


def rows_of(measured: Measured) -> Iterator[Row]:
    """The rows of a workload, one a layout."""
    for layout, runs in measured.runs.items():
        yield _row(measured, layout, runs)


def _row(measured: Measured, layout: Layout, runs: Sequence[Run]) -> Row:
    workload, flows = measured.plan.workload, measured.plan.flows
    rates = [flows / run.seconds for run in runs]
    rate = median(rates)
    commits = median(run.commits for run in runs)
    p50s = [_percentile(run.alone_ms, 50) for run in runs if run.alone_ms]
    p99s = [_percentile(run.alone_ms, 99) for run in runs if run.alone_ms]
    spent = [run.spent for run in runs if run.spent]
    held = [run.held for run in runs if run.held]
    longest = max((run.longest for run in runs if run.longest), key=lambda each: each.ms, default=None)
    replays = [min(each, key=lambda replay: replay.seconds) for each in measured.replays]
    client_cpu_s = [run.client_cpu_s for run in runs if run.client_cpu_s is not None]
    return Row(
        workload=workload.name,
        system=SYSTEM,
        layout=layout,
        flows=flows,
        runs=len(runs),
        flows_per_s=rate,
        flows_per_s_min=min(rates),
        flows_per_s_max=max(rates),
        steps_per_s=rate * workload.steps,
        items_per_s=rate * workload.items if workload.items else None,
        commits_per_s=rate * commits,
        p50_ms=_median(p50s),
        p50_ms_min=min(p50s, default=None),
        p50_ms_max=max(p50s, default=None),
        p99_ms=_median(p99s),
        p99_ms_min=min(p99s, default=None),
        p99_ms_max=max(p99s, default=None),
        share_without_calls=_median(1 - run.calls_s / run.seconds for run in runs if run.calls_s is not None),
        ceiling_share=_median(
            replay.seconds / run.seconds for run, replay in zip(runs, replays, strict=False)
        ),
        ceiling_flows_per_s=_median(flows / replay.seconds for replay in replays),
        ceiling_commits_per_s=_median(replay.turns_per_s for replay in replays),
        ceiling_redis_cpu_ms_per_flow=_median(replay.spent.cpu_s / flows * 1000 for replay in replays),
        commits_per_flow=commits,
        round_trips_per_flow=_median(each.script_calls / flows for each in spent),
        events_per_flow=median(run.events for run in runs),
        bytes_per_flow=_median(each.memory_bytes / flows for each in held),
        feed_bytes_per_flow=_median(each.feed_bytes / flows for each in held),
        redis_cpu_ms_per_flow=_median(each.cpu_s / flows * 1000 for each in spent),
        engine_cpu_ms_per_flow=median(run.engine_cpu_s / flows * 1000 for run in runs),
        client_cpu_ms_per_flow=_median(each / flows * 1000 for each in client_cpu_s),
        server_us_per_commit=_median(each.script_s / (flows * commits) * 1e6 for each in spent),
        longest_call_ms=longest.ms if longest else None,
        longest_call=longest.name if longest else None,
        calls_over_1_ms=_median(run.longest.over_1_ms for run in runs if run.longest),
    )


def _median(figures: Iterable[float]) -> float | None:
    kept = list(figures)
    return median(kept) if kept else None


def _percentile(figures: Sequence[float], percent: int) -> float:
    """The figure that this share of all figures does not exceed."""
    return sorted(figures)[math.ceil(len(figures) * percent / 100) - 1]


# ----------------------------------------------------------------------------- output


def as_json(surroundings: Surroundings, rows: Sequence[Row], profiles: Sequence[Profile]) -> dict[str, Any]:
    """One document: what the figures depend on, and the rows."""
    found: dict[str, Any] = {"surroundings": surroundings.json(), "rows": [asdict(row) for row in rows]}
    if profiles:
        found["profiles"] = [
            {
                "workload": each.workload.name,
                "flows": each.flows,
                "turns": each.turns,
                "cpu_us_per_turn": each.cpu_s / each.turns * 1e6,
                "gc_us_per_turn": each.gc_s / each.turns * 1e6,
                "us_per_turn": {part: us for part, us, _ in _parts(each)},
            }
            for each in profiles
        ]
    return found


def as_text(surroundings: Surroundings, rows: Sequence[Row], profiles: Sequence[Profile]) -> str:
    """Tables for people."""
    blocks = [_heading(surroundings)]
    if rows:
        blocks += [_speed(rows), _cost(rows), _ceiling(rows)]
    blocks += [_where(each) for each in profiles]
    return "\n\n".join(filter(None, blocks))


def _heading(around: Surroundings) -> str:
    distance = "" if around.round_trip_ms is None else f", round trip {around.round_trip_ms:.3f} ms"
    versions = ", ".join(f"{name} {version}" for name, version in around.versions.items())
    return "\n".join(
        (
            around.command,
            versions,
            f"{around.server}, {around.durability}{distance}",
            f"{around.machine}; load {around.load:.1f} before, {around.at}",
        )
    )


def _speed(rows: Sequence[Row]) -> str:
    head = (
        "",
        "",
        "flows",
        "flows/s",
        "(least-most)",
        "steps/s",
        "items/s",
        "alone p50",
        "p99 ms",
        "not HTTP",
    )
    body = [
        (
            row.workload,
            row.layout,
            f"{row.flows:,}",
            _number(row.flows_per_s),
            f"({_number(row.flows_per_s_min)}-{_number(row.flows_per_s_max)})",
            _number(row.steps_per_s),
            _number(row.items_per_s),
            _number(row.p50_ms),
            _number(row.p99_ms),
            "" if row.share_without_calls is None else f"{row.share_without_calls:.0%}",
        )
        for row in rows
    ]
    return f"Speed: medians of {rows[0].runs} runs\n{_table(head, body)}"


def _ceiling(rows: Sequence[Row]) -> str:
    head = ("", "", "commits/s", "dumb socket", "share", "Redis ms a flow", "dumb socket")
    body = [
        (
            row.workload,
            row.layout,
            _number(row.commits_per_s),
            _number(row.ceiling_commits_per_s),
            f"{row.ceiling_share:.0%}",
            _number(row.redis_cpu_ms_per_flow),
            _number(row.ceiling_redis_cpu_ms_per_flow),
        )
        for row in rows
        if row.ceiling_share is not None
    ]
    what = "Ceiling: the run's commit calls from a dumb socket, each replay beside the run before it"
    return f"{what}\n{_table(head, body)}" if body else ""


def _cost(rows: Sequence[Row]) -> str:
    head = (
        "",
        "",
        "commits",
        "calls",
        "events",
        "bytes",
        "Redis",
        "engine",
        "client ms",
        "longest",
        "over 1 ms",
    )
    body = [
        (
            row.workload,
            row.layout,
            _number(row.commits_per_flow),
            _number(row.round_trips_per_flow),
            _number(row.events_per_flow),
            _number(row.bytes_per_flow),
            _number(row.redis_cpu_ms_per_flow),
            _number(row.engine_cpu_ms_per_flow),
            _number(row.client_cpu_ms_per_flow),
            "" if row.longest_call_ms is None else f"{row.longest_call_ms:.1f} ms",
            _number(row.calls_over_1_ms),
        )
        for row in rows
    ]
    what = "Cost of a flow (CPU in ms), and the longest server call of all runs (SLOWLOG)"
    return f"{what}\n{_table(head, body)}"


def _where(profile: Profile) -> str:
    looks = sum(profile.looks.values())
    body = [(part, f"{us:.1f}", f"{share:.0%}") for part, us, share in _parts(profile)]
    total = profile.cpu_s / profile.turns * 1e6
    gc_us = profile.gc_s / profile.turns * 1e6
    body += [
        ("all", f"{total:.1f}", ""),
        ("of which collecting garbage", f"{gc_us:.1f}", f"{gc_us / total:.0%}"),
    ]
    name = profile.workload.name
    what = f"Where the engine's time goes in {name}, one process: CPU us a turn, {looks:,} looks"
    return f"{what}\n{_table(('', 'us', ''), body)}"


def _parts(profile: Profile) -> Iterator[tuple[str, float, float]]:
    """Each part with its CPU us a turn and its share, in the order of the table."""
    looks = sum(profile.looks.values()) or 1
    for part in (*PARTS, OTHER):
        share = profile.looks.get(part, 0) / looks
        yield part, share * profile.cpu_s / profile.turns * 1e6, share


def _number(figure: float | None) -> str:
    """A figure with as many digits as it deserves; nothing for None."""
    if figure is None:
        return ""
    if figure >= 100 or figure == int(figure):
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Columns aligned: words to the left, figures to the right; columns with nothing in them are left out."""
    kept = [place for place in range(len(head)) if any(line[place] for line in body)]
    lines = [[line[place] for place in kept] for line in (head, *body)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(kept))]
    is_words = [not head[place] for place in kept]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if words else cell.rjust(width)
            for cell, width, words in zip(line, widths, is_words, strict=True)
        ).rstrip()
        for line in lines
    )
