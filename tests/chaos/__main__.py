"""`python -m tests.chaos GATE [--seed N] [--flows N] [--json FILE]`: strikes real processes, then judges.

`--list` names the gates; `all` runs the short form of each, one after the other. Without a gate it is
`engines`. The exit status is 0 when all that ran have passed, 1 when one has not, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
from pathlib import Path

from tests.chaos.gates import GATES, Gate
from tests.chaos.ground import Asked
from tests.chaos.processes import GaveUp
from tests.chaos.redis_process import BINARY, is_installed
from tests.chaos.report import Report

ALL = "all"
LIMIT_S = 900
"""Longest run of one gate: one that hangs has failed."""


def main() -> int:
    """Reads what is asked for, runs it, and says what it came to."""
    options = _read_options()
    if options.list:
        for gate in GATES:
            print(f"{gate.name:<12} {gate.promise}")
        return 0
    if not is_installed():
        print(f"no {BINARY} on PATH: install Redis 7.0 or later", file=sys.stderr)
        return 2
    logging.disable()  # what the client logs is what the gates do to it
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    reports: list[Report] = []
    for gate in GATES if options.gate == ALL else [_gate(options.gate)]:
        is_short = options.short or options.gate == ALL
        flows = options.flows or (gate.short if is_short else gate.flows)
        asked = Asked(seed, flows, is_short=is_short, keep=options.keep, revision=options.revision)
        reports.append(asyncio.run(run_gate(gate, asked)))
        print(reports[-1].as_text(), flush=True)
    if options.json:
        options.json.write_text(json.dumps([report.as_json() for report in reports], indent=2) + "\n")
    return 0 if all(report.is_passed for report in reports) else 1


async def run_gate(gate: Gate, asked: Asked) -> Report:
    """Runs one gate to its end, whatever that is."""
    report = Report(gate.name, asked.seed, asked.flows, is_timed=not asked.is_short)
    try:
        async with asyncio.timeout(LIMIT_S):
            await gate.run(report, asked)
    except TimeoutError:
        report.wrong.append(f"the gate did not end within {LIMIT_S} s")
    except GaveUp as error:
        report.wrong.append(str(error))
    except Exception as error:  # a gate that breaks has failed; the others run
        logging.getLogger(__name__).debug("gate %s", gate.name, exc_info=error)
        report.wrong.append(f"the gate broke: {_words(error)}")
    report.done()
    return report


def _words(error: BaseException) -> str:
    """What went wrong, of a group the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _gate(name: str) -> Gate:
    return next(gate for gate in GATES if gate.name == name)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    names = [gate.name for gate in GATES]
    parser.add_argument("gate", nargs="?", choices=[*names, ALL], default=names[0], metavar="GATE")
    parser.add_argument("--list", action="store_true", help="name the gates")
    parser.add_argument("--seed", type=int, help="of the faults; drawn, and said, when it is not given")
    parser.add_argument("--flows", type=int, help="how many; each gate has a number of its own")
    parser.add_argument("--short", action="store_true", help="the short form, as in CI")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the reports there, too")
    parser.add_argument("--keep", action="store_true", help="leave the directory of the run")
    parser.add_argument("--revision", default="HEAD~1", help="the other version, for the gate `versions`")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
