"""The table of commands is true, help is fast, and every command ends with one line and its status."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from cli_words import Cli, ended, process, read_until

import argyll_redis
from argyll_redis import app as app_module
from argyll_redis.cli import argyll, options, refusals
from argyll_redis.cli.entry import COMMANDS
from argyll_redis.cli.reference import commands_of, reference
from argyll_redis.errors import ArgyllError, InvalidInput, InvariantBroken, Problem

PAGE = Path(__file__).parents[2] / "docs/reference/cli.md"


def every_command() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(argyll, info_name="argyll")
    for name in COMMANDS:
        command = argyll.get_command(context, name)
        assert command is not None
        yield from commands_of(command, f"argyll {name}")


def command_lines() -> list[str]:
    return [path for path, command in every_command() if not isinstance(command, click.Group)]


# ------------------------------------------------------------ table, help, page


def test_the_short_help_of_the_table_is_that_of_the_commands() -> None:
    context = click.Context(argyll, info_name="argyll")
    found = {name: argyll.get_command(context, name).get_short_help_str(200) for name in COMMANDS}  # type: ignore[union-attr]
    assert found == {name: short for name, (_, short) in COMMANDS.items()}


def test_help_lists_the_commands(cli: Cli) -> None:
    answer = cli("--help")
    listed = [line.split()[0] for line in answer.out.split("Commands:")[1].splitlines() if line.strip()]
    assert (answer.status, listed[: len(COMMANDS)]) == (0, list(COMMANDS))


def test_help_and_version_import_neither_redis_nor_the_app_nor_an_event_loop() -> None:
    code = (
        "import sys; from argyll_redis.cli import argyll\n"
        "for words in ('', '--version', 'flow', 'engine', 'dev', 'demo', 'doctor', 'step', 'plan'):\n"
        "    try: argyll.main([*words.split(), '--help'])\n"
        "    except SystemExit as end: assert not end.code\n"
        "print(sorted({'redis', 'anyio', 'asyncio', 'orjson', 'argyll_redis.app'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version_is_that_of_the_package(cli: Cli) -> None:
    assert cli("--version").out == f"argyll {argyll_redis.__version__}\n"


def test_every_public_name_is_imported_when_it_is_used() -> None:
    homes = {name: getattr(argyll_redis, name) for name in argyll_redis.__all__}
    assert set(argyll_redis.__all__) <= set(dir(argyll_redis))
    assert [name for name, value in homes.items() if value is None] == []
    with pytest.raises(AttributeError, match="Argil"):
        argyll_redis.Argil  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("path", command_lines())
def test_every_command_answers_as_json_and_has_its_place_and_help(path: str) -> None:
    command = dict(every_command())[path]
    declared = {name for param in command.params for name in param.opts}
    assert {"--json", "--redis", "--namespace"} <= declared
    assert command.help
    assert f"Example: `{path}" in command.help
    assert [
        param.name for param in command.params if isinstance(param, click.Option) and not param.help
    ] == []


def test_the_reference_page_is_made_from_the_commands() -> None:
    assert PAGE.read_text() == reference(), (
        "run: python -m argyll_redis.cli.reference > docs/reference/cli.md"
    )


def test_the_reference_page_has_every_command() -> None:
    assert [path for path, _ in every_command() if f"\n## {path}\n" not in PAGE.read_text()] == []


def test_the_defaults_in_help_are_those_of_the_app() -> None:
    plain = app_module.Argyll()
    assert (plain.url, plain.namespace) == (options.DEFAULT_URL, options.DEFAULT_NAMESPACE)


def test_completion_knows_the_commands_without_importing_them() -> None:
    words = {"_ARGYLL_COMPLETE": "bash_complete", "COMP_WORDS": "argyll f", "COMP_CWORD": "1"}
    done = ended(process(**words))
    assert (done.status, done.out) == (0, "plain,flow\n")


# ---------------------------------------------------------------------- endings


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["flw"], 'there is no command "flw": did you mean `flow`?'),
        (["flow", "strat"], "no such command 'strat'"),
        (["flow", "list", "--jsn"], "no such option '--jsn'"),
        (["flow", "show"], "missing argument 'FLOW'"),
        (["flow", "show", "a", "b"], "unexpected extra argument (b)"),
        (["flow", "events", "a", "--after", "-1"], "'--after': -1 is not in the range"),
        (["flow", "wait", "a", "--timeout-ms", "soon"], "'--timeout-ms': 'soon' is not a valid integer"),
    ],
)
def test_wrong_usage_is_said_in_one_line_with_its_mend(arguments: list[str], words: str, cli: Cli) -> None:
    answer = cli(*arguments)
    assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert words in answer.err
    assert answer.err.endswith("--help)\n")


def test_a_group_alone_shows_its_help_and_is_wrong_usage(cli: Cli) -> None:
    answer = cli("flow")
    assert (answer.status, answer.out, answer.err.startswith("Usage: argyll flow")) == (2, "", True)


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("redis://user:s3cret@localhost:1/0", 3),
        ("redis://:s3cret@no-such-host.invalid/0", 3),
        ("unix:///s3cret/../missing.sock?password=s3cret", 2),
        ("http://:s3cret@localhost/", 2),
        ("redis://[s3cret", 2),
        ("redis://:s3cret@localhost:99999999", 2),
        ("redis+sentinel://:s3cret@localhost", 2),
        ("redis+sentinel://:s3cret@localhost:1,localhost:2/x?sentinel_password=s3cret", 3),
        ("s3cret", 2),
    ],
)
def test_a_url_that_does_not_do_is_said_without_its_password(url: str, status: int, cli: Cli) -> None:
    answer = cli("flow", "list", "--redis", url)
    assert (answer.status, answer.out, answer.err.count("\n")) == (status, "", 1), answer
    assert answer.err.startswith("error: ")
    assert "s3cret" not in answer.err.replace("/s3cret/../missing.sock", "")


ARGUMENTS = {
    "argyll step register": ["FILE"],
    "argyll step update": ["FILE"],
    "argyll step show": ["s"],
    "argyll step delete": ["s"],
    "argyll plan": ["s"],
    "argyll flow start": ["s"],
    "argyll flow import": ["FILE"],
    "argyll flow why": ["f", "s"],
    "argyll flow complete": ["f", "s"],
    "argyll flow fail": ["f", "s"],
    "argyll flow list": [],
    "argyll queue": [],
    "argyll audit": [],
    "argyll repair": [],
    "argyll doctor": [],
    "argyll dev": [],
    "argyll engine": [],
    "argyll demo": ["--root", "."],
    "argyll step list": [],
}
"""Of commands that want other arguments than a flow."""


@pytest.mark.parametrize("path", command_lines())
def test_every_command_says_in_one_line_that_the_server_cannot_be_reached(path: str, tmp_path: Path) -> None:
    file = tmp_path / "step.json"
    file.write_text('{"id": "s"}')
    arguments = [str(file) if each == "FILE" else each for each in ARGUMENTS.get(path, ["f"])]
    for extra in ([], ["--json"]):
        answer = Cli("redis://:s3cret@localhost:1/0", "x")(*path.split()[1:], *arguments, *extra)
        assert (answer.status, answer.out, answer.err.count("\n")) == (3, "", 1), answer
        assert answer.err.startswith("error: cannot reach redis at localhost:1 (")
        assert answer.err.endswith("): --redis or ARGYLL_REDIS_URL says where it is\n")
        assert "s3cret" not in answer.err


def test_a_name_that_is_looked_up_for_ever_does_not_hold_up_the_end() -> None:
    code = (
        "import socket, time\n"
        "socket.getaddrinfo = lambda *a, **k: time.sleep(50)\n"
        "from argyll_redis.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "flow", "list", "--redis", "redis://somewhere/0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)


def test_many_problems_are_one_a_line_under_what_they_are_about() -> None:
    problems = [Problem("a", "is wrong", "mend it"), Problem("b", "is missing")]
    refusal = refusals.refusal_of(InvalidInput("the file is bad", problems=problems))
    assert (refusal.lines, refusal.status) == (
        ("the file is bad", "a: is wrong (mend it)", "b: is missing"),
        2,
    )


def test_every_error_ends_with_a_status_of_the_contract() -> None:
    found = {kind.exit_status for kind in subclasses(ArgyllError)}
    assert found == {1, 2, 3, 4, 5}


def subclasses(kind: type[ArgyllError]) -> Iterator[type[ArgyllError]]:
    for each in kind.__subclasses__():
        yield each
        yield from subclasses(each)


def test_a_bug_is_one_line_and_never_a_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def query(self: Any, **given: Any) -> None:
        raise KeyError("x\ny")

    monkeypatch.setattr(app_module.Argyll, "query", query)
    answer = cli("flow", "list")
    assert (answer.status, answer.out, answer.err.count("\n")) == (70, "", 1)
    assert answer.err.startswith("error: this is a bug of argyll: KeyError")
    assert "Traceback" in cli("flow", "list", ARGYLL_DEBUG="1").err


def test_a_call_that_redis_refuses_against_the_rules_is_bad_news(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def query(self: Any, **given: Any) -> None:
        raise InvariantBroken("Redis refused a call: ERR what is this")

    monkeypatch.setattr(app_module.Argyll, "query", query)
    answer = cli("flow", "list")
    assert (answer.status, answer.err) == (1, "error: Redis refused a call: ERR what is this\n")


def test_a_flow_that_is_not_in_the_default_namespace_is_said_with_where_it_was_looked_for() -> None:
    """It is easily forgotten to name the namespace; who has named one is not told."""
    options = "(--namespace or ARGYLL_NAMESPACE says which)"
    told = ended(process("flow", "show", "f", "--redis", "memory://"))
    named = ended(process("flow", "show", "f", "--redis", "memory://", "--namespace", "shop"))
    assert (told.status, told.err) == (
        4,
        f'error: no flow "f" exists; the namespace is `argyll` {options}\n',
    )
    assert (named.status, named.err) == (4, 'error: no flow "f" exists\n')


def test_an_error_cannot_write_to_the_terminal(cli: Cli) -> None:
    answer = cli("flow", "show", "\x1b[2Jx\nerror: y")
    assert answer.err == 'error: no flow "\\x1b[2Jx\\nerror: y" exists\n'


# -------------------------------------------------------------------- processes


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_answer_that_cannot_be_written_is_said_in_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "argyll_redis.cli", "flow", "list", "--redis", "memory://"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    said = "error: the answer cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_without_standard_output_a_command_still_does_its_work() -> None:
    command = f"{sys.executable} -m argyll_redis.cli flow list --redis memory:// >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_is_one_line_and_status_130(real_cli: Cli) -> None:
    real_cli.register()
    real_cli("flow", "start", "double", "--init", "a=1", "--id", "f")
    following = process("flow", "events", "f", "--follow", "--json", **real_cli.variables)
    read_until(following.stdout, "flow_started")
    following.send_signal(signal.SIGINT)
    answer = ended(following)
    assert (answer.status, answer.err) == (130, "error: interrupted\n")


def test_a_reader_that_has_gone_is_no_error(real_cli: Cli) -> None:
    real_cli.register()
    real_cli("flow", "start", "double", "--init", "a=1", "--id", "f")
    following = process("flow", "events", "f", "--follow", "--json", **real_cli.variables)
    read_until(following.stdout, "work_started")
    assert following.stdout is not None
    following.stdout.close()
    assert real_cli("flow", "cancel", "f").status == 0
    answer = ended(following)
    assert (answer.status, answer.err) == (refusals.READER_GONE, "")


def test_on_a_terminal_there_is_colour_and_lines_fit_its_width(real_cli: Cli) -> None:
    """In a pipe there is neither."""
    real_cli.register()
    real_cli("flow", "start", "double", "--init", "a=1", "--id", "f", "--label", f"tenant={'x' * 100}")
    shown = on_a_terminal("flow", "list", COLUMNS="60", **real_cli.variables)
    piped = ended(process("flow", "list", COLUMNS="60", **real_cli.variables)).out
    assert ("\x1b[36mactive\x1b[0m" in shown, "\x1b" in piped) == (True, False)
    widths = [max(len(click.unstyle(line)) for line in text.splitlines()) for text in (shown, piped)]
    assert (widths[0], widths[1] > 100) == (60, True)
    assert "\x1b" not in on_a_terminal("flow", "list", NO_COLOR="1", **real_cli.variables)


def on_a_terminal(*arguments: str, **variables: str) -> str:
    """What a command prints on a terminal."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment = {**kept, "TERM": "xterm", **variables}
    command = [sys.executable, "-m", "argyll_redis.cli", *arguments]
    with subprocess.Popen(command, stdout=theirs, stdin=theirs, env=environment) as run:
        os.close(theirs)
        printed = b"".join(iter(lambda: read_terminal(ours), b""))
    os.close(ours)
    assert run.returncode == 0
    return printed.decode()


def read_terminal(terminal: int) -> bytes:
    """Reads what there is; nothing when the other side is closed."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""
