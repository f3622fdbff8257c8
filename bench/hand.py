"""A process that is asked and answers, a line of JSON each: workers of ours, and of the peers.

It says `{"ready": true}` once it can be asked, and ends with its standard input; so it never outlives
the bench, however that ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent
ANSWER_LIMIT_S = 900
"""Longest wait for one answer: a burst on the slowest machine that is any use."""
END_LIMIT_S = 10
"""Longest wait for a process to drain before it is killed."""
CHUNK_BYTES = 65_536
LOOK_S = 0.5
"""Between two looks whether it, and those beside it, are alive."""


class WorkerFailed(Exception):
    """A process ended or did not answer; what it said is on standard error."""


@contextmanager
def beside(module: str, *arguments: str) -> Iterator[str]:
    """Runs a module of ours in a process of its own, which ends with its standard input; gives the line that
    it says first: where it is."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        try:
            process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


class Hand:
    """One process: `with Hand("the client", command, environment) as client`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        is_well: Callable[[], None] = lambda: None,
        directory: Path = ROOT,
        answer_limit_s: float = ANSWER_LIMIT_S,
    ) -> None:
        """Starts it. `is_well` is asked while an answer is waited for, and raises what is wrong elsewhere."""
        self.name = name
        self._is_well = is_well
        self._answer_limit_s = answer_limit_s
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )
        self._received = b""
        self._is_killed = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self.answer()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Asks and waits for the answer. Raises `WorkerFailed`."""
        self.tell(**request)
        return self.answer()

    def tell(self, **request: Any) -> None:
        """Asks without waiting: `answer` gives the answer later. Raises `WorkerFailed`."""
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(request).encode() + b"\n")
            pipe.flush()
        except (BrokenPipeError, ValueError):
            raise WorkerFailed(f"{self.name} has ended") from None

    def answer(self) -> dict[str, Any]:
        """The next answer. Raises `WorkerFailed`."""
        pipe = self._process.stdout
        assert pipe is not None
        deadline_s = time.monotonic() + self._answer_limit_s
        while b"\n" not in self._received:
            if not select.select([pipe], [], [], LOOK_S)[0]:
                if time.monotonic() > deadline_s:
                    raise WorkerFailed(f"{self.name} did not answer within {self._answer_limit_s:g} s")
                self.look()
                self._is_well()
                continue
            received = os.read(pipe.fileno(), CHUNK_BYTES)
            if not received:
                raise WorkerFailed(f"{self.name} has ended")
            self._received += received
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    def look(self) -> None:
        """Raises `WorkerFailed` when it has ended and nobody meant it to."""
        if self._process.poll() is not None and not self._is_killed:
            raise WorkerFailed(f"{self.name} has ended (exit status {self._process.returncode})")

    def kill(self) -> None:
        """Kills it as a failing machine would: at once, and it knows nothing of it."""
        self._is_killed = True
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._close()

    def let_go(self) -> None:
        """Tells it to end; `end` waits for that."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def end(self) -> None:
        """Ends it, at once when it does not end by itself."""
        self.let_go()
        try:
            self._process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
