"""Then and now: what is compared, and what counts as worse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.compare import Change, compare
from bench.ratios import Ratio, ratios
from bench.report import as_json
from bench.rows import Row
from tests.bench.test_pages import AROUND, a_run, row


def ratio(value: float, better: str = "more") -> Ratio:
    return Ratio("r", [value], better)


@pytest.mark.parametrize(
    ("then", "now", "is_worse"),
    [
        (ratio(2.0), ratio(1.6), False),
        (ratio(2.0), ratio(1.4), True),
        (ratio(2.0), ratio(9.0), False),
        (ratio(2.0, "less"), ratio(2.4, "less"), False),
        (ratio(2.0, "less"), ratio(2.6, "less"), True),
        (ratio(0.0, "less"), ratio(0.04, "less"), False),
        (ratio(0.0, "less"), ratio(0.06, "less"), True),
        (ratio(2.0), None, False),
    ],
)
def test_worse_is_beyond_the_margin(then: Ratio, now: Ratio | None, is_worse: bool) -> None:
    """A quarter; whether more or less is better is the ratio's own."""
    assert Change(then, now, 0.25).is_worse is is_worse


def test_ratios_are_taken_between_neighbours() -> None:
    """The n-th run over the n-th run, never a median over a median."""
    found = {each.name: each for each in ratios(a_run())}
    assert found["W1: flows/s over bullmq"].values == [3.0, 4.0, 5.5]
    assert (found["W1: flows/s over bullmq"].low, found["W1: flows/s over bullmq"].value) == (3.0, 4.0)
    assert found["W6, 5 slots an engine: flows/s, 2 engines over 1"].values == [1.9]
    assert found["W1: bytes a flow"].is_better_when == "less"


def test_a_distance_and_a_mode_are_compared_with_the_usual_ones() -> None:
    """Each with that of the same run."""
    rows = [
        row("W1", figures={"flows_per_s": [100.0, 200.0]}),
        row("W1", figures={"flows_per_s": [50.0, 150.0]}, rtt_ms=2.0),
        row("W1", figures={"flows_per_s": [80.0, 80.0]}, aof="always"),
    ]
    found = {each.name: each.values for each in ratios(rows)}
    assert found["W1: flows/s, 2 ms away over 0"] == [0.5, 0.75]
    assert found["W1: flows/s, AOF always over everysec"] == [0.8, 0.4]


def test_what_the_new_run_lacks_is_told_and_no_bad_news() -> None:
    """A nightly run may leave out peers that cannot be installed."""
    rows = [each for each in a_run() if each.system != "bullmq"]
    verdicts = {change.then.name: change.verdict for change in compare(a_run(), rows)}
    assert verdicts["W1: flows/s over bullmq"] == "not measured"
    assert set(verdicts.values()) == {"not measured", "as it was, or better"}


def test_a_row_of_another_size_is_not_compared() -> None:
    """Bytes of a flow among few are other than among many."""
    then = [row("W1", figures={"bytes_per_flow": [100.0]}, flows=2_000)]
    now = [row("W1", figures={"bytes_per_flow": [900.0]}, flows=20)]
    assert [change.verdict for change in compare(then, now)] == ["not measured"]


def recorded(path: Path, rows: list[Row]) -> str:
    path.write_text(json.dumps(as_json(AROUND, rows, [], {})))
    return str(path)


@pytest.mark.parametrize(("round_trips", "status"), [(0.2, 0), (0.5, 1)])
def test_the_command_says_what_has_become_worse(
    round_trips: float, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name, and its exit status is 1 then."""
    figures = {"flows_per_s": [100.0], "round_trips_per_flow": [round_trips]}
    now = [row("W1", figures=figures)]
    old, new = recorded(tmp_path / "old.json", a_run()), recorded(tmp_path / "new.json", now)
    assert main(["compare", old, new]) == status
    assert ("1 of" in capsys.readouterr().out.split("\n\n")[-1]) is bool(status)


def test_a_comparison_runs_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands behind -- is run, shown and compared."""
    old = recorded(tmp_path / "old.json", [row("W0", figures={"commits_per_flow": [2.0]})])
    run = ["W0", "--redis", "memory://", "--flows", "2", "--runs", "1"]
    assert main(["compare", old, "--", *run]) == 0
    out = capsys.readouterr().out
    assert "python -m bench W0" in out
    assert "0 of 1 have become worse" in out


def test_the_page_of_a_run_is_made_again(tmp_path: Path) -> None:
    """From its record alone."""
    run = recorded(tmp_path / "run.json", a_run())
    assert main(["report", run, str(tmp_path / "page")]) == 0
    assert (tmp_path / "page" / "report.md").read_text().startswith("# A run of the bench")


def test_a_comparison_with_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As wrong use."""
    assert main(["compare", str(tmp_path / "none.json"), str(tmp_path / "none.json")]) == 2
    assert "is no run of the bench" in capsys.readouterr().err
