"""Python steps: functions that an app has registered, async ones directly, plain ones in threads.

Plain functions have a limiter of their own, as wide as the engine's concurrency, so that they never
wait for threads that others hold.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any

import anyio
from anyio import CapacityLimiter, to_thread

from argyll_redis.core.commands import Accepted, Broken, Outcome, Succeeded, Unfinished
from argyll_redis.core.limits import MAX_ERROR_CHARS
from argyll_redis.core.model import JSON, Step
from argyll_redis.declare import Declared
from argyll_redis.declare.function import Function
from argyll_redis.errors import Failed, InvalidInput, NotCompleted
from argyll_redis.steps.context import ACCEPTED
from argyll_redis.steps.job import Job, fit_outputs
from argyll_redis.store.codec import check

log = logging.getLogger(__name__)


class PythonHandler:
    """Calls registered functions. Only steps whose function is there are asked of it."""

    def __init__(self, functions: Mapping[str, Declared], concurrency: int) -> None:
        self._functions = functions
        self._undos = undo_functions(functions)
        self._limiter = CapacityLimiter(max(1, concurrency))

    def has(self, step: Step) -> bool:
        return step.python is not None and step.python.handler in self._functions

    def has_undo(self, step: Step) -> bool:
        """Whether the function that undoes a step's work is there."""
        return step.python is not None and step.python.undo in self._undos

    async def __call__(self, job: Job) -> Outcome:
        """Calls the function, or the one that undoes its work. Whatever it raises is an outcome, even
        what would end a process: only the cancellation of this call is not."""
        assert job.step.python is not None
        declared = self._functions.get(job.step.python.handler)
        permanent = declared.permanent if declared else ()
        try:
            return await self._within_time(job, declared)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _is_being_cancelled():
                job.context.cancel()
                raise
            outcome = outcome_of(error, permanent, job.step)
            if not isinstance(error, Failed | NotCompleted):
                _tell(job, error, outcome)
            return outcome

    async def _within_time(self, job: Job, declared: Declared | None) -> Outcome:
        timeout_ms = job.step.work.timeout_ms
        if not timeout_ms:
            return await self._outcome(job, declared)
        with anyio.move_on_after(timeout_ms / 1000):
            return await self._outcome(job, declared)
        job.context.cancel()
        return Unfinished(f"timed out after {timeout_ms} ms")

    async def _outcome(self, job: Job, declared: Declared | None) -> Outcome:
        if job.undo is not None:
            assert job.step.python is not None
            undo = self._undos[job.step.python.undo or ""]
            await self._call(undo, job, (job.inputs, dict(job.undo.outputs)), {})
            return Succeeded({})
        assert declared is not None
        return _judge(await self._call(declared.handler, job, (), job.inputs), declared)

    async def _call(
        self, function: Function, job: Job, arguments: tuple[Any, ...], inputs: dict[str, Any]
    ) -> Any:
        inputs = dict(inputs)
        if function.context_parameter:
            inputs[function.context_parameter] = job.context
        if function.is_async:
            return await function.function(*arguments, **inputs)
        call = partial(_caught, partial(function.function, *arguments, **inputs))
        returned, error = await to_thread.run_sync(call, limiter=self._limiter, abandon_on_cancel=True)
        if error is not None:
            raise error
        # A plain function may wrap an async one, as decorators do.
        return await returned if inspect.isawaitable(returned) else returned


def _tell(job: Job, error: BaseException, outcome: Outcome) -> None:
    """Logs what a step's code raised: it may be a bug, so the first attempt shows where; its repetitions
    are a line each. An exception that the step lists as permanent is an answer that its author foresaw."""
    what = "the undo of step" if job.undo else "step"
    where = (job.step.id, job.flow_id, job.attempt, " ".join(text_of(error).split()))
    is_first, is_foreseen = job.attempt == 1, isinstance(outcome, Broken)
    log.log(
        logging.WARNING if is_first and not is_foreseen else logging.INFO,
        what + " %s of flow %s raised in attempt %d: %s",
        *where,
        exc_info=(type(error), error, _from_its_code(error)) if is_first or is_foreseen else None,
    )


def _from_its_code(error: BaseException) -> TracebackType | None:
    """The traceback of what a step's code raised, without the frames by which it was called."""
    found = error.__traceback__
    while found is not None and found.tb_frame.f_code.co_filename == _caught.__code__.co_filename:
        found = found.tb_next
    return found


def _caught(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Calls a function; what it raises is a value, as some exceptions mean something else to whatever
    carries them from thread to thread."""
    try:
        return call(), None
    except BaseException as error:
        return None, error


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def undo_functions(functions: Mapping[str, Declared]) -> dict[str, Function]:
    """The functions that undo work, by the names under which definitions ask for them: an app's own
    `<id>.undo`, and those of its steps, which another step may name."""
    found = {name: declared.handler for name, declared in functions.items()}
    found.update((f"{name}.undo", declared.undo) for name, declared in functions.items() if declared.undo)
    return found


def outcome_of(error: BaseException, permanent: tuple[type[BaseException], ...], step: Step) -> Outcome:
    """The one place where an exception of a step's code becomes what the work came to."""
    if isinstance(error, NotCompleted):
        return Unfinished(text_of(error), _whole_ms(getattr(error, "after_ms", None)))
    if isinstance(error, (Failed, *permanent)) or _is_permanent(error, step):
        return Broken(text_of(error))
    return Unfinished(text_of(error))


def _is_permanent(error: BaseException, step: Step) -> bool:
    """Whether the step lists the exception's type, or a base of it, by name."""
    names = step.python.permanent if step.python else ()
    return any(base.__qualname__ in names or base.__name__ in names for base in type(error).__mro__)


def _whole_ms(given: Any) -> int | None:
    """A delay that a step asked for; None for what is no time."""
    if isinstance(given, int | float) and math.isfinite(given):
        return max(0, round(given))
    return None


def text_of(error: BaseException) -> str:
    """The text of an error as events keep it: a step's own words bare, others after their type."""
    kind = type(error).__name__
    try:
        text = str(error)
    except Exception:  # its own __str__ is broken
        text = ""
    if not isinstance(error, Failed | NotCompleted):
        text = f"{kind}: {text}" if text else kind
    return (text or kind).encode("utf-8", "replace").decode()[:MAX_ERROR_CHARS]


def _judge(returned: Any, declared: Declared) -> Outcome:
    """What a returned value means: one output's value, or a mapping with those of several."""
    if returned is ACCEPTED:
        return Accepted()
    try:
        outputs = _outputs(returned, declared)
    except InvalidInput as error:
        return Broken(f"the outputs are not JSON: {error}"[:MAX_ERROR_CHARS])
    return fit_outputs(outputs)


def _outputs(returned: Any, declared: Declared) -> dict[str, JSON]:
    if not declared.outputs:
        return {}
    if declared.single_output:
        name = declared.outputs[0]
        return {name: check(returned, name)}
    if not isinstance(returned, Mapping):
        names = ", ".join(declared.outputs)
        raise InvalidInput(f"expected a mapping with {names}, got a {type(returned).__name__}")
    return {name: check(returned[name], name) for name in declared.outputs if name in returned}
