"""Inputs from registration to result: collect policies, match gates, deadlines and mapping scripts."""

from __future__ import annotations

from typing import Any

import pytest
from api_apps import Apps, deactivated, event, token_of, types_of

from argyll_redis import ACCEPTED, Argyll, FlowFailed, FlowHandle, MissingInputs, Values

pytestmark = pytest.mark.anyio

SOON_MS = 50
LATE_MS = 600_000


def lua(source: str) -> dict[str, str]:
    return {"language": "lua", "script": source}


def jpath(source: str) -> dict[str, str]:
    return {"language": "jpath", "script": source}


def required(**given: Any) -> dict[str, Any]:
    return {"role": "required", "required": given}


def optional(**given: Any) -> dict[str, Any]:
    return {"role": "optional", "optional": given}


def output(**given: Any) -> dict[str, Any]:
    return {"role": "output", "output": given}


def script(id: str, source: str, **attributes: dict[str, Any]) -> dict[str, Any]:
    """A script step."""
    return {"id": id, "type": "script", "script": lua(source), "attributes": attributes}


# --------------------------------------------------------------------------- collect


@pytest.mark.parametrize(
    ("collect", "expected"),
    [("last", "of b"), ("some", ["given", "of a", "of b"]), ("all", ["given", "of a", "of b"])],
)
async def test_a_step_gets_what_its_collect_policy_gives(apps: Apps, collect: str, expected: Any) -> None:
    """`b` runs after `a`, as it needs what that gives."""
    app = apps()
    await app.register_steps(
        [
            script("a", "return {v = 'of a', go = 1}", x=required(), v=output(), go=output()),
            script("b", "return {v = 'of b'}", go=required(), v=output()),
            script("goal", "return {z = v}", v=required(collect=collect), z=output()),
        ]
    )
    await apps.run(app)
    flow = await app.start(["goal"], {"x": 1, "v": "given"})
    assert await flow.result() == {"z": expected}


@pytest.mark.parametrize("source", ["return {}", "error('broken')"])
async def test_none_runs_its_step_whether_the_provider_gave_nothing_or_failed(
    apps: Apps, source: str
) -> None:
    app = apps()
    await app.register_steps(
        [
            script("find", source, x=required(), found=output()),
            script("goal", "return {z = 'without'}", found=required(collect="none"), z=output()),
        ]
    )
    await apps.run(app)
    assert await (await app.start(["goal"], {"x": 1})).result() == {"z": "without"}


# ----------------------------------------------------------------------------- gates


def approval(collect: str = "first") -> list[dict[str, Any]]:
    """A payment behind a gate on a decision, and the costly `quote` that serves only the payment."""
    return [
        script("decide", "return {score = x}", x=required(), score=output()),
        script("quote", "return {price = 5}", x=required(), price=output()),
        script(
            "pay",
            "return {paid = price}",
            score=required(match=lua("value > 5"), collect=collect),
            price=required(),
            paid=output(),
        ),
        script("done", "return {ok = true}", x=required(), ok=output()),
    ]


async def test_a_closed_gate_skips_its_step_and_what_serves_only_that_never_runs(apps: Apps) -> None:
    app = apps()
    await app.register_steps(approval())
    await apps.run(app)
    flow = await app.start(["pay", "done"], {"x": 1})
    assert await flow.result() == {"ok": True}
    state = await deactivated(flow)
    statuses = {id: each["status"] for id, each in state["executions"].items()}
    assert (statuses["pay"], statuses["quote"]) == ("skipped", "skipped")


@pytest.mark.parametrize("collect", ["first", "last", "some", "all"])
async def test_an_open_gate_lets_the_other_inputs_be_provided(apps: Apps, collect: str) -> None:
    app = apps()
    await app.register_steps(approval(collect))
    await apps.run(app)
    flow = await app.start(["pay"], {"x": 6})
    assert await flow.result() == {"paid": 5}


async def test_a_gate_in_jsonpath(apps: Apps) -> None:
    app = apps()
    gate = required(match=jpath("$[?@.ok == true]"))
    await app.register_steps([script("goal", "return {z = v[1].ok}", v=gate, z=output())])
    await apps.run(app)
    assert await (await app.start(["goal"], {"v": [{"ok": True}]})).result() == {"z": True}
    with pytest.raises(FlowFailed, match="every goal was closed off by its match gate"):
        await (await app.start(["goal"], {"v": [{"ok": False}]})).result()


async def test_what_the_initial_values_close_is_planned_anew_for_other_values_of_the_same_names(
    apps: Apps,
) -> None:
    app = apps()
    await app.register_steps(
        [
            script("pay", "return {paid = 1}", score=required(match=lua("value > 5")), paid=output()),
            script("goal", "return {z = paid}", paid=required(), z=output()),
        ]
    )
    await apps.run(app)
    with pytest.raises(MissingInputs, match="paid"):
        await app.start(["goal"], {"score": 1})
    flow = await app.start(["goal"], {"score": 6})
    assert await flow.result() == {"z": 1}
    with pytest.raises(MissingInputs, match="paid"):
        await app.start(["goal"], {"score": 2})


async def test_a_goal_whose_gate_the_initial_values_close_needs_none_of_its_other_inputs(apps: Apps) -> None:
    app = apps()
    await app.register_steps(approval()[1:])  # nobody decides
    await apps.run(app)
    flow = await app.start(["pay", "done"], {"x": 1, "score": Values(1, 2)})
    await flow.result()
    assert "quote" not in (await flow.state())["plan"]["steps"]
    assert (await flow.state())["executions"]["pay"]["status"] == "skipped"


# ------------------------------------------------------------------------- deadlines


def late(app: Argyll, deadline_ms: int) -> list[dict[str, Any]]:
    """A provider that waits for somebody outside, and a goal that takes its hint in time."""

    @app.step(outputs="hint")
    async def ask(x: int) -> Any:
        return ACCEPTED

    hint = optional(deadline=deadline_ms, default='"none"')
    return [script("goal", "return {z = hint}", x=required(), hint=hint, z=output())]


async def start_late(apps: Apps, deadline_ms: int) -> tuple[Argyll, FlowHandle]:
    app = apps()
    await app.register_steps(late(app, deadline_ms))
    return app, await app.start(["goal"], {"x": 1})


async def test_an_optional_input_that_comes_in_time_is_used(apps: Apps) -> None:
    app, flow = await start_late(apps, LATE_MS)
    await apps.run(app)
    token = await token_of(flow, "ask")
    await app.complete(flow.id, "ask", token, {"hint": "in time"})
    assert await flow.result() == {"z": "in time"}
    assert "deadline_passed" not in await types_of(flow)


async def test_an_optional_input_that_comes_late_is_recorded_and_not_used(apps: Apps) -> None:
    app, flow = await start_late(apps, SOON_MS)
    await apps.run(app)
    assert await flow.result() == {"z": "none"}
    await app.complete(flow.id, "ask", await token_of(flow, "ask"), {"hint": "too late"})
    state = await deactivated(flow)
    assert [each["value"] for each in state["attributes"]["hint"]] == ["too late"]
    assert state["executions"]["goal"]["inputs"] == {"x": 1, "hint": "none"}


async def test_deadline_events_say_whose_and_how_long(apps: Apps) -> None:
    app, flow = await start_late(apps, SOON_MS)
    await apps.run(app)
    started = await event(flow, "deadline_started")
    passed = await event(flow, "deadline_passed")
    assert started["data"] == {"step": "goal", "name": "hint", "delay_ms": SOON_MS}
    assert passed["data"] == {"step": "goal", "name": "hint"}
    assert passed["at"] - started["at"] >= SOON_MS
    assert f"{passed['cause']}-0" == started["id"]


async def test_a_deadline_survives_the_engine_that_saw_it_start(apps: Apps) -> None:
    app, flow = await start_late(apps, SOON_MS)
    first = await apps.run(app)
    await event(flow, "deadline_started")
    await first.kill()
    other = apps()
    await apps.run(other)  # it has no python steps at all
    await event(other.flow(flow.id), "deadline_passed", step="goal", name="hint")
    assert await flow.result() == {"z": "none"}


async def test_a_deadline_of_a_name_with_blanks_passes(apps: Apps) -> None:
    """The due entry's member holds the name as it is."""
    app = apps()

    @app.step(outputs="late_hint")
    async def ask(x: int) -> Any:
        return ACCEPTED

    given = optional(deadline=SOON_MS, mapping={"name": "hint"}, default="0")
    goal = script("goal", "return {z = hint}", x=required(), z=output())
    goal["attributes"]["a late hint"] = given
    told = script("told", "return {hint = late_hint}", late_hint=required())
    told["attributes"]["a late hint"] = output(mapping={"name": "hint"})
    await app.register_steps([goal, told])
    await apps.run(app)
    flow = await app.start(["goal"], {"x": 1})
    passed = await event(flow, "deadline_passed")
    assert passed["data"] == {"step": "goal", "name": "a late hint"}


async def test_why_and_progress_tell_of_a_deadline_that_runs(apps: Apps) -> None:
    app, flow = await start_late(apps, LATE_MS)
    await apps.run(app)
    await event(flow, "deadline_started")
    await token_of(flow, "ask")
    said = [clause["text"] for clause in (await app.why(flow.id, "goal"))["why"]]
    text = "it waits for the optional `hint` from `ask`, at most until its deadline in "
    assert [each for each in said if each.startswith(text)]
    watching = flow.watch()
    progress = await anext(watching)
    await watching.aclose()
    assert {each["id"]: each["waits_for"] for each in progress["steps"]}["goal"] == ["ask"]


# -------------------------------------------------------------------------- mappings


async def test_mappings_in_both_languages_transform_inputs_and_outputs(apps: Apps) -> None:
    app = apps()
    await app.register_steps(
        [
            script(
                "goal",
                "return {sum = total + rate, note = {text = 'ok'}, gone = {a = 1}}",
                order=required(mapping={"name": "total", "script": jpath("$.lines[0].price")}),
                factor=required(mapping={"name": "rate", "script": lua("rate * 10")}),
                sum=output(mapping={"script": lua("return 'EUR ' .. sum")}),
                text=output(mapping={"name": "note", "script": jpath("$.text")}),
                gone=output(mapping={"script": jpath("$.b")}),
            )
        ]
    )
    await apps.run(app)
    flow = await app.start(["goal"], {"order": {"lines": [{"price": 7}]}, "factor": 2})
    assert await flow.result() == {"sum": "EUR 27", "text": "ok"}
    started = await event(flow, "step_started", step="goal")
    assert started["data"]["inputs"] == {"total": 7, "rate": 20}


async def test_a_mapping_makes_the_list_that_for_each_splits_under_the_inner_name(apps: Apps) -> None:
    app = apps()
    step = script(
        "goal",
        "return {out = line.n * 2}",
        order=required(for_each=True, mapping={"name": "line", "script": jpath("$.lines[*]")}),
        z=output(mapping={"name": "out", "script": lua("{double = value}")}),
    )
    await app.register_steps([{**step, "work_config": {"parallelism": 2}}])
    await apps.run(app)
    flow = await app.start(["goal"], {"order": {"lines": [{"n": 1}, {"n": 2}]}})
    assert await flow.result() == {
        "z": [{"order": {"n": 1}, "z": {"double": 2}}, {"order": {"n": 2}, "z": {"double": 4}}]
    }


async def test_an_empty_table_of_a_mapping_is_a_list_where_one_is_declared(apps: Apps) -> None:
    app = apps()
    step = script(
        "goal",
        "return {rest = 1}",
        rows=required(for_each=True, mapping={"script": lua("{}")}),
        rest=output(),
    )
    plain = script("plain", "return {z = 1, m = 1}", x=required())
    plain["attributes"] |= {
        "z": {"type": "array", **output(mapping={"script": lua("{}")})},
        "m": {"type": "object", **output(mapping={"script": lua("{}")})},
    }
    await app.register_steps([step, plain])
    await apps.run(app)
    flow = await app.start(["goal", "plain"], {"rows": [1, 2], "x": 1})
    assert await flow.result() == {"rest": [], "z": [], "m": {}}


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ({"x": required(mapping={"script": lua("x.y.z")})}, 'goal "goal" failed: the mapping of input "x"'),
        (
            {"x": required(), "z": output(mapping={"script": lua("z.y.w")})},
            'the mapping of output "z" failed',
        ),
    ],
)
async def test_a_mapping_that_raises_fails_its_step_for_good(
    apps: Apps, attributes: dict[str, Any], error: str
) -> None:
    app = apps()
    await app.register_steps([script("goal", "return {z = 1}", **attributes)])
    await apps.run(app)
    flow = await app.start(["goal"], {"x": 1})
    with pytest.raises(FlowFailed, match=error):
        await flow.result()
