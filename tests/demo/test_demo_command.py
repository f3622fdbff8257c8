"""`argyll demo` from end to end on small folders: in memory, and with engines of which one is killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from argyll_redis.cli.demo import demo
from argyll_redis.demo import run, steps
from argyll_redis.tally import Tally

WAIT_S = 15


HEAVY_MODULES = 150
"""Enough that a busy machine gives both engines their turn."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "base.py").write_text("def f(x):\n    return [y for y in x if y]\n")
    (folder / "cart.py").write_text("import base, order\n")
    (folder / "order.py").write_text("import cart\ndef g():\n    import base\n")
    return folder


@pytest.fixture
def heavy_root(tmp_path: Path) -> Path:
    """Modules that take two engines a second or two, so that there is a middle."""
    folder = tmp_path / "heavy"
    folder.mkdir()
    source = Path(tempfile.__file__).read_text()
    for number in range(HEAVY_MODULES):
        (folder / f"m{number}.py").write_text(source)
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where private directories go while a test runs."""
    del tmp_path  # pytest makes its own folders first, elsewhere
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARGYLL_REDIS_URL", raising=False)
    monkeypatch.delenv("ARGYLL_NAMESPACE", raising=False)


def in_memory(root: Path, *options: str) -> Result:
    namespace = f"t-{uuid4().hex[:8]}"
    given = ["--redis", "memory://", "--namespace", namespace, "--root", str(root), *options]
    return CliRunner().invoke(demo, given)


def await_fact(fact: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not fact() and time.monotonic() < deadline:
        time.sleep(0.02)
    return fact()


def processes() -> list[tuple[int, int, str]]:
    """All processes as (pid, parent, state)."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,state="], capture_output=True, text=True, check=True)
    rows = (line.split() for line in listed.stdout.splitlines())
    return [(int(pid), int(parent), state) for pid, parent, state in rows]


def family_of(pid: int) -> set[int]:
    """The processes below one, however deep."""
    listed = processes()
    family = {pid}
    while grown := {child for child, parent, _ in listed if parent in family} - family:
        family |= grown
    return family - {pid}


def alive(pids: set[int]) -> set[int]:
    return {pid for pid, _, state in processes() if pid in pids and not state.startswith("Z")}


# ------------------------------------------------------------------------ memory


def test_in_memory_it_says_so_and_everything_is_good(root: Path, tmp_path: Path) -> None:
    result = in_memory(root, "--json")
    told = json.loads(result.output)
    assert (result.exit_code, told["status"], told["problems"]) == (0, "completed", [])
    assert told["server"] == {
        "kind": "memory",
        "what": "in memory, this process only, nothing is kept",
    }
    assert [(check["name"], check["good"]) for check in told["checks"]] == [
        ("steps", True),
        ("engines", True),
        ("queues", True),
        ("log", True),
        ("figures", True),
    ]
    assert told["report"]["figures"]["modules"] == 3
    assert told["report"]["html"] == str(tmp_path / "argyll-demo" / "report.html")
    assert (tmp_path / "argyll-demo" / "report.md").read_text().startswith("# What shop rests on")


def test_the_plan_leaves_out_skips_and_retries_what_it_should(root: Path) -> None:
    told = json.loads(in_memory(root, "--json").output)
    assert told["left_out"] == {
        "compare_releases": "no goal needs what it provides",
        "publish_report": "no goal needs what it provides",
    }
    states = {step["id"]: (step["status"], step["done"], step["retried"]) for step in told["steps"]}
    assert states == {
        "list_modules": ("completed", 1, 0),
        "measure": ("completed", 3, 0),
        "summarise_measures": ("completed", 1, 0),
        "build_graph": ("completed", 1, 0),
        "find_cycles": ("completed", 1, 0),
        "rank_modules": ("completed", 1, 0),
        "read_licence": ("completed", 1, 1),
        "write_report": ("completed", 1, 0),
        "profile_heavy_modules": ("skipped", 0, 0),
    }
    assert any("attempt 1 was not completed" in clause["text"] for clause in told["why"]["why"])


def test_deep_runs_the_profile_as_well(root: Path) -> None:
    told = json.loads(in_memory(root, "--json", "--deep").output)
    profile = next(step for step in told["steps"] if step["id"] == "profile_heavy_modules")
    assert (profile["status"], told["problems"]) == ("completed", [])


def test_the_summary_fits_80_columns_and_tells_plan_run_checks_and_report(root: Path) -> None:
    result = in_memory(root)
    lines = result.output.splitlines()
    assert result.exit_code == 0
    assert max(map(len, lines)) <= 80
    headings = [line.split()[0] for line in lines if line[:1].isupper() and line.split()[0].isupper()]
    assert headings == ["PLAN", "LEFT", "RAN", "ENGINE", "CHECK"]
    assert "Why is read_licence completed?" in lines
    assert lines[-2:] == ["report       argyll-demo/report.html", "             argyll-demo/report.md"]


def test_the_readme_shows_what_the_summary_looks_like(root: Path) -> None:
    """Its headers, its steps in their order, and what became of each; the figures are of one run."""
    told = in_memory(root).output
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    shown = re.findall(r"^```text\n(RAN .*?)^```", readme, re.S | re.M)[0]
    for begin, columns in (("RAN", 2), ("Why", 9)):
        excerpt, summary = (
            [line.split()[:columns] for line in text[text.index(begin) :].split("\n\n")[0].splitlines()]
            for text in (shown, told[told.index("\nRAN") :])
        )
        assert [_without_figures(each) for each in excerpt] == [_without_figures(each) for each in summary]


def _without_figures(words: list[str]) -> list[str]:
    return [word for word in words if not re.search(r"\d|^m?s$", word)]


def test_a_figure_that_one_process_counts_differently_is_off(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = steps.measure

    def measure(modules: dict[str, Any]) -> dict[str, Any]:
        measured = right(modules)
        return {**measured, "lines": measured["lines"] + 1} if modules["module"] == "cart" else measured

    monkeypatch.setattr(steps, "measure", measure)
    result = in_memory(root)
    assert result.exit_code == 1
    assert "error: lines: the flow came to 7, one process to 6" in result.output


def test_a_flow_that_fails_is_off_and_its_root_cause_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = in_memory(tmp_path / "empty", "--json")
    told, error = result.stdout, result.stderr
    assert result.exit_code == 1
    assert json.loads(told)["status"] == "failed"
    assert f"{tmp_path}/empty holds no Python modules" in error


# ------------------------------------------------------------------ real servers


@pytest.mark.real
def test_an_engine_is_killed_and_all_it_had_in_hand_is_taken_over(heavy_root: Path, temporary: Path) -> None:
    result = CliRunner().invoke(demo, ["--root", str(heavy_root), "--json"])
    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert told["server"]["kind"] in ("redis-server", "valkey-server")
    killed = [engine for engine in told["engines"] if engine["killed"]]
    others = [engine for engine in told["engines"] if not engine["killed"]]
    assert (len(killed), len(others)) == (1, 1)
    assert killed[0]["items"] > 0
    assert others[0]["items"] > 0
    assert killed[0]["items"] + others[0]["items"] == HEAVY_MODULES + 7
    assert 0 < killed[0]["in_flight_when_killed"] <= others[0]["took_over"]
    assert all(check["good"] for check in told["checks"])
    assert list(temporary.iterdir()) == []


class Killer:
    """A screen that kills engines once the flow is in the middle."""

    def __init__(self, engines: int) -> None:
        self.engines = engines

    def say(self, line: str) -> None: ...

    def show(self, tally: Tally) -> None:
        step = tally.steps[run.LONG_STEP]
        if not step.done or step.is_over:
            return
        engines = [pid for pid, parent, _ in processes() if parent == os.getpid() and is_engine(pid)]
        for pid in engines[: self.engines]:
            os.kill(pid, signal.SIGKILL)
        self.engines = 0


def is_engine(pid: int) -> bool:
    listed = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return "argyll_redis.demo.engine" in listed.stdout


@pytest.mark.real
@pytest.mark.anyio
async def test_an_engine_that_nobody_meant_to_kill_is_off(heavy_root: Path, tmp_path: Path) -> None:
    request = run.Request(str(heavy_root), str(tmp_path / "out"), with_crash=False)
    outcome = await run.run(request, Killer(engines=1))
    assert outcome.tally.status == "completed"
    assert ["ended unexpectedly (SIGKILL)" in problem for problem in outcome.problems].count(True) == 1


@pytest.mark.real
@pytest.mark.anyio
async def test_without_engines_it_gives_up_at_once(heavy_root: Path, tmp_path: Path) -> None:
    request = run.Request(str(heavy_root), str(tmp_path / "out"), with_crash=False)
    outcome = await run.run(request, Killer(engines=2))
    assert outcome.problems[0] == "no engine is left to go on with the flow"
    assert ["ended unexpectedly (SIGKILL)" in problem for problem in outcome.problems].count(True) == 2


@pytest.mark.real
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_server_and_engines_never_outlive_the_command(
    number: signal.Signals, heavy_root: Path, temporary: Path
) -> None:
    command = [
        sys.executable,
        "-c",
        "from argyll_redis.cli import main; main()",
        "demo",
        "--root",
        str(heavy_root),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert any("list_modules completed" in line for line in process.stdout)
        family = family_of(process.pid)
        assert len(alive(family)) >= 5  # two engines, the server, and its guard of two
        process.send_signal(number)
    assert process.returncode == (-signal.SIGKILL if number is signal.SIGKILL else 130)
    assert await_fact(lambda: not alive(family))
    assert await_fact(lambda: list(temporary.iterdir()) == [])
