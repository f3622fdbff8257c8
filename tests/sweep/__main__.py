"""`python -m tests.sweep`: a process is struck at every call of Redis, and another one finishes its flow.

Without a URL it starts the redis-server or valkey-server that is on PATH.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import nullcontext

from argyll_redis.runtime.embedded import EmbeddedServer
from argyll_redis.testing.planted import BUGS
from tests.sweep.kinds import KINDS
from tests.sweep.strike import Mode
from tests.sweep.table import Row, numbers, sweep

PAUSED_EVERY = 4
"""A pause takes two leases: every fourth call is struck by one."""
PLANTABLE = {name: bug for name, bug in BUGS.items() if bug.patch is not nullcontext}
"""Known bugs that need no store of their own: each replaces a rule in every process of the sweep."""


def main() -> int:
    options = _options()
    rows = list(_rows(options))
    with PLANTABLE[options.planted].patch() if options.planted else nullcontext():
        if options.redis:
            table = sweep(options.redis, rows, jobs=options.jobs, say=_say)
        else:
            with EmbeddedServer() as server:
                if server.pid is None:
                    print("no redis-server or valkey-server on PATH: give --redis URL", file=sys.stderr)
                    return 2
                table = sweep(server.url, rows, jobs=options.jobs, say=_say)
    print(table)
    return 1 if table.failed else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this one; may be repeated")
    parser.add_argument("--mode", action="append", choices=list(Mode), help="only this one; may be repeated")
    parser.add_argument("--only", type=int, metavar="N", help="only the call of this number")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth call")
    parser.add_argument("--jobs", type=int, default=4, help="runs at a time")
    parser.add_argument("--planted", choices=sorted(PLANTABLE), help="with a known bug, which it must show")
    parser.add_argument("--redis", help="URL of a server; namespaces of their own are used there")
    return parser.parse_args()


def _rows(options: argparse.Namespace) -> Iterator[Row]:
    for kind in options.kind or KINDS:
        for mode in map(Mode, options.mode or Mode):
            every = options.every * (PAUSED_EVERY if mode is Mode.PAUSED else 1)
            yield Row(kind, mode, numbers(every, options.only))


if __name__ == "__main__":
    sys.exit(main())
