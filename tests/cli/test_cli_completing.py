"""Completion of ids in the shell: what is there, quickly, and never a word of error."""

from __future__ import annotations

import time

import click
import pytest
from cli_words import Answer, Cli, ended, process

from argyll_redis.cli import completing


def complete(cli: Cli, line: str, *, shell: str = "bash") -> Answer:
    """What a shell is offered at the end of a line."""
    words = line.split(" ")
    variables = {
        **cli.variables,
        "_ARGYLL_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1),
    }
    return ended(process(**variables))


def offered(cli: Cli, line: str) -> list[str]:
    answer = complete(cli, line)
    assert (answer.status, answer.err) == (0, "")
    return [row.partition(",")[2] for row in answer.out.splitlines() if row]


@pytest.mark.parametrize(
    "line",
    [
        "step register x",
        "step update x",
        "flow import x",
        "plan s --init-file x",
        "flow start s --init-file x",
    ],
)
def test_files_are_left_to_the_shell_where_a_file_is_asked_for(line: str, cli: Cli) -> None:
    assert complete(cli, f"argyll {line}").out == "file,x\n"


@pytest.fixture
def shop(real_cli: Cli) -> Cli:
    real_cli.register()
    for id in ("order-1", "order-2", "other"):
        real_cli("flow", "start", "double", "--init", "a=1", "--id", id)
    return real_cli


@pytest.mark.parametrize(
    "command", ["show", "watch", "why", "export", "restart", "complete", "wait", "cancel"]
)
def test_flows_are_offered_where_a_flow_is_asked_for(command: str, shop: Cli) -> None:
    assert sorted(offered(shop, f"argyll flow {command} or")) == ["order-1", "order-2"]


@pytest.mark.parametrize(
    "line",
    [
        "argyll step show ",
        "argyll step delete ",
        "argyll plan ",
        "argyll plan double ",
        "argyll flow start ",
        "argyll flow why order-1 ",
        "argyll flow complete order-1 ",
    ],
)
def test_steps_are_offered_where_a_step_is_asked_for(line: str, shop: Cli) -> None:
    assert offered(shop, line) == ["broken", "double", "triple"]


def test_the_newest_flow_comes_first_whatever_became_of_it(shop: Cli) -> None:
    shop("flow", "cancel", "order-2")
    assert offered(shop, "argyll flow show ")[0] == "other"
    assert set(offered(shop, "argyll audit ")) == {"order-1", "order-2", "other"}


def test_options_on_the_line_say_where_to_look(shop: Cli) -> None:
    elsewhere = Cli(shop.url, "elsewhere")
    assert offered(elsewhere, "argyll flow show ") == []
    line = f"argyll flow show --namespace {shop.namespace} order"
    assert sorted(offered(elsewhere, line)) == ["order-1", "order-2"]


def test_zsh_and_fish_are_told_how_a_flow_stands(shop: Cli) -> None:
    assert complete(shop, "argyll flow show oth", shell="zsh").out.split() == ["plain", "other", "active"]
    assert complete(shop, "argyll flow show oth", shell="fish").out.split() == ["plain,other", "active"]


def test_a_look_at_a_namespace_that_does_not_exist_creates_nothing(real_cli: Cli) -> None:
    assert offered(real_cli, "argyll flow show ") == []
    said = [each["what"] for each in real_cli("doctor", "--json").json["findings"]]
    assert f"namespace {real_cli.namespace} does not exist yet: its first use creates it" in said


@pytest.mark.parametrize(
    "url",
    ["redis://localhost:1/0", "redis://10.255.255.1/0", "redis://no-such-host.invalid/0", "nonsense", ""],
)
def test_what_goes_wrong_is_silent_and_does_not_keep_anybody_waiting(url: str) -> None:
    """10.255.255.1 answers nothing at all."""
    began_s = time.monotonic()
    assert offered(Cli(url, "Not A Namespace" if not url else "x"), "argyll flow show ") == []
    assert time.monotonic() - began_s < completing.LIMIT_S + 4


def test_no_more_is_offered_than_somebody_reads(shop: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completing, "MAX_OFFERED", 2)
    context = click.Context(click.Command("x"))
    context.params = {"url": shop.url, "namespace": shop.namespace}
    found = completing.complete_flows(context, click.Argument(["x"]), "")
    assert len(found) == 2
