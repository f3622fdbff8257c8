"""Engines that end as processes: killed by their own work again and again, and told to go while they work."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from cli_words import Cli, ended, process, read_until

pytestmark = pytest.mark.timeout(150)

APP = """
import os, time
from pathlib import Path
from argyll_redis import Argyll

app = Argyll()

@app.step(outputs="poisoned")
def kill(name: str) -> str:
    with open("kills", "a") as kills:
        kills.write("x")
    os._exit(7)

@app.step(outputs="greeting")
async def greet(name: str) -> str:
    return f"hello {name}"

@app.step(outputs="waited", for_each="names", parallelism=4)
def wait_for(names: str) -> str:
    Path(names).touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return names
"""
LEASE_MS = 1_000
LOSSES = 5


class Engines:
    """Engine processes of the app, in one directory."""

    def __init__(self, cli: Cli, directory: Path) -> None:
        (directory / "shop.py").write_text(APP)
        self._cli = cli
        self._directory = directory
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        run = process(
            *("engine", "--app", "shop:app", "--lease-ms", str(LEASE_MS), *arguments),
            cwd=self._directory,
            **self._cli.variables,
        )
        self._started.append(run)
        return run

    def end(self) -> None:
        for run in self._started:
            if run.poll() is None:
                run.kill()
            run.communicate()


@pytest.fixture
def engines(real_cli: Cli, tmp_path: Path) -> Iterator[Engines]:
    made = Engines(real_cli, tmp_path)
    yield made
    made.end()


def test_work_that_kills_its_engines_fails_and_the_other_flows_go_on(
    engines: Engines, real_cli: Cli, tmp_path: Path
) -> None:
    """Somebody starts a new engine each time; the sixth one is left alone."""
    engine = engines.start()
    read_until(engine.stderr, "serves ")
    real_cli("flow", "start", "kill", "--init", "name=x", "--id", "poison")
    good = [f"good{number}" for number in range(LOSSES)]
    for number, flow in enumerate(good):
        assert (engine.wait(), (tmp_path / "kills").read_text()) == (7, "x" * (number + 1))
        real_cli("flow", "start", "greet", "--init", f"name={flow}", "--id", flow)
        engine = engines.start()
        read_until(engine.stderr, "serves ")
    for flow in good:  # an engine may have died before it came to them
        greeted = real_cli("flow", "wait", flow, "--json").json
        assert greeted["result"] == {"greeting": f"hello {flow}"}
    ending = real_cli("flow", "wait", "poison", "--json")
    assert (ending.status, ending.json["status"]) == (1, "failed")
    assert f"lost: {LOSSES} engines died while running it" in ending.json["error"]
    assert (engine.poll(), (tmp_path / "kills").read_text()) == (None, "x" * LOSSES)


def test_engines_that_are_told_to_go_finish_what_they_have_begun(
    engines: Engines, real_cli: Cli, tmp_path: Path
) -> None:
    """Two engines with two items each, longer than the lease: all complete in their first attempt."""
    both = [engines.start("--concurrency", "2"), engines.start("--concurrency", "2")]
    for engine in both:
        read_until(engine.stderr, "serves ")
    names = [f"item{number}" for number in range(4)]
    listed = "[" + ", ".join(f'"{name}"' for name in names) + "]"
    real_cli("flow", "start", "wait_for", "--init", f"names={listed}", "--id", "f")
    while not all((tmp_path / name).exists() for name in names):
        time.sleep(0.01)
    for engine in both:
        engine.send_signal(signal.SIGTERM)
        read_until(engine.stderr, "stopping: ")
    wait_leases(real_cli, 2)
    (tmp_path / "go").touch()
    assert [ended(engine).status for engine in both] == [0, 0]
    flow = real_cli("flow", "wait", "f", "--json").json
    assert [each["waited"] for each in flow["result"]["waited"]] == names
    started = [each for each in events(real_cli, "f") if each["type"] == "work_started"]
    assert [each["data"]["attempt"] for each in started] == [1] * 4
    queues = {each["queue"]: each for each in real_cli("queue", "--json").json["queues"]}
    assert (queues["default"]["depth"], queues["default"]["in_flight"]) == (0, 0)


def events(cli: Cli, flow: str) -> list[dict[str, object]]:
    return cli("flow", "events", flow, "--json").json["events"]


def wait_leases(cli: Cli, count: int) -> None:
    """Lets the time of some leases pass, by the server's clock."""
    with redis.Redis.from_url(cli.url) as client:
        begun = client.time()[0]
        while client.time()[0] <= begun + count * LEASE_MS // 1000:
            time.sleep(0.05)
