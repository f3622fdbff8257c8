"""Whether a server can be trusted with a namespace, judged by `INFO` alone.

`CONFIG` is denied to careful users of a shared server; `INFO` tells all that is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MIN_VERSION = (7, 0)


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


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
