"""A few thousand hostile inputs of every kind; `python -m tests.fuzz` is the whole of it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator

import pytest

from argyll_redis.core.model import Script
from argyll_redis.scripting.evaluator import Evaluator
from tests.fuzz.cases import Wrong, run
from tests.fuzz.draw import Draw
from tests.fuzz.scripts import CLEAN_LUA
from tests.fuzz.targets import SHARES, TARGETS

CASES = {"http": 1_500, "definitions": 1_000, "scripts": 800, "logs": 200, "cli": 200, "redis": 30}
"""Of each target in one run of the tests."""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What is refused is said in the log, too, thousands of times."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    "target", [pytest.param(name, marks=pytest.mark.real if name == "redis" else ()) for name in TARGETS]
)
def test_whatever_is_given_the_answer_is_typed_and_comes_soon(target: str) -> None:
    """The same cases in every run; `python -m tests.fuzz --seed` has others."""
    report = run(target, TARGETS[target], seed=1, numbers=iter(range(CASES[target])))
    assert [str(failure) for failure in report.failures] == []
    assert report.cases == CASES[target]


def test_every_target_has_its_share() -> None:
    assert set(SHARES) == set(TARGETS) == set(CASES)


def test_the_same_seed_draws_the_same() -> None:
    drawn = [[Draw("a").changed({"a": [1, {"b": 2}]}) for _ in range(20)] for _ in range(2)]
    assert repr(drawn[0]) == repr(drawn[1])


class _Broken:
    """A target that fails in each way there is."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def run(self, draw: Draw) -> None:
        match next(self._numbers):
            case 0:
                raise Wrong("half done")
            case 1:
                raise KeyError("nobody expected this")

    def shown(self) -> str:
        return "the input"

    def close(self) -> None:
        pass


def test_a_case_that_fails_is_told_with_its_number_and_its_input() -> None:
    """The other cases go on."""
    report = run("broken", _Broken, seed=7, numbers=iter(range(3)))
    assert report.cases == 3
    assert [failure.number for failure in report.failures] == [0, 1]
    assert "half done" in str(report.failures[0])
    assert "KeyError" in str(report.failures[1])
    assert "--target broken --seed 7 --only 1" in str(report.failures[1])
    assert "the input" in str(report.failures[1])


def test_what_a_script_leaves_behind_would_be_seen() -> None:
    """The script that looks for it says so."""
    evaluator = Evaluator()
    assert evaluator.predicate(CLEAN_LUA, {}) is True
    leaked = Script(language="lua", script=f"leaked = 1 {CLEAN_LUA.script}")
    assert evaluator.predicate(leaked, {}) is False
    assert evaluator.predicate(CLEAN_LUA, {}) is True
