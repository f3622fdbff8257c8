"""Journals: what services saw and what clients were told, one JSON object a line, whole after any kill.

The formats are those that `argyll audit --calls` and `--answers` read. A line is one `write` to a file
opened for appending: the kernel has it before the writer goes on, and so it outlives the writer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CALLS, ANSWERS, KNEW, FORGED = "calls", "answers", "knew", "forged"


class Journal:
    """A journal that is written; many processes may write to one."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, **what: Any) -> None:
        os.write(self._file, json.dumps(what).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def paths(directory: Path, kind: str) -> list[Path]:
    """The journals of a kind that a run has written."""
    return sorted(directory.glob(f"{kind}-*.jsonl"))


def lines(directory: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Reads all journals of a kind. A half line at the end of one is left out."""
    for path in paths(directory, kind):
        with path.open() as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)
