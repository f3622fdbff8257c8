"""Script steps in Lua, and predicates in Lua and JSONPath, from registration to result."""

from __future__ import annotations

from typing import Any

import pytest
from api_apps import Apps, deactivated, event

from argyll_redis import FlowFailed, InvalidStep

pytestmark = pytest.mark.anyio


def lua(id: str, script: str, needs: dict[str, Any], gives: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A script step: what it needs and gives, name to type (None for none)."""
    inputs = {name: {"role": "required", **_typed(type)} for name, type in needs.items()}
    outputs = {name: {"role": "output", **_typed(type)} for name, type in gives.items()}
    attributes = {**inputs, **outputs}
    script_of = {"language": "lua", "script": script}
    return {"id": id, "type": "script", "script": script_of, "attributes": attributes, **more}


def _typed(type: str | None) -> dict[str, str]:
    return {} if type is None else {"type": type}


async def test_a_script_step_runs_on_every_engine(apps: Apps) -> None:
    app = apps()
    await app.register_steps(
        [
            lua("add", "return {sum = a + b}", {"a": "number", "b": "number"}, {"sum": "number"}),
            lua("twice", "return {double = sum * 2}", {"sum": "number"}, {"double": "number"}),
        ]
    )
    await apps.run(apps())  # an engine without python steps
    flow = await app.start(["twice"], {"a": 2, "b": 3})
    assert await flow.result() == {"double": 10}


async def test_scripts_and_functions_work_together(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="order")
    async def fetch(no: int) -> dict[str, Any]:
        return {"no": no, "lines": [{"price": 2}, {"price": 3}]}

    @app.step(outputs="told")
    def tell(total: int) -> str:
        return f"{total} to pay"

    script = "local t = 0; for _, line in ipairs(order.lines) do t = t + line.price end; return {total = t}"
    await app.register_steps([lua("sum", script, {"order": "object"}, {"total": "number"})])
    await apps.run(app)
    flow = await app.start([tell], {"no": 1})
    assert await flow.result() == {"told": "5 to pay"}


async def test_a_value_that_is_no_table_is_the_output_result(apps: Apps) -> None:
    app = apps()
    await app.register_steps([lua("one", "return n + 1", {"n": "number"}, {"result": "number"})])
    await apps.run(app)
    assert await (await app.start(["one"], {"n": 41})).result() == {"result": 42}


async def test_empty_tables_follow_the_declared_type(apps: Apps) -> None:
    app = apps()
    gives = {"list": "array", "map": "object", "any": None}
    await app.register_steps([lua("give", "return {list = {}, map = {}, any = {}}", {}, gives)])
    await apps.run(app)
    assert await (await app.start(["give"])).result() == {"list": [], "map": {}, "any": {}}


async def test_a_script_for_each_element(apps: Apps) -> None:
    app = apps()
    step = lua("square", "return {sq = n * n}", {}, {"sq": "array"}, work_config={"parallelism": 4})
    step["attributes"]["n"] = {"role": "required", "type": "array", "required": {"for_each": True}}
    await app.register_steps([step])
    await apps.run(app)
    flow = await app.start(["square"], {"n": [1, 2, 3]})
    assert await flow.result() == {"sq": [{"n": 1, "sq": 1}, {"n": 2, "sq": 4}, {"n": 3, "sq": 9}]}


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("error('I will not')", "I will not"),
        ("while true do end", "instructions"),
        ("return {x = string.rep('x', 10)}", "rep"),
        ("return os.time()", "os"),
        ("local t = {}; for i = 1, 1e9 do t[i] = i end", "memory|instructions"),
    ],
)
async def test_a_script_that_fails_is_not_tried_again_and_hurts_no_other(
    apps: Apps, script: str, error: str
) -> None:
    app = apps()
    good_step = lua("good", "return {y = 1}", {}, {"y": None})
    await app.register_steps([lua("bad", script, {}, {"x": None}), good_step])
    await apps.run(app)
    bad, good = await app.start(["bad"]), await app.start(["good"])
    with pytest.raises(FlowFailed, match=error):
        await bad.result()
    assert await good.result() == {"y": 1}
    item = next(iter((await deactivated(bad))["executions"]["bad"]["work_items"].values()))
    assert item["retry_count"] == 0


async def test_a_script_that_does_not_compile_is_refused_with_its_place(apps: Apps) -> None:
    app = apps()
    with pytest.raises(InvalidStep, match="line 2"):
        await app.register_steps([lua("bad", "local x = 1\nreturn x +", {}, {"x": None})])
    assert await app.steps() == []


# ------------------------------------------------------------------- predicates

PREDICATES: list[tuple[Any, Any, bool]] = [
    ("return amount > 100", 101, True),
    ("return amount > 100", 100, False),
    ("return nil", 1, False),
    ("return 0", 1, True),
    ("return ''", 1, True),
    ({"language": "jpath", "script": "$.amount"}, 0, True),
    ({"language": "jpath", "script": "$.amount"}, None, True),
    ({"language": "jpath", "script": "$.amount[?@.kind == 'x']"}, [{"kind": "y"}, {"kind": "x"}], True),
    ({"language": "jpath", "script": "$.amount[?@.kind == 'x']"}, [{"kind": "y"}], False),
    ({"language": "jpath", "script": "$.nothing"}, 1, False),
]


@pytest.mark.parametrize(("predicate", "amount", "runs"), PREDICATES)
async def test_a_predicate_says_whether_a_step_runs(
    apps: Apps, predicate: Any, amount: Any, runs: bool
) -> None:
    app = apps()

    @app.step(outputs="checked", predicate=predicate)
    async def check(amount: Any) -> bool:
        return True

    await apps.run(app)
    flow = await app.start([check], {"amount": amount})
    assert await flow.result() == ({"checked": True} if runs else {})
    execution = (await flow.state())["executions"]["check"]
    assert execution["status"] == ("completed" if runs else "skipped")


async def test_a_skipped_provider_fails_those_that_need_it(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x", predicate="return false")
    async def give() -> int:
        return 1

    @app.step(outputs="y")
    async def need(x: int) -> int:
        return x

    @app.step(outputs="z")
    async def may_need(x: int = 5) -> int:
        return x

    await apps.run(app)
    flow = await app.start([need])
    with pytest.raises(FlowFailed, match='step "give": skipped'):
        await flow.result()
    error = (await flow.state())["executions"]["need"]["error"]
    assert error.startswith('required input no longer available: "x"')
    assert await (await app.start([may_need])).result() == {"z": 5}


async def test_a_predicate_is_asked_for_each_item(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="odd", for_each="n", predicate="return n % 2 == 1", parallelism=2)
    async def keep(n: int) -> int:
        return n

    await apps.run(app)
    flow = await app.start([keep], {"n": [1, 2, 3, 4]})
    assert [row["odd"] for row in (await flow.result())["odd"]] == [1, 3]
    items = (await flow.state())["executions"]["keep"]["work_items"].values()
    assert [item["status"] for item in items] == ["succeeded", "skipped", "succeeded", "skipped"]


async def test_a_predicate_that_raises_fails_the_step_and_says_so(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x", predicate="return order.a.b")
    async def it(order: dict[str, Any]) -> int:
        return 1

    await apps.run(app)
    flow = await app.start([it], {"order": {}})
    with pytest.raises(FlowFailed, match="the predicate failed"):
        await flow.result()
    assert (await event(flow, "step_failed"))["data"]["step"] == "it"


ECHO = lua("echo", "return {z = x}", {"x": None}, {"z": None})


@pytest.mark.parametrize("value", [-(2**63), 2**63 - 1, 2**53 + 1, 1e308, 0.1, "\x00😀", {"a": [1, True]}])
async def test_values_at_the_edge_reach_scripts_whole(apps: Apps, value: Any) -> None:
    app = apps()

    @app.step(outputs="y", predicate="return type(x) == type(z)")
    async def same(x: Any, z: Any) -> bool:
        return x == z

    await app.register_steps([ECHO])
    await apps.run(app)
    flow = await app.start([same, "echo"], {"x": value})
    assert await flow.result() == {"y": True, "z": value}


async def test_a_number_that_scripts_do_not_have_fails_clearly(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="y", predicate="return x > 1")
    async def it(x: Any) -> Any:
        return x

    await app.register_steps([ECHO])
    await apps.run(app)
    for goal in ("it", "echo"):
        flow = await app.start([goal], {"x": 2**64 - 1})
        with pytest.raises(FlowFailed, match="an integer of the inputs does not fit into 64 bits"):
            await flow.result()
