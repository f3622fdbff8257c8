"""What an engine of an app can do: which handler runs which type, and which steps it takes."""

from __future__ import annotations

from collections.abc import Mapping

from argyll_redis.core.model import Step, StepType
from argyll_redis.scripting import Evaluator
from argyll_redis.steps import builtin_handlers
from argyll_redis.steps.http import HTTP_TYPES, HttpHandler
from argyll_redis.steps.job import Handler
from argyll_redis.steps.python import PythonHandler


class Skills:
    """All handlers of an engine."""

    def __init__(
        self, evaluator: Evaluator, concurrency: int, *, python: PythonHandler, http: HttpHandler
    ) -> None:
        self._python = python
        self._http = http
        self.handlers: Mapping[StepType, Handler] = {
            **builtin_handlers(evaluator, concurrency),
            **dict.fromkeys(HTTP_TYPES, http),
            StepType.PYTHON: python,
        }

    def can_do(self, step: Step) -> bool:
        """Whether it can do a step's work."""
        if step.type is StepType.PYTHON:
            return self._python.has(step)
        return self._http.has(step) if step.type in HTTP_TYPES else step.type in self.handlers

    def can_undo(self, step: Step) -> bool:
        """Whether it can undo what a step's work has done."""
        if step.type is StepType.PYTHON:
            return self._python.has_undo(step)
        return self._http.has_undo(step) if step.type in HTTP_TYPES else step.type in self.handlers
