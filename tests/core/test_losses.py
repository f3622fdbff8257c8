"""Lost attempts: started again at once, five in a row at most."""

from __future__ import annotations

from typing import Any

import pytest
from given import World, step

from argyll_redis.core.commands import Lose

LOST = "lost: 5 engines died while running it"


def one(**work_config: Any) -> World:
    return World(step("a", "x", "y", work_config=work_config), goals="a", x=1)


def test_a_lost_attempt_is_started_again_at_once() -> None:
    world = one()
    assert world.lose("a") == ["work_started a #2 lost"]


def test_the_new_attempt_has_the_same_token_and_an_entry_of_its_own() -> None:
    world = one()
    before = dict(world.work)
    world.lose("a")
    assert [f"f1 {world.token('a')} 2 {world.flow.version}"] == list(world.work)
    assert list(world.work) != list(before)


@pytest.mark.contract("outcomes", "Five losses in a row fail an item.")
def test_five_losses_in_a_row_fail_the_item() -> None:
    world = one()
    for _ in range(4):
        world.lose("a")
    assert [f"work_failed a #5: {LOST}", f"step_failed a: {LOST}"] == world.lose("a")[:2]


def test_a_reported_not_completed_breaks_the_row() -> None:
    world = one(init_backoff=1)
    for _ in range(4):
        world.lose("a")
    world.fall_short("a")
    world.wait(1)
    for _ in range(4):
        world.lose("a")
    assert f"work_failed a #10: {LOST}" in world.lose("a")


def test_after_a_loss_an_item_without_attempts_left_fails_with_outcome_unknown() -> None:
    [failed, *_] = one(max_attempts=1).lose("a")
    assert failed.startswith("work_failed a #1: outcome unknown")


def test_an_attempt_is_lost_once() -> None:
    world = one()
    world.lose("a")
    assert world.say(Lose("work:e2", world.token("a"), 1)) == []
    assert not world.answer.counted


def test_a_settled_attempt_cannot_be_lost() -> None:
    world = one()
    world.succeed("a", y=1)
    assert world.say(Lose("work:e2", world.token("a"), 1)) == []


def test_an_accepted_attempt_cannot_be_lost_as_no_engine_has_it() -> None:
    world = one()
    world.accept("a")
    assert world.say(Lose("work:e2", world.token("a"), 1)) == []


def test_a_loss_of_an_unknown_token_says_nothing() -> None:
    world = one()
    assert world.say(Lose("work:e2", "no such token", 1)) == []
