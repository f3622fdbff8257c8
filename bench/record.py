"""Runs that are kept as JSON: reading them, and finding the last one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.hand import ROOT
from bench.machine import Surroundings
from bench.rows import Row

RECORDS = ROOT / "docs" / "performance"
"""Where runs that are worth keeping are, one JSON document each."""


class NoRecord(Exception):
    """A file is no run of the bench."""


@dataclass(frozen=True, slots=True)
class Record:
    """A run that was kept."""

    surroundings: Surroundings
    rows: Sequence[Row]
    missing: Mapping[str, str]


def read(path: Path) -> Record:
    """Reads a document that `--json` has printed. Raises `NoRecord`."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        return Record(
            Surroundings.from_json(found["surroundings"]),
            [Row.from_json(row) for row in found["rows"]],
            found.get("missing", {}),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoRecord(f"{path} is no run of the bench ({error}): give a file that --json wrote") from None


def last(directory: Path = RECORDS) -> Path:
    """The run that was recorded last, by the time that it says itself. Raises `NoRecord`."""
    paths = sorted(directory.glob("*.json"))
    if not paths:
        raise NoRecord(f"{directory} holds no run to compare with: record one with --report {directory.name}")
    return max(paths, key=lambda path: read(path).surroundings.at)
