"""Starts that are refused: by whom they were asked does not matter, nor on which server."""

from __future__ import annotations

from typing import Any

import pytest
from api_apps import Apps, deep

from argyll_redis import Argyll, ArgyllError, InvalidInput, NoGoals, UnknownGoal, Values
from argyll_redis.core import limits

pytestmark = pytest.mark.anyio

INIT = {"a": 1, "order": {"no": 17}}


@pytest.fixture
def app(memory: Apps) -> Argyll:
    app = memory()

    @app.step(outputs="b")
    async def first(a: int) -> int:
        return a

    @app.step(outputs="c")
    async def second(b: int, order: dict[str, Any]) -> int:
        return b

    return app


async def refused(app: Argyll, **given: Any) -> ArgyllError:
    """Starts what must be refused, and checks that nothing came of it."""
    with pytest.raises(ArgyllError) as raised:
        await app.start(**{"goals": ["second"], "init": INIT, **given})
    assert await app.flows() == []
    assert (await app.node()).committer.is_idle
    return raised.value


async def test_values_without_any_count_as_missing(app: Argyll) -> None:
    error = await refused(app, init={**INIT, "a": Values()})
    assert str(error) == "the goals need initial values for: a (give each a value)"


async def test_an_unknown_goal_is_named_with_what_was_probably_meant(app: Argyll) -> None:
    error = await refused(app, goals=["secon"])
    assert isinstance(error, UnknownGoal)
    assert "secon" in str(error)
    assert "did you mean `second`?" in str(error)


async def test_an_unknown_goal_is_said_with_the_namespace_that_was_looked_in(app: Argyll) -> None:
    error = await refused(app, goals=["secon"])
    with pytest.raises(UnknownGoal) as previewed:
        await app.plan(["secon"])
    assert str(error).endswith("; the namespace is `argyll`")
    assert str(previewed.value) == str(error)


async def test_a_given_name_that_nothing_uses_is_named_with_the_missing_one_that_it_is_like(
    app: Argyll,
) -> None:
    error = await refused(app, init={"a": 1, "odrer": {}, "b": 2})
    assert str(error) == (
        "the goals need initial values for: order (give each a value); "
        "nothing uses `odrer`, did you mean `order`?"
    )


async def test_a_value_in_a_list_of_values_is_named_with_its_place_even_where_it_is_alone(
    app: Argyll,
) -> None:
    error = await refused(app, init={**INIT, "a": Values("one")})
    assert str(error) == "init.a[0]: is of type string (use a value of type number)"


async def test_an_initial_value_of_another_type_is_named(app: Argyll) -> None:
    error = await refused(app, init={"a": Values(1, "two"), "order": [1]})
    assert isinstance(error, InvalidInput)
    assert [str(problem) for problem in error.problems] == [
        "init.a[1]: is of type string (use a value of type number)",
        "init.order: is of type array (use a value of type object)",
    ]


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"goals": []}, "No goals were given"),
    ({"goals": None}, "No goals were given"),
    ({"goals": 7}, "goals: is not a list"),
    ({"goals": [7]}, "goals: 7 is not declared as a step"),
    ({"goals": [print]}, "goals: print is not declared as a step of this app"),
    ({"goals": ["two words"]}, r"goals\[0\]: `two words` is not a step id"),
    ({"goals": [f"g{n}" for n in range(limits.MAX_GOALS + 1)]}, "goals: 65 goals"),
    ({"init": [1]}, "init: is not an object"),
    ({"init": {1: 2}}, "init: `1` is not a name"),
    ({"init": {"": 2}}, "init: `` is not a name"),
    ({"init": {"x" * 257: 2}}, "init: `xxx.*` is not a name"),
    ({"init": {"\ud800": 2}}, "init: .* is not a name"),
    ({"labels": {"k": "\ud800"}}, r"labels\.k: is not a label value"),
    ({"init": {f"n{n}": n for n in range(limits.MAX_INIT_NAMES + 1)}}, "init: has 129 names"),
    ({"init": {"a": float("nan")}}, r"init\.a: nan is not a JSON number"),
    ({"init": {"a": [1, float("inf")]}}, r"init\.a\[1\]: inf is not a JSON number"),
    ({"init": {"a": 2**64}}, r"init\.a: a whole number beyond 64 bit"),
    ({"init": {"a": -(2**63) - 1}}, r"init\.a: a whole number beyond 64 bit"),
    ({"init": {"a": "x\ud800"}}, r"init\.a: text with a lone surrogate"),
    ({"init": {"a": {"k\udfff": 1}}}, r"init\.a.*lone surrogate"),
    ({"init": {"a": {1: 1}}}, r"init\.a.*1 is not a key of a JSON object"),
    ({"init": {"a": {2, 3}}}, r"init\.a: a value of the Python type `builtins.set` is not JSON"),
    ({"init": {"a": b"x"}}, r"init\.a: a value of the Python type `builtins.bytes`"),
    ({"init": {"a": deep(65)}}, r"init\.a.*nested more than 64 levels deep"),
    ({"init": {"a": [0] * 100_001}}, r"init\.a: an array of more than 100,000 elements"),
    ({"init": {"a": "x" * limits.MAX_EVENT_BYTES}}, "init: 2,097,1.. bytes with the metadata, more than"),
    ({"metadata": {"m": "x" * limits.MAX_EVENT_BYTES}}, "init: 2,097,1.. bytes with the metadata"),
    ({"labels": ["x"]}, "labels: is not an object"),
    ({"labels": {"x": 1}}, "labels.x: is not a label value"),
    ({"labels": {"a=b": "1"}}, "labels.a=b: is not a label key"),
    ({"labels": {"x": "y" * 257}}, "labels.x: is not a label value"),
    ({"labels": {f"l{n}": "" for n in range(limits.MAX_LABELS + 1)}}, "labels: has 33 names"),
    ({"metadata": 7}, "metadata: is not an object"),
    ({"metadata": {f"m{n}": n for n in range(limits.MAX_METADATA + 1)}}, "metadata: has 65 names"),
    ({"metadata": {"m": {1}}}, "metadata.m: a value of the Python type"),
    ({"id": ""}, "id: has no character that a flow id may have"),
    ({"id": "::"}, "id: has no character that a flow id may have"),
    ({"id": 7}, "id: is not text"),
    ({"id": "x" * (limits.MAX_ID_CHARS + 1)}, "id: is 257 characters long"),
    ({"timeout_ms": -1}, "timeout_ms: is -1"),
    ({"timeout_ms": 1.5}, "timeout_ms: is 1.5"),
    ({"timeout_ms": True}, "timeout_ms: is True"),
    ({"timeout_ms": limits.MAX_DURATION_MS + 1}, "timeout_ms: is 315360000001"),
    ({"compensate": "step"}, r"compensate: is 'step' \(use \"flow\", or leave it out\)"),
    ({"compensate": True}, "compensate: is True"),
]


@pytest.mark.parametrize(("given", "message"), REFUSALS, ids=[message for _, message in REFUSALS])
async def test_what_cannot_be_is_refused_with_its_place(
    app: Argyll, given: dict[str, Any], message: str
) -> None:
    error = await refused(app, **given)
    assert isinstance(error, InvalidInput | NoGoals)
    with pytest.raises(ArgyllError, match=message):
        raise error


async def test_a_name_that_no_start_has_is_refused_with_the_nearest(app: Argyll) -> None:
    [error] = await app.start_many([{"goals": ["second"], "init": INIT, "lables": {}}])
    assert str(error) == "lables: is not a field of a start (did you mean `labels`?)"
