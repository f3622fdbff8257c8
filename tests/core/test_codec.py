"""JSON at the edges: what is refused, where, and that everything else survives the way through."""

from __future__ import annotations

import ast
import math
from collections import OrderedDict
from datetime import date
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argyll_redis.core import limits
from argyll_redis.core.model import AttributeType
from argyll_redis.core.values import type_matches, type_name
from argyll_redis.errors import InvalidInput
from argyll_redis.store.codec import check, decode, encode, encode_canonical, parse


def nested(levels: int) -> Any:
    """A list within a list, so many levels deep."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    BIG = 3


class Point(NamedTuple):
    x: int
    y: int


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(limits.MIN_INTEGER, limits.MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types: 1, 1.0 and true are three things, 0.0 and -0.0 two."""
    return repr(one) == repr(other)


def parsed_or_refused(data: bytes | str) -> Any:
    try:
        return parse(data)
    except InvalidInput as error:
        return error


@settings(max_examples=150, deadline=None)
@given(plain)
def test_every_plain_value_survives_check_encode_parse_and_decode(value: Any) -> None:
    data = encode(check(value))
    assert same(parse(data), value)
    assert same(decode(data), value)
    assert same(parse(data.decode()), value)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(), plain, max_size=6), st.randoms())
def test_canonical_bytes_do_not_depend_on_the_order_of_keys(value: dict[str, Any], random: Any) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert encode_canonical({key: value[key] for key in keys}) == encode_canonical(value)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40) | st.text(alphabet='{}[]":,0123456789eE.-nulltrfas\\ud', max_size=40))
def test_parse_never_raises_anything_but_its_own_refusal(data: bytes | str) -> None:
    found = parsed_or_refused(data)
    if isinstance(found, InvalidInput):
        assert len(found.problems) == 1
    else:
        assert same(parse(encode(found)), found)


REFUSED_TEXTS = [
    pytest.param("", "", "is empty", id="nothing"),
    pytest.param(" \r\n", "", "is empty", id="blanks"),
    pytest.param("nope", "line 1, column 1", "expecting value", id="no JSON"),
    pytest.param('{"a": 1,}', "line 1, column 9", "double quotes", id="trailing comma"),
    pytest.param("[1] 2", "line 1, column 5", "extra data", id="two documents"),
    pytest.param("\ufeff1", "", "begins with a byte order mark", id="byte order mark"),
    pytest.param('{"a": NaN}', "a", "nan is not a JSON number", id="NaN"),
    pytest.param("[1, -Infinity]", "[1]", "-inf is not a JSON number", id="infinity"),
    pytest.param('{"a": [1e400]}', "a[0]", "inf is not a JSON number", id="1e400"),
    pytest.param('{"a": {"b": 18446744073709551616}}', "a.b", "beyond 64 bit", id="2^64"),
    pytest.param("-9223372036854775809", "", "beyond 64 bit", id="-2^63 - 1"),
    pytest.param('{"n": ' + "9" * 5000 + "}", "n", "beyond 64 bit", id="5,000 digits"),
    pytest.param('{"a": {"k": 1, "k": 1}}', "a", "the key `k` occurs twice", id="duplicate key"),
    pytest.param('{"k": 1, "\\u006b": 2}', "", "the key `k` occurs twice", id="escaped duplicate"),
    pytest.param('["\\ud800"]', "[0]", "lone surrogate", id="lone surrogate"),
    pytest.param('{"\\udfff": 1}', "\\udfff", "lone surrogate", id="surrogate in a key"),
    pytest.param("[" * 65 + "]" * 65, "[0]" * 64, "more than 64 levels", id="65 levels"),
    pytest.param("[" * 100_000, "", "more than 64 levels", id="100,000 levels"),
    pytest.param('"a\nb"', "line 1, column 3", "control character", id="control character"),
]


@pytest.mark.parametrize(("text", "place", "what"), REFUSED_TEXTS)
def test_text_that_others_would_read_differently_is_refused_with_its_place(
    text: str, place: str, what: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse(text)
    (problem,) = refusal.value.problems
    assert (problem.path, what in problem.what, bool(problem.mend)) == (place, True, True)


def test_bytes_that_are_not_utf8_are_refused_with_the_byte() -> None:
    with pytest.raises(InvalidInput, match=r"byte 2: not valid UTF-8 \(send JSON as UTF-8\)"):
        parse(b'"a\xff"')


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ('"\\u0000\\ud83d\\ude00"', "\0\U0001f600"),
        ("1.0", 1.0),
        ("[" * 64 + "]" * 64, nested(64)),
        (' {"a": [true, null]} ', {"a": [True, None]}),
    ],
)
def test_what_is_just_within_the_rules_is_read_exactly(text: str, value: Any) -> None:
    assert same(parse(text), value)


@pytest.mark.parametrize(
    ("value", "plain_value"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        ({"a": Colour.RED}, {"a": "red"}),
        ({Colour.RED: 1}, {"red": 1}),
        ([Size.BIG], [3]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (Point(1, 2), [1, 2]),
        (True, True),
    ],
)
def test_tuples_and_subclasses_become_plain_values(value: Any, plain_value: Any) -> None:
    assert same(check(value), plain_value)


@pytest.mark.parametrize(
    ("value", "place", "what"),
    [
        ({"a": [1, {2}]}, "out.a[1]", "`builtins.set` is not JSON"),
        ({"when": date(2026, 1, 1)}, "out.when", "`datetime.date` is not JSON"),
        (b"x", "out", "`builtins.bytes` is not JSON"),
        ({"a": {1: 2}}, "out.a.1", "1 is not a key"),
        ({"a": math.inf}, "out.a", "inf is not a JSON number"),
        ([2**64], "out[0]", "beyond 64 bit"),
        (["\ud800"], "out[0]", "lone surrogate"),
        (nested(65), "out" + "[0]" * 64, "more than 64 levels"),
        ([0] * (limits.MAX_ARRAY_ELEMENTS + 1), "out", "more than 100,000 elements"),
    ],
)
def test_a_python_value_that_is_no_json_is_refused_with_its_path(value: Any, place: str, what: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check(value, "out")
    (problem,) = refusal.value.problems
    assert (problem.path, what in problem.what) == (place, True)


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(InvalidInput, match="more than 64 levels"):
        check(value)


def test_check_copies_so_that_later_changes_do_not_reach_what_was_checked() -> None:
    value = {"a": [1]}
    checked = check(value)
    value["a"].append(2)
    assert checked == {"a": [1]}


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        ("a", "string"),
        (1, "number"),
        (1.5, "number"),
        (True, "boolean"),
        ({}, "object"),
        ([], "array"),
        (None, "null"),
    ],
)
def test_a_value_has_its_own_type_any_and_none_declared_but_no_other(value: Any, declared: str) -> None:
    matching = {str(kind) for kind in AttributeType if type_matches(kind, value)}
    assert matching == {declared, "any"}
    assert type_matches(None, value)
    assert type_name(value) == declared


def test_every_limit_is_a_number_with_a_line_that_explains_it() -> None:
    body = ast.parse(Path(limits.__file__).read_text()).body[1:]
    names = [node.targets[0].id for node in body[::2]]  # type: ignore[attr-defined]
    lines = [ast.literal_eval(node.value) for node in body[1::2]]  # type: ignore[attr-defined]
    assert names == [name for name in vars(limits) if name.isupper()]
    assert all(isinstance(getattr(limits, name), int) for name in names)
    assert [line for line in lines if not isinstance(line, str) or "\n" in line] == []
