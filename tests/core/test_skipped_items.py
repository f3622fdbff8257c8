"""Work items that their predicate skips, beside those that start."""

from __future__ import annotations

from definitions import step
from story import Story, each, script

from argyll_redis.core.model import StepId


def odd_ones(elements: list[int], *, parallelism: int) -> Story:
    """A step that works on odd elements only."""
    fields = {"predicate": script("odd"), "work_config": {"parallelism": parallelism}}
    return Story(
        [step("charge", "", "receipt", attributes=each("xs"), **fields)], "charge", {"xs": [elements]}
    )


def said(story: Story) -> list[tuple[str, int]]:
    """What happened to which item, in order."""
    return [
        (recorded.event.type, story.flow.tokens[token][1])
        for recorded in story.events
        if (token := getattr(recorded.event, "token", None))
    ]


def test_an_item_that_is_skipped_does_not_hide_those_before_it() -> None:
    story = odd_ones([1, 3, 2, 5], parallelism=3)

    assert said(story) == [
        ("work_skipped", 2),
        ("work_started", 0),
        ("work_started", 1),
        ("work_started", 3),
    ]


def test_many_skipped_items_are_passed_over_once() -> None:
    story = odd_ones([1, *([2] * 5_000)], parallelism=2)
    story.look()

    run = story.flow.steps[StepId("charge")]
    assert (run.next_index, run.skipped, run.active) == (5_001, 5_000, 1)
