"""Functions that the engines of the contract tests have; the tests register the steps over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

from argyll_redis import ACCEPTED, Argyll, Failed, NotCompleted, StepContext

app = Argyll()


class Declined(Exception):
    """What a step may list as permanent."""


@app.step(outputs="answer", id="answering")
async def answering(what: str, ctx: StepContext) -> Any:
    """Does as it is told."""
    if what == "accept":
        return ACCEPTED
    if what == "fail":
        raise Failed("told to fail")
    if what == "decline":
        raise Declined("declined")
    if what == "later" and ctx.attempt == 1:
        raise NotCompleted("told to wait", after_ms=1)
    if what == "raise" and ctx.attempt == 1:
        raise ValueError("told to raise")
    if what == "no json":
        return object()
    if what == "slow":
        while not ctx.cancelled:
            await asyncio.sleep(0.01)
    return what
