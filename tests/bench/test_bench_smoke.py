"""The bench in a size that says nothing about speed: it runs, and its rows hold what they promise."""

from __future__ import annotations

import ast
import json
import shutil
from dataclasses import fields, replace
from typing import Any
from uuid import uuid4

import pytest

from bench.__main__ import main
from bench.crew import ROOT
from bench.machine import Surroundings
from bench.measure import Layout, Measured, Plan, Run
from bench.profile import OTHER, PARTS
from bench.recorder import Recording, url_at
from bench.replay import Replay
from bench.report import Row, as_text, rows_of
from bench.server import Held, Longest, Spent
from bench.service import serving
from bench.worker import WrongResult, alone, burst, engine, look, register
from bench.workloads import WORKLOADS, Workload
from tests.servers import BINARIES, TestServer

WORKLOAD = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
OWN_SERVER = [
    pytest.mark.real,
    pytest.mark.skipif(not any(map(shutil.which, BINARIES)), reason=f"no {' or '.join(BINARIES)} on PATH"),
]


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What the bench prints with --json."""
    status = main([*arguments, "--runs", "1", "--json"])
    assert status == 0
    return json.loads(capsys.readouterr().out)


# ------------------------------------------------------------------------- no server


@pytest.fixture
def namespace() -> str:
    """One of the test's own: the steps of another workload would join its plans."""
    return f"bench-{uuid4().hex[:8]}"


@pytest.mark.anyio
@WORKLOAD
async def test_a_workload_comes_to_its_result(workload: Workload, namespace: str) -> None:
    """Started at once or one at a time, each flow gives what its workload says."""
    async with serving() as service_url, workload.app("memory://", namespace) as app:
        await register(app, workload, service_url)
        async with engine(app):
            seconds, flows = await burst(app, workload, 3)
            times_ms = await alone(app, workload, 2)
    assert (len(set(flows)), len(times_ms)) == (3, 2)
    assert min(seconds, *times_ms) > 0


@pytest.mark.anyio
async def test_a_flow_of_w1_is_six_commits(namespace: str) -> None:
    """Its start, and one for each of its five steps."""
    async with WORKLOADS["W1"].app("memory://", namespace) as app, engine(app):
        _, flows = await burst(app, WORKLOADS["W1"], 4)
        commits, events = await look(app, flows)
    assert commits == 6
    assert events > commits


@pytest.mark.anyio
async def test_a_wrong_result_is_no_figure(namespace: str) -> None:
    """What came to something else is refused, however fast it was."""
    workload = replace(WORKLOADS["W0"], result={"a": 2})
    async with workload.app("memory://", namespace) as app, engine(app):
        with pytest.raises(WrongResult, match=r"came to \{'a': 1\}"):
            await burst(app, workload, 1)


def test_in_memory_only_the_process_has_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a server there is one layout, no ceiling, and nothing that only a server knows."""
    found = document(capsys, "W1", "--flows", "2", "--redis", "memory://")
    [row] = found["rows"]
    of_servers = {name for name, figure in row.items() if figure is None}
    assert row["layout"] == Layout.ONE
    assert of_servers >= {"ceiling_share", "round_trips_per_flow", "bytes_per_flow", "redis_cpu_ms_per_flow"}
    assert (row["commits_per_flow"], found["surroundings"]["round_trip_ms"]) == (6, None)


def test_a_profile_accounts_for_all_of_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    """The parts add up to the whole, and there is one for each name."""
    [found] = document(capsys, "W1", "--flows", "100", "--redis", "memory://", "--profile")["profiles"]
    assert list(found["us_per_turn"]) == [*PARTS, OTHER]
    assert sum(found["us_per_turn"].values()) == pytest.approx(found["cpu_us_per_turn"])
    assert found["turns"] == 600


@pytest.mark.parametrize("part", PARTS)
def test_the_places_of_a_part_exist(part: str) -> None:
    """Files and functions that the profile names are there, so that nothing moves to `other` unseen."""
    for place, functions in PARTS[part]:
        if place.startswith("asyncio/"):
            continue
        own = [*(ROOT / "argyll_redis").rglob("*.py"), *(ROOT / "bench").glob("*.py")]
        [file] = [path for path in own if path.as_posix().endswith(f"/{place}")]
        defined = {
            node.name
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert set(functions) - defined == set(), place


# --------------------------------------------------------------------------- figures


AROUND = Surroundings(
    "python -m bench W1",
    "2026-01-02T03:04:05Z",
    "2 cores",
    0.1,
    {"Python": "3.11"},
    "Redis",
    "AOF off",
    0.05,
)


def run(seconds: float, *, flows: int = 100, alone_ms: tuple[float, ...] = ()) -> Run:
    return Run(
        seconds=seconds,
        commits=6.0,
        events=28.0,
        engine_cpu_s=seconds / 2,
        client_cpu_s=None,
        spent=Spent(cpu_s=0.05, script_calls=flows // 2, script_s=0.03),
        held=Held(memory_bytes=5_000 * flows, feed_bytes=200 * flows),
        longest=Longest("commit.lua", seconds, 3),
        alone_ms=alone_ms,
    )


def measured(runs: list[Run], replay_s: list[float]) -> Measured:
    spent = Spent(0.02, 1, 0.01)
    return Measured(
        Plan(WORKLOADS["W1"], (Layout.ONE,), flows=100, runs=len(runs)),
        {Layout.ONE: runs},
        [[Replay(2 * seconds, 600, spent), Replay(seconds, 600, spent)] for seconds in replay_s],
        Recording("bench-1", [], [b""], 600),
    )


def test_a_row_holds_the_median_of_the_runs_with_least_and_most() -> None:
    """Of the ceiling, too: each run is compared with the faster replay that followed it."""
    [row] = rows_of(measured([run(1.0), run(4.0), run(2.0)], [0.5, 1.0, 0.5]))
    assert (row.flows_per_s_min, row.flows_per_s, row.flows_per_s_max) == (25, 50, 100)
    assert (row.steps_per_s, row.commits_per_s) == (250, 300)
    assert (row.ceiling_share, row.ceiling_commits_per_s) == (0.25, 1200)
    assert (row.round_trips_per_flow, row.bytes_per_flow, row.longest_call_ms) == (0.5, 5_000, 4.0)


def test_percentiles_are_of_one_run_and_their_median_is_taken() -> None:
    """p99 of a hundred flows is the hundredth but one."""
    times = tuple(float(ms) for ms in range(1, 101))
    slow = tuple(ms * 2 for ms in times)
    [row] = rows_of(measured([run(1.0, alone_ms=each) for each in (times, slow, times)], [0.5] * 3))
    assert (row.p50_ms, row.p50_ms_max, row.p99_ms, row.p99_ms_max) == (50, 100, 99, 198)


def test_the_share_without_calls_is_what_they_do_not_take_alone() -> None:
    runs = [replace(run(2.0), calls_s=0.5), replace(run(1.0), calls_s=0.5), replace(run(4.0), calls_s=0.2)]
    [row] = rows_of(measured(runs, [0.5] * 3))
    assert row.share_without_calls == 0.75
    assert "75%" in as_text(AROUND, [row], [])


def test_the_tables_fit_and_are_aligned() -> None:
    """Figures of any size leave the lines under 100 columns, each ending where its column does."""
    runs = [run(0.0101, alone_ms=(12.34,)), run(0.0102, alone_ms=(123.4,)), run(0.09, alone_ms=(1.2,))]
    [row] = rows_of(measured(runs, [0.002] * 3))
    rows = [row, replace(row, layout=Layout.TWO, items_per_s=123_456.7, client_cpu_ms_per_flow=12.3)]
    text = as_text(AROUND, rows, [])
    tables = text.split("\n\n")[1:]
    assert [line for table in tables for line in table.split("\n")[1:] if len(line) > 100] == []
    for table in tables:
        _, head, one, two = table.split("\n")
        assert len({len(line) for line in (head, one, two)}) == 1


def test_a_recorder_keeps_user_and_database_of_a_url() -> None:
    """Only the way to the server is another one."""
    urls = ["unix:///a.sock", "unix:///a.sock?db=3", "redis://h:1/2", "redis://u:p@h", "redis://:p@h/4"]
    assert [url_at("/r.sock", url) for url in urls] == [
        "unix:///r.sock",
        "unix:///r.sock?db=3",
        "unix:///r.sock?db=2",
        "unix://u:p@/r.sock",
        "unix://:p@/r.sock?db=4",
    ]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["W7"], "invalid choice: 'W7'"),
        (["W0", "--flows", "0"], "use 1 or more"),
        (["W0", "--redis", "rediss://h"], "use redis://HOST:PORT/DB"),
        (["W0", "--redis", "redis://h", "--aof", "off"], "keeps its mode"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is started for it."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


# ---------------------------------------------------------------------- a real server


def test_the_bench_runs_on_a_server_and_leaves_nothing(
    real_server: TestServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """All workloads in both layouts, with every promised figure; its namespaces are gone afterwards."""
    found = document(capsys, *WORKLOADS, "--flows", "3", "--redis", real_server.url)
    rows = {(row["workload"], row["layout"]): row for row in found["rows"]}
    assert list(rows) == [(name, layout) for name in WORKLOADS for layout in Layout]
    assert {frozenset(row) for row in rows.values()} == {frozenset(field.name for field in fields(Row))}
    assert [rows["W1", layout]["commits_per_flow"] for layout in Layout] == [6, 6]
    missing = [name for name, figure in rows["W1", Layout.TWO].items() if figure is None]
    assert missing == ["items_per_s", "share_without_calls"]
    assert [rows["W4", layout]["share_without_calls"] is None for layout in Layout] == [False, False]
    assert rows["W2", Layout.ONE]["items_per_s"] == pytest.approx(100 * rows["W2", Layout.ONE]["flows_per_s"])
    assert list(real_server.client.scan_iter("{bench-*")) == []


@pytest.mark.parametrize(
    ("aof", "durability"),
    [pytest.param(mode, f"AOF {mode}", marks=OWN_SERVER) for mode in ("off", "everysec", "always")],
)
def test_the_benchs_own_server_keeps_what_was_asked(
    aof: str, durability: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mode in the report is the one that the server has."""
    found = document(capsys, "W0", "--flows", "2", "--in-process", "--aof", aof)
    assert found["surroundings"]["durability"] == durability
    assert [row["layout"] for row in found["rows"]] == [Layout.ONE]
