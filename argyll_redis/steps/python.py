"""Python steps: functions that an app has registered, async ones directly, plain ones in threads.

Plain functions have a limiter of their own, as wide as the engine's concurrency, so that they never
wait for threads that others hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio
from anyio import CapacityLimiter, to_thread

from argyll_redis.core.commands import Accepted, Broken, Outcome, Succeeded, Unfinished
from argyll_redis.core.limits import MAX_EVENT_BYTES
from argyll_redis.core.model import JSON, Step
from argyll_redis.declare import Declared
from argyll_redis.errors import Failed, InvalidInput, NotCompleted
from argyll_redis.steps.context import ACCEPTED
from argyll_redis.steps.job import Job
from argyll_redis.store.codec import check, encode


class PythonHandler:
    """Calls registered functions. Only steps whose function is there are asked of it."""

    def __init__(self, functions: Mapping[str, Declared], concurrency: int) -> None:
        self._functions = functions
        self._limiter = CapacityLimiter(max(1, concurrency))

    def has(self, step: Step) -> bool:
        return step.python is not None and step.python.handler in self._functions

    async def __call__(self, job: Job) -> Outcome:
        assert job.step.python is not None
        declared = self._functions[job.step.python.handler]
        arguments: dict[str, Any] = dict(job.inputs)
        if declared.context_parameter:
            arguments[declared.context_parameter] = job.context
        timeout_ms = job.step.work.timeout_ms
        try:
            if not timeout_ms:
                return _judge(await self._call(declared, arguments), declared)
            with anyio.move_on_after(timeout_ms / 1000):
                return _judge(await self._call(declared, arguments), declared)
        except Exception as error:
            return outcome_of(error, declared, job.step)
        except (SystemExit, KeyboardInterrupt) as error:
            return Unfinished(text_of(error))
        job.context.cancel()
        return Unfinished(f"timed out after {timeout_ms} ms")

    async def _call(self, declared: Declared, arguments: dict[str, Any]) -> Any:
        if declared.is_async:
            return await declared.function(**arguments)
        call = partial(declared.function, **arguments)
        return await to_thread.run_sync(call, limiter=self._limiter, abandon_on_cancel=True)


def outcome_of(error: BaseException, declared: Declared, step: Step) -> Outcome:
    """The one place where an exception of a step's code becomes what the work came to."""
    if isinstance(error, NotCompleted):
        return Unfinished(str(error), error.after_ms)
    if isinstance(error, Failed) or isinstance(error, declared.permanent) or _is_permanent(error, step):
        return Broken(text_of(error))
    return Unfinished(text_of(error))


def _is_permanent(error: BaseException, step: Step) -> bool:
    """Whether the step lists the exception's type, or a base of it, by name."""
    names = step.python.permanent if step.python else ()
    return any(base.__qualname__ in names or base.__name__ in names for base in type(error).__mro__)


MAX_ERROR_CHARS = 4_096
"""Of an error's text that is kept; errors of steps may be hostile."""


def text_of(error: BaseException) -> str:
    """The text of an error as events keep it: a step's own words bare, others after their type."""
    text = str(error)
    if not isinstance(error, Failed | NotCompleted):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text.encode("utf-8", "replace").decode()[:MAX_ERROR_CHARS]


def _judge(returned: Any, declared: Declared) -> Outcome:
    """What a returned value means: one output's value, or a mapping with those of several."""
    if returned is ACCEPTED:
        return Accepted()
    try:
        outputs = _outputs(returned, declared)
    except InvalidInput as error:
        return Broken(f"the outputs are not JSON: {error}")
    size = len(encode(outputs)) if outputs else 0
    if size > MAX_EVENT_BYTES:
        return Broken(f"the outputs are {size} bytes, more than the {MAX_EVENT_BYTES} that an event may have")
    return Succeeded(outputs)


def _outputs(returned: Any, declared: Declared) -> dict[str, JSON]:
    if not declared.outputs:
        return {}
    if declared.single_output:
        return {declared.outputs[0]: check(returned)}
    if not isinstance(returned, Mapping):
        names = ", ".join(declared.outputs)
        raise InvalidInput(f"expected a mapping with {names}, got {type(returned).__name__}")
    return {name: check(returned[name], name) for name in declared.outputs if name in returned}
