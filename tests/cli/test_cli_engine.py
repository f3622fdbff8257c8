"""`argyll engine` as a process: it says what it serves, runs flows, drains; bad settings stop it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_words import Cli, ended, process, read_until
from click import Choice, Option

from argyll_redis.app import AppConfig, Argyll
from argyll_redis.cli import engine as engine_module
from argyll_redis.cli.loading import load_app
from argyll_redis.core.model import Backoff
from argyll_redis.errors import InvalidInput

APP = """
import time
from pathlib import Path
from argyll_redis import Argyll

app = Argyll({url!r}, namespace={namespace!r})
not_an_app = 5

@app.step(outputs="greeting")
async def greet(name: str) -> str:
    return f"hello {{name}}"

@app.step(outputs="slow", queue="slow")
def wait_for(name: str) -> str:
    Path("begun").touch()
    while not Path(name).exists():
        time.sleep(0.01)
    return "done"
"""
NOWHERE = "redis://:s3cret@localhost:1/0"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(real_cli: Cli, tmp_path: Path) -> Iterator[Start]:
    """Starts an engine with the app in `shop.py`; the app alone would go nowhere."""
    (tmp_path / "shop.py").write_text(APP.format(url=NOWHERE, namespace="shop"))
    started: list[subprocess.Popen[str]] = []

    def engine(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        run = process("engine", *arguments, cwd=tmp_path, **{**real_cli.variables, **variables})
        started.append(run)
        return run

    yield engine
    for run in started:
        if run.poll() is None:
            run.kill()
            run.wait()


# ------------------------------------------------------------------- it serves


def test_an_engine_runs_the_steps_of_an_app_where_the_variables_say(start: Start, real_cli: Cli) -> None:
    engine = start("--app", "shop:app", "--lease-ms", "2000")
    said = read_until(engine.stderr, "serves ")
    answer = real_cli("flow", "start", "greet", "--init", "name=you", "--wait", "--json")
    engine.send_signal(signal.SIGTERM)
    end = ended(engine)
    assert f"namespace {real_cli.namespace}\n" in said
    assert "serves builtin, default, slow (2 python steps), 100 work items at a time\n" in said
    assert (answer.status, answer.json["result"]) == (0, {"greeting": "hello you"})
    assert (end.status, end.out, end.err.splitlines()[-1]) == (0, "", "stopped")
    assert "s3cret" not in said + end.err


def test_an_engine_without_an_app_serves_builtin(start: Start, real_cli: Cli) -> None:
    real_cli.register()
    engine = start()
    said = read_until(engine.stderr, "serves ")
    answer = real_cli("flow", "start", "triple", "--init", "a=5", "--wait", "--json")
    engine.send_signal(signal.SIGINT)
    end = ended(engine)
    assert "serves builtin (0 python steps)" in said
    assert (answer.json["result"], end.status) == ({"c": 30}, 0)


def test_an_app_says_where_it_goes_when_nothing_else_does(
    start: Start, real_cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(APP.format(url=real_cli.url, namespace=real_cli.namespace))
    engine = start("--app", "own:app", ARGYLL_REDIS_URL="", ARGYLL_NAMESPACE="")
    said = read_until(engine.stderr, "serves ")
    engine.send_signal(signal.SIGTERM)
    assert (f"namespace {real_cli.namespace}\n" in said, ended(engine).status) == (True, 0)


def test_an_engine_says_what_it_does_as_json_one_object_a_line(start: Start, real_cli: Cli) -> None:
    engine = start("--app", "shop:app", "--queue", "slow", "--concurrency", "7", "--json")
    began = json.loads(read_until(engine.stdout, "engine started"))
    engine.send_signal(signal.SIGTERM)
    end = ended(engine)
    assert (began["namespace"], began["queues"], began["concurrency"], began["handlers"]) == (
        real_cli.namespace,
        ["builtin", "slow"],
        7,
        ["wait_for"],
    )
    assert (end.status, end.lines) == (0, [{"message": "engine draining"}, {"message": "engine stopped"}])
    assert [json.loads(line)["level"] for line in end.err.splitlines() if "append-only" not in line] == []


# ------------------------------------------------------------------- it drains


def test_a_signal_lets_running_work_end(start: Start, real_cli: Cli, tmp_path: Path) -> None:
    engine = start("--app", "shop:app")
    read_until(engine.stderr, "serves ")
    real_cli("flow", "start", "wait_for", "--init", "name=go", "--id", "f")
    await_file(tmp_path / "begun")
    engine.send_signal(signal.SIGTERM)
    read_until(engine.stderr, "stopping: ")
    (tmp_path / "go").touch()
    assert ended(engine).status == 0
    assert real_cli("flow", "wait", "f", "--json").json["result"] == {"slow": "done"}


def test_a_second_signal_ends_it_at_once(start: Start, real_cli: Cli, tmp_path: Path) -> None:
    engine = start("--app", "shop:app")
    read_until(engine.stderr, "serves ")
    real_cli("flow", "start", "wait_for", "--init", "name=go", "--id", "f")
    await_file(tmp_path / "begun")
    engine.send_signal(signal.SIGINT)
    read_until(engine.stderr, "stopping: ")
    engine.send_signal(signal.SIGINT)
    assert ended(engine).status == 130


def test_work_that_ignores_the_end_does_not_hold_it_up(start: Start, real_cli: Cli, tmp_path: Path) -> None:
    engine = start("--app", "shop:app", "--grace-ms", "50")
    read_until(engine.stderr, "serves ")
    real_cli("flow", "start", "wait_for", "--init", "name=never", "--id", "f")
    await_file(tmp_path / "begun")
    engine.send_signal(signal.SIGTERM)
    end = ended(engine, limit_s=15)
    assert (end.status, end.err.splitlines()[-1]) == (0, "stopped")


def await_file(path: Path) -> None:
    """Waits for a file that a step makes; the test's own time limit ends it."""
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, os, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(.01)",
            path,
        ],
        check=True,
        timeout=30,
    )


# ------------------------------------------------------------ it refuses to start


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lease-ms", "5"], "--lease-ms: 5 is out of range (use 100 to 3,600,000)"),
        (["--lease-ms", "soon"], "'--lease-ms': 'soon' is not a valid integer"),
        (["--http-allow", "http://x"], '--http-allow: "http://x" is no host name, address or network'),
        (["--linger-ms", "-1"], "--linger-ms: -1 is out of range"),
        (["--grace-ms", "-1"], "--grace-ms: -1 is out of range"),
        (
            ["--retention", "soon"],
            "'--retention': \"soon\" is no duration (use a number and one of ms, s,",
        ),
        (["--retention", "-1d"], "'--retention': \"-1d\" is no duration"),
        (["--retention", "4000d"], "'--retention': \"4000d\" is too long (use at most 3,650d)"),
        (["--max-retries", "-2"], "--max-retries: -2 is out of range"),
        (["--init-backoff-ms", "0"], "--init-backoff-ms: 0 is out of range"),
        (["--init-backoff-ms", "90000"], "--init-backoff-ms: is 90,000, more than max_backoff_ms 60,000"),
        (["--backoff", "quick"], "'quick' is not one of 'fixed', 'linear', 'exponential'"),
        (["--concurrency", "-1"], "'--concurrency': -1 is not in the range"),
        (["--concurrency", "0"], "--concurrency: 0 runs no work"),
        (["--queue", "mail"], "--queue: mail: without python steps an engine serves only builtin"),
        (["--app", "shop"], '--app: "shop" does not name an app'),
        (["--http", ":8080"], '--http: ":8080" is not HOST:PORT'),
        (["--http", "127.0.0.1:99999"], '--http: "99999" is not a port'),
        (["--http", "0.0.0.0:0"], "can be reached from other machines, and there are no keys"),
        (["--http", "127.0.0.1:0", "--http-host", "a:1"], '--http-host: "a:1" is not the name of a host'),
        (["--webhook-base-url", "ftp://x"], "--webhook-base-url: is not the beginning of a URL"),
    ],
)
def test_a_bad_setting_stops_the_engine_before_it_connects(
    arguments: list[str], words: str, cli: Cli
) -> None:
    answer = cli("engine", *arguments, ARGYLL_REDIS_URL=NOWHERE)
    assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert words in answer.err


def test_an_engine_that_nobody_could_give_work_to_is_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in_memory_only.py").write_text(APP.format(url="memory://", namespace="shop"))
    monkeypatch.syspath_prepend(tmp_path)
    own = cli("engine", "--app", "in_memory_only:app", ARGYLL_REDIS_URL="")
    given = cli("engine", "--redis", "memory://")
    for answer in (own, given):
        assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1), answer
        assert answer.err.startswith("error: --redis: memory:// is seen by this process only")
        assert "`argyll dev`" in answer.err


def test_all_bad_settings_are_said_together(cli: Cli) -> None:
    answer = cli("engine", "--lease-ms", "5", "--max-retries", "-9")
    assert [line.split()[1] for line in answer.err.splitlines()] == ["--lease-ms:", "--max-retries:"]


def test_a_bad_variable_is_named(cli: Cli) -> None:
    answer = cli("engine", ARGYLL_GRACE_MS="soon")
    assert (answer.status, "(from the variable ARGYLL_GRACE_MS)" in answer.err) == (2, True)


def test_every_setting_is_a_variable_too() -> None:
    found = {
        param.opts[0]: param.envvar
        for param in engine_module.engine.params
        if isinstance(param, Option) and param.opts[0] not in ("--json", "--redis")
    }
    assert found == {
        option: "ARGYLL_" + option.removeprefix("--").replace("-", "_").upper() for option in found
    }


def test_the_settings_in_help_are_those_of_the_app() -> None:
    shown = {
        param.name: param.show_default
        for param in engine_module.engine.params
        if isinstance(param, Option) and param.name
    }
    config = AppConfig()
    names = ("lease_ms", "linger_ms", "grace_ms", "memo_ttl_ms")
    defaults = {name: getattr(config, name) for name in names}
    retry = {
        name: getattr(config.retry, name) for name in ("max_retries", "init_backoff_ms", "max_backoff_ms")
    }
    expected = {**defaults, **retry, "backoff": config.retry.backoff}
    assert {name: shown[name] for name in expected} == {name: str(value) for name, value in expected.items()}


def test_the_kinds_of_backoff_are_those_of_the_core() -> None:
    [kinds] = [param.type for param in engine_module.engine.params if param.name == "backoff"]
    assert isinstance(kinds, Choice)
    assert list(kinds.choices) == [str(kind) for kind in Backoff]


def test_settings_change_only_what_was_given() -> None:
    app = Argyll(NOWHERE, "shop", config=AppConfig(lease_ms=3_000))
    app.reconfigure(namespace="other", max_retries=2, backoff="fixed")
    changed = AppConfig(lease_ms=3_000).changed({"max_retries": 2, "backoff": "fixed"})
    assert (app.url, app.namespace, app.config) == (NOWHERE, "other", changed)
    assert (changed.lease_ms, changed.retry.max_retries, changed.retry.backoff) == (3_000, 2, Backoff.FIXED)


@pytest.mark.anyio
async def test_an_app_that_is_connected_cannot_go_elsewhere() -> None:
    async with Argyll("memory://", "connected-already") as app:
        with pytest.raises(InvalidInput, match="connected already"):
            app.reconfigure(namespace="other")


# -------------------------------------------------------------------- loading


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("gone:app", "there is no module gone in "),
        ("loaded.gone:app", "loaded.gone"),
        ("loaded:ap", "module loaded has no ap (did you mean `app`?)"),
        ("loaded:zzz", "module loaded has no zzz (use loaded:app)"),
        ("loaded:not_an_app", "loaded:not_an_app is a int, not an Argyll (use loaded:app)"),
        ("broken:app", "module broken cannot be imported: broken.py, line 2: ZeroDivisionError"),
        ("lacking:app", "module lacking cannot be imported: lacking.py, line 1: ModuleNotFoundError"),
        ("leaving:app", "module leaving cannot be imported: leaving.py, line 1: SystemExit"),
        ("typo:app", "module typo cannot be imported: "),
        (":app", "does not name an app"),
        ("loaded:", "does not name an app"),
        ("loaded.py:app", "loaded.py is a file, not a module (use loaded:app)"),
        ("./below/deep.py:app", "below/deep.py is a file, not a module (use below.deep:app)"),
        ("gone.py:app", "there is no module gone in "),
        ("", "does not name an app"),
        (".:app", "--app: "),
        ("..x:app", "--app: "),
    ],
)
def test_an_app_that_cannot_be_loaded_is_said_in_one_line(
    target: str, words: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "loaded": APP.format(url=NOWHERE, namespace="shop"),
        "broken": "x = 1\n1 / 0\n",
        "lacking": "import no_such_module_here\n",
        "leaving": "raise SystemExit(3)\n",
        "typo": "def x(:\n",
    }
    (tmp_path / "below").mkdir()
    (tmp_path / "below/deep.py").touch()
    for name, source in files.items():
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    answer = cli("engine", "--app", target)
    assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1), answer
    assert words in answer.err


def test_an_app_is_found_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "found_here.py").write_text(APP.format(url=NOWHERE, namespace="shop"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each not in ("", str(tmp_path))])
    app = load_app("found_here:app")
    assert (app.namespace, sorted(app.declared)) == ("shop", ["greet", "wait_for"])
