"""After the outcome: what is still recorded, what is given up, when the log is closed."""

from __future__ import annotations

from typing import Any

import pytest
from given import OPERATOR, World, each, step

from argyll_redis.core.commands import Abandon, Cancel, Expire, Look, TimeOut
from argyll_redis.core.state import FlowStatus, StepStatus


def race(**slow: Any) -> World:
    """`fast` and `slow` both provide `y`; the goal needs one of them."""
    world = World(
        step("fast", "x", "y"), step("slow", "x", "y", **slow), step("goal", "y", "z"), goals="goal", x=1
    )
    world.succeed("fast", y=1)
    return world


def over(**slow: Any) -> World:
    """The same, completed while `slow` is still active."""
    world = race(**slow)
    world.succeed("goal", z=1)
    return world


# ------------------------------------------------------------------------ recorded


def test_a_success_after_the_outcome_is_recorded_and_completes_its_step() -> None:
    world = over()
    assert world.succeed("slow", y=2) == [
        "work_succeeded slow #1",
        "attribute_set y by slow",
        "step_completed slow",
        "flow_deactivated",
    ]


def test_a_failure_after_the_outcome_is_recorded_and_fails_its_step() -> None:
    world = over()
    assert world.fail("slow") == [
        "work_failed slow #1: broken",
        "step_failed slow: broken",
        "flow_deactivated",
    ]
    assert FlowStatus.COMPLETED is world.flow.status


def test_what_is_not_completed_after_the_outcome_is_abandoned_and_not_retried() -> None:
    world = over()
    assert world.fall_short("slow") == [
        "work_not_completed slow #1: not yet",
        "work_failed slow #1: abandoned",
        "step_failed slow: abandoned",
        "flow_deactivated",
    ]


@pytest.mark.contract("life", "A lost attempt is not called again after the outcome.")
def test_a_lost_attempt_is_not_called_again_after_the_outcome() -> None:
    world = over()
    assert world.lose("slow") == [
        "work_failed slow #1: abandoned",
        "step_failed slow: abandoned",
        "flow_deactivated",
    ]


def test_what_was_released_but_not_begun_is_abandoned_once_its_engine_knows() -> None:
    assert "work_failed slow #1: abandoned" in over().abandon("slow")


def test_pending_steps_stay_pending_after_the_outcome() -> None:
    world = World(
        step("a", "x", "p"), step("b", "p", "q"), step("c", "q", "r"), step("d", "x", "s"), goals="c d", x=1
    )
    world.cancel()
    world.succeed("a", p=1)
    assert world.statuses() == {"a": "completed", "b": "pending", "c": "pending", "d": "active"}


def test_no_item_starts_after_the_outcome() -> None:
    world = World(step("a", "", "y", attributes={"xs": each()}), goals="a", xs=[1, 2, 3])
    world.cancel()
    assert world.succeed("a", 0, y=1) == ["work_succeeded a[0] #1", "flow_deactivated"]
    assert StepStatus.ACTIVE is world.run("a").status


# ------------------------------------------------------------------------ given up


def test_a_retry_that_was_waiting_is_dropped_at_the_outcome() -> None:
    world = race()
    world.fall_short("slow")
    assert world.succeed("goal", z=1)[3:] == [
        "flow_completed",
        "work_failed slow #1: abandoned",
        "step_failed slow: abandoned",
        "flow_deactivated",
    ]
    assert world.due == {}


def test_a_dropped_retry_does_not_keep_its_step_from_completing_when_it_tolerates_that() -> None:
    world = race(work_config={"on_failure": "tolerate"})
    world.fall_short("slow")
    assert world.succeed("goal", z=1)[4:] == [
        "work_failed slow #1: abandoned",
        "step_completed slow",
        "flow_deactivated",
    ]


@pytest.mark.contract(
    "life", "What was accepted is waited for after the outcome, no longer than it may linger."
)
def test_an_accepted_item_is_waited_for_until_linger_after_the_outcome() -> None:
    world = race()
    world.accept("slow")
    world.succeed("goal", z=1)
    assert world.wait(3_599_999) == []
    assert world.wait(1) == [
        "work_failed slow #1: abandoned",
        "step_failed slow: abandoned",
        "flow_deactivated",
    ]


@pytest.mark.contract("life", "Its own timeout ends that wait when it comes first.")
def test_an_accepted_item_is_waited_for_until_its_timeout_when_that_comes_first() -> None:
    world = race(work_config={"timeout": 5_000})
    world.accept("slow")
    world.succeed("goal", z=1)
    assert world.wait(4_999) == []
    assert "work_failed slow #1: abandoned" in world.wait(1)
    assert world.due == {}


def test_an_outcome_that_comes_while_the_flow_lingers_is_recorded() -> None:
    world = race()
    world.accept("slow")
    world.succeed("goal", z=1)
    world.wait(1_000_000)
    assert "step_completed slow" in world.complete("slow", y=2)
    assert world.due == {}


def test_what_is_accepted_within_linger_is_waited_for() -> None:
    world = over()
    world.wait(1_000)
    assert world.accept("slow") == ["work_accepted slow #1"]
    assert "work_failed slow #1: abandoned" in world.wait(3_600_000)


@pytest.mark.contract("life", "What is accepted after that is abandoned at once.")
def test_what_is_accepted_after_linger_is_abandoned_at_once() -> None:
    world = over()
    world.wait(3_600_000)
    assert world.accept("slow")[:2] == ["work_accepted slow #1", "work_failed slow #1: abandoned"]


def test_linger_is_counted_from_the_failure_of_the_step_when_that_came_before_the_outcome() -> None:
    world = World(
        step("a", "", "y", attributes={"xs": each()}, work_config={"parallelism": 2}),
        step("b", "x", "y"),
        step("c", "y", "z"),
        goals="c",
        xs=[1, 2],
        x=1,
        linger_ms=1_000,
    )
    world.accept("a", item=0)
    world.fail("a", item=1)
    world.wait(600)
    world.succeed("b", y=1)
    world.succeed("c", z=1)
    assert world.wait(399) == []
    assert "work_failed a[0] #1: abandoned" in world.wait(1)


@pytest.mark.contract("life", "How long is waited is recorded at the start, by the process that made it.")
def test_linger_is_the_one_that_the_start_recorded() -> None:
    world = World(step("a", "x", "y"), step("b", "x", "z"), goals="a b", x=1, linger_ms=50)
    world.accept("b")
    world.cancel()
    assert "work_failed b #1: abandoned" in world.wait(50)


# -------------------------------------------------------------------- deactivation


@pytest.mark.contract("life", "Items that never started hold nothing up.")
def test_items_that_never_started_do_not_hold_deactivation_up() -> None:
    world = World(step("a", "", "y", attributes={"xs": each()}), goals="a", xs=[1, 2, 3])
    assert "flow_deactivated" in world.fail("a", item=0)


def test_a_flow_is_deactivated_once_and_then_its_log_is_closed() -> None:
    world = World(step("a", "x", "y"), goals="a", x=1)
    world.succeed("a", y=1)
    closed = world.flow.version
    token = world.token("a")
    for said in (
        world.succeed("a", y=2),
        world.complete("a", y=3),
        world.fail("a"),
        world.cancel(),
        world.look(),
        world.say(Abandon("work:e2", token, 1)),
        world.say(TimeOut("timer:e1")),
    ):
        assert said == []
    assert closed == world.flow.version == world.flow.deactivated_version


def test_a_completion_after_deactivation_is_answered_without_an_error() -> None:
    world = World(step("a", "x", "y"), goals="a", x=1)
    world.succeed("a", y=1)
    world.complete("a", y=2)
    assert not world.answer.unknown
    assert not world.answer.counted


def test_a_deactivated_flow_has_nothing_pending() -> None:
    world = over()
    world.succeed("slow", y=2)
    assert (world.work, world.due, world.control) == ({}, {}, [])


def test_the_last_event_of_a_log_says_how_the_flow_ended() -> None:
    world = over()
    world.fail("slow")
    assert world.log[-1].event.data() == {"status": "completed"}


# --------------------------------------------------------------- cancel, time out


def test_a_cancelled_flow_fails_with_cancelled() -> None:
    world = World(step("a", "x", "y"), goals="a", x=1)
    assert world.cancel() == ["flow_failed: cancelled"]
    assert (
        world.flow.status,
        world.flow.error,
        world.flow.root_cause,
    ) == (FlowStatus.FAILED, "cancelled", None)


def test_a_second_cancel_appends_nothing() -> None:
    world = World(step("a", "x", "y"), goals="a", x=1)
    world.cancel()
    assert world.say(Cancel(OPERATOR)) == []
    assert not world.answer.counted


def test_a_cancelled_flow_without_running_work_is_deactivated_at_once() -> None:
    world = World(step("a", "x", "y"), goals="a", x=1)
    world.fall_short("a")
    assert world.cancel() == [
        "flow_failed: cancelled",
        "work_failed a #1: abandoned",
        "step_failed a: abandoned",
        "flow_deactivated",
    ]


def test_a_cancel_of_a_completed_flow_changes_nothing() -> None:
    assert over().cancel() == []


def test_running_work_of_a_cancelled_flow_is_left_to_finish_and_recorded() -> None:
    world = World(step("a", "x", "y"), goals="a", x=1)
    world.cancel()
    assert "step_completed a" in world.succeed("a", y=1)
    assert FlowStatus.FAILED is world.flow.status


def test_a_flow_still_active_at_its_timeout_fails_with_timed_out() -> None:
    world = World(step("a", "x", "y"), goals="a", x=1, timeout_ms=500)
    assert world.wait(499) == []
    assert world.wait(1) == ["flow_failed: timed out"]


def test_a_flow_that_ends_in_time_drops_its_timeout() -> None:
    world = World(step("a", "x", "y"), goals="a", x=1, timeout_ms=500)
    world.succeed("a", y=1)
    assert world.due == {}


@pytest.mark.parametrize("command", [TimeOut("timer:e1"), Look("timer:e1")])
def test_a_flow_does_not_time_out_early(command: Any) -> None:
    world = World(step("a", "x", "y"), goals="a", x=1, timeout_ms=500)
    assert world.say(command) == []


def test_a_look_times_out_a_flow_whose_due_entry_was_lost() -> None:
    world = World(step("a", "x", "y"), goals="a", x=1, timeout_ms=500)
    world.due.clear()
    world.wait(500)
    assert world.look() == ["flow_failed: timed out"]


# --------------------------------------------------------- timeouts of attempts


def waiting(**config: Any) -> World:
    world = World(step("a", "x", "y", work_config=config), goals="a", x=1)
    world.accept("a", elapsed_ms=200)
    return world


def test_an_accepted_attempt_that_outlasts_its_timeout_is_not_completed() -> None:
    world = waiting(timeout=1_000, init_backoff=50)
    assert world.wait(799) == []
    assert world.wait(1) == ["work_not_completed a #1: timed out", "work_retry_scheduled a #2 50"]


@pytest.mark.contract(
    "outcomes", "A timeout counts from the beginning of the call, the wait for an outcome included."
)
def test_the_time_of_the_call_before_the_acceptance_counts() -> None:
    assert waiting(timeout=1_000).last("work_accepted").event.data()["timeout_ms"] == 800


def test_an_acceptance_after_the_whole_timeout_leaves_a_moment() -> None:
    assert waiting(timeout=100).last("work_accepted").event.data()["timeout_ms"] == 1


def test_an_accepted_attempt_without_a_timeout_waits_without_end() -> None:
    world = waiting()
    assert world.due == {}
    assert "timeout_ms" not in world.last("work_accepted").event.data()


def test_a_due_entry_that_comes_too_early_does_not_expire_an_attempt() -> None:
    world = waiting(timeout=1_000)
    assert world.say(Expire("timer:e1", world.token("a"), 1)) == []


def test_an_outcome_in_time_drops_the_timeout() -> None:
    world = waiting(timeout=1_000)
    world.complete("a", y=1)
    assert world.due == {}


def test_the_next_attempt_has_a_timeout_of_its_own() -> None:
    world = waiting(timeout=1_000, init_backoff=50)
    world.wait(850)
    world.accept("a")
    assert [f"control f1 expire {world.token('a')} 2"] == list(world.due)


def test_a_look_expires_what_a_lost_due_entry_would_have() -> None:
    world = waiting(timeout=1_000)
    world.due.clear()
    world.wait(800)
    assert "work_not_completed a #1: timed out" in world.look()
