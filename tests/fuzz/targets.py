"""All targets by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.fuzz.api import Requests
from tests.fuzz.cases import Target
from tests.fuzz.commands import Commands
from tests.fuzz.definitions import Definitions
from tests.fuzz.logs import Logs
from tests.fuzz.scripts import Scripts
from tests.fuzz.server import Server

TARGETS: Mapping[str, Callable[[], Target]] = {
    "http": Requests,
    "definitions": Definitions,
    "scripts": Scripts,
    "logs": Logs,
    "cli": Commands,
    "redis": Server,
}
SHARES: Mapping[str, int] = {
    "http": 86,
    "definitions": 54,
    "scripts": 40,
    "logs": 12,
    "cli": 7,
    "redis": 1,
}
"""How many of two hundred cases are of each: those that cost most are fewest."""
