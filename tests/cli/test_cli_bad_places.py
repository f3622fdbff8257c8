"""Every command against servers and streams that do not do: one line, the right status, no trace."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_words import Cli, ended, process, refused
from servers import TestServer

from argyll_redis.cli import refusals
from argyll_redis.store import redis as redis_store

NOWHERE = "redis://127.0.0.1:1/0"

# --------------------------------------------------------------------- servers


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://localhost",
        "redis:localhost",
        "redis://[::1",
        "redis://localhost:port",
        "redis://localhost/db",
        "redis://localhost/0#db",
        "redis://localhost?socket_timeout=1",
        "unix://",
        "unix://redis.sock",
        "unix:///redis.sock?db=x",
        "\x1b[2J\n",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_the_forms_that_can(url: str) -> None:
    assert "redis://" in refused(Cli(url, "x")("flow", "list", "--redis", url), 2)


@pytest.mark.parametrize("name", ["", "A", "a b", "é", "\x1b[2J", "{a}", "a:b", "x" * 65, "\udcff"])
@pytest.mark.parametrize("command", [("flow", "list"), ("doctor",), ("engine",), ("dev",)])
def test_a_namespace_that_is_none_is_refused(command: tuple[str, ...], name: str) -> None:
    said = refused(Cli(NOWHERE)(*command, "--namespace", name), 2)
    assert said.endswith("is no namespace; use 1 to 64 of a-z 0-9 _ -")


SPEAKERS = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "zeros": b"\0" * 100,
    "escapes": b"\x1b[2J\r\n",
    "OK": b"+OK\r\n" * 100,
    "nil": b"$-1\r\n" * 100,
    "lists": b"*0\r\n" * 100,
}
"""What a server that is not Redis says to whoever connects."""


@contextmanager
def speaker(says: bytes | None) -> Iterator[str]:
    """A server that says one thing and then listens; with None it hangs up. Gives its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            taken.append(peer)
            if says is None:
                peer.close()
            else:
                peer.sendall(says)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)
        for peer in taken:
            peer.close()


@pytest.mark.parametrize("what", SPEAKERS)
@pytest.mark.parametrize(
    "command", [("flow", "list"), ("flow", "watch", "f"), ("step", "list"), ("engine",), ("dev",)]
)
def test_a_server_that_is_not_redis_is_called_so(command: tuple[str, ...], what: str) -> None:
    with speaker(SPEAKERS[what]) as url:
        said = refused(Cli(url, "x")(*command), 3)
    assert "not Redis" in said


def test_a_server_that_hangs_up_is_unreachable() -> None:
    with speaker(None) as url:
        assert refused(Cli(url, "x")("flow", "list"), 3).startswith("cannot reach redis at 127.0.0.1:")


def test_a_server_that_says_nothing_is_unreachable_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "OPEN_LIMIT_MS", 100)
    with speaker(b"") as url:
        assert refused(Cli(url, "x")("flow", "list"), 3).endswith(
            "(no reply in time): --redis or ARGYLL_REDIS_URL says where it is"
        )


def test_a_layout_of_another_version_is_said_with_its_mend(real_cli: Cli, real_server: TestServer) -> None:
    real_cli.register()
    real_server.client.hset(real_server.keys.meta, "layout", 0)
    for command in (("flow", "list"), ("step", "list"), ("engine",), ("queue",)):
        said = refused(real_cli(*command), 3)
        assert said.endswith(
            "has layout 0, and this version knows 1 (use the version of argyll that made it, or a newer one)"
        )


def test_a_wrong_password_is_said_with_its_mend(real_cli: Cli) -> None:
    scheme, _, rest = real_cli.url.partition("://")
    said = refused(real_cli("flow", "list", "--redis", f"{scheme}://:s3cret@{rest}"), 3)
    assert said == "Redis wants another user or password (put them into the URL)"


def test_a_database_that_the_server_has_not_is_refused(real_cli: Cli) -> None:
    said = refused(real_cli("flow", "list", "--redis", f"{real_cli.url}?db=99"), 3)
    assert said == "Redis does not have this database (correct the number in the URL)"


# ------------------------------------------------------------------- processes


def in_shell(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command line in a shell, where `argyll` is ours."""
    line = command.replace("argyll", f"{sys.executable} -m argyll_redis.cli")
    return subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=30, env={**environment(), **variables}
    )


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ARGYLL_")}


@pytest.mark.parametrize("taker", [("step", "register", "-"), ("flow", "import", "-")])
def test_a_standard_input_that_is_closed_is_refused(taker: tuple[str, ...]) -> None:
    done = in_shell(f"argyll {' '.join(taker)} --redis memory:// <&-")
    said = "error: standard input: cannot be read: it is closed (name a file of JSON)\n"
    assert (done.returncode, done.stderr) == (2, said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_the_status_is_right_where_the_error_cannot_be_said() -> None:
    assert in_shell("argyll nope 2>/dev/full").returncode == 2
    assert in_shell("argyll flow 2>/dev/full").returncode == 2


@pytest.mark.parametrize("command", ["engine", "dev"])
def test_a_module_may_run_a_loop_while_it_is_imported(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused then is what comes after it."""
    module = f"looping_for_{command}"
    body = "import asyncio; from argyll_redis import Argyll; app = Argyll(); asyncio.run(asyncio.sleep(0))"
    (tmp_path / f"{module}.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    said = refused(Cli(NOWHERE)(command, "--app", f"{module}:app", "--namespace", "A"), 2)
    assert said == "'A' is no namespace; use 1 to 64 of a-z 0-9 _ -"


def test_the_status_is_right_where_standard_error_is_closed() -> None:
    """A look-up of a name leaves a thread behind, and the end does not wait for it."""
    assert in_shell("argyll flow list --redis redis://localhost:1 2>&-").returncode == 3


def test_in_a_locale_without_unicode_an_error_is_still_one_line() -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = ended(process("flow", "show", "é", "--redis", "memory://", **plain))
    assert (done.status, done.out, done.err.count("\n"), done.err.isascii()) == (4, "", 1, True)


def test_a_ctrl_c_while_the_command_line_is_read_is_one_line() -> None:
    code = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *given):\n"
        "        if name == 'click': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from argyll_redis.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (refusals.INTERRUPTED, "", "error: interrupted\n")
