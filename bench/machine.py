"""What a figure depends on: the machine, the versions, the server, how the bench was called."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import argyll_redis
from bench.dumb_socket import round_trip_ms
from bench.server import Servers


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Goes with every figure that is published."""

    command: str
    at: str
    """When it began, UTC."""
    machine: str
    load: float
    """How many processes wanted to run in the minute before; above 0 the machine was not idle."""
    versions: dict[str, str]
    server: str
    durability: str
    round_trip_ms: float | None
    """None in memory."""

    def json(self) -> dict[str, Any]:
        return asdict(self)


def look_around(servers: Servers, arguments: list[str]) -> Surroundings:
    """Looks at everything once, before anything runs. Raises `NoServer`."""
    load = os.getloadavg()[0]
    with servers.fresh() as server:
        return Surroundings(
            command=" ".join(["python -m bench", *map(_without_password, arguments)]),
            at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            machine=_machine(),
            load=load,
            versions={"argyll_redis": argyll_redis.__version__, "Python": platform.python_version()}
            | {name: _version(name) for name in ("redis", "hiredis", "orjson")},
            server=f"{server.version()}{_where(server.url)}",
            durability=server.durability(),
            round_trip_ms=None if servers.in_memory else round_trip_ms(server.url),
        )


def _machine() -> str:
    return f"{os.cpu_count()} cores of {_processor()}, {platform.system()} {platform.release()}"


def _processor() -> str:
    """The name of the processor, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _where(url: str) -> str:
    return {"unix": " on a Unix socket", "redis": " over TCP"}.get(urlsplit(url).scheme, "")


def _without_password(argument: str) -> str:
    """A URL as it may be shown."""
    head, at, tail = argument.rpartition("@")
    return f"{head.partition('://')[0]}://...@{tail}" if at and "://" in head else argument
