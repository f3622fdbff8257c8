"""Engines of another version, of the project's own history, run beside those of the tree."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from tests.chaos.engines import ROOT
from tests.chaos.ground import Asked, Ground
from tests.chaos.nemeses import exactly, strike_all
from tests.chaos.processes import GaveUp
from tests.chaos.report import Report

PROMISE = "engines of the previous commit and of this one on one namespace, some killed: nothing is violated"

FLOWS_A_S = 50
FLOWS_A_KILL = 250
"""5,000 flows are 20 kills."""
COMMIT_CHARS = 12


async def run(report: Report, asked: Asked) -> None:
    """Runs the gate."""
    async with Ground(report, asked, other_tree=lambda place: _checked_out(asked.revision, place)) as ground:
        draw, engines = ground.random, ground.engines
        report.versions["other"] = _commit(asked.revision)
        report.versions["tree"] = f"{_commit('HEAD')} and what is not committed"

        async def kill() -> None:
            engines.kill(draw.choice(engines.running))

        plan = exactly(draw, {"kill -9": max(2, asked.flows // FLOWS_A_KILL)}, over_s=asked.flows / FLOWS_A_S)
        await ground.load_while(FLOWS_A_S, lambda: strike_all(plan, {"kill -9": kill}, report))
        await ground.finish()


def _checked_out(revision: str, place: Path) -> Path:
    """Writes the package as it was at a revision into a directory; the repository is only read."""
    command = ["git", "archive", revision, "argyll_redis", "lua"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise GaveUp(f"there is no revision {revision}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(place, filter="data")
    return place


def _commit(revision: str) -> str:
    command = ["git", "rev-parse", revision]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout[:COMMIT_CHARS]
