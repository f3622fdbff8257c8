"""Lua 5.4 for steps, predicates, matches and mappings, inside a sandbox (`sandbox.lua`).

Scripts run in a runtime, one Lua state with its own heap, that one thread uses at a time; runtimes
wait in a pool for the next run. What goes in is plain values and tables, never a Python object; what
comes out is a scalar or JSON text. lupa calls Lua's interface outside of protected calls, where
running out of memory would end the process: so values are handed over while the memory limit is off,
and counted meanwhile. A runtime that failed in any unusual way is thrown away.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from typing import Any, NamedTuple

import orjson

from argyll_redis.core.model import JSON
from argyll_redis.errors import ScriptError
from argyll_redis.scripting import limits
from argyll_redis.scripting.lua_library import lua54
from argyll_redis.scripting.protocol import Purpose, check_source, position

KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        "and break do else elseif end false for function goto if in local nil not or repeat return"
        " then true until while",
    )
)
NOT_LOCAL = KEYWORDS | {"_ENV"}
"""Words that cannot be variables of a script; `_ENV` would replace its globals."""
INPUTS = "inputs"
"""The variable that holds all inputs, those included whose names are no Lua names."""
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
NEAR = re.compile(r"^script:(\d+): (.*?)(?: near (?:'(.*)'|<eof>))?$", re.DOTALL)
SHORT_TEXT = 1_000
"""Text up to this length is handed over without a look at the memory."""

_SANDBOX = resources.files("argyll_redis.scripting").joinpath("sandbox.lua").read_text("utf-8")
_LuaFunction = Callable[..., Any]


class _OutOfMemory(Exception):
    """What is handed over does not fit into the memory of a run."""


def prefix(names: Iterable[str]) -> str:
    """What makes local variables of the arguments of a script. It adds no line."""
    return f"local {','.join(('_ENV', *names))}=...;"


class Variables(NamedTuple):
    """What a script is given, and in which variables."""

    values: Mapping[str, JSON]
    locals: tuple[str, ...]
    globals: tuple[str, ...]
    """Names beyond the number of local variables that Lua allows."""
    gives_inputs: bool
    """Whether there is a variable with all values, too."""


class Runtime:
    """One Lua state with its sandbox and the functions loaded into it. One thread at a time."""

    def __init__(self) -> None:
        self._lua = lua54.LuaRuntime(
            register_eval=False,
            register_builtins=False,
            attribute_filter=_no_attributes,
            max_memory=limits.LUA_MEMORY_BYTES,
        )
        self._functions: OrderedDict[tuple[str, tuple[str, ...]], _LuaFunction] = OrderedDict()
        self._source_bytes = 0
        functions: tuple[_LuaFunction, ...] = self._lua.execute(
            _SANDBOX,
            limits.LUA_INSTRUCTIONS,
            limits.LUA_STRIDE,
            limits.LUA_SECONDS,
            limits.RESULT_BYTES,
            limits.NESTING,
            limits.LUA_SPREAD,
            limits.LUA_SHORT_BYTES,
            limits.ERROR_CHARACTERS,
            time.thread_time,
            name="=sandbox",
            mode="t",
        )
        self.check, self.fits, self._load, self.test, self.value, self._test_all, self._value_all = functions
        self._set_limit()

    def function(self, source: str, names: tuple[str, ...]) -> _LuaFunction:
        """The function of a text that takes its globals and the values of `names`, in order."""
        key = (source, names)
        found = self._functions.get(key)
        if found is not None:
            self._functions.move_to_end(key)
            return found
        function = self._load(source, prefix(names))
        self._functions[key] = function
        self._source_bytes += len(source)
        while self._is_crowded():
            (old, _), _ = self._functions.popitem(last=False)
            self._source_bytes -= len(old)
        self._set_limit()
        return function

    def _is_crowded(self) -> bool:
        if len(self._functions) == 1:
            return False
        return (
            len(self._functions) > limits.RUNTIME_FUNCTIONS
            or self._source_bytes > limits.RUNTIME_SOURCE_BYTES
        )

    def _set_limit(self) -> None:
        """Gives a run its full memory, on top of what the loaded functions take."""
        self._lua.gccollect()
        self._memory_bytes = self._lua.get_memory_used(total=True) + limits.LUA_MEMORY_BYTES
        self._lua.set_max_memory(self._memory_bytes, total=True)

    def run_with_tables(self, function: _LuaFunction, variables: Variables, *, tests: bool) -> Any:
        """Runs a function with any values; raises `_OutOfMemory` when they are too much."""
        self._lua.set_max_memory(0)
        try:
            values = self._hand_over(variables)
        finally:
            self._lua.set_max_memory(self._memory_bytes, total=True)
        run = self._test_all if tests else self._value_all
        return run(function, *values)

    def _hand_over(self, variables: Variables) -> tuple[Any, int, Any]:
        """Values as Lua takes them: a list of the locals, their number, a table of the globals."""
        values = {
            name: value if type(value) in _SCALARS else self._table(value, 1)
            for name, value in variables.values.items()
        }
        if variables.gives_inputs:
            values[INPUTS] = self._lua.table_from(values)
        local_values = self._lua.table_from([values[name] for name in variables.locals])
        global_values = (
            self._lua.table_from({name: values[name] for name in variables.globals})
            if variables.globals
            else None
        )
        self._check_memory()
        return local_values, len(variables.locals), global_values

    def _table(self, value: JSON, depth: int) -> Any:
        if depth > limits.INPUT_NESTING:
            raise ScriptError(f"the inputs are nested deeper than {limits.INPUT_NESTING} levels")
        below = depth + 1
        parts: Any
        kind = type(value)
        if kind is dict or isinstance(value, Mapping):
            parts = {key: v if type(v) in _SCALARS else self._table(v, below) for key, v in value.items()}
        elif kind is list or isinstance(value, list | tuple):
            parts = [v if type(v) in _SCALARS else self._table(v, below) for v in value]
        else:
            raise ScriptError(f"a script cannot be given a {kind.__name__} (give it plain JSON)")
        self._check_memory()
        return self._lua.table_from(parts)

    def _check_memory(self) -> None:
        if self._lua.get_memory_used(total=True) > self._memory_bytes:
            raise _OutOfMemory

    def tidy(self) -> None:
        """Frees what a run left behind, if it is much."""
        if self._lua.get_memory_used() > limits.RUNTIME_KEPT_BYTES:
            self._lua.gccollect()


_SCALARS = frozenset({str, int, float, bool, type(None)})
_NUMBERS = frozenset({int, float, bool, type(None)})
"""What is small whatever its value."""


def _no_attributes(_object: object, _name: object, _is_setting: bool) -> str:
    raise AttributeError("Python objects are closed to scripts")


def _is_small(value: JSON) -> bool:
    """Whether a value needs no table and no look at the memory."""
    kind = type(value)
    return kind in _NUMBERS or (kind is str and len(value) <= SHORT_TEXT)


class LuaProgram:
    """A script that compiled. What it takes is known when it runs: inputs may be left out."""

    __slots__ = ("_gives_inputs", "_language", "_locals", "_mentioned", "_source")

    def __init__(self, language: Lua, source: str, purpose: Purpose) -> None:
        self._language = language
        self._source = source
        words = set(IDENTIFIER.findall(source))
        self._mentioned = sorted(words - NOT_LOCAL)
        """What could be an input. One that no word of the script names is not even converted."""
        self._gives_inputs = INPUTS in words and purpose in (Purpose.STEP, Purpose.PREDICATE)
        self._locals = limits.LUA_LOCALS
        """How many inputs become local variables; none, where the script has too many of its own."""

    def make_room(self, runtime: Runtime) -> None:
        """Finds out whether the script leaves room for local variables."""
        if not runtime.fits(self._source, prefix(self._mentioned[: self._locals])):
            self._locals = 0

    def holds(self, names: Mapping[str, JSON], document: JSON) -> bool:
        """Whether the script returns something other than false and nil."""
        result = self._run(names, tests=True)
        return result if isinstance(result, bool) else _raise(*result)

    def value(self, names: Mapping[str, JSON], document: JSON) -> JSON:
        """What the script returns; a table as an object or a list, an empty one as an object."""
        result = self._run(names, tests=False)
        if not isinstance(result, tuple):
            return result
        return orjson.loads(result[1]) if result[0] is True else _raise(*result)

    def _run(self, names: Mapping[str, JSON], *, tests: bool) -> Any:
        """Runs once; twice when a runtime was full of what earlier runs left behind."""
        runtime = self._language.take()
        try:
            result = self._call(runtime, names, tests=tests)
        except _OutOfMemory:
            try:
                runtime = Runtime()
                result = self._call(runtime, names, tests=tests)
            except _OutOfMemory:
                raise _full() from None
        if isinstance(result, tuple) and result[0] == "memory":
            raise _full(result[2])
        self._language.give_back(runtime)
        return result

    def _call(self, runtime: Runtime, names: Mapping[str, JSON], *, tests: bool) -> Any:
        given = tuple([name for name in self._mentioned if name in names])
        try:
            if not self._gives_inputs and len(given) <= self._locals:
                values = [names[name] for name in given]
                if all(map(_is_small, values)):
                    run = runtime.test if tests else runtime.value
                    return run(runtime.function(self._source, given), *values)
            variables = self._variables(names, given)
            function = runtime.function(self._source, variables.locals)
            return runtime.run_with_tables(function, variables, tests=tests)
        except lua54.LuaMemoryError as error:
            raise _full() from error
        except lua54.LuaError as error:
            raise ScriptError(f"the script failed: {str(error)[: limits.ERROR_CHARACTERS]}") from error
        except OverflowError as error:
            raise ScriptError("an integer of the inputs does not fit into 64 bits") from error
        except UnicodeEncodeError as error:
            raise ScriptError("a text of the inputs holds a lone surrogate") from error

    def _variables(self, names: Mapping[str, JSON], given: tuple[str, ...]) -> Variables:
        gives_inputs = self._gives_inputs and INPUTS not in names
        if gives_inputs:
            given = (*given, INPUTS)
        wanted = names if gives_inputs else {name: names[name] for name in given}
        return Variables(wanted, given[: self._locals], given[self._locals :], gives_inputs)


def _full(line: int | None = None) -> ScriptError:
    megabytes = limits.LUA_MEMORY_BYTES // (1024 * 1024)
    return ScriptError(f"the script used more than {megabytes} MB of memory", line=line)


def _raise(_kind: str, message: str, line: int | None) -> bool:
    raise ScriptError(message, line=line)


class Lua:
    """The language `lua`."""

    purposes = frozenset(Purpose)

    def __init__(self) -> None:
        self._idle: list[Runtime] = []
        """A stack: the last one used has the most of what the next run needs. Taking and giving back
        are single operations on a list, so threads need no lock."""

    def compile(self, source: str, purpose: Purpose) -> LuaProgram:
        """A program; raises `ScriptError` with line and column for text that does not compile."""
        check_source(source, limit=limits.LUA_SOURCE_BYTES)
        runtime, program = self.take(), None
        try:
            start, wrong, bytes_read = runtime.check(source)
            if not wrong:
                program = LuaProgram(self, start + source, purpose)
                program.make_room(runtime)
        except lua54.LuaError as error:
            raise _full() from error
        except UnicodeDecodeError as error:
            # What Lua names as the place may begin or end within a character.
            wrong, bytes_read = error.object.decode("utf-8", "backslashreplace"), len(source.encode())
        self.give_back(runtime)
        if program is None:
            raise _syntax_error(source, wrong, bytes_read)
        return program

    def take(self) -> Runtime:
        """An idle runtime, or a new one."""
        try:
            return self._idle.pop()
        except IndexError:
            return Runtime()

    def give_back(self, runtime: Runtime) -> None:
        """Keeps a runtime for the next run. One that is not given back is gone."""
        runtime.tidy()
        if len(self._idle) < limits.IDLE_RUNTIMES:
            self._idle.append(runtime)


def _syntax_error(source: str, message: str, bytes_read: int) -> ScriptError:
    """Finds the column that Lua does not tell: the token it names ends where it stopped reading."""
    found = NEAR.match(message)
    if found is None:
        return ScriptError(message, line=1, column=1)
    said, text, token = int(found[1]), found[2], found[3]
    offset = _characters(source, bytes_read)
    if token is not None:
        text = f"{text} near '{token}'"
        start = source.rfind(token, 0, offset)
        # What is not there as it is named is one strange byte; the one after it was read, too.
        offset = start if start >= 0 else _characters(source, bytes_read - 2)
    line, column = position(source, min(offset, len(source.rstrip())))
    return ScriptError(text, line=min(line, said), column=column)


def _characters(source: str, size: int) -> int:
    """How many characters the first bytes of a text are."""
    return len(source.encode()[: max(size, 0)].decode(errors="ignore"))
