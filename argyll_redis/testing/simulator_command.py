"""The command line of the simulator: one seed, many of them over all cores, or every planted bug."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, TypeVar

from argyll_redis.testing.planted import BUGS
from argyll_redis.testing.simulator import BETWEEN, MODULE, Report, shrink, simulate_one

T = TypeVar("T")
R = TypeVar("R")

SEEDS = 1_000
SEEDS_FOR_A_BUG = 3_000
"""A bug that shows in none of so many seeds survives."""
CHUNK = 10
"""Seeds that a process is given at a time."""
ALL = "all"


class Found(NamedTuple):
    """What became of a planted bug."""

    name: str
    seed: int | None
    """The first seed that shows it; None: none does."""
    violation: str
    took_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what was asked for; 1 when a seed failed or a bug survived."""
    options = _parser().parse_args(arguments)
    planted = options.planted
    if options.seed is not None:
        only = options.only.split(BETWEEN) if options.only else ([] if options.only == "" else None)
        report = simulate_one(options.seed, planted=planted, only=only)
        print(report.text(with_trace=options.trace))
        if report.violations and options.shrink:
            print(shrink(report).text(with_trace=options.trace))
        return 1 if report.violations else 0
    if planted == ALL:
        return _find_all(options.jobs, options.first)
    first = options.first or 0
    return _run_many(range(first, first + options.seeds), planted, options.jobs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description="Runs engines under faults.")
    parser.add_argument("--seed", type=int, help="run this one seed and print its report")
    parser.add_argument("--trace", action="store_true", help="print all that happened in it")
    parser.add_argument("--shrink", action="store_true", help="when it fails: find what it takes to fail")
    parser.add_argument("--only", help=f"let only these strike, by name, with {BETWEEN} between them")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many seeds to run")
    parser.add_argument(
        "--from",
        type=int,
        dest="first",
        help="the first of them (default 0; for all planted bugs one that is known not to be far before the "
        "first that shows the bug)",
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)"
    )
    parser.add_argument(
        "--planted", choices=(ALL, *BUGS), metavar="BUG", help="plant a known bug, or each of all"
    )
    return parser


# ---------------------------------------------------------------------------- many seeds


def _run_many(seeds: range, planted: str | None, jobs: int) -> int:
    """Runs seeds and prints the reports of those that fail, the first one made small."""
    began_s, failed, done = time.monotonic(), 0, 0
    chunks = [seeds[place : place + CHUNK] for place in range(0, len(seeds), CHUNK)]
    for reports, count in _over(partial(_run_chunk, planted=planted), chunks, jobs):
        done += count
        for report in reports:
            failed += 1
            _clear()
            print(report.text() if failed > 1 else shrink(report).text())
        took_s = time.monotonic() - began_s
        _show(f"{done} of {len(seeds)} seeds, {failed} failed, {done / max(took_s, 0.001):.1f} seeds/s")
    _clear()
    took_s = time.monotonic() - began_s
    print(
        f"{len(seeds)} seeds, {failed} failed, {took_s:.1f} s, {len(seeds) / max(took_s, 0.001):.1f} seeds/s"
    )
    return 1 if failed else 0


def _run_chunk(seeds: range, *, planted: str | None) -> tuple[list[Report], int]:
    reports = [simulate_one(seed, planted=planted) for seed in seeds]
    return [report for report in reports if report.violations], len(seeds)


# -------------------------------------------------------------------------- planted bugs


def find(name: str, *, seeds: int = SEEDS_FOR_A_BUG, first: int | None = None) -> Found:
    """Plants a bug and runs seeds until one shows it; from its own `from_seed` on unless told otherwise."""
    began_s = time.monotonic()
    first = BUGS[name].from_seed if first is None else first
    for seed in range(first, first + seeds):
        report = simulate_one(seed, planted=name)
        if report.violations:
            return Found(name, seed, report.violations[0], time.monotonic() - began_s)
    return Found(name, None, "", time.monotonic() - began_s)


def _find_all(jobs: int, first: int | None) -> int:
    """Plants every bug, one after the other, and prints which seed shows each."""
    width = max(len(bug.what) for bug in BUGS.values())
    print(f"{'bug':4}  {'what':{width}}  {'seed':>5}  {'s':>5}  first violation")
    survivors = 0
    for found in _over(partial(find, first=first), list(BUGS), jobs):
        survivors += found.seed is None
        seed = "none" if found.seed is None else str(found.seed)
        what, violation = BUGS[found.name].what, found.violation.splitlines()[:1]
        print(
            f"{found.name:4}  {what:{width}}  {seed:>5}  {found.took_s:5.1f}  {''.join(violation):.80}",
            flush=True,
        )
    print(f"{len(BUGS)} bugs, {survivors} survived")
    return 1 if survivors else 0


# ------------------------------------------------------------------------------ processes


def _over(act: Callable[[T], R], given: Sequence[T], jobs: int) -> Iterator[R]:
    """Does something with each, in as many processes as asked for, and gives what it came to, in order."""
    if jobs == 1:
        yield from map(act, given)
        return
    with _pool(jobs) as pool:
        yield from pool.map(act, given)


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(jobs)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _show(text: str) -> None:
    """Shows how far it is, on a line that is written over."""
    if sys.stderr.isatty():
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)


def _clear() -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
