"""What is undone, when, and how often: items of failed steps, late successes, whole flows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest
from given import START_MS, TIMER, World, each, entry_of, is_undo, named, report_of, step

from argyll_redis.core.audit import audit_log
from argyll_redis.core.commands import Broken, Look, ReportUndo, RetryUndo, Succeeded, Unfinished
from argyll_redis.core.decide import evolve
from argyll_redis.core.explain import explain
from argyll_redis.core.outbox import outstanding
from argyll_redis.core.state import Flow
from argyll_redis.core.turn import MAX_ITEMS_A_TURN

HOUR_MS = 3_600_000
LOST = "lost: 5 engines died while undoing it"


def charge(**work_config: Any) -> dict[str, Any]:
    """A step with an item for each order, that knows how to undo."""
    return step(
        "charge",
        "",
        "paid",
        attributes={"order": each()},
        python={"handler": "charge", "undo": "refund"},
        work_config={"parallelism": 3, **work_config},
    )


def charged(count: int = 3, *, compensate: str | None = None, **work_config: Any) -> World:
    return World(charge(**work_config), goals="charge", order=list(range(count)), compensate=compensate)


def half_done(**work_config: Any) -> World:
    """One item has succeeded, and then another one has failed its step and the flow."""
    world = charged(2, **work_config)
    world.succeed("charge", 0, paid=1)
    world.fail("charge", item=1)
    return world


def audited(world: World) -> list[Any]:
    return audit_log(
        "f1",
        world.log,
        head_version=world.flow.version,
        head_tx=world.flow.last_tx,
        status=str(world.flow.status),
        sealed=world.flow.is_deactivated,
    )


# ------------------------------------------------------------------------ triggers


def test_the_succeeded_items_of_a_step_are_undone_when_it_fails() -> None:
    world = charged()
    world.succeed("charge", 0, paid=1)
    world.succeed("charge", 1, paid=2)
    assert world.fail("charge", item=2)[-2:] == [
        "comp_started charge[0] #1 first",
        "comp_started charge[1] #1 first",
    ]


def test_an_item_that_succeeds_after_its_step_has_failed_is_undone() -> None:
    world = charged(2)
    world.fail("charge", item=0)
    assert world.succeed("charge", 1, paid=2) == [
        "work_succeeded charge[1] #1",
        "comp_started charge[1] #1 first",
    ]


@pytest.mark.contract("memo and undo", "A late success of a failed item is undone.")
def test_a_success_that_comes_after_its_item_has_failed_is_undone() -> None:
    world = charged(2)
    world.fail("charge", item=0)
    assert world.complete("charge", 0, paid=1)[-1] == "comp_started charge[0] #1 first"
    item = world.item("charge", 0)
    assert item is not None
    assert item.undone_outputs == {"paid": 1}


def test_a_late_success_of_a_step_that_tolerates_failures_is_undone_as_nobody_uses_it() -> None:
    world = charged(2, on_failure="tolerate")
    world.fail("charge", item=0)
    assert world.complete("charge", 0, paid=1)[-1] == "comp_started charge[0] #1 first"
    assert world.succeed("charge", 1, paid=2)[-1] == "flow_completed"
    assert world.undo("charge", 0) == ["comp_succeeded charge[0] #1", "flow_deactivated"]
    assert world.values("paid") == [[{"order": 1, "paid": 2}]]


def test_a_late_success_is_undone_once_however_often_it_comes() -> None:
    world = half_done()
    world.complete("charge", 1, paid=1)
    told = [line for _ in range(3) for line in world.complete("charge", 1, paid=1)]
    assert [line for line in told if line.startswith("comp")] == []


def test_a_failed_step_is_undone_in_a_flow_that_goes_on() -> None:
    goal = step("goal", "order", "z", attributes={"paid": named(role="optional", deadline=HOUR_MS)})
    world = World(charge(), goal, goals="goal", order=[1, 2])
    world.succeed("charge", 0, paid=1)
    world.fail("charge", item=1)
    assert (world.flow.status, world.undoing()) == ("active", ["charge[0]"])
    world.undo("charge", 0)
    assert world.succeed("goal", z=1)[-2:] == ["flow_completed", "flow_deactivated"]


def test_what_a_step_has_done_that_does_not_know_how_to_undo_stays() -> None:
    plain = step("plain", "", "paid", attributes={"order": each()}, work_config={"parallelism": 3})
    world = World(plain, goals="plain", order=[1, 2])
    world.succeed("plain", 0, paid=1)
    assert world.fail("plain", item=1)[-1] == "flow_deactivated"


@pytest.mark.parametrize(("http", "told"), [({}, []), ({"compensate": "http://h/undo"}, ["a[0]"])])
def test_an_http_step_is_undone_when_it_has_a_url_for_that(http: dict[str, str], told: list[str]) -> None:
    call = {
        "id": "a",
        "type": "sync",
        "http": {"endpoint": "http://h", **http},
        "attributes": {"order": each()},
        "work_config": {"parallelism": 2},
    }
    world = World(call, goals="a", order=[1, 2])
    world.succeed("a", 0)
    world.fail("a", item=1)
    assert world.undoing() == told


@pytest.mark.contract("memo and undo", "What a completed step did stays, unless the flow asked for more.")
def test_what_a_completed_step_has_done_stays_when_another_one_fails() -> None:
    world = World(charge(), step("mail", "paid", "sent"), goals="mail", order=[1])
    world.succeed("charge", 0, paid=1)
    assert world.fail("mail")[-1] == "flow_deactivated"


# ------------------------------------------------------------------ interleavings

EVENTS = ("A fails", "A succeeds too late", "B succeeds", "the flow ends")
ORDERS = [order for order in permutations(EVENTS) if order.index(EVENTS[0]) < order.index(EVENTS[1])]


def _happen(world: World, what: str) -> None:
    match what:
        case "A fails":
            world.fail("charge", item=0)
        case "A succeeds too late":
            world.complete("charge", 0, paid="a")
        case "B succeeds":
            world.complete("charge", 1, paid="b")
        case _:
            world.cancel()


def _undo_all(world: World) -> Iterator[int]:
    """Answers every undo that is released; gives the items, in that order."""
    while payload := next(filter(is_undo, list(world.work)), None):
        del world.work[payload]
        yield world.flow.tokens[entry_of(payload)[0]][1]
        world.say(report_of(payload, Succeeded({})))


@pytest.mark.parametrize("order", ORDERS, ids=", ".join)
@pytest.mark.parametrize("is_goal", [True, False], ids=["flow fails with it", "flow goes on"])
@pytest.mark.parametrize("compensate", [None, "flow"])
@pytest.mark.parametrize("when", ["at the end", "at once"])
def test_each_success_of_a_failed_step_is_undone_once_whatever_comes_first(
    order: tuple[str, ...], is_goal: bool, compensate: str | None, when: str
) -> None:
    """And a crash at any place is a fold of the log up to there, which gives the same state. A third
    item succeeds last of all, so that the log is open until then."""
    goal = step("goal", "order", "z", attributes={"paid": named(role="optional", deadline=HOUR_MS)})
    goals = "charge" if is_goal else "goal"
    world = World(charge(), goal, goals=goals, order=[1, 2, 3], compensate=compensate)
    undone: list[int] = []
    for what in order:
        _happen(world, what)
        undone += _undo_all(world) if when == "at once" else ()
        assert evolve(Flow("f1"), world.log).picture() == world.flow.picture()
    world.succeed("charge", 2, paid="c")
    undone += _undo_all(world)
    if not is_goal:
        world.succeed("goal", z=1)
    assert (sorted(undone), world.flow.is_deactivated) == ([0, 1, 2], True)
    assert audited(world) == []


# ---------------------------------------------------------------------- as work


def test_an_undo_is_released_to_the_queue_of_its_step_under_a_name_of_its_own() -> None:
    world = half_done()
    payload = f"f1 {world.token('charge')}:undo 1 {world.last('comp_started').version}"
    assert world.work == {payload: "default"}
    assert outstanding(world.flow, START_MS).work == {("default", payload)}


def test_no_more_undos_than_the_parallelism_of_the_step_are_released() -> None:
    world = charged(6, parallelism=2)
    for item in range(5):
        world.succeed("charge", item, paid=item)
    world.fail("charge", item=5)
    assert world.undoing() == ["charge[0]", "charge[1]"]
    assert world.undo("charge", 1)[-1] == "comp_started charge[2] #1 first"


def test_a_turn_starts_a_bounded_number_of_undos_and_leaves_the_rest_to_a_look() -> None:
    count = MAX_ITEMS_A_TURN + 20
    world = charged(count + 1, parallelism=1_000)
    world.look_on()
    for item in range(count):
        world.succeed("charge", item, paid=item)
    world.fail("charge", item=count)
    assert len(world.undoing()) == MAX_ITEMS_A_TURN
    world.look_on()
    assert len(world.undoing()) == count


@pytest.mark.contract("memo and undo", "An undo is tried again after its delay, with retries of its own.")
def test_an_undo_that_is_not_completed_is_tried_again_after_its_delay() -> None:
    world = half_done(init_backoff=50)
    assert world.report_undo("charge", Unfinished("busy")) == ["comp_retry_scheduled charge[0] #2 50: busy"]
    assert world.work == {}
    assert world.wait(49) == []
    assert world.wait(1) == ["comp_started charge[0] #2 retry"]


def test_an_undo_that_waits_for_its_retry_frees_its_slot() -> None:
    world = charged(3, parallelism=1)
    world.succeed("charge", 0, paid=1)
    world.succeed("charge", 1, paid=1)
    world.fail("charge", item=2)
    told = world.report_undo("charge", Unfinished("busy", 500))
    assert told == ["comp_retry_scheduled charge[0] #2 500: busy", "comp_started charge[1] #1 first"]
    assert world.wait(500) == []
    assert world.undo("charge", 1)[-1] == "comp_started charge[0] #2 retry"


def test_the_retries_of_an_undo_are_a_budget_of_its_own() -> None:
    world = charged(2, max_retries=1, init_backoff=1)
    world.fall_short("charge", item=0)
    world.wait(1)
    world.succeed("charge", 0, paid=1)
    world.fail("charge", item=1)
    world.report_undo("charge", Unfinished("busy"))
    world.wait(1)
    assert world.report_undo("charge", Unfinished("busy")) == [
        "comp_failed charge[0] #2: busy (after 1 retries)",
        "flow_deactivated",
    ]


def test_max_attempts_bounds_the_starts_of_an_undo() -> None:
    world = half_done(max_attempts=1)
    assert (
        world.report_undo("charge", Unfinished("busy"))[0]
        == "comp_failed charge[0] #1: busy (after 1 attempts)"
    )


def test_an_undo_that_fails_for_good_is_not_tried_again() -> None:
    world = half_done()
    told = world.report_undo("charge", Broken("account closed"))
    assert told == ["comp_failed charge[0] #1: account closed", "flow_deactivated"]
    item = world.item("charge", 0)
    assert item is not None
    assert item.status == "compensation_failed"


def test_a_lost_undo_is_started_again_at_once() -> None:
    world = half_done()
    assert world.lose_undo("charge") == ["comp_started charge[0] #2 lost"]


def test_five_losses_of_an_undo_in_a_row_fail_it() -> None:
    world = half_done()
    for _ in range(4):
        world.lose_undo("charge")
    assert world.lose_undo("charge") == [f"comp_failed charge[0] #5: {LOST}", "flow_deactivated"]


def test_a_success_of_a_lost_attempt_to_undo_counts() -> None:
    world = half_done()
    world.lose_undo("charge")
    assert world.report_undo("charge", Succeeded({}), attempt=1)[0] == "comp_succeeded charge[0] #1"


def test_a_failure_of_a_lost_attempt_to_undo_does_not_count() -> None:
    world = half_done()
    world.lose_undo("charge")
    assert world.report_undo("charge", Broken("no"), attempt=1) == []


@pytest.mark.parametrize("attempt", [0, 2, 9])
def test_an_attempt_to_undo_that_was_never_started_says_nothing(attempt: int) -> None:
    world = half_done()
    assert world.report_undo("charge", Succeeded({}), attempt=attempt) == []


def test_what_is_said_of_an_undo_twice_counts_once() -> None:
    world = half_done()
    token = world.token("charge")
    world.undo("charge", 0)
    assert world.say(ReportUndo("work:e1", token, Succeeded({}), 1), RetryUndo(TIMER, token, 2)) == []


def test_an_unknown_token_is_told_apart() -> None:
    world = half_done()
    world.say(ReportUndo("work:e1", world.token("nobody"), Succeeded({}), 1))
    assert world.answer.unknown


# ------------------------------------------------------------------- whole flows


def trip(**start: Any) -> World:
    """Three steps in a chain; the first two know how to undo."""
    flight = step("flight", "day", "seat", python={"handler": "flight", "undo": "u"})
    hotel = step("hotel", "seat", "room", python={"handler": "hotel", "undo": "u"})
    world = World(flight, hotel, step("car", "room", "key"), goals="car", day=1, compensate="flow", **start)
    world.succeed("flight", seat=1)
    world.succeed("hotel", room=2)
    return world


def test_a_flow_is_undone_from_its_last_step_to_its_first_one_after_the_other() -> None:
    world = trip()
    assert world.fail("car")[-1] == "comp_started hotel #1 first"
    assert world.undo("hotel") == ["comp_succeeded hotel #1", "comp_started flight #1 first"]
    assert world.undo("flight") == ["comp_succeeded flight #1", "flow_deactivated"]
    assert audited(world) == []


def test_an_undo_that_could_not_be_does_not_hold_up_those_before_it() -> None:
    world = trip()
    world.fail("car")
    assert world.report_undo("hotel", Broken("no"))[-1] == "comp_started flight #1 first"


def test_an_undo_that_waits_for_its_retry_holds_up_those_before_it() -> None:
    world = trip()
    world.fail("car")
    assert world.report_undo("hotel", Unfinished("busy", 100)) == ["comp_retry_scheduled hotel #2 100: busy"]
    assert world.wait(100) == ["comp_started hotel #2 retry"]


@pytest.mark.parametrize("end", ["cancel", "time out"])
def test_a_flow_that_is_ended_from_outside_is_undone_once_nothing_is_active(end: str) -> None:
    world = trip(timeout_ms=500)
    told = world.cancel() if end == "cancel" else world.wait(500)
    assert [line for line in told if line.startswith("comp")] == []
    assert world.succeed("car", key=3)[-1] == "comp_started hotel #1 first"


def test_a_flow_that_completes_undoes_nothing() -> None:
    assert trip().succeed("car", key=3)[-2:] == ["flow_completed", "flow_deactivated"]


def test_what_an_unfinished_step_has_done_is_undone_with_its_flow() -> None:
    """A cancelled step never completes: what its items did would stay otherwise."""
    world = charged(3, parallelism=1, compensate="flow")
    world.succeed("charge", 0, paid=1)
    world.cancel()
    assert world.succeed("charge", 1, paid=2)[-1] == "comp_started charge[0] #1 first"
    world.undo("charge", 0)
    assert world.undo("charge", 1)[-1] == "flow_deactivated"


def test_a_look_at_a_flow_that_is_being_undone_decides_nothing() -> None:
    world = trip()
    world.fail("car")
    assert world.say(Look(TIMER)) == []
    assert world.cancel() == []


@pytest.mark.contract("memo and undo", "A flow that is undone keeps its status and its error.")
def test_a_flow_that_is_being_undone_keeps_its_status_and_its_error() -> None:
    world = trip()
    world.fail("car")
    assert (world.flow.status, world.flow.error) == ("failed", 'goal "car" failed: broken')
    assert not world.flow.is_deactivated


@pytest.mark.parametrize(
    ("handlers", "queues", "says"),
    [
        (["refund"], ["builtin"], ["no live engine serves its queue (`default`)"]),
        (["charge"], ["default"], ["no live engine has this handler (`refund`)"]),
        (["refund"], ["default"], []),
        ([], [], []),  # that no engine is alive at all is said elsewhere
        (None, None, []),
    ],
)
def test_why_says_what_keeps_an_undo_from_being_called(
    handlers: list[str] | None, queues: list[str] | None, says: list[str]
) -> None:
    world = half_done()
    told = explain("f1", world.log, "charge", now_ms=world.now_ms, handlers=handlers, queues=queues)
    assert [text for text, _ in told.clauses if text.startswith("no live engine")] == says
