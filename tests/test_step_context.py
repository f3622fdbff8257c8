"""What a step's code is told about its call, and what it can say with `ACCEPTED` and `Values`."""

from __future__ import annotations

import threading

import pytest

from argyll_redis.steps.context import ACCEPTED, StepContext, Values


def context() -> StepContext:
    return StepContext(flow_id="f", step_id="s", token="t", attempt=1)


def test_a_call_is_cancelled_once_the_engine_says_so() -> None:
    call = context()
    before = call.cancelled
    call.cancel()
    assert (before, call.cancelled) == (False, True)


def test_code_in_another_thread_sees_that_it_is_cancelled() -> None:
    call = context()
    seen = threading.Event()

    def work() -> None:
        while not call.cancelled:
            pass
        seen.set()

    thread = threading.Thread(target=work)
    thread.start()
    call.cancel()
    thread.join()
    assert seen.is_set()


def test_cancelling_one_call_leaves_the_others_alone() -> None:
    first, second = context(), context()
    first.cancel()
    assert (first.cancelled, second.cancelled) == (True, False)


@pytest.mark.parametrize("name", ["token", "attempt", "deadline"])
def test_a_step_cannot_change_what_it_is_told(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(context(), name, 1)


def test_a_context_without_a_timeout_has_no_deadline() -> None:
    assert context().deadline is None


def test_accepted_is_one_thing() -> None:
    assert (ACCEPTED is type(ACCEPTED)("accepted"), repr(ACCEPTED)) == (True, "ACCEPTED")


def test_values_keep_their_order_and_are_not_one_list() -> None:
    values = Values(1, [2, 3])
    assert (list(values), len(values), values.values) == ([1, [2, 3]], 2, (1, [2, 3]))
    assert values == Values(1, [2, 3])
    assert values != (1, [2, 3])
    assert repr(values) == "Values(1, [2, 3])"
