"""Redis processes of a test's own, on loopback ports: masters, replicas, sentinels, with TLS or with users.

They die with the tests, like those of `servers.py`, which all tests share and nobody may stop.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
import servers
from redis.backoff import NoBackoff
from redis.retry import Retry

LIMIT_S = 20
"""How long a fact about a process is waited for."""


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(is_so: Callable[[], bool]) -> None:
    """Waits for a fact; a server that is away says no."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            if is_so():
                return
        except redis.RedisError:
            pass
        time.sleep(0.01)
    raise TimeoutError("it did not come to be so")


class OwnRedis:
    """A Redis that a test may stop, cut off and start again on the same port."""

    def __init__(
        self, directory: Path, *options: str, is_sentinel: bool = False, has_tls: bool = False
    ) -> None:
        """`options` are those of the command line. A sentinel keeps its state in a file of its own; one
        with TLS speaks nothing else."""
        (program, *_) = servers.programs()
        self.directory = Path(tempfile.mkdtemp(dir=directory))
        self.port = free_port()
        port = ["--port", "0", "--tls-port"] if has_tls else ["--port"]
        place = [*port, str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        if is_sentinel:
            config = self.directory / "sentinel.conf"
            config.write_text("")
            self._arguments = [program, str(config), "--sentinel", *place, *options]
        else:
            self._arguments = [program, *place, "--save", "", *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.address}"

    def client(self, **options: Any) -> redis.Redis:
        """A plain client for a test's own commands; it never tries again."""
        return redis.Redis(port=self.port, protocol=2, retry=Retry(NoBackoff(), 0), **options)

    def start(self, **options: Any) -> OwnRedis:
        """Starts it, and waits until it answers a client with these options."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", servers.DIE_WITH_PARENT, str(os.getpid()), *self._arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with self.client(**options) as client:
            until(lambda: self._answers(client))
        return self

    def _answers(self, client: redis.Redis) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"{self._arguments} ended at once")
        return bool(client.ping())

    def kill(self) -> None:
        """Kills it, as a machine that goes down does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def info(self, section: str) -> dict[str, Any]:
        """What it says of itself."""
        with self.client() as client:
            return client.info(section)

    def follow(self, master: OwnRedis) -> None:
        """Makes it a replica, and waits until it has what its master has."""
        with self.client() as client:
            client.replicaof("127.0.0.1", master.port)
        until(lambda: self.info("replication")["master_link_status"] == "up")
        until(lambda: _is_online(master, self.port))

    def catch_up(self, master: OwnRedis) -> None:
        """Waits until a replica has all that its master had a moment ago."""
        offset = master.info("replication")["master_repl_offset"]
        until(lambda: self.info("replication")["slave_repl_offset"] >= offset)

    def cut_off(self) -> None:
        """Cuts a replica off from its master: it looks for one where nobody listens."""
        with self.client() as client:
            client.replicaof("127.0.0.1", 1)

    def promote(self) -> None:
        """Makes a replica a master."""
        with self.client() as client:
            client.replicaof("NO", "ONE")
        until(lambda: self.info("replication")["role"] == "master")


def _is_online(master: OwnRedis, port: int) -> bool:
    replicas = [value for name, value in master.info("replication").items() if name.startswith("slave")]
    return any(each["port"] == port and each["state"] == "online" for each in replicas)


@contextmanager
def own_processes() -> Iterator[Callable[..., OwnRedis]]:
    """Makes processes, not yet started; all of them end with this."""
    directory = Path(tempfile.mkdtemp(prefix="argyll-own-"))
    made: list[OwnRedis] = []

    def make(*options: str, is_sentinel: bool = False, has_tls: bool = False) -> OwnRedis:
        made.append(OwnRedis(directory, *options, is_sentinel=is_sentinel, has_tls=has_tls))
        return made[-1]

    try:
        yield make
    finally:
        for each in made:
            each.kill()
        shutil.rmtree(directory, ignore_errors=True)
