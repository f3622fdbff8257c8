"""Whole engines under faults: no seed shows a violation, every known bug does, and a seed is one run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from argyll_redis.testing.planted import BUGS
from argyll_redis.testing.simulator import MODULE, run_seeds, simulate_one

ROOT = Path(__file__).parent.parent.parent
SEEDS = 1_000
CHUNK = 100
"""Seeds of one test: some seconds."""
SEEDS_FOR_A_BUG = 300
"""A bug that shows in none of so many seeds is not found."""


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_seed_shows_a_violation(first: int) -> None:
    """Whatever befalls them, flows end, logs keep the invariants, and nothing is left in a queue."""
    failed = run_seeds(range(first, first + CHUNK))
    assert [report.text(with_trace=True) for report in failed] == []


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str) -> None:
    """A simulator that does not find the bugs that are known would find no others."""
    first = BUGS[name].from_seed
    seeds = range(first, first + SEEDS_FOR_A_BUG)
    found = next((seed for seed in seeds if simulate_one(seed, planted=name).violations), None)
    assert found is not None, f"{name} ({BUGS[name].what}) shows in none of {SEEDS_FOR_A_BUG} seeds"


def test_a_planted_bug_is_gone_when_its_run_is_over() -> None:
    """What a bug replaces is put back."""
    before = simulate_one(0)
    for name in BUGS:
        simulate_one(0, planted=name)
    assert before == simulate_one(0)


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


def test_seeds_differ_in_what_befalls_them() -> None:
    """Among a hundred seeds there are undisturbed ones and ones with many faults."""
    faults = [simulate_one(seed).faults for seed in range(100)]
    assert min(faults) == 0
    assert max(faults) > 20
