"""What looks at a namespace as it stands, key by key, and what puts it right: for `argyll audit`, `argyll
doctor` and `argyll repair`. Nothing that runs flows needs any of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class StoredKey(NamedTuple):
    """A key of the namespace."""

    name: str
    type: str
    """What `TYPE` answers."""
    ttl_ms: int
    """How long it lives yet; -1 for ever."""


class Delivered(NamedTuple):
    """An entry that a consumer of a dispatch stream has, and nobody has acknowledged."""

    consumer: str
    idle_ms: int
    """Since it was last delivered or renewed."""


class Consumer(NamedTuple):
    """A reader that a dispatch stream's group knows by name."""

    name: str
    pending: int
    """Entries that it has and nobody has acknowledged."""
    idle_ms: int
    """Since it last read anything."""


@dataclass(frozen=True, slots=True)
class StreamState:
    """A dispatch stream of a partition, looked at as a whole; what changes meanwhile may be seen or not."""

    stream: str
    has_group: bool
    entries: Mapping[str, str]
    """Payloads by entry id, the oldest first."""
    pending: Mapping[str, Delivered]
    """By entry id."""
    consumers: tuple[Consumer, ...]
    stranded: frozenset[str]
    """Entries that were delivered once and that nobody has now: no reader will ever get them."""

    @property
    def vanished(self) -> list[str]:
        """Entries that somebody has and that are not in the stream any more."""
        return [entry for entry in self.pending if entry not in self.entries]


@dataclass(frozen=True, slots=True)
class PartitionState:
    """What a partition has pending."""

    streams: tuple[StreamState, ...]
    due: Mapping[str, int]
    """Due members, by when they are due (ms, server clock)."""


class DeadEntry(NamedTuple):
    """Something that nobody could read."""

    partition: int
    id: str
    stream: str
    """Where it was; `due` for a due member."""
    payload: str
    reason: str


# The operations of a repair, applied in order. All name keys of its partition.


class PutField(NamedTuple):
    """Sets a field of the head of a flow that has a log, by its own name there."""

    name: str
    value: str


class DropField(NamedTuple):
    """Removes a field of the flow's head."""

    name: str


class DropHead(NamedTuple):
    """Removes the head of a flow that has no log."""


class PutRow(NamedTuple):
    """Puts the flow into an index, or gives it another score there; `expire` takes no lower one."""

    index: str  # pyright: ignore[reportIncompatibleMethodOverride]
    score: int


class DropRow(NamedTuple):
    """Takes the flow out of an index."""

    index: str  # pyright: ignore[reportIncompatibleMethodOverride]


class CountUsers(NamedTuple):
    """Sets how many flows use a plan, if it is still what it was; a plan that nobody uses goes."""

    hash: str
    was: int
    users: int


class DropEntry(NamedTuple):
    """Acknowledges and deletes an entry; one that somebody has stays when only a stranded one is meant."""

    stream: str
    entry: str
    only_stranded: int = 0


class DropDue(NamedTuple):
    """Removes a due member."""

    member: str


class DropConsumer(NamedTuple):
    """Forgets a consumer that has nothing pending."""

    stream: str
    consumer: str


class DropDead(NamedTuple):
    """Removes an entry from `dead`."""

    entry: str


RepairOp = (
    PutField
    | DropField
    | DropHead
    | PutRow
    | DropRow
    | CountUsers
    | DropEntry
    | DropDue
    | DropConsumer
    | DropDead
)


@dataclass(frozen=True, slots=True)
class Repair:
    """What is to be put right in a partition, if the log of a flow still ends where it did."""

    partition: int
    ops: Sequence[RepairOp]
    flow: str = ""
    """Whose log is looked at; empty where no flow is meant."""
    version: int = 0
    """At which its log has to end; 0 when there must be none."""
    tx: str = ""
    """The transaction of that event."""
