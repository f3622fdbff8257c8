"""A server for one command: `argyll demo` and `argyll dev` work where nobody has set one up.

The first that works of these, and it says which: `redis-server` on PATH, `valkey-server` on PATH, the
store in memory. A server from PATH is a child on a Unix socket in a private directory; no port is
opened, and nothing of it is left when the command is over, however it ends.

The child is held by a pipe. A guard (a few lines of POSIX shell) starts the server and waits; when the
other end of its input closes, because it was closed or because this process is gone, kill -9
included, it kills the server and removes the directory. The kernel's own way (PR_SET_PDEATHSIG) is
Linux only, and fires when the *thread* that started the child ends.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from argyll_redis.errors import StoreUnavailable
from argyll_redis.runtime.clock import monotonic_ms
from argyll_redis.store.connect import BlockingLink, UrlConnector
from argyll_redis.store.fitness import judge, parse_info

BINARIES = ("redis-server", "valkey-server")
"""Looked for on PATH, in this order."""
START_LIMIT_MS = 10_000
"""Longest wait for a server to answer; 10 to 50 ms are usual."""
POLL_MS = 5
STOP_LIMIT_S = 5
"""Longest wait for the guard to have cleaned up."""
MAX_SOCKET_PATH = 100
"""Bytes of a Unix socket's path that every system allows (macOS: 103)."""
MAX_LAST_WORDS = 120
"""Characters kept of what a server wrote before it ended."""
IN_MEMORY = "in memory, this process only, nothing is kept"

_GUARD = """
directory=$1; shift
exec 3<&0
"$@" </dev/null >"$directory/log" 2>&1 3<&- &
server=$!
( read -r _ <&3
  if [ -e "$directory/ended" ]; then rm -rf "$directory"
  else : >"$directory/over"; kill -9 $server || rm -rf "$directory"; fi ) &
exec 3<&-
wait $server
if [ -e "$directory/over" ]; then rm -rf "$directory"; else : >"$directory/ended"; fi
"""
"""A server that ended by itself leaves the mark `ended`: its number may be somebody else's by the time
the pipe closes, and its log is still wanted."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The server that was found or started."""

    url: str
    kind: str
    """`redis-server`, `valkey-server` or `memory`."""
    sentence: str
    """Says which it is, for people."""
    pid: int | None
    """Of the server; None for the store in memory."""


class EmbeddedServer:
    """Starts the embedded server: `with EmbeddedServer() as server`, or `async with`; once.

    `path` is searched instead of PATH. For want of a server nothing is raised: the store in memory is
    always there, and the sentence says why it is used.
    """

    def __init__(self, *, path: str | None = None) -> None:
        self._path = path
        self._child: _Child | None = None
        self._found = Embedded("memory://", "memory", "", None)

    def __enter__(self) -> Embedded:
        try:
            for _ in self._starting():
                time.sleep(POLL_MS / 1000)
        except BaseException:
            self._stop()
            raise
        return self._found

    async def __aenter__(self) -> Embedded:
        try:
            for _ in self._starting():
                await asyncio.sleep(POLL_MS / 1000)
        except BaseException:
            self._stop()
            raise
        return self._found

    def __exit__(self, *exc: object) -> None:
        self._stop()

    async def __aexit__(self, *exc: object) -> None:
        self._stop()

    def _starting(self) -> Iterator[None]:
        """Tries one after the other; each item is a moment to wait."""
        refusals: list[str] = []
        for binary in BINARIES:
            program = shutil.which(binary, path=self._path)
            if program is None or not hasattr(socket, "AF_UNIX"):
                continue
            try:
                self._child = _Child(program)
                yield from self._child.await_ready()
                self._found = self._child.embedded(binary)
                return
            except StoreUnavailable as error:
                refusals.append(f"{binary} on PATH is of no use: {error}")
                self._stop()
        why = "; ".join(refusals) or f"no {' or '.join(BINARIES)} on PATH"
        self._found = Embedded("memory://", "memory", f"{IN_MEMORY} ({why})", None)

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.stop()


class _Child:
    """A server of ours, with its guard and its directory."""

    def __init__(self, program: str) -> None:
        self._directory = _private_directory()
        path = self._directory / "redis.sock"
        self._url = f"unix://{path}"
        self._info: Mapping[str, str] = {}
        options = {
            "--port": "0",
            "--unixsocket": str(path),
            "--unixsocketperm": "700",
            "--dir": str(self._directory),
            "--appendonly": "yes",
            "--save": "",
            "--daemonize": "no",
        }
        server = [program, *(word for option in options.items() for word in option)]
        try:
            # A session of its own: Ctrl-C ends the command, and the command then ends the server.
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "guard", str(self._directory), *server],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise StoreUnavailable(f"it cannot be started ({error.strerror})") from None

    def await_ready(self) -> Iterator[None]:
        """Waits until the server answers. Raises `StoreUnavailable` when it does not, or is unfit."""
        link = BlockingLink(UrlConnector(self._url))
        deadline_ms = monotonic_ms() + START_LIMIT_MS
        try:
            while not self._answers(link):
                if self._guard.poll() is not None:
                    raise StoreUnavailable("it ended as it started" + self._last_words())
                if monotonic_ms() > deadline_ms:
                    raise StoreUnavailable(f"it did not answer within {START_LIMIT_MS} ms")
                yield
        finally:
            link.close()
        for finding in judge(self._info):
            if finding.is_fatal:
                raise StoreUnavailable(finding.what)

    def _answers(self, link: BlockingLink) -> bool:
        try:
            self._info = parse_info(link.call(["INFO"]))
        except StoreUnavailable:
            return False
        return True

    def _last_words(self) -> str:
        """The last line that the server has written, as a clause."""
        try:
            lines = (self._directory / "log").read_text(errors="replace").split("\n")
        except OSError:
            return ""
        said = [line.strip() for line in lines if line.strip()]
        return f' with "{said[-1][:MAX_LAST_WORDS]}"' if said else ""

    def embedded(self, binary: str) -> Embedded:
        name = "Valkey" if "valkey_version" in self._info else "Redis"
        version = self._info.get("valkey_version") or self._info["redis_version"]
        sentence = f"{name} {version} ({binary} on PATH), on a private Unix socket"
        return Embedded(self._url, binary, sentence, int(self._info["process_id"]))

    def stop(self) -> None:
        """Kills the server, as what it holds is not kept, and waits until nothing is left of it."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._guard.wait(STOP_LIMIT_S)
        # The watcher may still be cleaning up; whatever is left of the group ends before we clean up.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._guard.pid, signal.SIGKILL)
        self._guard.wait()
        shutil.rmtree(self._directory, ignore_errors=True)


def _private_directory() -> Path:
    """Makes a directory that nobody else may enter, with room for a socket's path."""
    directory = tempfile.mkdtemp(prefix="argyll-")
    if len(os.fsencode(directory)) + len("/redis.sock") > MAX_SOCKET_PATH:
        os.rmdir(directory)
        directory = tempfile.mkdtemp(prefix="argyll-", dir="/tmp")
    return Path(directory)
