"""What commits wait for, on the command line: options of an engine, and variables that all commands read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cli_words import Cli

from argyll_redis.app import Argyll
from argyll_redis.cli import engine, waiting
from argyll_redis.cli.options import Asked
from argyll_redis.config import AppConfig
from argyll_redis.errors import InvalidInput
from argyll_redis.store.copies import Copies

NOWHERE = "redis://127.0.0.1:1/0"


def copies_of(app: Argyll) -> Copies | None:
    """What the stores of an app wait for."""
    store: Any = app.make_store()
    asyncio.run(store.close())
    return store._copying and store._copying.copies


def test_an_app_waits_for_nothing_unless_it_is_told_to() -> None:
    assert copies_of(Argyll(NOWHERE)) is None


def test_an_app_waits_for_what_its_settings_say() -> None:
    app = Argyll(NOWHERE, config=AppConfig(wait_replicas=2, wait_aof=True, wait_limit_ms=500))
    assert copies_of(app) == Copies(2, on_disk=True, limit_ms=500)


def test_options_of_an_engine_are_settings_of_its_app() -> None:
    given = {"wait_replicas": 1, "wait_limit_ms": 300}
    app = engine.configured(Asked(NOWHERE, None, False), None, (), given)
    assert copies_of(app) == Copies(1, limit_ms=300)


@pytest.mark.parametrize(
    ("variables", "copies"),
    [
        ({}, Copies()),
        ({"ARGYLL_WAIT_REPLICAS": "2"}, Copies(2)),
        ({"ARGYLL_WAIT_REPLICAS": ""}, Copies()),
        ({"ARGYLL_WAIT_AOF": "1", "ARGYLL_WAIT_LIMIT_MS": "200"}, Copies(on_disk=True, limit_ms=200)),
        ({"ARGYLL_WAIT_AOF": "no"}, Copies()),
    ],
)
def test_variables_say_it_to_all_other_commands(
    variables: dict[str, str], copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert waiting.config_of_variables().copies == copies


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ARGYLL_WAIT_REPLICAS", "one", 'ARGYLL_WAIT_REPLICAS: is "one" (use a whole number)'),
        ("ARGYLL_WAIT_REPLICAS", "-1", "ARGYLL_WAIT_REPLICAS: -1 is out of range (use 0 to 100)"),
        ("ARGYLL_WAIT_AOF", "always", 'ARGYLL_WAIT_AOF: is "always" (use 1 or 0)'),
        ("ARGYLL_WAIT_LIMIT_MS", "0", "ARGYLL_WAIT_LIMIT_MS: 0 is out of range (use 1 to 10,000)"),
    ],
)
def test_a_variable_that_says_nothing_is_refused_by_name(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    answer = Cli(NOWHERE)("flow", "list")
    assert (answer.status, answer.err) == (2, f"error: {words}\n")


def test_an_option_of_an_engine_that_cannot_work_is_refused_by_name() -> None:
    answer = Cli(NOWHERE)("engine", "--wait-replicas", "101")
    assert (answer.status, answer.err) == (
        2,
        "error: --wait-replicas: 101 is out of range (use 0 to 100)\n",
    )


def test_what_is_in_memory_has_no_copies_to_wait_for() -> None:
    with pytest.raises(InvalidInput, match="memory:// has no copies to wait for"):
        Argyll("memory://", config=AppConfig(wait_replicas=1)).make_store()
