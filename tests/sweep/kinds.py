"""The flows of a sweep, one of each kind: what their steps do, what a client does, what they come to."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argyll_redis import ACCEPTED, Argyll, Failed, NotCompleted, Retry, StepContext
from argyll_redis.core.outbox import UNDO

QUICK = Retry(max_retries=20, backoff="fixed", initial_ms=20)


class Journal:
    """What steps were called with: one line a call, which survives the process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, token: str, attempt: int, **more: Any) -> None:
        """Writes a line before the step does anything else."""
        line = json.dumps({"token": token, "attempt": attempt, **more}) + "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def call(self, ctx: StepContext) -> None:
        self.note(ctx.token, ctx.attempt)

    def undo(self, ctx: StepContext) -> None:
        self.note(ctx.token + UNDO, ctx.attempt)

    def lines(self) -> list[dict[str, Any]]:
        """All lines so far."""
        text = self.path.read_text() if self.path.exists() else ""
        return [json.loads(line) for line in text.splitlines()]


async def _nothing(app: Argyll, flow_id: str) -> None:
    """A client that only waits."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A flow, and everything about it."""

    name: str
    goals: tuple[str, ...]
    result: Mapping[str, Any] | None
    """What a completed flow comes to; None for one that fails."""
    declare: Callable[[Argyll, Journal], None]
    init: Mapping[str, Any] = field(default_factory=lambda: {"a": 1})
    definitions: Callable[[str], list[dict[str, Any]]] = lambda url: []
    """Steps that are no functions, given where the step service is."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """More arguments of the start."""
    act: Callable[[Argyll, str], Awaitable[None]] = _nothing
    """What somebody outside does until the flow goes on. Done again by whoever comes after a crash."""


def _chain(app: Argyll, journal: Journal) -> None:
    @app.step(outputs="b")
    async def first(a: int, ctx: StepContext) -> int:
        journal.call(ctx)
        return a + 1

    @app.step(outputs="c")
    def second(b: int, ctx: StepContext) -> int:
        journal.call(ctx)
        return b + 1

    @app.step(outputs="d")
    async def third(c: int, ctx: StepContext) -> int:
        journal.call(ctx)
        return c + 1


def _fan_out(app: Argyll, journal: Journal) -> None:
    @app.step(outputs="parts")
    async def split(a: int, ctx: StepContext) -> list[int]:
        journal.call(ctx)
        return [a, a + 1, a + 2, a + 3]

    @app.step(outputs="square", for_each="parts", parallelism=3)
    async def multiply(parts: int, ctx: StepContext) -> int:
        journal.call(ctx)
        return parts * parts

    @app.step(outputs="sum")
    async def join(square: list[dict[str, Any]], ctx: StepContext) -> int:
        journal.call(ctx)
        return sum(row["square"] for row in square)


def _child(app: Argyll, journal: Journal) -> None:
    @app.step(outputs="doubled")
    async def double(n: int, ctx: StepContext) -> int:
        journal.call(ctx)
        return 2 * n

    @app.step(outputs="text")
    async def write(twice: int, ctx: StepContext) -> str:
        journal.call(ctx)
        return f"it is {twice}"


def _sub_flow(_: str) -> list[dict[str, Any]]:
    attributes = {
        "a": {"role": "required", "required": {"mapping": {"name": "n"}}},
        "twice": {"role": "output", "output": {"mapping": {"name": "doubled"}}},
    }
    return [{"id": "sub", "type": "flow", "flow": {"goals": ["double"]}, "attributes": attributes}]


def _compensation(app: Argyll, journal: Journal) -> None:
    def take_back(inputs: dict[str, Any], outputs: dict[str, Any], ctx: StepContext) -> None:
        journal.undo(ctx)

    @app.step(outputs="held", undo=take_back)
    async def hold(a: int, ctx: StepContext) -> int:
        journal.call(ctx)
        return a

    @app.step(outputs="paid", undo=take_back)
    async def pay(held: int, ctx: StepContext) -> int:
        journal.call(ctx)
        return held

    @app.step(outputs="sent")
    async def send(paid: int, ctx: StepContext) -> int:
        journal.call(ctx)
        raise Failed("there is nobody at home")


def _webhook(app: Argyll, journal: Journal) -> None:
    @app.step(outputs="text")
    async def tell(answer: int, ctx: StepContext) -> str:
        journal.call(ctx)
        return f"it is {answer}"


def _asked_elsewhere(url: str) -> list[dict[str, Any]]:
    attributes = {"a": {"role": "required"}, "answer": {"role": "output"}}
    return [{"id": "ask", "type": "async", "attributes": attributes, "http": {"endpoint": url}}]


def _approval(app: Argyll, journal: Journal) -> None:
    @app.step(outputs="approved")
    async def ask_somebody(a: int, ctx: StepContext) -> Any:
        journal.call(ctx)
        return ACCEPTED

    @app.step(outputs="done")
    async def go_on(approved: bool, ctx: StepContext) -> bool:
        journal.call(ctx)
        return approved


async def _approve(app: Argyll, flow_id: str) -> None:
    """Waits until somebody is asked, and answers."""
    async for event in app.flow(flow_id).events():
        if event["type"] == "work_accepted":
            data = event["data"]
            await app.complete(flow_id, data["step"], data["token"], {"approved": True})
            return


def _cancel(app: Argyll, journal: Journal) -> None:
    @app.step(outputs="answer")
    async def wait_for_ever(n: int, ctx: StepContext) -> Any:
        journal.call(ctx)
        return ACCEPTED

    @app.step(outputs="told")
    async def never(said: int, ctx: StepContext) -> int:
        journal.call(ctx)
        return said


def _endless_sub_flow(_: str) -> list[dict[str, Any]]:
    attributes = {
        "a": {"role": "required", "required": {"mapping": {"name": "n"}}},
        "said": {"role": "output", "output": {"mapping": {"name": "answer"}}},
    }
    return [{"id": "sub", "type": "flow", "flow": {"goals": ["wait_for_ever"]}, "attributes": attributes}]


async def _give_up(app: Argyll, flow_id: str) -> None:
    """Cancels the flow once its child has begun."""
    async for event in app.flow(flow_id).events():
        if event["type"] == "work_accepted":
            await app.cancel(flow_id)
            return


def _timeout(app: Argyll, journal: Journal) -> None:
    @app.step(outputs="approved")
    async def ask_nobody(a: int, ctx: StepContext) -> Any:
        journal.call(ctx)
        return ACCEPTED


def _retry(app: Argyll, journal: Journal) -> None:
    @app.step(outputs="b", retry=QUICK)
    async def try_twice(a: int, ctx: StepContext) -> int:
        journal.call(ctx)
        if ctx.attempt == 1:
            raise NotCompleted("not at the first try")
        return a + 1

    @app.step(outputs="c", retry=QUICK)
    async def try_again(b: int, ctx: StepContext) -> int:
        journal.call(ctx)
        if ctx.attempt < 3:
            raise ValueError("not yet")
        return b + 1


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("chain", ("third",), {"d": 4}, _chain),
        Kind("fan-out", ("join",), {"sum": 30}, _fan_out),
        Kind("child", ("write",), {"text": "it is 2"}, _child, definitions=_sub_flow),
        Kind("compensation", ("send",), None, _compensation, options={"compensate": "flow"}),
        Kind("webhook", ("tell",), {"text": "it is 7"}, _webhook, definitions=_asked_elsewhere),
        Kind("approval", ("go_on",), {"done": True}, _approval, act=_approve),
        Kind("retry", ("try_again",), {"c": 3}, _retry),
        Kind("cancel", ("never",), None, _cancel, definitions=_endless_sub_flow, act=_give_up),
        Kind("timeout", ("ask_nobody",), None, _timeout, options={"timeout_ms": 100}),
    )
}
"""By name."""
