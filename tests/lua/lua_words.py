"""How the scripts' tests call them: alone, with plain arguments, on a namespace made by `create`."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from servers import TestServer

from argyll_redis.store.keys import GROUP, LAYOUT, fixed_types
from argyll_redis.store.scripts import script

INSTANCE = "i1"
EVENT = ("step_started", 0, "start", "{}")

# one event, no operation: flow, version held, its tx, tx
Turn = tuple[Any, ...]


class Lua:
    """The scripts on one server."""

    def __init__(self, server: TestServer) -> None:
        self.server = server
        self.keys = server.keys
        self.client = server.client
        self.call = _raw(server.client)
        self.ids = [self.keys.id(0), self.keys.id(1)]

    def run(self, name: str, keys: list[str], *arguments: object) -> Any:
        """Runs a script and gives its reply as it came; an error reply is raised."""
        return self.call("EVAL", script(name).text, len(keys), *keys, *arguments)

    def create(self, instance: str = INSTANCE, *, layout: int = LAYOUT) -> Any:
        """Creates the namespace with two partitions."""
        own, fixed = fixed_types(partitioned=False), fixed_types(partitioned=True)
        types = [text for pair in own + fixed for text in pair]
        arguments = [instance, layout, 2, "", len(own), len(fixed), *types]
        return self.run("create", [self.keys.meta, *self.ids], *arguments)

    def queues(self, *names: str) -> Any:
        return self.run("queues", [self.keys.queues, *self.ids], INSTANCE, *names)

    def commit(self, *turns: Turn, fetch: tuple[Any, ...] = ("", 0, 0, 0)) -> Any:
        """Commits turns; `fetch` is consumer, slots, control, number of streams, then the streams."""
        flat = [argument for turn in turns for argument in turn]
        return self.run("commit", self.ids, INSTANCE, len(turns), *fetch, *flat)

    def of(self, name: str, partition: int = 0) -> str:
        return self.keys.of(partition, name)

    def dispatch(self, *payloads: str, stream: str = "work:a") -> list[bytes]:
        """Adds entries to a stream of the first partition."""
        return [self.call("XADD", self.of(stream), "*", "r", payload) for payload in payloads]

    def deliver(self, consumer: str, *, stream: str = "work:a") -> None:
        """Delivers all that waits to a consumer."""
        self.call("XREADGROUP", "GROUP", GROUP, consumer, "STREAMS", self.of(stream), ">")

    def owners(self, stream: str = "work:a") -> dict[bytes, bytes]:
        """Gives the pending entries of a stream and whose they are."""
        rows = self.call("XPENDING", self.of(stream), GROUP, "-", "+", 1000)
        return {row[0]: row[1] for row in rows}

    def payloads(self, stream: str = "work:a") -> list[bytes]:
        """Gives what is in a stream, delivered or not."""
        return [fields[1] for _, fields in self.call("XRANGE", self.of(stream), "-", "+")]

    def picture(self) -> dict[str, Any]:
        """Gives everything in the namespace."""
        reads = {
            "stream": lambda key: self.call("XRANGE", key, "-", "+"),
            "hash": lambda key: sorted(self.client.hgetall(key).items()),
            "zset": lambda key: self.call("ZRANGE", key, 0, -1, "WITHSCORES"),
            "set": lambda key: sorted(self.client.smembers(key)),
            "string": lambda key: self.client.get(key),
        }
        return {key: reads[self.client.type(key).decode()](key) for key in self.server.all_keys()}

    def refuses(self, code: str, name: str, keys: list[str], *arguments: object) -> None:
        """Expects a script to answer with an error of this code, and to change nothing."""
        before = self.picture()
        with pytest.raises(redis.ResponseError, match=f"^{code} "):
            self.run(name, keys, *arguments)
        assert self.picture() == before


def _raw(client: redis.Redis) -> Any:
    """Gives a way to call the server whose replies are what travels."""
    plain = redis.Redis(connection_pool=client.connection_pool)
    plain.response_callbacks.clear()
    return plain.execute_command


def turn(
    flow: str,
    version: int = 0,
    last_tx: str = "",
    tx: str = "t1",
    *,
    events: int = 1,
    ops: tuple[Any, ...] = (),
) -> Turn:
    """The arguments of a turn in the first partition; `ops` are tuples of letter and arguments."""
    flat = [argument for op in ops for argument in op]
    return (1, flow, version, last_tx, tx, events, len(ops), *(EVENT * events), *flat)
