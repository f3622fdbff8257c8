"""A PostgreSQL of the bench's own, for peers that keep their flows in one.

A new cluster in a folder of its own, on a Unix socket, with PostgreSQL's own defaults: fsync and
synchronous_commit are on, so what is committed is on the disk. It does not run as root, so root hands it
to the user `postgres`, whom the package has made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from bench.hand import Hand, WorkerFailed
from bench.peers.cpu import cpu_s

USER = "postgres"
PLACES = Path("/usr/lib/postgresql")
"""Where Debian keeps versions side by side."""
START_LIMIT_S = 30
LOOK_S = 0.05
MEND = "install postgresql (Debian: apt-get install postgresql)"


def binaries() -> Path | None:
    """The folder of the newest server that is installed; None without one."""
    found = sorted(PLACES.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(on_path).resolve().parent if on_path else None


def missing() -> str | None:
    """Why there is no PostgreSQL, and what to do about it; None when there is one."""
    if binaries() is None:
        return f"PostgreSQL is missing: {MEND}"
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        return "PostgreSQL does not run as root, and there is no runuser: run the bench as another user"
    return None


@dataclass(frozen=True, slots=True)
class Database:
    """An empty one, for one run."""

    cluster: Cluster
    name: str

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@/{self.name}?host={self.cluster.folder}"

    def cpu_s(self) -> float | None:
        """Of all processes of the server so far."""
        return cpu_s(self.cluster.pid)

    def held_bytes(self) -> int:
        """What its tables and indexes take on the disk; the log of changes is not in it."""
        return int(self.cluster.ask(f"SELECT pg_database_size('{self.name}')"))


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running server."""

    folder: Path
    pid: int
    """Of the process that holds it."""
    programs: Path

    def ask(self, command: str, database: str = USER) -> str:
        """Carries out a command; gives what it shows."""
        psql = [self.programs / "psql", "-h", self.folder, "-U", USER, "-d", database, "-AtXqc", command]
        done = subprocess.run(psql, capture_output=True, text=True, check=False)
        if done.returncode:
            raise WorkerFailed(f"PostgreSQL refused {command!r}: {done.stderr.strip()}")
        return done.stdout.strip()

    def version(self) -> str:
        return self.ask("SHOW server_version").split()[0]

    @contextmanager
    def fresh(self) -> Iterator[Database]:
        """A database with nothing in it, gone afterwards."""
        name = f"bench_{token_hex(4)}"
        self.ask(f"CREATE DATABASE {name}")
        try:
            yield Database(self, name)
        finally:
            self.ask(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A new server, running while this is entered; nothing of it is left. Raises `WorkerFailed`."""
    programs = binaries()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="bench-pg-"))
    as_user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, USER)
        as_user = ["runuser", "-u", USER, "--"]
    try:
        make = [programs / "initdb", "-D", folder / "data", "-U", USER, "--auth=trust", "--no-sync"]
        made = subprocess.run([*as_user, *make], capture_output=True, text=True, check=False, cwd=folder)
        if made.returncode:
            raise WorkerFailed(f"initdb made no cluster: {made.stderr.strip()}")
        server = [*as_user, str(programs / "postgres"), "-D", str(folder / "data")]
        server += ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}"]
        server += ["-c", "log_min_messages=fatal"]
        held = [sys.executable, "-m", "bench.peers.held", "SIGINT", *server]
        with Hand("PostgreSQL", held, os.environ) as hand:
            running = Cluster(folder, hand.pid, programs)
            _await_ready(running, hand)
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await_ready(running: Cluster, hand: Hand) -> None:
    """Waits for the word that the server writes into its file; to ask it would fill its log."""
    deadline_s = time.monotonic() + START_LIMIT_S
    told = running.folder / "data/postmaster.pid"
    while not (told.exists() and told.read_text().rstrip().endswith("ready")):
        hand.look()
        if time.monotonic() > deadline_s:
            raise WorkerFailed(f"PostgreSQL did not start within {START_LIMIT_S} s")
        time.sleep(LOOK_S)
