"""The HTTP API beside an engine, alone, and with `argyll dev`; how steps are; and what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_words import Cli, ended, process, read_until

from argyll_redis.cli.serving import KEYS_VARIABLE
from argyll_redis.http import keys

Start = Callable[..., "subprocess.Popen[str]"]

APP = """
import asyncio
from pathlib import Path
from argyll_redis import Argyll

app = Argyll()

@app.step(outputs="slow")
async def wait_for(name: str) -> str:
    Path("begun").touch()
    while not Path(name).exists():
        await asyncio.sleep(0.01)
    return "done"
"""


@pytest.fixture
def start(real_cli: Cli, tmp_path: Path) -> Iterator[Start]:
    """Starts a command in the namespace of the test."""
    (tmp_path / "shop.py").write_text(APP)
    started: list[subprocess.Popen[str]] = []

    def command(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        run = process(*arguments, cwd=tmp_path, **{**real_cli.variables, **variables})
        started.append(run)
        return run

    yield command
    for run in started:
        if run.poll() is None:
            run.kill()
            run.wait()


def url_in(said: str) -> str:
    return next(line.split()[1] for line in said.splitlines() if line.startswith("http http://"))


@pytest.mark.contract("http", "Health is 503 while the process drains.")
def test_an_engine_serves_the_api_and_says_that_it_drains(
    start: Start, real_cli: Cli, tmp_path: Path
) -> None:
    engine = start("engine", "--app", "shop:app", "--http", "127.0.0.1:0")
    with httpx.Client(base_url=url_in(read_until(engine.stderr, "serves "))) as http:
        assert http.get("/health").json()["status"] == "healthy"
        begun = http.post("/engine/flow", json={"id": "f", "goals": ["wait_for"], "init": {"name": ["go"]}})
        while not (tmp_path / "begun").exists():
            http.get("/engine/flow/f/status")
        engine.send_signal(signal.SIGTERM)
        read_until(engine.stderr, "stopping: ")
        draining = http.get("/health")
        (tmp_path / "go").touch()
        end = ended(engine)
    assert (begun.status_code, draining.status_code) == (201, 503)
    assert (end.status, end.err.splitlines()[-1]) == (0, "stopped")
    assert real_cli("flow", "show", "f", "--json").json["status"] == "completed"


def test_without_a_slot_the_api_is_served_alone(start: Start, real_cli: Cli) -> None:
    real_cli.register()
    api = start("engine", "--concurrency", "0", "--json", ARGYLL_HTTP="127.0.0.1:0")
    began = json.loads(read_until(api.stdout, "api started"))
    with httpx.Client(base_url=began["http"]) as http:
        started = http.post("/engine/flow", json={"id": "f", "goals": ["triple"], "init": {"a": [1]}})
        engines = real_cli("queue", "--json").json["queues"]
    api.send_signal(signal.SIGINT)
    end = ended(api)
    assert set(began) == {"message", "redis", "namespace", "http"}
    assert (started.status_code, {each["engines"] for each in engines}) == (201, {0})
    assert (end.status, end.lines[-1]) == (0, {"message": "engine stopped"})


def test_keys_come_from_their_variable_and_are_not_said(start: Start) -> None:
    api = start(
        "engine", "--concurrency", "0", "--http", "127.0.0.1:0", **{KEYS_VARIABLE: "read:s3cret,define:0ther"}
    )
    said = read_until(api.stderr, "http ")
    with httpx.Client(base_url=url_in(said)) as http:
        without = http.get("/engine/step").status_code
        with_key = http.get("/engine/step", headers={"authorization": "Bearer s3cret"}).status_code
    api.send_signal(signal.SIGTERM)
    end = ended(api)
    assert (without, with_key, end.status) == (401, 200, 0)
    assert "s3cret" not in said + end.err


def test_dev_serves_the_api_unasked(start: Start) -> None:
    dev = start("dev", "--json")
    began = json.loads(read_until(dev.stdout, "dev started"))
    health = httpx.get(f"{began['http']}/health")
    dev.send_signal(signal.SIGINT)
    assert (health.status_code, ended(dev).status) == (200, 0)


@pytest.mark.parametrize("command", ["engine", "dev"])
def test_a_port_that_is_taken_ends_it_in_one_line(command: str, start: Start) -> None:
    first = start("engine", "--concurrency", "0", "--http", "127.0.0.1:0")
    url = url_in(read_until(first.stderr, "http "))
    answer = ended(start(command, "--http", url.removeprefix("http://")))
    first.send_signal(signal.SIGTERM)
    assert (answer.status, answer.err.count("\n"), ended(first).status) == (2, 1, 0), answer
    assert "--http: cannot listen on" in answer.err


def test_a_bad_key_is_refused_without_showing_it(cli: Cli) -> None:
    answer = cli("engine", "--http", "127.0.0.1:0", **{KEYS_VARIABLE: "root:s3cret"})
    assert (answer.status, "ARGYLL_API_KEYS, key 1: has an unknown role" in answer.err) == (2, True)
    assert "s3cret" not in answer.err


def test_the_variable_of_the_keys_is_the_servers() -> None:
    assert KEYS_VARIABLE == keys.VARIABLE


# ------------------------------------------------------------------ step health


def test_the_health_of_steps_is_shown_and_an_unhealthy_one_is_bad_news(cli: Cli) -> None:
    python: dict[str, Any] = {"id": "py", "type": "python", "attributes": {}, "python": {"handler": "py"}}
    cli.register(python)
    all_steps, one = cli("step", "health"), cli("step", "health", "py", "--json")
    assert (all_steps.status, one.status) == (1, 1)
    assert "py    unhealthy  0 engines  no live engine has this handler" in all_steps.out
    assert one.json == {"status": "unhealthy", "error": "no live engine has this handler", "engines": {}}
    assert all_steps.err == "error: 1 step unhealthy: py\n"


def test_health_that_nobody_has_looked_at_is_unknown_and_no_bad_news(cli: Cli) -> None:
    assert cli("step", "health").out == "no steps are registered\n"
    cli.register()
    answer = cli("step", "health", "--json")
    assert (answer.status, answer.json["count"]) == (0, 3)
    assert {each["status"] for each in answer.json["health"].values()} == {"unknown"}


def test_the_health_of_an_unknown_step_is_not_found(cli: Cli) -> None:
    cli.register()
    answer = cli("step", "health", "dubble")
    assert (answer.status, "did you mean `double`?" in answer.err) == (4, True)
