"""What a commit waits for after it was applied: copies on replicas, or on disks.

A failover, or a machine that goes down, takes away what has no copy. Waiting narrows that window; it
is not consensus: a replica that has a commit need not be the one that is promoted.

`WAIT` counts the replicas that have what *its own connection* wrote, and on Valkey a call that
writes nothing (a commit that is sent again and had been applied, a read) waits for nothing.
So each wait follows a small write: the id of the namespace, over itself. Replicas take writes in order,
so those that have it have all that was there before, whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from argyll_redis.errors import StoreUnfit

COPY_LIMIT_MS = 1_000
"""Longest wait for copies, unless somebody says otherwise."""

_MARK = """#!lua
local is_meta = redis.call('TYPE', KEYS[1]).ok == 'hash'
local kept = is_meta and redis.call('HGET', KEYS[1], 'instance') or not is_meta and redis.call('GET', KEYS[1])
if kept ~= ARGV[1] then return 0 end
if is_meta then
  redis.call('HSET', KEYS[1], 'instance', ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1])
end
return 1"""
"""Writes the id of the namespace over itself, as a partition or `{ns}:meta` has it; nothing in a namespace
that was emptied."""


@dataclass(frozen=True, slots=True)
class Copies:
    """What has to be there before a commit is answered."""

    replicas: int = 0
    """How many replicas have it."""
    on_disk: bool = False
    """Whether it is in the append-only file on the server's disk, and on those of the replicas."""
    limit_ms: int = COPY_LIMIT_MS
    """Longest wait; then the commit counts as not answered, and is sent again."""

    def __bool__(self) -> bool:
        return self.replicas > 0 or self.on_disk


class Copying:
    """Waits for the copies of one store, over whichever connection."""

    def __init__(self, copies: Copies) -> None:
        self.copies = copies
        self.instance = ""
        """Of the namespace, once it is open."""
        self.is_behind = False
        """Whether the last wait was in vain: then nothing is claimed that could not be recorded."""

    def commands(self, id_key: str) -> list[Sequence[str | bytes | int]]:
        """What is sent right behind a call, in the same round trip: the mark and the wait."""
        wanted, limit_ms = self.copies.replicas, self.copies.limit_ms
        wait = ("WAITAOF", 1, wanted, limit_ms) if self.copies.on_disk else ("WAIT", wanted, limit_ms)
        return [("EVAL", _MARK, 1, id_key, self.instance), wait]

    def probes(self) -> list[Sequence[str | bytes | int]]:
        """What tells at once whether the server can wait at all; see `refuse_unable`."""
        return [("WAITAOF", 1, 0, 1) if self.copies.on_disk else ("WAIT", 0, 1)]

    def check(self, mark: Any, found: Any) -> None:
        """Reads the replies to both. Raises `StoreUnfit` when the copies are not there: nothing is begun
        then whose outcome would have none."""
        is_there = mark == 1 and self._is_enough(found)
        self.is_behind = not is_there
        if not is_there:
            raise StoreUnfit(self._missed(found))

    def _is_enough(self, found: Any) -> bool:
        counts = cast(list[Any], found) if isinstance(found, list) else [1, found]
        return all(
            isinstance(count, int) and count >= least
            for count, least in zip(counts, (1, self.copies.replicas), strict=True)
        )

    def _missed(self, found: Any) -> str:
        if isinstance(found, Exception):
            return f"Redis cannot say what has copies: {found}"
        replicas = self.copies.replicas
        places = [f"{replicas} {'replica' if replicas == 1 else 'replicas'}"] if replicas else []
        places += ["the disk"] if self.copies.on_disk else []
        return (
            f"Redis has not copied what was written to {' and '.join(places)} within "
            f"{self.copies.limit_ms:,} ms (look at its replicas, or wait for fewer)"
        )


def refuse_unable(replies: Sequence[Any]) -> None:
    """Refuses a server that cannot wait, by its replies to the probes. Raises `StoreUnfit`."""
    for reply in replies:
        if not isinstance(reply, Exception):
            continue
        if "unknown command" in str(reply):
            mend = "use Redis 7.2 or later, or Valkey, or do without wait_aof"
            raise StoreUnfit(f"Redis cannot wait for its disk: it has no WAITAOF ({mend})")
        if "appendonly" in str(reply):
            mend = "set appendonly to yes, or do without wait_aof"
            raise StoreUnfit(f"Redis has no append-only file that wait_aof could wait for ({mend})")
        raise StoreUnfit(f"Redis refuses to wait for copies: {reply} (allow WAIT and WAITAOF to the user)")
