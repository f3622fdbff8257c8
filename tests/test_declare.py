"""Declaring: what becomes of a function's signature, and what is refused."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, Optional, TypedDict, TypeVar, Union

import pytest

from argyll_redis.core.model import Backoff, OnFailure, Script
from argyll_redis.core.parse import parse_step
from argyll_redis.declare import Declared, Retry, declare
from argyll_redis.errors import InvalidStep
from argyll_redis.steps.context import Accepted, StepContext

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForCheckers

T = TypeVar("T")
CustomerId = NewType("CustomerId", str)


class Price(TypedDict, total=False):
    total: float
    tax: Annotated[int, "cents"]
    note: str | None


class Color(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Money:
    """No JSON type."""


class CardDeclined(Exception):
    """Nothing to retry."""


def attributes(function: Callable[..., Any], **options: Any) -> dict[str, Any]:
    return declare(function, **options).definition["attributes"]


def input_type(hint: Any, **options: Any) -> str | None:
    """The attribute type of a parameter with a hint."""

    def step(x): ...

    step.__annotations__ = {"x": hint}
    return attributes(step, **options)["x"].get("type")


def output_type(hint: Any, **options: Any) -> str | None:
    def step(x): ...

    step.__annotations__ = {"return": hint}
    return attributes(step, outputs="out", **options)["out"].get("type")


def problems(function: Any, **options: Any) -> list[str]:
    with pytest.raises(InvalidStep) as caught:
        declare(function, **options)
    return [str(problem) for problem in caught.value.problems]


# ------------------------------------------------------------------- definition


def test_a_function_becomes_a_definition() -> None:
    def price(order: dict, customer: Mapping[str, Any], n: int = 3, *, note: str = "é") -> Price: ...

    declared = declare(
        price,
        outputs=("total", "tax"),
        retry=Retry(max_attempts=5, backoff="exponential", initial_ms=200, max_ms=1_000, jitter=0.5),
        parallelism=2,
        permanent=(CardDeclined, ValueError),
        queue="money",
        timeout_ms=1_000,
        on_failure="finish",
        predicate="order.total > 0",
        labels={"team": "shop"},
    )
    assert declared.definition == {
        "id": "price",
        "type": "python",
        "attributes": {
            "order": {"role": "required", "type": "object"},
            "customer": {"role": "required", "type": "object"},
            "n": {"role": "optional", "type": "number", "optional": {"default": "3"}},
            "note": {"role": "optional", "type": "string", "optional": {"default": '"é"'}},
            "total": {"role": "output", "type": "number"},
            "tax": {"role": "output", "type": "number"},
        },
        "python": {"handler": "price", "queue": "money", "permanent": ["CardDeclined", "ValueError"]},
        "predicate": {"language": "lua", "script": "order.total > 0"},
        "work_config": {
            "max_attempts": 5,
            "backoff_type": "exponential",
            "init_backoff": 200,
            "max_backoff": 1_000,
            "jitter": 0.5,
            "parallelism": 2,
            "timeout": 1_000,
            "on_failure": "finish",
        },
        "labels": {"team": "shop"},
    }
    assert declared.function is price
    assert declared.permanent == (CardDeclined, ValueError)


def test_what_is_not_said_is_left_out() -> None:
    def step(): ...

    assert declare(step).definition == {
        "id": "step",
        "type": "python",
        "attributes": {},
        "python": {"handler": "step"},
    }


def test_a_definition_is_one_that_can_be_registered() -> None:
    async def charge(items: dict, customer: dict, ctx: StepContext) -> str: ...

    declared = declare(charge, outputs="receipt", for_each="items", parallelism=8, permanent=CardDeclined)
    step = parse_step(declared.definition)
    assert (step.id, step.queue, [each.name for each in step.for_each]) == ("charge", "default", ["items"])


def test_the_same_function_gives_the_same_definition() -> None:
    def step(b: int, a: str = "x") -> Price: ...

    assert declare(step, outputs=["tax", "total"]) == declare(step, outputs=["tax", "total"])


@pytest.mark.parametrize(
    ("name", "id", "expected"),
    [("Look_Up", None, "look_up"), ("f", "Shop.Look-Up", "shop.look-up"), ("<lambda>", "named", "named")],
)
def test_the_id_is_the_function_s_name_unless_one_is_given(name: str, id: str | None, expected: str) -> None:
    def step(): ...

    step.__name__ = name
    declared = declare(step, id=id)
    assert (declared.id, declared.definition["python"]["handler"]) == (expected, expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("return true", {"language": "lua", "script": "return true"}),
        (Script("jpath", "$.a"), {"language": "jpath", "script": "$.a"}),
        ({"language": "jpath", "script": "$.a"}, {"language": "jpath", "script": "$.a"}),
    ],
)
def test_a_predicate_is_lua_unless_it_says_otherwise(given: Any, expected: dict[str, str]) -> None:
    def step(a): ...

    assert declare(step, predicate=given).definition["predicate"] == expected


def test_retry_and_the_rest_may_be_given_as_enums() -> None:
    def step(): ...

    declared = declare(
        step, retry=Retry(backoff=Backoff.FIXED, max_retries=-1), on_failure=OnFailure.TOLERATE
    )
    assert declared.definition["work_config"] == {
        "max_retries": -1,
        "backoff_type": "fixed",
        "on_failure": "tolerate",
    }


def test_no_retries_are_asked_for_by_attempts() -> None:
    with pytest.raises(InvalidStep) as caught:
        Retry(max_retries=0)
    assert str(caught.value) == "retry.max_retries: 0 means the default (use max_attempts=1 for one attempt)"


def test_a_memoizable_step_says_so() -> None:
    def step(a): ...

    assert declare(step, memoizable=True).definition["memoizable"] is True


def test_undo_is_a_function_of_its_own() -> None:
    def charge(order: dict) -> str: ...

    async def refund(inputs, outputs, ctx): ...

    declared = declare(charge, outputs="receipt", undo=refund)
    assert declared.definition["python"]["undo"] == "charge.undo"
    assert declared.undo is not None
    assert (declared.undo.function, declared.undo.is_async, declared.undo.context_parameter) == (
        refund,
        True,
        "ctx",
    )


def test_undo_may_name_a_function_that_is_registered_elsewhere() -> None:
    def charge(order: dict) -> str: ...

    declared = declare(charge, outputs="receipt", undo="refund")
    assert (declared.definition["python"]["undo"], declared.undo) == ("refund", None)


# ------------------------------------------------------------------------ types


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (str, "string"),
        (int, "number"),
        (float, "number"),
        (bool, "boolean"),
        (None, "null"),
        (type(None), "null"),
        (dict, "object"),
        (dict[str, int], "object"),
        (Mapping[str, Any], "object"),
        (OrderedDict, "object"),
        (Price, "object"),
        (list, "array"),
        (list[int], "array"),
        (tuple[int, ...], "array"),
        (Sequence[str], "array"),
        (Sequence, "array"),
        (Color, "string"),
        (Level, "number"),
        (CustomerId, "string"),
        (Annotated[int, "cents"], "number"),
        (Annotated[list[int], 1], "array"),
        (Literal["a", "b"], "string"),
        (Literal[1, 2], "number"),
        (Literal["a", 1], "any"),
        (Literal[True], "boolean"),
        (Optional[str], "any"),  # noqa: UP045 - both spellings are to work
        (str | None, "any"),
        (Union[int, str], "any"),  # noqa: UP007
        (int | float, "number"),
        (Any, None),
        (object, None),
        (T, None),
        (Money, None),
        (bytes, None),
        (set[int], None),
        (Callable, None),
        ("NoSuchName", None),
        ("str", "string"),
        ("list[NoSuchName]", None),
        ("Price", "object"),
    ],
    ids=str,
)
def test_hints_give_types(hint: Any, expected: str | None) -> None:
    assert input_type(hint) == expected


def test_a_parameter_without_a_hint_has_no_type() -> None:
    def step(x, y=1): ...

    assert attributes(step) == {
        "x": {"role": "required"},
        "y": {"role": "optional", "optional": {"default": "1"}},
    }


def test_a_hint_that_cannot_be_resolved_takes_nothing_from_the_others() -> None:
    def step(a: OnlyForCheckers, b: int, ctx: StepContext) -> dict[str, OnlyForCheckers]: ...

    assert attributes(step, outputs="c") == {
        "a": {"role": "required"},
        "b": {"role": "required", "type": "number"},
        "c": {"role": "output"},
    }


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (str, "string"),
        (None, "null"),
        (Awaitable[int], "number"),
        (str | Accepted, "string"),
        (str | int | Accepted, "any"),
        (Price, "object"),
        (Any, None),
    ],
)
def test_the_returned_hint_is_the_one_output_s(hint: Any, expected: str | None) -> None:
    assert output_type(hint) == expected


def test_a_returned_typed_dict_gives_the_types_of_several_outputs() -> None:
    def step() -> Price: ...

    assert attributes(step, outputs=["total", "note", "other"]) == {
        "total": {"role": "output", "type": "number"},
        "note": {"role": "output", "type": "any"},
        "other": {"role": "output"},
    }


def test_several_outputs_without_a_typed_dict_have_no_types() -> None:
    def step() -> dict[str, int]: ...

    assert attributes(step, outputs=["a", "b"]) == {"a": {"role": "output"}, "b": {"role": "output"}}


def test_with_for_each_the_hint_is_the_element_s_and_attributes_are_arrays() -> None:
    def step(item: dict, rate: float) -> str: ...

    assert attributes(step, outputs="receipt", for_each="item") == {
        "item": {"role": "required", "type": "array", "required": {"for_each": True}},
        "rate": {"role": "required", "type": "number"},
        "receipt": {"role": "output", "type": "array"},
    }


def test_several_inputs_may_be_for_each() -> None:
    def step(a: int, b: str) -> int: ...

    found = attributes(step, outputs="c", for_each=["a", "b"])
    assert {name: spec["type"] for name, spec in found.items()} == {"a": "array", "b": "array", "c": "array"}


# --------------------------------------------------------------------- defaults


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (0.5, "0.5"),
        ("é\n", '"é\\n"'),
        ([], "[]"),
        ((1, 2), "[1, 2]"),
        ({"a": [1, {}]}, '{"a": [1, {}]}'),
        (Color.RED, '"red"'),
        (2**63, "9223372036854775808"),
    ],
    ids=str,
)
def test_a_default_is_kept_as_json(default: Any, expected: str) -> None:
    def step(x=default): ...

    assert attributes(step)["x"]["optional"]["default"] == expected


def test_a_default_of_none_makes_the_parameter_one_that_may_be_null() -> None:
    def step(x: str = None, y: str | None = None, z=None): ...  # noqa: RUF013

    found = attributes(step)
    assert [found[name].get("type") for name in "xyz"] == ["any", "any", None]


def test_a_for_each_default_is_the_whole_list() -> None:
    def step(items: dict = ()): ...

    assert attributes(step, for_each="items")["items"] == {
        "role": "optional",
        "type": "array",
        "optional": {"for_each": True, "default": "[]"},
    }


@pytest.mark.parametrize(
    ("default", "message"),
    [
        (object(), "parameters.x.default: a value of the Python type `builtins.object` is not JSON"),
        (b"x", "parameters.x.default: a value of the Python type `builtins.bytes` is not JSON"),
        ({"a": [float("nan")]}, "parameters.x.default.a[0]: nan is not a JSON number"),
        ({1: 2}, "parameters.x.default.1: 1 is not a key of a JSON object"),
        (2**64, "parameters.x.default: a whole number beyond 64 bit"),
    ],
    ids=["object", "bytes", "nan", "key", "integer"],
)
def test_a_default_that_is_no_json_is_refused(default: Any, message: str) -> None:
    def step(x=default): ...

    [found] = problems(step)
    assert found.startswith(message)


def test_a_default_of_another_type_than_the_hint_is_refused() -> None:
    def step(x: int = "three"): ...

    assert problems(step)[0] == (
        "parameters.x.default: 'three' is not of type number (change the hint or the default)"
    )


# ---------------------------------------------------------------------- context


def _by_name(a, ctx): ...
def _by_hint(a, call: StepContext): ...
def _by_optional_hint(a, call: StepContext | None = None): ...
def _by_name_whatever_the_hint(a, ctx: Money): ...
def _keyword_only(a, *, ctx): ...
def _without(a): ...


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (_by_name, "ctx"),
        (_by_hint, "call"),
        (_by_optional_hint, "call"),
        (_by_name_whatever_the_hint, "ctx"),
        (_keyword_only, "ctx"),
        (_without, None),
    ],
)
def test_the_context_is_no_input(function: Callable[..., Any], expected: str | None) -> None:
    declared = declare(function)
    assert declared.context_parameter == expected
    assert list(declared.definition["attributes"]) == ["a"]


def test_the_context_is_found_when_its_hint_cannot_be_resolved() -> None:
    def step(a: OnlyForCheckers, call: StepContext): ...

    step.__annotations__["call"] = "elsewhere.StepContext"
    assert declare(step).context_parameter == "call"


# ------------------------------------------------------------------ kinds of call


class Service:
    def method(self, a: int) -> str: ...

    async def __call__(self, b: str) -> int: ...


async def _async(a: int) -> str: ...


@pytest.mark.parametrize(
    ("function", "names", "is_async"),
    [
        (_without, ["a"], False),
        (_async, ["a"], True),
        (Service().method, ["a"], False),
        (Service(), ["b"], True),
        (functools.partial(_async), ["a"], True),
        (functools.partial(_by_hint, call=None), ["a"], False),
    ],
    ids=["function", "async function", "method", "object", "partial of async", "partial"],
)
def test_whatever_can_be_called_can_be_a_step(function: Any, names: list[str], is_async: bool) -> None:
    declared = declare(function, id="step")
    assert (list(declared.definition["attributes"]), declared.is_async) == (names, is_async)


@pytest.mark.parametrize(
    ("outputs", "names", "is_single"),
    [
        ("a", ("a",), True),
        (["a"], ("a",), True),
        (("a", "b"), ("a", "b"), False),
        (None, (), False),
        ((), (), False),
    ],
)
def test_one_output_is_the_return_value_several_are_a_mapping(
    outputs: Any, names: tuple[str, ...], is_single: bool
) -> None:
    def step(): ...

    declared = declare(step, outputs=outputs)
    assert (declared.outputs, declared.single_output) == (names, is_single)


# -------------------------------------------------------------------- refusals


def _positional(a, /): ...
def _arguments(*args): ...
def _keywords(**kwargs): ...
def _two_contexts(ctx, call: StepContext): ...


def _generator():
    yield 1


async def _async_generator():
    yield 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_positional, "parameters.a: is positional-only (remove the `/`)"),
        (_arguments, "parameters.args: takes any arguments (name each input)"),
        (_keywords, "parameters.kwargs: takes any keywords (name each input)"),
        (_two_contexts, "parameters: ctx and call would both be given the context (keep one of them)"),
        (_generator, "function: yields instead of returning (return the whole value)"),
        (_async_generator, "function: yields instead of returning (return the whole value)"),
    ],
)
def test_signatures_that_no_step_can_have_are_refused(function: Any, message: str) -> None:
    assert problems(function) == [message]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"for_each": "b"}, 'for_each: "b" is not an input (name a parameter: a)'),
        ({"outputs": "a"}, 'outputs: "a" is an input, too (give the output, or the parameter, another name)'),
        ({"outputs": ["b", "b"]}, 'outputs: "b" is named twice (name it once)'),
        ({"permanent": [3]}, "permanent: 3 is not an exception type (list classes of exceptions)"),
        (
            {"permanent": [str]},
            "permanent: <class 'str'> is not an exception type (list classes of exceptions)",
        ),
        ({"on_failure": "explode"}, 'work_config.on_failure: "explode" is not one of'),
        ({"retry": Retry(backoff="slow")}, 'work_config.backoff_type: "slow" is not one of'),
        ({"id": "no id!"}, "id: is not a step id"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    [found] = problems(_without, **options)
    assert found.startswith(message)


def test_all_that_is_wrong_is_reported_together_with_the_step_s_name() -> None:
    def price(a, /, *args, b: int = "x", **kwargs): ...

    with pytest.raises(InvalidStep) as caught:
        declare(price, outputs="b", for_each="c")
    paths = [problem.path for problem in caught.value.problems]
    assert str(caught.value).startswith('step "price": ')
    assert {
        "parameters.a",
        "parameters.args",
        "parameters.kwargs",
        "parameters.b.default",
        "for_each",
        "outputs",
    } <= {*paths}


@pytest.mark.parametrize(
    "function", [lambda: 1, functools.partial(_without), Service()], ids=["lambda", "partial", "object"]
)
def test_what_has_no_name_needs_an_id(function: Any) -> None:
    with pytest.raises(InvalidStep, match="give it one with id="):
        declare(function)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(InvalidStep, match="is not a function"):
        declare("price", id="price")  # type: ignore[arg-type]


def test_what_hides_its_parameters_is_refused() -> None:
    with pytest.raises(InvalidStep, match="does not tell its parameters"):
        declare(dict, id="step")


def test_a_declaration_is_frozen() -> None:
    declared: Declared = declare(_without)
    with pytest.raises(AttributeError):
        declared.outputs = ("x",)  # type: ignore[misc]
