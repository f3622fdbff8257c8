"""One file a step type: a handler takes a job and gives an outcome. `HANDLERS` lists the built-in ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from argyll_redis.core.model import StepType
from argyll_redis.scripting import Evaluator
from argyll_redis.steps.job import Handler
from argyll_redis.steps.script import ScriptHandler

HANDLERS: Mapping[StepType, Callable[[Evaluator, int], Handler]] = {
    StepType.SCRIPT: ScriptHandler,
}
"""What every engine can do; each is made with the evaluator and the engine's concurrency."""


def builtin_handlers(evaluator: Evaluator, concurrency: int) -> dict[StepType, Handler]:
    """The handlers of the queue `builtin`."""
    return {type: make(evaluator, concurrency) for type, make in HANDLERS.items()}
