"""Whether a server can be trusted with a namespace, judged by `INFO` alone.

`CONFIG` is denied to careful users of a shared server; `INFO` tells all that is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from argyll_redis.store.copies import Copies

MIN_VERSION = (7, 0)
FULL = 0.9
"""Part of its memory, or of its connections, from which on a server is said to be nearly full."""
MAX_LAG_S = 10
"""For how long a replica may not have answered before it is said."""
MAX_APART_MS = 1_000
"""By how much the clocks of two nodes may differ before it is said."""
APART = "cluster_clocks_apart_ms"
"""Where it is in what a cluster says of itself; a single server says nothing of it."""
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
    if info.get("cluster_enabled") == "1" and "cluster_masters" not in info:
        yield Finding(True, "the server is a node of a cluster", "use redis+cluster:// in place of redis://")
    if info.get("aof_enabled") == "0":
        yield Finding(
            False,
            "the server has no append-only file and forgets everything in a crash",
            "set appendonly to yes",
        )
    yield from judge_clocks(_number(info, APART))


def judge_clocks(apart_ms: int) -> Iterator[Finding]:
    """Says that the clocks of a cluster's nodes are too far apart."""
    if apart_ms > MAX_APART_MS:
        what = f"the clocks of the nodes are {apart_ms:,} ms apart, and what is due is late by as much"
        yield Finding(False, what, "let all nodes follow one time server")


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


def examine_settings(
    info: Mapping[str, str], settings: Mapping[str, str], copies: Copies
) -> Iterator[Remark]:
    """Says what settings mean for what is written, where the user may ask for them, and whether there are
    the replicas that commits wait for."""
    if info.get("aof_enabled") == "1":
        yield from _flushing(settings.get("appendfsync", ""))
    yield from _replicas(info, copies)
    wanted = settings.get("min-replicas-to-write", "0")
    good = sum(state == "online" for state, _ in _replicas_of(info))
    if wanted.isdecimal() and int(wanted) > good:
        what = f"it refuses writes without {wanted} replicas (min-replicas-to-write), and {good} are online"
        yield Remark(Level.FAULT, what, "start the replicas, or lower min-replicas-to-write")


def _flushing(appendfsync: str) -> Iterator[Remark]:
    match appendfsync:
        case "always":
            yield Remark(Level.OK, "what it has answered is on disk (appendfsync always)")
        case "everysec":
            what = "it flushes its append-only file each second: a power cut may take the last one or two"
            yield Remark(Level.OK, f"{what} (appendfsync everysec)")
        case "no":
            what = "it leaves it to the system when its append-only file is flushed (appendfsync no)"
            yield Remark(Level.WARNING, what, "set appendfsync to everysec or always")
        case _:
            pass


def _replicas(info: Mapping[str, str], copies: Copies) -> Iterator[Remark]:
    """Whether there are the replicas that are waited for, and how far behind those are that there are."""
    states = _replicas_of(info)
    good = sum(state == "online" for state, _ in states)
    if copies.replicas > good:
        what = f"commits wait for {copies.replicas} replicas, and {good} are online: nothing is committed"
        yield Remark(Level.FAULT, what, "start the replicas, or wait for fewer")
    for lag_s in sorted(lag_s for state, lag_s in states if state == "online" and lag_s > MAX_LAG_S):
        what = f"a replica last answered {lag_s} s ago: a failover to it would take back what came since"
        yield Remark(Level.WARNING, what, "look at the replica and at the network")
    if states and good == len(states):
        yield Remark(Level.OK, f"{good} replica{'s are' if good > 1 else ' is'} online")
    elif states:
        yield Remark(Level.WARNING, f"{good} of {len(states)} replicas are online", "look at the others")


def _replicas_of(info: Mapping[str, str]) -> list[tuple[str, int]]:
    """The state of each replica, and how long ago it answered, s."""
    rows = [value for name, value in info.items() if re.fullmatch(r"slave\d+", name)]
    found = [
        {name: value for name, _, value in (pair.partition("=") for pair in row.split(","))} for row in rows
    ]
    return [(row.get("state", ""), _number(row, "lag")) for row in found]


def _well(info: Mapping[str, str]) -> Iterator[Remark]:
    """What `judge` has nothing against."""
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "")
    yield Remark(Level.OK, f"the server is {name} {version}")
    if masters := info.get("cluster_masters"):
        what = f"it is one of the {masters} masters of a cluster: the one of which there is the most to say"
        yield Remark(Level.OK, what)
    elif info.get("role") == "master":
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
    """Whether its data is kept, and reaches the disk."""
    if dropped := _number(info, "evicted_keys"):
        what = f"it has dropped {dropped:,} keys for want of memory since it was started"
        mend = "raise maxmemory, and let `argyll audit` say whether any were of a namespace"
        yield Remark(Level.WARNING, what, mend)
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
