"""Tables, charts and pages, of rows that were never measured."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from bench.charts import Bar, Line, bars, lines
from bench.machine import Surroundings
from bench.markdown import charts, write
from bench.record import NoRecord, last, read
from bench.report import as_text
from bench.rows import Row, fold
from bench.targets import TARGETS, judge

AROUND = Surroundings(
    "python -m bench W1",
    "2026-01-02T03:04:05Z",
    "2 cores",
    0.1,
    {"Python": "3.11"},
    "Redis",
    "AOF off",
    0.05,
    {"2": 2.4},
)
SVG = "{http://www.w3.org/2000/svg}"


def row(workload: str, *, figures: dict[str, list[float]], **about: Any) -> Row:
    """A row whose runs came to these figures."""
    runs = [dict(zip(figures, values, strict=True)) for values in zip(*figures.values(), strict=True)]
    return fold({"workload": workload, "flows": 2_000, **about}, runs)


def a_run() -> list[Row]:
    """One row of everything, with our W1 three times a peer's."""
    ours = {
        "flows_per_s": [900.0, 1_000.0, 1_100.0],
        "p50_ms": [2.0, 2.2, 2.4],
        "ceiling_share": [0.4, 0.5, 0.6],
        "commits_per_flow": [6.0, 6.0, 6.0],
        "round_trips_per_flow": [0.2, 0.2, 0.2],
        "bytes_per_flow": [5_000.0, 5_000.0, 7_000.0],
    }
    return [
        row("W1", figures=ours),
        row("W1", figures={"flows_per_s": [600.0, 450.0, 300.0]}, aof="always"),
        row("W1", figures={"flows_per_s": [300.0, 250.0, 200.0]}, system="bullmq", layout="worker | client"),
        row(
            "W5",
            figures={"seconds": [9.0], "conflicts_per_commit": [0.5]},
            layout="items",
            engines=4,
            size=10_000,
        ),
        row("W6", figures={"flows_per_s": [100.0]}, layout="5 slots an engine"),
        row("W6", figures={"flows_per_s": [190.0]}, layout="5 slots an engine", engines=2),
        row("W7", figures={"p99_ms": [3_000.0], "lease_ms": [2_000.0]}, layout="a lease of 2,000 ms"),
        row("W8", figures={"engine_cpu_percent": [0.5], "round_trips_per_s": [2.0]}, flows=10_000),
        row("W9", figures={"us_per_event": [50.0]}, layout="W1, flows kept", size=1_000),
        row("W9", figures={"us_per_event": [100.0]}, layout="W1, flows kept", size=10_000),
        row("W9", figures={"plan_ms": [40.0]}, layout="steps of a plan", size=1_000),
    ]


# --------------------------------------------------------------------------- tables


def test_the_tables_fit_and_are_aligned() -> None:
    """Figures of any size leave the lines under 110 columns, each ending where its column does."""
    wide = {
        "flows_per_s": [12_345.6, 0.0123],
        "steps_per_s": [123_456.0, 1.0],
        "items_per_s": [123_456.7, 3.0],
        "p50_ms": [123.4, 1.0],
        "p99_ms": [1_234.5, 1.0],
    }
    text = as_text(AROUND, [row("W1", figures=wide), row("W2", figures=wide, rtt_ms=2.0, system="bullmq")])
    heading, *tables = text.split("\n\n")
    assert "2 ms added: 2.40 ms" in heading
    assert [line for table in tables for line in table.split("\n")[1:] if len(line) > 110] == []
    for table in tables:
        _, head, one, two = table.split("\n")
        assert len({len(line) for line in (head, one, two)}) == 1


def test_a_peer_that_is_missing_is_said_to_be() -> None:
    """With the reason, after the tables."""
    assert as_text(AROUND, [], {"saq": "it is not installed"}).endswith("saq is missing: it is not installed")


# --------------------------------------------------------------------------- charts


def test_a_bar_is_as_long_as_its_figure_and_has_a_whisker() -> None:
    """The longest whisker ends where the room does; text is text."""
    root = ElementTree.fromstring(bars("A & B", "flows/s", [Bar("a", 50, 40, 100), Bar("b", 25, 25, 25)]))
    first, second = (each for each in root.iter(f"{SVG}rect") if each.get("class") == "ours")
    assert float(first.get("width", 0)) == pytest.approx(2 * float(second.get("width", 0)))
    assert {"A & B", "a", "b", "50", "25"} <= {text.text for text in root.iter(f"{SVG}text")}
    assert sum(each.get("class") == "whisker" for each in root.iter(f"{SVG}path")) == 2


def test_a_chart_has_colours_for_light_and_dark() -> None:
    """And a ground of its own, so that text is never on a page of its own colour."""
    svg = bars("t", "u", [])
    assert "prefers-color-scheme: dark" in svg
    assert 'class="ground"' in svg


def test_lines_are_told_apart_without_colours() -> None:
    """By their strokes, which stand before their names, too; labels never lie on each other."""
    given = [Line("one", [(1, 5), (2, 10)]), Line("two", [(1, 9), (2, 10)])]
    root = ElementTree.fromstring(lines("t", "u", given, over="engines"))
    dashes = [each.get("stroke-dasharray") for each in root.iter(f"{SVG}polyline")]
    texts = {(text.text or "").partition(":")[0]: float(text.get("y", 0)) for text in root.iter(f"{SVG}text")}
    assert dashes == ["none", "none", "7 4", "7 4"]
    assert abs(texts["one"] - texts["two"]) >= 14


def test_every_workload_has_a_chart_that_is_xml() -> None:
    """Of whatever its figures are."""
    drawn = dict(charts(a_run()))
    assert list(drawn) == ["W1", "W5", "W6", "W7", "W8", "W9"]
    assert [ElementTree.fromstring(svg).tag for svg in drawn.values()] == [f"{SVG}svg"] * 6


# ---------------------------------------------------------------------------- pages


def test_a_page_has_its_charts_its_tables_and_its_record(tmp_path: Path) -> None:
    """What it points to is there, and the record reads as it was."""
    files = write(tmp_path, AROUND, a_run(), {"saq": "it is not installed"})
    page = (tmp_path / "report.md").read_text()
    assert {f.name for f in files} >= {"report.md", "targets.md", "run-2026-01-02.json", "w1.svg", "w9.svg"}
    assert all((tmp_path / name).exists() for name in ("w1.svg", "w5.svg", "w9.svg") if name in page)
    assert "saq is missing: it is not installed" in page
    assert "worker \\| client" in page
    record = read(last(tmp_path))
    assert (record.surroundings, record.rows) == (AROUND, a_run())
    assert record.missing == {"saq": "it is not installed"}


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    """By name, with the mend; so is a place without any."""
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(NoRecord, match=r"x\.json is no run of the bench.*--json"):
        read(tmp_path / "x.json")
    with pytest.raises(NoRecord, match="holds no run"):
        last(tmp_path / "none")


# -------------------------------------------------------------------------- targets


def test_targets_are_judged_by_what_was_measured() -> None:
    """Ratios are taken run by run; what is beyond the goal in one run alone is said to be."""
    judged = {each.target.what: each for each in judge(a_run())}
    over_bullmq = judged["W1, one engine process: flows/s over BullMQ"]
    assert [round(value, 1) for value in over_bullmq.values] == [3.0, 4.0, 5.5]
    assert over_bullmq.verdict == "reached"
    assert judged["W1: flows/s over DBOS"].verdict == "not measured"
    assert judged["W1: bytes a flow, whole history"].verdict == "reached, not in every run"
    assert judged["W1: flows/s left with AOF always"].measured == "0.45 (0.27 to 0.67)"
    assert judged["W5: conflicts a commit, items"].verdict == "not reached"
    assert judged["W6: flows/s of two engines over one"].measured == "1.90 times"
    assert judged["W7: p99 until an item runs again, beyond 1.25 leases"].values == [0.5]
    assert judged["W9: an event beside more flows that are kept, over few"].values == [2]
    assert judged["W9: a plan of 1,000 steps"].verdict == "reached"
    assert len(judged) == len(TARGETS)


def test_a_smaller_size_says_nothing_of_a_target() -> None:
    """A flow of 300 items is no flow of 10,000, and 100 flows are not under load."""
    hot = {"seconds": [0.2], "conflicts_per_commit": [0.0]}
    small = [
        row("W1", figures={"commits_per_flow": [6.0]}, flows=100),
        row("W5", figures=hot, layout="items", engines=4, size=300),
        row("W5", figures=hot, layout="completions", engines=2, size=1_000),
        row("W8", figures={"round_trips_per_s": [1.0]}, flows=50),
        row("W9", figures={"us_per_event": [1.0]}, layout="W1, flows kept", size=10),
        row("W9", figures={"us_per_event": [1.0]}, layout="W1, flows kept", size=100),
    ]
    assert {each.verdict for each in judge(small)} == {"not measured"}
