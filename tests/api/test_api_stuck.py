"""What somebody learns whose flow does not go on: from the log of the engine, and from waiting in vain."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable

import pytest
from api_apps import Apps, event

from argyll_redis import FlowHandle, Retry, StoreUnavailable
from argyll_redis.store.memory import MemoryStore

pytestmark = pytest.mark.anyio

AT_ONCE = Retry(max_attempts=3, backoff="fixed", initial_ms=1)
LATER = Retry(backoff="fixed", initial_ms=60_000)


async def given_up(flow: FlowHandle) -> str:
    """What is said when the flow is waited for in vain."""
    with pytest.raises(TimeoutError) as raised:
        await flow.result(timeout_ms=0)
    return str(raised.value)


def raising(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [each for each in caplog.records if "raised in attempt" in each.message]


# ---------------------------------------------------------------------- the log


async def in_async_code() -> int:
    return {}["price"]


def in_plain_code() -> int:
    return {}["price"]


@pytest.mark.parametrize("function", [in_async_code, in_plain_code])
async def test_the_first_attempt_that_raises_is_a_warning_with_the_users_own_lines(
    function: Callable[[], int | Awaitable[int]], memory: Apps, caplog: pytest.LogCaptureFixture
) -> None:
    app = memory()
    app.step(function, id="it", outputs="x", retry=LATER)
    await memory.run(app)
    await event(await app.start(["it"], id="f"), "work_not_completed")
    [record] = raising(caplog)
    assert (record.levelname, record.message) == (
        "WARNING",
        "step it of flow f raised in attempt 1: KeyError: 'price'",
    )
    assert record.exc_info
    assert [frame.name for frame in traceback.extract_tb(record.exc_info[2])] == [function.__name__]


async def test_an_attempt_that_raises_again_is_one_line(
    memory: Apps, caplog: pytest.LogCaptureFixture
) -> None:
    app = memory()

    @app.step(outputs="x", retry=AT_ONCE)
    def it() -> int:
        raise OSError("no route\nto host")

    await memory.run(app)
    with caplog.at_level(logging.INFO, "argyll_redis"):
        await event(await app.start(["it"], id="f"), "step_failed")
    assert [(each.levelname, bool(each.exc_info)) for each in raising(caplog)] == [
        ("WARNING", True),
        ("INFO", False),
        ("INFO", False),
    ]
    assert raising(caplog)[1].message == "step it of flow f raised in attempt 2: OSError: no route to host"


async def test_an_exception_that_the_step_lists_as_permanent_is_no_warning(
    memory: Apps, caplog: pytest.LogCaptureFixture
) -> None:
    app = memory()

    @app.step(outputs="x", permanent=KeyError)
    def it() -> int:
        raise KeyError("declined")

    await memory.run(app)
    with caplog.at_level(logging.INFO, "argyll_redis"):
        await event(await app.start(["it"]), "step_failed")
    assert [(each.levelname, bool(each.exc_info)) for each in raising(caplog)] == [("INFO", True)]


# --------------------------------------------------------------- waiting in vain


async def test_who_gives_up_is_told_of_the_error_that_a_retry_is_for(memory: Apps) -> None:
    app = memory()

    @app.step(outputs="x", retry=LATER)
    def it() -> int:
        return undefined_name  # type: ignore[name-defined]  # noqa: F821

    await memory.run(app)
    flow = await app.start([it], id="f")
    await event(flow, "work_retry_scheduled")
    told = await given_up(flow)
    assert told.startswith('flow "f" has no outcome after 0 ms: step `it`: retry 1 is due in ')
    assert told.endswith(", as attempt 1 was not completed: NameError: name 'undefined_name' is not defined")


async def test_who_gives_up_is_told_that_no_engine_is_alive(memory: Apps) -> None:
    app = memory()

    @app.step(outputs="x")
    def it() -> int:
        return 1

    told = await given_up(await app.start([it]))
    assert told.endswith(" after 0 ms: no engine is alive, so nothing runs until one is started")


async def test_who_gives_up_is_told_of_a_handler_or_a_queue_that_no_engine_has(memory: Apps) -> None:
    app = memory()

    @app.step(outputs="x")
    def here() -> int:
        return 1

    places = {"there": {"handler": "there"}, "far": {"handler": "here", "queue": "far"}}
    await app.register_steps(
        [{"id": id, "type": "python", "python": work, "attributes": {}} for id, work in places.items()]
    )
    await memory.run(app)
    told = [await given_up(await app.start([goal])) for goal in ("there", "far")]
    assert [each.partition(" 0 ms: ")[2] for each in told] == [
        "step `there`: no live engine has this handler (`there`)",
        "step `far`: no live engine serves its queue (`far`)",
    ]


async def test_who_gives_up_on_a_parent_is_told_of_the_step_of_its_child(memory: Apps) -> None:
    app = memory()

    @app.step(outputs="x", retry=LATER)
    def it() -> int:
        raise OSError("no route")

    await app.register_declared()
    parent = {"id": "parent", "type": "flow", "flow": {"goals": ["it"]}, "attributes": {}}
    await app.register_steps([parent])
    await memory.run(app)
    flow = await app.start(["parent"], id="f")
    accepted = await event(flow, "work_accepted")
    child = app.flow(f"f:parent:{accepted['data']['token']}")
    await event(child, "work_retry_scheduled")
    told = await given_up(flow)
    assert f"step `parent`: attempt 1 waits for its child flow `{child.id}`, started " in told
    assert "; in it step `it`: retry 1 is due in " in told
    assert told.endswith("as attempt 1 was not completed: OSError: no route")


async def test_who_gives_up_while_the_server_is_away_is_told_no_more(
    memory: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = memory()

    @app.step(outputs="x")
    def it() -> int:
        return 1

    async def away(self: MemoryStore) -> None:
        raise StoreUnavailable("it is away")

    flow = await app.start([it], id="f")
    monkeypatch.setattr(MemoryStore, "engines", away)
    assert await given_up(flow) == 'flow "f" has no outcome after 0 ms'


async def test_a_flow_that_is_over_waits_for_nothing(memory: Apps) -> None:
    app = memory()

    @app.step(outputs="x")
    def it() -> int:
        return 1

    flow = await app.start([it])
    await flow.cancel()
    assert await app.waits_for(flow.id) == ""
