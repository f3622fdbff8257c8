"""`python -m bench W0 W1 W2 W3`: measures argyll_redis and prints the figures.

Without --redis it starts the redis-server or valkey-server that is on PATH, a fresh one for each run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence

from bench.crew import WorkerFailed
from bench.machine import look_around
from bench.measure import Layout, Plan, measure, profile
from bench.replay import UnlikeRun
from bench.report import as_json, as_text, rows_of
from bench.server import Aof, NoServer, Servers
from bench.workloads import WORKLOADS

RUNS = 3
"""The least that a median with least and most is worth."""


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    if options.redis is not None and options.aof is not None:
        _parser().error("--aof sets the bench's own server; a server given with --redis keeps its mode")
    servers = Servers(options.redis, options.aof or Aof.EVERYSEC)
    try:
        return _run(servers, options, given)
    except (NoServer, WorkerFailed, UnlikeRun) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2 if isinstance(error, NoServer) else 1


def _run(servers: Servers, options: argparse.Namespace, given: list[str]) -> int:
    tell = _teller()
    surroundings = look_around(servers, given)
    is_one = options.in_process or servers.in_memory
    layouts = (Layout.ONE,) if is_one else (Layout.ONE, Layout.TWO)
    plans = [
        Plan(WORKLOADS[name], layouts, options.flows or WORKLOADS[name].flows, options.runs)
        for name in options.workloads
    ]
    rows = [row for plan in plans if not options.profile for row in rows_of(measure(servers, plan, tell))]
    profiles = [profile(servers, plan, tell) for plan in plans if options.profile]
    tell("")
    if options.json:
        print(json.dumps(as_json(surroundings, rows, profiles), indent=2))
    else:
        print(as_text(surroundings, rows, profiles))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = "; ".join(f"{name}: {workload.work}" for name, workload in WORKLOADS.items())
    parser.add_argument("workloads", nargs="+", choices=WORKLOADS, metavar="WORKLOAD", help=names)
    parser.add_argument(
        "--flows", type=_count, help="flows started at once (default: the workload's own number)"
    )
    parser.add_argument("--runs", type=_count, default=RUNS, help=f"runs of each workload (default {RUNS})")
    parser.add_argument(
        "--redis",
        type=_url,
        metavar="URL",
        help="measure on this server, in namespaces that are removed again",
    )
    parser.add_argument(
        "--aof",
        type=Aof,
        choices=list(Aof),
        help="append-only file of the bench's own server (default everysec)",
    )
    parser.add_argument(
        "--in-process", action="store_true", help="only rows of one process, engine and client in one"
    )
    parser.add_argument(
        "--profile", action="store_true", help="say where the engine's time goes, instead of figures"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _url(text: str) -> str:
    if not text.startswith(("redis://", "unix://", "memory://")):
        raise argparse.ArgumentTypeError("use redis://HOST:PORT/DB, unix:///PATH or memory://")
    return text


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{count} is not possible, use 1 or more")
    return count


def _teller() -> Callable[[str], None]:
    """Says on one line of the terminal what is going on; nothing when nobody watches."""
    if not sys.stderr.isatty():
        return lambda text: None

    def tell(text: str) -> None:
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    return tell


if __name__ == "__main__":
    sys.exit(main())
