"""How often garbage is looked for follows the engines of the process, and what the program has set stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from argyll_redis.runtime.garbage import AT_FIRST, SELDOM, collected_seldom


@pytest.fixture(params=sorted(AT_FIRST), ids=str)
def at_first(request: pytest.FixtureRequest) -> Iterator[tuple[int, int, int]]:
    """The process as Python starts it."""
    before = gc.get_threshold()
    gc.set_threshold(*request.param)
    yield gc.get_threshold()
    gc.set_threshold(*before)


def test_it_is_looked_for_seldom_while_there_is_an_engine(at_first: tuple[int, int, int]) -> None:
    """The first engine changes it, and the last one that ends changes it back, in whatever order they end."""
    one, other = collected_seldom(), collected_seldom()
    one.__enter__()
    other.__enter__()
    assert gc.get_threshold() == SELDOM
    one.__exit__(None, None, None)
    assert gc.get_threshold() == SELDOM
    other.__exit__(None, None, None)
    assert gc.get_threshold() == at_first


def test_what_the_program_has_set_is_left_alone(at_first: tuple[int, int, int]) -> None:
    """Before an engine runs, and while it does."""
    gc.set_threshold(9_000, 10, 10)
    with collected_seldom():
        assert gc.get_threshold() == (9_000, 10, 10)
    gc.set_threshold(*at_first)
    with collected_seldom():
        gc.set_threshold(8_000, 10, 10)
    assert gc.get_threshold() == (8_000, 10, 10)
