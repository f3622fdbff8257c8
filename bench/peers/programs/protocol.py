"""What a client program is asked and what it answers, a line of JSON each; it ends with its input.

A client is started with the shape of its flows: `chain 5 1` is a chain of 5 steps that comes to 1,
`items 100 100` one step that gives 100 items, a step for each of them and a join, `join 10 10` ten
independent steps and a join. All steps give back what they get; a join adds up.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

FIRST = 1
"""What every flow starts with."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the flows that are asked for."""

    kind: str
    """`chain`, `items` or `join`."""
    count: int
    result: int
    """What every flow has to come to."""

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> Shape:
        kind, count, result = arguments
        return cls(kind, int(count), int(result))


class WrongResult(Exception):
    """A flow came to something else than it must; no figure of such a run counts."""


def serve(shape: Shape, run: Callable[[int], Sequence[Any]]) -> None:
    """Answers until the input ends; `run` starts so many flows at once and gives the results of all."""
    _say({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        match request["do"]:
            case "burst":
                _say({"seconds": _timed(shape, run, request["flows"])})
            case "alone":
                _say({"times_ms": [_timed(shape, run, 1) * 1000 for _ in range(request["flows"])]})
            case other:
                raise ValueError(f"a client cannot {other}")


def _timed(shape: Shape, run: Callable[[int], Sequence[Any]], flows: int) -> float:
    """The seconds from the first start to the last result."""
    started_s = time.perf_counter()
    results = run(flows)
    seconds = time.perf_counter() - started_s
    wrong = [result for result in results if result != shape.result]
    if wrong or len(results) != flows:
        raise WrongResult(f"{len(results)} of {flows} flows came to a result, {len(wrong)} to a wrong one")
    return seconds


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)
