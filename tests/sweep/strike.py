"""Connections that count the calls of a process, over all of them, and strike at one.

They stand between the store and redis-py, so that nothing in the product knows of it. What is sent in
one piece is one call: a script, a pipeline, a blocking read. Connecting and logging in are none.
"""

from __future__ import annotations

import os
import signal
import threading
from enum import StrEnum
from typing import Any

import redis.exceptions as redis_errors

from argyll_redis.store.connect import UrlConnector

STRUCK = 17
"""Exit status of a process that was struck down."""


class Mode(StrEnum):
    """What happens at the call."""

    BEFORE = "before"
    """The process ends; the call is never sent."""
    AFTER = "after"
    """The process ends when the reply is there; nobody sees it."""
    LOST = "lost"
    """The reply is lost, with the connection."""
    PAUSED = "paused"
    """The process stops when the reply is there, until somebody lets it go on."""


class Strike:
    """Counts calls, and strikes at the one of this number. Several threads count."""

    def __init__(self, mode: Mode | None = None, number: int = 0) -> None:
        self._mode = mode
        self._number = number
        self._lock = threading.Lock()
        self.calls = 0
        self.is_done = False

    def sent(self) -> bool:
        """Counts a call that is about to be sent; whether it is the one to be struck."""
        with self._lock:
            self.calls += 1
            is_it = self._mode is not None and self.calls == self._number
        if is_it and self._mode is Mode.BEFORE:
            os._exit(STRUCK)
        return is_it

    def answered(self) -> None:
        """Strikes where a reply of the call is there. Raises what redis-py does for a lost connection."""
        if self.is_done:
            return
        self.is_done = True
        if self._mode is Mode.AFTER:
            os._exit(STRUCK)
        elif self._mode is Mode.PAUSED:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self._mode is Mode.LOST:
            raise redis_errors.ConnectionError("the reply was lost")


class StrikingConnector:
    """Connections to the server of a URL, each of which counts."""

    def __init__(self, url: str, strike: Strike) -> None:
        self._inner = UrlConnector(url)
        self._strike = strike
        self.address = self._inner.address

    def connection(self) -> Any:
        return _Connection(self._inner.connection(), self._strike)

    def blocking_connection(self) -> Any:
        return _BlockingConnection(self._inner.blocking_connection(), self._strike)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Struck:
    """A connection; what is not counted goes through."""

    def __init__(self, inner: Any, strike: Strike) -> None:
        self._inner = inner
        self._strike = strike
        self._is_struck = False
        """Whether the call on its way is the one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _count(self) -> None:
        self._is_struck = self._strike.sent()

    def _judged(self, reply: Any) -> Any:
        """The reply, an error reply raised, unless this is the call to be struck."""
        if self._is_struck:
            self._is_struck = False
            self._strike.answered()
        if isinstance(reply, Exception):
            raise reply
        return reply


class _Connection(_Struck):
    async def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None:
        self._count()
        await self._inner.send_packed_command(command, check_health=check_health)

    async def read_response(self, **options: Any) -> Any:
        try:
            reply = await self._inner.read_response(**options)
        except redis_errors.ResponseError as error:
            reply = error
        return self._judged(reply)


class _BlockingConnection(_Struck):
    def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None:
        self._count()
        self._inner.send_packed_command(command, check_health=check_health)

    def read_response(self, **options: Any) -> Any:
        try:
            reply = self._inner.read_response(**options)
        except redis_errors.ResponseError as error:
            reply = error
        return self._judged(reply)
