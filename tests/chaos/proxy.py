"""What lies between a process and Redis: a TCP proxy that fails as networks do.

One proxy stands before each process, so that one may be cut off while the others are not. It runs in
the event loop of the run.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum

from tests.chaos.processes import free_port

CHUNK_BYTES = 64 * 1024
BYTES_ALONE = 400
"""Of what arrives together so many bytes go on one by one."""


class Mood(StrEnum):
    """What becomes of what passes through."""

    WELL = "passes"
    DELAY = "delay"
    ONE_BYTE = "one-byte chunks"
    HALF_OPEN = "half-open"
    """Nothing arrives any more, either way, and nobody is told."""
    SWALLOW = "swallowed replies"
    """Requests arrive; their replies do not, and the connection ends."""
    REFUSE = "refused"
    """Connections end, and there are no new ones."""


class _Pair:
    """A connection of a client, and its own to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.is_dead = False
        """Whether it was half-open once: what was in it is gone."""

    def cut(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


class Proxy:
    """Passes bytes on to a server, as its mood is."""

    def __init__(self, target: Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]):
        """`target` connects to the server; it may be another one each time."""
        self.port = free_port()
        self.mood = Mood.WELL
        self.delay_s = 0.0
        self._target = target
        self._pairs: set[_Pair] = set()
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def open(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Ends all connections at once, in the middle of whatever they carry."""
        for pair in list(self._pairs):
            pair.cut()

    async def be(self, mood: Mood, seconds: float, *, delay_s: float = 0.0) -> None:
        """Is in a mood for so long."""
        self.mood, self.delay_s = mood, delay_s
        if mood is Mood.REFUSE:
            self.cut()
        try:
            await asyncio.sleep(seconds)
        finally:
            self.mood, self.delay_s = Mood.WELL, 0.0
            for pair in [pair for pair in self._pairs if pair.is_dead]:
                if mood is not Mood.HALF_OPEN:
                    pair.cut()

    # ------------------------------------------------------------------ connections

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mood is Mood.REFUSE:
            writer.transport.abort()
            return
        try:
            from_server, to_server = await self._target()
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, to_server)
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(pair, reader, to_server, is_reply=False))
                group.create_task(self._pass(pair, from_server, writer, is_reply=True))
        except* OSError:
            pass
        finally:
            pair.cut()
            self._pairs.discard(pair)

    async def _pass(
        self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        """Passes bytes on, one way, until either side ends."""
        while data := await reader.read(CHUNK_BYTES):
            if self.mood is Mood.HALF_OPEN:
                pair.is_dead = True
            if pair.is_dead:
                continue
            if self.mood is Mood.SWALLOW and is_reply:
                break
            if self.mood is Mood.DELAY:
                await asyncio.sleep(random.uniform(0, self.delay_s))
            if self.mood is Mood.ONE_BYTE:
                data = await self._one_by_one(data, writer)
            writer.write(data)
            await writer.drain()
        with suppress(OSError):
            pair.cut()

    async def _one_by_one(self, data: bytes, writer: asyncio.StreamWriter) -> bytes:
        """Sends the first bytes one by one; gives the rest."""
        for place in range(min(BYTES_ALONE, len(data))):
            writer.write(data[place : place + 1])
            await asyncio.sleep(0)
        return data[BYTES_ALONE:]
