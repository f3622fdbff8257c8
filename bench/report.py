"""A run as one JSON document, and as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.machine import Surroundings
from bench.profiling import Profile
from bench.rows import FAILED, Row
from bench.tables import Table, parts_of, tables


def as_json(
    surroundings: Surroundings, rows: Sequence[Row], profiles: Sequence[Profile], missing: Mapping[str, str]
) -> dict[str, Any]:
    """One document: what the figures depend on, the rows, and why a peer is missing."""
    found: dict[str, Any] = {"surroundings": surroundings.json(), "rows": [row.json() for row in rows]}
    if missing:
        found["missing"] = dict(missing)
    if profiles:
        found["profiles"] = [
            {
                "workload": each.workload.name,
                "flows": each.flows,
                "turns": each.turns,
                "cpu_us_per_turn": each.cpu_s / each.turns * 1e6,
                "gc_us_per_turn": each.gc_s / each.turns * 1e6,
                "us_per_turn": {part: us for part, us, _ in parts_of(each)},
            }
            for each in profiles
        ]
    return found


def as_text(surroundings: Surroundings, rows: Sequence[Row], missing: Mapping[str, str] | None = None) -> str:
    """Tables for people."""
    blocks = [heading(surroundings, rows), *map(text_of, tables(rows))]
    blocks += ["\n".join(f"{name} is missing: {why}" for name, why in (missing or {}).items())]
    blocks += [f"{row.workload}, {row.system}: {row.note}" for row in rows if FAILED in row.note]
    return "\n\n".join(filter(None, blocks))


def heading(around: Surroundings, rows: Iterable[Row]) -> str:
    """What the figures depend on."""
    most = max((row.runs for row in rows), default=0)
    runs = "; one run" if most == 1 else f"; medians of {most} runs" if most else ""
    distance = "" if around.round_trip_ms is None else f", round trip {around.round_trip_ms:.3f} ms"
    far = "".join(f" ({added} ms added: {ms:.2f} ms)" for added, ms in around.far_round_trips_ms.items())
    versions = ", ".join(f"{name} {version}" for name, version in around.versions.items())
    return "\n".join(
        (
            around.command,
            versions,
            f"{around.server}, {around.durability}{distance}{far}",
            f"{around.machine}; load {around.load:.1f} before, {around.at}{runs}",
        )
    )


def text_of(table: Table) -> str:
    """Columns aligned: words to the left, figures to the right."""
    lines = [table.head, *table.body]
    widths = [max(len(line[place]) for line in lines) for place in range(len(table.head))]
    is_words = [not name for name in table.head]
    aligned = (
        "  ".join(
            cell.ljust(width) if words else cell.rjust(width)
            for cell, width, words in zip(line, widths, is_words, strict=True)
        ).rstrip()
        for line in lines
    )
    return "\n".join((table.title, *aligned))
