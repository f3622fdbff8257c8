"""The one contract that both stores keep: what goes in, what comes back, what is promised.

A store knows nothing of flows: event payloads are opaque bytes and every effect of a turn is one of
a few generic operations. `RedisStore` runs the scripts in `lua/`, `MemoryStore` is the same contract
in plain Python; one contract suite holds them equal. Times are integer ms of the server's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from zlib import crc32

from argyll_redis.store.mending import DeadEntry, PartitionState, Repair, StoredKey

CONTROL = "control"
"""The stream of what an engine should look at, in each partition."""

MISSED_LIMIT = 500
"""Events that a refusal brings at most."""

UNNAMED_LIMIT = 100
"""Entries of a stream that a renewal returns at most because they were not named."""

FEED_LENGTH = 1_000
"""Entries that a partition's feed keeps; a shorter feed has never been trimmed."""

BLOCK_LIMIT_MS = 2_000
"""Longest wait of one call, less than any socket timeout."""


def partition_of(flow: str, partitions: int) -> int:
    """Tells in which partition a flow lives: with its root."""
    return crc32(root_of(flow).encode()) % partitions


def root_of(flow: str) -> str:
    """Names the root of the tree that a flow belongs to; a root's own id has no colon."""
    return flow.partition(":")[0]


def work_stream(queue: str) -> str:
    """Names the stream of a queue's released attempts within a partition."""
    return f"work:{queue}"


class NewEvent(NamedTuple):
    """An event to append; version, time and transaction are added by the store."""

    type: str
    cause: int
    by: str
    data: bytes


UNREADABLE = "unreadable"
"""The type given to an entry of a log that is no event of this layout: its flow is left alone, and what
else came in the same reply is not affected."""


class StoredEvent(NamedTuple):
    """An event as a log holds it."""

    version: int
    type: str
    at: int
    cause: int
    by: str
    tx: str
    place: int
    """Its place in its transaction, from 1."""
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    """How many events its transaction has."""
    data: bytes


# The operations of a turn, applied in order after its events. All name keys of the turn's partition.


class Ack(NamedTuple):
    """Acknowledges and deletes an entry."""

    stream: str
    entry: str


class Dispatch(NamedTuple):
    """Adds an entry to `work:<queue>` or `control`."""

    stream: str
    payload: str


class Due(NamedTuple):
    """Adds a due entry at the turn's `at` plus the delay. The member is `<stream> <payload>`."""

    member: str
    delay_ms: int


class Settle(NamedTuple):
    """Removes a due entry, if it is still there."""

    member: str


class SetHead(NamedTuple):
    """Sets a field of the flow's head. A change of `status` is told in the feed, too."""

    name: str
    value: str


class Index(NamedTuple):
    """Adds the flow to an index (`open`, `done:<status>`, `label:<k>=<v>`) at its start time, or to
    `children`, which is in the order of ids."""

    index: str  # pyright: ignore[reportIncompatibleMethodOverride]


class Unindex(NamedTuple):
    """Removes the flow from an index."""

    index: str  # pyright: ignore[reportIncompatibleMethodOverride]


class UsePlan(NamedTuple):
    """Counts the flow among the users of a plan; `bytes` may be empty when the store has them surely."""

    hash: str
    bytes: bytes


class Seal(NamedTuple):
    """Closes the log: later turns with events are refused. The tree's time begins with its last seal."""


Op = Ack | Dispatch | Due | Settle | SetHead | Index | Unindex | UsePlan | Seal


@dataclass(frozen=True, slots=True)
class Turn:
    """One flow's transaction: applied whole, or refused whole.

    A turn without events is a compare with operations: acknowledgements that must not rest on a
    stale state. It is applied on a sealed flow too, and on a flow that does not exist (version 0).
    """

    partition: int
    flow: str
    version: int
    """The version the caller holds; 0 when the flow must not exist."""
    last_tx: str
    """The transaction that appended that version; empty at version 0."""
    tx: str
    """This transaction's id, the same whenever it is sent again; without blanks and colons."""
    events: Sequence[NewEvent] = ()
    ops: Sequence[Op] = ()

    @property
    def size(self) -> int:
        """Bytes of its events' data, and of a plan that it brings."""
        plans = sum(len(op.bytes) for op in self.ops if isinstance(op, UsePlan))
        return plans + sum(len(event.data) for event in self.events)


class Committed(NamedTuple):
    """The turn was applied."""

    version: int
    at: int
    """The `at` of its events: the server's clock, never less than the event before."""


class Refused(NamedTuple):
    """The flow has moved on, or the caller's history is not the server's. Nothing was applied.

    `version` is the server's; `missed` are the events from the version that the caller holds (that
    one included) on, at most 500, or only event 1 for a refused start; `more` says that there are
    more. A server version below the caller's comes with no events.
    """

    version: int
    missed: tuple[StoredEvent, ...]
    more: bool
    sealed: bool


class PlanMissing(NamedTuple):
    """The turn used a plan by hash alone that the partition does not hold; send its bytes."""

    hash: str


TurnReply = Committed | Refused | PlanMissing


class Entry(NamedTuple):
    """A delivered dispatch entry; pending for its consumer until acknowledged."""

    partition: int
    stream: str
    id: str
    payload: str

    @property
    def added_ms(self) -> int:
        """When it was added, by the server's clock."""
        return int(self.id.partition("-")[0])


class StreamRef(NamedTuple):
    """A stream to read from, and among how many engines what waits there is shared."""

    partition: int
    stream: str
    readers: int = 1
    held: int = 0
    """How many entries of it the consumer has in hand already: part of its share."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """What a call may hand back for this consumer beside its main answer.

    Streams are tried in order until `slots` entries came from work streams; from one work stream at
    most ceil(length / readers) less what is held. `control` streams need no slot: up to `control`
    entries each.
    """

    consumer: str
    slots: int
    streams: Sequence[StreamRef]
    control: int = 10


@dataclass(frozen=True, slots=True)
class CommitReply:
    """One answer a turn, in order, and what was fetched."""

    now_ms: int
    turns: tuple[TurnReply, ...]
    entries: tuple[Entry, ...] = ()


class Head(NamedTuple):
    """What the store keeps beside a flow's log."""

    version: int
    tx: str
    at: int
    """Of the last event, ms."""
    started_at: int
    sealed: bool
    fields: Mapping[str, str]
    """What `SetHead` set: `status` and others."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a live engine says of itself with each heartbeat."""

    id: str
    queues: tuple[str, ...]
    handlers: tuple[str, ...] = ()
    """Names of the python functions it has."""
    lease_ms: int = 10_000
    state: str = ""
    """What is wrong with it, in its own words (text, see `runtime/condition.py`); empty when nothing is."""


@dataclass(frozen=True, slots=True)
class Keep:
    """One round of keeping: heartbeat, due entries, takeover, who is alive. Each part can be left out."""

    engine: EngineInfo | None = None
    """Beats the heart of this engine, which lives for `alive_ms` more."""
    alive_ms: int = 5_000
    due_limit: int = 100
    """Due entries moved at most, a partition; 0 moves none."""
    takeover: Sequence[tuple[StreamRef, str]] = ()
    """Streams whose entries idle for `min_idle_ms` are taken over, each from a cursor (`0-0` at first)."""
    min_idle_ms: int = 10_000
    takeover_limit: int = 100
    """Entries looked at, a stream."""


@dataclass(frozen=True, slots=True)
class KeepReply:
    now_ms: int
    moved: int
    """Due entries moved to their streams."""
    next_due_ms: int | None
    """When the next due entry of any partition is due."""
    taken: tuple[Entry, ...]
    cursors: tuple[str, ...]
    """Where each takeover goes on next time."""
    vanished: int
    """Pending entries whose stream entry is gone (somebody trimmed a dispatch stream)."""
    engines: tuple[EngineInfo, ...]
    """The live ones, by id."""


EntryKey = tuple[int, str, str]
"""(partition, stream, entry id)."""


class Lease(NamedTuple):
    """An entry in flight, to be renewed, and the flow it is for."""

    partition: int
    stream: str
    entry: str
    flow: str


@dataclass(frozen=True, slots=True)
class RenewReply:
    lost: tuple[Lease, ...]
    """No longer pending for this consumer: taken over or settled; not renewed."""
    statuses: Mapping[str, str]
    """Status from the head of each flow named; absent for a flow that does not exist."""
    unnamed: tuple[Entry, ...]
    """Entries pending for this consumer that were not named and that nobody had before; renewed."""
    taken: tuple[Entry, ...] = ()
    """Those not named that were taken over from another consumer, which may have run them; not
    renewed. At most 100 of both kinds a stream."""


class FeedEntry(NamedTuple):
    """A hint that a flow went on: one a turn with events."""

    partition: int
    id: str
    flow: str
    first: int
    last: int
    status: str
    """The status that this turn set; empty when it set none."""


@dataclass(frozen=True, slots=True)
class FeedReply:
    entries: tuple[FeedEntry, ...]
    gaps: frozenset[int] = field(default_factory=frozenset[int])
    """Partitions in which entries may have been trimmed before they were read."""
    cursors: Mapping[int, str] = field(default_factory=dict[int, str])
    """Where to go on, by partition."""


@dataclass(frozen=True, slots=True)
class QueueStat:
    queue: str
    """A queue's name, or `control`."""
    depth: int
    """Entries that wait for an engine."""
    in_flight: int
    """Entries delivered and not yet acknowledged."""
    due: int
    """Entries that go to this queue later."""
    oldest_ms: int
    """Age of the oldest entry of the queue; 0 when empty."""


@dataclass(frozen=True, slots=True)
class ImportedLog:
    """The whole log of a flow as it was elsewhere, and what to keep beside it."""

    partition: int
    flow: str
    events: Sequence[StoredEvent]
    """From version 1 on; times, causes, origins and transactions stay as they are."""
    fields: Mapping[str, str]
    """Of the head, as `SetHead` would set them."""
    indexes: Sequence[str]
    """The flow is added to these at the time of its first event."""


class Expired(NamedTuple):
    """What a call has removed because its time was over."""

    flows: int
    more: bool
    """Whether there may be more to remove at once."""


class NamespaceInfo(NamedTuple):
    """What a namespace says of itself."""

    layout: int
    partitions: int
    is_ready: bool
    """Whether its creation came to its end."""


class Dead(NamedTuple):
    """What nobody could read."""

    entries: int
    last_reason: str
    """Of the newest entry; empty when there is none."""


class Store(Protocol):
    """A namespace. Raises `StoreUnavailable` when the server cannot be reached or gave no reply in
    time (the call may have been applied: send it again with the same transaction ids),
    `StoreUnfit` when it cannot be used, `NamespaceEmptied` when it is not the one that was opened."""

    namespace: str
    partitions: int

    async def open(self) -> None:
        """Connects, checks that the server is fit, creates the namespace at first use."""
        ...

    async def close(self) -> None: ...

    async def add_queues(self, queues: Sequence[str]) -> None:
        """Records queue names and creates their streams and groups in every partition."""
        ...

    async def queues(self) -> tuple[str, ...]:
        """All queue names ever recorded, in name order."""
        ...

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        """Applies or refuses each turn on its own; then fetches. One script call.

        At most one turn a flow. The arguments are checked before anything is written."""
        ...

    async def fetch(self, fetch: Fetch) -> tuple[Entry, ...]: ...

    async def block(
        self, consumer: str, streams: Sequence[tuple[int, str]], block_ms: int
    ) -> tuple[Entry, ...]:
        """Waits until one of the (partition, stream) has an entry; at most one from each. At most 2 s."""
        ...

    def on_late(self, consumer: str, take: Callable[[Entry], None]) -> None:
        """Says who takes entries that were delivered to a consumer beside the reply of a call: on a cluster,
        where a call has several, those that come when it has ended or failed. Without one they stay
        pending, for `renew` to find."""
        ...

    async def keep(self, keep: Keep) -> KeepReply: ...

    def renew(
        self,
        consumer: str,
        leases: Sequence[Lease],
        streams: Sequence[tuple[int, str]],
        *,
        known: Sequence[EntryKey] = (),
    ) -> RenewReply:
        """Renews leases that are still this consumer's, and looks for entries in `streams` that it
        neither holds nor knows (the reply that delivered them, or took them over, is lost, or waits
        for a busy event loop). `known` are entries that it has let go of: not renewed, not looked
        for. Blocking, on a connection of its own: called from the renewer's thread."""
        ...

    async def release(self, consumer: str, entries: Sequence[Entry], delay_ms: int = 0) -> int:
        """Hands entries back under the same attempt: added anew (or as due entries when delayed),
        the old ones acknowledged and deleted. Entries no longer this consumer's are passed over."""
        ...

    async def bury(self, entry: Entry, reason: str) -> None:
        """Moves an entry that nobody can read to `dead`."""
        ...

    async def retire(self, consumer: str) -> bool:
        """Ends the heartbeat of an engine, and removes it as a consumer from all groups where it has
        nothing pending; True if from all."""
        ...

    async def reap(self, partition: int, min_idle_ms: int) -> None:
        """Forgets the consumers of a partition that have nothing pending, are no live engines, and
        have not read for so long."""
        ...

    async def expire(self, partition: int, *, keep_ms: int, limit: int) -> Expired:
        """Removes the trees of a partition whose last flow was sealed more than `keep_ms` ago: of each
        the children first, the root last, `limit` flows at most (1 to 1,000). A tree with an open flow
        stays whole."""
        ...

    async def load(self, reads: Sequence[tuple[str, int, int]]) -> list[list[StoredEvent]]:
        """Reads logs: for each (flow, after version, limit) the events that follow. One round trip."""
        ...

    async def heads(self, flows: Sequence[str]) -> list[Head | None]:
        """Reads the heads of flows; None for a flow that does not exist. One round trip."""
        ...

    async def plans(self, plans: Sequence[tuple[int, str]]) -> list[bytes | None]:
        """Reads plans by (partition, hash). One round trip."""
        ...

    async def index(self, index: str, *, newest: bool = True, limit: int = 1_000) -> list[tuple[str, int]]:
        """Flows of an index over all partitions with their start time (ms), sorted by time, then id."""
        ...

    async def sizes(self, indexes: Sequence[str]) -> list[int]:
        """Counts the flows of indexes over all partitions. One round trip."""
        ...

    async def walk(self, partition: int, index: str, cursor: str, limit: int) -> tuple[list[str], str]:
        """Walks an index in lexical-by-rank pages for the sweep; cursor `0` begins and ends the walk."""
        ...

    async def references(self, partition: int) -> frozenset[tuple[str, str]]:
        """All live references of a partition as (stream, payload): waiting, pending and due entries."""
        ...

    async def feed(self, cursors: Mapping[int, str], block_ms: int) -> FeedReply:
        """Reads the feeds of the given partitions after their cursors, waiting up to `block_ms`.
        A cursor of `$` starts now (the reply gives real ones)."""
        ...

    async def catalog(self, after: int) -> list[StoredEvent]:
        """Reads the catalog's events after a version."""
        ...

    async def append_catalog(
        self, version: int, last_tx: str, tx: str, events: Sequence[NewEvent]
    ) -> TurnReply:
        """Appends to the catalog under the same compare-and-set rule as a turn."""
        ...

    async def import_log(self, log: ImportedLog) -> bool:
        """Writes the log of a flow that does not exist here, sealed: whole, or not at all. False when
        the flow exists. One script call; nobody who follows is told."""
        ...

    async def queue_stats(self) -> list[QueueStat]: ...

    async def engines(self) -> tuple[EngineInfo, ...]:
        """The live engines, by id."""
        ...

    async def tell_health(self, engine: str, found: bytes, alive_ms: int) -> None:
        """Keeps what an engine found of the health of the steps, for so long."""
        ...

    async def health(self, engines: Sequence[str]) -> list[bytes | None]:
        """What engines found last; None for one that told nothing lately. One round trip."""
        ...

    async def memorize(self, key: str, outputs: bytes, ttl_ms: int) -> None:
        """Keeps an outcome under a key, for so long from now on."""
        ...

    async def recall(self, key: str) -> bytes | None:
        """The outcome that is kept under a key; None when there is none."""
        ...

    async def now_ms(self) -> int:
        """The server's clock."""
        ...

    async def dead(self) -> Dead:
        """What nobody could read, over all partitions."""
        ...

    async def keys(self, cursor: str, limit: int = 1_000) -> tuple[list[StoredKey], str]:
        """About `limit` keys of the namespace, and where to go on; cursor `0` begins and ends the walk.
        A key that is there all the while comes at least once. On a server with other keys pages may be
        empty; each page is one round trip, and one more for types and times to live."""
        ...

    async def head_fields(self, flows: Sequence[str]) -> list[Mapping[str, str] | None]:
        """Everything that heads hold, by the names there (see the table of keys); None for no head."""
        ...

    async def log_ends(self, flows: Sequence[str]) -> list[tuple[int, str]]:
        """Where logs end, by themselves: the version and the transaction of the last event; (0, "") for
        a flow that has no log. One round trip."""
        ...

    async def scores(self, partition: int, rows: Sequence[tuple[str, str]]) -> list[int | None]:
        """The scores of (index, flow); None for a flow that is not there. One round trip."""
        ...

    async def rows(
        self, partition: int, index: str, cursor: str, limit: int
    ) -> tuple[list[tuple[str, int]], str]:
        """About `limit` flows of an index (`expire` and `tree`, too) with their scores, and where to go on;
        cursor `0` begins and ends the walk."""
        ...

    async def plan_users(self, plans: Sequence[tuple[int, str]]) -> list[int]:
        """How many flows are counted as users of plans, by (partition, hash); 0 for none. One round trip."""
        ...

    async def pending(self, partition: int, queues: Sequence[str]) -> PartitionState:
        """What a partition has pending: `control`, the streams of these queues, due members. Costs a
        command a page of 500 entries."""
        ...

    async def dead_entries(self, limit: int) -> list[DeadEntry]:
        """The newest entries that nobody could read, `limit` of each partition at most, the newest first."""
        ...

    async def repair(self, repair: Repair) -> bool:
        """Puts something right, or nothing when the log has gone on meanwhile: False. One script call."""
        ...

    # The rest may be called on a store that is not open, and creates nothing.

    async def settings(self, names: Sequence[str]) -> Mapping[str, str]:
        """Settings of the server, by name; empty when the user may not ask, or there is no server."""
        ...

    async def lost_ids(self) -> list[int]:
        """Partitions of a namespace that is there (`peek` knows) whose own id is gone or another's."""
        ...

    async def restore_ids(self, partitions: Sequence[int]) -> None:
        """Gives partitions without an id that of the namespace."""
        ...

    async def peek(self) -> NamespaceInfo | None:
        """Looks whether the namespace exists. When it does, the store knows its partitions from then on,
        so that indexes, heads, logs and the catalog can be read."""
        ...

    async def info(self) -> Mapping[str, str]:
        """What the server says of itself, as `INFO` does; empty when the user may not ask, and
        `{server: memory}` where there is no server."""
        ...

    async def can_run_scripts(self) -> str:
        """Why the server runs no script; empty when it does."""
        ...

    async def missing_rights(self, *, to_look: bool = False) -> tuple[str, ...]:
        """What the user lacks, as words of `ACL SETUSER` (`+xadd`), and `keys` where it may not touch all
        keys of the namespace; with `to_look` also what only an audit, a repair and the doctor need."""
        ...
