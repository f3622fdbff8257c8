"""Listens between an app and the server, and keeps the script calls that pass.

The app is given the recorder's address instead of the server's; everything passes unchanged, both
ways. A run through it is never timed. Calls are kept in the order in which they passed; at most one
turn of a flow is on its way at a time, so that order is one in which they can be applied.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import hiredis

from argyll_redis.store.scripts import script
from bench.dumb_socket import CHUNK_BYTES, DumbSocket, open_socket, pack, url_at

Call = Sequence[bytes]
"""A command as it passed: its words."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The bytes of a run."""

    namespace: str
    setup: list[bytes]
    """Script calls before the first commit: they make the namespace, its queues and its catalog."""
    commits: list[bytes]
    """The commit calls, one of them each."""
    turns: int
    """In all commit calls."""

    @property
    def turns_per_call(self) -> float:
        return self.turns / len(self.commits)


class Recorder:
    """Records one run: `with Recorder(url) as recorder`, and the app connects to `recorder.url`.

    The server is given commit.lua first, so that no commit call is refused for want of it.
    """

    def __init__(self, url: str) -> None:
        self._server_url = url
        self._directory = tempfile.mkdtemp(prefix="bench-", dir="/tmp")
        self.calls: list[Call] = []
        """Script calls, in the order in which they passed."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = str(Path(self._directory) / "recorder.sock")
        self._listener.bind(path)
        self._listener.listen()
        self.url = url_at(path, url)

    def __enter__(self) -> Self:
        load_commit_script(self._server_url)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def recording(self, namespace: str) -> Recording:
        """What passed to this namespace, once the app is gone."""
        sha = script("commit").sha.encode()
        begin = next(place for place, call in enumerate(self.calls) if call[1] == sha)
        commits = [call for call in self.calls[begin:] if call[1] == sha]
        return Recording(
            namespace=namespace,
            setup=[pack(tuple(call)) for call in self.calls[:begin]],
            commits=[pack(tuple(call)) for call in commits],
            turns=sum(_turns_of(call) for call in commits),
        )

    # --------------------------------------------------------------------- threads

    def _accept(self) -> None:
        """Joins each connection that comes to one of its own to the server."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = open_socket(self._server_url)
            threading.Thread(target=self._listen, args=(client, server), daemon=True).start()
            threading.Thread(target=_pass, args=(server, client), daemon=True).start()

    def _listen(self, client: socket.socket, server: socket.socket) -> None:
        """Passes what the app sends, and keeps the script calls."""
        reader = hiredis.Reader()
        with suppress(OSError):
            while received := client.recv(CHUNK_BYTES):
                reader.feed(received)
                while (call := reader.gets()) is not False:
                    if call[0] in (b"EVAL", b"EVALSHA"):
                        self.calls.append(call)
                server.sendall(received)
        client.close()
        _end(server)


def _pass(source: socket.socket, target: socket.socket) -> None:
    """Passes everything on until one side is gone."""
    with suppress(OSError):
        while received := source.recv(CHUNK_BYTES):
            target.sendall(received)
    source.close()
    _end(target)


def _end(side: socket.socket) -> None:
    with suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)


def load_commit_script(url: str) -> None:
    with DumbSocket(url) as link:
        link.ask("SCRIPT", "LOAD", script("commit").text)


def _turns_of(call: Call) -> int:
    """The second argument of commit.lua, after the keys."""
    return int(call[3 + int(call[2]) + 1])
