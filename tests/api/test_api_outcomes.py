"""What a python step can do, and what its call then came to: returned, raised, or neither."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

import pytest
from api_apps import Apps, deactivated, event, items_of

from argyll_redis import Failed, FlowFailed, NotCompleted, Retry, StepContext
from argyll_redis.core import limits

pytestmark = pytest.mark.anyio

ONCE = Retry(max_attempts=1)


async def outcome_of(apps: Apps, function: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Runs a step and gives the outcome of its flow."""
    app = apps()
    app.step(function, **{"id": "it", "outputs": "x", "retry": ONCE, **options})
    await apps.run(app)
    flow = await app.start(["it"])
    return await flow.outcome(timeout_ms=20_000)


async def error_of(apps: Apps, function: Callable[..., Any], **options: Any) -> str:
    """Runs a step that must fail; gives its error."""
    outcome = await outcome_of(apps, function, **options)
    assert outcome["status"] == "failed"
    return outcome["error"].removeprefix('goal "it" failed: ').removesuffix(" (after 1 attempts)")


# ---------------------------------------------------------------------- raised


class Declined(Exception):
    pass


class CardDeclined(Declined):
    pass


class Rude(Exception):
    def __str__(self) -> str:
        raise RuntimeError("my text is broken")


RAISED: list[tuple[BaseException, str]] = [
    (ValueError("no"), "ValueError: no"),
    (KeyError("k"), "KeyError: 'k'"),
    (ValueError(), "ValueError"),
    (StopIteration("x"), "RuntimeError: coroutine raised StopIteration"),
    (SystemExit(3), "SystemExit: 3"),
    (GeneratorExit("odd"), "GeneratorExit: odd"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
    (asyncio.CancelledError(), "CancelledError"),
    (TimeoutError("slow"), "TimeoutError: slow"),
    (RecursionError("deep"), "RecursionError: deep"),
    (MemoryError(), "MemoryError"),
    (ExceptionGroup("two", [ValueError("a"), ValueError("b")]), "ExceptionGroup: two (2 sub-exceptions)"),
    (BaseException("base"), "BaseException: base"),
    (Rude(), "Rude"),
    (ValueError("lone \ud800"), "ValueError: lone ?"),
    (ValueError("x" * 10_000), "ValueError: " + "x" * (limits.MAX_ERROR_CHARS - len("ValueError: "))),
    (NotCompleted(), "not completed"),
    (NotCompleted("busy \ud800"), "busy ?"),
    (NotCompleted("y" * 10_000), "y" * limits.MAX_ERROR_CHARS),
]


@pytest.mark.parametrize(("error", "text"), RAISED, ids=[type(error).__name__ for error, _ in RAISED])
@pytest.mark.parametrize("timeout_ms", [None, 60_000])
async def test_whatever_is_raised_is_not_completed(
    memory: Apps, error: BaseException, text: str, timeout_ms: int | None
) -> None:
    async def in_the_loop(seen: int = 0) -> int:
        raise error

    def in_a_thread(in_loop: int = 0) -> int:
        raise error

    app = memory()
    app.step(in_the_loop, outputs="a", retry=ONCE, timeout_ms=timeout_ms)
    app.step(in_a_thread, outputs="b", retry=ONCE, timeout_ms=timeout_ms)
    await memory.run(app)
    for goal in (in_a_thread, in_the_loop):
        flow = await app.start([goal])
        failed = await event(flow, "work_not_completed")
        assert failed["data"]["error"] in (text, text.replace("coroutine raised ", "generator raised "))
        assert (await flow.outcome())["status"] == "failed"


async def test_what_would_end_a_process_is_tried_again(apps: Apps) -> None:
    app = apps()
    errors = iter([SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()])

    @app.step(outputs="x", retry=Retry(initial_ms=1, backoff="fixed"))
    async def it(ctx: StepContext) -> int:
        for error in errors:
            raise error
        return ctx.attempt

    await apps.run(app)
    flow = await app.start([it])
    assert await flow.result() == {"x": 4}


async def test_failed_is_for_good_in_its_own_words(apps: Apps) -> None:
    def it() -> int:
        raise Failed("the card is stolen")

    assert await error_of(apps, it, retry=None) == "the card is stolen"


async def test_failed_without_words_says_so(apps: Apps) -> None:
    async def it() -> int:
        raise Failed

    assert await error_of(apps, it, retry=None) == "Failed"


@pytest.mark.parametrize("raised", [Declined, CardDeclined])
async def test_a_permanent_type_and_its_subclasses_are_for_good(apps: Apps, raised: type[Exception]) -> None:
    def it() -> int:
        raise raised("no")

    assert await error_of(apps, it, permanent=(Declined,), retry=None) == f"{raised.__name__}: no"


async def test_other_types_than_the_permanent_ones_are_tried_again(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x", permanent=CardDeclined, retry=Retry(initial_ms=1))
    def it(ctx: StepContext) -> int:
        if ctx.attempt == 1:
            raise Declined("no")
        return ctx.attempt

    await apps.run(app)
    flow = await app.start([it])
    assert await flow.result() == {"x": 2}


@pytest.mark.parametrize(
    ("after_ms", "delay_ms"),
    [(60_000, 60_000), (60_000.4, 60_000), (10**15, limits.MAX_RETRY_AFTER_MS)],
)
async def test_not_completed_can_say_when_to_try_again(apps: Apps, after_ms: Any, delay_ms: int) -> None:
    app = apps()

    @app.step(outputs="x")
    def it() -> int:
        raise NotCompleted("busy", after_ms=after_ms)

    await apps.run(app)
    flow = await app.start([it])
    scheduled = await event(flow, "work_retry_scheduled")
    assert scheduled["data"]["delay_ms"] == delay_ms
    assert (await items_of(flow, "it"))[0]["error"] == "busy"


@pytest.mark.parametrize("after_ms", [0, -5])
async def test_not_completed_may_be_tried_again_at_once(apps: Apps, after_ms: int) -> None:
    app = apps()

    @app.step(outputs="x")
    def it(ctx: StepContext) -> int:
        if ctx.attempt == 1:
            raise NotCompleted(after_ms=after_ms)
        return ctx.attempt

    await apps.run(app)
    flow = await app.start([it])
    assert await flow.result(timeout_ms=10_000) == {"x": 2}


@pytest.mark.parametrize("after_ms", ["soon", float("nan"), float("inf"), [1]], ids=repr)
async def test_a_delay_that_is_none_leaves_it_to_the_policy(memory: Apps, after_ms: Any) -> None:
    app = memory()

    @app.step(outputs="x", retry=Retry(initial_ms=1, backoff="fixed"))
    def it(ctx: StepContext) -> int:
        if ctx.attempt == 1:
            raise NotCompleted(after_ms=after_ms)
        return ctx.attempt

    await memory.run(app)
    flow = await app.start([it])
    assert await flow.result() == {"x": 2}


# -------------------------------------------------------------------- returned


class Colour(StrEnum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


class Thing:
    pass


PLAIN: list[tuple[Any, Any]] = [
    (None, None),
    (0, 0),
    (2**64 - 1, 2**64 - 1),
    (1.5, 1.5),
    ((1, 2), [1, 2]),
    (Colour.RED, "red"),
    (Point(1, 2), [1, 2]),
    (OrderedDict(b=1, a=[True]), {"b": 1, "a": [True]}),
    ("\x00😀", "\x00😀"),
    ({}, {}),
    ([], []),
]


@pytest.mark.parametrize(("returned", "value"), PLAIN, ids=[repr(value) for _, value in PLAIN])
async def test_plain_values_are_outputs(memory: Apps, returned: Any, value: Any) -> None:
    outcome = await outcome_of(memory, lambda: returned)
    assert outcome["result"] == {"x": value}


NOT_JSON: list[tuple[Any, str]] = [
    ({1, 2}, "x: a value of the Python type `builtins.set` is not JSON"),
    (float("nan"), "x: nan is not a JSON number"),
    ([1, {"a": float("inf")}], "x[1].a: inf is not a JSON number"),
    (2**64, "x: a whole number beyond 64 bit"),
    (b"bytes", "x: a value of the Python type `builtins.bytes` is not JSON"),
    (Thing(), "x: a value of the Python type `test_api_outcomes.Thing` is not JSON"),
    ({1: 2}, "1 is not a key of a JSON object"),
    ("\ud800", "x: text with a lone surrogate at character 0"),
    ([0] * 100_001, "x: an array of more than 100,000 elements"),
]


@pytest.mark.parametrize(("returned", "error"), NOT_JSON, ids=[error for _, error in NOT_JSON])
async def test_what_is_no_json_fails_for_good_and_says_where(memory: Apps, returned: Any, error: str) -> None:
    text = await error_of(memory, lambda: returned, retry=None)
    assert text.startswith("the outputs are not JSON: ")
    assert error in text


async def test_a_list_that_holds_itself_fails_for_good(apps: Apps) -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "nested more than 64 levels deep" in await error_of(apps, lambda: endless, retry=None)


async def test_outputs_that_no_event_can_hold_fail_the_step_clearly(apps: Apps) -> None:
    size = limits.MAX_EVENT_BYTES + len('{"x":""}') + 1
    text = await error_of(apps, lambda: "x" * (limits.MAX_EVENT_BYTES + 1), retry=None)
    assert text == (
        f"the outputs are {size:,} bytes, more than the {limits.MAX_EVENT_BYTES:,} that an event may have "
        "(keep large data elsewhere, give its place)"
    )


async def test_outputs_just_below_that_go_through(apps: Apps) -> None:
    size = limits.MAX_EVENT_BYTES - len('{"x":""}')
    outcome = await outcome_of(apps, lambda: "x" * size)
    assert len(outcome["result"]["x"]) == size


async def test_several_outputs_need_a_mapping(apps: Apps) -> None:
    text = await error_of(apps, lambda: [1, 2], outputs=("x", "y"), retry=None)
    assert text == "the outputs are not JSON: expected a mapping with x, y, got a list"


async def test_an_output_that_is_left_out_is_not_provided(apps: Apps) -> None:
    app = apps()

    @app.step(outputs=("x", "y"))
    def give() -> dict[str, Any]:
        return {"x": 1}

    @app.step(outputs="z")
    def use(y: int) -> int:
        return y

    await apps.run(app)
    flow = await app.start([give])
    assert await flow.result() == {"x": 1}
    other = await app.start([use])
    with pytest.raises(FlowFailed, match="y"):
        await other.result()


async def test_without_outputs_nothing_is_made_of_what_is_returned(apps: Apps) -> None:
    outcome = await outcome_of(apps, lambda: Thing(), outputs=())
    assert outcome["result"] == {}


async def test_what_is_changed_after_it_was_returned_is_not_seen(apps: Apps) -> None:
    kept: dict[str, Any] = {"n": 1}
    app = apps()

    @app.step(outputs="x")
    async def it() -> dict[str, Any]:
        asyncio.get_running_loop().call_soon(kept.update, {"n": 2})
        return kept

    await apps.run(app)
    flow = await app.start([it])
    assert await flow.result() == {"x": {"n": 1}}


# ----------------------------------------------------------------- how it is called


async def test_a_plain_function_that_wraps_an_async_one_is_awaited(apps: Apps) -> None:
    async def inner() -> int:
        return 7

    def wrapped() -> Any:
        return inner()

    assert (await outcome_of(apps, wrapped))["result"] == {"x": 7}


async def test_methods_and_partials_are_functions_too(apps: Apps) -> None:
    class Till:
        def __init__(self) -> None:
            self.sum = 0

        async def add(self, amount: int) -> int:
            self.sum += amount
            return self.sum

    def scale(factor: int, number: int) -> int:
        return factor * number

    till, app = Till(), apps()
    app.step(till.add, outputs="sum")
    app.step(functools.partial(scale, 3), id="scale", outputs="scaled")
    await apps.run(app)
    flow = await app.start([till.add, "scale"], {"amount": 4, "number": 5})
    assert await flow.result() == {"sum": 4, "scaled": 15}


async def test_plain_functions_run_in_threads_at_the_same_time_up_to_the_concurrency(apps: Apps) -> None:
    app = apps()
    together = threading.Barrier(4)
    lock = threading.Lock()
    running: list[int] = []
    most: list[int] = []
    threads: set[threading.Thread] = set()

    @app.step(outputs="x", for_each="n", parallelism=100)
    def it(n: int) -> int:
        threads.add(threading.current_thread())
        with lock:
            running.append(n)
            most.append(len(running))
        together.wait(timeout=20)  # goes on when four are here
        with lock:
            running.remove(n)
        return n

    await apps.run(app, concurrency=4)
    flow = await app.start([it], {"n": list(range(12))})
    assert [row["x"] for row in (await flow.result())["x"]] == list(range(12))
    assert max(most) == 4
    assert threading.main_thread() not in threads


async def test_the_loop_goes_on_while_threads_are_busy(apps: Apps) -> None:
    app = apps()
    may_end = threading.Event()

    @app.step(outputs="a")
    def blocks() -> int:
        may_end.wait(20)
        return 1

    @app.step(outputs="b")
    async def quick() -> int:
        return 2

    await apps.run(app)
    slow = await app.start([blocks])
    assert await (await app.start([quick])).result() == {"b": 2}
    may_end.set()
    assert await slow.result() == {"a": 1}


async def test_parallelism_bounds_the_items_of_a_flow(apps: Apps) -> None:
    app = apps()
    running = 0
    most = 0

    @app.step(outputs="x", for_each="n", parallelism=3)
    async def it(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return n

    await apps.run(app)
    flow = await app.start([it], {"n": list(range(20))})
    await flow.result()
    assert 1 < most <= 3


@pytest.mark.parametrize(
    ("on_failure", "status", "made"),
    [("fail_fast", "failed", None), ("finish", "failed", None), ("tolerate", "completed", [0, 2])],
)
async def test_on_failure_says_what_one_failed_item_means(
    apps: Apps, on_failure: str, status: str, made: list[int] | None
) -> None:
    app = apps()
    called: list[int] = []

    @app.step(outputs="x", for_each="n", on_failure=on_failure)
    async def it(n: int) -> int:
        called.append(n)
        if n == 1:
            raise Failed("one")
        return n

    await apps.run(app)
    flow = await app.start([it], {"n": [0, 1, 2]})
    outcome = await flow.outcome()
    assert outcome["status"] == status
    assert made is None or [row["x"] for row in outcome["result"]["x"]] == made
    assert called == ([0, 1] if on_failure == "fail_fast" else [0, 1, 2])


async def test_several_for_each_inputs_make_all_pairs_in_order(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="pair", for_each=("b", "a"), parallelism=4)
    async def it(a: int, b: str, c: bool) -> str:
        return f"{a}{b}{c}"

    await apps.run(app)
    flow = await app.start([it], {"a": [1, 2], "b": ["x", "y"], "c": True})
    rows = (await flow.result())["pair"]
    assert [row["pair"] for row in rows] == ["1xTrue", "1yTrue", "2xTrue", "2yTrue"]
    assert list(rows[0]) == ["a", "b", "pair"]


async def test_no_elements_are_no_work(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x", for_each="n")
    async def it(n: int) -> int:
        raise AssertionError("never called")

    await apps.run(app)
    flow = await app.start([it], {"n": []})
    assert await flow.result() == {"x": []}
    assert (await deactivated(flow))["status"] == "completed"


async def test_what_a_step_raised_is_logged_with_its_place(
    memory: Apps, caplog: pytest.LogCaptureFixture
) -> None:
    def it() -> int:
        return {}["price"]  # the line that somebody looks for

    with caplog.at_level("INFO", "argyll_redis"):
        await error_of(memory, it)
    [record] = [each for each in caplog.records if "raised in attempt 1" in each.message]
    assert "step it of flow" in record.message
    assert "the line that somebody looks for" in caplog.text


async def test_what_a_step_says_of_its_work_is_no_news_for_the_log(
    memory: Apps, caplog: pytest.LogCaptureFixture
) -> None:
    def it() -> int:
        raise NotCompleted("busy")

    with caplog.at_level("INFO", "argyll_redis"):
        await error_of(memory, it)
    assert [each for each in caplog.messages if "raised" in each] == []
