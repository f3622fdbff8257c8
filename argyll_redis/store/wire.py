"""Between the protocol's values and what travels: arguments of scripts out, replies in.

Nothing is converted that need not be: hiredis packs str, bytes and int as they are, and an event or
operation is a tuple that already is its own arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import orjson

from argyll_redis.store.mending import (
    CountUsers,
    DropConsumer,
    DropDead,
    DropDue,
    DropEntry,
    DropField,
    DropHead,
    DropRow,
    PutField,
    PutRow,
    Repair,
)
from argyll_redis.store.protocol import (
    UNREADABLE,
    Ack,
    Committed,
    Dispatch,
    Due,
    EngineInfo,
    Entry,
    FeedEntry,
    Fetch,
    Head,
    ImportedLog,
    Index,
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
    partition_of,
)

Argument = str | bytes | int

LETTERS: Mapping[type, str] = {
    Ack: "a",
    Dispatch: "d",
    Due: "t",
    Settle: "s",
    SetHead: "h",
    Index: "i",
    Unindex: "u",
    UsePlan: "p",
    Seal: "z",
}
"""How commit.lua calls each operation."""


REPAIR_LETTERS: Mapping[type, str] = {
    PutField: "f",
    DropField: "x",
    DropHead: "k",
    PutRow: "r",
    DropRow: "o",
    CountUsers: "n",
    DropEntry: "e",
    DropDue: "m",
    DropConsumer: "c",
    DropDead: "b",
}
"""How repair.lua calls each operation."""


class Partitions:
    """The partitions that a call names, and the number by which its arguments call each."""

    __slots__ = ("_numbers", "order")

    def __init__(self) -> None:
        self.order: list[int] = []
        self._numbers: dict[int, int] = {}

    def number(self, partition: int) -> int:
        """Gives a partition's number in the call, from 1."""
        found = self._numbers.get(partition)
        if found is None:
            self.order.append(partition)
            found = self._numbers[partition] = len(self.order)
        return found


def pack_turns(
    arguments: list[Argument], turns: Iterable[Turn], *, partitions: int, named: Partitions
) -> None:
    """Adds turns to the arguments of commit.lua."""
    for turn in turns:
        if turn.partition != partition_of(turn.flow, partitions):
            raise ValueError(f"flow {turn.flow!r} does not live in partition {turn.partition}")
        number = named.number(turn.partition)
        events, operations = turn.events, turn.ops
        arguments += (
            number, turn.flow, turn.version, turn.last_tx, turn.tx, len(events), len(operations),
        )  # fmt: skip
        for event in events:
            arguments += event
        for operation in operations:
            arguments.append(LETTERS[type(operation)])
            arguments += cast(tuple[Argument, ...], operation)


def pack_log(log: ImportedLog) -> list[Argument]:
    """Gives the arguments of import.lua that come after the instance."""
    arguments: list[Argument] = [log.flow, len(log.events), len(log.fields), len(log.indexes)]
    for event in log.events:
        place = f"{event.tx}:{event.place}/{event.count}"
        arguments += (event.type, event.at, event.cause, event.by, place, event.data)
    for field in log.fields.items():
        arguments += field
    arguments += log.indexes
    return arguments


def pack_repair(repair: Repair) -> list[Argument]:
    """Gives the arguments of repair.lua that come after the instance."""
    arguments: list[Argument] = [repair.flow, repair.version, repair.tx]
    for operation in repair.ops:
        arguments.append(REPAIR_LETTERS[type(operation)])
        arguments += cast(tuple[Argument, ...], operation)
    return arguments


def pack_fetch(arguments: list[Argument], fetch: Fetch, named: Partitions) -> None:
    """Adds what to fetch to the arguments of fetch.lua and commit.lua."""
    arguments += (fetch.consumer, fetch.slots, fetch.control, len(fetch.streams))
    for partition, stream, readers, held in fetch.streams:
        arguments += (named.number(partition), stream, readers, held)


def unpack_turn(reply: list[Any]) -> TurnReply:
    """Reads what became of one turn."""
    kind = reply[0]
    if kind == 1:
        return Committed(reply[1], reply[2])
    if kind == 0:
        missed = tuple(map(unpack_event, reply[4]))
        return Refused(reply[1], missed, reply[2] == 1, reply[3] == 1)
    return PlanMissing(reply[1].decode())


def unpack_event(raw: list[Any]) -> StoredEvent:
    """Reads an entry of a log. Its fields are always in the same order; one with others, which a later
    version or somebody else has put there, is told as unreadable."""
    fields = raw[1]
    try:
        _, kind, _, at, _, cause, _, by, _, place, _, data = fields
        tx, _, numbers = place.decode().partition(":")
        i, _, n = numbers.partition("/")
        version = int(raw[0].partition(b"-")[0])
        return StoredEvent(version, kind.decode(), int(at), int(cause), by.decode(), tx, int(i), int(n), data)
    except ValueError:
        return StoredEvent(_version_of(raw[0]), UNREADABLE, 0, 0, "", "", 0, 0, b"{}")


def _version_of(entry: bytes) -> int:
    """The version that an entry id stands for; 0 for an id that the server would not give."""
    number = entry.partition(b"-")[0]
    return int(number) if number.isdigit() else 0


def unpack_entry(partition: int, stream: str, raw: list[Any]) -> Entry:
    """Reads an entry of a dispatch stream, be it what somebody else put there."""
    fields = raw[1]
    payload = fields[1] if len(fields) > 1 else b""
    return Entry(partition, stream, raw[0].decode(), payload.decode("utf-8", "backslashreplace"))


def unpack_found(found: list[Any], order: Sequence[int]) -> tuple[Entry, ...]:
    """Reads arrays of {number of the partition in this order, from 1; stream; entries}."""
    entries: list[Entry] = []
    for number, stream, raws in found:
        partition: int = order[int(number) - 1]
        name: str = stream.decode()
        entries += [unpack_entry(partition, name, raw) for raw in raws]
    return tuple(entries)


def unpack_head(fields: list[bytes]) -> Head | None:
    """Reads the reply of `HGETALL` on a head. One with other fields is a head that goes with no log."""
    kept = {text(name): text(value) for name, value in zip(fields[::2], fields[1::2], strict=True)}
    if "v" not in kept:
        return None
    return Head(
        version=number(kept["v"]),
        tx=kept.get("tx", ""),
        at=number(kept.get("at", "")),
        started_at=number(kept.get("t0", "")),
        sealed="sealed" in kept,
        fields={name[1:]: value for name, value in kept.items() if name.startswith(".")},
    )


def unpack_feed(partition: int, raw: list[Any]) -> FeedEntry:
    """Reads an entry of a feed. One that is no hint is of no flow: it must not stand in the way of others."""
    entry = raw[0].decode()
    try:
        flow, first, last, status = raw[1][1].decode().split(" ", 3)
        return FeedEntry(partition, entry, flow, int(first), int(last), status)
    except (ValueError, IndexError):
        return FeedEntry(partition, entry, "", 0, 0, "")


def pack_engine(engine: EngineInfo) -> tuple[Argument, ...]:
    """Gives what is kept of a live engine: queues, handlers, lease, state."""
    return (orjson.dumps(engine.queues), orjson.dumps(engine.handlers), engine.lease_ms, engine.state)


def unpack_engine(engine: bytes, kept: Sequence[bytes | None]) -> EngineInfo | None:
    """Reads what is kept of an engine; None when its time is over, or when it is none of ours."""
    queues, handlers, lease_ms, state = kept
    if queues is None or handlers is None or lease_ms is None:
        return None
    try:
        return EngineInfo(
            id=engine.decode(),
            queues=_names(queues),
            handlers=_names(handlers),
            lease_ms=int(lease_ms),
            state=(state or b"").decode(),  # an engine of an earlier version tells none
        )
    except ValueError:
        return None


def _names(raw: bytes) -> tuple[str, ...]:
    """Reads a list of names. Raises `ValueError` for anything else."""
    found: Any = orjson.loads(raw)
    if not isinstance(found, list):
        raise ValueError(f"{raw!r:.80} is no list of names")
    return tuple([_name(name) for name in cast("list[Any]", found)])


def _name(given: object) -> str:
    """Raises `ValueError` for what is no text."""
    if not isinstance(given, str):
        raise ValueError(f"{given!r:.80} is no name")
    return given


def text(raw: bytes) -> str:
    """Reads what anybody may have written, and so need not be UTF-8."""
    return raw.decode("utf-8", "backslashreplace")


def number(raw: bytes | str) -> int:
    """Reads a number that anybody may have written; 0 when it is none."""
    try:
        return int(raw)
    except ValueError:
        pass
    try:
        return int(float(raw))
    except (ValueError, OverflowError):
        return 0
