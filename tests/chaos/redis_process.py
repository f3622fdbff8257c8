"""A Redis of a run's own: in its directory, on its port and socket, and startable again on both."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis.asyncio as async_redis
import redis.exceptions as redis_errors
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.chaos.processes import Child, GaveUp, free_port

BINARY = "redis-server"
READY_LIMIT_S = 30
"""Longest wait for a server to answer; it may have an append-only file to read."""
POLL_S = 0.005

# Becomes the server; a write beyond the limit of a file's size is an error to it then, not a signal.
_NO_SIGNAL = """
import os, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class RedisProcess:
    """A server; `client` asks it by its socket, past any proxy."""

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "redis",
        fsync: str = "everysec",
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.home = directory / name
        self.home.mkdir(exist_ok=True)
        self.socket = self.home / "redis.sock"
        given = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--unixsocket": str(self.socket),
            "--dir": str(self.home),
            "--save": "",
            "--appendonly": "yes",
            "--appendfsync": fsync,
            "--enable-debug-command": "yes",
            **(options or {}),
        }
        server = [BINARY, *(word for option in given.items() for word in option)]
        command = [sys.executable, "-c", _NO_SIGNAL, *server]
        self.child = Child(name, command, directory)
        self.client: Any = async_redis.Redis(
            unix_socket_path=str(self.socket),
            protocol=2,
            socket_timeout=10,
            socket_connect_timeout=2,
            retry=Retry(NoBackoff(), 0),
        )

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def tcp_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> float:
        """Starts it and waits until it answers; gives the seconds that took. Raises `GaveUp`."""
        began_s = time.monotonic()
        self.child.start()
        await self.ready()
        return time.monotonic() - began_s

    async def ready(self) -> None:
        deadline_s = time.monotonic() + READY_LIMIT_S
        while time.monotonic() < deadline_s and self.child.is_running:
            try:
                await self.client.ping()
                return
            except (redis_errors.RedisError, OSError):
                await asyncio.sleep(POLL_S)
        raise GaveUp(f"{self.child.name} does not answer: {self.child.last_words()}")

    async def version(self) -> str:
        info = await self.client.info("server")
        return f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"

    def fill_disk(self) -> None:
        """Lets no file of it grow any more, as a full disk does."""
        largest = max(path.stat().st_size for path in self.home.rglob("*") if path.is_file())
        resource.prlimit(self.child.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

    def clear_disk(self) -> None:
        """Takes that back."""
        no_limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(self.child.pid, resource.RLIMIT_FSIZE, no_limit)

    def kill(self) -> None:
        self.child.kill()

    async def close(self) -> None:
        await self.client.aclose()
        self.child.kill()


def is_installed() -> bool:
    return shutil.which(BINARY, path=os.environ.get("PATH")) is not None
