"""The peers: how each one's worker and client are started, what they need, and how many flows they get.

Versions are pinned in `versions/`; `docs/performance/peers.md` says why each is set up as it is.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.hand import ROOT
from bench.peers import postgres

HOME = ROOT / ".bench"
"""Where peers are installed: a folder for each, never the project's own environment."""
VERSIONS = Path(__file__).parent / "versions"
PROGRAMS = "bench.peers.programs"
WORKER_AND_CLIENT = "worker and client"
"""One worker process; another process starts the flows and waits for their results."""
ONE_PROCESS = "one process"
"""The worker also starts the flows and waits for their results."""
DONE = "installed"
"""In a peer's folder: the text of its pins, written when everything is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One system that the same flows are run on."""

    name: str
    package: str
    """As its registry names it."""
    flows: Mapping[str, int]
    """Started at once, by workload. Fewer for a slow one: a rate does not need many."""
    worker: Sequence[str] = ()
    """Its command; none when the client is the worker, too."""
    is_node: bool = False
    """Whether it is for Node.js; the others are for Python."""
    has_postgres: bool = False
    """Whether it keeps its flows in PostgreSQL; the others keep them in Redis."""

    @property
    def home(self) -> Path:
        return HOME / self.name

    @property
    def layout(self) -> str:
        return WORKER_AND_CLIENT if self.worker else ONE_PROCESS

    @property
    def pins(self) -> Path:
        """The file that names the versions of everything that is installed for it."""
        return VERSIONS / ("package-lock.json" if self.is_node else f"requirements-{self.name}.txt")

    def version(self) -> str:
        """The one that is pinned."""
        text = self.pins.read_text()
        if self.is_node:
            return json.loads(text)["packages"][f"node_modules/{self.package}"]["version"]
        pinned = dict(line.split("==") for line in text.splitlines())
        return pinned[self.package]

    def worker_command(self) -> list[str]:
        """Of the worker, held by a process that ends it with the bench."""
        program, *arguments = self.worker
        at = program if self.is_node else str(self.home / "bin" / program)
        return [sys.executable, "-m", "bench.peers.held", "SIGTERM", at, *arguments]

    def client_command(self, shape: Sequence[str]) -> list[str]:
        """Of the client, for flows of a shape (see `bench.peers.programs.protocol`)."""
        if self.is_node:
            return ["node", f"bench/peers/programs/{self.name}.mjs", "client", *shape]
        return [str(self.home / "bin/python"), "-m", f"{PROGRAMS}.{self.name}", *shape]

    def missing(self) -> str | None:
        """Why it cannot be measured here, and what to do about it; None when it can."""
        install = f"python -m bench.peers install {self.name}"
        if self.is_node and shutil.which("node") is None:
            return f"Node.js is not on PATH: install node and npm, then run {install}"
        if self.has_postgres and (lack := postgres.missing()):
            return lack
        if not (self.home / DONE).exists():
            return f"it is not installed: run {install}"
        if (self.home / DONE).read_text() != self.pins.read_text():
            return f"what is installed is not what is pinned in {self.pins.name}: run {install}"
        return None


def _flows(one: int, chain: int, items: int, join: int) -> Mapping[str, int]:
    return {"W0": one, "W1": chain, "W2": items, "W3": join}


_ALL = (
    Peer(
        name="bullmq", package="bullmq", flows=_flows(2_000, 2_000, 100, 500), is_node=True,
        worker=["node", "bench/peers/programs/bullmq.mjs", "worker"],
    ),
    Peer(
        name="saq", package="saq", flows=_flows(1_000, 600, 20, 150),
        worker=["saq", "--quiet", f"{PROGRAMS}.saq.settings"],
    ),
    Peer(
        name="taskiq", package="taskiq", flows=_flows(1_000, 600, 20, 150),
        worker=["taskiq", "worker", "--workers", "1", "--log-level", "ERROR", f"{PROGRAMS}.taskiq:broker"],
    ),
    Peer(
        name="celery", package="celery", flows=_flows(500, 200, 10, 100),
        worker=["celery", "-A", f"{PROGRAMS}.celery", "worker", "--loglevel", "ERROR"],
    ),
    Peer(
        name="docket", package="pydocket", flows=_flows(500, 300, 10, 60),
        worker=["python", "-m", f"{PROGRAMS}.docket", "worker"],
    ),
    Peer(
        name="dbos", package="dbos", flows=_flows(300, 150, 10, 50), has_postgres=True,
    ),
)  # fmt: skip

PEERS: Mapping[str, Peer] = {peer.name: peer for peer in _ALL}
