"""A plain blocking socket to the server: what can be reached when nobody thinks.

It sends bytes and reads replies. Nothing else of the bench talks to the server while it is timed.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Self, cast
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis

REPLY_LIMIT_S = 60
"""Longest wait for a reply."""
CHUNK_BYTES = 65_536
PINGS = 1_000
"""Round trips that the server's distance is the median of."""

pack = cast(Callable[[tuple[str | bytes | int, ...]], bytes], hiredis.pack_command)
"""Puts a command into the bytes that travel."""


def open_socket(url: str) -> socket.socket:
    """Connects to the server of a URL, without logging in."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        opened.connect(unquote(parts.path))
        return opened
    if parts.scheme != "redis":
        raise ValueError(f"a dumb socket speaks redis:// and unix://, not {parts.scheme}://")
    opened = socket.create_connection((parts.hostname or "localhost", parts.port or 6379))
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def url_at(path: str, url: str) -> str:
    """The URL of a server that is reached at another socket: same user, same database."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    database = parts.path.strip("/") if parts.scheme != "unix" else ""
    query = f"db={database}" if database else parts.query
    return f"unix://{user}{'@' if user else ''}{path}{'?' if query else ''}{query}"


class DumbSocket:
    """A connection of its own, logged in: `with DumbSocket(url) as link`."""

    def __init__(self, url: str) -> None:
        self._socket = open_socket(url)
        self._socket.settimeout(REPLY_LIMIT_S)
        self._reader = hiredis.Reader()
        self._log_in(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def _log_in(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.password:
            self.ask("AUTH", unquote(parts.username or "default"), unquote(parts.password))
        path = "" if parts.scheme == "unix" else parts.path.strip("/")
        if database := parse_qs(parts.query).get("db", [path])[-1]:
            self.ask("SELECT", database)

    def ask(self, *command: str | bytes | int) -> Any:
        """Sends a command and gives its reply. Raises the server's error."""
        reply = self.exchange(pack(command))
        if isinstance(reply, Exception):
            raise reply
        return reply

    def exchange(self, packed: bytes) -> Any:
        """Sends one packed command and gives its reply, be it an error."""
        self._socket.sendall(packed)
        return self._read()

    def replay(self, commands: Sequence[bytes], *, window: int) -> tuple[float, list[Any]]:
        """Sends packed commands with `window` of them on their way; gives seconds and replies."""
        replies: list[Any] = []
        started_s = time.perf_counter()
        for packed in commands[:window]:
            self._socket.sendall(packed)
        for packed in commands[window:]:
            replies.append(self._read())
            self._socket.sendall(packed)
        while len(replies) < len(commands):
            replies.append(self._read())
        return time.perf_counter() - started_s, replies

    def _read(self) -> Any:
        while (reply := self._reader.gets()) is False:
            received = self._socket.recv(CHUNK_BYTES)
            if not received:
                raise ConnectionError("the server has closed the connection")
            self._reader.feed(received)
        return reply


def round_trip_ms(url: str, *, pings: int = PINGS) -> float:
    """How long a reply takes that needs no work: the median of many PINGs."""
    times: list[float] = []
    with DumbSocket(url) as link:
        for _ in range(pings):
            started_s = time.perf_counter()
            link.ask("PING")
            times.append(time.perf_counter() - started_s)
    return median(times) * 1000
