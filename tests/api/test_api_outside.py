"""What people and outside systems do to a flow: complete, fail, put off and cancel; and what time does."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from api_apps import Apps, deactivated, event, items_of, token_of, types_of, version_of

from argyll_redis import (
    ACCEPTED,
    Argyll,
    FlowFailed,
    FlowHandle,
    InvalidInput,
    NotCompleted,
    Retry,
    StepContext,
    UnknownToken,
)
from argyll_redis.core import limits

pytestmark = pytest.mark.anyio


class Office:
    """An app with a step that a person answers, the flow that waits for it, and its token."""

    def __init__(self, app: Argyll) -> None:
        self.app = app
        self.calls: list[int] = []

        @app.step(outputs=("approved", "note"), retry=Retry(max_retries=2, initial_ms=1, backoff="fixed"))
        async def approve(order: str, ctx: StepContext) -> Any:
            self.calls.append(ctx.attempt)
            return ACCEPTED

        @app.step(outputs="sent")
        async def send(approved: bool) -> str:
            return f"sent: {approved}"

    async def start(self) -> tuple[FlowHandle, str]:
        flow = await self.app.start(["send"], {"order": "o"})
        return flow, await token_of(flow, "approve")


@pytest.fixture
async def office(apps: Apps) -> Office:
    office = Office(apps())
    await apps.run(office.app)
    return office


# -------------------------------------------------------------------- complete


async def test_a_completion_from_any_process_counts_once(office: Office, apps: Apps) -> None:
    flow, token = await office.start()
    desk = apps()
    assert await desk.complete(flow.id, "approve", token, {"approved": True, "more": 1}) is True
    assert await flow.result() == {"sent": "sent: True"}
    [item] = await items_of(flow, "approve")
    assert item["outputs"] == {"approved": True}
    succeeded = await event(flow, "work_succeeded", step="approve")
    assert (succeeded["cause"], succeeded["by"].partition(":")[0]) == (0, "operator")
    before = await version_of(flow)
    assert await desk.complete(flow.id, "approve", token, {"approved": False}) is False
    assert await version_of(flow) == before


async def test_a_duplicate_is_on_record_once_while_the_flow_goes_on(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="one")
    def ask_one() -> Any:
        return ACCEPTED

    @app.step(outputs="two")
    def ask_two() -> Any:
        return ACCEPTED

    await apps.run(app)
    flow = await app.start([ask_one, ask_two])
    token = await token_of(flow, "ask_one")
    await token_of(flow, "ask_two")
    answers = [await app.complete(flow.id, "ask_one", token, {"one": n}) for n in range(5)]
    assert answers == [True, False, False, False, False]
    ignored = [each["data"] async for each in flow.events(follow=False) if each["type"] == "work_ignored"]
    reason = "the work item is over already: succeeded"
    assert ignored == [{"step": "ask_one", "token": token, "attempt": 1, "reason": reason}]
    assert (await items_of(flow, "ask_one"))[0]["outputs"] == {"one": 0}


async def test_of_many_completions_at_once_one_counts(office: Office, apps: Apps) -> None:
    flow, token = await office.start()
    desks = [apps() for _ in range(3)]
    answers = await asyncio.gather(
        *(
            desk.complete(flow.id, "approve", token, {"approved": f"{desk.client_id} {n}"})
            for desk in desks
            for n in range(5)
        )
    )
    assert sorted(answers) == [False] * 14 + [True]
    await deactivated(flow)
    assert (await types_of(flow)).count("work_succeeded") == 2


async def test_a_failure_from_outside_fails_the_flow(office: Office) -> None:
    flow, token = await office.start()
    assert await office.app.fail(flow.id, "approve", token, "not this time") is True
    with pytest.raises(FlowFailed, match="not this time"):
        await flow.result()
    assert await office.app.fail(flow.id, "approve", token, "again") is False
    assert await office.app.complete(flow.id, "approve", token, {"approved": True}) is False


async def test_what_is_put_off_is_called_again_under_the_same_token(office: Office) -> None:
    flow, token = await office.start()
    assert await office.app.retry_later(flow.id, "approve", token, "out to lunch") is True
    await event(flow, "work_accepted", attempt=2)
    assert office.calls == [1, 2]
    assert await office.app.complete(flow.id, "approve", token, {"approved": 1}) is True
    assert await flow.result() == {"sent": "sent: 1"}


async def test_what_is_put_off_too_often_fails(office: Office) -> None:
    flow, token = await office.start()
    for attempt in (2, 3):
        assert await office.app.retry_later(flow.id, "approve", token)
        await event(flow, "work_accepted", attempt=attempt)
    assert await office.app.retry_later(flow.id, "approve", token)
    with pytest.raises(FlowFailed, match=r"not completed \(after 2 retries\)"):
        await flow.result()


async def test_putting_off_can_say_for_how_long(office: Office) -> None:
    flow, token = await office.start()
    assert await office.app.retry_later(flow.id, "approve", token, after_ms=60_000) is True
    scheduled = await event(flow, "work_retry_scheduled")
    assert scheduled["data"] == {"step": "approve", "token": token, "attempt": 2, "delay_ms": 60_000}
    assert await office.app.retry_later(flow.id, "approve", token) is False
    assert await office.app.complete(flow.id, "approve", token, {"approved": 2}) is True


async def test_what_nobody_knows_is_answered_alike_and_nothing_is_written(office: Office) -> None:
    flow, token = await office.start()
    before = await version_of(flow)
    app, other = office.app, "0" * 32
    wrong: list[tuple[Any, Any, Any]] = [
        ("nobody", "approve", token),
        ("Not An Id", "approve", token),
        (None, "approve", token),
        (flow.id, "send", token),
        (flow.id, "aprove", token),
        (flow.id, None, token),
        (flow.id, "approve", other),
        (flow.id, "approve", ""),
        (flow.id, "approve", None),
        (flow.id, "approve", ["x"]),
    ]
    for names in wrong:
        for say in (app.complete(*names), app.fail(*names, "no"), app.retry_later(*names)):
            with pytest.raises(UnknownToken, match="has this token"):
                await say
    assert await version_of(flow) == before
    assert await app.complete(flow.id, "approve", token, {"approved": True})


async def test_a_completion_that_cannot_be_is_refused_and_hurts_nobody(office: Office) -> None:
    flow, token = await office.start()
    before = await version_of(flow)
    app = office.app
    outputs: list[tuple[Any, str]] = [
        ([1], "outputs: is not an object"),
        ("x", "outputs: is not an object"),
        ({"approved": {1}}, "outputs.approved: a value of the Python type"),
        ({"approved": float("nan")}, "outputs.approved: nan"),
        ({"approved": "\ud800"}, "outputs.approved: text with a lone surrogate"),
        ({"approved": 2**70}, "outputs.approved: a whole number beyond 64 bit"),
        ({1: 2}, "1 is not a key"),
        ({"approved": "x" * limits.MAX_EVENT_BYTES}, "outputs: 2,097,1.. bytes, more than the 2,097,152"),
    ]
    for given, message in outputs:
        with pytest.raises(InvalidInput, match=message):
            await app.complete(flow.id, "approve", token, given)
    errors: list[Any] = [None, 7, "\ud800"]
    for error in errors:
        with pytest.raises(InvalidInput, match="error: "):
            await app.fail(flow.id, "approve", token, error)
    delays: list[Any] = [-1, 1.5, "soon", True]
    for delay in delays:
        with pytest.raises(InvalidInput, match="after_ms: is"):
            await app.retry_later(flow.id, "approve", token, after_ms=delay)
    assert await version_of(flow) == before
    assert await app.complete(flow.id, "approve", token, {"approved": True})


async def test_a_long_error_is_cut(office: Office) -> None:
    flow, token = await office.start()
    await office.app.fail(flow.id, "approve", token, "x" * 100_000)
    failed = await event(flow, "work_failed")
    assert failed["data"]["error"] == "x" * limits.MAX_ERROR_CHARS


async def test_an_item_can_be_completed_while_it_is_still_called(apps: Apps) -> None:
    app = apps()
    may_end = asyncio.Event()

    @app.step(outputs="x")
    async def slow() -> int:
        await may_end.wait()
        return 1

    await apps.run(app)
    flow = await app.start([slow])
    token = (await event(flow, "work_started"))["data"]["token"]
    assert await apps().complete(flow.id, "slow", token, {"x": 2})
    assert await flow.result() == {"x": 2}
    may_end.set()
    await deactivated(flow)
    assert (await items_of(flow, "slow"))[0]["outputs"] == {"x": 2}


async def test_a_completion_may_come_before_the_call_has_returned(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x")
    async def ask(ctx: StepContext) -> Any:
        assert await app.complete(ctx.flow_id, ctx.step_id, ctx.token, {"x": 7})
        return ACCEPTED

    await apps.run(app)
    flow = await app.start([ask])
    assert await flow.result() == {"x": 7}


# ---------------------------------------------------------------------- cancel


async def test_cancelling_ends_a_flow_once(office: Office, apps: Apps) -> None:
    flow, _ = await office.start()
    assert await apps().cancel(flow.id) is True
    with pytest.raises(FlowFailed, match="cancelled"):
        await flow.result()
    before = await version_of(flow)
    assert await flow.cancel() is False
    assert await office.app.cancel(flow.id) is False
    assert await version_of(flow) == before
    failed = await event(flow, "flow_failed")
    assert (failed["data"], failed["cause"]) == ({"error": "cancelled"}, 0)


async def test_running_work_is_told_that_its_flow_was_cancelled(apps: Apps) -> None:
    app = apps(lease_ms=200)
    begun = threading.Barrier(3)
    seen: dict[str, bool] = {}

    @app.step(outputs="a")
    async def waits(ctx: StepContext) -> int:
        await asyncio.to_thread(begun.wait)
        while not ctx.cancelled:
            await asyncio.sleep(0.001)
        seen["async"] = True
        return 1

    @app.step(outputs="b")
    def works(ctx: StepContext) -> int:
        begun.wait()
        while not ctx.cancelled:
            pass
        seen["thread"] = True
        return 2

    await apps.run(app)
    flow = await app.start([waits, works])
    await asyncio.to_thread(begun.wait)
    assert await apps().cancel(flow.id)
    state = await deactivated(flow)
    assert seen == {"async": True, "thread": True}
    assert state["status"] == "failed"
    # what had begun is still recorded
    assert {name: values[0]["value"] for name, values in state["attributes"].items()} == {"a": 1, "b": 2}


async def test_nothing_starts_after_a_cancel(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x", retry=Retry(initial_ms=60_000))
    def fails() -> int:
        raise NotCompleted("later")

    await apps.run(app)
    flow = await app.start([fails])
    await event(flow, "work_retry_scheduled")
    await flow.cancel()
    await deactivated(flow)
    assert (await items_of(flow, "fails"))[0]["error"] == "abandoned"


# ------------------------------------------------------------------------ time


async def test_an_async_call_that_takes_too_long_is_stopped_and_tried_again(apps: Apps) -> None:
    app = apps()
    stopped: list[int] = []

    @app.step(outputs="x", timeout_ms=30, retry=Retry(initial_ms=1))
    async def slow(ctx: StepContext) -> int:
        if ctx.attempt == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                stopped.append(ctx.attempt)
                raise
        return ctx.attempt

    await apps.run(app)
    flow = await app.start([slow])
    assert await flow.result() == {"x": 2}
    assert stopped == [1]
    failed = await event(flow, "work_not_completed")
    assert failed["data"]["error"] == "timed out after 30 ms"


async def test_a_thread_that_takes_too_long_is_told_and_its_result_is_not_waited_for(apps: Apps) -> None:
    app = apps()
    told = threading.Event()
    may_end = threading.Event()

    @app.step(outputs="x", timeout_ms=30, retry=Retry(max_attempts=1))
    def slow(ctx: StepContext) -> int:
        while not ctx.cancelled and not may_end.is_set():
            pass
        told.set()
        return 1

    try:
        await apps.run(app, concurrency=1)
        flow = await app.start([slow])
        with pytest.raises(FlowFailed, match="timed out after 30 ms"):
            await flow.result()
        assert await asyncio.to_thread(told.wait, 10)
    finally:
        may_end.set()


async def test_a_call_is_told_its_deadline(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x", timeout_ms=60_000)
    def tell(ctx: StepContext) -> Any:
        return ctx.deadline

    await apps.run(app)
    flow = await app.start([tell])
    deadline = (await flow.result())["x"]
    started = await event(flow, "work_started")
    assert 60_000 - 5 <= deadline - started["at"] <= 60_000 + 30_000


async def test_an_outcome_from_outside_is_waited_for_until_the_timeout(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x", timeout_ms=40, retry=Retry(max_attempts=1))
    async def ask() -> Any:
        return ACCEPTED

    await apps.run(app)
    flow = await app.start([ask])
    with pytest.raises(FlowFailed, match="timed out"):
        await flow.result()


async def test_a_flow_that_takes_too_long_fails(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x")
    async def ask() -> Any:
        return ACCEPTED

    await apps.run(app)
    flow = await app.start([ask], timeout_ms=60)
    with pytest.raises(FlowFailed, match="timed out"):
        await flow.result()
    failed = await event(flow, "flow_failed")
    started = await event(flow, "flow_started")
    assert failed["at"] - started["at"] >= 60
    assert failed["by"].partition(":")[0] == "timer"


async def test_a_flow_that_ends_in_time_is_left_alone(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x")
    async def one() -> int:
        return 1

    await apps.run(app)
    flow = await app.start([one], timeout_ms=60_000)
    await deactivated(flow)
    stats = await app.queue_stats()
    assert [(row["depth"], row["in_flight"], row["due"]) for row in stats["queues"]] == [(0, 0, 0)] * 3
