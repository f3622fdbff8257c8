"""I-22 and I-23: a log beside a journal of the calls of its steps."""

from __future__ import annotations

from typing import Any

import pytest
from definitions import step
from story import OUTSIDE, SEED, Story, script
from test_audit import ID, finished, shop

from argyll_redis.core.audit import Violation, audit_calls
from argyll_redis.core.audit_calls import MAX_SKEW_MS, Call
from argyll_redis.core.commands import Succeeded
from argyll_redis.core.state import token_of

CALLS = [(token_of(SEED, ID("lookup"), 0), 1), (token_of(SEED, ID("charge"), 0), 1)]


def test_calls_that_were_all_released_and_all_reported_are_fine() -> None:
    assert audit_calls("flow-1", finished().events, CALLS) == []


def test_a_call_that_came_to_nothing_is_fine() -> None:
    story = shop()
    story.lose("lookup")

    assert audit_calls("flow-1", story.events, [(story.token("lookup"), 1)]) == []


def test_i22_a_call_that_nobody_released_is_found() -> None:
    assert audit_calls("flow-1", finished().events, [*CALLS, (CALLS[0][0], 2)]) == [
        Violation("I-22", 0, f"attempt 2 of {CALLS[0][0]} was called, and never released")
    ]


def test_i22_a_success_without_a_call_is_found() -> None:
    assert audit_calls("flow-1", finished().events, CALLS[:1]) == [
        Violation("I-22", 9, f"attempt 1 of {CALLS[1][0]} succeeded, and was never called")
    ]


def test_i22_successes_that_were_remembered_or_came_from_outside_need_no_call() -> None:
    story = shop()
    story.report("lookup", Succeeded({"customer": {}}, 0, memo=True))
    story.succeed("charge", by=OUTSIDE, receipt=1)

    assert audit_calls("flow-1", story.events, []) == []


def test_i22_a_script_calls_nobody() -> None:
    definition = {"id": "sum", "type": "script", "script": script("return {}"), "attributes": {}}
    story = Story([definition], "sum")
    story.succeed("sum")

    assert audit_calls("flow-1", story.events, []) == []


def test_i23_an_attempt_that_was_called_twice_is_found() -> None:
    assert audit_calls("flow-1", finished().events, [*CALLS, CALLS[0]]) == [
        Violation("I-23", 3, f"attempt 1 of {CALLS[0][0]} was called 2 times")
    ]


# --------------------------------------------------------------- what a journal knows


LOOKUP, CHARGE = CALLS


def test_i22_an_acceptance_without_a_call_is_found() -> None:
    """Who is accepted was called."""
    story = shop()
    story.accept("lookup")

    assert audit_calls("flow-1", story.events, []) == [
        Violation("I-22", 4, f"attempt 1 of {LOOKUP[0]} was accepted, and was never called")
    ]


def test_i22_steps_without_a_journal_are_not_judged() -> None:
    """Not every service keeps one."""
    assert audit_calls("flow-1", finished().events, [CHARGE], steps={"charge"}) == []
    assert [each.version for each in audit_calls("flow-1", finished().events, [CHARGE])] == [4]


@pytest.mark.parametrize(
    ("outputs", "is_right"),
    [
        ({"customer": {}}, True),
        ({"customer": {}, "undeclared": 1}, True),
        ({"customer": {"name": "Ann"}}, False),
        ({}, False),
        (None, True),
    ],
)
def test_i22_a_success_is_what_its_call_gave(outputs: dict[str, Any] | None, is_right: bool) -> None:
    """What was answered beside the declared outputs is no part of a log."""
    calls = [Call(*LOOKUP, outputs), CHARGE]
    message = f"attempt 1 of {LOOKUP[0]} succeeded with what its call did not give"

    expected = [] if is_right else [Violation("I-22", 4, message)]
    assert audit_calls("flow-1", finished().events, calls) == expected


def test_i22_outputs_that_a_script_has_made_are_not_compared() -> None:
    """No script is run by an audit."""
    mapped = {"role": "output", "output": {"mapping": {"name": "c", "script": script("yes")}}}
    story = Story([step("lookup", attributes={"customer": mapped})], "lookup")
    story.succeed("lookup", c=1)

    assert audit_calls("flow-1", story.events, [Call(*LOOKUP, {"c": 1})]) == []


@pytest.mark.parametrize(
    ("early_ms", "is_early"), [(0, False), (MAX_SKEW_MS, False), (MAX_SKEW_MS + 1, True)]
)
def test_i22_a_call_before_its_release_is_found(early_ms: int, is_early: bool) -> None:
    """Clocks may differ by a second."""
    story = finished()
    calls = [Call(*LOOKUP, at_ms=story.events[2].at - early_ms), CHARGE]
    message = f"attempt 1 of {LOOKUP[0]} was called {early_ms} ms before it was released"

    expected = [Violation("I-22", 3, message)] if is_early else []
    assert audit_calls("flow-1", story.events, calls) == expected
