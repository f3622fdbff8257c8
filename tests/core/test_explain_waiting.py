"""What an active flow waits for, in one line: the most pressing thing first."""

from __future__ import annotations

from collections.abc import Collection

from definitions import step
from story import WORK, Story
from test_sub_flows import gives, sub

from argyll_redis.core.commands import Abandon
from argyll_redis.core.explain_waiting import Waiting, waiting_for

LOOKUP = step("lookup", "customer_id", "customer")
STOCK = step("stock", "order", "stock")
SHIP = step("ship", "customer stock", "parcel")
INIT = {"customer_id": ["c1"], "order": [{}]}


def shop() -> Story:
    """`lookup` and `stock` are active, and `ship` waits for both."""
    return Story([LOOKUP, STOCK, SHIP], "ship", INIT)


def waits(
    story: Story,
    *,
    after: int = 0,
    handlers: Collection[str] | None = None,
    queues: Collection[str] | None = None,
) -> str:
    return waiting_for(story.flow, now_ms=story.now_ms + after, handlers=handlers, queues=queues).text


def test_that_no_engine_is_alive_comes_before_all_else() -> None:
    assert waits(shop(), handlers=[], queues=[]) == "no engine is alive, so nothing runs until one is started"


def test_a_handler_that_nobody_has_comes_before_a_retry() -> None:
    story = shop()
    story.fall("lookup", "NameError: name 'x' is not defined")
    assert (
        waits(story, handlers=["lookup"], queues=["default"])
        == "step `stock`: no live engine has this handler (`stock`) (1 more step is active)"
    )


def test_a_queue_that_nobody_serves_is_said() -> None:
    expected = "step `lookup`: no live engine serves its queue (`default`) (1 more step is active)"
    assert waits(shop(), handlers=["lookup", "stock"], queues=["builtin"]) == expected


def test_a_retry_comes_before_an_attempt_that_runs_and_says_what_it_is_for() -> None:
    story = shop()
    story.fall("stock", "NameError: name 'x' is not defined")
    expected = (
        "step `stock`: retry 1 is due in 400 ms, as attempt 1 was not completed: "
        "NameError: name 'x' is not defined (1 more step is active)"
    )
    assert waits(story, after=600, handlers=["lookup", "stock"], queues=["default"]) == expected


def test_an_attempt_without_an_outcome_is_said_where_nothing_is_wrong() -> None:
    story = shop()
    story.succeed("stock", stock=1)
    expected = "step `lookup`: attempt 1 was released 2.0 s ago and has no outcome yet"
    assert waits(story, after=2_000) == expected


def test_an_outcome_that_comes_from_outside_is_said() -> None:
    story = Story([LOOKUP], "lookup", INIT)
    story.accept("lookup")
    expected = "step `lookup`: attempt 1 was accepted 5.0 s ago; its outcome comes from outside"
    assert waits(story, after=5_000) == expected


def test_a_child_flow_is_named() -> None:
    bill = sub("bill", "lookup", {"customer_id": {"role": "required"}, **gives("customer")})
    story = Story([LOOKUP, bill], "bill", INIT)
    story.accept("bill")
    child = f"flow-1:bill:{story.token('bill')}"
    assert waiting_for(story.flow, now_ms=story.now_ms) == Waiting(
        f"step `bill`: attempt 1 waits for its child flow `{child}`, started 0 ms ago", child
    )


def test_a_flow_that_is_over_waits_for_nothing() -> None:
    story = shop()
    story.cancel()
    assert waits(story, handlers=[], queues=[]) == ""


# ------------------------------------------------------------- after the outcome


CALL = {
    "id": "call",
    "type": "sync",
    "http": {"endpoint": "http://127.0.0.1:1/"},
    "attributes": {"answer": {"role": "output"}},
}
NOBODY = "no live engine can run steps of type sync"


def timed_out(*, is_called: bool = False) -> Story:
    """A flow whose time was over before its step had an outcome that counts."""
    story = Story([CALL], "call", timeout_ms=1_000)
    if is_called:
        story.fall("call")
    story.time_out(after=1_000)
    assert story.flow.error == "timed out"
    return story


def late(story: Story, *, handlers: Collection[str], queues: Collection[str] = ("builtin",)) -> list[str]:
    return [clause.text for clause in story.explain("call", handlers=handlers, queues=queues).clauses]


def test_a_step_that_nobody_could_run_says_so_while_its_flow_that_timed_out_is_not_closed() -> None:
    story = timed_out()
    assert (NOBODY in late(story, handlers=[]), NOBODY in late(story, handlers=["type:sync"])) == (
        True,
        False,
    )


def test_a_step_that_was_abandoned_because_nobody_could_run_it_keeps_the_reason() -> None:
    story = timed_out()
    story.tell(Abandon(WORK, story.token("call"), 1))
    assert (story.explain("call").status, NOBODY in late(story, handlers=[])) == ("failed", True)


def test_a_step_that_was_abandoned_after_it_was_called_does_not_give_that_reason() -> None:
    story = timed_out(is_called=True)
    assert (story.explain("call").status, NOBODY in late(story, handlers=[])) == ("failed", False)
