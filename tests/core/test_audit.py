"""Auditing: each invariant by a log that breaks it, and none by a log that was decided.

Logs are broken by hand: an event is forged behind a real log, or a real event is changed, dropped or
moved. What follows a break may break more; the tests look at what is said of the invariant meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from definitions import optional, required, step
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from story import OUTSIDE, SEED, TIMER, WEBHOOK, WORK, Story, each, script

from argyll_redis.core import events as e
from argyll_redis.core.audit import INVARIANTS, MAX_VIOLATIONS, Violation, audit_calls, audit_log
from argyll_redis.core.audit_shape import FIELDS
from argyll_redis.core.commands import Abandon, Look, Report, Succeeded, Unfinished
from argyll_redis.core.events import Event, Recorded
from argyll_redis.core.model import AttributeUse, StepId, Token
from argyll_redis.core.state import token_of

LOOKUP = step("lookup", "customer_id", "customer")
CHARGE = step("charge", "order customer", "receipt")
SHOP = (LOOKUP, CHARGE)
ORDER = {"order": [{"id": 17}], "customer_id": ["c1"]}
ELSEWHERE = Token("00" * 16)
ID = StepId


def shop(**start: Any) -> Story:
    return Story(SHOP, "charge", ORDER, **start)


def many(count: int = 4, *, predicate: str = "", **work: Any) -> Story:
    """A step that works on elements."""
    fields = {"predicate": script(predicate)} if predicate else {}
    definition = step("charge", "", "receipt", attributes=each("xs"), work_config=work, **fields)
    return Story([definition], "charge", {"xs": [list(range(count))]})


def forged(story: Story, *forgeries: tuple[Event, int], by: str = WORK, after: int = 0) -> list[Recorded]:
    """The log of a story with one transaction more, of (event, cause)."""
    version, count = story.flow.version, len(forgeries)
    return [
        *story.events,
        *(
            Recorded(version + place, story.now_ms + after, cause, by, "forged", place, count, event)
            for place, (event, cause) in enumerate(forgeries, 1)
        ),
    ]


def changed(story: Story, version: int, **fields: Any) -> list[Recorded]:
    """The log of a story with one event changed: fields of what is recorded, or of the event itself."""
    events = list(story.events)
    recorded = events[version - 1]
    own = {name: value for name, value in fields.items() if name in Recorded._fields}
    rest: Any = {name: value for name, value in fields.items() if name not in own}
    if rest:
        own["event"] = replace(recorded.event, **rest)
    events[version - 1] = recorded._replace(**own)
    return events


def without(story: Story, version: int) -> list[Recorded]:
    """The log of a story with one event less, and as if it had never been there."""
    gone = story.events[version - 1]
    events = [recorded for recorded in story.events if recorded.version != version]
    return [
        recorded._replace(
            version=recorded.version - (recorded.version > version),
            cause=recorded.cause - (recorded.cause >= version),
            place=recorded.place - (recorded.tx == gone.tx and recorded.place > gone.place),
            count=recorded.count - (recorded.tx == gone.tx),
        )
        for recorded in events
    ]


def found(story: Story, events: list[Recorded] | None = None, **head: Any) -> list[Violation]:
    """What an audit finds; the head goes with the events unless it is told otherwise."""
    events = story.events if events is None else events
    told = {"head_version": len(events), "head_tx": events[-1].tx if events else "", "sealed": None, **head}
    return story.audit(events, **told)


def of(invariant: str, violations: Iterable[Violation]) -> list[tuple[int, str]]:
    return [(each.version, each.message) for each in violations if each.invariant == invariant]


# --------------------------------------------------------------------- clean logs


def finished() -> Story:
    story = shop()
    story.succeed("lookup", customer={})
    story.succeed("charge", receipt=1)
    return story


def rich() -> Story:
    """A flow to which most things happen that can."""
    wait = step("wait", "order", "ready", work_config={"timeout": 5_000, "max_retries": 1})
    charge = step(
        "charge",
        "ready",
        "receipt",
        attributes=each("xs"),
        predicate=script("odd"),
        work_config={"parallelism": 2, "on_failure": "tolerate"},
    )
    end = step("end", "receipt", "done", may="note")
    story = Story(
        [wait, charge, end, step("note", "hint", "note")], "end", {"order": [1], "xs": [[1, 2, 3, 5]]}
    )
    story.accept("wait", elapsed_ms=100)
    story.expire("wait", after=4_900)
    story.retry("wait", after=1_000)
    story.accept("wait")
    story.succeed("wait", by=OUTSIDE, ready=True)
    story.lose("charge", item=0)
    story.fall("charge", item=2, wait_ms=50)
    story.fail("charge", item=3, by=WEBHOOK)
    story.succeed("charge", 0, receipt=1)
    story.report("charge", Succeeded({"receipt": 2}), item=3, by=WEBHOOK)
    story.retry("charge", item=2, after=50)
    story.report("charge", Unfinished("late"), item=2, attempt=1, by=WEBHOOK)
    story.succeed("charge", 2, receipt=3)
    story.succeed("end", done=True)
    return story


def cancelled() -> Story:
    story = many(4, parallelism=3)
    story.fall("charge", item=0)
    story.accept("charge", item=1)
    story.cancel()
    story.tell(Abandon(WORK, story.token("charge", 2), 1))
    story.look(after=3_600_000)
    return story


def timed_out() -> Story:
    story = shop(timeout_ms=1_000)
    story.time_out(after=1_000)
    story.lose("lookup")
    return story


def gated() -> Story:
    ship = step("ship", "label", attributes={"approved": required(match=True)})
    definitions = [step("approve", "order", "approved"), step("print", "order", "label"), ship]
    story = Story(definitions, "ship", {"order": [1]})
    story.succeed("approve", approved=True)
    story.succeed("print", label="L")
    story.succeed("ship")
    return story


def closed() -> Story:
    ship = step("ship", attributes={"approved": required(match=True)})
    story = Story([step("approve", "order", "approved"), ship], "ship", {"order": [1]})
    story.succeed("approve", approved=False)
    return story


def collected() -> Story:
    quotes = [step(f"quote_{name}", "order", "quotes") for name in "ab"]
    inputs = {"quotes": required("all")}
    story = Story(
        [
            *quotes,
            step("every", "", "e", attributes=inputs),
            step("last", "", "l", attributes={"quotes": required("last")}),
            step("some", "", "s", attributes={"quotes": required("some")}),
            step("never", "e l s", attributes={"hold": required("none"), "note": optional()}),
        ],
        "never",
        {"order": [1], "quotes": [5]},
    )
    story.succeed("quote_b", quotes=7)
    story.succeed("quote_a", quotes=6)
    for name in ("every", "last", "some"):
        story.succeed(name, **{name[0]: 1})
    story.succeed("never")
    return story


def fallen() -> Story:
    story = shop()
    story.fail("lookup")
    return story


def left_out() -> Story:
    return Story(SHOP, "charge", {"receipt": [1]})


def bounded() -> Story:
    story = many(150, parallelism=200)
    story.look()
    return story


STORIES = (finished, rich, cancelled, timed_out, gated, closed, collected, fallen, left_out, bounded)


@pytest.mark.parametrize("tell", STORIES)
def test_a_log_that_was_decided_is_clean_at_the_end_of_every_transaction(tell: Callable[[], Story]) -> None:
    story = tell()

    assert story.audit() == []
    for upto, recorded in enumerate(story.events[:-1], 1):
        if recorded.place == recorded.count:
            events = story.events[:upto]
            told = {"head_version": upto, "head_tx": recorded.tx, "status": status_of(events)}
            assert audit_log("flow-1", events, **told) == []


def status_of(events: list[Recorded]) -> str:
    types = {recorded.event.type for recorded in events}
    if "flow_completed" in types:
        return "completed"
    return "failed" if "flow_failed" in types else "active"


def test_the_rich_story_tells_of_every_kind_of_work_event() -> None:
    types = {recorded.event.type for recorded in rich().events}

    assert {kind for kind in e.EVENTS if kind.startswith("work_")} - types == set()


# ------------------------------------------------------------- I-01: versions, head


def test_i01_a_gap_is_found() -> None:
    story = finished()
    events = [recorded for recorded in story.events if recorded.version != 3]

    assert of("I-01", found(story, events, head_version=13))[0] == (4, "version 4 stands where 3 should")


def test_i01_events_that_changed_places_are_found() -> None:
    story = finished()
    events = list(story.events)
    events[3], events[4] = events[4], events[3]

    assert of("I-01", found(story, events))[0] == (5, "version 5 stands where 4 should")


def test_i01_a_head_of_another_version_is_found() -> None:
    assert of("I-01", finished().audit(head_version=14)) == [
        (13, "the head says version 14, the log ends at 13")
    ]


def test_i01_a_head_of_another_transaction_is_found() -> None:
    story = finished()

    assert of("I-01", story.audit(head_tx="other")) == [
        (13, f"the head says transaction other, the last event is of {story.flow.last_tx}")
    ]


def test_i01_an_index_of_another_status_is_found() -> None:
    assert of("I-01", finished().audit(status="active")) == [
        (13, 'the index says "active", the log says "completed"')
    ]


# --------------------------------------------------------------- I-02: start, time


def test_i02_a_log_without_a_start_is_found() -> None:
    story = finished()

    assert of("I-02", found(story, story.events[1:])) == [(2, "step_started is event number 1 of the log")]


def test_i02_an_empty_log_is_found() -> None:
    assert of("I-02", found(finished(), [])) == [(0, "the log has no flow_started")]


def test_i02_a_second_start_is_found() -> None:
    story = shop()

    assert of("I-02", found(story, forged(story, (story.events[0].event, 0)))) == [
        (4, "flow_started is event number 4 of the log")
    ]


def test_i02_time_that_falls_is_found() -> None:
    story = finished()

    assert of("I-02", found(story, changed(story, 1, at=1_005)))[0] == (
        2,
        "step_started is 5 ms older than the event before it",
    )


# -------------------------------------------------------------------- I-03: refold


def test_i03_a_move_that_no_table_has_is_found() -> None:
    story = shop()
    skipped = e.WorkSkipped(ID("lookup"), story.token("lookup"))

    assert of("I-03", found(story, forged(story, (skipped, 3)))) == [
        (4, f"InvariantBroken: work item {story.token('lookup')} cannot go from active to skipped")
    ]


def test_i03_an_event_that_nobody_can_read_is_found() -> None:
    story = shop()

    assert of("I-03", found(story, changed(story, 2, inputs=None)))[0][0] == 2


@pytest.mark.parametrize(
    ("version", "fields", "said"),
    [
        (4, {"ran_ms": None}, "work_succeeded has a `ran_ms` of the wrong kind"),
        (4, {"memo": False}, "work_succeeded has a `memo` of the wrong kind"),
        (4, {"attempt": True}, "work_succeeded has a `attempt` of the wrong kind"),
        (4, {"by": 7}, "work_succeeded has a `by` of the wrong kind"),
        (1, {"labels": {"tenant": 1}}, "flow_started has a `labels` of the wrong kind"),
        (1, {"init": {"order": 1}}, "flow_started has a `init` of the wrong kind"),
    ],
)
def test_i03_a_field_of_the_wrong_kind_is_found(version: int, fields: dict[str, Any], said: str) -> None:
    story = finished()

    assert of("I-03", found(story, changed(story, version, **fields)))[0] == (version, said)


@pytest.mark.parametrize("fields", [{"root_cause": {"step": "lookup"}}, {"unsatisfied": [1]}])
def test_i03_a_failure_of_the_wrong_kind_is_found(fields: dict[str, Any]) -> None:
    story = fallen()
    version = story.version("step_failed", step="charge")
    [name] = fields

    assert of("I-03", found(story, changed(story, version, **fields)))[0] == (
        version,
        f"step_failed has a `{name}` of the wrong kind",
    )


def test_i03_every_field_of_every_event_has_a_kind() -> None:
    names = {name for event in e.EVENTS.values() for name in event.fields}

    assert names - FIELDS.keys() == {"plan_"}
    assert FIELDS.keys() - names == set()


def test_i03_what_cannot_be_applied_leaves_no_trace() -> None:
    story = shop()
    nothing = e.WorkNotCompleted(ID("lookup"), story.token("lookup"), 1, None)  # type: ignore[arg-type]
    broken = replace(nothing, step=ID("nobody"))
    events = forged(story, (broken, 3))
    later = Recorded(5, 1_000, 3, WORK, "later", 1, 1, e.WorkAccepted(ID("lookup"), story.token("lookup"), 1))

    assert [each for each in found(story, [*events, later]) if each.version == 5] == []


# -------------------------------------------------------------- I-04: transactions


def test_i04_a_transaction_in_two_places_is_found() -> None:
    story = finished()
    tx = story.events[0].tx

    assert of("I-04", found(story, changed(story, 13, tx=tx)))[-2:] == [
        (13, f"transaction {tx} is in two places"),
        (13, f"transaction {tx} begins with its event 5 of 5"),
    ]


def test_i04_a_transaction_that_was_cut_is_found() -> None:
    story = finished()

    assert of("I-04", found(story, story.events[:-1])) == [
        (12, f"transaction {story.flow.last_tx} ends with its event 4 of 5")
    ]


def test_i04_a_transaction_with_a_hole_is_found() -> None:
    story = finished()
    tx = story.events[1].tx

    assert of("I-04", found(story, changed(story, 2, place=1))) == [
        (2, f"event 1 of 3 of transaction {tx} follows 1"),
        (3, f"event 3 of 3 of transaction {tx} follows 1"),
    ]


def test_i04_a_place_beyond_the_transaction_is_found() -> None:
    story = shop()
    events = forged(story, (e.WorkAccepted(ID("lookup"), story.token("lookup"), 1), 3))
    events[-1] = events[-1]._replace(count=0)

    assert of("I-04", found(story, events))[0] == (4, "transaction forged has an event 1 of 0")


def test_i04_a_transaction_of_two_times_is_found() -> None:
    story = finished()
    last = story.flow.version

    assert of("I-04", found(story, changed(story, last, at=2_000))) == [
        (last, f"transaction {story.flow.last_tx} has two times")
    ]


# ------------------------------------------------------------------ I-05: outcomes


@pytest.mark.parametrize(
    "outcome",
    [
        e.WorkSucceeded(ID("lookup"), token_of(SEED, ID("lookup"), 0), 1, {}, 1),
        e.WorkFailed(ID("lookup"), token_of(SEED, ID("lookup"), 0), 1, "boom"),
    ],
)
def test_i05_a_second_outcome_is_found(outcome: Any) -> None:
    story = shop()
    story.succeed("lookup", customer={})

    assert of("I-05", found(story, forged(story, (outcome, 3)))) == [
        (9, f"attempt 1 of {outcome.token} counts, and the work item has succeeded already")
    ]


def test_i05_an_outcome_that_is_ignored_twice_is_found() -> None:
    story = shop()
    story.succeed("lookup", customer={})
    story.fail("lookup")
    again = story.events[-1].event

    assert of("I-05", found(story, forged(story, (again, 3)))) == [
        (10, f"attempt 1 of {story.token('lookup')} is ignored on record for the second time")
    ]


def test_i05_a_late_success_of_an_item_that_did_not_fail_is_found() -> None:
    story = shop()
    late = e.WorkIgnored(ID("lookup"), story.token("lookup"), 1, "late", {"customer": 1})

    assert of("I-05", found(story, forged(story, (late, 3)))) == [
        (4, f"attempt 1 of {late.token} is a late success, and the work item has not failed")
    ]


# ------------------------------------------------------------------ I-06: attempts


def lookup_started(attempt: int, reason: str) -> e.WorkStarted:
    return e.WorkStarted(ID("lookup"), token_of(SEED, ID("lookup"), 0), attempt, reason)


@pytest.mark.parametrize(
    ("started", "said"),
    [
        (lookup_started(3, "lost"), "follows attempt 1"),
        (lookup_started(1, "lost"), "follows attempt 1"),
        (lookup_started(2, "first"), "is the first, and the work item is active"),
        (lookup_started(2, "retry"), "is a retry that was not scheduled"),
        (lookup_started(2, "whim"), 'is started for a reason that does not exist: "whim"'),
    ],
)
def test_i06_an_attempt_out_of_order_or_without_reason_is_found(started: e.WorkStarted, said: str) -> None:
    story = shop()

    assert of("I-06", found(story, forged(story, (started, 3))))[0] == (
        4,
        f"attempt {started.attempt} of {started.token} {said}",
    )


def test_i06_the_loss_of_an_accepted_attempt_is_found() -> None:
    story = shop()
    story.accept("lookup")

    assert of("I-06", found(story, forged(story, (lookup_started(2, "lost"), 3)))) == [
        (5, f"attempt 2 of {story.token('lookup')} replaces one that could not be lost")
    ]


def test_i06_an_item_before_its_turn_is_found() -> None:
    story = many(4, parallelism=2)
    story.succeed("charge", 0)
    version = story.version("work_started")
    jumped = changed(story, version, token=story.token("charge", 3))

    assert of("I-06", found(story, jumped)) == [
        (version, "work item 3 of step `charge` is started before item 2")
    ]


def test_i06_an_old_attempt_that_comes_to_nothing_is_found() -> None:
    story = shop()
    story.lose("lookup")
    nothing = e.WorkNotCompleted(ID("lookup"), story.token("lookup"), 1, "no")

    assert of("I-06", found(story, forged(story, (nothing, 3)))) == [
        (5, f"attempt 1 of {nothing.token} has an outcome, and the current attempt is 2")
    ]


def test_i06_an_attempt_of_a_waiting_item_that_comes_to_nothing_is_found() -> None:
    story = shop()
    story.fall("lookup")
    nothing = e.WorkNotCompleted(ID("lookup"), story.token("lookup"), 1, "no")

    assert of("I-06", found(story, forged(story, (nothing, 3)))) == [
        (6, f"attempt 1 of {nothing.token} has an outcome while the work item is pending")
    ]


def test_i06_an_old_attempt_that_fails_is_found_unless_a_webhook_says_so() -> None:
    story = shop()
    story.lose("lookup")
    failed = e.WorkFailed(ID("lookup"), story.token("lookup"), 1, "boom")

    assert of("I-06", found(story, forged(story, (failed, 3)))) == [
        (5, f"attempt 1 of {failed.token} fails, and the current attempt is 2")
    ]
    assert of("I-06", found(story, forged(story, (failed, 0), by=WEBHOOK))) == []


def test_i06_an_outcome_of_an_attempt_that_never_was_is_found() -> None:
    story = shop()
    token = story.token("lookup")
    succeeded = e.WorkSucceeded(ID("lookup"), token, 2, {}, 1)
    ignored = e.WorkIgnored(ID("lookup"), token, 7, "late")

    assert of("I-06", found(story, forged(story, (succeeded, 3)))) == [
        (4, f"attempt 2 of {token} has an outcome, and was never started")
    ]
    assert of("I-06", found(story, forged(story, (ignored, 3)))) == [
        (4, f"attempt 7 of {token} is ignored, and was never started")
    ]


def test_i06_a_second_acceptance_is_found() -> None:
    story = shop()
    story.accept("lookup")

    assert of("I-06", found(story, forged(story, (story.events[-1].event, 3)))) == [
        (5, f"attempt 1 of {story.token('lookup')} is accepted for the second time")
    ]


def test_i06_an_item_that_is_skipped_while_it_runs_is_found() -> None:
    story = many(2, predicate="yes")
    skipped = e.WorkSkipped(ID("charge"), story.token("charge"))

    assert of("I-06", found(story, forged(story, (skipped, 2)))) == [
        (4, f"work item {skipped.token} is skipped while it is active")
    ]


# -------------------------------------------------------------------- I-07: tokens


def test_i07_a_token_of_another_seed_is_found() -> None:
    story = finished()
    seed = "ff" * 16

    assert of("I-07", found(story, changed(story, 1, seed=seed)))[0] == (
        3,
        f"token {story.token('lookup')} was not made by any step that has started",
    )


def test_i07_a_token_of_another_step_is_found() -> None:
    story = shop()
    story.succeed("lookup", customer={})
    mixed = e.WorkAccepted(ID("lookup"), story.token("charge"), 1)

    assert of("I-07", found(story, forged(story, (mixed, 8)))) == [
        (9, f"token {mixed.token} is one of step `charge`, not of `lookup`")
    ]


def test_i07_a_token_beyond_the_number_of_items_is_found() -> None:
    story = many(2)
    beyond = e.WorkStarted(ID("charge"), story.token("charge", 2), 1, "first")

    assert of("I-07", found(story, forged(story, (beyond, 2)))) == [
        (4, f"token {beyond.token} was not made by any step that has started")
    ]


def test_i07_a_seed_that_is_none_is_found() -> None:
    story = shop()

    assert of("I-07", found(story, changed(story, 1, seed="guess")))[0] == (
        1,
        "the seed is not 32 hexadecimal digits",
    )


# --------------------------------------------------------------------- I-08: steps


@pytest.mark.parametrize(
    "event",
    [
        e.StepStarted(ID("refund"), {}, 1),
        e.StepCompleted(ID("refund")),
        e.StepFailed(ID("refund"), "boom", {"step": "refund", "error": "boom"}),
        e.StepSkipped(ID("refund"), "unwanted"),
        e.AttributeSet("receipt", ID("refund")),
        e.WorkStarted(ID("refund"), ELSEWHERE, 1, "first"),
    ],
)
def test_i08_a_step_that_is_not_in_the_plan_is_found(event: Event) -> None:
    story = shop()

    assert of("I-08", found(story, forged(story, (event, 1)))) == [(4, "step `refund` is not in the plan")]


def test_i08_a_second_start_of_a_step_is_found() -> None:
    story = shop()

    assert of("I-08", found(story, forged(story, (story.events[1].event, 1)))) == [
        (4, "step `lookup` is started for the second time")
    ]


@pytest.mark.parametrize(
    "event",
    [
        e.StepCompleted(ID("lookup")),
        e.StepFailed(ID("lookup"), "boom", {"step": "lookup", "error": "boom"}),
        e.StepSkipped(ID("lookup"), "unwanted"),
    ],
)
def test_i08_a_second_end_of_a_step_is_found(event: Event) -> None:
    story = shop()
    story.succeed("lookup", customer={})

    assert of("I-08", found(story, forged(story, (event, 1))))[0] == (
        9,
        "step `lookup` has completed already",
    )


def test_i08_a_step_that_completes_without_a_start_is_found() -> None:
    story = shop()

    assert of("I-08", found(story, forged(story, (e.StepCompleted(ID("charge")), 1)))) == [
        (4, "step `charge` completes without having started")
    ]


def test_i08_an_active_step_that_is_skipped_is_found() -> None:
    story = shop()

    assert of("I-08", found(story, forged(story, (e.StepSkipped(ID("lookup"), "unwanted"), 1)))) == [
        (4, "step `lookup` is skipped while it is active")
    ]


def test_i08_a_root_cause_outside_the_plan_is_found() -> None:
    story = fallen()
    version = story.version("step_failed", step="lookup")
    events = changed(story, version, root_cause={"step": "refund", "error": "boom"})

    assert of("I-08", found(story, events)) == [
        (version, "step `lookup` fails because of a step that is not in the plan")
    ]


# ---------------------------------------------------------- I-09: inputs and wants


@pytest.mark.parametrize(
    ("inputs", "items", "said"),
    [
        ({"order": {"attribute": "order", "index": 0}}, 1, "input `customer` not fulfilled"),
        (
            {"order": {"attribute": "customer_id", "index": 0}, "customer": {"value": 1}},
            1,
            "input `customer` not fulfilled",
        ),
    ],
)
def test_i09_a_step_that_starts_without_its_inputs_is_found(
    inputs: dict[str, Any], items: int, said: str
) -> None:
    story = shop()
    started = e.StepStarted(ID("charge"), inputs, items)

    assert of("I-09", found(story, forged(story, (started, 1))))[0] == (
        4,
        f"step `charge` is started with {said}",
    )


REFERENCE = {"attribute": "customer_id", "index": 0}


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "input `customer_id` left out"),
        ({"customer_id": REFERENCE, "more": REFERENCE}, "`more`, which is no input of it"),
        (
            {"customer_id": {"attribute": "order", "index": 0}},
            "input `customer_id` taken from another attribute",
        ),
        (
            {"customer_id": {"attribute": "customer_id", "index": 1}},
            "input `customer_id` referring to a value that is not there",
        ),
        (
            {"customer_id": {"attribute": "customer_id", "index": -1}},
            "input `customer_id` referring to a value that is not there",
        ),
        (
            {"customer_id": {"value": "c1"}},
            "input `customer_id` that is neither a reference nor its default",
        ),
    ],
)
def test_i09_a_step_that_starts_with_other_inputs_is_found(inputs: dict[str, Any], said: str) -> None:
    story = shop()

    assert of("I-09", found(story, changed(story, 2, inputs=inputs)))[0] == (
        2,
        f"step `lookup` is started with {said}",
    )


@pytest.mark.parametrize(
    ("name", "places"), [("every", [0, 1, 2]), ("last", [1]), ("some", [0, 2, 1]), ("every", [0, 2])]
)
def test_i09_values_that_the_policy_does_not_give_are_found(name: str, places: list[int]) -> None:
    story = collected()
    version = story.version("step_started", step=name)
    source: dict[str, Any] = {"attribute": "quotes", "indexes": places}

    assert of("I-09", found(story, changed(story, version, inputs={"quotes": source})))[0] == (
        version,
        f"step `{name}` is started with input `quotes` not as its collect policy says",
    )


def test_i09_a_const_that_is_another_is_found() -> None:
    fixed = {"role": "const", "const": {"value": "5"}}
    story = Story([step("charge", attributes={"limit": fixed})], "charge")
    other = changed(story, 2, inputs={"limit": {"value": 6}})

    assert found(story) == []
    assert of("I-09", found(story, other)) == [
        (2, "step `charge` is started with input `limit` not as its const says")
    ]


def test_i09_a_step_with_another_number_of_items_is_found() -> None:
    story = many(3)

    assert of("I-09", found(story, changed(story, 2, items=4))) == [
        (2, "step `charge` is started with 4 work items, not one an element")
    ]


@pytest.mark.parametrize("items", [10_001, 10**30])
def test_i09_more_items_than_a_step_may_have_are_found_and_not_made(items: int) -> None:
    story = many(3)

    assert of("I-09", found(story, changed(story, 2, items=items))) == [
        (2, f"step `charge` is started with {items} work items, not one an element")
    ]


def test_i09_a_start_that_nobody_wants_is_found() -> None:
    early, late = step("early", "order", "customer"), step("late", "voucher", "customer")
    story = Story([early, late, CHARGE, step("slow", "customer_id", "voucher")], "charge", ORDER)
    story.succeed("early", customer={})
    version = story.version("step_skipped", step="late")
    started = changed(story, version, event=e.StepStarted(ID("late"), {}, 1))

    assert of("I-09", found(story, started))[0] == (
        version,
        "step `late` is started, and nobody wants what it provides",
    )


def test_i09_a_wanted_step_that_is_skipped_as_unwanted_is_found() -> None:
    story = shop()
    skipped = e.StepSkipped(ID("charge"), "unwanted")

    assert of("I-09", found(story, forged(story, (skipped, 1)))) == [
        (4, "step `charge` is skipped as unwanted while it is wanted")
    ]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("predicate", "by a predicate that it does not have"),
        ("match", "by a gate that it does not have"),
        ("whim", 'for a reason that does not exist: "whim"'),
    ],
)
def test_i09_a_skip_for_a_reason_that_the_step_does_not_have_is_found(reason: str, said: str) -> None:
    story = shop()
    skipped = e.StepSkipped(ID("charge"), reason, unsatisfied=["customer"])

    assert of("I-09", found(story, forged(story, (skipped, 1))))[0] == (4, f"step `charge` is skipped {said}")


def test_i09_an_item_that_is_skipped_without_a_predicate_is_found() -> None:
    story = many(2)
    skipped = e.WorkSkipped(ID("charge"), story.token("charge", 1))

    assert of("I-09", found(story, forged(story, (skipped, 2)))) == [
        (4, f"work item {skipped.token} is skipped, and step `charge` has no check for it")
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("customer", "is given up for `customer`, which can still appear"),
        ("hint", "lacks `hint`, which is no required input of it"),
    ],
)
def test_i09_a_step_given_up_too_early_is_found(name: str, said: str) -> None:
    story = shop()
    failed = e.StepFailed(ID("charge"), "gone", {"step": "charge", "error": "gone"}, unsatisfied=[name])

    assert of("I-09", found(story, forged(story, (failed, 1)))) == [(4, f"step `charge` {said}")]


def test_i09_a_step_that_nobody_wants_and_that_is_not_skipped_is_found() -> None:
    early, late = step("early", "order", "customer"), step("late", "voucher", "customer")
    story = Story([early, late, CHARGE, step("slow", "customer_id", "voucher")], "charge", ORDER)
    story.succeed("early", customer={})
    version = story.version("step_skipped", step="late")

    violations = of("I-09", found(story, without(story, version)))
    assert [message for _, message in violations] == [
        "nobody wants what step `late` provides, and it is not skipped"
    ]


# ------------------------------------------------------------------ I-10: step ends


def test_i10_a_step_that_completes_before_its_items_is_found() -> None:
    story = many(3)

    assert of("I-10", found(story, forged(story, (e.StepCompleted(ID("charge")), 3))))[0] == (
        4,
        "step `charge` completes with 3 work items that are not over",
    )


def test_i10_a_step_that_completes_with_failed_items_is_found() -> None:
    story = many(1)
    failed = e.WorkFailed(ID("charge"), story.token("charge"), 1, "boom")
    set_, completed = e.AttributeSet("receipt", ID("charge")), e.StepCompleted(ID("charge"))

    assert of("I-10", found(story, forged(story, (failed, 3), (set_, 4), (completed, 4)))) == [
        (6, "step `charge` completes, and 1 of its work items have failed")
    ]


def step_failed(step: str = "charge") -> e.StepFailed:
    return e.StepFailed(ID(step), "boom", {"step": step, "error": "boom"})


def test_i10_a_step_that_fails_without_a_failed_item_is_found() -> None:
    story = many(3)

    assert of("I-10", found(story, forged(story, (step_failed(), 3)))) == [
        (4, "step `charge` fails, and none of its work items has failed")
    ]


@pytest.mark.parametrize(
    ("policy", "said"),
    [("tolerate", "and it tolerates failed work items"), ("finish", "before all its work items are over")],
)
def test_i10_a_step_that_fails_against_its_policy_is_found(policy: str, said: str) -> None:
    story = many(3, on_failure=policy)
    story.fail("charge", item=0)

    messages = [message for _, message in of("I-10", found(story, forged(story, (step_failed(), 4))))]
    assert [message.replace("fails, and", "fails and").replace(",", "") for message in messages] == [
        f"step `charge` fails {said}"
    ]


def test_i10_a_step_that_stays_when_all_is_over_is_found() -> None:
    story = many(1)
    succeeded = e.WorkSucceeded(ID("charge"), story.token("charge"), 1, {"receipt": 1}, 1)

    assert of("I-10", found(story, forged(story, (succeeded, 3)))) == [
        (4, "all work items of step `charge` are over, and it is not")
    ]


def test_i10_a_step_that_stays_when_one_has_failed_is_found() -> None:
    story = many(3)
    failed = e.WorkFailed(ID("charge"), story.token("charge"), 1, "boom")

    assert of("I-10", found(story, forged(story, (failed, 3)))) == [
        (4, "a work item of step `charge` has failed, and the step has not")
    ]


def test_i10_a_step_that_cannot_get_its_input_and_has_not_failed_is_found() -> None:
    story = Story([*SHOP, step("report", "order"), step("ship", "receipt")], "ship report", ORDER)
    story.fail("lookup")
    version = story.version("step_failed", step="lookup")
    events = [each._replace(count=2) if each.tx == story.flow.last_tx else each for each in story.events]

    assert of("I-10", found(story, events[:version], status="active")) == [
        (version, "step `charge` can no longer get `customer`, and has not failed")
    ]


# ----------------------------------------------------------------- I-11: attributes


def test_i11_an_attribute_that_is_no_output_is_found() -> None:
    story = shop()

    assert of("I-11", found(story, forged(story, (e.AttributeSet("receipt", ID("lookup")), 3))))[0] == (
        4,
        "step `lookup` sets `receipt`, which is no output of it",
    )


def test_i11_an_attribute_that_was_not_given_is_found() -> None:
    story = shop()

    assert of("I-11", found(story, forged(story, (e.AttributeSet("customer", ID("lookup")), 3)))) == [
        (4, "step `lookup` sets `customer`, which its work item did not give"),
        (4, "step `lookup` has set customer and is not completed"),
    ]


def test_i11_an_attribute_that_is_set_twice_is_found() -> None:
    story = finished()
    version = story.version("attribute_set", step="lookup")
    doubled = story.events[version - 1]
    events = [
        *story.events[:version],
        doubled._replace(version=version + 1),
        *(each._replace(version=each.version + 1) for each in story.events[version:]),
    ]

    assert of("I-11", found(story, events))[0] == (version + 1, "step `lookup` sets `customer` twice")


def test_i11_an_attribute_of_a_step_that_is_not_active_is_found() -> None:
    story = shop()
    story.succeed("lookup", customer={})

    assert of("I-11", found(story, forged(story, (e.AttributeSet("customer", ID("lookup")), 3))))[0] == (
        9,
        "step `lookup` sets `customer` while it is completed",
    )


def test_i11_an_attribute_that_was_not_set_is_found() -> None:
    story = shop()
    story.succeed("lookup", customer={})
    version = story.version("attribute_set")

    assert of("I-11", found(story, without(story, version)))[0] == (
        version,
        "step `lookup` completes without setting customer",
    )


def test_i11_outputs_that_are_not_declared_are_found() -> None:
    story = finished()
    version = story.version("work_succeeded", step="lookup")
    events = changed(story, version, outputs={"customer": {}, "more": 1})

    assert of("I-11", found(story, events)) == [
        (version, f"attempt 1 of {story.token('lookup')} gives `more`, which is no output of step `lookup`")
    ]


def test_i11_outputs_of_another_type_are_found() -> None:
    typed = step("lookup", attributes={"customer": {"role": "output", "type": "object"}})
    story = Story([typed], "lookup")
    story.succeed("lookup", customer={})
    version = story.version("work_succeeded")

    assert found(story) == []
    assert of("I-11", found(story, changed(story, version, outputs={"customer": 1}))) == [
        (version, f"attempt 1 of {story.token('lookup')} gives `customer`, which is not of its declared type")
    ]


# ----------------------------------------------------------------- I-12: flow ends


def test_i12_a_flow_that_completes_before_its_goals_is_found() -> None:
    story = shop()

    assert of("I-12", found(story, forged(story, (e.FlowCompleted(), 3)), status="completed")) == [
        (4, "the flow completes, and goal `charge` is pending")
    ]


def test_i12_a_flow_that_fails_without_a_reason_is_found() -> None:
    story = shop()

    assert of("I-12", found(story, forged(story, (e.FlowFailed("whim"), 3)), status="failed")) == [
        (4, "the flow fails, and no goal has failed")
    ]


def test_i12_a_flow_that_timed_out_without_a_timeout_is_found() -> None:
    story = shop()
    events = forged(story, (e.FlowFailed("timed out"), 0), by=TIMER)

    assert of("I-12", found(story, events, status="failed")) == [
        (4, "the flow timed out, and it has no timeout")
    ]


def test_i12_a_flow_that_fails_for_another_root_cause_is_found() -> None:
    story = fallen()
    version = story.version("flow_failed")
    events = changed(story, version, root_cause={"step": "charge", "error": "boom"})

    assert of("I-12", found(story, events)) == [
        (version, "the flow fails for another root cause than its goals")
    ]


@pytest.mark.parametrize(
    ("event", "said"), [(e.FlowCompleted(), "completes"), (e.FlowFailed("cancelled"), "fails")]
)
def test_i12_a_second_end_of_a_flow_is_found(event: Event, said: str) -> None:
    story = shop()
    story.cancel()

    assert of("I-12", found(story, forged(story, (event, 3))))[0] == (
        5,
        f"the flow {said}, and it has failed already",
    )


def test_i12_a_flow_whose_goals_were_all_closed_off_cannot_complete() -> None:
    story = closed()
    version = story.version("flow_failed")
    events = [*story.events]
    events[version - 1] = events[version - 1]._replace(event=e.FlowCompleted())

    assert of("I-12", found(story, events, status="completed")) == [
        (version, "the flow completes, and every goal was closed off by its gate")
    ]


def test_i12_a_flow_that_goes_on_when_every_goal_is_done_is_found() -> None:
    story = finished()
    version = story.version("step_completed", step="charge")
    events = [each._replace(count=3) if each.tx == story.flow.last_tx else each for each in story.events]

    assert of("I-12", found(story, events[:version], status="active")) == [
        (version, "every goal is done, and the flow is not over")
    ]


def test_i12_a_flow_that_goes_on_when_a_goal_has_failed_is_found() -> None:
    story = fallen()
    version = story.version("step_failed", step="charge")
    events = [each._replace(count=3) if each.tx == story.flow.last_tx else each for each in story.events]

    assert of("I-12", found(story, events[:version], status="active")) == [
        (version, "a goal has failed, and the flow has not")
    ]


def test_i12_an_empty_plan_that_does_not_complete_is_found() -> None:
    story = left_out()
    events = [story.events[0]._replace(count=1)]

    assert of("I-12", found(story, events, status="active")) == [
        (1, "every goal is done, and the flow is not over")
    ]


# ------------------------------------------------------------- I-13: after the end


def test_i13_starts_after_the_outcome_are_found() -> None:
    story = many(3)
    story.cancel()
    first = e.WorkStarted(ID("charge"), story.token("charge", 1), 1, "first")
    lost = e.WorkStarted(ID("charge"), story.token("charge"), 2, "lost")

    assert [of("I-13", found(story, forged(story, (event, 3)))) for event in (first, lost)] == [
        [(5, f"attempt 1 of {first.token} is started after the flow's outcome")],
        [(5, f"attempt 2 of {lost.token} is started after the flow's outcome")],
    ]


def test_i13_a_step_that_starts_after_the_outcome_is_found() -> None:
    story = shop()
    story.cancel()
    started = e.StepStarted(ID("charge"), {}, 1)

    assert of("I-13", found(story, forged(story, (started, 3)))) == [
        (5, "step `charge` is started after the flow's outcome")
    ]


def test_i13_a_step_that_waited_at_the_outcome_and_ends_is_found() -> None:
    story = shop()
    story.cancel()

    assert of("I-13", found(story, forged(story, (step_failed(), 3)))) == [
        (5, "step `charge` was waiting at the flow's outcome, and has an end after it")
    ]


def test_i13_an_item_of_a_failed_step_that_starts_is_found() -> None:
    story = Story(
        [
            step("a", "", "y", attributes=each("xs"), work_config={"parallelism": 2}),
            step("b", "order", "y"),
            step("c", "y"),
        ],
        "c",
        {"xs": [[1, 2, 3]], "order": [1]},
    )
    story.fail("a", item=0)
    started = e.WorkStarted(ID("a"), story.token("a", 2), 1, "first")
    version = story.flow.version + 1

    assert of("I-13", found(story, forged(story, (started, 3)))) == [
        (version, f"attempt 1 of {started.token} is started while step `a` is failed")
    ]


def test_i13_a_retry_that_is_scheduled_after_the_outcome_is_found() -> None:
    story = shop()
    story.cancel()
    token = story.token("lookup")
    nothing = e.WorkNotCompleted(ID("lookup"), token, 1, "no")
    scheduled = e.WorkRetryScheduled(ID("lookup"), token, 2, 1_000)

    assert of("I-13", found(story, forged(story, (nothing, 3), (scheduled, 5)))) == [
        (6, f"attempt 2 of {token} is scheduled, and nobody waits for it any more")
    ]


def test_i13_an_item_that_is_skipped_after_the_outcome_is_found() -> None:
    story = many(3, predicate="yes")
    story.cancel()
    skipped = e.WorkSkipped(ID("charge"), story.token("charge", 1))

    assert of("I-13", found(story, forged(story, (skipped, 3)))) == [
        (5, f"work item {skipped.token} is skipped after the flow's outcome")
    ]


# ------------------------------------------------------------- I-14: deactivation


def test_i14_a_deactivation_before_the_outcome_is_found() -> None:
    story = shop()

    assert of("I-14", found(story, forged(story, (e.FlowDeactivated("active"), 3)))) == [
        (4, "the flow is deactivated before its outcome"),
        (4, "the flow is deactivated while 1 work items can still act"),
    ]


def test_i14_a_deactivation_while_something_can_act_is_found() -> None:
    story = shop()
    story.cancel()

    assert of("I-14", found(story, forged(story, (e.FlowDeactivated("failed"), 4)))) == [
        (5, "the flow is deactivated while 1 work items can still act")
    ]


def test_i14_a_deactivation_as_another_status_is_found() -> None:
    story = finished()

    assert of("I-14", found(story, changed(story, 13, status="failed"), status="completed")) == [
        (13, "the flow has completed, and is deactivated as failed")
    ]


def test_i14_what_comes_after_the_deactivation_is_found() -> None:
    story = finished()
    ignored = e.WorkIgnored(ID("lookup"), story.token("lookup"), 1, "late")

    assert of("I-14", found(story, forged(story, (ignored, 3)))) == [
        (14, "work_ignored comes after the flow was deactivated")
    ]


def test_i14_a_deactivation_that_is_missing_is_found() -> None:
    story = finished()

    assert of("I-14", found(story, without(story, 13))) == [
        (12, "the flow is over and nothing of it can act, and it is not deactivated")
    ]


@pytest.mark.parametrize(
    ("tell", "sealed", "said"),
    [
        (finished, False, "the log is open, and the flow is deactivated"),
        (shop, True, "the log is closed, and the flow is not deactivated"),
    ],
)
def test_i14_a_log_that_is_not_closed_with_its_flow_is_found(
    tell: Callable[[], Story], sealed: bool, said: str
) -> None:
    story = tell()

    assert of("I-14", story.audit(sealed=sealed)) == [(story.flow.version, said)]


# ------------------------------------------------------------------ I-15: parallelism


def test_i15_more_items_than_allowed_are_found() -> None:
    story = many(4, parallelism=2)
    third = e.WorkStarted(ID("charge"), story.token("charge", 2), 1, "first")

    assert of("I-15", found(story, forged(story, (third, 2)))) == [
        (5, "3 work items of step `charge` are active, of 2 allowed")
    ]


def test_i15_a_replacement_takes_no_slot_of_its_own() -> None:
    story = many(4, parallelism=2)
    story.lose("charge", item=0)

    assert found(story) == []


# ----------------------------------------------------------------------- I-16: retries


def falling(story: Story, delay_ms: int, *, attempt: int = 1, by: str = WORK) -> list[Recorded]:
    """The current attempt of the first item is not completed, and retried after a delay."""
    token = story.token("lookup")
    cause = story.released(token, attempt)
    nothing = e.WorkNotCompleted(ID("lookup"), token, attempt, "no")
    scheduled = e.WorkRetryScheduled(ID("lookup"), token, attempt + 1, delay_ms)
    return forged(story, (nothing, cause), (scheduled, story.flow.version + 1), by=by)


def lookup(**work: Any) -> Story:
    return Story([{**LOOKUP, "work_config": work}], "lookup", ORDER)


@pytest.mark.parametrize("delay_ms", [0, 1_000, 5, 86_400_000])
def test_i16_a_delay_that_was_computed_or_asked_for_is_fine(delay_ms: int) -> None:
    story = lookup()

    assert found(story, falling(story, delay_ms)) == []


@pytest.mark.parametrize(
    ("delay_ms", "by"),
    [(86_400_001, WORK), (-1, WORK), (5, TIMER)],
    ids=["long", "negative", "not asked for"],
)
def test_i16_a_delay_that_no_policy_gives_is_found(delay_ms: int, by: str) -> None:
    story = lookup()

    assert of("I-16", found(story, falling(story, delay_ms, by=by))) == [
        (5, f"attempt 2 of {story.token('lookup')} is due after {delay_ms} ms, its policy says 1000 ms")
    ]


def test_i16_a_retry_beyond_the_budget_is_found() -> None:
    story = lookup(max_retries=1)
    story.fall("lookup")
    story.retry("lookup", after=1_000)

    assert of("I-16", found(story, falling(story, 2_000, attempt=2))) == [
        (8, f"attempt 3 of {story.token('lookup')} is more than the 1 retries allowed")
    ]


def test_i16_an_attempt_beyond_the_bound_is_found() -> None:
    story = lookup(max_attempts=1)

    assert of("I-16", found(story, falling(story, 1_000))) == [
        (5, f"attempt 2 of {story.token('lookup')} is more than the 1 attempts allowed")
    ]
    assert of("I-16", found(story, forged(story, (lookup_started(2, "lost"), 3)))) == [
        (4, f"attempt 2 of {story.token('lookup')} is more than the 1 attempts allowed")
    ]


def test_i16_a_sixth_loss_in_a_row_is_found() -> None:
    story = lookup()
    for _ in range(4):
        story.lose("lookup")

    assert of("I-16", found(story, forged(story, (lookup_started(6, "lost"), 7)))) == [
        (8, f"attempt 6 of {story.token('lookup')} follows 5 losses in a row")
    ]


@pytest.mark.parametrize(("after", "early"), [(998, [2]), (999, []), (1_000, [])])
def test_i16_a_retry_before_it_is_due_is_found(after: int, early: list[int]) -> None:
    story = lookup()
    story.fall("lookup")
    events = forged(story, (lookup_started(2, "retry"), 5), by=TIMER, after=after)

    assert of("I-16", found(story, events)) == [
        (6, f"attempt 2 of {story.token('lookup')} is started {ms} ms before it is due") for ms in early
    ]


def test_i16_a_retry_of_what_did_not_come_to_nothing_is_found() -> None:
    story = lookup()
    scheduled = e.WorkRetryScheduled(ID("lookup"), story.token("lookup"), 2, 1_000)

    assert of("I-16", found(story, forged(story, (scheduled, 3)))) == [
        (4, f"attempt 2 of {scheduled.token} is scheduled while the work item is active")
    ]


def test_i16_what_came_to_nothing_and_has_no_sequel_is_found() -> None:
    story = lookup()
    nothing = e.WorkNotCompleted(ID("lookup"), story.token("lookup"), 1, "no")

    assert of("I-16", found(story, forged(story, (nothing, 3)))) == [
        (4, f"attempt 1 of {nothing.token} came to nothing, and is neither retried nor failed")
    ]


@pytest.mark.parametrize(("timeout", "waited"), [(5_000, 5_001), (5_000, None), (0, 10)])
def test_i16_an_acceptance_that_waits_otherwise_than_allowed_is_found(
    timeout: int, waited: int | None
) -> None:
    story = lookup(timeout=timeout)
    accepted = e.WorkAccepted(ID("lookup"), story.token("lookup"), 1, waited)

    assert of("I-16", found(story, forged(story, (accepted, 3)))) == [
        (4, f"attempt 1 of {accepted.token} is waited for {waited} ms, of {timeout} allowed")
    ]


# ------------------------------------------------------------------------ I-18: fold


def test_i18_folds_that_differ_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    story = finished()
    monkeypatch.setattr("argyll_redis.core.audit.evolve", lambda flow, events: flow)

    assert of("I-18", found(story)) == [(13, "two folds of the log give two states")]


# ------------------------------------------------------------------------ I-19: plan


def with_plan(story: Story, **fields: Any) -> list[Recorded]:
    started: Any = story.events[0].event
    return changed(story, 1, plan_=replace(started.plan_, **fields))


def test_i19_a_step_that_no_goal_needs_is_found() -> None:
    story = finished()
    refund: Any = Story([step("refund", "order", "money")], "refund", ORDER).flow.plan.steps["refund"]
    plan = story.flow.plan
    uses = {
        **plan.attributes,
        "money": AttributeUse((ID("refund"),), ()),
        "order": AttributeUse((), (ID("charge"), ID("refund"))),
    }
    events = with_plan(story, steps={**plan.steps, "refund": refund}, attributes=dict(sorted(uses.items())))

    assert of("I-19", found(story, events)) == [
        (1, "step `refund` is in the plan, and no goal needs it"),
        (1, "the plan does not say why step `refund` is in it"),
    ]


def test_i19_a_provider_that_an_initial_value_makes_needless_is_found() -> None:
    story = finished()
    init = {**ORDER, "customer": [{}]}

    assert of("I-19", found(story, changed(story, 1, init=init))) == [
        (1, "step `lookup` is in the plan, and no goal needs it")
    ]


def test_i19_a_cycle_is_found() -> None:
    story = shop()
    charge = story.flow.plan.steps[ID("charge")]
    loop: Any = Story([step("lookup", "receipt", "customer")], "lookup", {"receipt": [1]}).flow.plan.steps
    uses = {
        "customer": AttributeUse((ID("lookup"),), (ID("charge"),)),
        "order": AttributeUse((), (ID("charge"),)),
        "receipt": AttributeUse((ID("charge"),), (ID("lookup"),)),
    }
    events = with_plan(story, steps={"charge": charge, "lookup": loop["lookup"]}, attributes=uses)

    assert of("I-19", found(story, events)) == [(1, "the steps of the plan depend on each other in a cycle")]


def test_i19_providers_that_are_not_those_of_the_steps_are_found() -> None:
    story = finished()
    uses = {**story.flow.plan.attributes, "receipt": AttributeUse()}

    assert of("I-19", found(story, with_plan(story, attributes=uses))) == [
        (1, "the plan's providers and consumers are not those of its steps")
    ]


def test_i19_goals_that_are_not_there_are_found() -> None:
    story = finished()

    assert of("I-19", found(story, with_plan(story, goals=("charge", "refund")))) == [
        (1, "goal `refund` is neither in the plan nor left out as satisfied")
    ]
    assert of("I-19", found(story, with_plan(story, goals=())))[0] == (1, "the plan has no goals")


def test_i19_a_goal_left_out_without_its_outputs_given_is_found() -> None:
    story = left_out()

    assert of("I-19", found(story, changed(story, 1, init={}))) == [
        (1, "goal `charge` is left out, and its outputs are not given initially")
    ]


def test_i19_a_start_without_required_values_is_found() -> None:
    story = finished()

    assert of("I-19", found(story, with_plan(story, required=("order", "voucher")))) == [
        (1, "the flow was started without required initial values: voucher")
    ]


def test_i19_a_plan_for_children_of_no_flow_step_is_found() -> None:
    story = finished()

    assert of("I-19", found(story, with_plan(story, children={"charge": story.flow.plan}))) == [
        (1, "the plan has a plan for the children of `charge`, which is no flow step of it")
    ]


def test_i19_a_step_under_another_id_is_found() -> None:
    story = finished()
    steps = story.flow.plan.steps
    swapped = {"charge": steps[ID("lookup")], "lookup": steps[ID("charge")]}

    assert of("I-19", found(story, with_plan(story, steps=swapped)))[0] == (
        1,
        "the plan holds a step under another id",
    )


# ----------------------------------------------------------------------------- causes


@pytest.mark.parametrize("cause", [4, 9, -1])
def test_a_cause_that_does_not_come_before_is_found(cause: int) -> None:
    story = finished()

    assert of("causes", found(story, changed(story, 4, cause=cause))) == [
        (4, f"work_succeeded is caused by event {cause}, which does not come before it")
    ]


@pytest.mark.parametrize("version", [2, 3, 4, 5, 6, 11, 12])
def test_a_cause_that_is_missing_is_found(version: int) -> None:
    story = finished()
    kind = story.events[version - 1].event.type

    assert of("causes", found(story, changed(story, version, cause=0))) == [
        (version, f"{kind} has no cause, and did not come from outside")
    ]


def test_an_origin_that_does_not_exist_is_found() -> None:
    story = finished()

    assert of("causes", found(story, changed(story, 2, by="magic:wand"))) == [
        (2, 'step_started is by "magic:wand", an origin that does not exist')
    ]


def test_an_outcome_from_outside_has_no_cause() -> None:
    story = shop()
    story.succeed("lookup", by=OUTSIDE, customer={})

    assert story.events[3].cause == 0
    assert found(story) == []


def test_an_outcome_that_another_attempt_is_said_to_have_led_to_is_found() -> None:
    story = shop()
    story.lose("lookup")
    story.succeed("lookup", customer={})

    assert of("causes", found(story, changed(story, 5, cause=3))) == [
        (5, "work_succeeded is caused by event 3, which did not release its attempt")
    ]


def test_a_retry_that_something_else_is_said_to_have_led_to_is_found() -> None:
    story = shop()
    story.fall("lookup")
    story.retry("lookup", after=1_000)

    assert of("causes", found(story, changed(story, 6, cause=4))) == [
        (6, "work_started is caused by event 4, not by 5")
    ]


def test_a_start_with_a_cause_is_found() -> None:
    story = shop()

    assert of("causes", found(story, forged(story, (story.events[0].event, 1)))) == [
        (4, "flow_started is caused by event 1")
    ]


def test_an_end_that_nobody_outside_asked_for_has_a_cause() -> None:
    story = fallen()
    version = story.version("flow_failed")

    assert of("causes", found(story, changed(story, version, cause=0))) == [
        (version, "flow_failed has no cause, and did not come from outside")
    ]


# ------------------------------------------------------------------------- any log


def test_a_log_with_very_many_violations_has_its_first_ones_listed() -> None:
    story = many(3_000, parallelism=3_000)
    story.look()
    events = [recorded._replace(cause=0) for recorded in story.events]

    violations = found(story, events)
    assert len(violations) == MAX_VIOLATIONS
    assert violations[0].version == 2


def test_every_invariant_that_is_named_has_a_sentence() -> None:
    story = finished()
    broken = [each._replace(version=7, tx="t", cause=9, at=-each.version) for each in story.events]

    named = {violation.invariant for violation in found(story, broken)}
    assert named - INVARIANTS.keys() == set()
    assert {"I-01", "I-02", "I-04", "causes"} - named == set()


JUNK = st.sampled_from(
    [None, -1, 0, 1, 2, 3, 7, 10**30, 1.5, "", "lookup", "charge", "t0", [], {}, [0], {"value": 1}]
)
LOGS = [tell().events for tell in (finished, rich, cancelled, gated, fallen, collected)]


@st.composite
def broken_logs(draw: st.DrawFn) -> list[Recorded]:
    """A clean log with a few things done to it."""
    events = list(draw(st.sampled_from(LOGS)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(events) - 1)) if events else 0
        other = draw(st.integers(0, len(events) - 1)) if events else 0
        kind = draw(st.sampled_from(["drop", "swap", "double", "record", "event"]))
        if not events:
            break
        if kind == "drop":
            del events[place]
        elif kind == "swap":
            events[place], events[other] = events[other], events[place]
        elif kind == "double":
            events.insert(other, events[place])
        elif kind == "record":
            name = draw(st.sampled_from([name for name in Recorded._fields if name != "event"]))
            events[place] = events[place]._replace(**{name: draw(JUNK)})
        else:
            event: Any = events[place].event
            if event.fields:
                name = draw(st.sampled_from(event.fields))
                events[place] = events[place]._replace(event=replace(event, **{name: draw(JUNK)}))
    return events


@given(broken_logs(), st.sampled_from([None, True, False]))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_log_makes_an_audit_raise(events: list[Recorded], sealed: bool | None) -> None:
    violations = audit_log("flow-1", events, head_version=-1, head_tx="", status="", sealed=sealed)

    assert violations[-1].invariant in INVARIANTS
    assert isinstance(audit_calls("flow-1", events, [(ELSEWHERE, 1)]), list)


def test_a_flow_of_ten_thousand_items_is_audited_in_one_walk() -> None:
    story = many(10_000, parallelism=10_000)
    story.look()
    for start in range(0, 10_000, 100):
        story.tell(
            *(
                Report(WORK, story.token("charge", item), Succeeded({"receipt": item}), 1, item + 3)
                for item in range(start, start + 100)
            )
        )

    assert story.flow.is_deactivated
    assert story.audit() == []


def test_a_look_at_a_quiet_flow_adds_nothing_to_audit() -> None:
    story = shop()
    story.tell(Look(TIMER))

    assert (len(story.events), found(story)) == (3, [])
