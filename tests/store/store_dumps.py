"""The whole of a namespace on Redis in the form of `MemoryServer.dump`, so that both can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import redis
from servers import TestServer

from argyll_redis.store.keys import GROUP
from argyll_redis.store.protocol import CONTROL, Store
from argyll_redis.store.wire import unpack_event, unpack_feed, unpack_head

INDEXES = ("open", "children", "done:", "label:")
PENDING_LIMIT = 10_000


async def dump_redis(server: TestServer, store: Store) -> dict[str, object]:
    """Reads every key of a namespace; times and the ids of entries are left out."""
    client = redis.Redis(connection_pool=server.client.connection_pool)
    client.response_callbacks.clear()  # replies as they are, as the store's own reading expects them
    catalog = client.execute_command("XRANGE", server.keys.catalog, "-", "+")
    return {
        "catalog": _events(catalog),
        "queues": list(await store.queues()),
        "engines": list(await store.engines()),
        "partitions": [_Partition(client, server, number).picture() for number in range(store.partitions)],
    }


class _Partition:
    """Reads the keys of one partition."""

    def __init__(self, client: redis.Redis, server: TestServer, number: int) -> None:
        self.number = number
        self.client = client
        self.prefix = server.keys.of(number, "")
        keys = [key for key in server.all_keys() if key.startswith(self.prefix)]
        self.names = [key.removeprefix(self.prefix) for key in keys]

    def picture(self) -> dict[str, object]:
        feed = [unpack_feed(self.number, raw) for raw in self.call("XRANGE", "feed", "-", "+")]
        streams = [CONTROL, *(f"work:{queue}" for queue in self.after("work:"))]
        return {
            "flows": {flow: self.flow(flow) for flow in self.after("flow:")},
            "plans": {plan: self.plan(plan) for plan in self.after("plan:")},
            "streams": {name: found for name in streams if (found := self.stream(name))},
            "due": self.members("due"),
            "indexes": {name: self.members(name) for name in self.names if name.startswith(INDEXES)},
            "expire": self.members("expire"),
            "tree": self.members("tree"),
            "feed": [(entry.flow, entry.first, entry.last, entry.status) for entry in feed],
            "dead": [(kept["stream"], kept["r"], kept["reason"]) for _, kept in self.entries("dead")],
        }

    def call(self, command: str, name: str, *arguments: object) -> Any:
        return self.client.execute_command(command, self.prefix + name, *arguments)

    def after(self, prefix: str) -> list[str]:
        return [name.removeprefix(prefix) for name in self.names if name.startswith(prefix)]

    def members(self, name: str) -> list[str]:
        return sorted(member.decode() for member in self.call("ZRANGE", name, 0, -1))

    def entries(self, name: str) -> list[tuple[bytes, Mapping[str, str]]]:
        return [(entry, _fields(flat)) for entry, flat in self.call("XRANGE", name, "-", "+")]

    def stream(self, name: str) -> list[tuple[str, str]]:
        owners = self.owners(name)
        return [(kept["r"], owners.get(entry, "")) for entry, kept in self.entries(name)]

    def owners(self, name: str) -> dict[bytes, str]:
        try:
            pending = self.call("XPENDING", name, GROUP, "-", "+", PENDING_LIMIT)
        except redis.ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            return {}
        return {row[0]: row[1].decode() for row in pending}

    def flow(self, flow: str) -> dict[str, object]:
        head = unpack_head(self.call("HGETALL", f"head:{flow}"))
        events = _events(self.call("XRANGE", f"flow:{flow}", "-", "+"))
        assert head is not None
        assert head.version == len(events)
        return {"events": events, "tx": head.tx, "sealed": head.sealed, "fields": dict(head.fields)}

    def plan(self, plan: str) -> tuple[bytes, int]:
        data, users = self.call("HMGET", f"plan:{plan}", "b", "n")
        return data, int(users)


def _events(raws: Sequence[Any]) -> list[tuple[object, ...]]:
    return [tuple(unpack_event(raw)._replace(at=0)) for raw in raws]


def _fields(flat: Sequence[bytes]) -> dict[str, str]:
    text = [item.decode() for item in flat]
    return dict(zip(text[::2], text[1::2], strict=True))
