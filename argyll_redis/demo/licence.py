"""Finds the licence that goes with a folder of source, so that a report about it can name it."""

from __future__ import annotations

import os
from typing import Any

LICENCE_FILES = ("LICENSE.txt", "LICENSE", "LICENSE.md", "COPYING")
MAX_LICENCE_BYTES = 256 * 1024
"""How much of a licence file is read."""
MAX_TITLE = 100
"""Characters kept of a title."""


def find_licence(root: str) -> dict[str, Any]:
    """Returns `{"title", "file", "lines"}` of the licence in a folder or the one above it.

    The title is the first line in capitals that says LICENSE, else the first line that is not
    blank. Without a licence file title and file are None.
    """
    for folder in (root, os.path.dirname(os.path.abspath(root))):
        for name in LICENCE_FILES:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                return {"file": name, **_read(path)}
    return {"file": None, "title": None, "lines": 0}


def _read(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        text = file.read(MAX_LICENCE_BYTES).decode("utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines()]
    headings = [line for line in lines if line.isupper() and "LICENSE" in line]
    title = next((line for line in (*headings, *lines) if line), "")
    title = title.title() if title.isupper() else title
    return {"title": title[:MAX_TITLE] or None, "lines": len(lines)}
