"""Entries that are pending for an engine and not in its hand: let go of, or delivered without its knowing.

A reply that delivers an entry may be lost, or come when the entry was let go of long ago. The renewal
names what is pending beside what is in hand, and the two must not be mixed up: what was begun here and
then given up runs again only under another attempt, after a takeover.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from argyll_redis.runtime.clock import ServerClock
from argyll_redis.runtime.work import Hand, InHand, Key, key_of
from argyll_redis.store.protocol import Entry, RenewReply

LEFT_MS = 60_000
"""How long an entry that was let go of is remembered: longer than any call waits for a reply."""


class Left(NamedTuple):
    """An entry that was let go of without an outcome."""

    at_ms: int
    """When, by the monotonic clock."""
    was_called: bool


class LetGo:
    """What an engine knows of entries that are not in its hand any more, or not yet."""

    def __init__(self, hand: Hand, clock: ServerClock) -> None:
        self._hand = hand
        self._clock = clock
        self._left: dict[Key, Left] = {}
        self._suspects: set[Key] = set()
        """Pending entries that were unknown at the last renewal."""

    def add(self, held: InHand) -> None:
        """Remembers an entry that is let go of: a reply that delivers it comes too late."""
        self._left[key_of(held.entry)] = Left(self._clock.monotonic_ms(), held.is_called)

    def __contains__(self, entry: Entry) -> bool:
        return key_of(entry) in self._left

    def begun(self) -> list[Key]:
        """The entries that were begun and then given up. Safe from any thread."""
        return [key for key, left in list(self._left.items()) if left.was_called]

    def unknown(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that are neither in hand nor were begun here and given up."""
        return [
            entry
            for entry in entries
            if entry not in self._hand
            and not ((left := self._left.get(key_of(entry))) is not None and left.was_called)
        ]

    def found(self, reply: RenewReply, asked_ms: int) -> tuple[list[Entry], list[Entry]]:
        """What was delivered, and what was taken over, by replies that are lost: pending and unknown at
        two renewals in a row. At one alone the reply may still be on its way.

        What was let go of after the renewal was asked for is not found by it: it may have been handed back
        since, and be another engine's by now.
        """
        self._forget(reply, asked_ms)
        suspects, self._suspects = self._suspects, set()
        delivered, taken = (
            [entry for entry in self.unknown(entries) if not self._is_later(entry, asked_ms)]
            for entries in (reply.unnamed, reply.taken)
        )
        for entry in (*delivered, *taken):
            self._suspects.add(key_of(entry))
            if key_of(entry) in suspects:
                self._left.pop(key_of(entry), None)
        return (
            [entry for entry in delivered if key_of(entry) in suspects],
            [entry for entry in taken if key_of(entry) in suspects],
        )

    def _is_later(self, entry: Entry, asked_ms: int) -> bool:
        """Whether an entry was let go of after a moment."""
        left = self._left.get(key_of(entry))
        return left is not None and left.at_ms >= asked_ms

    def _forget(self, reply: RenewReply, asked_ms: int) -> None:
        """Forgets what was let go of once no reply that delivers it can be on its way any more, and it
        is not pending for this engine."""
        if self._left:
            pending = {key_of(entry) for entry in (*reply.unnamed, *reply.taken)}
            since_ms = asked_ms - LEFT_MS
            self._left = {
                key: left for key, left in self._left.items() if left.at_ms >= since_ms or key in pending
            }
