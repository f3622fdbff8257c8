"""Distance: passes bytes between an app and the server, each half a round trip later.

    python -m bench.proxy PATH URL RTT_MS

A process of its own. It delays and never serialises: everything is stamped when it arrives and sent on
when it is due, however much is on its way, as on a wire. It prints the URL that apps are given, of a Unix
socket at PATH, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.dumb_socket import CHUNK_BYTES, open_socket, url_at
from bench.hand import beside

MAX_CHUNKS = 10_000
"""On their way in one direction: far more than a wire holds, so that nobody waits for room."""


async def serve(path: str, target_url: str, rtt_ms: float) -> None:
    """Listens at a Unix socket, and joins each connection to one of its own to the server."""
    loop = asyncio.get_running_loop()
    joined: set[asyncio.Task[None]] = set()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.setblocking(False)
        listener.bind(path)
        listener.listen(128)
        print(url_at(path, target_url), flush=True)
        while True:
            client, _ = await loop.sock_accept(listener)
            task = loop.create_task(_join(client, target_url, rtt_ms / 2 / 1000))
            joined.add(task)
            task.add_done_callback(joined.discard)


async def _join(client: socket.socket, target_url: str, delay_s: float) -> None:
    with client, open_socket(target_url) as server:
        client.setblocking(False)
        server.setblocking(False)
        await asyncio.gather(_pass(client, server, delay_s), _pass(server, client, delay_s))


async def _pass(source: socket.socket, target: socket.socket, delay_s: float) -> None:
    """Passes everything on, one way; the end of it, too, when it is due."""
    loop = asyncio.get_running_loop()
    on_its_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MAX_CHUNKS)
    sending = loop.create_task(_send(on_its_way, target))
    received = b"-"
    while received:
        try:
            received = await loop.sock_recv(source, CHUNK_BYTES)
        except OSError:
            received = b""
        await on_its_way.put((loop.time() + delay_s, received))
    await sending


async def _send(on_its_way: asyncio.Queue[tuple[float, bytes]], target: socket.socket) -> None:
    """Sends on what is due; when the other side is gone the rest is dropped."""
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while True:
            due_s, data = await on_its_way.get()
            if (left_s := due_s - loop.time()) > 0:
                await asyncio.sleep(left_s)
            if not data:
                target.shutdown(socket.SHUT_WR)
                return
            await loop.sock_sendall(target, data)
    while (await on_its_way.get())[1]:
        pass


@contextmanager
def distance(url: str, rtt_ms: float) -> Iterator[str]:
    """Puts the server of a URL so far away; gives the URL to use."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp", ignore_cleanup_errors=True) as directory,
        beside("bench.proxy", str(Path(directory) / "far.sock"), url, str(rtt_ms)) as far,
    ):
        yield far


async def _until_over(path: str, target_url: str, rtt_ms: float) -> None:
    serving = asyncio.create_task(serve(path, target_url, rtt_ms))
    await asyncio.to_thread(sys.stdin.read)
    serving.cancel()


def main() -> None:
    path, target_url, rtt_ms = sys.argv[1:]
    # epoll counts in whole ms, which would make a round trip of 2 ms one of 3; select in microseconds.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(_until_over(path, target_url, float(rtt_ms)))


if __name__ == "__main__":
    main()
