"""One call of a step, as a handler gets it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from argyll_redis.core.commands import Broken, Outcome, Succeeded
from argyll_redis.core.limits import MAX_EVENT_BYTES
from argyll_redis.core.model import JSON, Step, Token
from argyll_redis.steps.context import StepContext
from argyll_redis.store.codec import encode


@dataclass(frozen=True, slots=True)
class Undo:
    """Says that a job is a compensation: what the work item has done is to be undone."""

    outputs: Mapping[str, JSON]
    """What it gave, by inner name, declared outputs only and as mapped."""


@dataclass(frozen=True, slots=True)
class Job:
    """An attempt to carry out."""

    flow_id: str
    step: Step
    token: Token
    """Of the work item, whether its work is called or its compensation."""
    attempt: int
    """Of the work or, where `undo` is set, of the compensation: both count from 1."""
    inputs: dict[str, JSON]
    """By inner name, meta inputs included; a compensation has those of the work item's last attempt."""
    context: StepContext
    undo: Undo | None = None
    """Set when the job is a compensation. What it comes to is judged as any call; it has no outputs and
    is never accepted for later."""


Handler = Callable[[Job], Awaitable[Outcome]]
"""Carries out a job. What it comes to is a value; only cancellation is raised."""


def fit_outputs(outputs: Mapping[str, JSON]) -> Outcome:
    """A success with these outputs, by inner name; a failure when no event can hold them."""
    size = len(encode(dict(outputs)))
    if size > MAX_EVENT_BYTES:
        what = f"{size:,} bytes, more than the {MAX_EVENT_BYTES:,} that an event may have"
        return Broken(f"the outputs are {what} (keep large data elsewhere, give its place)")
    return Succeeded(outputs)
