"""From a parsed JSONPath to functions that evaluate it and count what they do.

Evaluation by RFC 9535: a query turns one value into the values it selects, segment by segment; a
filter is a test of each child. A part of the path becomes one function, made once. All that loops
over a document spends steps, so an evaluation ends however the path and the document are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from jsonpath.filter import (
    BaseExpression,
    FilterExpressionLiteral,
    FilterQuery,
    FunctionExtension,
    InfixExpression,
    Nil,
    PrefixExpression,
    RootFilterQuery,
)
from jsonpath.path import JSONPath
from jsonpath.segments import JSONPathRecursiveDescentSegment, JSONPathSegment
from jsonpath.selectors import (
    Filter,
    IndexSelector,
    JSONPathSelector,
    NameSelector,
    SliceSelector,
    WildcardSelector,
)

from argyll_redis.core.model import JSON
from argyll_redis.errors import ScriptError
from argyll_redis.scripting import limits
from argyll_redis.scripting.iregexp import compile_pattern

NOTHING: Final = object()
"""The value of a query that selects nothing (RFC 9535, `Nothing`)."""
CHARACTERS_A_STEP = 1_000
"""Comparing text this long costs about one step."""


class Run:
    """One evaluation: the document, and how many steps are left."""

    __slots__ = ("left", "root")

    def __init__(self, root: JSON) -> None:
        self.root = root
        self.left = limits.JPATH_STEPS

    def spend(self, steps: int) -> None:
        """Takes steps; raises `ScriptError` when there are none left."""
        self.left -= steps
        if self.left < 0:
            raise ScriptError(f"the path looked at more than {limits.JPATH_STEPS} values")


Values = Iterable[JSON]
Query = Callable[[JSON, Run], Values]
Segment = Callable[[Values, Run], Values]
Test = Callable[[JSON, Run], bool]
Operand = Callable[[JSON, Run], Any]
"""Gives a value or `NOTHING`."""


class Compiler:
    """Compiles one path; counts what the whole path has of what is limited."""

    def __init__(self) -> None:
        self._descents = 0
        self._depth = 0

    def query(self, path: JSONPath) -> Query:
        """What a path selects from a value."""
        if path.singular_query():
            single = _single(path)
            return lambda value, run: () if (found := single(value, run)) is NOTHING else (found,)
        segments = [self._segment(segment) for segment in path.segments]

        def select(value: JSON, run: Run) -> Values:
            values: Values = (value,)
            for segment in segments:
                values = segment(values, run)
            return values

        return select

    def _segment(self, segment: JSONPathSegment) -> Segment:
        descends = isinstance(segment, JSONPathRecursiveDescentSegment)
        if descends:
            self._descents += 1
            if self._descents > limits.JPATH_DESCENTS:
                raise ScriptError(
                    f"a path may have at most {limits.JPATH_DESCENTS} `..` (name the way instead)"
                )
        selectors = [self._selector(selector) for selector in segment.selectors]

        def children(values: Values, run: Run) -> Iterator[JSON]:
            for value in values:
                for select in selectors:
                    yield from select(value, run)

        if not descends:
            return children
        return lambda values, run: children(_descendants(values, run), run)

    def _selector(self, selector: JSONPathSelector) -> Query:
        if isinstance(selector, NameSelector):
            return _by_name(selector.name)
        if isinstance(selector, IndexSelector):
            return _by_index(selector.index)
        if isinstance(selector, SliceSelector):
            return _by_slice(selector.slice)
        if isinstance(selector, WildcardSelector):
            return _all_children
        if isinstance(selector, Filter):
            return _by_filter(self._test(selector.expression.expression))
        raise ScriptError(f"`{selector}` is not part of JSONPath (RFC 9535)")

    # ------------------------------------------------------------ expressions

    def _test(self, expression: BaseExpression) -> Test:
        self._depth += 1
        if self._depth > limits.JPATH_DEPTH:
            raise too_deep()
        test = self._test_of(expression)
        self._depth -= 1
        return test

    def _test_of(self, expression: BaseExpression) -> Test:
        if isinstance(expression, PrefixExpression):
            inner = self._test(expression.right)
            return lambda value, run: not inner(value, run)
        if isinstance(expression, InfixExpression):
            return self._logical(expression) if expression.logical else self._comparison(expression)
        if isinstance(expression, FilterQuery):
            query = self._nodes(expression)
            return lambda value, run: any(True for _ in query(value, run))
        if isinstance(expression, FunctionExtension) and expression.name in ("match", "search"):
            return self._regex(expression)
        raise ScriptError(f"`{expression}` cannot be a condition by itself (compare it with something)")

    def _logical(self, expression: InfixExpression) -> Test:
        left, right = self._test(expression.left), self._test(expression.right)
        if expression.operator == "&&":
            return lambda value, run: left(value, run) and right(value, run)
        return lambda value, run: left(value, run) or right(value, run)

    def _comparison(self, expression: InfixExpression) -> Test:
        left, right = self._operand(expression.left), self._operand(expression.right)
        compare = COMPARISONS[expression.operator]
        return lambda value, run: compare(left(value, run), right(value, run), run)

    def _nodes(self, expression: BaseExpression) -> Query:
        """The query of a filter: from the document (`$`), or from the child being tested (`@`)."""
        if not isinstance(expression, FilterQuery):
            raise ScriptError(f"`{expression}` is not a query")
        query = self.query(expression.path)
        if isinstance(expression, RootFilterQuery):
            return lambda _value, run: query(run.root, run)
        return query

    def _operand(self, expression: BaseExpression) -> Operand:
        if isinstance(expression, Nil):
            return lambda _value, _run: None
        if isinstance(expression, FilterExpressionLiteral):
            literal: Any = expression.value
            return lambda _value, _run: literal
        if isinstance(expression, FilterQuery) and expression.path.singular_query():
            single = _single(expression.path)
            if isinstance(expression, RootFilterQuery):
                return lambda _value, run: single(run.root, run)
            return single
        if isinstance(expression, FunctionExtension) and expression.name in ("length", "count", "value"):
            return self._function(expression)
        raise ScriptError(f"`{expression}` cannot be compared (it is not one value)")

    def _function(self, expression: FunctionExtension) -> Operand:
        (argument,) = expression.args
        if expression.name == "length":
            operand = self._operand(argument)
            return lambda value, run: _length(operand(value, run))
        query = self._nodes(argument)
        if expression.name == "count":
            return lambda value, run: sum(1 for _ in query(value, run))
        return lambda value, run: _only(query(value, run))

    def _regex(self, expression: FunctionExtension) -> Test:
        text, pattern = (self._operand(argument) for argument in expression.args)
        anywhere = expression.name == "search"

        def test(value: JSON, run: Run) -> bool:
            given, wanted = text(value, run), pattern(value, run)
            if not isinstance(given, str) or not isinstance(wanted, str):
                return False
            compiled = compile_pattern(wanted, anywhere=anywhere)
            return compiled is not None and compiled.matches(given, run.spend)

        return test


def too_deep() -> ScriptError:
    """The refusal of a path whose conditions are nested too deep."""
    return ScriptError(f"the path nests or chains conditions deeper than {limits.JPATH_DEPTH} levels")


# ------------------------------------------------------------------ selectors


def _single(path: JSONPath) -> Operand:
    """The one value that a path of names and indexes leads to."""
    keys: list[str | int] = [
        selector.name if isinstance(selector, NameSelector) else selector.index
        for segment in path.segments
        for selector in segment.selectors
        if isinstance(selector, NameSelector | IndexSelector)
    ]

    def follow(value: JSON, run: Run) -> Any:
        run.spend(len(keys))
        for key in keys:
            if isinstance(key, str):
                if not isinstance(value, dict) or key not in value:
                    return NOTHING
                value = value[key]
            else:
                if not isinstance(value, list) or not -len(value) <= key < len(value):
                    return NOTHING
                value = value[key]
        return value

    return follow


def _by_name(name: str) -> Query:
    def select(value: JSON, run: Run) -> Values:
        run.spend(1)
        return (value[name],) if isinstance(value, dict) and name in value else ()

    return select


def _by_index(index: int) -> Query:
    def select(value: JSON, run: Run) -> Values:
        run.spend(1)
        return (value[index],) if isinstance(value, list) and -len(value) <= index < len(value) else ()

    return select


def _by_slice(part: slice) -> Query:
    def select(value: JSON, run: Run) -> Values:
        run.spend(1)
        if not isinstance(value, list) or part.step == 0:
            return ()
        found = value[part]
        run.spend(len(found))
        return found

    return select


def _all_children(value: JSON, run: Run) -> Values:
    run.spend(1)
    if isinstance(value, dict):
        run.spend(len(value))
        return value.values()
    if isinstance(value, list):
        run.spend(len(value))
        return value
    return ()


def _by_filter(test: Test) -> Query:
    def select(value: JSON, run: Run) -> Iterator[JSON]:
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        for child in children:
            run.spend(1)
            if test(child, run):
                yield child

    return select


def _descendants(values: Values, run: Run) -> Iterator[JSON]:
    """Each value and all containers below it, parents first, in the order of the document."""
    for value in values:
        stack = [value]
        while stack:
            current = stack.pop()
            yield current
            children = list(_all_children(current, run))
            stack.extend(child for child in reversed(children) if isinstance(child, dict | list))


# ------------------------------------------------------------------- operators


def _length(value: Any) -> Any:
    return len(value) if isinstance(value, str | list | dict) else NOTHING


def _only(values: Values) -> Any:
    """The value of a query that selects exactly one."""
    found: Any = NOTHING
    for place, value in enumerate(values):
        if place == 1:
            return NOTHING
        found = value
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(left: Any, right: Any, run: Run) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        run.spend(len(left) // CHARACTERS_A_STEP)
        return left == right
    if _is_number(left) and _is_number(right):
        return left == right
    if isinstance(left, list) and isinstance(right, list):
        run.spend(1 + len(left))
        return len(left) == len(right) and all(_equal(a, b, run) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        run.spend(1 + len(left))
        return left.keys() == right.keys() and all(_equal(left[key], right[key], run) for key in left)
    return left is right  # true, false, null and Nothing; all else is of different types


def _less(left: Any, right: Any, run: Run) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        run.spend(len(left) // CHARACTERS_A_STEP)
        return left < right
    return _is_number(left) and _is_number(right) and left < right


COMPARISONS: dict[str, Callable[[Any, Any, Run], bool]] = {
    "==": _equal,
    "!=": lambda left, right, run: not _equal(left, right, run),
    "<": _less,
    ">": lambda left, right, run: _less(right, left, run),
    "<=": lambda left, right, run: _less(left, right, run) or _equal(left, right, run),
    ">=": lambda left, right, run: _less(right, left, run) or _equal(left, right, run),
}
