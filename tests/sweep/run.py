"""One run of a sweep, in processes that are forked from one that has imported everything.

A fork costs a few ms where a new interpreter costs half a second; that is what makes a thousand runs
possible. Nobody forks who has an event loop or a second thread.
"""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import orjson
import redis

from argyll_redis.store.keys import row_of
from tests.sweep.actors import LEASE_MS, WORK_LIMIT_S, Place, be_struck, come_after
from tests.sweep.kinds import KINDS
from tests.sweep.strike import STRUCK, Mode, Strike

LIMIT_S = WORK_LIMIT_S + 5
"""Longest life of a process of a run; one that has not ended by then is killed."""
POLL_S = 0.005
PAUSE_S = 2 * LEASE_MS / 1000


@dataclass(frozen=True, slots=True)
class Point:
    """Where a process is struck."""

    kind: str
    mode: Mode
    number: int
    """Of the call, from 1."""

    def __str__(self) -> str:
        return f"--kind {self.kind} --mode {self.mode} --only {self.number}"


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run came to."""

    point: Point
    calls: int
    """Of the process that was to be struck; 0 when it was struck down."""
    wrong: list[str]
    is_stuck: bool
    seconds: float

    @property
    def is_beyond(self) -> bool:
        """Whether the process ended before it came to the call."""
        return 0 < self.calls < self.point.number


class Child:
    """A process that runs a function, and writes what it gives into a pipe."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.deadline_s = time.monotonic() + LIMIT_S
        self._reads, writes = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(self._reads)
            _become(work, writes)
        os.close(writes)

    def wait_for_stop(self) -> bool:
        """Waits until it stops or ends; whether it stopped."""
        look = os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT  # it stays there to be waited for
        while (found := os.waitid(os.P_PID, self.pid, look)) is None and time.monotonic() < self.deadline_s:
            time.sleep(POLL_S)
        return found is not None and found.si_code == os.CLD_STOPPED

    def result(self) -> dict[str, Any]:
        """What it gave, or `{struck}`, `{raised}` or `{stuck}`: it does not outlive this call."""
        data = b""
        try:
            while select.select([self._reads], [], [], max(0, self.deadline_s - time.monotonic()))[0]:
                chunk = os.read(self._reads, 65536)
                if not chunk:
                    return self._last_words(data)
                data += chunk
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            return {"stuck": True}
        finally:
            os.close(self._reads)

    def _last_words(self, data: bytes) -> dict[str, Any]:
        _, status = os.waitpid(self.pid, 0)
        if data:
            return orjson.loads(data)
        code = os.waitstatus_to_exitcode(status)
        return {"struck": True} if code == STRUCK else {"raised": f"it ended with status {code}"}


def _become(work: Callable[[], Any], writes: int) -> NoReturn:
    try:
        os.write(writes, orjson.dumps(work()))
        os._exit(0)
    except BaseException:
        os.write(writes, orjson.dumps({"raised": traceback.format_exc()[-600:]}))
    finally:
        os._exit(1)


class Runner:
    """Does one run after the other. Has a socket for the step service, and a directory, of its own."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._count = 0
        self._directory = Path(tempfile.mkdtemp(prefix="argyll-sweep-"))
        self._service = socket.create_server(("127.0.0.1", 0), backlog=32)
        self._client = redis.Redis.from_url(url, protocol=2)

    def close(self) -> None:
        self._service.close()
        self._client.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def run(self, point: Point) -> Ended:
        """Strikes, lets another process come after, and gives what is wrong."""
        began_s = time.monotonic()
        self._count += 1
        directory = self._directory / str(self._count)
        directory.mkdir()
        place = Place(self._url, f"{self._name}-{self._count}", directory, self._service)
        struck = Child(lambda: _struck(point, place))
        if point.mode is Mode.PAUSED and struck.wait_for_stop():
            first, second = self._paused(point, place, struck)
        else:
            first = struck.result()
            second = Child(lambda: _after(point, place, waits=False)).result()
        wrong = [*_told(first, "the process that was struck"), *_told(second, "the one after it")]
        wrong += [*first.get("wrong", []), *second.get("wrong", []), *self._cleared(place)]
        calls = first.get("calls", 0)
        is_stuck = any(text.startswith("stuck") for text in wrong)
        return Ended(point, calls, wrong, is_stuck, time.monotonic() - began_s)

    def _paused(self, point: Point, place: Place, struck: Child) -> tuple[dict[str, Any], dict[str, Any]]:
        """Lets another process work while the first one stands still, and both after that."""
        after = Child(lambda: _after(point, place, waits=True))
        time.sleep(PAUSE_S)
        os.kill(struck.pid, signal.SIGCONT)
        first = struck.result()
        place.is_over.touch()
        return first, after.result()

    def _cleared(self, place: Place) -> list[str]:
        """Deletes the namespace; gives the keys that nobody knows."""
        patterns = (f"{{{place.namespace}}}:*", f"{{{place.namespace}:*")
        keys = {key.decode() for each in patterns for key in self._client.scan_iter(each, count=1000)}
        if keys:
            self._client.delete(*keys)
        shutil.rmtree(place.directory, ignore_errors=True)
        return [f"keys: {key} is of no row" for key in sorted(keys) if row_of(key, place.namespace) is None]


def _struck(point: Point, place: Place) -> dict[str, Any]:
    strike = Strike(point.mode, point.number)
    wrong = asyncio.run(be_struck(KINDS[point.kind], place, strike))
    return {"calls": strike.calls, "wrong": wrong}


def _after(point: Point, place: Place, *, waits: bool) -> dict[str, Any]:
    return {"wrong": asyncio.run(come_after(KINDS[point.kind], place, waits=waits))}


def _told(result: dict[str, Any], who: str) -> list[str]:
    """What went wrong with a process as a whole."""
    if "stuck" in result:
        return [f"stuck: {who} did not end within {LIMIT_S} s"]
    return [f"raised: {who}: {result['raised']}"] if "raised" in result else []
