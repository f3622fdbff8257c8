"""The bench in a size that says nothing about speed: it runs, and its rows hold what they promise."""

from __future__ import annotations

import ast
import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.arguments import options_of, places_of, read_run, run_parser
from bench.dumb_socket import url_at
from bench.hand import ROOT
from bench.measures import MEASURES
from bench.options import Layout
from bench.profile import OTHER, PARTS
from bench.rows import Row
from bench.workloads import WORKLOADS
from tests.servers import BINARIES, TestServer

SMALL = [
    f"--{name}={size}"
    for name, size in {
        "hot-items": 20,
        "hot-parallelism": 8,
        "hot-completions": 5,
        "engine-counts": "1,2",
        "scale-slots": 5,
        "kills": 1,
        "lease-ms": 300,
        "supply": 12,
        "idle-flows": 5,
        "idle-s": 0.5,
        "kept": "30,40",
        "kept-step": 5,
        "item-counts": "2,10",
        "plan-sizes": "10,20",
    }.items()
]


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What the bench prints with --json."""
    status = main([*arguments, "--runs", "1", "--json"])
    assert status == 0
    return json.loads(capsys.readouterr().out)


# ------------------------------------------------------------------------- no server


def test_in_memory_only_the_process_has_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a server there is one layout, no ceiling, and nothing that only a server knows."""
    found = document(capsys, "W1", "--flows", "2", "--redis", "memory://")
    [row] = found["rows"]
    of_servers = {name for name, figure in row.items() if figure is None}
    assert (row["layout"], row["system"], row["workload"]) == (Layout.ONE, "argyll_redis", "W1")
    assert of_servers >= {"ceiling_share", "round_trips_per_flow", "bytes_per_flow", "server_cpu_ms_per_flow"}
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


def test_a_full_run_has_everything() -> None:
    """All workloads in one process; those of throughput with the other modes, the usual ones first."""
    asked = read_run(run_parser(None), ["--full"])
    options = options_of(asked, lambda text: None)
    assert asked.workloads == list(MEASURES)
    assert (tuple(options.layouts), max(options.kept)) == ((Layout.ONE,), 100_000)
    found = [{**place.about()} for place in places_of(asked)]
    assert found == [
        {"aof": "everysec", "rtt_ms": 0},
        {"aof": "always", "rtt_ms": 0},
        {"aof": "everysec", "rtt_ms": 2},
    ]


def test_several_modes_and_distances_are_all_measured() -> None:
    """Each mode at each distance."""
    asked = read_run(run_parser(None), ["W1", "--aof", "off,always", "--rtt-ms", "0,2"])
    found = [tuple(place.about().values()) for place in places_of(asked)]
    assert found == [("off", 0), ("always", 0), ("off", 2), ("always", 2)]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["W10"], "W10 is no workload, use W0, W1"),
        ([], "name a workload (W0, W1"),
        (["W0", "--flows", "0"], "use 1 or more"),
        (["W0", "--redis", "rediss://h"], "use redis://HOST:PORT/DB"),
        (["W0", "--redis", "redis://h", "--aof", "off"], "keeps its mode"),
        (["W0", "--aof", "often"], "use off, everysec, always"),
        (["W0", "--rtt-ms", "-1"], "below 0"),
        (["W0", "W7", "--redis", "memory://"], "W7 need a server"),
        (["W7", "--profile"], "not for W7"),
        (["W1", "--peers", "sidekiq"], "sidekiq is not known, use bullmq"),
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


@pytest.mark.timeout(180)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_throughput_is_measured_on_a_server_and_leaves_nothing(
    workload: str, real_server: TestServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one process, with every promised figure; its namespaces are gone afterwards."""
    found = document(capsys, workload, "--in-process", "--flows", "3", "--redis", real_server.url)
    [one] = found["rows"]
    assert set(one) >= {each.name for each in fields(Row)}
    needed = ["ceiling_share", "round_trips_per_flow", "bytes_per_flow", "server_us_per_commit"]
    assert [name for name in needed if one[name] is None] == []
    assert (one["p99_ms"] is None) is not WORKLOADS[workload].is_timed_alone
    assert (one["share_without_calls"] is None) is (workload != "W4")
    if workload == "W1":
        assert one["commits_per_flow"] == 6
    if workload == "W2":
        assert one["items_per_s"] == pytest.approx(100 * one["flows_per_s"])
    assert list(real_server.client.scan_iter("{bench-*")) == []


@pytest.mark.timeout(180)
def test_engine_and_client_may_be_two_processes(
    real_server: TestServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their processor time is told apart then."""
    found = document(capsys, "W1", "--flows", "3", "--redis", real_server.url)
    one, two = found["rows"]
    assert [row["layout"] for row in (one, two)] == list(Layout)
    assert (one["client_cpu_ms_per_flow"], two["client_cpu_ms_per_flow"] is None) == (None, False)
    assert [row["commits_per_flow"] for row in (one, two)] == [6, 6]


NEEDED = {
    "W5": ["seconds", "items_per_s", "p99_ms", "commits_per_flow", "conflicts_per_commit", "longest_call_ms"],
    "W6": ["flows_per_s", "conflicts_per_commit", "engine_cpu_ms_per_flow"],
    "W7": ["lease_ms", "kills", "lost_items"],
    "W8": ["engine_cpu_percent", "server_cpu_percent", "commands_per_s", "round_trips_per_s"],
    "W9": ["size"],
}
"""Figures that each row of a workload has to have."""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("workload", NEEDED)
def test_every_other_workload_is_measured_and_leaves_nothing(
    workload: str, real_server: TestServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its promised figures are there, and its namespaces are gone afterwards."""
    arguments = (workload, *SMALL, "--flows", "4", "--redis", real_server.url)
    found = document(capsys, *arguments)
    assert found["rows"] != []
    lacks = [(row["layout"], name) for row in found["rows"] for name in NEEDED[workload] if row[name] is None]
    assert lacks == []
    if workload == "W9":
        sizes = {row["size"]: row["plan_ms"] or row["us_per_event"] for row in found["rows"]}
        assert (len(found["rows"]), [size for size, cost in sizes.items() if not cost]) == (6, [])
    assert list(real_server.client.scan_iter("{bench-*")) == []


@pytest.mark.timeout(180)
@pytest.mark.real
@pytest.mark.skipif(not any(map(shutil.which, BINARIES)), reason=f"no {' or '.join(BINARIES)} on PATH")
def test_modes_and_distances_are_measured_in_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mode in the report is the one that the server has, the distance is there, and so is the page."""
    arguments = ("--in-process", "--flows", "2", "--aof", "always", "--rtt-ms", "0,2")
    found = document(capsys, "W0", *arguments, "--report", str(tmp_path))
    assert found["surroundings"]["durability"] == "AOF always"
    assert found["surroundings"]["far_round_trips_ms"]["2"] >= 2
    assert [(row["aof"], row["rtt_ms"]) for row in found["rows"]] == [("always", 0), ("always", 2)]
    assert "2 ms away" in (tmp_path / "report.md").read_text()
