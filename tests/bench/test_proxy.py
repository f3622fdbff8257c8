"""Distance: everything arrives, in order and no earlier than it may, however much is on its way."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.proxy import distance

RTT_MS = 60
PIECES = 50


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[str]:
    """The URL of a server that gives back what it gets."""
    path = str(tmp_path / "echo.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()

        def answer() -> None:
            near, _ = listener.accept()
            with near:
                while received := near.recv(65_536):
                    near.sendall(received)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"unix://{path}"
        thread.join()


def connected(url: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(30)
    client.connect(url.removeprefix("unix://"))
    return client


def received(client: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += client.recv(size - len(found))
    return found


def test_a_round_trip_takes_no_less_than_asked(echo: str) -> None:
    """Half of it each way."""
    with distance(echo, RTT_MS) as url, connected(url) as client:
        began_s = time.monotonic()
        client.sendall(b"ping")
        assert received(client, 4) == b"ping"
        assert (time.monotonic() - began_s) * 1000 >= RTT_MS


def test_what_is_on_its_way_together_is_delayed_once(echo: str) -> None:
    """Pieces sent one after the other do not wait for each other: together they are far faster than that."""
    sent = [f"{number:05}".encode() for number in range(PIECES)]
    with distance(echo, RTT_MS) as url, connected(url) as client:
        began_s = time.monotonic()
        for piece in sent:
            client.sendall(piece)
        assert received(client, 5 * PIECES) == b"".join(sent)
        assert (time.monotonic() - began_s) * 1000 < PIECES * RTT_MS


def test_a_side_that_ends_ends_the_other_one(echo: str) -> None:
    """After what it sent has arrived."""
    with distance(echo, RTT_MS) as url, connected(url) as client:
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        assert received(client, 10) == b"last words"
        assert client.recv(1) == b""


def test_much_arrives_whole(echo: str) -> None:
    """More than any buffer on the way, while nobody reads at first."""
    much = bytes(range(256)) * 8_192
    with distance(echo, 1) as url, connected(url) as client:
        sending = threading.Thread(target=client.sendall, args=(much,))
        sending.start()
        assert received(client, len(much)) == much
        sending.join()
