"""What a figure depends on: the machine, the versions, the server, how the bench was called."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import argyll_redis
from bench.dumb_socket import round_trip_ms
from bench.server import Servers

FAR_PINGS = 100
"""Round trips that a distance is the median of, where each takes its time."""


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
    """To the server with nothing in between; None in memory."""
    far_round_trips_ms: dict[str, float] = field(default_factory=dict)
    """By the ms that the delay proxy was asked to add: what a round trip then takes."""

    def json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Surroundings:
        """Reads what `json` gave; fields of an older or a newer bench are left out."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in shown.items() if name in known})


def look_around(
    places: Sequence[Servers], arguments: Sequence[str], versions: Mapping[str, str]
) -> Surroundings:
    """Looks at everything once, before anything runs. `places` are all circumstances of the run, the usual
    ones first; `versions` those of peers. Raises `NoServer`."""
    load = os.getloadavg()[0]
    far: dict[str, float] = {}
    durability: dict[str, None] = {}
    for servers in places:
        with servers.fresh() as server:
            durability[server.durability()] = None
            if servers.rtt_ms and f"{servers.rtt_ms:g}" not in far:
                far[f"{servers.rtt_ms:g}"] = round_trip_ms(server.url, pings=FAR_PINGS)
    with places[0].fresh() as server:
        return Surroundings(
            command=" ".join(["python -m bench", *map(_without_password, arguments)]),
            at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            machine=_machine(),
            load=load,
            versions={"argyll_redis": argyll_redis.__version__, "Python": platform.python_version()}
            | {name: _version(name) for name in ("redis", "hiredis", "orjson")}
            | dict(versions),
            server=f"{server.version()}{_where(server.near_url)}",
            durability=" and ".join(durability),
            round_trip_ms=None if places[0].in_memory else round_trip_ms(server.near_url),
            far_round_trips_ms=far,
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
