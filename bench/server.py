"""The server that is measured: a fresh one for each run, or one of yours, and what it says of itself.

A server of ours is the embedded one, its append-only file set as asked. On a server of yours each run
has a namespace of its own, which is removed again; `SLOWLOG` is set for the run and set back.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis

from argyll_redis.runtime.embedded import EmbeddedServer
from argyll_redis.store.scripts import directory, script
from bench.proxy import distance

SLOW_US = 100
"""Calls that take longer are noted, so that the longest is known."""
NOTED = 10_000
"""Calls noted at most."""
PINNED_MS = 4_102_444_800_000
"""The year 2100, and as many digits as today."""
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
class Spent:
    """What the server has spent: so far, or between two moments."""

    cpu_s: float
    script_calls: int
    script_s: float
    """Time within them."""
    commands: int = 0
    """Of any kind, those that scripts make among them; `INFO`, which asks for these figures, left out."""

    def __sub__(self, before: Spent) -> Spent:
        return Spent(
            self.cpu_s - before.cpu_s,
            self.script_calls - before.script_calls,
            self.script_s - before.script_s,
            self.commands - before.commands,
        )


@dataclass(frozen=True, slots=True)
class Held:
    """What the server holds: in all, or what was added between two moments."""

    memory_bytes: int
    """Without connections and the buffer of the append-only file."""
    feed_bytes: int
    """The part of it that feeds hold; they are trimmed, so it does not go on growing."""

    def __sub__(self, before: Held) -> Held:
        return Held(self.memory_bytes - before.memory_bytes, self.feed_bytes - before.feed_bytes)


@dataclass(frozen=True, slots=True)
class Longest:
    """The longest call of a run, and how many were long."""

    name: str
    ms: float
    over_1_ms: int


class Server:
    """A server under measurement, with a namespace for one run."""

    def __init__(self, url: str, namespace: str | None = None, *, near_url: str | None = None) -> None:
        """`url` is what apps are given; `near_url` leads there without the delay, if there is one."""
        self.url = url
        self.near_url = near_url or url
        self.namespace = namespace or f"bench-{secrets.token_hex(4)}"
        self._client: Any = redis.Redis.from_url(self.near_url, protocol=2)

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

    def spent(self) -> Spent:
        cpu, stats = self._client.info("cpu"), self._client.info("commandstats")
        calls = [stats[name] for name in ("cmdstat_eval", "cmdstat_evalsha") if name in stats]
        return Spent(
            cpu_s=cpu["used_cpu_user"] + cpu["used_cpu_sys"],
            script_calls=sum(each["calls"] for each in calls),
            script_s=sum(each["usec"] for each in calls) / 1e6,
            commands=sum(each["calls"] for name, each in stats.items() if name != "cmdstat_info"),
        )

    def round_trips(self) -> int:
        """How often the server has read from connections so far, this time included; a pipeline is one."""
        return self._client.info("stats")["total_reads_processed"]

    def held(self) -> Held:
        memory = self._client.info("memory")
        passing = memory.get("mem_clients_normal", 0) + memory.get("mem_aof_buffer", 0)
        feeds = sum(self._client.memory_usage(key, samples=0) or 0 for key in self._feeds())
        return Held(memory["used_memory"] - passing, feeds)

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

    def pin_entry_ids(self) -> None:
        """Makes the ids of entries come out the same whenever the same calls are made.

        An id is the server's clock and a number, unless a later id is there already: then it is that
        one's time and the next number. So the dispatch streams, still empty, are told of a late one.
        Without this a replay would acknowledge entries that do not exist, which is less work.
        """
        for key in self._dispatch_streams():
            self._client.execute_command("XSETID", key, f"{PINNED_MS}-0")

    def entries(self) -> int:
        """How many entries the dispatch streams hold."""
        return sum(self._client.xlen(key) for key in self._dispatch_streams())

    def _dispatch_streams(self) -> list[bytes]:
        patterns = [f"{{{self.namespace}:*}}:{kind}" for kind in ("work:*", "control")]
        return [key for pattern in patterns for key in self._client.scan_iter(pattern, count=1_000)]

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
        name_of(slowest["command"].split(b" ", 2)),
        slowest["duration"] / 1000,
        sum(note["duration"] > LONG_MS * 1000 for note in notes),
    )


def name_of(call: Sequence[bytes]) -> str:
    """The script of a call, or the command."""
    word, sha, *_ = [*(each.decode("utf-8", "replace") for each in call[:2]), ""]
    names = {script(path.stem).sha: path.stem for path in directory().glob("*.lua")}
    return f"{names.get(sha, 'a script')}.lua" if word == "EVALSHA" else word


class InMemory:
    """No server: the store is in the worker's own memory, so only the worker's figures are there."""

    def __init__(self, url: str) -> None:
        self.url = self.near_url = url
        self.namespace = "bench"

    def durability(self) -> str:
        return "nothing is kept"

    def version(self) -> str:
        return "in memory, no server"

    def spent(self) -> None:
        return None

    def held(self) -> None:
        return None

    @contextmanager
    def noting_slow_calls(self) -> Iterator[list[Longest]]:
        yield []


Place = Server | InMemory
"""Where a run takes place."""


class Servers:
    """Gives a server for each run, all of them under the same circumstances."""

    def __init__(self, url: str | None, aof: Aof, *, rtt_ms: float = 0) -> None:
        self.rtt_ms = rtt_ms
        self._url = url
        self._aof = aof

    def about(self) -> Mapping[str, Any]:
        """The circumstances, as rows name them."""
        aof: str = self._aof
        if self._url is not None:
            with self.fresh() as place:
                aof = place.durability().removeprefix("AOF ")
        return {"aof": aof, "rtt_ms": self.rtt_ms}

    @property
    def in_memory(self) -> bool:
        """Whether there is no server, and the store is in the worker's own memory."""
        return self._url is not None and self._url.startswith("memory://")

    @contextmanager
    def fresh(self, namespace: str | None = None) -> Iterator[Place]:
        """A place with nothing in it of another run; its namespace is a new one unless it is given.

        Raises `NoServer`."""
        if self._url is not None and self.in_memory:
            yield InMemory(self._url)
            return
        if self._url is not None:
            with self._open(self._url, namespace) as server:
                try:
                    yield server
                finally:
                    server.remove_namespace()
            return
        with EmbeddedServer() as embedded:
            if embedded.pid is None:
                raise NoServer("no redis-server or valkey-server on PATH: give --redis URL")
            with self._open(embedded.url, namespace) as server:
                server.set_aof(self._aof)
                yield server

    @contextmanager
    def _open(self, url: str, namespace: str | None) -> Iterator[Server]:
        far = distance(url, self.rtt_ms) if self.rtt_ms else nullcontext(url)
        with far as far_url:
            try:
                server = Server(far_url, namespace, near_url=url)
                server.version()
            except (redis.RedisError, ValueError) as error:
                raise NoServer(f"the server cannot be used: {error}") from None
            try:
                yield server
            finally:
                server.close()
