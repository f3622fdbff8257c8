"""How the store's tests write turns: a flow that follows its own log, and facts to wait for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import count

import anyio

from argyll_redis.store.protocol import (
    Ack,
    CommitReply,
    Committed,
    EngineInfo,
    Entry,
    Fetch,
    Keep,
    KeepReply,
    Lease,
    NewEvent,
    Op,
    RenewReply,
    Store,
    StoredEvent,
    StreamRef,
    Turn,
    TurnReply,
    partition_of,
)

HOUR_MS = 3_600_000
ENGINE = EngineInfo("e1", ("a", "b"), ("charge", "price"), 10_000)

_txs = count(1)


def event(type: str = "step_started", *, cause: int = 0, by: str = "start", data: bytes = b"{}") -> NewEvent:
    """An event to append."""
    return NewEvent(type, cause, by, data)


class Flow:
    """A flow as a caller sees it: the version and transaction that it holds."""

    def __init__(self, store: Store, id: str = "order-1") -> None:
        self.store = store
        self.id = id
        self.version = 0
        self.tx = ""

    @property
    def partition(self) -> int:
        return partition_of(self.id, self.store.partitions)

    def ref(self, stream: str = "work:a", *, readers: int = 1, held: int = 0) -> StreamRef:
        return StreamRef(self.partition, stream, readers, held)

    def turn(self, *ops: Op, events: int | Sequence[NewEvent] = 1, tx: str | None = None) -> Turn:
        """The flow's next transaction, from what is held now."""
        new = [event() for _ in range(events)] if isinstance(events, int) else events
        return Turn(self.partition, self.id, self.version, self.tx, tx or f"tx-{next(_txs)}", tuple(new), ops)

    def hold(self, turn: Turn) -> None:
        """Takes over what a committed turn has made of the flow."""
        self.version += len(turn.events)
        self.tx = turn.tx if turn.events else self.tx

    async def commit(
        self, *ops: Op, events: int | Sequence[NewEvent] = 1, tx: str | None = None
    ) -> Committed:
        """Commits a turn that has to be applied."""
        turn = self.turn(*ops, events=events, tx=tx)
        reply = await commit_one(self.store, turn)
        assert isinstance(reply, Committed), reply
        self.hold(turn)
        return reply

    async def commit_and_fetch(self, fetch: Fetch, *ops: Op) -> CommitReply:
        """Commits a turn that has to be applied, and fetches in the same call."""
        turn = self.turn(*ops)
        reply = await self.store.commit([turn], fetch)
        assert isinstance(reply.turns[0], Committed), reply
        self.hold(turn)
        return reply

    async def fetch(
        self, consumer: str = "e1", *, stream: str = "work:a", slots: int = 100
    ) -> tuple[Entry, ...]:
        """Fetches from one of the streams beside the flow."""
        return await self.store.fetch(Fetch(consumer, slots, [self.ref(stream)]))

    async def fetch_one(self, consumer: str = "e1", *, stream: str = "work:a") -> Entry:
        """Fetches the one entry that has to be there."""
        (entry,) = await self.fetch(consumer, stream=stream)
        return entry


async def commit_one(store: Store, turn: Turn) -> TurnReply:
    """Commits one turn and gives its answer."""
    reply = await store.commit([turn])
    (answer,) = reply.turns
    return answer


def ack(entry: Entry) -> Ack:
    """The acknowledgement of an entry."""
    return Ack(entry.stream, entry.id)


def payloads(entries: Sequence[Entry]) -> list[str]:
    """What the entries say, in order."""
    return [entry.payload for entry in entries]


async def until(is_so: Callable[[], Awaitable[bool]], *, limit_s: float = 10) -> None:
    """Waits for a fact."""
    with anyio.fail_after(limit_s):
        while not await is_so():
            await anyio.sleep(0.002)


def same_partition(flow: Flow, prefix: str) -> Flow:
    """Another flow in the same partition, always the same one for a prefix."""
    return _flow_in(flow, prefix, flow.partition)


def other_partition(flow: Flow) -> Flow:
    """A flow in the other partition."""
    return _flow_in(flow, "other", 1 - flow.partition)


def _flow_in(flow: Flow, prefix: str, partition: int) -> Flow:
    candidates = (Flow(flow.store, f"{prefix}{n}") for n in range(100))
    return next(each for each in candidates if each.partition == partition and each.id != flow.id)


async def log_of(flow: Flow) -> list[StoredEvent]:
    """Everything in the flow's log."""
    (events,) = await flow.store.load([(flow.id, 0, 10_000)])
    return events


async def references(flow: Flow) -> list[tuple[str, str]]:
    """All live references in the flow's partition, in order."""
    return sorted(await flow.store.references(flow.partition))


def lease_of(entry: Entry, flow: Flow) -> Lease:
    """The lease of an entry that is for this flow."""
    return Lease(entry.partition, entry.stream, entry.id, flow.id)


async def renewed(flow: Flow, consumer: str, leases: Sequence[Lease]) -> RenewReply:
    """Renews leases in the stream of queue a."""
    return flow.store.renew(consumer, leases, [(flow.partition, "work:a")])


async def take_over(
    flow: Flow, engine: str, *, min_idle_ms: int = 0, limit: int = 100, cursor: str = "0-0"
) -> KeepReply:
    """Takes over in the stream of queue a."""
    return await flow.store.keep(
        Keep(
            EngineInfo(engine, ("a",)),
            takeover=[(flow.ref(), cursor)],
            min_idle_ms=min_idle_ms,
            takeover_limit=limit,
        )
    )
