"""Lua and JSONPath sources: drawn from a grammar, hurt, or written to do harm; compiled and run."""

from __future__ import annotations

import resource
from typing import Any

from argyll_redis.core.model import AttributeType, Script
from argyll_redis.errors import ScriptError
from argyll_redis.scripting.evaluator import Evaluator
from argyll_redis.store.codec import check
from tests.fuzz.cases import Wrong
from tests.fuzz.draw import Draw
from tests.fuzz.script_corpus import HOSTILE_JPATH, HOSTILE_LUA

CLEAN_LUA = Script(
    language="lua",
    script="return leaked == nil and string.leaked == nil and ('x').leaked == nil and ('x'):len() == 1 "
    "and math.floor(1.5) == 1 and type(1) == 'number' and #{table.unpack({1, 2})} == 2 "
    "and ipairs ~= nil and getmetatable == nil and tostring(nil) == 'nil'",
)
"""True as long as nothing of another run is left."""
MEMORY_LIMIT_KB = 600 * 1024
"""The process may have this much more than at its beginning, at its peak."""
INPUTS: dict[str, Any] = {
    "a": [1, 2, {"a": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", "b": "(a*)*b"}],
    "b": "text \U0001f600",
    "value": {"a": {"a": [None, True, 1.5]}},
    "big": list(range(2_000)),
    "end": 1,
}
_NAMES = ("a", "b", "value", "big", "x", "y", "_G", "_ENV", "string", "math", "table", "leaked", "self")
_CALLS = (
    *("type", "tostring", "tonumber", "pairs", "ipairs", "next", "select", "error", "math.floor", "math.max"),
    *(
        "math.tointeger",
        "string.len",
        "string.sub",
        "string.format",
        "string.byte",
        "string.char",
        "string.upper",
    ),
    *(
        "string.reverse",
        "table.concat",
        "table.insert",
        "table.remove",
        "table.sort",
        "table.unpack",
        "utf8.char",
    ),
    *(
        "table.pack",
        "table.move",
        "utf8.len",
        "utf8.codepoint",
        "string.rep",
        "string.gsub",
        "setmetatable",
        "pcall",
    ),
)
_OPERATORS = (
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "^",
    "..",
    "==",
    "~=",
    "<",
    "<=",
    "and",
    "or",
    "&",
    "|",
    "~",
    "<<",
    ">>",
)
_ATOMS = (
    *("nil", "true", "false", "0", "1", "-1", "1.5", "1e308", "0x7fffffffffffffff", "math.huge", "''", "'a'"),
    *("'%s'", "{}", "{1,2}", "{a=1}", "...", "'\\0'", "'\\u{10ffff}'", "1e9", "100000"),
)
_LITERALS = ("1", "null", "true", "''", "$.b", "-1.5e3")


class Scripts:
    """Cases of somebody's scripts."""

    def __init__(self) -> None:
        self._evaluator = Evaluator()
        self._began_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._said: Any = None

    def close(self) -> None:
        pass

    def shown(self) -> str:
        return repr(self._said)

    def run(self, draw: Draw) -> None:
        language = "jpath" if draw.chance(30) else "lua"
        source = self._source(draw, language)
        purpose = draw.number(4)
        self._said = (language, purpose, source)
        script = Script(language=language, script=source)
        try:
            self._evaluate(script, purpose, draw)
        except ScriptError as error:
            if not str(error) or len(str(error)) > 10_000:
                raise Wrong(f"an error of {len(str(error))} characters") from None
        if not self._evaluator.predicate(CLEAN_LUA, {}):
            raise Wrong("something of the script is left for the next run")
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self._began_kb
        if grown_kb > MEMORY_LIMIT_KB:
            raise Wrong(f"the process has grown by {grown_kb // 1024} MB")

    def _evaluate(self, script: Script, purpose: int, draw: Draw) -> None:
        evaluator = self._evaluator
        match purpose:
            case 0:
                evaluator.compile(script, "step")
                given = evaluator.run(script, INPUTS, {"a": AttributeType.ARRAY})
                check(given, spare=1)
            case 1:
                evaluator.compile(script, "predicate")
                if not isinstance(evaluator.predicate(script, INPUTS), bool):
                    raise Wrong("a predicate gives something else than a bool")
            case 2:
                evaluator.match(script, draw.one(list(INPUTS.values())))
            case _:
                value = draw.one(list(INPUTS.values()))
                found = evaluator.mapping(script, value, inner=draw.one(("a", "end", "value")), is_list=True)
                if not repr(found).startswith("MISSING"):
                    check(found, spare=1)

    def _source(self, draw: Draw, language: str) -> str:
        hostile = HOSTILE_LUA if language == "lua" else HOSTILE_JPATH
        match draw.number(10):
            case 0 | 1:
                source = draw.one(hostile)
            case 2 | 3:
                source = draw.hurt(draw.one(hostile).encode("utf-8", "surrogatepass")).decode(
                    "utf-8", "replace"
                )
            case 4:
                joint = draw.one((" ", "\n", ";", " or ", ", ")) if language == "lua" else ""
                source = draw.one(hostile) + joint + draw.one(hostile)
            case _:
                source = _lua(draw) if language == "lua" else _jpath(draw)
        return source


def _lua(draw: Draw) -> str:
    return (
        " ".join(_statement(draw, 0) for _ in range(1 + draw.number(4))) + f" return {_expression(draw, 0)}"
    )


def _statement(draw: Draw, depth: int) -> str:
    def block() -> str:
        return " ".join(_statement(draw, depth + 1) for _ in range(1 + draw.number(2)))

    match draw.number(9 if depth < 3 else 3):
        case 0:
            return f"local {draw.one(('x', 'y', 't'))} = {_expression(draw, depth)}"
        case 1:
            return f"{draw.one(_NAMES)} = {_expression(draw, depth)}"
        case 2:
            return f"{draw.one(_NAMES)}.{draw.one(('leaked', 'a', 'len'))} = {_expression(draw, depth)}"
        case 3:
            return f"for i = {_expression(draw, 2)}, {_expression(draw, 2)} do {block()} end"
        case 4:
            return f"for k, v in pairs({_expression(draw, 2)}) do {block()} end"
        case 5:
            return f"if {_expression(draw, depth)} then {block()} else {block()} end"
        case 6:
            return f"while {_expression(draw, depth)} do {block()} end"
        case 7:
            return f"local function f(...) {block()} return f({_expression(draw, 2)}) end f()"
        case _:
            return f"do {block()} end"


def _expression(draw: Draw, depth: int) -> str:
    match draw.number(8 if depth < 4 else 2):
        case 0:
            return draw.one(_ATOMS)
        case 1:
            return draw.one(_NAMES)
        case 2 | 3:
            return f"({_expression(draw, depth + 1)} {draw.one(_OPERATORS)} {_expression(draw, depth + 1)})"
        case 4 | 5:
            given = ", ".join(_expression(draw, depth + 1) for _ in range(draw.number(4)))
            return f"{draw.one(_CALLS)}({given})"
        case 6:
            return (
                f"{{{_expression(draw, depth + 1)}, [{_expression(draw, depth + 1)}] = {draw.one(_ATOMS)}}}"
            )
        case _:
            return f"function(...) return {_expression(draw, depth + 1)} end"


def _jpath(draw: Draw) -> str:
    return "$" + "".join(_segment(draw, 0) for _ in range(draw.number(5)))


def _segment(draw: Draw, depth: int) -> str:
    match draw.number(8):
        case 0:
            return f".{draw.one(('a', 'b', 'value', 'big', '*', 'length'))}"
        case 1:
            return f"..{draw.one(('a', '*', '[0]', '[*]'))}"
        case 2:
            return f"[{draw.number(5) - 2}]"
        case 3:
            return f"[{draw.number(9) - 4}:{draw.number(9) - 4}:{draw.number(5) - 2}]"
        case 4:
            return f"['{draw.text()}']"
        case 5:
            return "[*, 0, 'a']"
        case _ if depth < 3:
            return f"[?{_filter(draw, depth + 1)}]"
        case _:
            return "[*]"


def _filter(draw: Draw, depth: int) -> str:
    inner = "@" + "".join(_segment(draw, depth) for _ in range(draw.number(3)))
    match draw.number(6):
        case 0:
            return inner
        case 1:
            return f"{inner} {draw.one(('==', '!=', '<', '>='))} {draw.one(_LITERALS)}"
        case 2:
            pattern = draw.one(("a*", "(a*)*b", "[^a]", ".", draw.text()))
            return f"{draw.one(('match', 'search'))}({inner}, '{pattern}')"
        case 3:
            return f"{draw.one(('length', 'count', 'value'))}({inner}) > 1"
        case 4 if depth < 3:
            return f"({_filter(draw, depth + 1)} {draw.one(('&&', '||'))} {_filter(draw, depth + 1)})"
        case _:
            return f"!({inner})"
