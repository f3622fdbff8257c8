"""`python -m bench W0 W1`: measures argyll_redis and prints the figures; `--full` measures everything.

Without --redis it starts the redis-server or valkey-server that is on PATH, a fresh one for each run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from bench.arguments import (
    compare_parser,
    options_of,
    places_of,
    read_run,
    report_parser,
    run_parser,
)
from bench.compare import compare, table_of
from bench.hand import WorkerFailed
from bench.machine import Surroundings, look_around
from bench.markdown import write
from bench.measures import MEASURES
from bench.options import Tell
from bench.profiling import Profile, profile
from bench.record import NoRecord, last, read
from bench.report import as_json, as_text, text_of
from bench.rows import Row, measure
from bench.server import NoServer, Servers
from bench.tables import table_of_profile
from bench.workloads import WORKLOADS

BAD_NEWS = 1
WRONG_USE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        match given:
            case ["compare", *rest]:
                return _compare(rest)
            case ["report", *rest]:
                return _report(rest)
            case _:
                return _run(given)
    except (NoServer, NoRecord) as error:
        print(f"bench: {error}", file=sys.stderr)
        return WRONG_USE
    except WorkerFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return BAD_NEWS


def _run(given: Sequence[str]) -> int:
    asked = read_run(run_parser(__doc__), given)
    tell = _teller()
    if asked.profile:
        return _profile(asked, given, tell)
    surroundings, rows, missing = _measure(asked, given, tell)
    tell("")
    if asked.report is not None:
        for path in write(asked.report, surroundings, rows, missing):
            print(f"wrote {path}", file=sys.stderr)
    if asked.json:
        print(json.dumps(as_json(surroundings, rows, [], missing), indent=2))
    else:
        print(as_text(surroundings, rows, missing))
    return 0


def _measure(
    asked: argparse.Namespace, given: Sequence[str], tell: Tell
) -> tuple[Surroundings, list[Row], Mapping[str, str]]:
    """Ours and the peers, workload by workload, run by run in turn."""
    places, options = places_of(asked), options_of(asked, tell)
    rows: list[Row] = []
    with options.open, _peers(asked.peers, tell) as peers:
        surroundings = look_around(places, given, peers.versions() if peers else {})
        for name in asked.workloads:
            probes = [
                probe
                for servers in _where(name, places, is_full=asked.full)
                for probe in MEASURES[name].probes(servers, options)
            ]
            if peers and name in WORKLOADS:
                probes += peers.probes(WORKLOADS[name], places[0], asked.flows)
            rows += measure(probes, rounds=asked.runs, tell=tell)
    return surroundings, rows, peers.missing if peers else {}


def _where(name: str, places: Sequence[Servers], *, is_full: bool) -> Sequence[Servers]:
    """A full run has W5 and those after it under the usual circumstances alone."""
    return places[:1] if is_full and name not in WORKLOADS else places


def _peers(names: Sequence[str], tell: Tell):
    if not names:
        return nullcontext()
    from bench.peers import ready

    return ready(names, tell)


def _profile(asked: argparse.Namespace, given: Sequence[str], tell: Tell) -> int:
    places, options = places_of(asked), options_of(asked, tell)
    surroundings = look_around(places, given, {})
    profiles: list[Profile] = [
        profile(WORKLOADS[name], places[0], options, runs=asked.runs) for name in asked.workloads
    ]
    tell("")
    if asked.json:
        print(json.dumps(as_json(surroundings, [], profiles, {}), indent=2))
    else:
        tables = [text_of(table_of_profile(each)) for each in profiles]
        print("\n\n".join((as_text(surroundings, []), *tables)))
    return 0


def _compare(given: Sequence[str]) -> int:
    """Exit status 1 when a ratio has become worse."""
    split = given.index("--") if "--" in given else len(given)
    asked = compare_parser().parse_args(given[:split])
    then = read(asked.old or last())
    if asked.new is not None:
        now = read(asked.new).rows
    else:
        arguments = given[split + 1 :] or ["--full"]
        tell = _teller()
        surroundings, now, missing = _measure(read_run(run_parser(None), arguments), arguments, tell)
        tell("")
        print(as_text(surroundings, now, missing), end="\n\n")
    changes = list(compare(then.rows, now, margin=asked.margin))
    print(text_of(table_of(changes, margin=asked.margin)))
    worse = [change.then.name for change in changes if change.is_worse]
    print(f"\n{len(worse)} of {len(changes)} have become worse" + "".join(f"\n  {name}" for name in worse))
    return BAD_NEWS if worse else 0


def _report(given: Sequence[str]) -> int:
    asked = report_parser().parse_args(given)
    record = read(asked.run)
    for path in write(asked.directory, record.surroundings, record.rows, record.missing):
        print(f"wrote {path}", file=sys.stderr)
    return 0


def _teller() -> Tell:
    """Says what is going on: on one line of a terminal, or a line each where nobody sits."""
    began_s = time.monotonic()
    is_terminal = sys.stderr.isatty()

    def tell(text: str) -> None:
        if is_terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        elif text:
            print(f"{time.monotonic() - began_s:6.0f} s  {text}", file=sys.stderr, flush=True)

    return tell


if __name__ == "__main__":
    sys.exit(main())
