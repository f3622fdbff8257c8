"""The evaluator: what scripts of each purpose are given, and what their results mean."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from argyll_redis.core.model import JSON, AttributeType, Script
from argyll_redis.errors import ScriptError
from argyll_redis.scripting import LANGUAGES, MISSING, Evaluator, Purpose

EVALUATOR = Evaluator()


def lua(source: str) -> Script:
    return Script("lua", source)


def jpath(source: str) -> Script:
    return Script("jpath", source)


# -------------------------------------------------------------------- compiling


@pytest.mark.contract("inputs", "Every installation has the same languages.")
def test_every_installation_has_the_same_two_languages() -> None:
    assert sorted(LANGUAGES) == ["jpath", "lua"]


@pytest.mark.parametrize("purpose", ["step", "predicate", "match", "mapping"])
def test_lua_is_for_everything(purpose: str) -> None:
    EVALUATOR.compile(lua("return true"), purpose)


@pytest.mark.parametrize("purpose", ["predicate", "match", "mapping"])
def test_jpath_is_for_all_but_steps(purpose: str) -> None:
    EVALUATOR.compile(jpath("$.a"), purpose)


@pytest.mark.parametrize(
    ("script", "purpose", "message"),
    [
        (Script("js", "1"), "step", '"js" is not a script language (use one of jpath, lua)'),
        (Script("", "1"), "step", '"" is not a script language (use one of jpath, lua)'),
        (jpath("$.a"), "step", "jpath cannot be used for a step (use lua)"),
        (lua(" \n"), "match", "the script is empty (write an expression)"),
        (lua("x = '\ud800'"), "match", "the script holds a lone surrogate (write valid Unicode)"),
        (lua("if"), "predicate", "line 1, column 3: unexpected symbol near <eof>"),
        (jpath("a"), "mapping", "line 1, column 1: a path begins with `$`"),
        (lua("-" * 65_537), "step", "the script has 65537 bytes, 65536 are allowed (make it shorter)"),
        (jpath("$" * 4_097), "match", "the script has 4097 bytes, 4096 are allowed (make it shorter)"),
    ],
)
def test_what_cannot_be_compiled_is_refused(script: Script, purpose: str, message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        EVALUATOR.compile(script, purpose)
    assert str(caught.value).startswith(message.removesuffix(" near <eof>"))


def test_a_refusal_by_size_comes_before_any_work() -> None:
    with pytest.raises(ScriptError):
        EVALUATOR.compile(lua("x" * 10_000_000), "step")


class CountingLanguage:
    """A language whose scripts are true, and that counts how often it compiled one."""

    purposes = frozenset(Purpose)

    def __init__(self) -> None:
        self.compiled: list[tuple[str, Purpose]] = []

    def compile(self, source: str, purpose: Purpose) -> CountingLanguage:
        self.compiled.append((source, purpose))
        return self

    def holds(self, names: Mapping[str, JSON], document: JSON) -> bool:
        return True

    def value(self, names: Mapping[str, JSON], document: JSON) -> JSON:
        return [dict(names), document]


def test_a_script_is_compiled_once_a_purpose() -> None:
    language = CountingLanguage()
    evaluator = Evaluator({"count": language})
    for _ in range(3):
        evaluator.compile(Script("count", "a"), "predicate")
        evaluator.predicate(Script("count", "a"), {})
        evaluator.match(Script("count", "a"), 1)
    assert language.compiled == [("a", Purpose.PREDICATE), ("a", Purpose.MATCH)]


def test_what_does_not_compile_is_not_remembered_as_good() -> None:
    for _ in range(2):
        with pytest.raises(ScriptError):
            EVALUATOR.compile(lua("return +"), "step")


# ------------------------------------------------------------------- predicates


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (lua("return amount > 100"), True),
        (lua("amount > 1000"), False),
        (lua("customer.tier == 'gold' and #items == 2"), True),
        (lua("inputs['order-id'] == 'o1'"), True),
        (lua("missing"), False),
        (jpath("$.amount"), True),
        (jpath("$.missing"), False),
        (jpath("$.nothing"), True),
        (jpath("$.items[?@.price > 10]"), True),
        (jpath("$[?@ > 1000]"), False),
        (jpath("$['order-id']"), True),
    ],
)
def test_a_predicate_sees_the_inputs(script: Script, expected: bool) -> None:
    inputs = {
        "amount": 500,
        "customer": {"tier": "gold"},
        "items": [{"price": 5}, {"price": 50}],
        "nothing": None,
        "order-id": "o1",
    }
    assert EVALUATOR.predicate(script, inputs) is expected
    assert EVALUATOR.predicate(script, MappingProxyType(inputs)) is expected


def test_a_predicate_that_raises_says_so() -> None:
    with pytest.raises(ScriptError) as caught:
        EVALUATOR.predicate(lua("\nreturn amount > 1"), {})
    assert (str(caught.value), caught.value.line) == ("line 2: attempt to compare number with nil", 2)


# ---------------------------------------------------------------------- matches


@pytest.mark.parametrize(
    ("script", "value", "expected"),
    [
        (lua("value > 3"), 5, True),
        (lua("value > 3"), 3, False),
        (lua("value.state == 'done'"), {"state": "done"}, True),
        (lua("value"), None, False),
        (lua("inputs == nil"), 1, True),
        (jpath("$"), None, True),
        (jpath("$"), "text", True),
        (jpath("$.state"), {"state": None}, True),
        (jpath("$.state"), "text", False),
        (jpath("$[?@ > 3]"), [1, 5], True),
    ],
)
def test_a_match_sees_one_value(script: Script, value: Any, expected: bool) -> None:
    assert EVALUATOR.match(script, value) is expected


# --------------------------------------------------------------------- mappings


@pytest.mark.parametrize(
    ("script", "inner", "expected"),
    [
        (lua("value.a * 2"), "a", 4),
        (lua("price.a * 2"), "price", 4),
        (lua("value.a + price.a"), "price", 4),
        (lua("value.a"), "no-lua-name", 2),
        (lua("value.missing"), "a", None),
        (lua("return {a = value.a, list = {1}}"), "a", {"a": 2, "list": [1]}),
        (lua("{}"), "a", {}),
        (jpath("$.a"), "price", 2),
        (jpath("$.l[*]"), "price", [1, 2]),
        (jpath("$.missing"), "price", MISSING),
    ],
)
def test_a_mapping_transforms_a_value(script: Script, inner: str, expected: Any) -> None:
    value = {"a": 2, "l": [1, 2]}
    assert EVALUATOR.mapping(script, value, inner=inner) == expected


@pytest.mark.parametrize(("script", "expected"), [(lua("{}"), []), (jpath("$.map"), {})])
def test_an_empty_table_is_a_list_where_one_is_declared(script: Script, expected: Any) -> None:
    assert EVALUATOR.mapping(script, {"map": {}}, inner="a", is_list=True) == expected


def test_missing_is_not_null() -> None:
    assert EVALUATOR.mapping(jpath("$.a"), {}, inner="a") is MISSING
    assert EVALUATOR.mapping(jpath("$.a"), {"a": None}, inner="a") is None
    assert repr(MISSING) == "MISSING"


# ------------------------------------------------------------------------ steps


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("return {total = a + 1, note = 'x'}", {"total": 3, "note": "x"}),
        ("return {}", {}),
        ("return a * 2", {"result": 4}),
        ("return 'text'", {"result": "text"}),
        ("return {1, 2}", {"result": [1, 2]}),
        ("return nil", {"result": None}),
        ("local x = 1", {"result": None}),
        ("return {list = {}}", {"list": {}}),
    ],
)
def test_a_table_is_the_outputs_and_any_other_value_the_result(source: str, expected: dict[str, Any]) -> None:
    assert EVALUATOR.run(lua(source), {"a": 2}, {}) == expected


@pytest.mark.parametrize(
    ("source", "types", "expected"),
    [
        (
            "return {list = {}, map = {}}",
            {"list": AttributeType.ARRAY, "map": AttributeType.OBJECT},
            {"list": [], "map": {}},
        ),
        ("return {list = {}}", {"list": None}, {"list": {}}),
        ("return {list = {}}", {"list": AttributeType.ANY}, {"list": {}}),
        ("return {list = {x = 1}}", {"list": AttributeType.ARRAY}, {"list": {"x": 1}}),
        ("return {}", {"result": AttributeType.ARRAY}, {"result": []}),
        ("return {}", {"result": None}, {}),
        ("return {}", {"result": AttributeType.ARRAY, "other": None}, {}),
    ],
)
def test_an_empty_table_is_a_list_where_the_output_is_declared_as_one(
    source: str, types: dict[str, AttributeType | None], expected: dict[str, Any]
) -> None:
    assert EVALUATOR.run(lua(source), {}, types) == expected


def test_a_step_that_fails_says_what_and_where() -> None:
    with pytest.raises(ScriptError) as caught:
        EVALUATOR.run(lua("\nwhile true do end"), {}, {})
    assert str(caught.value) == "line 2: the script used more than 1000000 instructions"
