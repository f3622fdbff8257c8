"""A whole sweep: every call of every kind in every mode, several runs at a time, and the table of them."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import select
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import orjson

from argyll_redis.runtime import catalogs, follower, intake, keeper
from tests.sweep.run import Ended, Point, Runner
from tests.sweep.strike import Mode

SHORTER = (
    (keeper, "KEEP_MS", 100),
    (intake, "BLOCK_MS", 200),
    (follower, "BLOCK_MS", 200),
    (catalogs, "LOOK_MS", 20),
)
"""What processes of a sweep wait for less long than others: there is nothing else to do."""
BEYOND_LIMIT = 500
"""Calls after which a sweep of one kind is given up: a flow has 30 to 80."""
SHOWN = 20
"""Runs with something wrong that are shown."""


HEADLINE = f"{'kind':14}{'mode':8}{'calls':>6}{'runs':>6}{'stuck':>7}{'twice':>7}{'wrong':>7}{'s':>8}"


@dataclass(slots=True)
class Row:
    """Everything of one kind in one mode."""

    kind: str
    mode: Mode
    numbers: Iterator[int]
    """Of the calls that are still to be struck."""
    runs: int = 0
    calls: int = 0
    """Of a run that came to its end: the most."""
    stuck: int = 0
    twice: int = 0
    wrong: int = 0
    """Runs with anything wrong, those two included."""
    seconds: float = 0.0
    is_done: bool = False
    """Whether a run ended before its call came."""

    def add(self, ended: Ended) -> None:
        self.runs += 1
        self.seconds += ended.seconds
        self.stuck += ended.is_stuck
        self.twice += any(text.startswith(("twice", "calls")) for text in ended.wrong)
        self.wrong += bool(ended.wrong)
        self.calls = max(self.calls, ended.calls if ended.is_beyond else ended.point.number)
        self.is_done = self.is_done or ended.is_beyond

    def __str__(self) -> str:
        counts = f"{self.calls:6}{self.runs:6}{self.stuck:7}{self.twice:7}{self.wrong:7}"
        return f"{self.kind:14}{self.mode:8}{counts}{self.seconds:8.1f}"


@dataclass(slots=True)
class Table:
    """What a sweep came to."""

    rows: list[Row]
    failed: list[Ended] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def runs(self) -> int:
        return sum(row.runs for row in self.rows)

    def __str__(self) -> str:
        lines = [HEADLINE, *map(str, self.rows)]
        failed = len(self.failed)
        lines.append(f"{self.runs} runs, {failed} of them with something wrong, took {self.seconds:.1f} s")
        return "\n".join([*lines, *map(told, self.failed[:SHOWN])])


def told(ended: Ended) -> str:
    """How a run is done again, and what was wrong with it."""
    return "\n".join([f"python -m tests.sweep {ended.point}", *(f"    {text}" for text in ended.wrong)])


def numbers(every: int, only: int | None) -> Iterator[int]:
    """The calls to be struck, in order."""
    return iter([only]) if only else itertools.islice(itertools.count(1, every), BEYOND_LIMIT)


def sweep(url: str, rows: Sequence[Row], *, jobs: int, say: Callable[[str], None]) -> Table:
    """Does all runs, `jobs` at a time, and gives the table; says what goes wrong as it does."""
    began_s = time.monotonic()
    for module, name, value in SHORTER:
        getattr(module, name)  # loud when it has moved
        setattr(module, name, value)
    logging.disable(logging.CRITICAL)
    gc.freeze()
    table = Table(list(rows))
    workers = [_Worker(url, number) for number in range(jobs)]
    try:
        _spread(workers, table, say)
    finally:
        for worker in workers:
            worker.dismiss()
        for worker in workers:
            os.waitpid(worker.pid, 0)
    table.seconds = time.monotonic() - began_s
    return table


def _spread(workers: list[_Worker], table: Table, say: Callable[[str], None]) -> None:
    """Gives whoever is free the next call."""
    free, busy = list(workers), dict[int, _Worker]()
    points = _points(table.rows)
    while True:
        while free and (found := next(points, None)) is not None:
            worker = free.pop()
            worker.begin(*found)
            busy[worker.reads] = worker
        if not busy:
            return
        for ready in select.select(list(busy), [], [])[0]:
            worker = busy.pop(ready)
            row, ended = worker.ended()
            row.add(ended)
            if ended.wrong:
                table.failed.append(ended)
                say(told(ended))
            if row.is_done and all(worker.row is not row for worker in busy.values()):
                say(str(row))
            free.append(worker)


def _points(rows: list[Row]) -> Iterator[tuple[Row, Point]]:
    """All calls, a row after the other. That a row is over is known only when a run has ended before its
    call: what is asked for last, `_spread` asks for again."""
    for row in rows:
        for number in row.numbers:
            if row.is_done:
                break
            yield row, Point(row.kind, row.mode, number)


class _Worker:
    """A process that does one run at a time. It ends with this one."""

    def __init__(self, url: str, number: int) -> None:
        self.reads, there = os.pipe()
        here, self._writes = os.pipe()
        self.row: Row | None = None
        self.pid = os.fork()
        if not self.pid:
            os.close(self.reads)
            os.close(self._writes)
            _work(url, f"sweep-{os.getpid()}-{number}", here, there)
        os.close(here)
        os.close(there)

    def begin(self, row: Row, point: Point) -> None:
        self.row = row
        os.write(self._writes, orjson.dumps([point.kind, point.mode, point.number]) + b"\n")

    def ended(self) -> tuple[Row, Ended]:
        data = b""
        while not data.endswith(b"\n"):
            chunk = os.read(self.reads, 65536)
            if not chunk:
                raise RuntimeError("a worker of the sweep has died")
            data += chunk
        kind, mode, number, *rest = orjson.loads(data)
        assert self.row is not None
        return self.row, Ended(Point(kind, Mode(mode), number), *rest)

    def dismiss(self) -> None:
        """Lets it end, once all others that hold its pipe are dismissed."""
        os.close(self._writes)
        os.close(self.reads)


def _work(url: str, name: str, here: int, there: int) -> None:
    runner = Runner(url, name)
    try:
        with os.fdopen(here) as lines:
            for line in lines:
                kind, mode, number = orjson.loads(line)
                ended = runner.run(Point(kind, Mode(mode), number))
                told = [kind, mode, number, ended.calls, ended.wrong, ended.is_stuck, ended.seconds]
                os.write(there, orjson.dumps(told) + b"\n")
    except BaseException:
        traceback.print_exc()
    finally:
        runner.close()
        os._exit(0)
