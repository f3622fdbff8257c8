"""Peers without any of them installed: what is said to be missing, and how one is asked and measured."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main as bench
from bench.hand import ROOT, Hand, WorkerFailed
from bench.peers import PEERS, Peer, Ready, postgres, ready
from bench.peers.__main__ import main
from bench.peers.catalogue import ONE_PROCESS, VERSIONS, WORKER_AND_CLIENT
from bench.peers.cpu import cpu_s
from bench.peers.measure import shape_of
from bench.rows import Row, measure
from bench.server import Aof, Servers
from bench.workloads import WORKLOADS
from tests.servers import BINARIES

PEER = pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
NO_SERVER = not any(map(shutil.which, BINARIES))
OWN_SERVER = [
    pytest.mark.real,
    pytest.mark.skipif(NO_SERVER, reason=f"no {' or '.join(BINARIES)} on PATH"),
]
ON_LINUX = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="the times of processes are not shown"
)
FAKE = "tests.bench.fake_peer"
LIMIT_S = 30
"""Longest wait for a fact."""


class FakePeer(Peer):
    """One that needs nothing: its worker and its client are of these tests."""

    def worker_command(self) -> list[str]:
        held = [sys.executable, "-m", "bench.peers.held", "SIGTERM"]
        return [*held, sys.executable, "-m", FAKE, *self.worker]

    def client_command(self, shape: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", FAKE, self.package, *shape]

    def version(self) -> str:
        return "1.2"


FAKE_PEER = FakePeer(
    name="fake", package="client", flows={"W0": 5, "W1": 5, "W2": 5, "W3": 5}, worker=["worker"]
)


def nobody(text: str) -> None:
    """Is told, and says it to nobody."""


def wait_for_end(pid: int) -> None:
    """Waits until there is no such process."""
    deadline_s = time.monotonic() + LIMIT_S
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline_s, f"process {pid} is still there"
        time.sleep(0.01)


# --------------------------------------------------------------------------- what is missing


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No peer in the bench's folder, and a PostgreSQL and a Node.js that would do."""
    monkeypatch.setattr("bench.peers.catalogue.HOME", tmp_path / "peers")
    monkeypatch.setattr(postgres, "missing", lambda: None)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "node").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(programs))
    return tmp_path / "peers"


@PEER
def test_a_peer_that_is_not_installed_says_how_to_install_it(peer: Peer, nothing_installed: Path) -> None:
    """The command is for this one alone."""
    assert peer.missing() == f"it is not installed: run python -m bench.peers install {peer.name}"


@PEER
def test_a_peer_in_other_versions_is_missing(peer: Peer, nothing_installed: Path) -> None:
    """What was installed before the pins changed measures something else than the page says."""
    (nothing_installed / peer.name).mkdir(parents=True)
    (nothing_installed / peer.name / "installed").write_text("saq==0.1\n")
    assert "is not what is pinned in" in (peer.missing() or "")
    (nothing_installed / peer.name / "installed").write_text(peer.pins.read_text())
    assert peer.missing() is None


def test_a_peer_without_its_runtime_is_missing(
    nothing_installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Node.js and PostgreSQL are not what the bench installs; it says who does."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(postgres, "missing", lambda: "PostgreSQL is missing: install postgresql")
    assert "install node and npm" in (PEERS["bullmq"].missing() or "")
    assert PEERS["dbos"].missing() == "PostgreSQL is missing: install postgresql"


def test_without_a_postgresql_its_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for where Debian has it, and on PATH."""
    monkeypatch.setattr(postgres, "PLACES", tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert postgres.missing() == (
        "PostgreSQL is missing: install postgresql (Debian: apt-get install postgresql)"
    )


def test_of_several_postgresqls_the_newest_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number: 16 is newer than 9.6."""
    for version in ("9.6", "16", "15"):
        folder = tmp_path / version / "bin"
        folder.mkdir(parents=True)
        (folder / "initdb").touch()
    monkeypatch.setattr(postgres, "PLACES", tmp_path)
    assert postgres.binaries() == tmp_path / "16" / "bin"


def test_who_is_missing_is_told_and_the_others_are_ready(nothing_installed: Path) -> None:
    """One that cannot be measured does not keep the others from it."""
    (nothing_installed / "saq").mkdir(parents=True)
    (nothing_installed / "saq" / "installed").write_text(PEERS["saq"].pins.read_text())
    with ready(["saq", "celery"], nobody) as found:
        assert list(found.missing) == ["celery"]
        assert [peer.name for peer in found.peers] == ["saq"]
        assert found.versions() == {"saq": PEERS["saq"].version()}


def test_a_postgresql_that_does_not_start_is_told_too(
    nothing_installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who needs it is missing, for its reason; the rest of the run is not lost with it."""
    for name in ("saq", "dbos"):
        (nothing_installed / name).mkdir(parents=True)
        (nothing_installed / name / "installed").write_text(PEERS[name].pins.read_text())
    programs = nothing_installed / "postgres"
    programs.mkdir()
    (programs / "initdb").write_text("#!/bin/sh\necho no room >&2; exit 1\n")
    (programs / "initdb").chmod(0o755)
    monkeypatch.setattr(postgres, "binaries", lambda: programs)
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    with ready(["saq", "dbos"], nobody) as found:
        assert found.missing == {"dbos": "initdb made no cluster: no room"}
        assert [peer.name for peer in found.peers] == ["saq"]


def test_the_list_says_of_each_whether_it_can_be_measured(
    nothing_installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each: its name, its version, what is missing."""
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(PEERS)
    assert {"run python -m bench.peers install" in line for line in lines} == {True}


def test_what_cannot_be_installed_is_named_with_the_reason(
    nothing_installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without npm there is nothing to install BullMQ with; the exit status tells scripts."""
    assert main(["install", "bullmq"]) == 1
    assert capsys.readouterr().err == (
        "bullmq cannot be installed: npm is not on PATH: install Node.js with npm\n"
    )


def test_peers_need_a_server_of_the_benchs_own(capsys: pytest.CaptureFixture[str]) -> None:
    """What they leave behind would stay on somebody's server."""
    with pytest.raises(SystemExit):
        bench(["W1", "--peers", "saq", "--redis", "redis://h"])
    assert "leave out --redis" in capsys.readouterr().err


# ----------------------------------------------------------------------------- what is pinned


@PEER
def test_the_page_has_the_version_that_is_pinned(peer: Peer) -> None:
    """The page's table of versions is that of the files."""
    page = (ROOT / "docs/performance/peers.md").read_text()
    assert f"`{peer.name}` | {peer.package} {peer.version()} |" in page


def test_the_pins_name_no_registry() -> None:
    """Whoever installs has one of their own."""
    for path in VERSIONS.iterdir():
        text = path.read_text()
        assert '"resolved"' not in text, path.name
        assert "registry" not in text, path.name


def test_python_pins_are_complete() -> None:
    """Each line is a package in one version, as they are installed without looking for what they need."""
    for path in VERSIONS.glob("requirements-*.txt"):
        assert {len(line.split("==")) for line in path.read_text().splitlines()} == {2}, path.name


# -------------------------------------------------------------------------------- asking one


def test_shapes_say_what_workloads_are() -> None:
    """Sizes and results are those of our own workloads."""
    shapes = {name: shape_of(WORKLOADS[name]) for name in ("W0", "W1", "W2", "W3")}
    assert shapes == {
        "W0": ["chain", "1", "1"],
        "W1": ["chain", "5", "1"],
        "W2": ["items", "100", "100"],
        "W3": ["join", "10", "10"],
    }


PROGRAM = """
import sys
from bench.peers.programs.protocol import Shape, serve
results = [1, 1, 2]
serve(Shape.from_arguments(sys.argv[1:]), lambda flows: results[:flows])
"""


def a_client() -> Hand:
    """Its third flow comes to a wrong result; a fourth it never gives."""
    return Hand("the client", [sys.executable, "-c", PROGRAM, "chain", "5", "1"], os.environ)


def test_a_client_gives_the_time_of_a_burst_and_of_flows_alone() -> None:
    with a_client() as client:
        burst = client.ask(do="burst", flows=2)
        alone = client.ask(do="alone", flows=3)
    assert list(burst) == ["seconds"]
    assert len(alone["times_ms"]) == 3
    assert min(burst["seconds"], *alone["times_ms"]) >= 0


@pytest.mark.parametrize(
    ("flows", "complaint"),
    [(3, "1 to a wrong one"), (4, "3 of 4 flows came to a result")],
    ids=["wrong", "too few"],
)
def test_a_client_gives_no_time_for_wrong_results(
    flows: int, complaint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It ends instead, and says why."""
    with a_client() as client, pytest.raises(WorkerFailed, match="the client has ended"):
        client.ask(do="burst", flows=flows)
    assert complaint in capfd.readouterr().err


@ON_LINUX
def test_what_is_held_ends_with_its_holder(tmp_path: Path) -> None:
    """However that ends: killed, it leaves nothing behind either."""
    told = tmp_path / "pid"
    program = f"import os, signal; open({str(told)!r}, 'w').write(f'{{os.getpid()}}.'); signal.pause()"
    command = [sys.executable, "-m", "bench.peers.held", "SIGTERM", sys.executable, "-c", program]
    holder = f"import subprocess; subprocess.Popen({command!r}, stdin=subprocess.PIPE).wait()"
    parent = subprocess.Popen([sys.executable, "-c", holder], cwd=ROOT)
    deadline_s = time.monotonic() + LIMIT_S
    while not (told.exists() and told.read_text().endswith(".")):
        assert time.monotonic() < deadline_s, "it did not start"
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    wait_for_end(int(told.read_text()[:-1]))


@ON_LINUX
def test_processor_time_is_that_of_all_processes_below() -> None:
    """A worker may have processes of its own, living or ended."""
    burn = "import time\nwhile time.process_time() < 0.3: pass\n"
    program = (
        f"import subprocess, sys; burn = {burn!r}\n"
        "subprocess.run([sys.executable, '-c', burn])\n"
        "living = subprocess.Popen([sys.executable, '-c', burn + 'print(1, flush=True); input()'],"
        " stdin=subprocess.PIPE)\n"
        "living.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = cpu_s(process.pid)
        process.kill()
    assert found is not None
    assert found >= 0.58  # to a hundredth of a second each


# ------------------------------------------------------------------------------ measuring one


def row_of(peer: Peer, workload: str, *, flows: int | None = None) -> Row:
    """Measures twice on servers of the bench's own."""
    found = Ready(missing={}, peers=[peer], cluster=None, tell=nobody)
    probes = found.probes(WORKLOADS[workload], Servers(None, Aof.EVERYSEC), flows)
    [row] = measure(probes, rounds=2, tell=nobody)
    return row


@pytest.mark.parametrize("workload", [pytest.param(name, marks=OWN_SERVER) for name in ("W1", "W2")])
def test_a_peer_comes_to_a_row(workload: str) -> None:
    """Of the same fields as ours, in its own size unless it is told another."""
    row = row_of(FAKE_PEER, workload)
    known = {name for name, values in row.each.items() if None not in values}
    assert (row.system, row.layout, row.flows, row.runs) == ("fake", WORKER_AND_CLIENT, 5, 2)
    assert (row.aof, row.rtt_ms, row.note) == ("everysec", 0, "client 1.2")
    assert known >= {"seconds", "flows_per_s", "steps_per_s", "bytes_per_flow", "server_cpu_ms_per_flow"}
    assert ("p50_ms" in known, "items_per_s" in known) == (workload == "W1", workload == "W2")
    assert row.each["flows_per_s"] == [pytest.approx(5 / (seconds or 0)) for seconds in row.each["seconds"]]
    assert 1_000 < (row.bytes_per_flow or 0) < 1_500


@pytest.mark.parametrize("flows", [pytest.param(3, marks=OWN_SERVER)])
def test_a_library_is_worker_and_client_in_one(flows: int) -> None:
    """Its processor time is the engine's, and there is no client's."""
    row = row_of(replace(FAKE_PEER, worker=[]), "W0", flows=flows)
    assert (row.layout, row.flows) == (ONE_PROCESS, 3)
    assert row.client_cpu_ms_per_flow is None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        pytest.param({"package": "wrong"}, "the fake client has ended", marks=OWN_SERVER, id="wrong result"),
        pytest.param(
            {"package": "deaf", "worker": ["ended"]},
            "the fake worker has ended",
            marks=OWN_SERVER,
            id="no worker",
        ),
    ],
)
def test_a_run_that_failed_counts_for_nothing(changes: Mapping[str, Any], complaint: str) -> None:
    """The row has no figure, and says why; other rows are not lost with it."""
    row = row_of(replace(FAKE_PEER, **changes), "W0")
    assert row.each == {}
    assert row.note.count(complaint) == 2


def test_workloads_of_ours_alone_have_no_peers() -> None:
    """W4 and those after it measure what others do not have."""
    found = Ready(missing={}, peers=[FAKE_PEER], cluster=None, tell=nobody)
    assert found.probes(WORKLOADS["W4"], Servers(None, Aof.EVERYSEC)) == []


@pytest.mark.skipif(postgres.missing() is not None, reason="no PostgreSQL")
@pytest.mark.timeout(180)
def test_a_postgresql_keeps_what_is_committed_and_leaves_nothing() -> None:
    """The durable settings are its own defaults; a database is gone after its run, the folder at the end."""
    with postgres.cluster() as cluster:
        settings = [cluster.ask(f"SHOW {name}") for name in ("fsync", "synchronous_commit")]
        with cluster.fresh() as database:
            empty_bytes = database.held_bytes()
            cluster.ask("CREATE TABLE t AS SELECT generate_series(1, 10000)", database.name)
            grown_bytes = database.held_bytes()
        left = cluster.ask("SELECT count(*) FROM pg_database WHERE datname LIKE 'bench%'")
    assert (settings, left) == (["on", "on"], "0")
    assert grown_bytes > empty_bytes
    assert not cluster.folder.exists()
