"""Retries: budgets, delays, due entries."""

from __future__ import annotations

from typing import Any

import pytest
from given import World, each, step
from hypothesis import given, settings
from hypothesis import strategies as st

from argyll_redis.core.commands import Retry
from argyll_redis.core.limits import MAX_DURATION_MS
from argyll_redis.core.model import Backoff, Token, WorkConfig
from argyll_redis.core.retry import delay_ms

DAY_MS = 86_400_000


def one(**work_config: Any) -> World:
    """A flow of one step with one item."""
    return World(step("a", "x", "y", work_config=work_config), goals="a", x=1)


def delays(config: WorkConfig, count: int, *, token: str = "t") -> list[int]:
    return [delay_ms(config, retry=n, token=Token(token), attempt=n + 1) for n in range(count)]


# ------------------------------------------------------------------------ delays


def test_a_fixed_delay_stays_the_same() -> None:
    config = WorkConfig(backoff=Backoff.FIXED, init_backoff_ms=300)
    assert delays(config, 4) == [300, 300, 300, 300]


def test_a_linear_delay_grows_by_itself() -> None:
    config = WorkConfig(backoff=Backoff.LINEAR, init_backoff_ms=300)
    assert delays(config, 4) == [300, 600, 900, 1200]


def test_an_exponential_delay_doubles() -> None:
    config = WorkConfig(backoff=Backoff.EXPONENTIAL, init_backoff_ms=300)
    assert delays(config, 4) == [300, 600, 1200, 2400]


@pytest.mark.parametrize("backoff", list(Backoff))
def test_no_delay_is_longer_than_the_maximum(backoff: Backoff) -> None:
    config = WorkConfig(backoff=backoff, init_backoff_ms=300, max_backoff_ms=700)
    assert max(delays(config, 20)) <= 700


def test_the_defaults_are_exponential_from_a_second_to_a_minute_without_jitter() -> None:
    expected = [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000, 60000]
    assert expected == delays(WorkConfig(), 10)


def test_a_tiny_exponential_delay_reaches_even_the_longest_maximum() -> None:
    config = WorkConfig(init_backoff_ms=1, max_backoff_ms=MAX_DURATION_MS)
    assert delay_ms(config, retry=1_000_000, token=Token("t"), attempt=1) == MAX_DURATION_MS


@pytest.mark.contract("outcomes", "Jitter spreads delays by token and attempt.")
def test_jitter_spreads_downwards_differently_for_each_token_and_attempt() -> None:
    config = WorkConfig(backoff=Backoff.FIXED, init_backoff_ms=1000, jitter=0.5)
    spread = delays(config, 50) + delays(config, 50, token="other")
    assert all(500 <= delay <= 1000 for delay in spread)
    assert len(set(spread)) >= 80


@pytest.mark.contract("outcomes", "A delay is the same in every replay.")
def test_jitter_is_the_same_in_every_replay() -> None:
    config = WorkConfig(jitter=1.0)
    assert delays(config, 10) == delays(config, 10)


@given(
    backoff=st.sampled_from(Backoff),
    init=st.integers(1, MAX_DURATION_MS),
    most=st.integers(1, MAX_DURATION_MS),
    jitter=st.floats(0, 1),
    retry=st.integers(0, 10**9),
)
@settings(max_examples=150, deadline=None)
def test_every_delay_is_at_least_a_millisecond_and_at_most_the_maximum(
    backoff: Backoff, init: int, most: int, jitter: float, retry: int
) -> None:
    config = WorkConfig(backoff=backoff, init_backoff_ms=init, max_backoff_ms=most, jitter=jitter)
    assert 1 <= delay_ms(config, retry=retry, token=Token("t"), attempt=1) <= most


def test_a_delay_that_the_step_asks_for_replaces_the_computed_one_unspread() -> None:
    world = one(jitter=1.0, max_backoff=10)
    assert world.fall_short("a", "busy", after_ms=1234) == [
        "work_not_completed a #1: busy",
        "work_retry_scheduled a #2 1234",
    ]


@pytest.mark.contract("outcomes", "A delay that a step asks for is at most a day.")
def test_a_delay_that_the_step_asks_for_is_at_most_a_day() -> None:
    assert f"work_retry_scheduled a #2 {DAY_MS}" in one().fall_short("a", after_ms=10 * DAY_MS)


def test_the_number_of_retries_so_far_makes_the_delay() -> None:
    world = one(init_backoff=100, backoff_type="linear")
    assert "work_retry_scheduled a #2 100" in world.fall_short("a")
    world.wait(100)
    assert "work_retry_scheduled a #3 200" in world.fall_short("a")


def test_losses_do_not_make_delays_longer() -> None:
    world = one(init_backoff=100, backoff_type="linear")
    world.lose("a")
    world.lose("a")
    assert "work_retry_scheduled a #4 100" in world.fall_short("a")


# --------------------------------------------------------------------- due entries


def test_a_retry_starts_when_its_delay_has_passed_and_not_before() -> None:
    world = one(init_backoff=100)
    world.fall_short("a")
    assert world.wait(99) == []
    assert world.wait(1) == ["work_started a #2 retry"]


def test_a_retry_is_called_once_however_often_its_due_entry_comes() -> None:
    world = one(init_backoff=100)
    world.fall_short("a")
    world.wait(100)
    assert world.say(Retry("timer:e2", world.token("a"), 2)) == []


def test_a_due_entry_that_comes_too_early_starts_nothing() -> None:
    world = one(init_backoff=100)
    world.fall_short("a")
    assert world.say(Retry("timer:e2", world.token("a"), 2)) == []


def test_an_immediate_retry_starts_in_the_same_transaction_and_leaves_no_due_entry() -> None:
    world = one()
    assert world.fall_short("a", after_ms=0) == [
        "work_not_completed a #1: not yet",
        "work_retry_scheduled a #2 0",
        "work_started a #2 retry",
    ]
    assert world.due == {}


def test_a_due_retry_without_a_free_slot_waits_without_an_event_until_one_frees() -> None:
    fans = step("a", "", "y", attributes={"xs": each()}, work_config={"init_backoff": 100})
    world = World(fans, goals="a", xs=[1, 2, 3])
    world.fall_short("a", item=0)
    assert world.wait(1000) == []
    assert world.succeed("a", 1, y=1) == ["work_succeeded a[1] #1", "work_started a[0] #2 retry"]


@pytest.mark.contract(
    "outcomes", "A due retry without a slot waits; the first due item in item order takes the next."
)
def test_when_a_slot_frees_the_first_due_item_in_item_order_starts() -> None:
    config = {"parallelism": 3, "init_backoff": 100}
    fans = step("a", "", "y", attributes={"xs": each()}, work_config=config)
    world = World(fans, goals="a", xs=[1, 2, 3, 4, 5, 6])
    for item in (2, 1, 0):
        world.fall_short("a", item=item)
    world.wait(100)
    assert world.succeed("a", 4, y=1) == ["work_succeeded a[4] #1", "work_started a[0] #2 retry"]
    assert world.succeed("a", 3, y=1) == ["work_succeeded a[3] #1", "work_started a[1] #2 retry"]


def test_a_retry_that_is_not_due_does_not_take_the_slot_of_an_item_that_never_started() -> None:
    fans = step("a", "", "y", attributes={"xs": each()}, work_config={"init_backoff": 100})
    world = World(fans, goals="a", xs=[1, 2, 3])
    world.fall_short("a", item=0)
    assert world.succeed("a", 1, y=1) == ["work_succeeded a[1] #1", "work_started a[2] #1 first"]


# ------------------------------------------------------------------------- budgets


def test_the_retry_budget_counts_what_was_reported_not_completed() -> None:
    world = one(max_retries=2, init_backoff=1)
    for _ in range(2):
        world.fall_short("a")
        world.wait(10)
    assert world.fall_short("a")[:3] == [
        "work_not_completed a #3: not yet",
        "work_failed a #3: not yet (after 2 retries)",
        "step_failed a: not yet (after 2 retries)",
    ]


@pytest.mark.contract("outcomes", "Losses use up no retries.")
def test_losses_do_not_use_up_the_retry_budget() -> None:
    world = one(max_retries=1, init_backoff=1)
    world.lose("a")
    world.lose("a")
    assert "work_retry_scheduled a #4 1" in world.fall_short("a")


@pytest.mark.contract("outcomes", "-1 retries are without end.")
def test_max_retries_minus_one_is_without_end() -> None:
    world = one(max_retries=-1, init_backoff=1, max_backoff=1)
    for attempt in range(1, 31):
        assert f"work_retry_scheduled a #{attempt + 1} 1" in world.fall_short("a")
        world.wait(1)


def test_max_retries_0_takes_the_default() -> None:
    assert one(max_retries=0).plan.steps["a"].work.max_retries == 10


def test_max_attempts_bounds_starts_of_any_kind_and_wins_over_max_retries() -> None:
    world = one(max_retries=-1, max_attempts=3, init_backoff=1)
    world.fall_short("a")
    world.wait(1)
    world.lose("a")
    assert "work_failed a #3: not yet (after 3 attempts)" in world.fall_short("a")


def test_max_attempts_1_means_at_most_once() -> None:
    assert "work_failed a #1: not yet (after 1 attempts)" in one(max_attempts=1).fall_short("a")


def test_an_attempt_counts_starts_of_any_kind() -> None:
    world = one(init_backoff=1)
    world.lose("a")
    world.fall_short("a")
    world.wait(1)
    assert world.item("a").attempt == 3
    assert [event.reason for event in world.events("work_started")] == ["first", "lost", "retry"]


def test_a_permanent_failure_is_never_retried() -> None:
    assert one(max_retries=-1).fail("a")[:2] == ["work_failed a #1: broken", "step_failed a: broken"]
