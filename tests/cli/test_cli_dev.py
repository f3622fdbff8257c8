"""`argyll dev`: a server, an engine, what to type next; and nothing of it is left at the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from cli_words import Cli, ended, process, read_until

APP = """
from argyll_redis import Argyll

app = Argyll(namespace={namespace!r})

@app.step(outputs="greeting")
async def greet(name: str, mood: str = "good") -> str:
    return f"hello {{name}}"
"""
Start = Callable[..., "subprocess.Popen[str]"]
needs_server = pytest.mark.skipif(
    shutil.which("redis-server") is None and shutil.which("valkey-server") is None, reason="needs a server"
)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `argyll dev` beside the app in `shop.py`."""
    (tmp_path / "shop.py").write_text(APP.format(namespace="shop"))
    started: list[subprocess.Popen[str]] = []

    def dev(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        run = process("dev", *arguments, cwd=tmp_path, **variables)
        started.append(run)
        return run

    yield dev
    for run in started:
        if run.poll() is None:
            run.kill()
            run.wait()


def variables_in(said: str) -> dict[str, str]:
    """What is to be exported, as it is said."""
    lines = (line.strip().removeprefix("export ") for line in said.splitlines() if "export " in line)
    return dict(line.split("=", 1) for line in lines)


@needs_server
def test_dev_says_what_to_type_and_that_works_until_ctrl_c(start: Start) -> None:
    dev = start("--app", "shop:app")
    said = read_until(dev.stdout, "Ctrl-C ends")
    variables = variables_in(said)
    other = Cli(variables["ARGYLL_REDIS_URL"], variables["ARGYLL_NAMESPACE"])
    assert "  argyll flow start greet --init name=... --id first\n" in said
    answer = other("flow", "start", "greet", "--init", "name=you", "--id", "first", "--wait", "--json")
    directory = Path(variables["ARGYLL_REDIS_URL"].removeprefix("unix://")).parent
    assert (answer.json["result"], directory.exists()) == ({"greeting": "hello you"}, True)
    dev.send_signal(signal.SIGINT)
    end = ended(dev)
    assert (end.status, end.out, directory.exists()) == (0, "stopped\n", False)
    assert "Traceback" not in end.err


@needs_server
def test_dev_without_an_app_runs_the_builtin_steps(start: Start) -> None:
    dev = start("--namespace", "trial")
    said = read_until(dev.stdout, "Ctrl-C ends")
    variables = variables_in(said)
    other = Cli(variables["ARGYLL_REDIS_URL"], "trial")
    other.register()
    answer = other("flow", "start", "triple", "--init", "a=1", "--wait", "--json")
    dev.terminate()
    assert (variables["ARGYLL_NAMESPACE"], answer.json["result"], ended(dev).status) == ("trial", {"c": 6}, 0)
    assert "argyll step register FILE" in said


@needs_server
def test_dev_as_json_says_the_same_as_objects(start: Start) -> None:
    dev = start("--json")
    began = json.loads(read_until(dev.stdout, "dev started"))
    dev.send_signal(signal.SIGINT)
    end = ended(dev)
    assert (began["redis"].startswith("unix://"), began["namespace"]) == (True, "argyll")
    assert began["server"]["kind"] in ("redis-server", "valkey-server")
    assert began["next"][:2] == [
        f"export ARGYLL_REDIS_URL={began['redis']}",
        "export ARGYLL_NAMESPACE=argyll",
    ]
    assert (end.status, [each["message"] for each in end.lines]) == (0, ["engine draining", "dev stopped"])


@needs_server
def test_dev_says_how_to_ask_over_http_and_that_works(start: Start) -> None:
    dev = start("--app", "shop:app", "--http", "127.0.0.1:0")
    said = read_until(dev.stdout, "Ctrl-C ends")
    [curl] = [line.split() for line in said.splitlines() if "curl " in line]
    answer = httpx.get(curl[-1])
    dev.send_signal(signal.SIGINT)
    assert (curl[:-1], answer.json(), ended(dev).status) == (["curl"], [], 0)


@needs_server
def test_dev_with_keys_shows_where_one_belongs_and_none_of_them(start: Start) -> None:
    dev = start("--http", "127.0.0.1:0", ARGYLL_API_KEYS="read:s3cret")
    said = read_until(dev.stdout, "Ctrl-C ends")
    dev.send_signal(signal.SIGINT)
    assert ("  curl -H 'Authorization: Bearer KEY' http://127.0.0.1:" in said, ended(dev).status) == (True, 0)
    assert "s3cret" not in said


def test_dev_without_the_packages_of_the_server_says_how_to_install_them(
    start: Start, tmp_path: Path
) -> None:
    lacking = "import importlib.util\nfound = importlib.util.find_spec\n"
    lacking += "importlib.util.find_spec = lambda n, *a: None if n == 'uvicorn' else found(n, *a)\n"
    (tmp_path / "sitecustomize.py").write_text(lacking)
    path = os.pathsep.join([str(tmp_path), os.getcwd()])
    dev = start("--app", "shop:app", PATH=str(tmp_path), PYTHONPATH=path)
    said = read_until(dev.stdout, "Ctrl-C ends")
    dev.send_signal(signal.SIGINT)
    assert ("curl" in said, ended(dev).status) == (False, 0)
    assert "the HTTP API is not served: it needs pip install 'argyll-redis[server]'\n" in said


def test_dev_without_a_server_says_that_only_this_process_sees_it(start: Start, tmp_path: Path) -> None:
    dev = start("--app", "shop:app", PATH=str(tmp_path))
    said = read_until(dev.stdout, "Ctrl-C ends")
    dev.send_signal(signal.SIGINT)
    assert (
        "all in memory, this process only, nothing is kept (no redis-server or valkey-server on PATH)" in said
    )
    assert "Only this process sees it: " in said
    assert "In another terminal, over HTTP:\n  curl http://127.0.0.1:" in said
    assert ("export" in said, ended(dev).status) == (False, 0)


def test_dev_on_a_server_that_is_given_leaves_it_there(start: Start, real_cli: Cli) -> None:
    dev = start("--app", "shop:app", **real_cli.variables)
    said = read_until(dev.stdout, "Ctrl-C ends")
    answer = real_cli("flow", "start", "greet", "--init", "name=you", "--wait", "--json")
    dev.send_signal(signal.SIGINT)
    assert (answer.json["result"], ended(dev).status) == ({"greeting": "hello you"}, 0)
    assert "Ctrl-C ends the engine.\n" in said
    assert [each["id"] for each in real_cli("step", "list", "--json").json["steps"]] == ["greet"]


def test_a_password_is_not_said(start: Start) -> None:
    """Whoever gave it knows it."""
    answer = ended(start("--redis", "redis://:s3cret@localhost:1/0"))
    assert (answer.status, answer.out, answer.err.count("\n")) == (3, "", 1)
    assert "s3cret" not in answer.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--app", "shop"], "does not name an app"),
        (["--app", "shop:ap"], "did you mean `app`?"),
        (["--app", "gone:app"], "there is no module gone"),
        (["--namespace", "Not One"], "is no namespace"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: list[str], words: str, start: Start) -> None:
    answer = ended(start(*arguments))
    assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1), answer
    assert words in answer.err


@needs_server
def test_a_step_that_cannot_be_registered_ends_it_in_one_line(start: Start, tmp_path: Path) -> None:
    both = APP.format(namespace="shop") + "\n@app.step(outputs='name')\ndef back(greeting: str) -> str: ...\n"
    (tmp_path / "round.py").write_text(both)
    answer = ended(start("--app", "round:app"))
    assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1), answer
    assert "a cycle through attributes" in answer.err
