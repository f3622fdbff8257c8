"""JSONPath: RFC 9535 to the letter, and bounded whatever the path and the document are."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argyll_redis.errors import ScriptError
from argyll_redis.scripting.iregexp import compile_pattern
from argyll_redis.scripting.jpath import JPath
from argyll_redis.scripting.protocol import MISSING, Purpose

JPATH = JPath()
MAX_CPU_S = 1.0

BOOKS = [
    {"author": "Nigel Rees", "title": "Sayings of the Century", "price": 8.95},
    {"author": "Evelyn Waugh", "title": "Sword of Honour", "price": 12.99},
    {"author": "Herman Melville", "title": "Moby Dick", "isbn": "0-553-21311-3", "price": 8.99},
    {"author": "J. R. R. Tolkien", "title": "The Lord of the Rings", "isbn": "0-395-19395-8", "price": 22.99},
]
STORE = {"store": {"book": BOOKS, "bicycle": {"color": "red", "price": 399}}}
MIXED = {
    "a": [3, 5, 1, 2, 4, 6, {"b": "j"}, {"b": "k"}, {"b": {}}, {"b": "kilo"}],
    "o": {"p": 1, "q": 2, "r": 3, "s": 5, "t": {"u": 6}},
    "e": "f",
}


def find(path: str, document: Any) -> list[Any]:
    """All that a path finds."""
    program = JPATH.compile(f"$[0]{path[1:]}" if path.startswith("$") else path, Purpose.MAPPING)
    found: list[Any] = list(program._found([document]))
    return found


def value(path: str, document: Any) -> Any:
    return JPATH.compile(path, Purpose.MAPPING).value({}, document)


def holds(path: str, document: Any) -> bool:
    return JPATH.compile(path, Purpose.PREDICATE).holds({}, document)


def failure(path: str, document: Any = None) -> ScriptError:
    with pytest.raises(ScriptError) as caught:
        value(path, document)
    return caught.value


# --------------------------------------------------------------------- RFC 9535


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$.store.book[*].author", [book["author"] for book in BOOKS]),
        ("$..author", [book["author"] for book in BOOKS]),
        ("$.store.*", [BOOKS, {"color": "red", "price": 399}]),
        ("$.store..price", [399, 8.95, 12.99, 8.99, 22.99]),
        ("$..book[2].author", ["Herman Melville"]),
        ("$..book[2].publisher", []),
        ("$..book[-1].title", ["The Lord of the Rings"]),
        ("$..book[:2].title", ["Sayings of the Century", "Sword of Honour"]),
        ("$..book[0,1].price", [8.95, 12.99]),
        ("$..book[?@.isbn].title", ["Moby Dick", "The Lord of the Rings"]),
        ("$..book[?@.price<10].title", ["Sayings of the Century", "Moby Dick"]),
        ("$['store']['bicycle']['color']", ["red"]),
        ('$["store"]["bicycle"]', [{"color": "red", "price": 399}]),
    ],
)
def test_the_bookstore_of_the_rfc(path: str, expected: list[Any]) -> None:
    assert sorted(map(str, find(path, STORE))) == sorted(map(str, expected))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$.a[?@.b == 'kilo']", [{"b": "kilo"}]),
        ("$.a[?(@.b == 'kilo')]", [{"b": "kilo"}]),
        ("$.a[?@>3.5]", [5, 4, 6]),
        ("$.a[?@.b]", [{"b": "j"}, {"b": "k"}, {"b": {}}, {"b": "kilo"}]),
        ("$[?@.*]", [MIXED["a"], MIXED["o"]]),
        ("$[?@[?@.b]]", [MIXED["a"]]),
        ("$.o[?@<3, ?@<3]", [1, 2, 1, 2]),
        ('$.a[?@<2 || @.b == "k"]', [1, {"b": "k"}]),
        ('$.a[?match(@.b, "[jk]")]', [{"b": "j"}, {"b": "k"}]),
        ('$.a[?search(@.b, "[jk]")]', [{"b": "j"}, {"b": "k"}, {"b": "kilo"}]),
        ("$.o[?@>1 && @<4]", [2, 3]),
        ("$.o[?@.u || @.x]", [{"u": 6}]),
        ("$.a[?@.b == $.x]", [3, 5, 1, 2, 4, 6]),
        ("$.a[?@ == @]", MIXED["a"]),
        ("$[?length(@) < 3]", ["f"]),
        ("$.a[?count(@.*) == 1]", [{"b": "j"}, {"b": "k"}, {"b": {}}, {"b": "kilo"}]),
        ("$.a[?value(@..b) == 'j']", [{"b": "j"}]),
        ("$.a[?!@.b]", [3, 5, 1, 2, 4, 6]),
        ("$.a[1:3]", [5, 1]),
        ("$.a[5:]", [6, {"b": "j"}, {"b": "k"}, {"b": {}}, {"b": "kilo"}]),
        ("$.a[1:5:2]", [5, 2]),
        ("$.a[5:1:-2]", [6, 2]),
        ("$.a[::-1][0]", []),
        ("$.a[1:1:0]", []),
        ("$.a[-100:1]", [3]),
        ("$.o[0]", []),
        ("$.e[0]", []),
        ("$.e.length", []),
    ],
)
def test_filters_and_slices_of_the_rfc(path: str, expected: list[Any]) -> None:
    rooted = path.replace("$.x", "$[0].x")
    assert find(rooted, MIXED) == expected


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        ("@.absent1 == @.absent2", True),
        ("@.absent1 <= @.absent2", True),
        ("@.absent == 'g'", False),
        ("@.absent != 'g'", True),
        ("1 <= 2", True),
        ("1 > 2", False),
        ("13 == '13'", False),
        ("'a' <= 'b'", True),
        ("'a' > 'b'", False),
        ("@.obj == @.arr", False),
        ("@.obj != @.arr", True),
        ("@.obj == @.obj", True),
        ("@.arr == @.arr", True),
        ("@.obj <= @.arr", False),
        ("@.arr <= @.arr", True),
        ("1 <= @.arr", False),
        ("1 >= @.arr", False),
        ("true <= true", True),
        ("true > true", False),
        ("@.yes == 1", False),
        ("@.nested == @.nested_bool", False),
        ("@.null == null", True),
        ("@.null == @.absent", False),
        ("@.one == 1.0", True),
        ("@.big == 9007199254740993", True),
        ("@.big == 9007199254740992", False),
        ("length(@.text) == 2", True),
        ("length(@.one) == @.absent", True),
    ],
)
def test_comparisons_of_the_rfc(comparison: str, expected: bool) -> None:
    item = {
        "obj": {"x": "y"},
        "arr": [2, 3],
        "yes": True,
        "nested": [1],
        "nested_bool": [True],
        "null": None,
        "one": 1,
        "big": 9007199254740993,
        "text": "é\U0001f600",
    }
    assert holds(f"$[?{comparison}]", [item]) is expected


@pytest.mark.parametrize("document", [0, "", False, None, [], {}])
def test_what_is_there_exists_whatever_its_value(document: Any) -> None:
    assert holds("$[?@]", [document]) is True
    assert holds("$", document) is True


def test_a_document_that_is_text_is_that_text() -> None:
    assert value("$", '{"a": 1}') == '{"a": 1}'
    assert value("$", "[1") == "[1"
    assert value("$.a", '{"a": 1}') is MISSING


def test_names_may_be_any_unicode() -> None:
    assert value("$.\U0001f600.é", {"\U0001f600": {"é": 1}}) == 1
    assert value(r"$['\u00e9\uD83D\uDE00\'']", {"é\U0001f600'": 1}) == 1


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ("a", 1, 1),
        (" $.a", 1, 1),
        ("$.", 1, 3),
        ("$[", 1, 3),
        ("$.a[?@.b = 1]", 1, 10),
        ("$.a\n.b[x]", 2, 4),
        ("$.a | $.b", 1, 5),
        ("$[?foo(@.a)]", 1, 4),
        ("$[?match(@.a)]", 1, 4),
        ("$[?length(@.a)]", 1, 3),
        ("$[?@..a == 1]", 1, 9),
        ("$[01]", 1, 3),
        ("$.a ", 1, 4),
        ("$[?@.a == 01]", 1, 11),
    ],
)
def test_what_is_no_path_is_refused_with_line_and_column(path: str, line: int, column: int) -> None:
    found = failure(path)
    assert (found.line, found.column) == (line, column)


@pytest.mark.parametrize(
    "path",
    [
        "$[?@.a == 1 == true]",
        "$[?!@.a == 1]",
        "$[?@.a == (1 == 1)]",
        "$[?@.p == :1.5]",
        "$[?true]",
        "$['a",
        "$[?@.a == 1e9999]",
    ],
)
def test_what_the_grammar_does_not_have_is_refused(path: str) -> None:
    assert str(failure(path))


# ---------------------------------------------------------------------- results


@pytest.mark.contract(
    "inputs", "JSONPath as a mapping: one match is the value, several the list, none leaves it."
)
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$.a", [1, 2]),
        ("$.a[*]", [1, 2]),
        ("$.a[0]", 1),
        ("$.n", None),
        ("$.nothing", MISSING),
        ("$.e[*]", MISSING),
        ("$..x", 5),
    ],
)
def test_one_match_is_the_value_several_are_the_list_none_is_missing(path: str, expected: Any) -> None:
    assert value(path, {"a": [1, 2], "n": None, "e": [], "d": [{"x": 5}]}) == expected


@pytest.mark.contract("inputs", "JSONPath as a predicate: a null that is found counts.")
def test_a_null_is_a_match() -> None:
    assert holds("$.n", {"n": None}) is True
    assert holds("$.m", {"n": None}) is False


# ---------------------------------------------------------------------- hostile

ROWS = [{"a": number, "b": [number] * 3} for number in range(3_000)]
DEEP = "the path nests or chains conditions deeper than 64 levels"
DESCENTS = "a path may have at most 2 `..` (name the way instead)"
STATES = "the regular expression needs more than 1000 states"
STEPS = "the path looked at more than 500000 values"
HOSTILE: dict[str, tuple[str, Any, str]] = {
    "three descents": ("$..a..b..c", ROWS, DESCENTS),
    "three in a filter": ("$..a[?@..b && @..c]", ROWS, DESCENTS),
    "all within all": ("$..[?$..c]", ROWS, STEPS),
    "counting all for each": ("$[?count($..*) > 1]", ROWS, STEPS),
    "filters within filters": ("$[?count($[?count($[?@.c]) > 1]) > 1]", ROWS, STEPS),
    "equal lists": ("$[?@ == $[0]]", [[1] * 1_000] * 1_000, STEPS),
    "everything": ("$..*", ROWS, "the path finds more than 10000 values"),
    "the same again": ("$[0,0,0]", ["x" * 600_000], "the result is larger than 1048576 bytes"),
    "parentheses": (f"$[?{'(' * 1_000}@.a{')' * 1_000}]", [], DEEP),
    "filters": (f"${'[?@' * 200}{']' * 200}", [], DEEP),
    "negations": (f"$[?{'!' * 500}@.a]", [], DEEP),
    "a long chain": (f"$[?{'||'.join(['@.a'] * 600)}]", [], DEEP),
    "a long source": (
        f"$.{'a' * 4_095}",
        [],
        "the script has 4097 bytes, 4096 are allowed (make it shorter)",
    ),
    "many states": ("$[?match(@, '((a{1,30}){1,30}){1,30}')]", ["a"], STATES),
    "a large count": ("$[?match(@, 'a{1000000}')]", ["a"], STATES),
    "a huge count": ("$[?match(@, 'a{99999999}')]", ["a"], STATES),
    "nested groups": (
        f"$[?match(@, '{'(' * 100}{')' * 100}')]",
        ["a"],
        "the regular expression is nested deeper than 32 levels",
    ),
    "a long expression": (
        f"$[?match(@, '{'a' * 1_025}')]",
        ["a"],
        "a regular expression has at most 1024 characters",
    ),
}


@pytest.mark.contract("inputs", "A path is ended at its limits.")
@pytest.mark.parametrize("name", HOSTILE)
def test_no_path_runs_away(name: str) -> None:
    path, document, message = HOSTILE[name]
    start = time.thread_time()
    assert str(failure(path, document)) == message
    assert time.thread_time() - start < MAX_CPU_S


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a+)+b", "a" * 50_000),
        ("(a|aa)+c", "a" * 50_000),
        ("(.*)*(.*)*(.*)*x", "ab" * 50_000),
        ("(a?){30}a{30}", "a" * 29),
        ("([a-z]+)*[0-9]", "abc" * 20_000),
    ],
)
def test_regular_expressions_take_time_linear_in_the_text(pattern: str, text: str) -> None:
    start = time.thread_time()
    assert holds(f"$[?match(@, '{pattern}')]", [text] * 3) is False
    assert time.thread_time() - start < MAX_CPU_S


def test_a_filter_stops_at_its_first_match() -> None:
    assert len(value("$[?$[?$[?@.a]]]", ROWS)) == 3_000


def test_a_document_of_a_hundred_thousand_values_is_searched() -> None:
    document = {"items": [{"n": number} for number in range(100_000)]}
    assert value("$.items[?@.n == 99999].n", document) == 99_999


def test_a_document_of_64_levels_is_searched() -> None:
    document: Any = {"leaf": 1}
    for _ in range(64):
        document = [document]
    assert value("$..leaf", document) == 1


# ---------------------------------------------------------- regular expressions


def _no_limit(_steps: int) -> None:
    return


def matches(pattern: str, text: str, *, anywhere: bool = False) -> bool | None:
    compiled = compile_pattern(pattern, anywhere=anywhere)
    return None if compiled is None else compiled.matches(text, _no_limit)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("", "a", False),
        ("a.c", "abc", True),
        ("a.c", "a\nc", False),
        ("a.c", "a\rc", False),
        ("a.c", "a\u2028c", True),
        (r"a\.c", "a.c", True),
        (r"\p{Lu}+", "ÀÉ", True),
        (r"\p{L}\P{L}", "a1", True),
        (r"[\p{Nd}_-]+", "1_-2", True),
        (r"[^\p{L}]", "1", True),
        (r"[^a-c]", "d", True),
        ("[-a]", "-", True),
        ("[a-]", "-", True),
        (r"[\]\[]+", "[]", True),
        (r"\n\t\r", "\n\t\r", True),
        ("a{2}", "aa", True),
        ("a{2}", "aaa", False),
        ("a{2,}", "aaaa", True),
        ("a{1,2}", "aaa", False),
        ("a{0}", "", True),
        ("(ab|c)*d", "abcabd", True),
        ("^a", "^a", True),
        ("a$", "a$", True),
        ("\U0001f600?", "\U0001f600", True),
    ],
)
def test_regular_expressions_of_rfc_9485(pattern: str, text: str, expected: bool) -> None:
    assert matches(pattern, text) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        ")",
        "a)",
        "[",
        "[]",
        "[a",
        "[b-a]",
        "*",
        "a**",
        "a{",
        "a{1",
        "a{2,1}",
        "a{,2}",
        "\\",
        r"\d",
        r"\w",
        r"(?:a)",
        r"\1",
        r"\p{X}",
        r"\p{Lx}",
        r"\p{",
        r"\u0041",
        "[a-b-c]",
        "]",
        "}",
    ],
)
def test_what_is_no_i_regexp_never_matches(pattern: str) -> None:
    assert matches(pattern, "a") is None
    assert holds("$[?match(@.t, @.p)]", [{"t": pattern, "p": pattern}]) is False


PARTS = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "[a-c]"]),
    lambda part: st.one_of(
        st.tuples(part, part).map("".join),
        st.tuples(part, part).map(lambda both: f"({both[0]}|{both[1]})"),
        st.tuples(part, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,1}", "{1,}"])).map(
            lambda both: f"({both[0]}){both[1]}"
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(PARTS, st.text("abcd", max_size=8), st.booleans())
def test_matching_agrees_with_the_backtracking_library(pattern: str, text: str, anywhere: bool) -> None:
    search = re.search if anywhere else re.fullmatch
    assert matches(pattern, text, anywhere=anywhere) is bool(search(pattern, text))
