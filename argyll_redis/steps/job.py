"""One call of a step, as a handler gets it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from argyll_redis.core.commands import Outcome
from argyll_redis.core.model import JSON, Step, Token
from argyll_redis.steps.context import StepContext


@dataclass(frozen=True, slots=True)
class Job:
    """An attempt to carry out."""

    flow_id: str
    step: Step
    token: Token
    attempt: int
    inputs: dict[str, JSON]
    """By inner name, meta inputs included."""
    context: StepContext


Handler = Callable[[Job], Awaitable[Outcome]]
"""Carries out a job. What it comes to is a value; only cancellation is raised."""
