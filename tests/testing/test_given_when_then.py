"""Given, when, then: what flows come to in memory, with stand-ins, and what is said when it differs."""

from __future__ import annotations

import asyncio

import pytest

from argyll_redis import ACCEPTED, Argyll, Failed, MissingInputs, NotCompleted, Retry, StepContext
from argyll_redis.errors import InvalidInput
from argyll_redis.testing import LOST, InMemory, Later, Takes, attempts, call, call_twice, given
from argyll_redis.testing.virtual import NothingToDo

app = Argyll("redis://nobody.invalid:1/0", namespace="kit")
MINUTE_MS = 60_000


@app.step(outputs="total")
def price(items: list) -> int:
    return sum(items)


@app.step(
    outputs="payment", retry=Retry(max_attempts=4, backoff="fixed", initial_ms=MINUTE_MS), timeout_ms=5_000
)
def pay(total: int, ctx: StepContext) -> str:
    return f"{total} at {ctx.attempt}"


@app.step(outputs="approved")
async def approve(total: int) -> bool:
    return ACCEPTED


@app.step(outputs="mark", for_each="items", parallelism=2)
async def mark(items: int) -> int:
    await asyncio.sleep(10)
    return -items


order = given(app, items=[30, 20])


def test_a_plain_function_is_called_and_its_result_is_the_flow_s() -> None:
    flow = order.when(goals=[pay]).then(result={"payment": "50 at 1"}, ran=[price, pay], skipped=[])
    assert [call.inputs for call in flow.calls_of(pay)] == [{"total": 50}]


def test_what_differs_is_shown_at_the_tests_own_line() -> None:
    """pytest leaves out the frames of the kit."""
    flow = order.when(goals=[pay])
    with pytest.raises(AssertionError) as raised:
        flow.then(result={})
    shown = [entry for entry in raised.traceback if not entry.ishidden(raised)]
    assert [str(entry.path) for entry in shown] == [__file__]


def test_a_retry_after_a_minute_takes_a_minute_of_virtual_time() -> None:
    flow = order.replace({pay: attempts(NotCompleted("busy"), "paid")}).when(goals=[pay])
    flow.then(attempts={pay: 2}, retried_after_ms={pay: [MINUTE_MS]}, why={pay: "1 retry was made"})
    assert flow.took_ms // 1_000 == 60


def test_a_call_longer_than_its_step_may_take_is_tried_again() -> None:
    flow = order.replace({pay: attempts(Takes(6_000), "paid")}).when(goals=[pay])
    assert [call.came_to for call in flow.calls_of(pay)] == ["was stopped", "returned 'paid'"]


def test_an_engine_that_is_lost_is_replaced() -> None:
    flow = order.replace({pay: attempts(LOST, "paid")}).when(goals=[pay])
    flow.then(result={"payment": "paid"}, calls={pay: 2}, attempts={pay: 2}, retried_after_ms={pay: []})


def test_an_outcome_from_outside_is_waited_for() -> None:
    order.when(goals=[approve]).then(waits=[approve], ran=[price, approve])


def test_an_outcome_may_be_brought_after_a_year_s_quarter() -> None:
    quarter_ms = 90 * 86_400_000
    flow = order.replace({approve: Later(True, after_ms=quarter_ms)}).when(goals=[approve])
    assert flow.then(result={"approved": True}).took_ms // 1_000 == quarter_ms // 1_000


def test_an_exception_may_come_from_outside() -> None:
    order.replace({approve: Later(Failed("no"))}).when(goals=[approve]).then(failed="no", root_cause=approve)


def test_items_run_side_by_side_as_far_as_their_step_allows() -> None:
    flow = given(app, items=[1, 2, 3, 4]).when(goals=[mark])
    assert [at_ms // 10_000 for at_ms in flow.called_at_ms(mark)] == [0, 0, 1, 1]


def test_a_function_stands_in_with_the_inputs_that_it_names() -> None:
    flow = order.replace({pay: lambda ctx: f"attempt {ctx.attempt}"}).when(goals=[pay])
    flow.then(result={"payment": "attempt 1"})


def test_a_flow_may_be_cancelled_on_the_way() -> None:
    order.when(goals=[approve], cancel_after_ms=1_000).then(failed="cancelled", events=["flow_failed"])


DOUBLE = {
    "id": "double",
    "type": "script",
    "script": {"language": "lua", "script": "return {twice = 2 * total}"},
    "attributes": {"total": {"role": "required"}, "twice": {"role": "output"}},
}


def test_a_step_of_another_type_is_registered_beside_those_of_the_app() -> None:
    order.register(DOUBLE).when(goals=["double"]).then(result={"twice": 100})


def test_something_stands_in_for_a_step_of_another_type() -> None:
    flow = order.register(DOUBLE).replace({"double": lambda total: total}).when(goals=["double"])
    flow.then(result={"twice": 50}, calls={"double": 1})


def test_what_a_step_did_is_undone_by_its_own_function() -> None:
    undone: list[tuple[object, object]] = []
    own = Argyll("memory://")
    own.step(lambda n: f"seat {n}", id="book", outputs="seat", undo=lambda i, o: undone.append((i, o)))
    flow = given(own, n=3).register({**DOUBLE, "attributes": {"seat": {"role": "required"}}})
    flow.replace({"double": Failed("no")}).when(goals=["double"], compensate="flow").then(failed="no")
    assert undone == [({"n": 3}, {"seat": "seat 3"})]


def test_all_that_differs_is_said_together_with_what_happened() -> None:
    flow = order.when(goals=[pay])
    with pytest.raises(AssertionError) as caught:
        flow.then(result={}, skipped=[price], calls={pay: 2}, why={pay: "moon"}, events=["step_failed"])
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()[:6]] == [
        "result", "skipped", "calls of pay", "why of pay", "events", "what happened",
    ]  # fmt: skip
    assert str(caught.value).endswith(flow.text())


def test_a_flow_that_failed_has_not_completed_unless_that_was_expected() -> None:
    with pytest.raises(AssertionError, match="status: expected 'completed', got 'failed'"):
        order.replace({pay: Failed("no")}).when(goals=[pay]).then()


def test_two_runs_of_a_test_are_the_same() -> None:
    first, second = (order.when(goals=[pay]) for _ in range(2))
    assert first.events == second.events


def test_a_stand_in_for_no_step_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"replace\.prise.*approve, mark, pay, price"):
        order.replace({"prise": 1}).when(goals=[pay])


def test_a_stand_in_that_wants_what_the_step_has_not_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"replace\.pay: wants sum.*name its inputs: total, ctx"):
        order.replace({pay: lambda sum: sum}).when(goals=[pay])


def test_what_a_start_refuses_is_refused() -> None:
    with pytest.raises(MissingInputs, match="items"):
        given(app).when(goals=[pay])


# ------------------------------------------------------------------------ in memory


def test_methods_of_the_app_work_while_it_is_in_memory() -> None:
    with InMemory(app) as memory:
        flow = memory.run(app.start([approve], {"items": [1]}))
        memory.clock.skip(MINUTE_MS)
        [item] = memory.run(app.waiting(flow.id, "approve"))
        memory.run(app.complete(flow.id, "approve", item["token"], {"approved": True}))
        assert memory.run(flow.result()) == {"approved": True}


def test_the_clock_goes_on_only_as_far_as_it_is_told() -> None:
    with InMemory(app) as memory:
        began_ms = memory.clock.now_ms()
        memory.clock.skip(7 * 86_400_000)
        assert memory.clock.now_ms() - began_ms == 7 * 86_400_000


def test_who_waits_for_what_never_comes_is_told_so() -> None:
    with InMemory(app) as memory:
        flow = memory.run(app.start([approve], {"items": [1]}))
        with pytest.raises(NothingToDo, match="waits for the outcome of approve"):
            memory.run(flow.result())


@pytest.mark.anyio
async def test_it_works_where_an_event_loop_runs() -> None:
    with InMemory(app) as memory:
        assert memory.play([pay], {"items": [1]}).result == {"payment": "1 at 1"}


def test_an_app_is_in_memory_once_at_a_time() -> None:
    with InMemory(app), pytest.raises(InvalidInput, match="in memory already"), InMemory(app):
        pass


def test_an_app_is_given_back_as_it_was() -> None:
    before = dict(app.declared), dict(app._connections)
    order.when(goals=[pay])
    assert (dict(app.declared), dict(app._connections)) == before


# --------------------------------------------------------------------------- one step


def test_one_step_is_called_with_a_context() -> None:
    assert call(app, pay, {"total": 5}, attempt=3) == "5 at 3"


def test_a_step_that_does_something_twice_is_found_by_calling_it_twice() -> None:
    done: list[int] = []
    own = Argyll("memory://")
    own.step(lambda n: done.append(n), id="note")
    with pytest.raises(AssertionError, match=r"step note, .* changed \[1\] to \[1, 1\]"):
        call_twice(own, "note", {"n": 1}, effects=lambda: done)


def test_a_step_that_gives_something_else_when_called_again_is_found() -> None:
    with pytest.raises(AssertionError, match="gave '5 at 2', not '5 at 1'"):
        call_twice(app, pay, {"total": 5}, effects=lambda: None)
