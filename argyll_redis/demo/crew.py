"""The demo's engine processes as the command sees them: started, one killed, ended with the command."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import IO, Self

from argyll_redis.app import Argyll
from argyll_redis.demo.app import CONCURRENCY
from argyll_redis.errors import StoreUnavailable

ENGINES = 2
READY_LIMIT_S = 20
"""Longest wait for an engine process to be connected."""
END_LIMIT_S = 5
"""Longest wait for an engine to drain before it is killed."""
SETTLE_MS = 20
"""How far apart two counts of a dead engine's work are that have to agree."""
MAX_LAST_WORDS = 300
"""Characters shown of what an engine wrote before it ended."""

_ENGINE = "import sys; sys.path[:] = {path!r}; from argyll_redis.demo.engine import main; main()"
"""Imports what this process would import, wherever it came from; `-m` would add the current folder."""

Count = Callable[[str], Awaitable[int]]
"""How many attempts an engine has in flight, by its id."""


@dataclass(frozen=True, slots=True)
class Kill:
    """An engine that was killed on purpose."""

    engine: str
    in_flight: int
    """Attempts that it left unanswered; all of them have to be taken over."""


class EngineProcess:
    """One engine process."""

    def __init__(self, process: asyncio.subprocess.Process, said: IO[bytes]) -> None:
        self.id = ""
        self.is_killed = False
        self.is_ending = False
        """Whether it was asked to end."""
        self._process = process
        self._said = said
        """Where its log goes."""
        self._last_words = ""

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    @property
    def has_failed(self) -> bool:
        """Whether it ended in a way that nobody has asked for."""
        asked = self.is_killed or (self.is_ending and self._process.returncode == 0)
        return self.has_ended and not asked

    async def await_ready(self) -> None:
        """Waits until it has said its id. Raises `StoreUnavailable` when it never does."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(READY_LIMIT_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise StoreUnavailable(f"an engine process was not ready within {READY_LIMIT_S} s") from None
        if not line:
            await self._process.wait()
            raise StoreUnavailable(self.obituary())
        self.id = json.loads(line)["engine"]

    def obituary(self) -> str:
        """Says that it ended, how, and what it wrote last."""
        last = self._last_words or self._read_last_words()
        code = self._process.returncode
        how = f"exit status {code}" if code is None or code >= 0 else signal.Signals(-code).name
        name = f"engine {short(self.id)}" if self.id else "an engine process"
        return f"{name} ended unexpectedly ({how}): {last[:MAX_LAST_WORDS]}"

    def _read_last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")

    async def kill(self) -> None:
        """Ends it as a power cut would, and waits until it is gone."""
        self.is_killed = True
        if not self.has_ended:
            self._process.kill()
        await self._process.wait()

    async def end(self) -> None:
        """Lets it drain; kills it when that takes too long."""
        assert self._process.stdin is not None
        self.is_ending = not self.has_ended
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_LIMIT_S):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            if not self.has_ended:
                self._process.kill()
        await self._process.wait()
        self._last_words = self._read_last_words()
        self._said.close()


class Crew:
    """The engine processes of one demo: `async with Crew(url, namespace) as crew`.

    Each has a session of its own, so that Ctrl-C ends the command alone, and the command ends them.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self.engines: list[EngineProcess] = []
        self._environment = {**os.environ, "ARGYLL_REDIS_URL": url, "ARGYLL_NAMESPACE": namespace}

    async def __aenter__(self) -> Self:
        try:
            for _ in range(ENGINES):
                await self._start()
            await asyncio.gather(*(engine.await_ready() for engine in self.engines))
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._end()

    async def _start(self) -> None:
        said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by EngineProcess.end
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", _ENGINE.format(path=sys.path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=said,
            env=self._environment,
            start_new_session=True,
        )
        self.engines.append(EngineProcess(process, said))

    async def _end(self) -> None:
        await asyncio.gather(*(engine.end() for engine in self.engines))

    @property
    def ids(self) -> list[str]:
        return [engine.id for engine in self.engines]

    @property
    def complaints(self) -> list[str]:
        """What is to be said of engines that ended in a way that nobody has asked for."""
        return [engine.obituary() for engine in self.engines if engine.has_failed]

    @property
    def is_alive(self) -> bool:
        """Whether any engine is left."""
        return any(not engine.has_ended for engine in self.engines)

    async def kill_one(self, in_flight: Count) -> Kill | None:
        """Kills an engine that has work in flight; None when no engine has any just now."""
        for engine in self.engines:
            if not engine.has_ended and await in_flight(engine.id):
                await engine.kill()
                return Kill(engine.id, await _settled(engine.id, in_flight))
        return None


class OwnEngine:
    """The one engine of a demo in memory: this process, with the crew's manners."""

    def __init__(self, app: Argyll) -> None:
        self._app = app
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._app.run(concurrency=CONCURRENCY, until=self._until_ended))
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._task is not None
        self._ended.set()
        await asyncio.wait([self._task])

    async def _until_ended(self) -> None:
        await self._ended.wait()

    @property
    def ids(self) -> list[str]:
        return [self._app.client_id]

    @property
    def complaints(self) -> list[str]:
        """What is to be said of the engine when it has failed."""
        error = self._task.exception() if self._task and self._task.done() else None
        return [f"the engine ended unexpectedly: {error}"] if error else []

    @property
    def is_alive(self) -> bool:
        """Whether the engine is at work."""
        return self._task is not None and not self._task.done()

    async def kill_one(self, in_flight: Count) -> Kill | None:
        """Kills nothing: this process is needed."""
        del in_flight


async def _settled(engine: str, in_flight: Count) -> int:
    """What a dead engine has left in flight: its last words may still be on their way to the server."""
    before, count = -1, await in_flight(engine)
    while count != before:
        await asyncio.sleep(SETTLE_MS / 1000)
        before, count = count, await in_flight(engine)
    return count


def short(engine: str) -> str:
    """An engine's id as people see it."""
    return engine[:6]
