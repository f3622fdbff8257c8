"""`python -m tests.fuzz`: hostile input over the API, definitions, scripts, logs and the command line."""

from __future__ import annotations

import argparse
import itertools
import logging
import signal
import sys

from tests.fuzz.cases import run
from tests.fuzz.targets import SHARES, TARGETS


def main() -> int:
    options = _options()
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was done by then is told
    failed = False
    for name in options.target or TARGETS:
        share = options.cases if options.target else options.cases * SHARES[name] // sum(SHARES.values())
        numbers = (
            iter([options.only])
            if options.only is not None
            else itertools.islice(itertools.count(options.first), share)
        )
        report = run(name, TARGETS[name], seed=options.seed, numbers=numbers)
        print(report, flush=True)
        for failure in report.failures:
            print(failure, flush=True)
        failed = failed or bool(report.failures)
        if report.is_cut_short:
            break
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="over all targets, or of the one named")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="only this one")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the number of the first case")
    parser.add_argument("--only", type=int, metavar="N", help="only the case of this number")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
