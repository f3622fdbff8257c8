"""The command line: thin over `Argyll`, one file a command group.

Modules of commands import the app only inside the functions that need it, so that `argyll --help`
and shell completion stay fast.
"""

from __future__ import annotations

import sys
from signal import SIGINT
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from argyll_redis.cli.entry import argyll

__all__ = ["argyll", "main"]


def main() -> NoReturn:
    """The entry point `argyll`. What it runs is imported here: a Ctrl-C while that is read is one line,
    too."""
    try:
        from argyll_redis.cli.entry import main as run
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(128 + SIGINT)
    run()


def __getattr__(name: str) -> Any:
    if name != "argyll":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from argyll_redis.cli.entry import argyll

    return argyll
