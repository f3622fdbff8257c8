"""Given, when, then: a flow as a test of three lines.

given(app, customer_id="c1").when(goals=[charge]).then(result={"receipt": "r1"})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from argyll_redis.app import Argyll
from argyll_redis.core.model import JSON
from argyll_redis.starting import Goals
from argyll_redis.testing.flow_view import FlowView
from argyll_redis.testing.in_memory import InMemory, quiet_engines


class Given:
    """What is there before a flow starts: an app, initial values, and what stands in for steps."""

    def __init__(
        self,
        app: Argyll,
        init: Mapping[str, Any],
        replaced: Mapping[Any, Any] | None = None,
        steps: Sequence[JSON] = (),
    ) -> None:
        self._app = app
        self._init = dict(init)
        self._replaced = dict(replaced or {})
        self._steps = list(steps)

    def replace(self, stand_ins: Mapping[Any, Any]) -> Given:
        """The same with other stand-ins for steps, beside those given before."""
        return Given(self._app, self._init, {**self._replaced, **stand_ins}, self._steps)

    def register(self, *definitions: JSON) -> Given:
        """The same with further steps, as JSON objects: those that the app does not declare."""
        return Given(self._app, self._init, self._replaced, [*self._steps, *definitions])

    def when(self, goals: Goals, *, cancel_after_ms: int | None = None, **options: Any) -> FlowView:
        """Starts a flow in memory, lets it run until nothing more happens to it, and gives what it came
        to. `options` are those of `Argyll.start`: `id`, `labels`, `metadata`, `timeout_ms`.

        Raises what `start` raises.
        """
        with quiet_engines(), InMemory(self._app, replace=self._replaced, steps=self._steps) as memory:
            return memory.play(goals, self._init, cancel_after_ms=cancel_after_ms, **options)


def given(app: Argyll, init: Mapping[str, Any] | None = None, /, **values: Any) -> Given:
    """An app and initial values: a mapping, or names and values. Each value is one value of its
    attribute, as in `Argyll.start`."""
    return Given(app, {**(init or {}), **values})
