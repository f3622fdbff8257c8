"""What a target is, and how its cases are run: one after the other, each with a seed of its own.

A case draws its input from its seed, so a failure is done again by the number that it is reported with.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from tests.fuzz.draw import Draw

SLOW_S = 2.0
"""Processor time after which a case counts as a hang."""
HANG_S = 100
"""Time after which a case is given up."""
DEAD_S = 150
"""Time after which the process is given up, as nothing in it can be interrupted: it says where it was."""
SHOWN_CHARS = 3_000
"""Of an input that is shown."""
MAX_FAILURES = 20
"""Failures of one kind of input after which no more are looked for."""


class Hang(KeyboardInterrupt):
    """A case is not over. Of this kind, so that event loops pass it on."""


class Wrong(Exception):
    """A case that came to something that nobody allows."""


class Target(Protocol):
    """A kind of input. Keeps what its cases need: it is made once, and closed."""

    def run(self, draw: Draw) -> None:
        """Draws an input and gives it to the product. Raises `Wrong`, or whatever the product raised."""
        ...

    def shown(self) -> str:
        """The input of the last case."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Failure:
    """A case that failed."""

    target: str
    number: int
    seed: int
    what: str
    input: str

    def __str__(self) -> str:
        command = f"python -m tests.fuzz --target {self.target} --seed {self.seed} --only {self.number}"
        return f"{command}\n  {self.what}\n  input: {self.input[:SHOWN_CHARS]}"


@dataclass(slots=True)
class Report:
    """What the cases of a target came to."""

    target: str
    cases: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    is_cut_short: bool = False

    def __str__(self) -> str:
        rate = self.cases / self.seconds if self.seconds else 0
        return (
            f"{self.target:12}{self.cases:9,} cases{rate:9.0f}/s{self.slowest_s * 1000:8.0f} ms the slowest"
            f"{len(self.failures):6} failed{', cut short' if self.is_cut_short else ''}"
        )


def run(name: str, make: Callable[[], Target], *, seed: int, numbers: Iterator[int]) -> Report:
    """Runs the cases of these numbers; those that were done, when it is interrupted."""
    report = Report(name)
    began_s = time.monotonic()
    target = make()
    try:
        for number in numbers:
            faulthandler.dump_traceback_later(DEAD_S, exit=True, file=sys.__stderr__)
            try:
                with _given_up():
                    _one(report, target, seed, number)
            except Hang as hang:
                what = f"not over after {HANG_S} s: {_place_of(hang)}"
                report.failures.append(Failure(name, number, seed, what, target.shown()))
                target = make()  # nobody knows what is left of the one before
            if len(report.failures) >= MAX_FAILURES:
                break
    except KeyboardInterrupt:
        report.is_cut_short = True
    finally:
        faulthandler.cancel_dump_traceback_later()
        target.close()
        report.seconds = time.monotonic() - began_s
    return report


@contextmanager
def _given_up() -> Iterator[None]:
    """Raises `Hang` in what takes too long."""

    def give_up(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _place_of(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-2]  # the last one is the handler of the signal
    return f"{frame.filename.rpartition('argyll_redis/')[2]}:{frame.lineno}"


def _one(report: Report, target: Target, seed: int, number: int) -> None:
    began_s, what = time.process_time(), ""
    try:
        target.run(Draw(f"{report.target}:{seed}:{number}"))
    except Wrong as wrong:
        what = str(wrong)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{frame.filename.rpartition('argyll_redis/')[2]}:{frame.lineno}"
        what = f"{type(error).__name__} at {place}: {str(error)[:500]}"
    took_s = time.process_time() - began_s
    report.cases += 1
    report.slowest_s = max(report.slowest_s, took_s)
    if not what and took_s > SLOW_S:
        what = f"took {took_s:.1f} s"
    if what:
        report.failures.append(Failure(report.target, number, seed, what, target.shown()))
