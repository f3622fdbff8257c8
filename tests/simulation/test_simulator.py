"""Whole engines under faults: no seed shows a violation, every known bug does, and a seed is one run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from argyll_redis.testing.planted import BUGS
from argyll_redis.testing.scenario import draw_scenario
from argyll_redis.testing.simulator import BETWEEN, MODULE, Report, run_seeds, shrink, simulate_one
from argyll_redis.testing.simulator_command import SEEDS_FOR_A_BUG, find, main

ROOT = Path(__file__).parent.parent.parent
SEEDS = 5_000
CHUNK = 50
"""Seeds of one test: some seconds; the runner spreads them over the cores."""
LIMIT_S = 300
BUG_LIMIT_S = 900
"""A bug that hides may take so many seeds; on a quiet machine most take a second."""
BUGS_AT_LEAST = 20
SMALL = 15
"""A seed of a short run with two flows and some faults."""

pytestmark = pytest.mark.timeout(LIMIT_S)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_seed_shows_a_violation(first: int) -> None:
    """Whatever befalls them, flows end, logs keep the invariants, and nothing is left in a queue."""
    failed = run_seeds(range(first, first + CHUNK))
    assert [report.text(with_trace=True) for report in failed] == []


@pytest.mark.timeout(BUG_LIMIT_S)
@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str) -> None:
    """A simulator that does not find the bugs that are known would find no others. What it finds is the
    bug: the seed that shows it shows nothing without it."""
    seed = find(name).seed
    assert seed is not None, f"{name} ({BUGS[name].what}) shows in none of {SEEDS_FOR_A_BUG} seeds"
    assert simulate_one(seed).violations == []


def test_there_are_enough_planted_bugs() -> None:
    """The promise names a number."""
    assert len(BUGS) >= BUGS_AT_LEAST


def test_a_planted_bug_is_gone_when_its_run_is_over() -> None:
    """What a bug replaces is put back."""
    before = simulate_one(SMALL)
    for name in BUGS:
        simulate_one(SMALL, planted=name)
    assert before == simulate_one(SMALL)


@pytest.mark.parametrize("seed", [3, 17, 31])
def test_a_seed_is_the_same_run_every_time(seed: int) -> None:
    """Trace, logs and counts are equal."""
    assert simulate_one(seed) == simulate_one(seed)


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
def test_a_seed_is_the_same_run_in_every_process(hash_seed: str) -> None:
    """No order of a set of names decides anything."""
    command = [sys.executable, "-m", MODULE, "--seed", "29", "--trace"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert simulate_one(29).text(with_trace=True) + "\n" == done.stdout


def test_a_report_names_the_command_that_shows_its_run_again() -> None:
    """Who sees a seed fail can look at what happened."""
    report = simulate_one(0, planted="M2")
    assert report.command == f"python -m {MODULE} --seed 0 --trace --planted M2"
    assert report.command in report.text()


def test_a_failing_seed_is_brought_down_to_what_it_takes() -> None:
    """Faults and flows that have nothing to do with it are left out, and what is left fails."""
    report = next(each for each in map(_with_m2, range(100)) if each.violations)
    small = shrink(report)
    assert small.violations != []
    assert small.only is not None
    assert (len(small.only) < len(report.struck), set(small.only) <= set(report.struck)) == (True, True)


def _with_m2(seed: int) -> Report:
    return simulate_one(seed, planted="M2")


def test_the_command_of_a_small_run_shows_that_very_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Its names of faults go through a shell and back."""
    report = next(each for each in map(_with_m2, range(100)) if each.violations)
    small = shrink(report)
    arguments = shlex.split(small.command.removeprefix(f"python -m {MODULE} "))
    assert main(arguments) == 1
    assert capsys.readouterr().out == small.text(with_trace=True) + "\n"


def test_no_name_of_a_fault_holds_what_stands_between_two() -> None:
    """Else a command would name others."""
    struck = [fault for seed in range(20) for fault in simulate_one(seed).struck]
    assert [fault for fault in struck if BETWEEN in fault] == []


def test_a_seed_under_nothing_is_a_run_of_nothing() -> None:
    """Flows are named, too."""
    report = simulate_one(7, only=())
    assert (report.flows, report.faults, report.violations) == (0, 0, [])


def test_a_seed_under_all_that_struck_is_the_same_run() -> None:
    """Leaving nothing out changes nothing."""
    report = simulate_one(7)
    again = simulate_one(7, only=report.struck)
    assert (again.trace, again.digest) == (report.trace, report.digest)


def test_many_seeds_run_in_several_processes(capsys: pytest.CaptureFixture[str]) -> None:
    """The end of the output says how many were run, and how many failed."""
    assert main(["--seeds", "20", "--jobs", "2"]) == 0
    assert capsys.readouterr().out.startswith("20 seeds, 0 failed, ")


def test_among_many_seeds_those_that_fail_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Their number is said, and the exit status tells it, too."""
    assert main(["--seeds", "2", "--jobs", "1", "--planted", "M2"]) == 1
    assert "2 seeds, 0 failed" not in capsys.readouterr().out


@pytest.mark.parametrize("disaster", ["failovers", "fulls", "empties"])
def test_disasters_are_among_the_seeds(disaster: str) -> None:
    """A hundred and fifty seeds have each of them at least once."""
    assert any(getattr(draw_scenario(seed), disaster) for seed in range(150))


def test_seeds_differ_in_what_befalls_them() -> None:
    """Among a hundred seeds there are undisturbed ones and ones with many faults."""
    assert any(simulate_one(seed).faults == 0 for seed in range(100))
    assert any(simulate_one(seed).faults > 20 for seed in range(100))
