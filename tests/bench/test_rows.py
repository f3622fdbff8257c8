"""Rows: medians of runs that were measured in turn."""

from __future__ import annotations

from typing import Any

import pytest

from bench.hand import WorkerFailed
from bench.rows import FIGURES, Figures, Probe, Row, fold, measure, percentile

ABOUT: dict[str, Any] = {"workload": "W1", "flows": 100}


def test_a_row_holds_the_median_of_the_runs_with_least_and_most() -> None:
    """And every single run, for ratios between neighbours."""
    row = fold(ABOUT, [{"flows_per_s": 100.0}, {"flows_per_s": 25.0}, {"flows_per_s": 50.0}])
    assert (row.low("flows_per_s"), row.flows_per_s, row.high("flows_per_s"), row.runs) == (25, 50, 100, 3)
    assert row.each == {"flows_per_s": [100.0, 25.0, 50.0]}


def test_the_longest_call_is_the_most_of_all_runs() -> None:
    """A median of it would hide what blocks others."""
    assert fold(ABOUT, [{"longest_call_ms": 1}, {"longest_call_ms": 9}]).longest_call_ms == 9


def test_what_nobody_measured_is_none_and_what_one_run_lacks_is_left_out() -> None:
    """Its place in the list of runs stays, so that runs of other rows keep their neighbours."""
    row = fold(ABOUT, [{"p50_ms": None}, {"p50_ms": 3.0}])
    assert (row.p50_ms, row.each["p50_ms"], row.p99_ms) == (3.0, [None, 3.0], None)


def test_probes_are_run_in_turn() -> None:
    """Round by round, so that a busy neighbour meets all of them; whoever waits is told each time."""
    ran: list[str] = []
    told: list[str] = []

    def probe(name: str) -> Probe:
        def run() -> Figures:
            ran.append(name)
            return {"seconds": float(len(ran))}

        return Probe({**ABOUT, "system": name}, run)

    rows = measure([probe("a"), probe("b")], rounds=2, tell=told.append)
    assert ran == ["a", "b", "a", "b"]
    assert [row.each["seconds"] for row in rows] == [[1, 3], [2, 4]]
    assert told[1] == "round 1 of 2: W1, b"


def failing(system: str) -> Probe:
    def run() -> Figures:
        raise WorkerFailed("the worker has ended")

    return Probe({**ABOUT, "system": system, "note": "version 1"}, run)


def test_a_peer_that_fails_is_said_to_and_the_others_go_on() -> None:
    """It has no figures, and the reason is in its note."""
    other = Probe(ABOUT, lambda: {"seconds": 1.0})
    failed, fine = measure([failing("saq"), other], rounds=2, tell=lambda text: None)
    assert failed.note == "version 1; 2 runs failed: the worker has ended"
    assert (failed.seconds, failed.runs, fine.seconds) == (None, 2, 1.0)


def test_a_run_of_ours_that_fails_ends_the_measurement() -> None:
    """It is a bug, not a figure."""
    with pytest.raises(WorkerFailed):
        measure([failing("argyll_redis")], rounds=1, tell=lambda text: None)


def test_a_row_survives_json() -> None:
    """And JSON has least and most beside the figures that have them; a field of a newer bench is left out."""
    row = fold(ABOUT, [{"flows_per_s": 1.5}, {"flows_per_s": 2.5}])
    shown = row.json()
    assert Row.from_json({**shown, "unheard_of": 1}) == row
    assert (shown["flows_per_s_min"], shown["flows_per_s"], shown["flows_per_s_max"]) == (1.5, 2, 2.5)
    assert set(FIGURES) < set(shown)


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_one_of_the_figures(percent: int, expected: int) -> None:
    """p99 of a hundred is the hundredth but one."""
    assert percentile([float(ms) for ms in range(100, 0, -1)], percent) == expected
