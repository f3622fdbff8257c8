"""Where keys live on a Redis Cluster: which slot a key has, which node serves it, where a reply sends it.

Pure: nothing here connects. What it knows is shared by all connections of a store, some of them used by
another thread: each change is one assignment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import redis.exceptions as redis_errors
from redis.crc import key_slot

from argyll_redis.errors import StoreUnavailable
from argyll_redis.store.answers import code_of
from argyll_redis.store.url import Host

SLOTS = 16_384
"""Slots of a cluster."""

_KEYLESS = frozenset({"TIME", "INFO", "SCAN", "CLUSTER", "CONFIG", "ASKING", "PING", "WAIT", "WAITAOF"})
"""Commands that every node answers for itself."""
_PLACES = {"EVAL": 3, "EVALSHA": 3, "XINFO": 2, "XGROUP": 2}
"""Where the first key of a command is that is not its first argument."""
_OLD_NEWS = frozenset({"READONLY", "CLUSTERDOWN", "MASTERDOWN", "LOADING"})
"""Codes of replies after which somebody else may serve the slot."""


def slot_of(command: Sequence[str | bytes | int]) -> int | None:
    """Gives the slot of a command's first key; None for a command without one."""
    name = str(command[0])
    if name in _KEYLESS:
        return None
    if name in ("XREAD", "XREADGROUP"):
        place = command.index("STREAMS") + 1
    else:
        place = _PLACES.get(name, 1)
        if place == 3 and command[2] == 0:
            return None
    return slot_of_key(command[place])


def slot_of_key(key: str | bytes | int) -> int:
    """Gives the slot of a key: that of its hash tag."""
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


class Hop(NamedTuple):
    """Where a command is sent."""

    node: Host
    is_asking: bool = False
    """Whether the node has to be told that the slot is on its way to it."""


class SlotMap:
    """Which node serves which slot, as the last one that was asked has it, and what was told since."""

    def __init__(self, seeds: Sequence[Host]) -> None:
        self._seeds = tuple(seeds)
        self._owners: list[Host | None] = []
        self._asked = 0
        self._lost: Host | None = None
        """The node that last gave no answer."""
        self.nodes: tuple[Host, ...] = ()
        """The masters, in the order of their slots; none before the first look."""
        self.is_stale = True
        """Whether it has to be asked for before it is used."""
        self.looks = 0
        """How often it was asked for."""

    def to_ask(self) -> list[Host]:
        """The nodes that may tell the map, another one first each time, and last the one that was lost."""
        known = list(dict.fromkeys((*self.nodes, *self._seeds)))
        self._asked += 1
        start = self._asked % len(known) if self.nodes else 0
        return sorted(known[start:] + known[:start], key=lambda node: node == self._lost)

    def take(self, reply: Sequence[Any], told_by: Host) -> None:
        """Takes in the reply of `CLUSTER SLOTS`. A node without a host of its own is the one that told."""
        owners: list[Host | None] = [None] * SLOTS
        nodes: dict[Host, None] = {}
        for first, last, master, *_ in sorted(reply, key=lambda row: row[0]):
            host, port = (master[0] or b"").decode(), int(master[1])
            node = (told_by[0] if host in ("", "?") else host, port)
            nodes[node] = None
            owners[first : last + 1] = [node] * (last + 1 - first)
        self._owners, self.nodes = owners, tuple(nodes)
        self.looks += 1
        self.is_stale = False

    def lose(self, node: Host) -> None:
        """Notes that a node gave no answer: others may have its slots by now."""
        self._lost = node
        self.is_stale = True

    def owner(self, slot: int | None) -> Host:
        """Gives the node that serves a slot, or any node. Raises `StoreUnavailable` when none does."""
        node = self._owners[slot] if slot is not None and self._owners else None
        if node is None and slot is None and self.nodes:
            node = self.nodes[0]
        if node is None:
            self.is_stale = True
            raise StoreUnavailable(
                f"no node of the Redis cluster serves slot {slot} (look at `redis-cli --cluster check`)"
            )
        return node

    def is_at(self, slot: int, node: Host) -> bool:
        """Whether a node serves a slot, as far as is known."""
        return bool(self._owners) and self._owners[slot] == node

    def after(self, reply: Any, hop: Hop) -> Hop | None:
        """Where a command goes next that was answered so; None when that is its answer."""
        if isinstance(reply, redis_errors.AskError):  # which a MovedError is as well
            host = cast(str, reply.host)  # pyright: ignore[reportUnknownMemberType]
            node = (host or hop.node[0], reply.port)
            if not isinstance(reply, redis_errors.MovedError):
                return Hop(node, is_asking=True)
            self.is_stale = True
            if self._owners:
                self._owners[reply.slot_id] = node
            return Hop(node)
        if isinstance(reply, Exception) and code_of(reply) in _OLD_NEWS:
            self.is_stale = True
        return None


def tag_of(command: Sequence[str | bytes | int]) -> str:
    """Gives the hash tag of a command's first key, with its braces; empty where it has none."""
    texts = map(str, command)
    return next((text[: text.index("}") + 1] for text in texts if text.startswith("{") and "}" in text), "")
