"""What an engine has in hand: entries delivered to it, from delivery to the commit that answers them.

Each is leased: the renewer names it until it is settled. The renewer runs in a thread of its own, so
every access goes through a lock.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from argyll_redis.runtime.payload import WorkReference
from argyll_redis.steps.context import StepContext
from argyll_redis.store.protocol import CONTROL, Entry, Lease

Key = tuple[int, str, str]
"""(partition, stream, entry id)."""


def key_of(entry: Entry) -> Key:
    return (entry.partition, entry.stream, entry.id)


class InHand:
    """One delivered entry; `work` is what a work entry refers to, None for a control entry."""

    __slots__ = ("context", "entry", "flow_id", "holds_slot", "is_called", "is_reported", "task", "work")

    def __init__(self, entry: Entry, flow_id: str, work: WorkReference | None = None) -> None:
        self.entry = entry
        self.flow_id = flow_id
        self.work = work
        self.holds_slot = work is not None
        self.context: StepContext | None = None
        """Set when it is begun."""
        self.task: asyncio.Task[Any] | None = None
        self.is_called = False
        """Whether the step's code was called for it."""
        self.is_reported = False
        """Whether what it came to is on its way."""

    @property
    def is_fresh(self) -> bool:
        """Whether nobody can have run it: work that was delivered and not called, or no work at all."""
        return not self.is_called and (self.work is not None or self.entry.stream == CONTROL)


class Hand:
    """All entries that an engine has in hand."""

    def __init__(self) -> None:
        self._held: dict[Key, InHand] = {}
        self._counts: dict[tuple[int, str], int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, entry: Entry) -> bool:
        return key_of(entry) in self._held

    def take(self, held: InHand) -> None:
        self._put(held, held)

    def drop(self, held: InHand) -> None:
        """Lets go of it. An entry that was let go before and delivered again stays in hand."""
        if self.holds(held):
            self._put(held, None)

    def holds(self, held: InHand) -> bool:
        """Whether it is in hand by this very delivery."""
        return self._held.get(key_of(held.entry)) is held

    def _put(self, held: InHand, now: InHand | None) -> None:
        stream = (held.entry.partition, held.entry.stream)
        with self._lock:
            before = self._held.pop(key_of(held.entry), None)
            if now is not None:
                self._held[key_of(held.entry)] = now
            counted = before is not None and not before.is_reported
            self._counts[stream] = self._counts.get(stream, 0) + (now is not None) - counted

    def report(self, held: InHand) -> None:
        """Notes that what an entry came to is on its way: it no longer counts, as the commit that
        carries the word takes it out of its stream."""
        stream = (held.entry.partition, held.entry.stream)
        with self._lock:
            if not held.is_reported and self._held.get(key_of(held.entry)) is held:
                self._counts[stream] -= 1
            held.is_reported = True

    def count(self, partition: int, stream: str) -> int:
        """How many entries of a stream are in hand and not answered yet."""
        return self._counts.get((partition, stream), 0)

    def all(self) -> list[InHand]:
        with self._lock:
            return list(self._held.values())

    def find(self, lease: Lease) -> InHand | None:
        return self._held.get((lease.partition, lease.stream, lease.entry))

    def leases(self) -> list[Lease]:
        """What is to be renewed."""
        return [
            Lease(held.entry.partition, held.entry.stream, held.entry.id, held.flow_id) for held in self.all()
        ]
