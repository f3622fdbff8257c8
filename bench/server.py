"""The server that is measured: a fresh one for each run, or one of yours, and what it says of itself.

A server of ours is the embedded one, its append-only file set as asked. On a server of yours each run
has a namespace of its own, which is removed again; `SLOWLOG` is set for the run and set back.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis

from argyll_redis.runtime.embedded import EmbeddedServer
from argyll_redis.store.scripts import directory, script

SLOW_US = 100
"""Calls that take longer are noted, so that the longest is known."""
NOTED = 10_000
"""Calls noted at most."""
LONG_MS = 1.0
"""A call that takes longer holds up everybody else noticeably."""


class NoServer(Exception):
    """There is nothing to measure on."""


class Aof(StrEnum):
    """When the server writes to its append-only file."""

    OFF = "off"
    EVERYSEC = "everysec"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Reading:
    """What the server has spent and holds, at one moment."""

    cpu_s: float
    script_calls: int
    memory_bytes: int
    """Without connections and the buffer of the append-only file."""
    feed_bytes: int
    """The part of it that feeds hold; they are trimmed, so it does not go on growing."""


@dataclass(frozen=True, slots=True)
class Longest:
    """The longest call of a run, and how many were long. None where the server does not tell."""

    name: str
    ms: float
    over_1_ms: int


class Server:
    """A server under measurement, with a namespace for one run."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.namespace = f"bench-{secrets.token_hex(4)}"
        self._client: Any = redis.Redis.from_url(url, protocol=2)

    def close(self) -> None:
        self._client.close()

    # ------------------------------------------------------------------ settings

    def set_aof(self, aof: Aof) -> None:
        self._client.config_set("appendonly", "no" if aof is Aof.OFF else "yes")
        if aof is not Aof.OFF:
            self._client.config_set("appendfsync", aof.value)

    def durability(self) -> str:
        """The mode that is in force, as the server says."""
        if not self._client.info("persistence")["aof_enabled"]:
            return "AOF off"
        try:
            return f"AOF {self._client.config_get('appendfsync')['appendfsync']}"
        except redis.RedisError:
            return "AOF on"

    def version(self) -> str:
        info = self._client.info("server")
        valkey = info.get("valkey_version")
        return f"Valkey {valkey}" if valkey else f"Redis {info['redis_version']}"

    # -------------------------------------------------------------------- reading

    def read(self) -> Reading:
        cpu, memory = self._client.info("cpu"), self._client.info("memory")
        stats = self._client.info("commandstats")
        calls = [stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha")]
        passing = memory.get("mem_clients_normal", 0) + memory.get("mem_aof_buffer", 0)
        return Reading(
            cpu_s=cpu["used_cpu_user"] + cpu["used_cpu_sys"],
            script_calls=sum(calls),
            memory_bytes=memory["used_memory"] - passing,
            feed_bytes=sum(self._client.memory_usage(key, samples=0) or 0 for key in self._feeds()),
        )

    def _feeds(self) -> list[bytes]:
        return list(self._client.scan_iter(f"{{{self.namespace}:*}}:feed", count=1_000))

    @contextmanager
    def noting_slow_calls(self) -> Iterator[list[Longest]]:
        """Notes slow calls; the list holds the longest afterwards, or nothing where that is denied."""
        found: list[Longest] = []
        names = ("slowlog-log-slower-than", "slowlog-max-len")
        try:
            kept = {name: self._client.config_get(name)[name] for name in names}
            self._client.config_set(names[0], SLOW_US)
            self._client.config_set(names[1], NOTED)
            self._client.slowlog_reset()
        except redis.RedisError:
            yield found
            return
        try:
            yield found
            found.append(_longest(self._client.slowlog_get(NOTED)))
        finally:
            # Notes take memory, so they are gone before that is read.
            self._client.slowlog_reset()
            for name, value in kept.items():
                self._client.config_set(name, value)

    # ------------------------------------------------------------------- namespace

    def remove_namespace(self) -> None:
        """Deletes what a run has left."""
        for pattern in (f"{{{self.namespace}}}:*", f"{{{self.namespace}:*"):
            keys = list(self._client.scan_iter(pattern, count=1_000))
            for begin in range(0, len(keys), 1_000):
                self._client.unlink(*keys[begin : begin + 1_000])


def _longest(notes: list[dict[str, Any]]) -> Longest:
    slowest = max(notes, key=lambda note: note["duration"], default=None)
    if slowest is None:
        return Longest("none", SLOW_US / 1000, 0)
    return Longest(
        _name_of(slowest["command"]),
        slowest["duration"] / 1000,
        sum(note["duration"] > LONG_MS * 1000 for note in notes),
    )


def _name_of(command: bytes) -> str:
    """The script of a call, or the command."""
    word, sha = [*command.decode("utf-8", "replace").split(" ", 2), ""][:2]
    names = {script(path.stem).sha: path.stem for path in directory().glob("*.lua")}
    return f"{names.get(sha, 'a script')}.lua" if word == "EVALSHA" else word


class Servers:
    """Gives a server for each run."""

    def __init__(self, url: str | None, aof: Aof) -> None:
        self._url = url
        self._aof = aof

    @property
    def in_memory(self) -> bool:
        """Whether there is no server, and the store is in the worker's own memory."""
        return self._url is not None and self._url.startswith("memory://")

    @contextmanager
    def fresh(self) -> Iterator[Server]:
        """A server with nothing in it of another run. Raises `NoServer`."""
        if self._url is not None:
            with _open(self._url) as server:
                try:
                    yield server
                finally:
                    server.remove_namespace()
            return
        with EmbeddedServer() as embedded:
            if embedded.pid is None:
                raise NoServer("no redis-server or valkey-server on PATH: give --redis URL")
            with _open(embedded.url) as server:
                server.set_aof(self._aof)
                yield server


@contextmanager
def _open(url: str) -> Iterator[Server]:
    try:
        server = Server(url)
        server.version()
    except (redis.RedisError, ValueError) as error:
        raise NoServer(f"the server cannot be used: {error}") from None
    try:
        yield server
    finally:
        server.close()
