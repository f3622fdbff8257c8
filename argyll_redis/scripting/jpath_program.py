"""Paths as programs: parsed, compiled, and evaluated within limits.

python-jsonpath parses and checks a path; `jpath_compile.py` makes functions of it. The library's own
evaluation is not used: it cannot be bounded (a filter within a filter walks a document squared), it
reads a document that is text as JSON, and it takes an `@` that is 0 or "" for missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import orjson
from jsonpath import JSONPathEnvironment
from jsonpath.exceptions import JSONPathError, JSONPathSyntaxError
from jsonpath.filter import BaseExpression, IntegerLiteral
from jsonpath.lex import Lexer
from jsonpath.parse import Parser
from jsonpath.path import JSONPath
from jsonpath.stream import TokenStream

from argyll_redis.core.model import JSON
from argyll_redis.errors import ScriptError
from argyll_redis.scripting import limits
from argyll_redis.scripting.jpath_compile import Compiler, Query, Run, too_deep
from argyll_redis.scripting.protocol import MISSING, position

INTEGER = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:[eE]\+?([0-9]{1,3}))?")
"""An integer literal. Exponents of four digits are beyond any number that JSON is exchanged with."""


TOKEN = re.compile(r"'TOKEN_(\w+)'")


def _in_words(name: re.Match[str]) -> str:
    return name[1].lower().replace("_", " ")


class _Lexer(Lexer):
    """Takes names with any character beyond ASCII, as RFC 9535 does."""

    key_pattern = r"[\u0080-\U0010FFFFa-zA-Z_][\u0080-\U0010FFFFa-zA-Z0-9_]*"


class _Parser(Parser):
    """Reads integers exactly; the library's own goes through a float."""

    def parse_integer_literal(self, stream: TokenStream) -> BaseExpression:
        token = stream.next()
        found = INTEGER.fullmatch(token.value)
        if found is None:
            raise JSONPathSyntaxError("invalid integer literal", token=token)
        return IntegerLiteral(value=int(found[1]) * 10 ** int(found[2] or 0))


class _Environment(JSONPathEnvironment):
    lexer_class = _Lexer
    parser_class = _Parser


_ENVIRONMENT = _Environment(strict=True)


class JPathProgram:
    """A path that compiled."""

    __slots__ = ("_query",)

    def __init__(self, query: Query) -> None:
        self._query = query

    def holds(self, names: Mapping[str, JSON], document: JSON) -> bool:
        """Whether the path finds anything in the document; a null is something."""
        return any(True for _ in self._found(document))

    def value(self, names: Mapping[str, JSON], document: JSON) -> JSON:
        """The one value that the path finds, the list of several, or `MISSING`."""
        values: list[JSON] = []
        size = 0
        for value in self._found(document):
            values.append(value)
            if len(values) > limits.JPATH_MATCHES:
                raise ScriptError(f"the path finds more than {limits.JPATH_MATCHES} values")
            size += _size(value)
            if size > limits.RESULT_BYTES:
                raise ScriptError(f"the result is larger than {limits.RESULT_BYTES} bytes")
        if not values:
            return MISSING
        return values[0] if len(values) == 1 else values

    def _found(self, document: JSON) -> Iterable[JSON]:
        root = (
            dict(document) if isinstance(document, Mapping) and not isinstance(document, dict) else document
        )
        return self._query(root, Run(root))


def _size(value: JSON) -> int:
    """Bytes of a value as JSON, with the comma after it."""
    try:
        return len(orjson.dumps(value)) + 1
    except TypeError as error:
        raise ScriptError(f"the result is not plain JSON: {error}") from error


def compile_path(source: str) -> JPathProgram:
    """A program; raises `ScriptError` with line and column for text that is no path."""
    return JPathProgram(Compiler().query(_parse(source)))


def _parse(source: str) -> JSONPath:
    if not source.startswith("$"):
        raise ScriptError("a path begins with `$`", line=1, column=1)
    try:
        path = _ENVIRONMENT.compile(source)
    except RecursionError as error:
        raise too_deep() from error
    except JSONPathError as error:
        offset = error.token.index if error.token is not None else -1
        line, column = position(source, offset if offset >= 0 else len(source))
        raise ScriptError(TOKEN.sub(_in_words, str(error.message)), line=line, column=column) from error
    except Exception as error:
        # The parser is somebody else's and the text may be anybody's: what it did not foresee is wrong too.
        raise ScriptError(f"the path is not valid JSONPath: {error}") from error
    if not isinstance(path, JSONPath):
        raise ScriptError("unions and intersections of paths are not part of JSONPath (RFC 9535)")
    return path
