"""A server that says what a test wants to hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import hiredis


@asynccontextmanager
async def pretending(answer: Callable[[list[bytes]], bytes | None]) -> AsyncIterator[str]:
    """A server that answers each command as it is told, or not at all (None). Gives host and port."""
    serving: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving[writer] = asyncio.current_task()
        commands = hiredis.Reader()
        while data := await reader.read(65536):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                writer.write(answer(command) or b"")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer, task in serving.items():
            writer.close()
            if task is not None:
                await asyncio.wait([task])


def info(**fields: str) -> bytes:
    """The reply to INFO of a fit server, but for these fields."""
    known = {"redis_version": "7.2.4", "maxmemory_policy": "noeviction", "role": "master", "aof_enabled": "1"}
    text = "\r\n".join(f"{name}:{value}" for name, value in {**known, **fields}.items()).encode()
    return b"$%d\r\n%s\r\n" % (len(text), text)
