"""Commit calls on their way: each is sent until it is answered, and may bring entries home.

A call without a reply is sent again with the same transaction ids, and fetches nothing then: what a lost
reply brought is found by a renewal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from argyll_redis.errors import CallRefused, NamespaceEmptied, StoreUnavailable, StoreUnfit
from argyll_redis.runtime.breaker import Breaker
from argyll_redis.runtime.patience import Backoff
from argyll_redis.store.protocol import CommitReply, Entry, Fetch, Store, Turn

log = logging.getLogger(__name__)


class Fetcher(Protocol):
    """An engine, as whoever commits sees it: it may take entries home with every call."""

    def reserve(self, partitions: Sequence[int]) -> Fetch | None:
        """Reserves the free slots for one call that commits to these partitions; None when nothing
        is to be fetched."""
        ...

    def deliver(self, entries: Sequence[Entry], fetch: Fetch) -> None:
        """Takes what was fetched and gives back the rest of the reservation."""
        ...


@dataclass(slots=True)
class Counters:
    """What was done so far; for tests, benchmarks and metrics."""

    calls: int = 0
    turns: int = 0
    commits: int = 0
    events: int = 0
    refusals: int = 0
    ignored: int = 0
    unknown: int = 0
    """Commands that named a flow or a token that does not exist."""
    resent: int = 0
    by_error: dict[str, int] = field(default_factory=dict[str, int])


class Sender:
    """Sends the commit calls of a process."""

    def __init__(
        self, store: Store, *, counters: Counters, breaker: Breaker, spread: Callable[[float], float]
    ) -> None:
        self.fetcher: Fetcher | None = None
        self._store = store
        self._counters = counters
        self._breaker = breaker
        self._spread = spread

    async def send(self, turns: Sequence[Turn], *, fetches: bool) -> CommitReply:
        """Commits turns, however often it takes; `fetches` brings entries home, if it goes well at once.

        Raises `NamespaceEmptied`, and `CallRefused` or `ValueError` when what was sent is wrong.
        """
        backoff, call = Backoff(self._spread), object()
        fetch = self._reserve(turns) if fetches else None
        entries: Sequence[Entry] = ()
        try:
            while True:
                self._counters.calls += 1
                try:
                    reply = await self._store.commit(turns, fetch)
                except (NamespaceEmptied, CallRefused):
                    raise
                except StoreUnavailable as error:
                    self._note(call, error)
                else:
                    entries = reply.entries
                    return reply
                self._deliver((), fetch)
                fetch = None
                await backoff.wait()
        finally:
            self._breaker.settle(call)
            self._deliver(entries, fetch)

    def _reserve(self, turns: Sequence[Turn]) -> Fetch | None:
        partitions = list(dict.fromkeys(turn.partition for turn in turns))
        return self.fetcher.reserve(partitions) if self.fetcher else None

    def _deliver(self, entries: Sequence[Entry], fetch: Fetch | None) -> None:
        if fetch is not None and self.fetcher is not None:
            self.fetcher.deliver(entries, fetch)

    def _note(self, call: object, error: StoreUnavailable) -> None:
        """Notes why a call is sent again."""
        counters, kind = self._counters, type(error).__name__
        counters.resent += 1
        counters.by_error[kind] = counters.by_error.get(kind, 0) + 1
        if isinstance(error, StoreUnfit):
            self._breaker.refuse(call, error)
        else:
            log.warning("a commit is sent again: %s", error)
