"""What a partition in memory holds, and how a turn changes it: the counterpart of the commit script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from argyll_redis.store.memory_types import DispatchStream, Feed, SortedSet
from argyll_redis.store.memory_waiting import WaitingRoom
from argyll_redis.store.protocol import (
    CONTROL,
    MISSED_LIMIT,
    Ack,
    Committed,
    Dispatch,
    Due,
    Expired,
    Head,
    ImportedLog,
    Index,
    NewEvent,
    Op,
    PlanMissing,
    Refused,
    Seal,
    SetHead,
    Settle,
    StoredEvent,
    Turn,
    TurnReply,
    Unindex,
    UsePlan,
    root_of,
)

FEED = "feed"
"""The name under which a partition's feed is waited for."""
SHORT_INDEXES = frozenset({"open", "children"})
"""Those that a flow leaves when it is sealed."""


class Log:
    """A flow's events and its head, or the catalog's."""

    __slots__ = ("events", "fields", "indexes", "plans", "sealed", "tx")

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []
        self.tx = ""
        self.sealed = False
        self.fields: dict[str, str] = {}
        self.indexes: set[str] = set()
        """Those that the flow is in, but `open` and `children`."""
        self.plans: Counter[str] = Counter()
        """How often it uses each plan."""

    @property
    def version(self) -> int:
        return len(self.events)

    @property
    def started_at(self) -> int:
        return self.events[0].at

    def at(self, now_ms: int) -> int:
        """Gives the time of an event added now: the clock, never less than the event before."""
        return max(now_ms, self.events[-1].at) if self.events else now_ms

    def is_at(self, version: int, tx: str) -> bool:
        """Tells whether the caller's history is the log's."""
        return len(self.events) == version and self.tx == tx

    def refusal(self, version: int) -> Refused:
        """Gives what a caller who holds this version has missed."""
        begin, limit = (version - 1, MISSED_LIMIT) if version else (0, 1)
        missed = tuple(self.events[begin : begin + limit])
        more = bool(missed) and begin + limit < len(self.events)
        return Refused(len(self.events), missed, more, self.sealed)

    def append(self, tx: str, events: Sequence[NewEvent], at: int) -> None:
        """Appends a transaction."""
        count, version = len(events), len(self.events)
        for place, new in enumerate(events, 1):
            self.events.append(
                StoredEvent(version + place, new.type, at, new.cause, new.by, tx, place, count, new.data)
            )
        if events:
            self.tx = tx

    def head(self) -> Head:
        last = self.events[-1]
        return Head(last.version, self.tx, last.at, self.started_at, self.sealed, dict(self.fields))


_NO_LOG = Log()
"""What a flow that does not exist is compared with; never written to."""


class Plan:
    """A plan's bytes and how many flows use it."""

    __slots__ = ("data", "users")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.users = 0


class Partition:
    """Everything that lives under one hash tag."""

    __slots__ = (
        "_room",
        "dead",
        "due",
        "expire",
        "feed",
        "indexes",
        "logs",
        "number",
        "plans",
        "streams",
        "tree",
    )

    def __init__(self, number: int, room: WaitingRoom) -> None:
        self.number = number
        self._room = room
        self.logs: dict[str, Log] = {}
        self.plans: dict[str, Plan] = {}
        self.streams: dict[str, DispatchStream] = {}
        self.due = SortedSet()
        self.indexes: dict[str, SortedSet] = {}
        self.expire = SortedSet()
        """Roots by the time of the last seal in their tree."""
        self.tree = SortedSet()
        """Sealed children, in order of their ids."""
        self.feed = Feed()
        self.dead: list[tuple[str, str, str]] = []
        """Stream, payload and reason of what nobody could read."""
        self.add_group(CONTROL)

    def add_group(self, stream: str) -> None:
        """Creates a stream's group, and the stream if it is not there."""
        self.streams.setdefault(stream, DispatchStream()).has_group = True

    def add_entry(self, stream: str, payload: str, now_ms: int) -> None:
        """Adds an entry to a dispatch stream and wakes who waits for it."""
        found = self.streams.get(stream)
        if found is None:
            found = self.streams[stream] = DispatchStream()
        found.add(payload, now_ms)
        self._room.wake((self.number, stream))

    def index(self, name: str) -> SortedSet:
        return self.indexes.get(name) or SortedSet()

    def move_due(self, now_ms: int, limit: int) -> int:
        """Moves due entries to the streams they name."""
        members = self.due.pop_through(now_ms, limit)
        for member in members:
            stream, _, payload = member.partition(" ")
            self.add_entry(stream, payload, now_ms)
        return len(members)

    def apply(self, turn: Turn, now_ms: int) -> TurnReply:
        """Applies a turn whole, or refuses it whole."""
        log = self.logs.get(turn.flow, _NO_LOG)
        if not log.is_at(turn.version, turn.last_tx) or (log.sealed and turn.events):
            return log.refusal(turn.version)
        if (missing := self._missing_plan(turn.ops)) is not None:
            return PlanMissing(missing)
        at = log.at(now_ms)
        if turn.events:
            log = self._append(turn, at)
        place = _Place(self, turn.flow, log, at, now_ms)
        for op in turn.ops:
            _APPLY[type(op)](place, op)
        if turn.events:
            self._tell(turn, log.version, now_ms)
        return Committed(log.version, at)

    def import_log(self, imported: ImportedLog, now_ms: int) -> bool:
        """Keeps the log of a flow that does not exist here, sealed; False when the flow exists."""
        if imported.flow in self.logs:
            return False
        log = self.logs[imported.flow] = Log()
        log.events = list(imported.events)
        log.tx = log.events[-1].tx
        log.fields = dict(imported.fields)
        for index in imported.indexes:
            self.add_to_index(imported.flow, log, index)
        self.seal(imported.flow, log, now_ms)
        return True

    def add_to_index(self, flow: str, log: Log, index: str) -> None:
        """Adds a flow to an index: `children` is in the order of ids, any other of start times."""
        if index not in SHORT_INDEXES:
            log.indexes.add(index)
        score = 0 if index == "children" else log.started_at
        self.indexes.setdefault(index, SortedSet()).add(flow, score)

    def remove_from_index(self, flow: str, log: Log, index: str) -> None:
        """Takes a flow out of an index if it is there."""
        log.indexes.discard(index)
        if (found := self.indexes.get(index)) is not None:
            found.discard(flow)
            if not found:
                del self.indexes[index]

    # ------------------------------------------------------------------- expiry

    def seal(self, flow: str, log: Log, at: int) -> None:
        """Closes a log. A child that outlives its root, or has none, puts off the end of the tree."""
        log.sealed = True
        root = root_of(flow)
        if flow != root:
            self.tree.add(flow, 0)
        of_root = self.logs.get(root)
        if of_root is None or of_root.sealed:
            self.expire.add(root, max(at, self.expire.score(root) or 0))

    def remove_expired(self, before_ms: int, limit: int) -> Expired:
        """Removes trees whose last seal was no later than `before_ms`, children first."""
        left, removed = limit, 0
        for root in self.expire.through(before_ms, limit):
            if left == 0:
                break
            if self._is_open(root):
                self.expire.discard(root)
                left -= 1
                continue
            flows = [*reversed(self.tree.between(f"{root}:", f"{root};")), root]
            for flow in flows[:left]:
                removed += self._remove(flow)
            left = max(0, left - len(flows))
        return Expired(removed, left == 0)

    def _is_open(self, root: str) -> bool:
        log = self.logs.get(root)
        if log is not None and not log.sealed:
            return True
        return bool(self.index("children").between(f"{root}:", f"{root};"))

    def _remove(self, flow: str) -> bool:
        """Removes a flow and what it is in; True if it was there."""
        log = self.logs.pop(flow, None)
        self.tree.discard(flow)
        self.expire.discard(flow)
        self.remove_from_index(flow, log or _NO_LOG, "open")
        if log is None:
            return False
        for index in list(log.indexes):
            self.remove_from_index(flow, log, index)
        for hash, uses in log.plans.items():
            self.plans[hash].users -= uses
            if self.plans[hash].users <= 0:
                del self.plans[hash]
        return True

    def _append(self, turn: Turn, at: int) -> Log:
        log = self.logs.get(turn.flow)
        if log is None:
            log = self.logs[turn.flow] = Log()
        log.append(turn.tx, turn.events, at)
        return log

    def _tell(self, turn: Turn, last: int, now_ms: int) -> None:
        status = ""
        for op in turn.ops:
            if type(op) is SetHead and op.name == "status":
                status = op.value
        self.feed.add(self.number, turn.flow, first=turn.version + 1, last=last, status=status, now_ms=now_ms)
        self._room.wake((self.number, FEED))

    def _missing_plan(self, ops: Sequence[Op]) -> str | None:
        """Names a plan that is used by hash alone and neither held nor sent before in this turn."""
        sent: set[str] = set()
        for op in ops:
            if type(op) is UsePlan:
                if op.bytes:
                    sent.add(op.hash)
                elif op.hash not in self.plans and op.hash not in sent:
                    return op.hash
        return None


class _Place(NamedTuple):
    """Where and when a turn's operations are applied."""

    partition: Partition
    flow: str
    log: Log
    at: int
    now_ms: int


def _ack(place: _Place, op: Ack) -> None:
    if (stream := place.partition.streams.get(op.stream)) is not None:
        stream.remove(op.entry)


def _dispatch(place: _Place, op: Dispatch) -> None:
    place.partition.add_entry(op.stream, op.payload, place.now_ms)


def _add_due(place: _Place, op: Due) -> None:
    place.partition.due.add(op.member, place.at + op.delay_ms)


def _settle(place: _Place, op: Settle) -> None:
    place.partition.due.discard(op.member)


def _set_head(place: _Place, op: SetHead) -> None:
    place.log.fields[op.name] = op.value


def _add_to_index(place: _Place, op: Index) -> None:
    place.partition.add_to_index(place.flow, place.log, op.index)


def _remove_from_index(place: _Place, op: Unindex) -> None:
    place.partition.remove_from_index(place.flow, place.log, op.index)


def _use_plan(place: _Place, op: UsePlan) -> None:
    plans = place.partition.plans
    plan = plans.get(op.hash)
    if plan is None:
        plan = plans[op.hash] = Plan(op.bytes)
    plan.users += 1
    place.log.plans[op.hash] += 1


def _seal(place: _Place, _op: Seal) -> None:
    place.partition.seal(place.flow, place.log, place.at)


_APPLY: Mapping[type, Callable[[_Place, Any], None]] = {
    Ack: _ack,
    Dispatch: _dispatch,
    Due: _add_due,
    Settle: _settle,
    SetHead: _set_head,
    Index: _add_to_index,
    Unindex: _remove_from_index,
    UsePlan: _use_plan,
    Seal: _seal,
}
