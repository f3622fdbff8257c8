"""What counts, what is ignored on record, what is unknown, and declared types."""

from __future__ import annotations

import pytest
from given import ENGINE, OPERATOR, WEBHOOK, World, each, named, step

from argyll_redis.core.commands import Accepted, Broken, Report, Succeeded, Unfinished
from argyll_redis.core.state import WorkStatus


def one(**config: object) -> World:
    return World(step("a", "x", "y", work_config={"init_backoff": 10, **config}), goals="a", x=1)


def two() -> World:
    """`a` runs beside `b`, so that the flow is not over when `a` is."""
    return World(step("a", "x", "y"), step("b", "x", "z"), goals="a b", x=1)


def finishing() -> World:
    """A step that goes on when one of its two items has failed."""
    config = {"on_failure": "finish"}
    return World(step("a", "", "y", attributes={"xs": each()}, work_config=config), goals="a", xs=[1, 2])


# ------------------------------------------------------------------------ successes


def test_a_success_counts_from_a_superseded_attempt() -> None:
    world = one()
    world.lose("a")
    assert "work_succeeded a #1" in world.report("a", Succeeded({"y": 1}), attempt=1)
    assert world.values("y") == [1]


def test_the_first_success_wins() -> None:
    world = two()
    world.lose("a")
    world.report("a", Succeeded({"y": "late"}), attempt=1)
    assert world.report("a", Succeeded({"y": "current"}), attempt=2) == [
        "work_ignored a #2 the work item is over already: succeeded"
    ]
    assert world.values("y") == ["late"]


def test_a_success_counts_while_the_item_waits_for_its_retry() -> None:
    world = one()
    world.fall_short("a")
    assert "work_succeeded a #1" in world.complete("a", y=1)
    assert world.due == {}


@pytest.mark.contract("tokens", "A completion of an item that never started has attempt 0.")
def test_a_completion_of_an_item_that_never_started_has_attempt_0() -> None:
    world = World(step("a", "", "y", attributes={"xs": each()}), goals="a", xs=[1, 2])
    assert world.complete("a", 1, y=1) == ["work_succeeded a[1] #0"]
    assert world.item("a", 1).attempt == 0


def test_a_completion_of_an_item_that_never_started_has_attempt_0_whatever_it_says() -> None:
    world = World(step("a", "", "y", attributes={"xs": each()}), goals="a", xs=[1, 2])
    said = world.say(Report(WEBHOOK, world.token("a", 1), Succeeded({"y": 1}), 7))
    assert said == ["work_succeeded a[1] #0"]


# -------------------------------------------------------------------- not completed


@pytest.mark.contract("tokens", "Not completed counts from the current attempt only.")
@pytest.mark.parametrize("by", [ENGINE, WEBHOOK, OPERATOR])
def test_not_completed_counts_from_the_current_attempt_only(by: str) -> None:
    world = one()
    world.lose("a")
    assert world.report("a", Unfinished("late"), attempt=1, by=by) == [
        "work_ignored a #1 attempt 1 is not the current one, 2"
    ]
    assert WorkStatus.ACTIVE is world.item("a").status


def test_without_an_attempt_a_report_speaks_for_the_current_one() -> None:
    world = one()
    world.lose("a")
    assert "work_not_completed a #2: later" in world.report("a", Unfinished("later"), by=WEBHOOK)


def test_not_completed_counts_once() -> None:
    world = one()
    world.fall_short("a")
    assert world.fall_short("a") == ["work_ignored a #1 the work item is not active"]


def test_an_item_that_never_started_cannot_be_not_completed() -> None:
    world = World(step("a", "", "y", attributes={"xs": each()}), goals="a", xs=[1, 2])
    assert world.report("a", Unfinished("later"), item=1, by=WEBHOOK) == [
        "work_ignored a[1] #0 the work item is not active"
    ]
    assert "work_started a[1] #1 first" in world.succeed("a", 0, y=1)


# ------------------------------------------------------------------ permanent failures


def test_a_permanent_failure_counts_from_the_current_attempt() -> None:
    world = one()
    world.lose("a")
    assert "work_failed a #2: no" in world.report("a", Broken("no"), attempt=2)


@pytest.mark.parametrize("by", [ENGINE, OPERATOR])
def test_a_permanent_failure_from_a_superseded_attempt_does_not_count(by: str) -> None:
    world = one()
    world.lose("a")
    assert world.report("a", Broken("no"), attempt=1, by=by) == [
        "work_ignored a #1 attempt 1 is not the current one, 2"
    ]


@pytest.mark.contract("tokens", "A failure for good counts from the current attempt, or from a webhook.")
def test_a_permanent_failure_from_a_webhook_counts_whatever_its_attempt() -> None:
    world = one()
    world.lose("a")
    assert "work_failed a #1: no" in world.report("a", Broken("no"), attempt=1, by=WEBHOOK)


def test_an_item_that_waits_for_its_retry_can_be_failed_from_outside() -> None:
    world = one()
    world.fall_short("a")
    assert "work_failed a #1: no" in world.report("a", Broken("no"), by=OPERATOR)
    assert world.due == {}


def test_an_item_that_never_started_can_be_failed_from_outside() -> None:
    world = World(step("a", "", "y", attributes={"xs": each()}), goals="a", xs=[1, 2])
    assert "work_failed a[1] #0: no" in world.report("a", Broken("no"), item=1, by=OPERATOR)


# ------------------------------------------------------------------------ acceptances


def test_an_accepted_attempt_stays_active_and_its_entry_is_gone() -> None:
    world = one()
    assert world.accept("a") == ["work_accepted a #1"]
    assert world.work == {}
    assert WorkStatus.ACTIVE is world.item("a").status


@pytest.mark.contract("tokens", "An acceptance that is late or old is not recorded.")
@pytest.mark.parametrize("attempt", [1, 2])
def test_an_acceptance_after_the_outcome_or_from_an_older_attempt_is_not_recorded(attempt: int) -> None:
    world = two()
    world.lose("a")
    world.report("a", Succeeded({"y": 1}), attempt=2)
    assert world.report("a", Accepted(), attempt=attempt) == []


def test_a_second_acceptance_is_not_recorded() -> None:
    world = one()
    world.accept("a")
    assert world.accept("a") == []


def test_an_accepted_attempt_can_succeed_fail_or_be_tried_again() -> None:
    for outcome, expected in (
        (Succeeded({"y": 1}), "work_succeeded a #1"),
        (Broken("no"), "work_failed a #1: no"),
        (Unfinished("later"), "work_not_completed a #1: later"),
    ):
        world = one()
        world.accept("a")
        assert expected in world.report("a", outcome, by=WEBHOOK)


# ------------------------------------------------------------------------- on record


def test_what_is_ignored_is_on_record_once_a_token_and_attempt() -> None:
    world = two()
    world.succeed("a", y=1)
    assert world.succeed("a", y=2) == ["work_ignored a #1 the work item is over already: succeeded"]
    for _ in range(3):
        assert world.succeed("a", y=3) == []
        assert world.fail("a") == []
        assert world.complete("a", y=4) == []


def test_each_attempt_that_ran_may_be_on_record() -> None:
    world = two()
    world.lose("a")
    world.succeed("a", y=1)
    assert "work_ignored a #1" in world.report("a", Broken("no"), attempt=1)[0]
    assert "work_ignored a #2" in world.report("a", Broken("no"), attempt=2)[0]


@pytest.mark.contract("tokens", "No caller can make a log grow without end.")
def test_made_up_attempts_do_not_make_the_log_grow() -> None:
    world = two()
    world.succeed("a", y=1)
    before = world.flow.version
    for attempt in range(-5, 100):
        world.report("a", Succeeded({"y": 1}), attempt=attempt, by=WEBHOOK)
    assert world.flow.version - before == 2
    assert [event.attempt for event in world.events("work_ignored")] == [0, 1]


@pytest.mark.contract("tokens", "A success after its item failed is on record with what it gave.")
def test_a_late_success_is_recorded_with_its_outputs() -> None:
    world = finishing()
    world.fail("a", item=0)
    world.succeed("a", 0, y="late", extra=1)
    ignored = world.last("work_ignored").event.data()
    assert ignored["outputs"] == {"y": "late"}
    assert ignored["reason"] == "the work item is over already: failed"


def test_a_late_success_is_recorded_once_beside_what_was_ignored_before() -> None:
    world = finishing()
    world.fail("a", item=0)
    assert len(world.fail("a", item=0)) == 1
    assert len(world.succeed("a", 0, y=1)) == 1
    assert world.succeed("a", 0, y=2) == []
    assert world.fail("a", item=0) == []


def test_what_is_ignored_changes_nothing_else() -> None:
    world = two()
    world.succeed("a", y=1)
    before = world.statuses(), world.values("y"), dict(world.work), dict(world.due)
    world.succeed("a", y=2)
    assert before == (world.statuses(), world.values("y"), world.work, world.due)


def test_what_is_ignored_is_answered_as_not_counted_with_the_reason() -> None:
    world = two()
    world.succeed("a", y=1)
    world.succeed("a", y=2)
    assert tuple(world.answer) == (False, False, "the work item is over already: succeeded")


def test_what_counts_is_answered_as_counted() -> None:
    world = two()
    world.succeed("a", y=1)
    assert world.answer.counted


# --------------------------------------------------------------------------- unknown


@pytest.mark.parametrize("step_given", [None, "a"])
def test_an_unknown_token_is_answered_as_unknown_and_writes_nothing(step_given: str | None) -> None:
    world = one()
    assert world.say(Report(WEBHOOK, "0" * 32, Succeeded({}), step=step_given)) == []
    assert world.answer.unknown


def test_a_token_of_another_step_is_unknown() -> None:
    world = two()
    assert world.say(Report(WEBHOOK, world.token("a"), Succeeded({"y": 1}), step="b")) == []
    assert world.answer.unknown


def test_a_token_of_a_step_that_has_not_started_is_unknown() -> None:
    world = World(step("a", "x", "p"), step("b", "p", "q"), goals="b", x=1)
    world.complete("b", q=1)
    assert world.answer.unknown


def test_a_flow_that_does_not_exist_knows_no_token() -> None:
    world = one()
    world.flow = type(world.flow)("f2")
    assert world.say(Report(WEBHOOK, "0" * 32, Succeeded({}))) == []
    assert world.answer.unknown


# ----------------------------------------------------------------------------- types


def typed(type: str, **more: object) -> World:
    return World(
        step("a", "x", "", attributes={"y": named(role="output", type=type)}, **more), goals="a", x=1
    )


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("string", "s"),
        ("number", 1),
        ("number", 1.5),
        ("boolean", True),
        ("object", {}),
        ("array", []),
        ("null", None),
        ("any", [1]),
    ],
)
def test_an_output_of_its_declared_type_is_taken(type: str, value: object) -> None:
    world = typed(type)
    world.succeed("a", y=value)
    assert [value] == world.values("y")


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("string", 1),
        ("number", "1"),
        ("number", True),
        ("boolean", 0),
        ("object", []),
        ("array", {}),
        ("null", 0),
    ],
)
def test_an_output_of_another_type_fails_the_work_item_for_good(type: str, value: object) -> None:
    world = typed(type, work_config={"max_retries": -1})
    [failed, *_] = world.succeed("a", y=value)
    assert f'work_failed a #1: output "y" is not of its declared type {type}' == failed


def test_an_output_of_another_type_from_a_superseded_attempt_does_not_count() -> None:
    world = typed("string")
    world.lose("a")
    assert "work_ignored a #1" in world.report("a", Succeeded({"y": 1}), attempt=1)[0]


def test_what_was_returned_beside_a_wrong_output_is_not_taken() -> None:
    world = World(step("a", "x", "z", attributes={"y": named(role="output", type="string")}), goals="a", x=1)
    world.succeed("a", y=1, z=2)
    assert world.values("z") == []
