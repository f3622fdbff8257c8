"""Whether a server can be trusted with a namespace, judged by `INFO` alone.

`CONFIG` is denied to careful users of a shared server; `INFO` tells all that is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

MIN_VERSION = (7, 0)
FULL = 0.9
"""Part of its memory, or of its connections, from which on a server is said to be nearly full."""
NOT_TOLD = "INFO is refused, so nobody knows if the server is fit"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a server that its operator should know."""

    is_fatal: bool
    """Whether the server cannot be used at all."""
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.what} ({self.mend})"


def parse_info(reply: bytes) -> dict[str, str]:
    """Reads the reply of `INFO`."""
    lines = reply.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def judge(info: Mapping[str, str]) -> Iterator[Finding]:
    """Gives what is wrong with a server, fatal findings and warnings."""
    version = info.get("redis_version", "0")
    if "valkey_version" not in info and _numbers(version) < MIN_VERSION:
        yield Finding(True, f"the server is Redis {version}", "use Redis 7.0 or later, or Valkey")
    policy = info.get("maxmemory_policy", "")
    if policy.startswith("allkeys-"):
        yield Finding(True, f"the eviction policy {policy} drops keys", "set maxmemory-policy to noeviction")
    if info.get("role", "master") != "master":
        yield Finding(True, "the server is a replica", "connect to its master")
    if info.get("cluster_enabled") == "1":
        yield Finding(
            True, "the server is a node of a cluster", "this is not supported yet; use a single server"
        )
    if info.get("aof_enabled") == "0":
        yield Finding(
            False,
            "the server has no append-only file and forgets everything in a crash",
            "set appendonly to yes",
        )


# ----------------------------------------------------------------------- doctor


class Level(StrEnum):
    """How bad something is."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that was looked at."""

    level: Level
    what: str
    mend: str = ""
    """What to do about it; empty where all is well."""


def examine(info: Mapping[str, str]) -> Iterator[Remark]:
    """Says of everything that `INFO` tells how it stands: what is well, too."""
    if info.get("server") == "memory":
        yield Remark(Level.WARNING, "in memory, this process only, nothing is kept", "use a Redis server")
        return
    if not info:
        yield Remark(Level.WARNING, NOT_TOLD, "allow INFO to the user")
        return
    for finding in judge(info):
        yield Remark(Level.FAULT if finding.is_fatal else Level.WARNING, finding.what, finding.mend)
    yield from _well(info)
    yield from _memory(info)
    yield from _writing(info)
    yield from _clients(info)


def _well(info: Mapping[str, str]) -> Iterator[Remark]:
    """What `judge` has nothing against."""
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "")
    yield Remark(Level.OK, f"the server is {name} {version}")
    if info.get("role") == "master":
        yield Remark(Level.OK, "it is a master")
    if info.get("aof_enabled") == "1":
        yield Remark(Level.OK, "its append-only file is on")
    policy = info.get("maxmemory_policy", "")
    if policy == "noeviction":
        yield Remark(Level.OK, "it drops no keys (noeviction)")
    elif policy.startswith("volatile-"):
        yield Remark(Level.OK, f"it drops only keys with a time to live ({policy})")


def _memory(info: Mapping[str, str]) -> Iterator[Remark]:
    used, most = _number(info, "used_memory"), _number(info, "maxmemory")
    if not used:
        return
    if not most:
        yield Remark(Level.OK, f"it uses {_megabytes(used)} of memory, without a limit (maxmemory 0)")
        return
    what = f"it uses {_megabytes(used)} of {_megabytes(most)} of memory"
    if used < FULL * most:
        yield Remark(Level.OK, what)
    else:
        yield Remark(Level.WARNING, f"{what}: when it is full it refuses writes", "raise maxmemory")


def _writing(info: Mapping[str, str]) -> Iterator[Remark]:
    """Whether its data reaches the disk."""
    last = {
        "aof_last_write_status": ("its last write to the append-only file failed", Level.FAULT),
        "aof_last_bgrewrite_status": ("the last rewrite of its append-only file failed", Level.WARNING),
        "rdb_last_bgsave_status": ("its last snapshot failed", Level.WARNING),
    }
    for field, (what, level) in last.items():
        if info.get(field, "ok") != "ok":
            yield Remark(level, what, "look at its log and at the space on its disk")


def _clients(info: Mapping[str, str]) -> Iterator[Remark]:
    connected, most = _number(info, "connected_clients"), _number(info, "maxclients")
    if most and connected >= FULL * most:
        what = f"{connected:,} of {most:,} possible clients are connected"
        yield Remark(Level.WARNING, what, "raise maxclients, or find who does not disconnect")


def _number(info: Mapping[str, str], field: str) -> int:
    text = info.get(field, "")
    return int(text) if text.isdecimal() else 0


def _megabytes(count: int) -> str:
    return f"{count / 1_000_000:,.1f} MB"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
