"""One call of a step's function, and the same call again: what a step does when it is called twice."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from argyll_redis.app import Argyll
from argyll_redis.declare import Declared
from argyll_redis.errors import InvalidInput
from argyll_redis.steps.context import StepContext
from argyll_redis.testing.in_memory import in_own_thread
from argyll_redis.testing.virtual import VirtualLoop

TOKEN = "0123456789abcdef0123456789abcdef"
"""The token of a work item that a call is of unless told otherwise."""


def call(
    app: Argyll,
    step: str | Callable[..., Any],
    /,
    inputs: Mapping[str, Any] | None = None,
    *,
    attempt: int = 1,
    token: str = TOKEN,
    flow_id: str = "flow-1",
) -> Any:
    """Calls a step's function as an engine would, with a context where it takes one, and gives what it
    returns. An async one runs under virtual time.

    Raises what the function raises, and `InvalidInput` for a step that the app does not declare.
    """
    declared = app.declared.get(app.id_of(step))
    if declared is None:
        known = ", ".join(sorted(app.declared)) or "none"
        raise InvalidInput(f'step "{step}" is not declared by this app (declared: {known})')
    arguments = dict(inputs or {})
    if declared.context_parameter:
        context = StepContext(flow_id=flow_id, step_id=declared.id, token=token, attempt=attempt)
        arguments[declared.context_parameter] = context
    return in_own_thread(lambda: _called(declared, arguments))


def _called(declared: Declared, arguments: dict[str, Any]) -> Any:
    async def play() -> Any:
        answer = declared.function(**arguments)
        return await answer if inspect.isawaitable(answer) else answer

    loop = VirtualLoop()
    try:
        return loop.run_until_complete(play())
    finally:
        loop.close()


def call_twice(
    app: Argyll,
    step: str | Callable[..., Any],
    /,
    inputs: Mapping[str, Any] | None = None,
    *,
    effects: Callable[[], Any],
) -> Any:
    """Calls a step's function twice for one work item, as attempts 1 and 2, and gives what it returned.

    `effects` gives what the function has done to the outside world, as a value that can be compared:
    the second call must leave it as it is, and return the same. This sees only what `effects` shows,
    and only two calls one after the other: not two at a time, not one that broke off in the middle.

    Raises `AssertionError` with what differs.
    """
    first = deepcopy(call(app, step, inputs, attempt=1))
    before = deepcopy(effects())
    second = call(app, step, inputs, attempt=2)
    after = effects()
    id = app.id_of(step)
    if after != before:
        raise AssertionError(f"step {id}, called again for the same token, changed {before!r} to {after!r}")
    if second != first:
        raise AssertionError(f"step {id}, called again for the same token, gave {second!r}, not {first!r}")
    return first
