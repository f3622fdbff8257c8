"""The command line: thin over `Argyll`, one file a command group.

Modules of commands import the app only inside the functions that need it, so that `argyll --help`
and shell completion stay fast.
"""

from argyll_redis.cli.entry import argyll, main

__all__ = ["argyll", "main"]
