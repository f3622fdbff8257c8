"""From a Python function to a step definition: what `@app.step` does, without the app.

The parameters are the inputs, the type hints their types, what the return value provides is named by
the caller. The function itself stays as it is. All that is wrong with a declaration is reported
together, when it is made.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from argyll_redis.core.model import JSON, AttributeType, Backoff, OnFailure, Script
from argyll_redis.core.parse import parse_step
from argyll_redis.core.values import check, type_matches
from argyll_redis.declare.hints import Hints, read_hints, type_of
from argyll_redis.errors import InvalidInput, InvalidStep, Problem

CONTEXT = "ctx"
"""A parameter of this name is given the context of the call, whatever its hint."""
_NO_INPUT = {
    inspect.Parameter.POSITIONAL_ONLY: ("is positional-only", "remove the `/`"),
    inspect.Parameter.VAR_POSITIONAL: ("takes any arguments", "name each input"),
    inspect.Parameter.VAR_KEYWORD: ("takes any keywords", "name each input"),
}
"""Kinds of parameters that cannot be inputs: those are given by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and when a step is tried again. What is left out takes the engine's default."""

    max_attempts: int | None = None
    """Starts of any kind, lost engines included; it wins over `max_retries`."""
    max_retries: int | None = None
    """Retries after "not completed"; -1 is without end."""
    backoff: Backoff | str | None = None
    """`fixed`, `linear` or `exponential`."""
    initial_ms: int | None = None
    max_ms: int | None = None
    jitter: float | None = None
    """Share of the delay that is spread, 0 to 1."""

    def __post_init__(self) -> None:
        if self.max_retries == 0:
            problem = Problem(
                "retry.max_retries", "0 means the default", "use max_attempts=1 for one attempt"
            )
            raise InvalidStep(problems=[problem])

    def work_config(self) -> dict[str, JSON]:
        """The fields of `work_config` that are given."""
        fields: dict[str, JSON] = {
            "max_attempts": self.max_attempts,
            "max_retries": self.max_retries,
            "backoff_type": None if self.backoff is None else str(self.backoff),
            "init_backoff": self.initial_ms,
            "max_backoff": self.max_ms,
            "jitter": self.jitter,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Function:
    """A function as an engine calls it."""

    function: Callable[..., Any]
    is_async: bool
    """Whether calling it gives something to await."""
    context_parameter: str | None
    """The parameter that is given the `StepContext`."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A function that is a step."""

    definition: dict[str, JSON]
    """As registered: a step's JSON object, of type python; the handler has the step's id."""
    handler: Function
    outputs: tuple[str, ...]
    single_output: bool
    """Whether the return value is the one output; if not, it is a mapping with the outputs, or when
    there are none, nothing is made of it."""
    permanent: tuple[type[BaseException], ...]
    """Exceptions that no retry would mend."""
    undo: Function | None = None

    @property
    def id(self) -> str:
        """The step's id, which is the handler's name too."""
        return self.definition["id"]

    @property
    def queue(self) -> str:
        """The queue that its work waits in."""
        return self.definition["python"].get("queue", "default")

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself."""
        return self.handler.function

    @property
    def is_async(self) -> bool:
        """Whether calling the function gives something to await."""
        return self.handler.is_async

    @property
    def context_parameter(self) -> str | None:
        """The parameter that is given the `StepContext`."""
        return self.handler.context_parameter


def declare(
    function: Callable[..., Any],
    *,
    id: str | None = None,
    outputs: str | Sequence[str] | None = None,
    retry: Retry | None = None,
    for_each: str | Sequence[str] | None = None,
    parallelism: int | None = None,
    permanent: type[BaseException] | Sequence[type[BaseException]] = (),
    undo: Callable[..., Any] | str | None = None,
    queue: str = "default",
    timeout_ms: int | None = None,
    on_failure: OnFailure | str | None = None,
    predicate: str | Script | Mapping[str, str] | None = None,
    memoizable: bool = False,
    labels: Mapping[str, str] | None = None,
) -> Declared:
    """Makes a step of a function.

    `outputs` is one name (the return value is that attribute), several (it is a mapping with those
    names) or nothing. `predicate` is Lua, unless it says its language. `undo` is called as
    `undo(inputs, outputs)`, by name `<id>.undo`; a text names a function registered elsewhere.
    Raises `InvalidStep` with all that is wrong: the step, the place, the mend.
    """
    step_id = _id_of(function, id)
    reading = _Reading(function, each=_names(for_each), outputs=_names(outputs))
    attributes = reading.attributes()
    exceptions = reading.exceptions(permanent)
    python: dict[str, JSON] = {"handler": step_id}
    if queue != "default":
        python["queue"] = queue
    if exceptions:
        python["permanent"] = list(dict.fromkeys(each.__qualname__ for each in exceptions))
    if undo is not None:
        python["undo"] = undo if isinstance(undo, str) else f"{step_id}.undo"
    definition: dict[str, JSON] = {
        "id": step_id,
        "type": "python",
        "attributes": attributes,
        "python": python,
    }
    if predicate is not None:
        definition["predicate"] = _script(predicate)
    if memoizable:
        definition["memoizable"] = True
    work_config = _work_config(retry, parallelism, timeout_ms, on_failure)
    if work_config:
        definition["work_config"] = work_config
    if labels:
        definition["labels"] = dict(labels)
    _refuse(step_id, definition, reading.problems)
    return Declared(
        definition=definition,
        handler=reading.function(),
        outputs=reading.outputs,
        single_output=len(reading.outputs) == 1,
        permanent=exceptions,
        undo=None if undo is None or isinstance(undo, str) else _Reading(undo).function(),
    )


def _id_of(function: Callable[..., Any], id: str | None) -> str:
    if not callable(function):
        raise InvalidStep(f"{function!r} is not a function (use @app.step above a `def`)")
    name = id if id is not None else getattr(function, "__name__", "")
    if not name or name == "<lambda>":
        raise InvalidStep(f"{function!r} has no name that could be a step's id (give it one with id=)")
    return name.lower()


def _names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


def _script(given: str | Script | Mapping[str, str]) -> dict[str, JSON]:
    if isinstance(given, str):
        return {"language": "lua", "script": given}
    if isinstance(given, Script):
        return {"language": given.language, "script": given.script}
    return dict(given)


def _work_config(
    retry: Retry | None, parallelism: int | None, timeout_ms: int | None, on_failure: str | None
) -> dict[str, JSON]:
    fields = {
        "parallelism": parallelism,
        "timeout": timeout_ms,
        "on_failure": None if on_failure is None else str(on_failure),
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return {**(retry.work_config() if retry else {}), **given}


def _refuse(step_id: str, definition: dict[str, JSON], problems: Sequence[Problem]) -> None:
    """Raises what is wrong with the function, and with the definition that came of it."""
    found = list(problems)
    try:
        parse_step(definition)
    except InvalidStep as error:
        places = {problem.path for problem in problems}
        found += [problem for problem in error.problems if problem.path not in places]
    if found:
        raise InvalidStep(f'step "{step_id}"', problems=found)


class _Reading:
    """Reads one function; gathers what is wrong with it on the way."""

    def __init__(
        self, function: Callable[..., Any], *, each: tuple[str, ...] = (), outputs: tuple[str, ...] = ()
    ) -> None:
        self.problems: list[Problem] = []
        self.outputs = outputs
        self._function = function
        self._each = each
        self._hints: Hints = read_hints(function)
        self._parameters = _parameters(function)
        self._contexts = [
            name for name in self._parameters if name == CONTEXT or self._hints.is_context(name)
        ]

    def _wrong(self, path: str, what: str, mend: str = "") -> None:
        self.problems.append(Problem(path, what, mend))

    def function(self) -> Function:
        """How the function is called."""
        return Function(
            self._function, _is_async(self._function), self._contexts[0] if self._contexts else None
        )

    def exceptions(
        self, given: type[BaseException] | Sequence[type[BaseException]]
    ) -> tuple[type[BaseException], ...]:
        """The exception types among those that were said to be permanent."""
        listed: tuple[Any, ...] = (given,) if isinstance(given, type) else tuple(given)
        for each in listed:
            if not (isinstance(each, type) and issubclass(each, BaseException)):
                self._wrong("permanent", f"{each!r} is not an exception type", "list classes of exceptions")
        return tuple(each for each in listed if isinstance(each, type))

    # -------------------------------------------------------------- attributes

    def attributes(self) -> dict[str, JSON]:
        """The attributes of the step, inputs first."""
        self._check_call()
        inputs = {
            name: self._input(parameter)
            for name, parameter in self._parameters.items()
            if name not in self._contexts and self._can_be_input(parameter)
        }
        self._check_each(inputs)
        return {**inputs, **self._outputs(inputs)}

    def _check_call(self) -> None:
        if inspect.isgeneratorfunction(self._function) or inspect.isasyncgenfunction(self._function):
            self._wrong("function", "yields instead of returning", "return the whole value")
        if len(self._contexts) > 1:
            listed = " and ".join(self._contexts)
            self._wrong("parameters", f"{listed} would both be given the context", "keep one of them")

    def _can_be_input(self, parameter: inspect.Parameter) -> bool:
        if parameter.kind not in _NO_INPUT:
            return True
        self._wrong(f"parameters.{parameter.name}", *_NO_INPUT[parameter.kind])
        return False

    def _input(self, parameter: inspect.Parameter) -> dict[str, JSON]:
        is_each = parameter.name in self._each
        declared = AttributeType.ARRAY if is_each else self._hints.type_of(parameter.name)
        options: dict[str, JSON] = {"for_each": True} if is_each else {}
        role = "required"
        if parameter.default is not inspect.Parameter.empty:
            role = "optional"
            declared, options["default"] = self._default(parameter, declared)
        return _attribute(role, declared, options)

    def _default(
        self, parameter: inspect.Parameter, declared: AttributeType | None
    ) -> tuple[AttributeType | None, str]:
        """A default as JSON. A default of None makes its parameter one that may be null."""
        path = f"parameters.{parameter.name}.default"
        try:
            value = check(parameter.default)
        except InvalidInput as error:
            first = error.problems[0]
            self._wrong(".".join(filter(None, (path, first.path))), first.what, first.mend)
            return declared, "null"
        if value is None and not type_matches(declared, value):
            declared = AttributeType.ANY
        if not type_matches(declared, value):
            self._wrong(path, f"{value!r:.60} is not of type {declared}", "change the hint or the default")
        return declared, json.dumps(value, ensure_ascii=False)

    def _check_each(self, inputs: Mapping[str, JSON]) -> None:
        for name in self._each:
            if name not in inputs:
                listed = ", ".join(inputs) or "none"
                self._wrong("for_each", f'"{name}" is not an input', f"name a parameter: {listed}")

    def _outputs(self, inputs: Mapping[str, JSON]) -> dict[str, JSON]:
        found: dict[str, JSON] = {}
        types = self._output_types()
        for name in self.outputs:
            if name in found:
                self._wrong("outputs", f'"{name}" is named twice', "name it once")
            if name in inputs:
                what = f'"{name}" is an input, too'
                self._wrong("outputs", what, "give the output, or the parameter, another name")
            found[name] = _attribute("output", AttributeType.ARRAY if self._each else types.get(name), {})
        return {name: spec for name, spec in found.items() if name not in inputs}

    def _output_types(self) -> Mapping[str, AttributeType | None]:
        if len(self.outputs) == 1:
            return {self.outputs[0]: self._hints.returned_type()}
        return {name: type_of(hint) for name, hint in self._hints.returned_fields().items()}


def _attribute(role: str, declared: AttributeType | None, options: dict[str, JSON]) -> dict[str, JSON]:
    found: dict[str, JSON] = {"role": role}
    if declared is not None:
        found["type"] = str(declared)
    if options:
        found[role] = options
    return found


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise InvalidStep(f"{function!r} does not tell its parameters (wrap it in a `def`)") from error


def _is_async(function: Any) -> bool:
    """Whether calling gives something to await: an `async def`, in a partial or an object too."""
    while hasattr(function, "func"):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - looked at, not called
    )
