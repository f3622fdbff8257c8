"""The crash sweep in its short form; `python -m tests.sweep` is the whole of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweep.kinds import KINDS

ROOT = Path(__file__).parent.parent.parent
FIRST, *OTHERS = KINDS

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def swept(*options: str) -> subprocess.CompletedProcess[str]:
    """A sweep in a process of its own: one with threads, as that of the tests, must not fork."""
    command = [sys.executable, "-m", "tests.sweep", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_chain_is_finished_wherever_its_process_ends() -> None:
    """Before and after each of its calls."""
    ended = swept("--kind", FIRST, "--mode", "before", "--mode", "after")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_flows_of_other_kinds_are_finished_wherever_their_process_ends() -> None:
    """Before and after every twentieth of their calls."""
    kinds = (word for kind in OTHERS for word in ("--kind", kind))
    ended = swept(*kinds, "--mode", "before", "--mode", "after", "--every", "20")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_flows_are_finished_though_a_reply_is_lost() -> None:
    """Of every twentieth of their calls, their processes living on."""
    ended = swept("--mode", "lost", "--every", "20")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_sweep_shows_a_bug() -> None:
    """Work that is taken over under the attempt of its dead engine is called twice; each run that shows
    it is told with the command that repeats it."""
    ended = swept("--kind", FIRST, "--mode", "before", "--every", "4", "--planted", "M8")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert f"python -m tests.sweep --kind {FIRST} --mode before --only" in ended.stdout
