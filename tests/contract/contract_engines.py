"""Engine processes of the command line, as an operator starts them, and as an accident ends them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from servers import DIE_WITH_PARENT

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


class EngineProcess:
    """One process: an engine with its API, or the API alone."""

    def __init__(self, redis_url: str, namespace: str, *options: str) -> None:
        """Starts it without waiting; `url` waits until it is up."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ARGYLL_")}
        paths = [str(HERE), str(ROOT), clean.get("PYTHONPATH", "")]
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        command = [
            sys.executable,
            "-m",
            "argyll_redis.cli",
            "engine",
            "--json",
            "--http",
            "127.0.0.1:0",
            *options,
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-c", DIE_WITH_PARENT, str(os.getpid()), *command],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={
                **clean,
                "PYTHONPATH": os.pathsep.join(paths),
                "ARGYLL_REDIS_URL": redis_url,
                "ARGYLL_NAMESPACE": namespace,
            },
        )
        self._url = ""

    @property
    def url(self) -> str:
        """Where its API is, once it is up."""
        if not self._url:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            assert line, self.errors()
            self._url = json.loads(line)["http"]
        return self._url

    def errors(self) -> str:
        """What it has said on standard error."""
        self._errors.seek(0)
        return self._errors.read().decode()

    def bugs(self) -> list[str]:
        """What it has logged as an error, which nothing that a client or a step does may bring about."""
        lines = [line for line in self.errors().splitlines() if line.startswith("{")]
        return [line for line in lines if json.loads(line)["level"] in ("error", "critical")]

    def freeze(self) -> None:
        """Stops it in the middle of whatever it does; it says nothing and holds all that it has."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """Ends it as the kernel ends what has run out of memory."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Ends it if it is still there, and lets go of its files."""
        self.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()


Start = Callable[..., EngineProcess]
"""Starts an engine with these options in a namespace of the module's own."""
