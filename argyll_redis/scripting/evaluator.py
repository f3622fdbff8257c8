"""What evaluates the scripts of steps, handed to the core and to whoever runs script steps.

It knows what a script of each purpose is given and what its result means; the languages know how to
run it. Compiled scripts are remembered by language, text and purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from argyll_redis.core.model import JSON, AttributeType, Script
from argyll_redis.core.values import shown
from argyll_redis.errors import ScriptError
from argyll_redis.scripting import limits
from argyll_redis.scripting.protocol import Language, Missing, Program, Purpose
from argyll_redis.scripting.registry import LANGUAGES

VALUE = "value"
"""The variable that a match or a mapping sees its value in."""
LUA = "lua"
"""The language in which an empty list and an empty object are one."""
RESULT = "result"
"""The output of a script step that returns something other than a table."""


class Evaluator:
    """Compiles and runs scripts. It may be used by several threads at a time.

    Every method raises `ScriptError`: for a script that does not compile, that fails, or that hits a
    limit; the message says which.
    """

    def __init__(self, languages: Mapping[str, Language] = LANGUAGES) -> None:
        self._languages = languages
        self._program = lru_cache(maxsize=limits.PROGRAMS)(self._compile)

    def compile(self, script: Script, purpose: str) -> None:
        """Checks a script for a purpose: `step`, `predicate`, `match` or `mapping`."""
        self._program(script.language, script.script, Purpose(purpose))

    def predicate(self, script: Script, inputs: Mapping[str, JSON]) -> bool:
        """Whether a step, or a work item, shall run with these inputs. Inputs are by inner name."""
        return self._program(script.language, script.script, Purpose.PREDICATE).holds(inputs, inputs)

    def match(self, script: Script, value: JSON) -> bool:
        """Whether a match gate lets a value through."""
        return self._program(script.language, script.script, Purpose.MATCH).holds({VALUE: value}, value)

    def mapping(self, script: Script, value: JSON, *, inner: str, is_list: bool = False) -> JSON | Missing:
        """What a mapping makes of a value; `MISSING` when a path finds nothing. Lua sees the value as
        `value` and under its inner name, a path starts at it. With `is_list` Lua's one empty table is a
        list."""
        names = {VALUE: value, inner: value}
        found = self._program(script.language, script.script, Purpose.MAPPING).value(names, value)
        return [] if is_list and found == {} and script.language == LUA else found

    def run(
        self,
        script: Script,
        inputs: Mapping[str, JSON],
        output_types: Mapping[str, AttributeType | None],
    ) -> dict[str, JSON]:
        """The outputs of a script step, by inner name, `output_types` likewise.

        An object is the outputs; any other value, a list included, is the output `result`. Lua has one
        empty table: it is a list where the declared type says so.
        """
        value = self._program(script.language, script.script, Purpose.STEP).value(inputs, inputs)
        if not isinstance(value, dict):
            return {RESULT: value}
        if not value and output_types == {RESULT: AttributeType.ARRAY}:
            return {RESULT: []}
        return {
            name: [] if output == {} and output_types.get(name) is AttributeType.ARRAY else output
            for name, output in value.items()
        }

    def _compile(self, language: str, source: str, purpose: Purpose) -> Program:
        found = self._languages.get(language)
        if found is None:
            known = ", ".join(sorted(self._languages))
            raise ScriptError(f'"{shown(language)}" is not a script language (use one of {known})')
        if purpose not in found.purposes:
            able = ", ".join(
                sorted(name for name, other in self._languages.items() if purpose in other.purposes)
            )
            raise ScriptError(f"{language} cannot be used for a {purpose} (use {able})")
        return found.compile(source, purpose)
