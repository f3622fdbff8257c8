"""Finds the scripts of `lua/`, puts their shared parts in, and knows them by hash.

A line `-- include: name` is replaced by the text of `lib/name.lua`. In an installed wheel the
scripts are in `argyll_redis/lua`; in the repository they are in `lua/` beside the package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from pathlib import Path

_INCLUDE = re.compile(r"^-- include: (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """A script as it is sent: `EVAL` takes its text, `EVALSHA` its hash."""

    name: str
    text: str
    sha: str


@cache
def directory() -> Path:
    """Finds the directory of the scripts."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / "lua", package.parent / "lua"):
        if (place / "commit.lua").is_file():
            return place
    raise FileNotFoundError(f"the Lua scripts are neither in {package} nor beside it; install it again")


@cache
def script(name: str) -> Script:
    """Loads a script by its file's name without `.lua`."""
    text = _INCLUDE.sub(_included, (directory() / f"{name}.lua").read_text(encoding="utf-8"))
    return Script(name, text, sha1(text.encode()).hexdigest())


def _included(match: re.Match[str]) -> str:
    return (directory() / "lib" / f"{match[1]}.lua").read_text(encoding="utf-8").strip()
