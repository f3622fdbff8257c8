"""Nodes of a cluster that tests play: each answers commands as it is told, and remembers what was said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import hiredis

from argyll_redis.store.cluster_link import ClusterConnector
from argyll_redis.store.cluster_slots import SLOTS, slot_of_key

Answer = Callable[[int, list[bytes]], bytes | None]
"""From a node's number and a command to what it says; None for what it says by itself."""
Said = tuple[int, str]
"""A node's number and a command's name."""


class Nodes:
    """Nodes on ports of the loopback. By themselves they tell where the slots are, and say OK."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._servers: list[asyncio.Server] = []
        self._serving: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}
        self.ports: list[int] = []
        self.owners: list[tuple[int, int, int]] = []
        """First slot, last slot and the number of the node."""
        self.said: list[Said] = []

    async def begin(self, count: int) -> None:
        for number in range(count):
            server = await asyncio.start_server(self._serve(number), "127.0.0.1", 0)
            self._servers.append(server)
            self.ports.append(server.sockets[0].getsockname()[1])
        share = SLOTS // count
        self.owners = [
            (share * i, share * (i + 1) - 1 if i < count - 1 else SLOTS - 1, i) for i in range(count)
        ]

    async def end(self, number: int) -> None:
        """One of them goes down, and all its connections with it."""
        self._servers[number].close()
        for writer, task in list(self._serving.items()):
            if task is not None and task.get_name() == f"node {number}":
                writer.close()
                await asyncio.wait([task])

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for writer in list(self._serving):
            writer.close()
        tasks = [task for task in self._serving.values() if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def url(self, *numbers: int) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{self.ports[number]}" for number in numbers)

    def connector(self, *numbers: int) -> ClusterConnector:
        return ClusterConnector(self.url(*numbers))

    def to(self, code: str, number: int, key: str) -> bytes:
        """What a node says that sends a command on to another one."""
        return f"-{code} {slot_of_key(key)} 127.0.0.1:{self.ports[number]}\r\n".encode()

    def heard(self, name: str) -> list[int]:
        """The nodes that heard a command, in order."""
        return [number for number, said in self.said if said == name]

    def _serve(self, number: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.set_name(f"node {number}")
            self._serving[writer] = task
            commands = hiredis.Reader()
            try:
                while data := await reader.read(65_536):
                    commands.feed(data)
                    while (command := commands.gets()) is not False:
                        writer.write(self._says(number, command))
            finally:
                del self._serving[writer]
                writer.close()

        return serve

    def _says(self, number: int, command: list[bytes]) -> bytes:
        name = command[0].decode()
        if name == "CLIENT":
            return b"+OK\r\n"
        self.said.append((number, name))
        answer = self._answer(number, command)
        if answer is not None:
            return answer
        return self._slots() if name == "CLUSTER" else b"+OK\r\n"

    def _slots(self) -> bytes:
        rows = [
            f"*3\r\n:{first}\r\n:{last}\r\n*2\r\n$9\r\n127.0.0.1\r\n:{self.ports[number]}\r\n"
            for first, last, number in self.owners
        ]
        return f"*{len(rows)}\r\n{''.join(rows)}".encode()


@asynccontextmanager
async def played(answer: Answer, count: int = 2) -> AsyncIterator[Nodes]:
    """So many nodes that answer as they are told."""
    nodes = Nodes(answer)
    await nodes.begin(count)
    try:
        yield nodes
    finally:
        await nodes.close()
