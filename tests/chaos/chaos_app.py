"""The python steps that engines of a run serve: `argyll engine --app chaos_app:app`.

It imports nothing but the package and the standard library, so that engines of other versions run it
as well. Each call is journalled, in a file of the process's own, before it does anything; and each commit,
as what the engine then knew of the flow.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from argyll_redis import ACCEPTED, Argyll, Failed, NotCompleted, Retry, StepContext

QUICK = Retry(backoff="fixed", initial_ms=20)
UNDO = ":undo"
"""Behind the token of a call that undoes, as in logs."""

_PID = os.getpid()
_DIRECTORY = Path(os.environ.get("CHAOS_JOURNALS", "."))


def _opened(kind: str) -> int:
    return os.open(_DIRECTORY / f"{kind}-{_PID}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


_calls, _knew = _opened("calls"), _opened("knew")


class Knowing(Argyll):
    """An app that journals what its engine knows."""

    _is_heard = False

    async def node(self) -> Any:
        node = await super().node()
        if not self._is_heard:
            self._is_heard = True
            node.committer.listeners.append(_note_known)
        return node


def _note_known(flow: Any, _: int) -> None:
    line = {"do": "knew", "engine": str(_PID), "flow": flow.id, "version": flow.version, "tx": flow.last_tx}
    os.write(_knew, json.dumps(line).encode() + b"\n")


app = Knowing()


def note(ctx: StepContext, *, undo: bool = False) -> None:
    """Journals a call."""
    line = {
        "flow": ctx.flow_id,
        "step": ctx.step_id,
        "token": ctx.token + UNDO * undo,
        "attempt": ctx.attempt,
        "at": time.time_ns() // 1_000_000,
        "pid": _PID,
    }
    os.write(_calls, json.dumps(line).encode() + b"\n")


# ----------------------------------------------------------------------- a chain


@app.step(outputs="b")
async def chain_1(a: int, ctx: StepContext) -> int:
    note(ctx)
    return a + 1


@app.step(outputs="c", retry=QUICK)
async def chain_2(b: int, ctx: StepContext) -> int:
    note(ctx)
    await asyncio.sleep(b % 7 * 0.03)
    if ctx.attempt == 1 and b % 3 == 0:
        raise NotCompleted("every third is tried again")
    return b + 1


@app.step(outputs="d")
def chain_3(c: int, ctx: StepContext) -> int:
    note(ctx)
    time.sleep(c % 5 * 0.02)
    return c + 1


# ----------------------------------------------------------------------- fan out


@app.step(outputs="parts")
async def split(a: int, ctx: StepContext) -> list[int]:
    note(ctx)
    return list(range(a % 10 + 1))


@app.step(outputs="squares", for_each="parts", parallelism=4)
async def square(parts: int, ctx: StepContext) -> int:
    note(ctx)
    await asyncio.sleep(0.05)
    return parts * parts


@app.step(outputs="sum")
async def join(squares: list[dict[str, Any]], ctx: StepContext) -> int:
    note(ctx)
    return sum(row["squares"] for row in squares)


# ------------------------------------------------------------ alternatives, failure


@app.step(id="source_1", outputs="found")
async def source_1(a: int, ctx: StepContext) -> int:
    note(ctx)
    await asyncio.sleep(0.1)
    if a % 2:
        raise Failed("only even numbers here")
    return a


@app.step(id="source_2", outputs="found")
async def source_2(a: int, ctx: StepContext) -> int:
    note(ctx)
    await asyncio.sleep(0.1)
    return -a


@app.step(outputs="used")
async def use(found: int, ctx: StepContext) -> int:
    note(ctx)
    return abs(found)


@app.step(outputs="never")
async def refuse(a: int, ctx: StepContext) -> int:
    note(ctx)
    raise Failed(f"{a} is refused")


# --------------------------------------------------------------------- compensation


async def unbook(inputs: dict[str, Any], outputs: dict[str, Any], ctx: StepContext) -> None:
    note(ctx, undo=True)
    await asyncio.sleep(0.05)


@app.step(outputs="booked", for_each="parts", parallelism=3, undo=unbook, retry=QUICK)
async def book(parts: int, a: int, ctx: StepContext) -> int:
    """Books all but the last, which cannot be had."""
    note(ctx)
    await asyncio.sleep(0.05)
    if parts == a % 10:
        raise Failed("sold out")
    return parts


# ------------------------------------------------------------------------ sub-flows


@app.step(outputs="cubed")
async def cube(part: int, ctx: StepContext) -> int:
    note(ctx)
    return part**3


@app.step(outputs="total")
async def add_up(cube_of: list[dict[str, Any]], ctx: StepContext) -> int:
    note(ctx)
    return sum(row["cube_of"] for row in cube_of)


# ------------------------------------------------------------------------------ time


@app.step(outputs="hint")
async def slow_hint(a: int, ctx: StepContext) -> int:
    note(ctx)
    await asyncio.sleep(0.25)
    return a


@app.step(outputs="rested")
async def rest(a: int, rest_ms: int, ctx: StepContext) -> int:
    """Works for as long as it is told, on the event loop or in a thread by turns."""
    note(ctx)
    if a % 2:
        await asyncio.to_thread(time.sleep, rest_ms / 1000)
    else:
        await asyncio.sleep(rest_ms / 1000)
    return a


@app.step(outputs="rested_more")
async def rest_more(rested: int, rest_ms: int, ctx: StepContext) -> int:
    note(ctx)
    await asyncio.sleep(rest_ms / 1000)
    return rested


# -------------------------------------------------------------------------- hot flow


@app.step(outputs="numbers")
async def count_to(n: int, ctx: StepContext) -> list[int]:
    note(ctx)
    return list(range(n))


@app.step(outputs="word", for_each="numbers", parallelism=1_000)
async def ask_around(numbers: int, ctx: StepContext) -> str:
    """Is answered from outside."""
    note(ctx)
    return ACCEPTED  # type: ignore[return-value]


@app.step(outputs="answers")
async def count_words(word: list[dict[str, Any]], ctx: StepContext) -> int:
    note(ctx)
    return len(word)


@app.step(outputs="halved", for_each="numbers", parallelism=1_000)
async def halve(numbers: int, ctx: StepContext) -> int:
    note(ctx)
    return numbers // 2


@app.step(outputs="halves")
async def count_halves(halved: list[dict[str, Any]], ctx: StepContext) -> int:
    note(ctx)
    return len(halved)
