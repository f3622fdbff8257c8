"""What tests of the command line speak in: a command and its answer, an engine beside it, a few steps."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import IO, Any
from uuid import uuid4

from click.testing import CliRunner

from argyll_redis.app import Argyll
from argyll_redis.cli import argyll

_numbers = count(1)


def script_step(id: str, script: str, *, needs: Mapping[str, str], provides: str) -> dict[str, Any]:
    """A step in Lua; `needs` are names and types."""
    attributes: dict[str, Any] = {name: {"role": "required", "type": kind} for name, kind in needs.items()}
    attributes[provides] = {"role": "output"}
    return {
        "id": id,
        "type": "script",
        "attributes": attributes,
        "script": {"language": "lua", "script": script},
    }


DOUBLE = script_step("double", "return {b = a * 2}", needs={"a": "number"}, provides="b")
TRIPLE = script_step("triple", "return {c = b * 3}", needs={"b": "number"}, provides="c")
BROKEN = script_step("broken", "error('boom')", needs={"a": "number"}, provides="d")
STEPS = [DOUBLE, TRIPLE, BROKEN]


@dataclass(frozen=True)
class Answer:
    """What a command printed and ended with."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document that was printed."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The objects that were printed, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


def refused(answer: Answer, status: int) -> str:
    """What a refused command said, without the word error: it must be one harmless line."""
    assert (answer.status, answer.out, answer.err.count("\n")) == (status, "", 1), answer
    assert answer.err.startswith("error: ")
    assert answer.err.removesuffix("\n").isprintable()
    assert "bug of argyll" not in answer.err
    return answer.err.removeprefix("error: ").removesuffix("\n")


class Cli:
    """Runs commands in this process, against one namespace."""

    def __init__(self, url: str = "memory://", namespace: str = "") -> None:
        self.namespace = namespace or f"cli{next(_numbers)}-{uuid4().hex[:6]}"
        self.variables = {"ARGYLL_REDIS_URL": url, "ARGYLL_NAMESPACE": self.namespace}
        self.url = url

    def __call__(self, *arguments: str, stdin: str | bytes | None = None, **variables: str) -> Answer:
        result = CliRunner().invoke(
            argyll, list(arguments), input=stdin, env={**self.variables, **variables}, prog_name="argyll"
        )
        return Answer(result.exit_code, result.stdout, result.stderr)

    def register(self, *steps: dict[str, Any]) -> None:
        """Registers steps, all of ours when none are named."""
        answer = self("step", "register", "-", stdin=json.dumps(steps or STEPS))
        assert answer.status == 0, answer

    @contextmanager
    def engine(self) -> Iterator[None]:
        """An engine in a thread of this process that every command knows of, drained at the end."""
        ready = threading.Event()
        ends: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        broken: list[BaseException] = []

        async def serve() -> None:
            stop = asyncio.Event()
            ends.append((asyncio.get_running_loop(), stop))

            async def until() -> None:
                while not await app.engines():
                    await asyncio.sleep(0.001)
                ready.set()
                await stop.wait()

            async with Argyll(self.url, self.namespace) as app:
                await app.run(until=until)

        def run() -> None:
            try:
                asyncio.run(serve())
            except BaseException as error:
                broken.append(error)
            finally:
                ready.set()

        # A daemon: one that does not come up or does not end fails this test, and holds up nobody's end.
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            assert ready.wait(10)
            yield
        finally:
            for loop, stop in ends:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(stop.set)
            thread.join(20)
        assert (thread.is_alive(), broken) == (False, [])


def process(*arguments: str, cwd: str | os.PathLike[str] = ".", **variables: str) -> subprocess.Popen[str]:
    """The command line as a process of its own; without the variables that a developer may have set."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ARGYLL_")}
    path = os.pathsep.join([os.getcwd(), clean.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "argyll_redis.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**clean, "PYTHONPATH": path, **variables},
    )


def ended(process: subprocess.Popen[str], *, limit_s: float = 20) -> Answer:
    """Waits for a process and gives what it printed since it was last read from; one that does not end
    is killed. Not `communicate`: that forgets what `readline` has read ahead."""
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError(f"{process.args} did not end: {process.stderr.read()}") from None
    out = "" if process.stdout.closed else process.stdout.read()
    err = process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    return Answer(process.returncode, out, err)


def read_until(stream: IO[str] | None, words: str) -> str:
    """Reads lines until one has these words; gives all that was read."""
    assert stream is not None
    read = ""
    while words not in read:
        line = stream.readline()
        assert line, f"no line with {words!r} in {read!r}"
        read += line
    return read
