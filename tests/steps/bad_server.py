"""A server that answers as a test says, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = Callable[["Asked", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    """By name in lower case."""
    body: bytes


@dataclass
class BadServer:
    """Where it is, and what came."""

    port: int
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def bad_server(answer: Answer | bytes) -> AsyncIterator[BadServer]:
    """Serves until it is left. Bytes are sent, and the connection stays open."""
    serving: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving[writer] = asyncio.current_task()
        found.connections += 1
        try:
            while (asked := await _read(reader)) is not None:
                found.asked.append(asked)
                if isinstance(answer, bytes):
                    writer.write(answer)
                else:
                    await answer(asked, writer)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found = BadServer(server.sockets[0].getsockname()[1])
    try:
        yield found
    finally:
        server.close()
        for task in serving.values():
            if task is not None:
                task.cancel()
                await asyncio.wait([task])


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    if headers.get("transfer-encoding") == "chunked":
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, path, _ = first.split(" ")
    return Asked(method, path, headers, body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


def reply(status: int = 200, body: bytes = b"", *, type: str = "application/json", **headers: str) -> bytes:
    """A whole answer; `_` in names of headers stands for `-`."""
    named = {"Content-Type": type, "Content-Length": str(len(body))}
    named.update({name.replace("_", "-"): value for name, value in headers.items()})
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} Words\r\n{lines}\r\n".encode("latin-1") + body
