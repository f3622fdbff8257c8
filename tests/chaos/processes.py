"""Child processes of a run: they die with it, are struck by signals, and write what they say to a file."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

POLL_S = 0.02
FIRST_PORT, LAST_PORT = 21_000, 31_000
"""Below the ports that the kernel gives to connections, so that a process that is started again finds
its port free."""
LAST_WORDS_LINES = 12

# Becomes the program, after asking the kernel to kill it when this process ends, however it ends.
_DIE_WITH_PARENT = """
import ctypes, os, sys
prctl = getattr(ctypes.CDLL(None), "prctl", None)
if prctl is not None:
    prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("whoever started this is gone")
os.execvp(sys.argv[2], sys.argv[2:])
"""


class GaveUp(Exception):
    """Something did not happen in its time."""


class Child:
    """One process at a time under one name; it can be started again."""

    def __init__(
        self, name: str, command: Sequence[str], directory: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._command = list(command)
        self._env = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it without waiting for anything."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ARGYLL_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _DIE_WITH_PARENT, str(os.getpid()), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**clean, **self._env},
                cwd=self.log.parent,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return None if self._process is None else self._process.poll()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once, as the kernel ends what has run out of memory."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self.is_running:
            self.signal(signal.SIGCONT)

    async def ended(self, limit_s: float) -> int:
        """Waits for its end and gives the exit status. Raises `GaveUp`."""
        deadline_s = time.monotonic() + limit_s
        while (status := self.exit_status) is None:
            if time.monotonic() > deadline_s:
                raise GaveUp(f"{self.name} did not end within {limit_s:.0f} s")
            await asyncio.sleep(POLL_S)
        return status

    def said(self) -> str:
        """All that it has written."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def last_words(self) -> str:
        return "\n".join(self.said().splitlines()[-LAST_WORDS_LINES:])


def free_port() -> int:
    """A port of loopback that nobody listens on. Drawn by the process, not by the seed of a run."""
    draw = random.SystemRandom()
    while True:
        port = draw.randrange(FIRST_PORT, LAST_PORT)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
