"""Sub-flows as a user sees them: children that run, fail, end with their parents, and have children."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from api_apps import Apps, deactivated, event, items_of, until

from argyll_redis import (
    ACCEPTED,
    Argyll,
    Failed,
    FlowFailed,
    FlowHandle,
    InvalidCatalog,
    InvalidInput,
    Retry,
    UnknownGoal,
)

pytestmark = pytest.mark.anyio


def flow_step(id: str, goals: str, gives: dict[str, str], **inputs: Any) -> dict[str, Any]:
    """A flow step; `gives` maps its outputs to what its goals call them."""
    attributes: dict[str, Any] = {
        name: {"role": "output", "output": {"mapping": {"name": inner}}} for name, inner in gives.items()
    }
    work = inputs.pop("work_config", {})
    attributes |= inputs
    return {
        "id": id,
        "type": "flow",
        "flow": {"goals": goals.split()},
        "attributes": attributes,
        "work_config": work,
    }


def needs(inner: str = "", **options: Any) -> dict[str, Any]:
    if inner:
        options["mapping"] = {"name": inner}
    return {"role": "required", "required": options}


def calculator(apps: Apps) -> Argyll:
    """An app that doubles numbers; 13 cannot be doubled."""
    app = apps()

    @app.step(outputs="doubled", retry=Retry(max_attempts=1))
    async def double(n: int) -> int:
        if n == 13:
            raise Failed("13 is not liked")
        return 2 * n

    @app.step(outputs="text")
    async def write(y: int) -> str:
        return f"it is {y}"

    return app


async def children_of(flow: FlowHandle, step: str) -> list[str]:
    return [item["child"] for item in await items_of(flow, step) if "child" in item]


TWICE = flow_step("twice", "double", {"y": "doubled"}, x=needs("n"))


# -------------------------------------------------------------------- results


async def test_a_sub_flows_result_goes_on_in_its_parent(apps: Apps) -> None:
    app = calculator(apps)
    await app.register_steps([TWICE])
    await apps.run(app)
    flow = await app.start(["write"], {"x": 4})
    assert await flow.result(timeout_ms=20_000) == {"text": "it is 8"}


async def test_one_goal_of_a_sub_flow_feeds_another(apps: Apps) -> None:
    app = calculator(apps)
    both = flow_step("both", "double again", {"y": "doubled", "z": "more"}, x=needs("n"))

    @app.step(outputs="more")
    async def again(doubled: int) -> int:
        return doubled + 1

    await app.register_steps([both])
    await apps.run(app)
    flow = await app.start(["both"], {"x": 4})
    assert await flow.result(timeout_ms=20_000) == {"y": 8, "z": 9}


async def test_a_for_each_flow_step_has_a_child_for_each_element(apps: Apps) -> None:
    app = calculator(apps)
    await app.register_steps(
        [flow_step("all", "double", {"ys": "doubled"}, xs=needs("n", for_each=True), work_config=PAIRS)]
    )
    await apps.run(app)
    flow = await app.start(["all"], {"xs": [1, 2, 3, 4, 5]})
    assert [row["ys"] for row in (await flow.result(timeout_ms=20_000))["ys"]] == [2, 4, 6, 8, 10]


PAIRS = {"parallelism": 2}


async def test_no_more_children_run_at_a_time_than_the_parallelism_allows(apps: Apps) -> None:
    app = apps()
    running, most = 0, 0

    @app.step(outputs="done")
    async def work(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return n

    await app.register_steps(
        [flow_step("all", "work", {"ys": "done"}, xs=needs("n", for_each=True), work_config=PAIRS)]
    )
    await apps.run(app)
    await (await app.start(["all"], {"xs": list(range(8))})).result(timeout_ms=20_000)
    assert most <= 2


async def test_children_have_children(apps: Apps) -> None:
    app = calculator(apps)
    four = flow_step("four", "twice again", {"w": "v"}, x=needs())
    again = flow_step("again", "double", {"v": "doubled"}, y=needs("n"))
    await app.register_steps([TWICE, four, again])
    await apps.run(app)
    flow = await app.start(["four"], {"x": 3})
    assert await flow.result(timeout_ms=20_000) == {"w": 12}


async def test_a_child_whose_values_are_all_given_is_done_from_the_start(apps: Apps) -> None:
    app = calculator(apps)
    await app.register_steps([flow_step("given", "double", {"y": "doubled"}, doubled=needs())])
    await apps.run(app)
    flow = await app.start(["given"], {"doubled": 5})
    assert await flow.result(timeout_ms=20_000) == {"y": 5}


async def test_a_whole_family_passes_its_audit(apps: Apps) -> None:
    app = calculator(apps)
    four = flow_step("four", "twice again", {"w": "v"}, x=needs())
    again = flow_step("again", "double", {"v": "doubled"}, y=needs("n"))
    await app.register_steps([TWICE, four, again])
    await apps.run(app)
    flow = await app.start(["four"], {"x": 3})
    await deactivated(flow)
    assert await app.audit() == {"flows": 4, "violations": []}


# -------------------------------------------------------------------- failures


async def test_a_failed_child_fails_its_parent_with_its_error(apps: Apps) -> None:
    app = calculator(apps)
    await app.register_steps([TWICE])
    await apps.run(app)
    flow = await app.start(["write"], {"x": 13})
    with pytest.raises(FlowFailed, match='the sub-flow failed: goal "double" failed: 13 is not liked'):
        await flow.result(timeout_ms=20_000)


async def test_a_step_that_tolerates_failures_completes_without_the_children_that_failed(apps: Apps) -> None:
    app = calculator(apps)
    work = {"parallelism": 3, "on_failure": "tolerate"}
    await app.register_steps(
        [flow_step("all", "double", {"ys": "doubled"}, xs=needs("n", for_each=True), work_config=work)]
    )
    await apps.run(app)
    flow = await app.start(["all"], {"xs": [1, 13, 3]})
    assert [row["ys"] for row in (await flow.result(timeout_ms=20_000))["ys"]] == [2, 6]


async def test_a_child_that_lacks_a_mapped_output_fails_its_parent(memory: Apps) -> None:
    app = calculator(memory)
    await app.register_steps([flow_step("twice", "double", {"y": "halved"}, x=needs("n"))])
    await memory.run(app)
    outcome = await (await app.start(["twice"], {"x": 4})).outcome(timeout_ms=20_000)
    assert 'a mapped output is missing: the sub-flow gave no "halved"' in outcome["error"]


async def test_a_value_of_another_type_than_the_sub_flow_declares_fails_its_item(memory: Apps) -> None:
    app = calculator(memory)
    await app.register_steps([TWICE])
    await memory.run(app)
    outcome = await (await app.start(["twice"], {"x": "four"})).outcome(timeout_ms=20_000)
    assert 'input "n" is not of the type number, which step "double" of the sub-flow declares' in str(outcome)


async def test_an_unknown_goal_of_a_sub_flow_refuses_the_start(memory: Apps) -> None:
    app = memory()
    await app.register_steps([flow_step("twice", "nobody", {})])
    with pytest.raises(UnknownGoal, match="`nobody` of flow step `twice`"):
        await app.start(["twice"])


async def test_what_a_sub_flow_lacks_refuses_the_start(memory: Apps) -> None:
    app = calculator(memory)
    await app.register_steps([flow_step("twice", "double", {})])
    with pytest.raises(InvalidInput, match="flow step `twice`: its goals need `n`"):
        await app.start(["twice"], {"n": 1})


async def test_a_cycle_through_sub_flow_goals_is_not_registered(memory: Apps) -> None:
    with pytest.raises(InvalidCatalog, match="a cycle through sub-flow goals"):
        await memory().register_steps([flow_step("a", "b", {}), flow_step("b", "a", {})])


# ------------------------------------------------------------------------- ends


def waiting(apps: Apps) -> Argyll:
    """An app with a step that waits for somebody."""
    app = apps()

    @app.step(outputs="said")
    async def ask(n: int) -> Any:
        return ACCEPTED

    return app


ASK = flow_step("all", "ask", {"ys": "said"}, xs=needs("n", for_each=True), work_config={"parallelism": 3})


async def asked(apps: Apps, **options: Any) -> tuple[Argyll, FlowHandle, list[FlowHandle]]:
    """A flow with two children, each of which waits for somebody."""
    app = waiting(apps)
    await app.register_steps([{**ASK, **options}])
    await apps.run(app)
    flow = await app.start(["all"], {"xs": [1, 2]})
    accepted: list[str] = []
    async for each in flow.events():
        accepted += [each["data"]["token"]] if each["type"] == "work_accepted" else []
        if len(accepted) == 2:
            break
    children = [app.flow(id) for id in await children_of(flow, "all")]
    for child in children:
        await event(child, "work_accepted")
    return app, flow, children


async def test_cancelling_a_flow_cancels_its_children(apps: Apps) -> None:
    _, flow, children = await asked(apps)
    await flow.cancel()
    outcomes = [await child.outcome(timeout_ms=20_000) for child in children]
    assert [each["error"] for each in outcomes] == ["cancelled", "cancelled"]


async def test_a_cancelled_child_fails_its_step(apps: Apps) -> None:
    _, flow, children = await asked(apps)
    await children[0].cancel()
    outcome = await flow.outcome(timeout_ms=20_000)
    assert outcome["error"].endswith("the sub-flow failed: cancelled")


async def test_a_step_that_fails_by_one_child_cancels_the_others(apps: Apps) -> None:
    _, _, children = await asked(apps)
    await children[0].cancel()
    assert (await children[1].outcome(timeout_ms=20_000))["error"] == "cancelled"


async def test_a_flow_step_that_times_out_cancels_its_children(apps: Apps) -> None:
    work = {"parallelism": 3, "timeout": 200}
    _, flow, children = await asked(apps, work_config=work)
    outcomes = [await each.outcome(timeout_ms=20_000) for each in (*children, flow)]
    assert [each["error"].rpartition(": ")[2] for each in outcomes] == ["cancelled", "cancelled", "timed out"]


async def test_a_child_is_completed_by_its_own_tokens(apps: Apps) -> None:
    app, flow, children = await asked(apps)
    for place, child in enumerate(children):
        [item] = await app.waiting(child.id, "ask")
        await app.complete(child.id, "ask", item["token"], {"said": place})
    assert [row["ys"] for row in (await flow.result(timeout_ms=20_000))["ys"]] == [0, 1]


# --------------------------------------------------------------------- reading


async def test_lists_leave_children_out(apps: Apps) -> None:
    app, flow, _ = await asked(apps)
    assert [each["id"] for each in await app.flows()] == [flow.id]


async def test_a_childs_metadata_says_whose_it_is(memory: Apps) -> None:
    _, flow, children = await asked(memory)
    token = children[0].id.rpartition(":")[2]
    assert (await children[0].state())["metadata"] == {
        "parent_flow_id": flow.id,
        "parent_step_id": "all",
        "parent_token": token,
    }


async def test_why_follows_a_flow_step_into_its_child(memory: Apps) -> None:
    app, flow, children = await asked(memory)
    texts = [clause["text"] for clause in (await app.why(flow.id, "all"))["why"]]
    assert f"in child flow `{children[0].id}` goal `ask` is active" in " ".join(texts)


async def test_a_step_that_waits_for_children_waits_for_nobody_outside(memory: Apps) -> None:
    app, flow, _ = await asked(memory)
    assert await app.waiting(flow.id, "all") == []


async def test_progress_names_the_children_that_are_waited_for(memory: Apps) -> None:
    _, flow, children = await asked(memory)
    shown = await anext(flow.watch())
    assert shown["steps"][0]["children"] == [child.id for child in children]


async def test_a_restarted_child_is_a_flow_of_its_own(memory: Apps) -> None:
    app, _, children = await asked(memory)
    again = await app.restart(children[0].id)
    assert (":" in again.id, (await again.state())["metadata"]) == (False, {})


async def test_a_flow_step_can_be_done_by_an_engine_without_functions(apps: Apps) -> None:
    app = calculator(apps)
    await app.register_steps([TWICE])
    starter, worker = apps(), calculator(apps)
    await apps.run(starter)
    flow = await app.start(["twice"], {"x": 1})
    await event(flow, "work_accepted")
    await apps.run(worker)
    assert await flow.result(timeout_ms=20_000) == {"y": 2}


async def test_an_exported_flow_with_children_is_read_elsewhere_without_them(memory: Apps) -> None:
    app = calculator(memory)
    await app.register_steps([TWICE])
    await memory.run(app)
    flow = await app.start(["twice"], {"x": 1}, id="it")
    await deactivated(flow)
    lines = [line async for line in app.export_flow("it")]
    lines[0] = {**lines[0], "flow_id": "other"}
    await app.import_flow(lines)
    assert (await app.audit("other"))["violations"] == []


async def test_a_child_of_an_engine_that_was_killed_is_found_again(apps: Apps) -> None:
    first = waiting(apps)
    await first.register_steps([ASK])
    doomed = await apps.run(apps(lease_ms=600))
    flow = await first.start(["all"], {"xs": [1]})
    await event(flow, "work_accepted")
    await doomed.kill()
    [child] = [first.flow(id) for id in await children_of(flow, "all")]
    await apps.run(waiting(apps))
    accepted = await event(child, "work_accepted")
    await first.complete(child.id, "ask", accepted["data"]["token"], {"said": 7})
    assert [row["ys"] for row in (await flow.result(timeout_ms=20_000))["ys"]] == [7]


async def test_engines_have_nothing_left_when_a_family_is_done(memory: Apps) -> None:
    app = calculator(memory)
    await app.register_steps([TWICE])
    running = await memory.run(app)
    await deactivated(await app.start(["write"], {"x": 4}))
    engine = await running.engine()
    await until(lambda: not len(engine.hand))
    assert all(not queue["depth"] for queue in (await app.queue_stats())["queues"])
