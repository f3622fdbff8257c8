"""Words at the command line, in this process and in memory: whatever is typed, a status and plain lines."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner

from argyll_redis.cli import argyll
from tests.cli.cli_words import Cli
from tests.fuzz.cases import Wrong
from tests.fuzz.draw import Draw
from tests.fuzz.samples import STEPS

FRESH_AFTER = 300
"""Cases that share a namespace."""
STATUSES = range(6)
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("step", "list"),
    ("step", "show", "STEP"),
    ("step", "register", "-"),
    ("step", "update", "-"),
    ("step", "delete", "STEP"),
    ("plan", "STEP", "--init", "PAIR", "--why"),
    ("plan", "STEP", "STEP", "--dot"),
    ("flow", "start", "STEP", "--id", "FLOW", "--init", "PAIR", "--label", "PAIR", "--metadata", "PAIR"),
    ("flow", "start", "STEP", "--init-file", "-", "--compensate", "flow", "--timeout-ms", "NUMBER"),
    ("flow", "list"),
    ("flow", "show", "FLOW", "--at", "NUMBER"),
    ("flow", "events", "FLOW"),
    ("flow", "wait", "FLOW", "--timeout-ms", "1"),
    ("flow", "cancel", "FLOW"),
    ("flow", "restart", "FLOW", "--id", "FLOW"),
    ("flow", "why", "FLOW", "STEP"),
    ("flow", "complete", "FLOW", "STEP", "--token", "WORD", "--output", "PAIR"),
    ("flow", "fail", "FLOW", "STEP", "--error", "WORD"),
    ("flow", "export", "FLOW"),
    ("flow", "import", "-"),
    ("queue",),
    ("audit", "FLOW"),
    ("audit",),
)
"""Words in capitals stand for what is drawn."""


class Commands:
    """Cases of what somebody may type, or pipe in."""

    def __init__(self) -> None:
        self._cli = Cli()
        self._cases = 0
        self._said: Any = None

    def close(self) -> None:
        pass

    def shown(self) -> str:
        return repr(self._said)

    def run(self, draw: Draw) -> None:
        if self._cases % FRESH_AFTER == 0:
            self._cli = Cli()
            self._cli.register(*STEPS)
            self._cli("flow", "start", "double", "--id", "one", "--init", "a=1")
        self._cases += 1
        words = [_word(draw, word) for word in draw.one(COMMANDS)]
        if draw.chance(20):
            words.insert(draw.number(len(words) + 1), draw.one(("--json", "--help", "-x", draw.text())))
        stdin = _piped(draw)
        self._said = (words, stdin)
        self._judge(words, stdin)

    def _judge(self, words: list[str], stdin: bytes) -> None:
        result = CliRunner().invoke(argyll, words, input=stdin, env=self._cli.variables, prog_name="argyll")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if result.exit_code not in STATUSES:
            raise Wrong(f"status {result.exit_code}")
        said = result.stderr
        if "Traceback" in said or "bug of argyll" in said:
            raise Wrong(f"a bug: {said[:1_000]}")
        if result.exit_code >= 2 and not all(map(_is_harmless, said.splitlines() or [""])):
            raise Wrong(f"a refusal with status {result.exit_code} has other lines: {said[:500]!r}")


def _is_harmless(line: str) -> bool:
    return line.startswith("error: ") and line.isprintable()


def _word(draw: Draw, word: str) -> str:
    if not word.isupper():
        return word
    if draw.chance(15):
        return draw.text()
    match word:
        case "STEP":
            return draw.one((*(step["id"] for step in STEPS), "nobody", "DOUBLE"))
        case "FLOW":
            return draw.one(("one", "two", "ONE", "nobody", "a b"))
        case "PAIR":
            value = json.dumps(draw.value()) if draw.chance(60) else draw.text()
            return draw.one(("a", "b", "list", draw.text())) + draw.one(("=", "=", "=", "", ":")) + value
        case "NUMBER":
            return draw.one(("1", "2", "0", "-1", "99999999999999999999", "1e3", "\u0661", "x"))
        case _:
            return draw.text()


def _piped(draw: Draw) -> bytes:
    match draw.number(4):
        case 0:
            return draw.bytes_of(draw.changed(draw.one(STEPS)))
        case 1:
            return draw.bytes_of([draw.changed(draw.one(STEPS)) for _ in range(draw.number(3))])
        case 2:
            return draw.bytes_of({"a": draw.value(), draw.text(): draw.value()})
        case _:
            lines = [
                {"argyll_export": 1, "flow_id": "two", "events": 1},
                {"id": "1-0", "type": "flow_started"},
            ]
            return b"\n".join(draw.bytes_of(draw.changed(line)) for line in lines)
