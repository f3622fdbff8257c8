"""The few Redis types that a namespace is made of, in plain Python.

Each behaves like its model as far as a store uses it: an entry's id is `<ms>-<seq>`, a delivered
entry is pending for its consumer until it is removed, a sorted set is in order of score, then
member. No clock: whoever adds or reads hands in the time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict, deque
from collections.abc import Iterator
from operator import itemgetter

from argyll_redis.store.protocol import FEED_LENGTH, FeedEntry

FIRST_ID = "0-0"
"""The id before all others: where a cursor begins and ends."""

SCAN_FACTOR = 10
"""Pending entries looked at by a takeover, as a multiple of those it may take (as XAUTOCLAIM does)."""


def id_key(entry: str) -> tuple[int, int]:
    """Orders entry ids."""
    ms, _, sequence = entry.partition("-")
    return int(ms), int(sequence)


class IdClock:
    """Gives a stream's entries rising ids, whatever the clock does."""

    __slots__ = ("_ms", "_sequence")

    def __init__(self) -> None:
        self._ms = 0
        self._sequence = 0

    @property
    def last(self) -> str:
        """The id given last; `0-0` before the first."""
        return f"{self._ms}-{self._sequence}"

    def next(self, now_ms: int) -> str:
        """Gives the id of an entry that is added now."""
        if now_ms > self._ms:
            self._ms, self._sequence = now_ms, 0
        else:
            self._sequence += 1
        return self.last


class Pending:
    """An entry that was delivered: to whom, when it was last delivered or renewed, and whether somebody
    else had it before."""

    __slots__ = ("consumer", "payload", "since_ms", "was_taken_over")

    def __init__(self, payload: str, consumer: str, since_ms: int) -> None:
        self.payload = payload
        self.consumer = consumer
        self.since_ms = since_ms
        self.was_taken_over = False


class DispatchStream:
    """A stream with one group. An entry waits, is pending, and is gone; in order of ids in both states.

    An entry that waits is never older than one that is pending, because delivery goes in order.
    """

    __slots__ = ("_ids", "_pending", "_waiting", "has_group")

    def __init__(self) -> None:
        self.has_group = False
        """Without its group nothing is delivered."""
        self._ids = IdClock()
        self._waiting: OrderedDict[str, str] = OrderedDict()
        self._pending: dict[str, Pending] = {}

    def __len__(self) -> int:
        """Counts entries that wait and entries that are pending."""
        return len(self._waiting) + len(self._pending)

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    @property
    def pending_count(self) -> int:
        return len(self._pending)

    @property
    def oldest_id(self) -> str | None:
        """The id of the oldest entry, delivered or not."""
        return next(iter(self._pending), None) or next(iter(self._waiting), None)

    def add(self, payload: str, now_ms: int) -> None:
        """Adds an entry that waits."""
        self._waiting[self._ids.next(now_ms)] = payload

    def read(self, consumer: str, count: int, now_ms: int) -> list[tuple[str, str]]:
        """Delivers up to `count` of the entries that wait, oldest first."""
        waiting = self._waiting
        if not waiting or not self.has_group:
            return []
        taken = [waiting.popitem(last=False) for _ in range(min(count, len(waiting)))]
        for entry, payload in taken:
            self._pending[entry] = Pending(payload, consumer, now_ms)
        return taken

    def remove(self, entry: str) -> str | None:
        """Acknowledges and deletes an entry, whoever has it; gives its payload if it was there."""
        pending = self._pending.pop(entry, None)
        return pending.payload if pending is not None else self._waiting.pop(entry, None)

    def remove_held(self, entry: str, consumer: str) -> str | None:
        """Removes an entry that is still pending for this consumer; gives its payload if it was."""
        pending = self._pending.get(entry)
        return self.remove(entry) if pending is not None and pending.consumer == consumer else None

    def renew(self, entry: str, consumer: str, now_ms: int) -> bool:
        """Starts an entry's idle time anew if it is still pending for this consumer."""
        pending = self._pending.get(entry)
        if pending is None or pending.consumer != consumer:
            return False
        pending.since_ms = now_ms
        return True

    def held_by(self, consumer: str) -> Iterator[tuple[str, Pending]]:
        """Gives the entries pending for a consumer, oldest first."""
        for entry, pending in self._pending.items():
            if pending.consumer == consumer:
                yield entry, pending

    def take_over(
        self, consumer: str, *, min_idle_ms: int, cursor: str, limit: int, now_ms: int
    ) -> tuple[list[tuple[str, str]], str]:
        """Takes over up to `limit` pending entries that idled long enough, from a cursor on.

        Gives them and the cursor to go on with: the first entry that was not looked at, or `0-0`.
        """
        taken: list[tuple[str, str]] = []
        looks_left = limit * SCAN_FACTOR
        begin = id_key(cursor)
        for entry, pending in self._pending.items():
            if id_key(entry) < begin:
                continue
            if looks_left == 0 or len(taken) == limit:
                return taken, entry
            looks_left -= 1
            if now_ms - pending.since_ms >= min_idle_ms:
                pending.consumer, pending.since_ms, pending.was_taken_over = consumer, now_ms, True
                taken.append((entry, pending.payload))
        return taken, FIRST_ID

    def held(self) -> Iterator[tuple[str, Pending]]:
        """Gives the entries that somebody has, oldest first."""
        return iter(self._pending.items())

    def by_id(self) -> Iterator[tuple[str, str]]:
        """Gives each entry's id and payload, oldest first."""
        for entry, pending in self._pending.items():
            yield entry, pending.payload
        yield from self._waiting.items()

    def entries(self) -> Iterator[tuple[str, str]]:
        """Gives each entry's payload and consumer, oldest first; the consumer is empty while it waits."""
        for pending in self._pending.values():
            yield pending.payload, pending.consumer
        for payload in self._waiting.values():
            yield payload, ""


class Feed:
    """A stream of hints that forgets all but the last `FEED_LENGTH`."""

    __slots__ = ("_entries", "_ids")

    def __init__(self) -> None:
        self._ids = IdClock()
        self._entries: deque[FeedEntry] = deque(maxlen=FEED_LENGTH)

    @property
    def last_id(self) -> str:
        """The id given last; `0-0` before the first."""
        return self._ids.last

    def __iter__(self) -> Iterator[FeedEntry]:
        return iter(self._entries)

    def add(self, partition: int, flow: str, *, first: int, last: int, status: str, now_ms: int) -> None:
        """Adds a hint; the oldest one goes when the feed is full."""
        entry = self._ids.next(now_ms)
        self._entries.append(FeedEntry(partition, entry, flow, first, last, status))

    def after(self, cursor: str) -> list[FeedEntry]:
        """Gives the hints after a cursor, oldest first."""
        begin = id_key(cursor)
        found: list[FeedEntry] = []
        for entry in reversed(self._entries):
            if id_key(entry.id) <= begin:
                break
            found.append(entry)
        found.reverse()
        return found

    def has_gap(self, cursor: str) -> bool:
        """Tells whether hints after the cursor may have been trimmed; a feed that is not full never was."""
        entries = self._entries
        return len(entries) == FEED_LENGTH and id_key(entries[0].id) > id_key(cursor)


class SortedSet:
    """Members in order of score, then of member."""

    __slots__ = ("_order", "_scores")

    def __init__(self) -> None:
        self._scores: dict[str, int] = {}
        self._order: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[str]:
        return map(itemgetter(1), self._order)

    @property
    def first_score(self) -> int | None:
        """The lowest score; None when the set is empty."""
        return self._order[0][0] if self._order else None

    def add(self, member: str, score: int) -> None:
        """Adds a member, or gives it another score."""
        self.discard(member)
        self._scores[member] = score
        insort(self._order, (score, member))

    def discard(self, member: str) -> None:
        """Removes a member if it is there."""
        score = self._scores.pop(member, None)
        if score is not None:
            del self._order[bisect_left(self._order, (score, member))]

    def pop_through(self, score: int, limit: int) -> list[str]:
        """Removes up to `limit` members of at most this score, lowest first, and gives them."""
        end = bisect_right(self._order, score, key=itemgetter(0))
        members = [member for _, member in self._order[: min(end, limit)]]
        del self._order[: len(members)]
        for member in members:
            del self._scores[member]
        return members

    def between(self, first: str, end: str) -> list[str]:
        """Gives the members from `first` up to `end`, that one excluded, of a set whose scores are all 0."""
        begin = bisect_left(self._order, (0, first))
        return [member for _, member in self._order[begin : bisect_left(self._order, (0, end))]]

    def through(self, score: int, limit: int) -> list[str]:
        """Gives up to `limit` members of at most this score, lowest first."""
        end = bisect_right(self._order, score, key=itemgetter(0))
        return [member for _, member in self._order[: min(end, limit)]]

    def score(self, member: str) -> int | None:
        """The score of a member; None when it is not there."""
        return self._scores.get(member)

    def rows(self, start: int, stop: int) -> list[tuple[int, str]]:
        """Gives (score, member) of the ranks from `start` up to `stop`, that one excluded."""
        return self._order[start:stop]

    def last_rows(self, count: int) -> list[tuple[int, str]]:
        """Gives (score, member) of the highest ranks, in rising order."""
        return self._order[-count:] if count > 0 else []
