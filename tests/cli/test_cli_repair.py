"""`argyll repair`: what it finds, what it says it would do, and the status that goes with it."""

from __future__ import annotations

from typing import Any

import pytest
from cli_words import Cli

from argyll_redis.app import Argyll

FINDING = {"what": "index", "key": "{a:0}:open", "flow": "f", "detail": "is not in the index"}
LEFT = {"what": "log", "key": "{a:0}:flow:g", "flow": "g", "detail": "the log cannot be read"}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a repair find what a test says; gives with what it was asked."""
    asked: list[dict[str, bool]] = []

    def find(repairs: list[Any], left: list[Any]) -> list[dict[str, bool]]:
        async def repair(self: Argyll, **options: bool) -> dict[str, Any]:
            asked.append(options)
            return {"flows": 2, "repairs": repairs, "left": left, "applied": options["apply"]}

        monkeypatch.setattr(Argyll, "repair", repair)
        return asked

    return find


def test_what_would_be_put_right_is_a_table_and_bad_news(cli: Cli, found: Any) -> None:
    found([FINDING], [])
    answer = cli("repair")
    assert answer.status == 1
    assert answer.out == (
        "to put right:\nWHAT   FLOW  KEY         DETAIL\nindex  f     {a:0}:open  is not in the index\n"
    )
    assert answer.err == "error: 2 flows looked at: 1 repair needed (run it again with --apply)\n"


def test_what_was_put_right_is_good_news(cli: Cli, found: Any) -> None:
    asked = found([FINDING], [])
    answer = cli("repair", "--apply")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith("put right:\n")
    assert asked == [{"apply": True, "heads": False, "ids": False, "dead": False}]


def test_what_is_left_is_said_beside_and_is_bad_news(cli: Cli, found: Any) -> None:
    asked = found([FINDING], [LEFT])
    answer = cli("repair", "--apply", "--heads", "--ids", "--dead")
    assert answer.status == 1
    assert "\n\nleft as it is:\nWHAT  FLOW" in answer.out
    assert answer.err == "error: 2 flows looked at: 1 thing cannot be repaired this way\n"
    assert asked == [dict.fromkeys(("apply", "heads", "ids", "dead"), True)]


def test_json_is_what_the_app_answers(cli: Cli, found: Any) -> None:
    found([FINDING], [LEFT])
    answer = cli("repair", "--json")
    assert answer.status == 1
    assert answer.json == {"flows": 2, "repairs": [FINDING], "left": [LEFT], "applied": False}


def test_where_all_is_well_it_says_so(real_cli: Cli) -> None:
    real_cli.register()
    real_cli("flow", "start", "double", "--init", "a=1", "--id", "f")
    for options in ([], ["--apply"]):
        answer = real_cli("repair", *options)
        assert (answer.status, answer.err) == (0, "")
        assert answer.out == "1 flow looked at: nothing is to be repaired\n"


def test_a_namespace_that_does_not_exist_is_refused(real_cli: Cli) -> None:
    answer = real_cli("repair")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith(f"error: namespace {real_cli.namespace} does not exist there")


def test_a_server_that_cannot_be_reached_is_status_3() -> None:
    answer = Cli("redis://localhost:1/0")("repair")
    assert (answer.status, answer.out) == (3, "")
    assert answer.err.startswith("error: cannot reach redis at ")
