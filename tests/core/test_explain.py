"""Explaining: what an operator reads of a step, sentence by sentence."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from definitions import optional, required, step
from story import OUTSIDE, WEBHOOK, Story, each, script

from argyll_redis.core.commands import Succeeded
from argyll_redis.core.events import StepStarted
from argyll_redis.core.explain import LEFT_OUT, Clause, explain
from argyll_redis.core.explain_work import counted, listed, span
from argyll_redis.core.model import StepId
from argyll_redis.errors import UnknownFlow

LOOKUP = step("lookup_customer", "customer_id", "customer")
CHARGE = step("charge", "order customer", "receipt")
SHOP = (LOOKUP, CHARGE)
ORDER = {"order": [{"id": 17}], "customer_id": ["c1"]}
BOOM = script("no such script")


def shop() -> Story:
    return Story(SHOP, "charge", ORDER)


def many(count: int = 4, **work: Any) -> Story:
    """A step that works on elements."""
    definition = step("charge", "", "receipt", attributes=each("xs"), work_config=work)
    return Story([definition], "charge", {"xs": [list(range(count))]})


def said(
    story: Story,
    of: str,
    *,
    after: int = 0,
    handlers: Collection[str] | None = None,
    queues: Collection[str] | None = None,
) -> list[tuple[str, int]]:
    """The clauses about a step, but for the plan's own line and where initial values came from."""
    clauses = story.explain(of, after=after, handlers=handlers, queues=queues).clauses
    return [
        (text, version)
        for text, version in clauses[1:]
        if not text.endswith("was given at the start") or version != 1
    ]


def status(story: Story, of: str) -> str:
    return story.explain(of).status


# -------------------------------------------------------------------------- words


def test_durations_are_said_as_people_say_them() -> None:
    texts = [span(ms) for ms in (-5, 0, 350, 4_210, 65_000, 11_400_000, 187_200_000)]

    assert texts == ["0 ms", "0 ms", "350 ms", "4.2 s", "1 min 5 s", "3 h 10 min", "2 d 4 h"]


def test_counts_agree_with_their_nouns() -> None:
    assert [counted(1, "retry"), counted(2, "retry"), counted(0, "work item")] == [
        "1 retry",
        "2 retries",
        "0 work items",
    ]


def test_names_are_listed_and_many_are_cut() -> None:
    assert [listed("a"), listed("abc"), listed("abcdefg")] == [
        "`a`",
        "`a`, `b` and `c`",
        "`a`, `b`, `c`, `d`, `e` and 2 more",
    ]


# --------------------------------------------------------------------------- plan


def test_a_goal_is_in_the_plan_as_a_goal() -> None:
    assert shop().explain("charge").clauses[0] == Clause("it is a goal", 1)


def test_a_provider_is_in_the_plan_for_what_it_provides() -> None:
    expected = Clause("it provides `customer`, which `charge` needs", 1)

    assert shop().explain("lookup_customer").clauses[0] == expected


def test_a_step_that_was_considered_and_left_out_has_the_line_of_the_plan() -> None:
    story = Story(SHOP, "charge", {**ORDER, "customer": [{}]})

    explained = story.explain("lookup_customer")

    assert explained.status == LEFT_OUT
    assert explained.clauses == (
        Clause("it is not in the plan; left out: its outputs are given initially", 1),
    )


def test_a_step_that_was_not_considered_was_not_needed_or_not_registered() -> None:
    explained = shop().explain("refund")

    assert explained.status == LEFT_OUT
    assert explained.clauses == (
        Clause(
            "it is not in the plan: no goal needs what it provides, "
            "or no step `refund` was registered when the flow started",
            1,
        ),
    )


def test_a_flow_without_a_log_is_unknown() -> None:
    with pytest.raises(UnknownFlow, match='no flow "flow-1" exists'):
        explain("flow-1", [], "charge", now_ms=0)


# ------------------------------------------------------------------------- inputs


def test_each_input_came_from_somebody() -> None:
    story = shop()
    story.succeed("lookup_customer", customer={})

    provided = story.version("attribute_set")
    assert story.explain("charge").clauses[1:3] == (
        Clause("`customer` was provided by `lookup_customer`", provided),
        Clause("`order` was given at the start", 1),
    )


def test_a_list_of_values_came_from_several() -> None:
    quotes = [step(f"quote_{name}", "order", "quotes") for name in ("a", "b")]
    choose = step("choose", "", "choice", attributes={"quotes": required("all")})
    story = Story([*quotes, choose], "choose", {"order": [1], "quotes": [5]})
    story.succeed("quote_b", quotes=7)
    story.succeed("quote_a", quotes=6)

    expected = "`quotes` was given at the start and provided by `quote_a` and `quote_b`"
    assert said(story, "choose")[0] == (expected, story.version("attribute_set"))


def test_what_was_not_there_was_left_out_or_defaulted() -> None:
    defaulted = {"role": "optional", "optional": {"default": "5"}}
    story = Story([step("ship", attributes={"note": optional(), "weight": defaulted})], "ship")

    assert said(story, "ship")[:2] == [
        ("`note` was not there, so it was left out", 2),
        ("`weight` was not there, so its default was taken", 2),
    ]


def test_a_step_that_runs_only_without_an_attribute_says_so() -> None:
    story = Story([step("ship", attributes={"hold": required("none")})], "ship")

    assert said(story, "ship")[0] == ("`hold` never came, and it runs only without it", 2)


def test_an_input_with_a_mapping_script_went_through_it() -> None:
    mapped = {**required(), "required": {"mapping": {"script": script("yes")}}}
    story = Story([step("ship", attributes={"order": mapped})], "ship", ORDER)
    started = story.events[1]
    inputs = {"order": {"value": "transformed"}}
    story.events[1] = started._replace(event=StepStarted(StepId("ship"), inputs, 1))

    assert said(story, "ship")[0] == ("`order` went through its mapping", 2)


# -------------------------------------------------------------------- who completed


def test_a_completed_step_says_how_long_it_took() -> None:
    story = shop()
    story.succeed("lookup_customer", customer={}, after=1_200)

    assert status(story, "lookup_customer") == "completed"
    assert said(story, "lookup_customer") == [
        ("it completed after 1.2 s", story.version("step_completed", step="lookup_customer"))
    ]


def test_a_takeover_is_told() -> None:
    story = shop()
    story.lose("lookup_customer")
    story.succeed("lookup_customer", customer={})

    lost = story.version("work_started", reason="lost")
    assert said(story, "lookup_customer")[0] == (
        "attempt 2 was started because the engine of attempt 1 was lost",
        lost,
    )


def test_retries_are_told_with_the_last_error() -> None:
    story = shop()
    story.fall("lookup_customer", "connection refused")
    story.retry("lookup_customer", after=1_000)
    story.succeed("lookup_customer", customer={})

    fallen = story.version("work_not_completed")
    assert said(story, "lookup_customer")[0] == (
        "1 retry was made; attempt 1 was not completed: connection refused",
        fallen,
    )


def test_ignored_outcomes_are_told() -> None:
    story = shop()
    story.succeed("lookup_customer", customer={})
    story.fail("lookup_customer")

    assert said(story, "lookup_customer")[0] == (
        "1 outcome was ignored: the work item is over already: succeeded",
        story.version("work_ignored"),
    )


def test_an_outcome_that_was_remembered_is_told() -> None:
    story = shop()
    story.report("lookup_customer", Succeeded({"customer": {}}, 0, memo=True))

    assert said(story, "lookup_customer")[0] == (
        "1 outcome was taken from earlier successes with the same inputs",
        story.version("work_succeeded"),
    )


def test_a_step_with_many_items_says_what_became_of_them() -> None:
    story = many(2, parallelism=2)
    story.succeed("charge", 0)
    story.succeed("charge", 1, after=500)

    assert said(story, "charge") == [
        ("it completed after 500 ms: all 2 work items succeeded", story.version("step_completed"))
    ]


def test_a_step_without_elements_had_nothing_to_do() -> None:
    story = many(0)

    expected = "it completed after 0 ms without any work item: there was no element to work on"
    assert said(story, "charge") == [(expected, story.version("step_completed"))]


def test_failures_that_a_step_tolerates_are_told() -> None:
    story = many(3, parallelism=3, on_failure="tolerate")
    story.succeed("charge", 0)
    story.fail("charge", "declined", item=1)
    story.succeed("charge", 2)

    assert said(story, "charge") == [
        ("item 2 failed: declined", story.version("work_failed")),
        ("it completed after 0 ms: of 3 work items, 2 succeeded, 1 failed", story.version("step_completed")),
    ]


def test_of_many_only_the_first_few_are_named() -> None:
    story = many(8, parallelism=8, on_failure="tolerate")
    for item in range(8):
        story.fail("charge", item=item)

    texts = [text for text, _ in said(story, "charge")]
    assert texts == [
        *(f"item {number} failed: boom" for number in range(1, 6)),
        "and 3 more like this",
        "it completed after 0 ms: of 8 work items, 8 failed",
    ]


# ----------------------------------------------------------------------- who is active


def test_a_running_attempt_was_released_at_some_time() -> None:
    story = shop()

    assert status(story, "lookup_customer") == "active"
    assert said(story, "lookup_customer", after=42_000) == [
        ("it started 42.0 s ago", 2),
        ("attempt 1 was released 42.0 s ago and has no outcome yet", 3),
    ]


def test_an_accepted_attempt_waits_for_an_outcome_from_outside() -> None:
    story = shop()
    story.accept("lookup_customer")

    accepted = story.version("work_accepted")
    assert said(story, "lookup_customer", after=5_000)[1:] == [
        ("attempt 1 was accepted 5.0 s ago; its outcome comes from outside", accepted)
    ]


def test_an_accepted_attempt_waits_no_longer_than_its_timeout() -> None:
    story = Story([step("approve", work_config={"timeout": 60_000})], "approve")
    story.accept("approve")

    texts = [said(story, "approve", after=after)[1][0] for after in (35_000, 60_000)]
    assert texts == [
        "attempt 1 was accepted 35.0 s ago; its outcome comes from outside, within 25.0 s",
        "attempt 1 was accepted 1 min 0 s ago; its outcome comes from outside, and its time is over",
    ]


def test_a_retry_is_due_after_its_delay() -> None:
    story = many(3, parallelism=3)
    story.fall("charge", "timeout", item=2, wait_ms=100)
    story.retry("charge", item=2, after=100)
    story.fall("charge", "timeout", item=2, wait_ms=5_000)

    scheduled = story.version("work_retry_scheduled")
    assert said(story, "charge", after=800)[-1] == (
        "retry 2 of item 3 is due in 4.2 s, as attempt 2 was not completed: timeout",
        scheduled,
    )


def test_a_retry_that_is_due_waits_for_a_slot() -> None:
    story = many(2, parallelism=1)
    story.fall("charge", "timeout", item=0, wait_ms=1_000)

    assert said(story, "charge", after=3_500)[-1] == (
        "retry 1 of item 1 has been due for 2.5 s and waits for a slot (parallelism 1), "
        "as attempt 1 was not completed: timeout",
        story.version("work_retry_scheduled"),
    )


def test_a_retry_that_is_due_and_has_a_slot_is_about_to_start() -> None:
    story = shop()
    story.fall("lookup_customer", "timeout", wait_ms=1_000)

    assert said(story, "lookup_customer", after=1_000)[-1] == (
        "retry 1 has been due for 0 ms and is about to start, as attempt 1 was not completed: timeout",
        story.version("work_retry_scheduled"),
    )


def test_items_without_a_slot_wait_for_one() -> None:
    story = many(4, parallelism=1)
    story.succeed("charge", 0)

    assert said(story, "charge", after=1_000) == [
        ("it started 1.0 s ago with 4 work items: 1 succeeded", story.version("work_succeeded")),
        ("attempt 1 of item 2 was released 1.0 s ago and has no outcome yet", story.version("work_started")),
        ("2 work items wait for a slot: 1 running, parallelism 1", story.version("work_started")),
    ]


def test_items_that_a_bounded_turn_left_are_about_to_start() -> None:
    story = many(150, parallelism=200)

    assert said(story, "charge")[-1] == ("50 work items are about to start", 2)


def test_a_step_whose_handler_nobody_has_says_so_first() -> None:
    story = shop()

    assert said(story, "lookup_customer", handlers=["charge"])[1] == (
        "no live engine has this handler (`lookup_customer`)",
        story.version("work_started"),
    )


@pytest.mark.parametrize("handlers", [None, ["lookup_customer"]])
def test_a_handler_that_is_there_or_not_known_of_is_not_spoken_of(handlers: list[str] | None) -> None:
    texts = [text for text, _ in said(shop(), "lookup_customer", handlers=handlers)]

    assert [text for text in texts if "handler" in text] == []


def test_an_accepted_attempt_needs_no_handler() -> None:
    story = shop()
    story.accept("lookup_customer")

    assert [text for text, _ in said(story, "lookup_customer", handlers=[]) if "handler" in text] == []


def test_a_waiting_retry_needs_a_handler() -> None:
    story = shop()
    story.fall("lookup_customer")

    texts = [text for text, _ in said(story, "lookup_customer", handlers=[])]
    assert "no live engine has this handler (`lookup_customer`)" in texts


def test_a_step_whose_queue_no_engine_serves_says_so() -> None:
    story = shop()

    texts = said(story, "lookup_customer", handlers=["lookup_customer"], queues=["builtin"])
    assert texts[1] == ("no live engine serves its queue (`default`)", story.version("work_started"))


def test_without_any_engine_that_is_said_and_not_whose_handler_is_missing() -> None:
    story = shop()

    assert said(story, "lookup_customer", handlers=[], queues=[]) == [
        ("it started 0 ms ago", 2),
        ("attempt 1 was released 0 ms ago and has no outcome yet", 3),
        ("no engine is alive, so nothing runs until one is started", story.flow.version),
    ]


def test_what_waits_for_a_step_says_that_no_engine_is_alive() -> None:
    told = said(shop(), "charge", handlers=[], queues=[])

    assert told[-1] == ("no engine is alive, so nothing runs until one is started", 3)


def test_a_due_retry_is_not_about_to_start_where_no_engine_is() -> None:
    story = shop()
    story.fall("lookup_customer")

    told = said(story, "lookup_customer", after=61_000, handlers=[], queues=[])
    assert [text for text, _ in told if "about to start" in text] == []


def test_items_are_not_about_to_start_where_no_engine_is() -> None:
    texts = [text for text, _ in said(many(150, parallelism=200), "charge", queues=[])]

    assert "50 work items have not started" in texts


def test_a_step_that_is_over_needs_no_engine() -> None:
    story = shop()
    story.succeed("lookup_customer")

    assert [text for text, _ in said(story, "lookup_customer", queues=[]) if "engine" in text] == []


def test_an_abandoned_step_says_what_became_of_its_flow() -> None:
    story = shop()
    story.fall("lookup_customer")
    story.cancel()

    assert said(story, "lookup_customer")[1:] == [
        (
            "the flow has failed (cancelled): what still runs is recorded, nothing new starts",
            story.version("flow_failed"),
        ),
        ("attempt 1 was not completed: no", story.version("work_not_completed")),
    ]


def test_an_active_step_of_a_flow_that_is_over_starts_nothing_new() -> None:
    story = many(3, parallelism=1)
    story.cancel()

    failed = story.version("flow_failed")
    assert said(story, "charge") == [
        ("it started 0 ms ago with 3 work items", 2),
        ("the flow has failed (cancelled): what still runs is recorded, nothing new starts", failed),
        ("attempt 1 of item 1 was released 0 ms ago and has no outcome yet", 3),
        ("2 work items will not be started, as the flow is over", failed),
    ]


# ----------------------------------------------------------------------- who waits


def test_a_pending_step_waits_for_an_input_of_a_step() -> None:
    story = shop()

    assert status(story, "charge") == "pending"
    assert said(story, "charge", after=4_200, handlers=["charge"]) == [
        ("it waits for `customer` from `lookup_customer`", 2),
        ("`lookup_customer` started 4.2 s ago", 2),
        ("no live engine has the handler of `lookup_customer` (`lookup_customer`)", 3),
        ("attempt 1 of `lookup_customer` was released 4.2 s ago and has no outcome yet", 3),
    ]


def test_a_pending_step_waits_through_others_for_somebodys_retry() -> None:
    story = Story([*SHOP, step("ship", "receipt", "parcel")], "ship", ORDER)
    story.fall("lookup_customer", "timeout", wait_ms=2_000)

    scheduled = story.version("work_retry_scheduled")
    assert said(story, "ship", after=500) == [
        ("it waits for `receipt` from `charge`", 1),
        ("`charge` waits for `customer` from `lookup_customer`", 2),
        ("`lookup_customer` started 500 ms ago", 2),
        (
            "retry 1 of `lookup_customer` is due in 1.5 s, as attempt 1 was not completed: timeout",
            scheduled,
        ),
    ]


def test_a_pending_step_waits_for_items_of_another() -> None:
    charge = step("charge", "", "receipt", attributes=each("xs"))
    story = Story([charge, step("ship", "receipt", "parcel")], "ship", {"xs": [[1, 2]]})

    assert said(story, "ship") == [
        ("it waits for `receipt` from `charge`", 2),
        ("`charge` started 0 ms ago with 2 work items", 2),
        ("attempt 1 of item 1 of `charge` was released 0 ms ago and has no outcome yet", 3),
        ("1 work item of `charge` waits for a slot: 1 running, parallelism 1", 3),
    ]


def test_a_pending_step_may_wait_for_several_providers() -> None:
    quotes = [step(f"quote_{name}", "order", "quotes") for name in ("a", "b", "c")]
    choose = step("choose", "", "choice", attributes={"quotes": required("some")})
    story = Story([*quotes, choose], "choose", {"order": [1]})
    story.succeed("quote_b", quotes=7)

    texts = [text for text, _ in said(story, "choose")]
    assert texts[0] == "it waits for `quotes` from `quote_a` and `quote_c`"


def test_a_step_behind_a_gate_waits_for_a_value_that_matches() -> None:
    ship = step("ship", attributes={"approved": required(match=True)})
    story = Story([step("approve", "order", "approved"), ship], "ship", {"order": [1]})

    texts = [text for text, _ in said(story, "ship")]
    assert texts[0] == "it waits for a value of `approved` that its gate lets through from `approve`"


def test_a_step_that_is_wanted_only_behind_a_gate_waits_for_that_gate() -> None:
    ship = step("ship", "label", attributes={"approved": required(match=True)})
    definitions = [step("approve", "order", "approved"), step("print", "order", "label"), ship]
    story = Story(definitions, "ship", {"order": [1]})

    assert said(story, "print") == [
        ("it has all that it needs and starts once a gate behind it shows that it is needed", 1)
    ]


def test_a_step_that_a_bounded_turn_left_is_about_to_start() -> None:
    definitions = [step(f"s{number:03}", "order", f"a{number:03}") for number in range(110)]
    total = step("total", " ".join(f"a{number:03}" for number in range(110)), "sum")
    story = Story([*definitions, total], "total", {"order": [1]})

    assert said(story, "s109") == [("it has all that it needs and is about to start", 1)]


def test_a_long_chain_of_waits_is_cut_but_not_what_is_under_way_at_its_end() -> None:
    chain = [step(f"s{number:02}", f"a{number:02}", f"a{number + 1:02}") for number in range(20)]
    story = Story(chain, "s19", {"a00": [1]})

    assert said(story, "s19")[7:] == [
        ("`s12` waits for `a12` from `s11`", 1),
        ("and 11 more like this", 2),
        ("`s00` started 0 ms ago", 2),
        ("attempt 1 of `s00` was released 0 ms ago and has no outcome yet", 3),
    ]


def test_of_many_steps_that_are_waited_for_the_first_few_are_told() -> None:
    names = "abcdefg"
    story = Story(
        [*(step(f"s_{n}", "order", n) for n in names), step("end", " ".join(names))], "end", {"order": [1]}
    )

    texts = [text for text, _ in said(story, "end")]
    assert texts[7:9] == [
        "`s_a` started 0 ms ago",
        "attempt 1 of `s_a` was released 0 ms ago and has no outcome yet",
    ]
    assert texts[-1] == "2 more steps are active before it"


def test_a_step_that_a_completed_flow_did_not_need() -> None:
    other = step("lookup_elsewhere", "customer", "address")
    use = step("charge", "customer", "receipt", may="address")
    story = Story([LOOKUP, other, use], "charge", ORDER)
    story.succeed("lookup_customer", customer={})
    story.succeed("charge", receipt=1)

    assert status(story, "lookup_elsewhere") == "skipped"
    assert said(story, "lookup_elsewhere") == [
        ("`charge` had started without `address`", story.version("step_started", step="charge")),
        ("it was skipped: nobody wants what it provides any more", story.version("step_skipped")),
    ]


def test_a_step_that_never_started_in_a_failed_flow_tells_the_flows_error() -> None:
    story = shop()
    story.cancel()

    assert said(story, "charge") == [
        ("it never started: the flow had failed before: cancelled", story.version("flow_failed"))
    ]


# --------------------------------------------------------------------- who was skipped


def test_a_step_is_skipped_by_its_predicate() -> None:
    story = Story([step("charge", "order", "receipt", predicate=script("no"))], "charge", ORDER)

    assert status(story, "charge") == "skipped"
    assert story.explain("charge").clauses == (
        Clause("it is a goal", 1),
        Clause("`order` was given at the start", 1),
        Clause("it was skipped: its predicate was false for these inputs", 2),
    )


def test_a_step_is_skipped_by_a_closed_gate() -> None:
    ship = step("ship", attributes={"approved": required(match=True)})
    story = Story([step("approve", "order", "approved"), ship], "ship", {"order": [1]})
    story.succeed("approve", approved=False)

    assert said(story, "ship") == [
        (
            "it was skipped: its gate on `approved` is closed, no matching value can come",
            story.version("step_skipped"),
        )
    ]


def test_a_step_is_skipped_by_all_its_gates_that_are_closed() -> None:
    gates = {"approved": required(match=True), "paid": required(match=True)}
    approve = step("approve", "order", "approved paid")
    story = Story([approve, step("ship", attributes=gates)], "ship", {"order": [1]})
    story.succeed("approve", approved=False, paid=False)

    expected = "it was skipped: its gates on `approved` and `paid` are closed, no matching value can come"
    assert said(story, "ship") == [(expected, story.version("step_skipped"))]


def test_a_step_is_skipped_because_another_provided_first() -> None:
    slow = step("slow", "customer", "receipt")
    story = Story([LOOKUP, slow, step("fast", "order", "receipt"), step("ship", "receipt")], "ship", ORDER)
    story.succeed("fast", receipt=1)

    assert said(story, "slow") == [
        ("`receipt` was provided by `fast`", story.version("attribute_set")),
        (
            "it was skipped: nobody wants what it provides any more",
            story.version("step_skipped", step="slow"),
        ),
    ]


def test_a_step_is_skipped_because_who_needed_it_has_failed() -> None:
    definitions = [LOOKUP, step("address", "customer", "address"), step("stock", "order", "stock")]
    ship = step("ship", "address stock", "parcel")
    report = step("report", "order", "report", may="parcel")
    story = Story([*definitions, ship, step("end", "order customer", may="parcel"), report], "end", ORDER)
    story.fail("stock")

    assert said(story, "address") == [
        ("`ship` had failed and needs no `address`", story.version("step_failed", step="ship")),
        ("it was skipped: nobody wants what it provides any more", story.version("step_skipped")),
    ]


# ----------------------------------------------------------------------- who failed


def test_a_step_failed_with_its_work() -> None:
    story = shop()
    story.fail("lookup_customer", "no such customer", after=200)

    assert status(story, "lookup_customer") == "failed"
    assert said(story, "lookup_customer") == [
        ("it failed after 200 ms: no such customer", story.version("step_failed", step="lookup_customer"))
    ]


def test_a_step_failed_with_one_of_many_items() -> None:
    story = many(5, parallelism=2)
    story.fail("charge", "declined", item=1)

    failed = story.version("step_failed")
    assert said(story, "charge") == [
        ("it failed after 0 ms: 1 of 5 work items failed; the first: declined", failed),
        ("item 2 failed: declined", story.version("work_failed")),
        ("1 work item has no outcome yet; what comes is recorded", failed),
        ("3 work items were never started", failed),
    ]


def test_a_step_failed_after_losses() -> None:
    story = shop()
    for _ in range(5):
        story.lose("lookup_customer")

    expected = "it failed after 0 ms: lost: 5 engines died while running it"
    assert said(story, "lookup_customer")[0] == (
        expected,
        story.version("step_failed", step="lookup_customer"),
    )


def test_a_step_failed_before_it_started() -> None:
    story = Story([step("charge", "order", "receipt", predicate=BOOM)], "charge", ORDER)

    expected = "it failed before it started: the predicate failed: cannot run no such script"
    assert said(story, "charge") == [(expected, 2)]


def test_a_step_failed_because_of_another_through_a_third() -> None:
    story = Story([*SHOP, step("ship", "receipt", "parcel")], "ship", ORDER)
    story.lose("lookup_customer")
    story.fail("lookup_customer", "no such customer", after=300)

    assert said(story, "ship") == [
        ("it failed: `receipt` can no longer come", story.version("step_failed", step="ship")),
        (
            "`charge`, which provides `receipt`, failed: `customer` can no longer come",
            story.version("step_failed", step="charge"),
        ),
        (
            "`lookup_customer`, which provides `customer`, failed after 300 ms: no such customer",
            story.version("step_failed", step="lookup_customer"),
        ),
        (
            "attempt 2 of `lookup_customer` was started because the engine of attempt 1 was lost",
            story.version("work_started", reason="lost"),
        ),
    ]


def test_a_step_failed_because_another_was_skipped() -> None:
    lookup = {**LOOKUP, "predicate": script("no")}
    story = Story([lookup, CHARGE], "charge", ORDER)

    assert said(story, "charge") == [
        ("it failed: `customer` can no longer come", story.version("step_failed")),
        (
            "`lookup_customer`, which provides `customer`, was skipped: "
            "its predicate was false for these inputs",
            story.version("step_skipped"),
        ),
    ]


def test_a_step_failed_because_another_completed_without_its_input() -> None:
    story = shop()
    story.succeed("lookup_customer")

    assert said(story, "charge") == [
        ("it failed: `customer` can no longer come", story.version("step_failed")),
        (
            "`lookup_customer`, which provides `customer`, completed without it",
            story.version("step_completed"),
        ),
    ]


def test_a_step_that_runs_only_without_a_value_failed_because_it_came() -> None:
    story = Story([step("ship", attributes={"hold": required("none")})], "ship", {"hold": [1]})

    expected = 'it failed before it started: input "hold" has a value, and the step runs only without one'
    assert said(story, "ship") == [(expected, story.version("step_failed"))]


def test_of_a_long_way_to_the_root_cause_the_ends_are_told() -> None:
    chain = [step(f"s{number:02}", f"a{number:02}", f"a{number + 1:02}") for number in range(20)]
    story = Story(chain, "s19", {"a00": [1]})
    story.fail("s00")

    texts = [text for text, _ in said(story, "s19")]
    assert len(texts) == 9
    assert texts[-2:] == [
        "and so on, through 12 more steps",
        "`s00`, which provides `a01`, failed after 0 ms: boom",
    ]


# -------------------------------------------------------------------------- the whole


def test_clauses_cite_events_of_the_log_at_every_moment_of_a_flow() -> None:
    story = many(4, parallelism=2)
    story.lose("charge", item=0)
    story.fall("charge", item=1, wait_ms=10)
    story.accept("charge", item=0)
    story.retry("charge", item=1, after=10)
    story.succeed("charge", 0, by=OUTSIDE)
    story.fail("charge", item=2, by=WEBHOOK)

    for upto in range(1, len(story.events) + 1):
        explained = explain("flow-1", story.events[:upto], "charge", now_ms=9_000, handlers=[])
        wrong = [clause for clause in explained.clauses if not 1 <= clause.version <= upto]
        assert wrong == []


def test_a_flow_of_ten_thousand_items_is_explained_in_a_few_sentences() -> None:
    story = many(10_000, parallelism=10_000)
    story.look()

    texts = [text for text, _ in said(story, "charge")]
    assert texts[-1] == "and 9995 more like this"
    assert len(texts) == 7
