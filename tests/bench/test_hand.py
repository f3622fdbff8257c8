"""Processes that are asked: what they answer, and what is said when they cannot."""

from __future__ import annotations

import os
import sys

import pytest

from bench.hand import Hand, WorkerFailed

ANSWERS = """
import json, sys
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["do"] == "end":
        sys.exit(3)
    print(json.dumps({"heard": asked}), flush=True)
"""


def hand(program: str = ANSWERS) -> Hand:
    return Hand("the worker", [sys.executable, "-c", program], os.environ)


def test_a_hand_is_asked_and_answers() -> None:
    """In order, also when it is asked twice before it is listened to."""
    with hand() as worker:
        assert worker.ask(do="a", n=1) == {"heard": {"do": "a", "n": 1}}
        worker.tell(do="b")
        worker.tell(do="c")
        assert [worker.answer()["heard"]["do"] for _ in range(2)] == ["b", "c"]


def test_a_hand_that_ends_is_named() -> None:
    """Whoever waits for its answer learns it at once."""
    with hand() as worker, pytest.raises(WorkerFailed, match="the worker has ended"):
        worker.ask(do="end")


def test_a_hand_that_never_comes_up_is_named() -> None:
    """Before it is asked anything."""
    with pytest.raises(WorkerFailed, match="the worker has ended"), hand("raise SystemExit(1)"):
        pass


def test_a_hand_that_was_killed_is_nobodys_failure() -> None:
    """It was meant; it cannot be asked any more."""
    with hand() as worker:
        worker.kill()
        worker.look()
        with pytest.raises(WorkerFailed, match="the worker has ended"):
            worker.ask(do="a")


def test_what_is_wrong_elsewhere_is_raised_while_an_answer_is_waited_for() -> None:
    """A client never waits for an engine that is gone."""

    def is_well() -> None:
        raise WorkerFailed("the engine has ended")

    silent = "import sys; print('{}', flush=True); sys.stdin.read()"
    client = Hand("the client", [sys.executable, "-c", silent], os.environ, is_well=is_well)
    with client, pytest.raises(WorkerFailed, match="the engine has ended"):
        client.ask(do="wait")
