"""A run as a page: surroundings, a chart for each workload, all tables, the targets; and as JSON beside it.

The page is for people, the JSON for the next comparison; both are made from the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.charts import Bar, Line, bars, lines
from bench.machine import Surroundings
from bench.measures import MEASURES
from bench.report import as_json, heading
from bench.rows import OURS, Row
from bench.tables import Table, circumstances, tables
from bench.targets import judge

PAGE = "report.md"
GOALS = "targets.md"
THROUGHPUT = ("W0", "W1", "W2", "W3", "W4")


def write(
    directory: Path, surroundings: Surroundings, rows: Sequence[Row], missing: Mapping[str, str]
) -> list[Path]:
    """Writes the page, its charts, the targets and the JSON; gives the files."""
    directory.mkdir(parents=True, exist_ok=True)
    record = f"run-{surroundings.at[:10]}.json"
    files = {
        PAGE: _page(surroundings, rows, missing, record),
        GOALS: targets_page(surroundings, rows),
        record: json.dumps(as_json(surroundings, rows, [], missing), indent=1) + "\n",
        **{_file_of(name): svg for name, svg in charts(rows)},
    }
    for name, text in files.items():
        (directory / name).write_text(text)
    return [directory / name for name in files]


def charts(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """The chart of each workload that was measured, as SVG."""
    for workload in MEASURES:
        chosen = [row for row in rows if row.workload == workload]
        if chosen and (svg := _chart(workload, chosen)):
            yield workload, svg


def markdown_of(table: Table) -> str:
    """A table, its figures to the right."""
    head = "| " + " | ".join(table.head) + " |"
    rule = "|" + "|".join("---:" if name else "---" for name in table.head) + "|"
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in table.body]
    return "\n".join((head, rule, *body))


def targets_page(surroundings: Surroundings, rows: Sequence[Row]) -> str:
    """What was set out, and what this run has reached."""
    body = [
        (
            each.target.what,
            each.target.words,
            "" if each.target.dream is None else f"{each.target.dream:g}{each.target.unit}",
            each.measured,
            each.verdict,
        )
        for each in judge(rows)
    ]
    table = Table("", ("", "goal", "more than enough", "measured", ""), body)
    return (
        "\n\n".join(
            (
                "# Targets",
                "Measured is the median of the runs, least and most in brackets; a ratio is taken run by run,"
                " between runs that were neighbours in time. Absolute figures depend on the machine.",
                f"```\n{heading(surroundings, rows)}\n```",
                markdown_of(table),
            )
        )
        + "\n"
    )


def _page(surroundings: Surroundings, rows: Sequence[Row], missing: Mapping[str, str], record: str) -> str:
    drawn = {name for name, _ in charts(rows)}
    blocks = [
        "# A run of the bench",
        f"The command below wrote this page, its charts, [the targets]({GOALS}) and [all figures]({record}).",
        f"```\n{heading(surroundings, rows)}\n```",
    ]
    blocks += [f"{name} is missing: {why}" for name, why in missing.items()]
    for name, measure in MEASURES.items():
        chosen = [row for row in rows if row.workload == name]
        if not chosen:
            continue
        blocks.append(f"## {name}: {measure.work}")
        if name in drawn:
            blocks.append(f"![{name}]({_file_of(name)})")
        blocks += [f"{table.title}\n\n{markdown_of(table)}" for table in tables(chosen)]
        blocks += _notes(chosen)
    return "\n\n".join(blocks) + "\n"


def _notes(rows: Sequence[Row]) -> list[str]:
    """What a reader has to know beside the figures, each said once."""
    notes = {
        f"{row.system}: {row.note}" if row.system != OURS else row.note: None for row in rows if row.note
    }
    return ["\n".join(f"- {note}" for note in notes)] if notes else []


def _file_of(workload: str) -> str:
    return f"{workload.lower()}.svg"


# -------------------------------------------------------------------------- charts


def _chart(workload: str, rows: Sequence[Row]) -> str:
    title = f"{workload}: {MEASURES[workload].work}"
    match workload:
        case "W5":
            return _bars(title, "seconds, median with least and most; less is better", rows, "seconds")
        case "W6":
            return lines(
                title, "flows/s; more is better", _lines(rows, "engines", "flows_per_s"), over="engines"
            )
        case "W7":
            return _bars(title, "ms until an item runs again, p99; less is better", rows, "p99_ms")
        case "W8":
            return _bars(title, "% of a core, the engine; less is better", rows, "engine_cpu_percent")
        case "W9":
            series = [row for row in rows if row.us_per_event is not None]
            if not series:
                return _bars(title, "ms until a plan is made", rows, "plan_ms")
            over = "flows kept, or items of a flow"
            return lines(
                title, "us an event; flat is good", _lines(series, "size", "us_per_event"), over=over
            )
        case _:
            return _bars(title, "flows/s, median with least and most; more is better", rows, "flows_per_s")


def _bars(title: str, unit: str, rows: Sequence[Row], name: str) -> str:
    return bars(
        title,
        unit,
        [
            Bar(_label(row), value, row.low(name) or value, row.high(name) or value, row.system == OURS)
            for row in rows
            if (value := getattr(row, name)) is not None
        ],
    )


def _label(row: Row) -> str:
    words = [row.system if row.workload in THROUGHPUT else "", row.layout, circumstances(row)]
    if row.size is not None:
        words.append(f"{row.size:,}")
    return ", ".join(filter(None, words))


def _lines(rows: Sequence[Row], over: str, name: str) -> list[Line]:
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        size, value = getattr(row, over), getattr(row, name)
        if size and value is not None:
            label = ", ".join(filter(None, (row.layout, circumstances(row))))
            found.setdefault(label, []).append((float(size), value))
    return [Line(label, sorted(points)) for label, points in found.items()]
