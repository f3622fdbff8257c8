"""Starting flows: the same again, something else, many at a time, and everything that is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from api_apps import Apps, deep, version_of

from argyll_redis import (
    Argyll,
    FlowConflict,
    FlowHandle,
    InvalidInput,
    MissingInputs,
    UnknownGoal,
    Values,
)
from argyll_redis.core import limits

pytestmark = pytest.mark.anyio


def chain(app: Argyll) -> None:
    @app.step(outputs="b")
    async def first(a: int) -> int:
        return a + 1

    @app.step(outputs="c")
    async def second(b: int, order: dict[str, Any]) -> int:
        return b + 1

    @app.step(outputs="z")
    async def other(y: Any) -> Any:
        return y


INIT = {"a": 1, "order": {"no": 17}}


@pytest.fixture
def app(apps: Apps) -> Argyll:
    app = apps()
    chain(app)
    return app


# ----------------------------------------------------------------------- again

TERMS: dict[str, Any] = {
    "goals": ["second", "other"],
    "init": {**INIT, "y": Values(1, [2])},
    "labels": {"tenant": "acme", "kind": "x"},
    "metadata": {"who": {"name": "me"}},
    "timeout_ms": 60_000,
}


async def test_the_same_start_again_is_a_success_that_appends_nothing(app: Argyll, apps: Apps) -> None:
    flow = await app.start(**TERMS, id="order-1")
    before = await version_of(flow)
    for each in (app, apps()):
        again = await each.start(**TERMS, id="order-1")
        assert again.id == "order-1"
    assert await version_of(flow) == before


@pytest.mark.parametrize(
    "change",
    [
        {"goals": ["other", "second"]},
        {"goals": ["second"]},
        {"init": {**INIT, "y": Values(1, 2)}},
        {"init": {**INIT, "y": Values([2], 1)}},
        {"init": {**TERMS["init"], "more": 1}},
        {"labels": {"tenant": "acme"}},
        {"labels": {"tenant": "acme", "kind": "y"}},
        {"metadata": {"who": {"name": "you"}}},
        {"timeout_ms": 60_001},
        {"timeout_ms": None},
    ],
    ids=repr,
)
async def test_the_same_id_with_anything_else_is_a_conflict(app: Argyll, change: dict[str, Any]) -> None:
    flow = await app.start(**TERMS, id="order-1")
    before = await version_of(flow)
    with pytest.raises(FlowConflict, match='flow "order-1" exists and was started with something else'):
        await app.start(**{**TERMS, **change}, id="order-1")
    assert await version_of(flow) == before


async def test_the_order_of_names_does_not_make_another_start(app: Argyll) -> None:
    await app.start(**TERMS, id="order-1")
    turned = {name: dict(reversed(TERMS[name].items())) for name in ("init", "labels", "metadata")}
    assert (await app.start(**{**TERMS, **turned}, id="order-1")).id == "order-1"


@pytest.mark.contract("tokens", "The same start again is a success whatever the catalog says by now.")
async def test_the_same_start_is_a_success_whatever_became_of_the_catalog(app: Argyll, apps: Apps) -> None:
    flow = await app.start(["second"], INIT, id="order-1")
    before = await version_of(flow)
    await app.unregister_step("second")
    other = apps()
    for each in (app, other):
        assert (await each.start(["second"], INIT, id="order-1")).id == "order-1"
        with pytest.raises(FlowConflict):
            await each.start(["second"], {**INIT, "a": 2}, id="order-1")
    with pytest.raises(UnknownGoal):
        await app.start(["second"], INIT, id="order-2")
    assert await version_of(flow) == before


async def test_the_same_start_is_a_success_when_the_plan_needs_more_by_now(app: Argyll, apps: Apps) -> None:
    await app.start(["second"], INIT, id="order-1")
    newer = apps()

    @newer.step(outputs="c")
    async def second(b: int, order: dict[str, Any], stock: int) -> int:
        return b

    await newer.register_declared()
    assert (await newer.start(["second"], INIT, id="order-1")).id == "order-1"
    with pytest.raises(MissingInputs, match="stock"):
        await newer.start(["second"], INIT, id="order-2")


@pytest.mark.contract("tokens", "Many starts of one id at once make one flow.")
async def test_many_starts_of_one_id_at_once_make_one_flow(app: Argyll, apps: Apps) -> None:
    others = [apps() for _ in range(3)]
    await app.register_declared()
    starts = [each.start(["second"], INIT, id="order-1") for each in (app, *others) for _ in range(10)]
    flows = await asyncio.gather(*starts)
    assert {flow.id for flow in flows} == {"order-1"}
    assert (await app.audit("order-1"))["violations"] == []


async def test_of_different_starts_of_one_id_one_wins(app: Argyll, apps: Apps) -> None:
    others = [apps() for _ in range(3)]
    await app.register_declared()
    ended = await asyncio.gather(
        *(
            each.start(["second"], {**INIT, "a": a}, id="order-1")
            for each in (app, *others)
            for a in range(4)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(each, FlowHandle) for each in ended) == 4
    assert sum(isinstance(each, FlowConflict) for each in ended) == 12


# ------------------------------------------------------------------------ many


async def test_many_starts_keep_their_order_with_refusals_in_their_place(app: Argyll) -> None:
    requests: list[Any] = [
        {"goals": ["second"], "init": INIT, "id": "one"},
        {"goals": ["secnd"], "init": INIT},
        {"goals": ["second"], "init": {"a": 1}},
        {"goals": ["second"], "init": INIT, "id": "two", "labels": {"x": "y"}},
        {"goals": ["second"], "init": INIT, "id": "!!"},
        {"goal": ["second"]},
        ["second"],
        {"goals": ["second"], "init": {**INIT, "a": 2}, "id": "one"},
        {"goals": ["second"], "init": INIT, "id": "One"},
    ]
    started = await app.start_many(requests)
    assert [type(each) for each in started] == [
        FlowHandle,
        UnknownGoal,
        MissingInputs,
        FlowHandle,
        InvalidInput,
        InvalidInput,
        InvalidInput,
        FlowConflict,
        FlowHandle,
    ]
    assert [each.id for each in started if isinstance(each, FlowHandle)] == ["one", "two", "one"]
    assert sorted(row["id"] for row in await app.flows()) == ["one", "two"]


async def test_many_starts_take_few_calls(app: Argyll) -> None:
    await app.start(["second"], INIT)
    counters = (await app.node()).committer.counters
    before = counters.calls
    started = await app.start_many({"goals": ["second"], "init": {**INIT, "a": a}} for a in range(200))
    assert [each.id for each in started if isinstance(each, FlowHandle)] == list(
        dict.fromkeys(each.id for each in started if isinstance(each, FlowHandle))
    )
    assert len(started) == 200
    assert counters.calls - before <= 8


async def test_no_starts_are_a_success(app: Argyll) -> None:
    assert await app.start_many([]) == []


# ------------------------------------------------------------------------- ids


@pytest.mark.parametrize(
    ("given", "id"),
    [
        ("Order 17", "order-17"),
        ("  a\tb\nc ", "--a-b-c-"),
        ("A:B/C", "abc"),
        ("äpfel_1.2+3-4", "pfel_1.2+3-4"),
        ("x" * limits.MAX_ID_CHARS, "x" * limits.MAX_ID_CHARS),
    ],
)
async def test_ids_are_sanitized(app: Argyll, given: str, id: str) -> None:
    flow = await app.start(["second"], INIT, id=given)
    assert flow.id == id
    assert (await flow.state())["id"] == id


async def test_a_flow_without_an_id_is_given_one(app: Argyll) -> None:
    one, two = [await app.start(["second"], INIT) for _ in range(2)]
    assert len({one.id, two.id, ""}) == 3


# ------------------------------------------------------------------------ more


async def test_what_is_just_within_the_limits_is_started(app: Argyll) -> None:
    init = {
        "a": 2**64 - 1,
        "order": {"min": -(2**63), "deep": deep(62), "text": "😀\x00", "list": [0] * 100_000},
    }
    labels = {f"l{n}": "v" * limits.MAX_LABEL_CHARS for n in range(limits.MAX_LABELS)}
    metadata = {f"m{n}": None for n in range(limits.MAX_METADATA)}
    flow = await app.start(["second"], init, labels=labels, metadata=metadata)
    state = await app.state(flow.id)
    assert {name: values[0]["value"] for name, values in state["attributes"].items()} == init
    assert (state["labels"], state["metadata"]) == (labels, metadata)


async def test_goals_are_taken_once_each_in_any_case(app: Argyll) -> None:
    flow = await app.start(["Second", "second"], INIT)
    assert (await flow.state())["plan"]["goals"] == ["second"]


async def test_a_change_of_what_was_given_does_not_change_the_flow(app: Argyll) -> None:
    init = {"a": 1, "order": {"no": 17}}
    flow = await app.start(["second"], init)
    init["order"]["no"] = 18  # type: ignore[index]
    assert (await flow.state())["attributes"]["order"][0]["value"] == {"no": 17}


async def test_a_plan_can_be_looked_at_without_starting(app: Argyll) -> None:
    await app.register_declared()
    plan = await app.plan(["second"], {"a": 1})
    assert (list(plan.required), sorted(plan.steps)) == (["order"], ["first", "second"])
    assert await app.flows() == []


async def test_missing_inputs_are_the_leaves_that_nobody_provides(app: Argyll) -> None:
    with pytest.raises(MissingInputs) as raised:
        await app.start(["second", "other"], {})
    assert raised.value.names == ("a", "order", "y")
    assert str(raised.value) == "the goals need initial values for: a, order, y (give each a value)"
    assert await app.flows() == []


async def test_a_goal_that_is_given_already_is_done_at_once(app: Argyll) -> None:
    flow = await app.start(["first"], {"b": 5})
    assert await flow.result(timeout_ms=5_000) == {"b": 5}
    assert (await flow.state())["status"] == "completed"
