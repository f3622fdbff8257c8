"""What somebody may do to a namespace by hand, on a server and in memory, and a picture of all of it."""

from __future__ import annotations

from typing import Any

import redis
from servers import StoreFactory, TestServer

from argyll_redis.store.keys import GROUP
from argyll_redis.store.memory_partition import Partition
from argyll_redis.store.memory_types import SortedSet
from argyll_redis.store.protocol import partition_of

PARTITIONS = 2


class Hand:
    """Somebody's hand in the data of a namespace."""

    def __init__(self, factory: StoreFactory) -> None:
        self.factory = factory

    @property
    def is_memory(self) -> bool:
        return self.factory.memory is not None

    @property
    def server(self) -> TestServer:
        assert self.factory.server is not None
        return self.factory.server

    @property
    def client(self) -> redis.Redis:
        return self.server.client

    @property
    def namespace(self) -> str:
        return "argyll" if self.is_memory else self.server.namespace

    def homes(self) -> tuple[Partition, ...]:
        assert self.factory.memory is not None
        return self.factory.memory.namespace.partitions

    def key(self, flow_id: str, name: str) -> str:
        """A key of a flow's partition."""
        return f"{{{self.namespace}:{partition_of(flow_id, PARTITIONS)}}}:{name}"

    def home(self, flow_id: str) -> Partition:
        return self.homes()[partition_of(flow_id, PARTITIONS)]

    def picture(self) -> dict[str, Any]:
        """Everything there is, with scores, but without engines and feeds."""
        if self.factory.memory is not None:
            found: dict[str, Any] = dict(self.factory.memory.dump())
            for home, of in zip(self.homes(), found["partitions"], strict=True):
                of["scores"] = {
                    name: index.rows(0, len(index))
                    for name, index in {**home.indexes, "due": home.due, "expire": home.expire}.items()
                }
                of.pop("feed")
            return found
        keys = [key for key in self.server.all_keys() if ":engine" not in key and not key.endswith(":feed")]
        return {key: self._value(key) for key in keys}

    def _value(self, key: str) -> Any:
        match self.client.type(key).decode():
            case "stream":
                if self.factory.kind == "fakeredis":
                    return self.client.xrange(key)  # a blocked read of it goes on when it is cancelled
                try:
                    pending = self.client.xpending_range(key, GROUP, "-", "+", 1_000)
                except redis.ResponseError:
                    pending = None
                held = pending and [(row["message_id"], row["consumer"]) for row in pending]
                return self.client.xrange(key), held
            case "hash":
                return self.client.hgetall(key)
            case "zset":
                return self.client.zrange(key, 0, -1, withscores=True)
            case "set":
                return self.client.smembers(key)
            case _:
                return self.client.get(key)

    # ------------------------------------------------------------------- breaking

    def forget_index(self, flow_id: str, index: str) -> None:
        """Deletes an index of the flow's partition."""
        if self.is_memory:
            self.home(flow_id).indexes.pop(index, None)
        else:
            assert self.client.delete(self.key(flow_id, index))

    def put_row(self, flow_id: str, index: str, score: int) -> None:
        """Puts a flow into an index where it does not belong, or at a wrong place."""
        if self.is_memory:
            self.home(flow_id).indexes.setdefault(index, SortedSet()).add(flow_id, score)
        else:
            self.client.zadd(self.key(flow_id, index), {flow_id: score})

    def forget_end(self, flow_id: str, name: str) -> None:
        """Takes a flow out of `expire` or `tree`."""
        if self.is_memory:
            getattr(self.home(flow_id), name).discard(flow_id)
        else:
            assert self.client.zrem(self.key(flow_id, name), flow_id)

    def set_field(self, flow_id: str, name: str, value: str) -> None:
        """Changes a field that a turn has set in a head."""
        if self.is_memory:
            self.home(flow_id).logs[flow_id].fields[name[1:]] = value
        else:
            self.client.hset(self.key(flow_id, f"head:{flow_id}"), name, value)

    def unseal(self, flow_id: str) -> None:
        if self.is_memory:
            self.home(flow_id).logs[flow_id].sealed = False
        else:
            assert self.client.hdel(self.key(flow_id, f"head:{flow_id}"), "sealed")

    def miscount(self, flow_id: str, users: int) -> str:
        """Sets how many flows use the plan of a flow, in its partition; gives the plan's key."""
        if self.is_memory:
            home = self.home(flow_id)
            [hash] = home.logs[flow_id].plans
            home.plans[hash].users = users
        else:
            fields = self.client.hkeys(self.key(flow_id, f"head:{flow_id}"))
            [hash] = [name[1:].decode() for name in fields if name.startswith(b"@")]
            self.client.hset(self.key(flow_id, f"plan:{hash}"), "n", users)
        return self.key(flow_id, f"plan:{hash}")

    def lose_dispatch(self) -> None:
        """Forgets all that is pending: entries, groups, names of queues, due members."""
        if self.factory.memory is not None:
            self.factory.memory.lose_dispatch()
            for home in self.homes():
                for stream in home.streams.values():
                    stream.has_group = False
            self.factory.memory.namespace.queues.clear()
        else:
            names = (":due", ":control", ":queues")
            keys = [key for key in self.server.all_keys() if key.endswith(names) or ":work:" in key]
            self.client.delete(*keys)

    def lose_due(self, flow_id: str) -> None:
        """Forgets the due members of the flow's partition."""
        if self.is_memory:
            self.home(flow_id).due = SortedSet()
        else:
            assert self.client.delete(self.key(flow_id, "due"))

    def due(self, flow_id: str) -> dict[str, int]:
        """The due members of the flow's partition, and when they are due."""
        if self.is_memory:
            home = self.home(flow_id)
            return {member: home.due.score(member) or 0 for member in home.due}
        found = self.client.zrange(self.key(flow_id, "due"), 0, -1, withscores=True)
        return {member.decode(): int(score) for member, score in found}

    def add_due(self, flow_id: str, member: str) -> None:
        """Adds a due member for late."""
        due_ms = 9_999_999_999_999
        if self.is_memory:
            self.home(flow_id).due.add(member, due_ms)
        else:
            self.client.zadd(self.key(flow_id, "due"), {member: due_ms})

    def add_entry(self, flow_id: str, stream: str, payload: str) -> None:
        if self.is_memory:
            self.home(flow_id).add_entry(stream, payload, 0)
        else:
            self.client.xadd(self.key(flow_id, stream), {"r": payload})


class ServerHand(Hand):
    """What can be done to a server only."""

    def drop_head(self, flow_id: str) -> None:
        assert self.client.delete(self.key(flow_id, f"head:{flow_id}"))

    def drop_log(self, flow_id: str) -> None:
        assert self.client.delete(self.key(flow_id, f"flow:{flow_id}"))

    def drop_event(self, flow_id: str, version: int) -> None:
        assert self.client.xdel(self.key(flow_id, f"flow:{flow_id}"), f"{version}-0")

    def put_field(self, flow_id: str, name: str, value: str) -> None:
        """Changes any field of a head."""
        self.client.hset(self.key(flow_id, f"head:{flow_id}"), name, value)

    def field(self, flow_id: str, name: str) -> str:
        return (self.client.hget(self.key(flow_id, f"head:{flow_id}"), name) or b"").decode()

    def deliver(self, flow_id: str, stream: str, consumer: str) -> None:
        """Delivers what waits in a stream to a consumer."""
        self.client.xreadgroup(GROUP, consumer, {self.key(flow_id, stream): ">"})

    def drop_consumer(self, flow_id: str, stream: str, consumer: str) -> None:
        """Forgets a consumer with all it has: the entries stay, and nobody will get them."""
        assert self.client.xgroup_delconsumer(self.key(flow_id, stream), GROUP, consumer)
