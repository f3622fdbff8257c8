"""The embedded server: the first that works, said which, and nothing of it left behind."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
import redis

from argyll_redis.runtime import embedded
from argyll_redis.runtime.embedded import Embedded, EmbeddedServer

BINARIES = [
    pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"no {name} on PATH"))
    for name in embedded.BINARIES
]
WAIT_S = 10

_HOLD = """
import sys
from argyll_redis.runtime.embedded import EmbeddedServer
with EmbeddedServer() as server:
    print(server.url, server.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the test's own for private directories, short enough for a socket."""
    del tmp_path  # pytest makes its own folders first, elsewhere
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def is_alive(pid: int | None) -> bool:
    """Whether a process runs; one that only waits to be buried does not."""
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


def await_fact(fact: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not fact() and time.monotonic() < deadline:
        time.sleep(0.005)
    return fact()


def client(server: Embedded) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def only(folder: Path, *programs: str) -> str:
    """A search path with nothing but these programs."""
    folder.mkdir(exist_ok=True)
    for program in programs:
        found = shutil.which(program)
        assert found is not None
        (folder / program).symlink_to(found)
    return str(folder)


def program(folder: Path, name: str, text: str) -> str:
    """A search path with a shell script of this name."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("binary", BINARIES)
def test_a_server_on_path_is_started_and_said_by_name(binary: str, tmp_path: Path) -> None:
    with EmbeddedServer(path=only(tmp_path / "bin", binary)) as server, client(server) as redis_client:
        assert server.kind == binary
        assert f"({binary} on PATH)" in server.sentence
        assert redis_client.info("server")["process_id"] == server.pid


@pytest.mark.parametrize("binary", BINARIES)
def test_it_has_an_append_only_file_no_snapshots_and_no_port(binary: str, tmp_path: Path) -> None:
    with EmbeddedServer(path=only(tmp_path / "bin", binary)) as server, client(server) as redis_client:
        asked = {name: redis_client.config_get(name)[name] for name in ("appendonly", "save", "port")}
    assert asked == {"appendonly": "yes", "save": "", "port": "0"}


@pytest.mark.real
def test_its_directory_is_private(temporary: Path) -> None:
    with EmbeddedServer():
        [directory] = temporary.iterdir()
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.real
def test_server_and_directory_are_gone_when_it_is_left(temporary: Path) -> None:
    with EmbeddedServer() as server:
        pass
    assert not is_alive(server.pid)
    assert list(temporary.iterdir()) == []


@pytest.mark.real
def test_an_error_inside_ends_it_as_well(temporary: Path) -> None:
    with pytest.raises(ZeroDivisionError), EmbeddedServer() as server:
        raise ZeroDivisionError
    assert not is_alive(server.pid)
    assert list(temporary.iterdir()) == []


@pytest.mark.real
@pytest.mark.anyio
async def test_it_serves_async_code_and_outlives_its_worker_threads() -> None:
    async with EmbeddedServer() as server:
        assert await anyio.to_thread.run_sync(lambda: client(server).ping()) is True
    assert not is_alive(server.pid)


@pytest.mark.real
@pytest.mark.anyio
async def test_a_start_that_is_cancelled_leaves_nothing(temporary: Path) -> None:
    with anyio.move_on_after(0.001) as scope:
        async with EmbeddedServer():
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert await_fact(lambda: list(temporary.iterdir()) == [])


@pytest.mark.real
def test_it_dies_with_a_parent_that_is_killed(temporary: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline().split()[1])
        assert is_alive(pid)
        parent.send_signal(signal.SIGKILL)
    assert await_fact(lambda: not is_alive(pid))
    assert await_fact(lambda: list(temporary.iterdir()) == [])


@pytest.mark.real
def test_a_server_that_somebody_kills_leaves_nothing_either(temporary: Path) -> None:
    with EmbeddedServer() as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert await_fact(lambda: not is_alive(server.pid))
    assert list(temporary.iterdir()) == []


@pytest.mark.real
def test_two_at_a_time_are_two_servers() -> None:
    with EmbeddedServer() as one, EmbeddedServer() as other, client(one) as first, client(other) as second:
        first.set("a", "1")
        assert second.get("a") is None


@pytest.mark.real
def test_a_temporary_folder_with_a_long_name_does_not_matter(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = temporary / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with EmbeddedServer() as server, client(server) as redis_client:
        assert redis_client.ping() is True
    assert list(long.iterdir()) == []


def test_without_a_server_on_path_it_is_in_memory(tmp_path: Path) -> None:
    with EmbeddedServer(path=str(tmp_path)) as server:
        assert server == Embedded(
            "memory://",
            "memory",
            "in memory, this process only, nothing is kept (no redis-server or valkey-server on PATH)",
            None,
        )


def test_a_server_that_does_not_start_is_passed_over_and_its_last_words_are_told(
    tmp_path: Path, temporary: Path
) -> None:
    path = program(tmp_path / "bin", "redis-server", "echo first; echo Bad directive; exit 1")
    with EmbeddedServer(path=path) as server:
        assert server.sentence == (
            "in memory, this process only, nothing is kept (redis-server on PATH is of no use: "
            'it ended as it started with "Bad directive")'
        )
        assert server.kind == "memory"
    assert list(temporary.iterdir()) == []


def test_a_server_that_never_answers_is_given_up(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "START_LIMIT_MS", 100)
    path = program(tmp_path / "bin", "valkey-server", "exec sleep 60")
    with EmbeddedServer(path=path) as server:
        assert "valkey-server on PATH is of no use: it did not answer within 100 ms" in server.sentence
    assert list(temporary.iterdir()) == []


@pytest.mark.real
def test_an_unfit_server_is_passed_over(tmp_path: Path) -> None:
    real = shutil.which("redis-server") or shutil.which("valkey-server")
    path = program(tmp_path / "bin", "redis-server", f'exec {real} "$@" --maxmemory-policy allkeys-lru')
    with EmbeddedServer(path=path) as server:
        assert server.kind == "memory"
        assert "the eviction policy allkeys-lru drops keys" in server.sentence
