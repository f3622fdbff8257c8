"""Steps that say that they may be spared: when an earlier outcome is taken, and when they are called."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from api_apps import Apps, deactivated, event, items_of, until

from argyll_redis import ACCEPTED, AppConfig, Argyll, Failed, InvalidStep, Retry
from argyll_redis.core.parse import parse_step
from argyll_redis.errors import StoreUnavailable
from argyll_redis.runtime.memo import memo_key
from argyll_redis.store.memory import MemoryStore

pytestmark = pytest.mark.anyio

ONCE = Retry(max_attempts=1)


def square(app: Argyll, calls: list[int], **options: Any) -> None:
    given: dict[str, Any] = {"outputs": "y", "memoizable": True, **options}

    @app.step(**given)
    def square(x: int) -> int:
        calls.append(x)
        return x * x


async def result(app: Argyll, goals: list[str], **init: Any) -> dict[str, Any]:
    flow = await app.start(goals, init)
    return await flow.result(timeout_ms=20_000)


async def kept(app: Argyll) -> None:
    """Waits until what was committed here is kept."""
    await (await app.node()).memo.close()


async def test_an_outcome_is_taken_from_an_earlier_flow_with_the_same_inputs(apps: Apps) -> None:
    app, calls = apps(), list[int]()
    square(app, calls)
    await apps.run(app)
    assert await result(app, ["square"], x=3) == {"y": 9}
    await kept(app)
    flow = await app.start(["square"], {"x": 3})
    assert await flow.result() == {"y": 9}
    assert await result(app, ["square"], x=4) == {"y": 16}
    assert calls == [3, 4]
    reused = await event(flow, "work_succeeded")
    assert (reused["data"]["memo"], reused["data"]["ran_ms"]) == (True, 0)
    why = [clause["text"] for clause in (await app.why(flow.id, "square"))["why"]]
    assert "1 outcome was taken from earlier successes with the same inputs" in why
    assert (await app.audit())["violations"] == []


async def test_an_outcome_is_shared_by_all_engines_of_a_namespace(apps: Apps) -> None:
    first, second = apps(), apps()
    calls: list[list[int]] = [[], []]
    square(first, calls[0])
    square(second, calls[1])
    running = await apps.run(first)
    await result(first, ["square"], x=3)
    await kept(first)
    await running.drain()
    await apps.run(second)
    assert await result(second, ["square"], x=3) == {"y": 9}
    assert calls == [[3], []]


async def test_a_memoizable_for_each_with_parallelism_reuses_item_by_item(apps: Apps) -> None:
    app, calls = apps(), list[int]()
    square(app, calls, for_each="x", parallelism=4)
    await apps.run(app)
    await result(app, ["square"], x=[1, 2, 3])
    await kept(app)
    flow = await app.start(["square"], {"x": [3, 4, 1, 5, 2]})
    assert [row["y"] for row in (await flow.result())["y"]] == [9, 16, 1, 25, 4]
    assert sorted(calls) == [1, 2, 3, 4, 5]
    memos = [e["data"].get("memo") async for e in flow.events(follow=False) if e["type"] == "work_succeeded"]
    assert memos.count(True) == 3
    assert (await app.audit())["violations"] == []


async def test_only_successes_are_kept(memory: Apps) -> None:
    app, calls = memory(), list[int]()

    @app.step(outputs="y", memoizable=True, retry=ONCE)
    def fails(x: int) -> int:
        calls.append(x)
        raise Failed("no")

    await memory.run(app)
    for _ in range(2):
        await deactivated(await app.start(["fails"], {"x": 1}))
    assert calls == [1, 1]


async def test_an_outcome_from_outside_is_kept_as_well(memory: Apps) -> None:
    app, calls = memory(), list[int]()

    @app.step(outputs="approved", memoizable=True)
    def approve(order: int) -> Any:
        calls.append(order)
        return ACCEPTED

    await memory.run(app)
    flow = await app.start(["approve"], {"order": 7})
    accepted = await event(flow, "work_accepted")
    await app.complete(flow.id, "approve", accepted["data"]["token"], {"approved": True, "by": "ada"})
    await kept(app)
    assert await result(app, ["approve"], order=7) == {"approved": True}
    assert calls == [7]


@pytest.mark.contract("memo and undo", "What is kept for reuse has a time to live.")
async def test_an_outcome_is_kept_no_longer_than_its_time(memory: Apps) -> None:
    app, calls = memory(config=AppConfig(memo_ttl_ms=1)), list[int]()
    square(app, calls)
    await memory.run(app)
    await result(app, ["square"], x=3)
    await kept(app)
    node = await app.node()
    before_ms = await node.store.now_ms()
    while await node.store.now_ms() <= before_ms + 1:
        await asyncio.sleep(0)
    await result(app, ["square"], x=3)
    assert calls == [3, 3]


def key_of(x: Any = 3, **fields: Any) -> str:
    """The key of a step for one input."""
    attributes = {"x": {"role": "required"}, "y": {"role": "output"}}
    definition = {"id": "a", "type": "python", "python": {"handler": "square"}, "attributes": attributes}
    return memo_key(parse_step({**definition, "memoizable": True, **fields}), {"x": x})


@pytest.mark.contract("memo and undo", "What cannot change an outcome is not compared.")
@pytest.mark.parametrize(
    "fields",
    [
        {"id": "b"},
        {"name": "Another name"},
        {"labels": {"tenant": "acme"}},
        {"work_config": {"parallelism": 9, "max_retries": 2}},
    ],
)
def test_what_changes_no_outcome_is_no_part_of_the_key(fields: dict[str, Any]) -> None:
    assert key_of(**fields) == key_of()


@pytest.mark.contract("memo and undo", "All that can is.")
@pytest.mark.parametrize(
    "fields",
    [
        {"x": 4},
        {"x": "3"},
        {"x": [3]},
        {"python": {"handler": "cube"}},
        {"predicate": {"language": "lua", "script": "return true"}},
        {"attributes": {"x": {"role": "required", "type": "number"}, "y": {"role": "output"}}},
    ],
)
def test_what_may_change_the_outcome_is_part_of_the_key(fields: dict[str, Any]) -> None:
    assert key_of(**fields) != key_of()


def test_the_order_of_the_names_in_an_input_is_no_part_of_the_key() -> None:
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})


async def test_a_memo_that_cannot_be_read_or_written_is_only_logged(
    memory: Apps, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> None:
        raise StoreUnavailable("memo is away")

    monkeypatch.setattr(MemoryStore, "recall", broken)
    monkeypatch.setattr(MemoryStore, "memorize", broken)
    app, calls = memory(), list[int]()
    square(app, calls)
    await memory.run(app)
    with caplog.at_level(logging.WARNING):
        assert [await result(app, ["square"], x=3) for _ in range(2)] == [{"y": 9}] * 2
        await kept(app)
    assert calls == [3, 3]
    assert "no earlier outcome of step square can be looked up, so it is called: memo is away" in caplog.text
    assert "an outcome is not kept for the next time: memo is away" in caplog.text


async def test_mappings_are_applied_to_a_reused_outcome_as_to_a_new_one(memory: Apps) -> None:
    app = memory()
    double = {"language": "lua", "script": "return {of = value}"}
    step = {
        "id": "count",
        "type": "script",
        "script": {"language": "lua", "script": "return {n = x + 1}"},
        "attributes": {
            "x": {"role": "required"},
            "y": {"role": "output", "output": {"mapping": {"name": "n", "script": double}}},
        },
        "memoizable": True,
    }
    await app.register_steps([step])
    await memory.run(app)
    first = await result(app, ["count"], x=1)
    await kept(app)
    flow = await app.start(["count"], {"x": 1})
    assert [await flow.result(), first] == [{"y": {"of": 2}}] * 2
    assert (await event(flow, "work_succeeded"))["data"]["memo"] is True


async def test_a_flow_step_takes_the_outcome_of_an_earlier_child(memory: Apps) -> None:
    app, calls = memory(), list[int]()
    square(app, calls, memoizable=False)
    await app.register_declared()
    attributes = {"x": {"role": "required"}, "z": {"role": "output", "output": {"mapping": {"name": "y"}}}}
    child = {"id": "child", "type": "flow", "flow": {"goals": ["square"]}, "attributes": attributes}
    await app.register_steps([{**child, "memoizable": True}])
    await memory.run(app)
    assert await result(app, ["child"], x=3) == {"z": 9}
    await kept(app)
    flow = await app.start(["child"], {"x": 3})
    assert await flow.result() == {"z": 9}
    assert calls == [3]
    assert [item["status"] for item in await items_of(flow, "child")] == ["succeeded"]
    assert (await app.audit())["violations"] == []


def test_a_memoizable_step_cannot_have_an_undo() -> None:
    app = Argyll("memory://")
    with pytest.raises(InvalidStep, match=r"memoizable: can't go together with `python.undo`"):

        @app.step(outputs="y", memoizable=True, undo=lambda inputs, outputs: None)
        def charge(x: int) -> int:
            return x


async def test_a_call_that_is_spared_leaves_no_slot_taken(memory: Apps) -> None:
    app, calls = memory(), list[int]()
    square(app, calls, for_each="x", parallelism=50)
    running = await memory.run(app, concurrency=3)
    engine = await running.engine()
    for _ in range(2):
        await result(app, ["square"], x=list(range(20)))
        await kept(app)
    await until(lambda: not len(engine.hand))
    assert (engine.counters.reused, len(calls)) == (20, 20)
    await running.drain()
    assert engine.intake.free_slots == 3
