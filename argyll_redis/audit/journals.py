"""Journals: what those outside saw, one JSON object a line, to be held against the logs.

*Calls* are what called services saw: `{flow, step, token, attempt}` a call, with `at` (unix ms) and `outputs`
(what was answered) where they are known; a call that was to undo has `:undo` behind its token.

*Answers* are what clients and engines were told; `do` says what it is about:

- `start`, `cancel`: `{do, flow, answer}`; `complete`, `fail`, `webhook`: with `token` and, if known, `step`.
  `answer` is `ok`, `refused` (nothing was done) or `unknown` (no reply: it may have been done or not).
- `read`: `{do, client, flow, version}`, each time a client reads a flow; `feed`: the same, for each event
  that a follower gets. A client that follows anew has another name.
- `knew`: `{do, engine, flow, version, tx}`, the last event of a flow as an engine knew it; `alarm`: `{do,
  engine, flow}`, when an engine has left a flow alone and has said so.

What else a line holds is passed over. Journals are read once, into a database on disk that is gone when it is
closed, so that a million lines take little memory.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from argyll_redis.core.audit_calls import Call
from argyll_redis.core.reader import did_you_mean
from argyll_redis.core.values import shown
from argyll_redis.errors import InvalidInput, Problem
from argyll_redis.store.codec import decode, encode

MAX_LINES = 10_000_000
"""Lines of all journals together: about 1 GB on disk."""
MAX_LINE_BYTES = 1024 * 1024
LINES_AT_A_TIME = 1_000

ASKED = frozenset({"start", "cancel", "complete", "fail", "webhook"})
"""What is done at a client's request, and answered."""
COMPLETIONS = frozenset({"complete", "fail", "webhook"})
SEEN = frozenset({"read", "feed"})
KNOWN = frozenset({"knew", "alarm"})
ANSWERS = frozenset({"ok", "refused", "unknown"})

_TABLES = """
CREATE TABLE calls (flow TEXT, step TEXT, token TEXT, attempt INTEGER, outputs BLOB, at INTEGER);
CREATE TABLE answers (flow TEXT, do TEXT, who TEXT, answer TEXT, token TEXT, version INTEGER, tx TEXT);
"""
_INDEXES = """
CREATE INDEX calls_by_flow ON calls (flow);
CREATE INDEX answers_by_flow ON answers (flow);
"""

Line = dict[str, Any]


class Answer(NamedTuple):
    """A line of a journal of answers."""

    do: str
    who: str
    """The client or the engine; empty where nobody asked for a name."""
    answer: str
    token: str
    version: int
    tx: str


class Journals:
    """Journals of any number of calls and answers, by flow."""

    def __init__(
        self, *, calls: Iterable[str | PathLike[str]] = (), answers: Iterable[str | PathLike[str]] = ()
    ) -> None:
        self._files = [*((Path(path), _call) for path in calls), *((Path(path), _answer) for path in answers)]
        self.steps: frozenset[str] = frozenset()
        """Those of which there is a call: of others nothing is known."""
        self.kinds: frozenset[str] = frozenset()
        """What the answers are about."""
        self._lines = 0
        self._db: sqlite3.Connection | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in them."""
        return self._lines == 0

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    async def read(self) -> None:
        """Reads all journals, once. Raises `InvalidInput` with the file and the line that cannot be read."""
        if self._db is not None or not self._files:
            return
        self._db = sqlite3.connect("", check_same_thread=False)  # on disk, in a file without a name
        self._db.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_TABLES}")
        for path, kind in self._files:
            try:
                file = path.open("rb")
            except OSError as error:
                _refuse(str(path), f"cannot be read: {(error.strerror or 'no such file').lower()}")
            with closing(file):
                rows = _rows(path, file, kind)
                while page := list(islice(rows, LINES_AT_A_TIME)):
                    self._keep(page)
                    await asyncio.sleep(0)  # a long journal holds up nobody else for long
        self._db.executescript(_INDEXES)
        self.steps = frozenset(row[0] for row in self._rows("SELECT DISTINCT step FROM calls"))
        self.kinds = frozenset(row[0] for row in self._rows("SELECT DISTINCT do FROM answers"))

    def _rows(self, query: str, *values: str) -> Iterable[tuple[Any, ...]]:
        return () if self._db is None else self._db.execute(query, values)

    def _keep(self, page: Sequence[tuple[Any, ...]]) -> None:
        self._lines += len(page)
        if self._lines > MAX_LINES:
            _refuse("the journals", f"have more than {MAX_LINES:,} lines", "audit with a part of them")
        table = "calls" if len(page[0]) == 6 else "answers"
        assert self._db is not None
        self._db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(page[0]))})", page)

    def calls(self, flow: str) -> list[Call]:
        """The calls of the steps of a flow."""
        rows = self._rows("SELECT token, attempt, outputs, at FROM calls WHERE flow = ?", flow)
        return [
            Call(token, attempt, None if outputs is None else decode(outputs), at)  # type: ignore[arg-type]
            for token, attempt, outputs, at in rows
        ]

    def answers(self, flow: str) -> list[Answer]:
        """What was said of a flow, in the order of the journals."""
        query = "SELECT do, who, answer, token, version, tx FROM answers WHERE flow = ? ORDER BY rowid"
        return [Answer(*row) for row in self._rows(query, flow)]

    def flows(self) -> Iterator[str]:
        """All flows that a line is about, in order."""
        query = "SELECT flow FROM calls UNION SELECT flow FROM answers ORDER BY flow"
        return (row[0] for row in self._rows(query))


# ----------------------------------------------------------------------- reading


def _rows(path: Path, file: BinaryIO, kind: Any) -> Iterator[tuple[Any, ...]]:
    """The lines of a file. One that a dying writer has left unfinished at the end is passed over."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        place = f"{path}: line {number}"
        if len(line) > MAX_LINE_BYTES:
            _refuse(place, f"has more than {MAX_LINE_BYTES:,} bytes")
        if not line.strip():
            continue
        try:
            found = decode(line)
        except ValueError:
            if not line.endswith(b"\n"):
                return
            _refuse(place, "is no JSON")
        if not isinstance(found, dict):
            _refuse(place, "is no object")
        yield kind(place, found)


def _refuse(place: str, what: str, mend: str = "") -> NoReturn:
    raise InvalidInput(problems=[Problem(place, what, mend)])


def _text(place: str, line: Line, name: str) -> str:
    value = line.get(name)
    if not isinstance(value, str) or not value:
        _refuse(place, f"has no `{name}`, a text")
    return value


def _number(place: str, line: Line, name: str) -> int:
    value = line.get(name)
    if type(value) is not int or not 0 <= value < 2**63:
        _refuse(place, f"has no `{name}`, a whole number")
    return value


def _call(place: str, line: Line) -> tuple[Any, ...]:
    outputs = line.get("outputs")
    if outputs is not None and not isinstance(outputs, Mapping):
        _refuse(place, "has `outputs` that are no object")
    return (
        _text(place, line, "flow"),
        _text(place, line, "step"),
        _text(place, line, "token"),
        _number(place, line, "attempt"),
        None if outputs is None else encode(dict(outputs)),
        None if line.get("at") is None else _number(place, line, "at"),
    )


def _answer(place: str, line: Line) -> tuple[Any, ...]:
    do = _text(place, line, "do")
    if do not in ASKED | SEEN | KNOWN:
        known = sorted(ASKED | SEEN | KNOWN)
        _refuse(
            place,
            f'does "{shown(do)}", which nobody knows',
            did_you_mean(do, known) or f"use {', '.join(known)}",
        )
    who = answer = token = tx = ""
    version = 0
    if do in ASKED:
        answer = _text(place, line, "answer")
        if answer not in ANSWERS:
            _refuse(place, f'has the answer "{shown(answer)}"', f"use {', '.join(sorted(ANSWERS))}")
        token = _text(place, line, "token") if do in COMPLETIONS else ""
    else:
        who = _text(place, line, "client" if do in SEEN else "engine")
        version = 0 if do == "alarm" else _number(place, line, "version")
        tx = _text(place, line, "tx") if do == "knew" else ""
    return (_text(place, line, "flow"), do, who, answer, token, version, tx)
