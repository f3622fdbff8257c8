"""The store in memory as the model of every other one: the same calls, the same answers, the same data.

`ARGYLL_EXAMPLES` raises the number of examples.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from servers import TestServer, kinds
from store_dumps import dump_redis

from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import (
    CONTROL,
    Ack,
    Committed,
    Dispatch,
    Due,
    EngineInfo,
    Entry,
    FeedReply,
    Fetch,
    ImportedLog,
    Index,
    Keep,
    Lease,
    NewEvent,
    Op,
    PlanMissing,
    Refused,
    Seal,
    SetHead,
    Settle,
    Store,
    StoredEvent,
    StreamRef,
    Turn,
    TurnReply,
    Unindex,
    UsePlan,
    partition_of,
    root_of,
)
from argyll_redis.store.redis import RedisStore

EXAMPLES = int(os.environ.get("ARGYLL_EXAMPLES", "0"))
STEPS = 30
SHRINK_LIMIT_S = 600
"""A difference that was found is made small before it is shown."""
PARTITIONS = 2
HOUR_MS = 3_600_000

FLOWS = ("order-1", "order-1:ship:0f3c", "grün")
CONSUMERS = ("e1", "e2")
QUEUES = ("a", "new")
STREAMS = (CONTROL, "work:a", "work:new")
INDEXES = ("open", "children", "done:failed", "label:tenant=a=b")
CLOCKED = frozenset({"at", "t0"})
"""What a head holds of times."""
PLANS = {"h1": b"plan \x00\xff", "h2": b"[]"}


class Other(NamedTuple):
    """What is compared with the store in memory: a store, a picture of its data, and what ends it."""

    store: Store
    dump: Callable[[Store], Awaitable[dict[str, object]]]
    end: Callable[[], None]


class Delivered(NamedTuple):
    """An entry that both stores delivered: what it says, and what each calls it."""

    payload: str
    entries: tuple[Entry, Entry]


class Machine(RuleBasedStateMachine):
    """Two stores that are told the same. What differs by clock (times, ids of entries) is left out.

    Each payload is used once and they rise, so that entries which are due in one millisecond on one
    server and in two on the other come in the same order; nothing is due in a moment.
    """

    def __init__(self, other: Other) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.server = MemoryServer(partitions=PARTITIONS)
        self.other = other
        self.stores: tuple[Store, Store] = (MemoryStore(server=self.server), other.store)
        self.made = 0
        self.history: dict[str, list[tuple[int, str]]] = {flow: [(0, "")] for flow in FLOWS}
        self.catalog_history: list[tuple[int, str]] = [(0, "")]
        self.due_members = ["control never"]
        self.delivered: list[Delivered] = []
        self.payloads: tuple[dict[object, str], dict[object, str]] = ({}, {})
        self.takeover_cursors: dict[tuple[int, str], tuple[str, str]] = {}
        self.feed_cursors: dict[int, tuple[str, str]] = dict.fromkeys(range(PARTITIONS), ("0-0", "0-0"))

    def both(self, call: Callable[[Store, int], Awaitable[Any]]) -> tuple[Any, Any]:
        """Makes a call on each store."""

        async def one_after_the_other() -> tuple[Any, Any]:
            return await call(self.stores[0], 0), await call(self.stores[1], 1)

        return self.runner.run(one_after_the_other())

    def agree(self, call: Callable[[Store, int], Awaitable[Any]]) -> Any:
        """Makes a call on each store; both have to answer the same."""
        model, other = self.both(call)
        assert model == other
        return model

    @initialize()
    def open(self) -> None:
        self.both(lambda store, _: store.open())
        self.both(lambda store, _: store.add_queues(QUEUES[:1]))
        for flow in FLOWS[:2]:
            self.begin(flow)

    def begin(self, flow: str) -> None:
        """Starts a flow with entries, some of them in flight: what is empty has little to differ in."""
        place = partition_of(flow, PARTITIONS)
        ops = [Dispatch(stream, self.new("p")) for stream in ("work:a", CONTROL) * 3]
        turn = Turn(place, flow, 0, "", self.new("t"), [NewEvent("flow_started", 0, "start", b"{}")], ops)
        fetch = Fetch("e1", 2, [StreamRef(place, "work:a"), StreamRef(place, CONTROL)], control=1)
        model, other = self.both(lambda store, _: store.commit([turn], fetch))
        self.history[flow].append((1, turn.tx))
        self.deliver(model.entries, other.entries)

    def teardown(self) -> None:
        try:
            self.dumps_agree()
        finally:
            self.both(lambda store, _: store.close())
            self.runner.close()
            self.other.end()

    # ------------------------------------------------------------------- writing

    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        """Commits a batch of turns, most of them from what the flow really is."""
        flows = data.draw(st.lists(st.sampled_from(FLOWS), min_size=1, max_size=3, unique=True))
        turns = [self.draw_turn(data, flow) for flow in flows]
        fetch = data.draw(st.none() | fetches())
        replies = self.both(
            lambda store, side: store.commit([self.sided_turn(turn, side) for turn in turns], fetch)
        )
        assert [picture(reply) for reply in replies[0].turns] == [
            picture(reply) for reply in replies[1].turns
        ]
        for turn, reply in zip(turns, replies[0].turns, strict=True):
            if isinstance(reply, Committed) and turn.events:
                self.history[turn.flow].append((reply.version, turn.tx))
        self.deliver(replies[0].entries, replies[1].entries)

    def draw_turn(self, data: st.DataObject, flow: str) -> Turn:
        """Draws a turn; its acknowledgements name payloads until `sided_turn` puts ids in their place."""
        version, last_tx = data.draw(helds(self.history[flow]))
        events = data.draw(st.lists(new_events, max_size=3))
        is_without_flow = version == 0 and not events
        ops = [self.draw_op(data, is_without_flow) for _ in range(data.draw(st.integers(0, 8)))]
        return Turn(partition_of(flow, PARTITIONS), flow, version, last_tx, self.new("t"), events, ops)

    def draw_op(self, data: st.DataObject, is_without_flow: bool) -> Op:
        kinds = ["ack", "dispatch", "dispatch", "due", "settle"]
        if not is_without_flow:
            kinds += ["head", "head", "index", "unindex", "plan", "plan"] * 2 + ["seal"]
        kind = data.draw(st.sampled_from(kinds))
        stream = data.draw(st.sampled_from(STREAMS))
        if kind == "ack" and self.delivered:
            chosen = data.draw(st.sampled_from(self.delivered))
            return Ack(chosen.entries[0].stream, chosen.payload)
        if kind == "due":
            self.due_members.append(f"{stream} {self.new('p')}")
            return Due(self.due_members[-1], data.draw(st.sampled_from([0, HOUR_MS])))
        if kind == "settle":
            return Settle(data.draw(st.sampled_from(self.due_members)))
        if kind == "head":
            return data.draw(set_heads)
        if kind in ("index", "unindex"):
            index = data.draw(st.sampled_from(INDEXES))
            return Index(index) if kind == "index" else Unindex(index)
        if kind == "plan":
            plan = data.draw(st.sampled_from(sorted(PLANS)))
            return UsePlan(plan, data.draw(st.sampled_from([b"", PLANS[plan]])))
        return Seal() if kind == "seal" else Dispatch(stream, self.new("p"))

    def sided_turn(self, turn: Turn, side: int) -> Turn:
        """The turn as one of the stores has to be told."""
        latest = {delivered.payload: delivered.entries[side].id for delivered in self.delivered}
        ops = [op._replace(entry=latest[op.entry]) if isinstance(op, Ack) else op for op in turn.ops]
        return Turn(turn.partition, turn.flow, turn.version, turn.last_tx, turn.tx, turn.events, ops)

    @rule(
        held=st.data(),
        events=st.lists(
            st.builds(NewEvent, st.just("step_registered"), st.just(0), st.just("c1"), st.binary(max_size=3)),
            max_size=3,
        ),
    )
    def append_catalog(self, held: st.DataObject, events: list[NewEvent]) -> None:
        version, last_tx = held.draw(helds(self.catalog_history))
        tx = self.new("t")
        replies = self.both(lambda store, _: store.append_catalog(version, last_tx, tx, events))
        assert picture(replies[0]) == picture(replies[1])
        if isinstance(replies[0], Committed) and events:
            self.catalog_history.append((replies[0].version, tx))

    @rule(data=st.data())
    def import_log(self, data: st.DataObject) -> None:
        """Imports the log of a flow that mostly is not there. It is sealed from then on."""
        flow = data.draw(st.sampled_from(FLOWS))
        tx, count = self.new("t"), data.draw(st.integers(1, 3))
        at = 1_000 * self.made  # no two flows of an index start in one moment
        events = [
            StoredEvent(version, "work_started", at, 0, "start", tx, version, count, b"{}")
            for version in range(1, count + 1)
        ]
        fields = {"status": "failed", "goal": data.draw(st.text("aä ", max_size=2))}
        indexes = data.draw(st.lists(st.sampled_from(INDEXES[2:]), unique=True))
        log = ImportedLog(partition_of(flow, PARTITIONS), flow, events, fields, indexes)
        if self.agree(lambda store, _: store.import_log(log)):
            self.history[flow].append((count, tx))

    @rule(
        engine=st.sampled_from(CONSUMERS), found=st.binary(max_size=3), alive_ms=st.sampled_from([1, HOUR_MS])
    )
    def tell_health(self, engine: str, found: bytes, alive_ms: int) -> None:
        """Tells of the health of steps; what is kept for a moment alone may be gone on one server."""
        if alive_ms == 1:
            engine = "e-short"
        self.both(lambda store, _: store.tell_health(engine, found, alive_ms))
        self.agree(lambda store, _: store.health([*CONSUMERS, "never"]))

    @rule(key=st.sampled_from("mn"), outputs=st.binary(max_size=3))
    def memorize(self, key: str, outputs: bytes) -> None:
        self.both(lambda store, _: store.memorize(key, outputs, HOUR_MS))
        self.recall()

    @rule()
    def recall(self) -> None:
        async def call(store: Store, _: int) -> list[bytes | None]:
            return [await store.recall(key) for key in ("m", "n", "never")]

        self.agree(call)

    @rule(queue=st.sampled_from(QUEUES))
    def add_queue(self, queue: str) -> None:
        self.both(lambda store, _: store.add_queues([queue]))

    # ------------------------------------------------------------------ dispatch

    @rule(data=st.data())
    def fetch(self, data: st.DataObject) -> None:
        fetch = data.draw(fetches())
        self.deliver(*self.both(lambda store, _: store.fetch(fetch)))

    @rule(
        consumer=st.sampled_from(CONSUMERS),
        places=st.lists(
            st.tuples(st.integers(0, PARTITIONS - 1), st.sampled_from(STREAMS[:2])), unique=True, max_size=4
        ),
    )
    def block(self, consumer: str, places: list[tuple[int, str]]) -> None:
        found = self.both(lambda store, _: store.block(consumer, places, 0))
        self.deliver(*found)

    @rule(data=st.data())
    def keep(self, data: st.DataObject) -> None:
        """Keeps: due entries are moved all or none, idle times are long enough for all or for none."""
        engine = data.draw(st.none() | engines)
        places = (
            data.draw(st.lists(stream_refs(), max_size=3, unique_by=lambda ref: ref[:2])) if engine else []
        )
        starts = [
            data.draw(st.sampled_from([("0-0", "0-0"), self.takeover_cursors.get(ref[:2], ("0-0", "0-0"))]))
            for ref in places
        ]
        due_limit = data.draw(st.sampled_from([0, 100]))
        min_idle_ms = data.draw(st.sampled_from([0, 0, HOUR_MS]))
        limit = data.draw(st.sampled_from([1, 2, 100]))

        def call(store: Store, side: int) -> Awaitable[Any]:
            takeover = [(ref, start[side]) for ref, start in zip(places, starts, strict=True)]
            return store.keep(Keep(engine, HOUR_MS, due_limit, takeover, min_idle_ms, limit))

        model, other = self.both(call)
        assert (model.moved, model.vanished, model.engines) == (other.moved, other.vanished, other.engines)
        assert due_picture(model.next_due_ms, model.now_ms) == due_picture(other.next_due_ms, other.now_ms)
        self.deliver(model.taken, other.taken)
        cursors = list(zip(model.cursors, other.cursors, strict=True))
        for ref, (mine, others) in zip(places, cursors, strict=True):
            assert self.payload_at(ref, mine, 0) == self.payload_at(ref, others, 1)
            self.takeover_cursors[ref[:2]] = (mine, others)

    @rule(data=st.data(), consumer=st.sampled_from(CONSUMERS))
    def renew(self, data: st.DataObject, consumer: str) -> None:
        named, let_go = self.draw_delivered(data), self.draw_delivered(data)
        flows = [data.draw(st.sampled_from(FLOWS)) for _ in named]
        places = [(p, stream) for p in range(PARTITIONS) for stream in STREAMS]

        async def call(store: Store, side: int) -> Any:
            leases = [
                Lease(*delivered.entries[side][:3], flow)
                for delivered, flow in zip(named, flows, strict=True)
                if delivered.entries[side].partition == partition_of(flow, PARTITIONS)
            ]
            known = [delivered.entries[side][:3] for delivered in let_go]
            reply = store.renew(consumer, leases, places, known=known)
            lost = [self.payloads[side][lease[:3]] for lease in reply.lost]
            pictures = [[entry_picture(entry) for entry in found] for found in (reply.unnamed, reply.taken)]
            return lost, reply.statuses, pictures

        self.agree(call)

    @rule(data=st.data(), consumer=st.sampled_from(CONSUMERS), delay_ms=st.sampled_from([0, HOUR_MS]))
    def release(self, data: st.DataObject, consumer: str, delay_ms: int) -> None:
        chosen = self.draw_delivered(data)
        self.agree(lambda store, side: store.release(consumer, [d.entries[side] for d in chosen], delay_ms))

    @rule(data=st.data())
    def bury(self, data: st.DataObject) -> None:
        chosen = self.draw_delivered(data)[:1]

        async def call(store: Store, side: int) -> None:
            for delivered in chosen:
                await store.bury(delivered.entries[side], "unreadable")

        self.both(call)

    @rule(consumer=st.sampled_from(CONSUMERS))
    def retire(self, consumer: str) -> None:
        self.agree(lambda store, _: store.retire(consumer))

    @rule(
        partition=st.integers(0, PARTITIONS - 1),
        keep_ms=st.sampled_from([0, 0, HOUR_MS]),
        limit=st.integers(1, 3),
    )
    def expire(self, partition: int, keep_ms: int, limit: int) -> None:
        """Removes trees: as many as there may be, as their order in one moment is another matter."""
        trees = {root_of(flow) for flow in FLOWS if partition_of(flow, PARTITIONS) == partition}
        most = limit if len(trees) == 1 else 100
        self.agree(lambda store, _: store.expire(partition, keep_ms=keep_ms, limit=most))
        heads = self.agree(lambda store, _: heads_of(store))
        for flow, head in zip(FLOWS, heads, strict=True):
            if head is None and self.history[flow][-1] != (0, ""):
                self.history[flow].append((0, ""))

    @rule(partition=st.integers(0, PARTITIONS - 1))
    def reap(self, partition: int) -> None:
        self.both(lambda store, _: store.reap(partition, 0))

    # ------------------------------------------------------------------- reading

    @rule(after=st.integers(0, 5), limit=st.integers(1, 5))
    def load(self, after: int, limit: int) -> None:
        async def call(store: Store, _: int) -> Any:
            logs = await store.load([(flow, after, limit) for flow in FLOWS])
            return [[event_picture(event) for event in events] for events in logs]

        self.agree(call)

    @rule()
    def heads(self) -> None:
        self.agree(lambda store, _: heads_of(store))

    @rule(index=st.sampled_from(INDEXES), page=st.integers(1, 3))
    def read_index(self, index: str, page: int) -> None:
        """Reads an index as a whole and by walking; the order of starts in one moment is another matter."""

        async def call(store: Store, _: int) -> Any:
            rows = await store.index(index)
            assert rows == (await store.index(index, newest=False))[::-1]
            assert rows == sorted(rows, key=lambda row: (row[1], row[0]), reverse=True)
            assert rows[:2] == await store.index(index, limit=2)
            assert await store.sizes([index, "label:never=so"]) == [len(rows), 0]
            walked = [flow for p in range(PARTITIONS) for flow in await walk(store, p, index, page)]
            assert sorted(walked) == sorted(flow for flow, _ in rows)
            return sorted(walked)

        self.agree(call)

    @rule()
    def read_the_rest(self) -> None:
        async def call(store: Store, _: int) -> Any:
            return (
                await store.plans([(p, plan) for p in range(PARTITIONS) for plan in (*PLANS, "never")]),
                await store.engines(),
                await store.queues(),
                [
                    stat.__class__(stat.queue, stat.depth, stat.in_flight, stat.due, 0)
                    for stat in await store.queue_stats()
                ],
                [event_picture(event) for event in await store.catalog(1)],
            )

        self.agree(call)

    @rule()
    def look_at_the_namespace(self) -> None:
        """Reads what doctor, audit and repair read: what is dead, what heads and logs say of themselves."""

        async def call(store: Store, _: int) -> Any:
            heads = await store.head_fields(FLOWS)
            return (
                (await store.dead()).entries,
                sorted(
                    (entry.stream, entry.payload, entry.reason) for entry in await store.dead_entries(100)
                ),
                [head and {name: head[name] for name in head if name not in CLOCKED} for head in heads],
                await store.log_ends(FLOWS),
                await store.plan_users([(p, plan) for p in range(PARTITIONS) for plan in (*PLANS, "never")]),
                await store.peek(),
                await store.lost_ids(),
            )

        self.agree(call)

    @rule(partition=st.integers(0, PARTITIONS - 1), index=st.sampled_from((*INDEXES, "tree", "expire")))
    def read_rows(self, partition: int, index: str) -> None:
        """Reads an index with its scores, and who has one; scores that are times are left out."""

        async def call(store: Store, _: int) -> Any:
            rows, cursor = await store.rows(partition, index, "0", 100)
            found = await store.scores(partition, [(index, flow) for flow in FLOWS])
            assert sorted(rows) == sorted(
                (flow, score) for flow, score in zip(FLOWS, found, strict=True) if score is not None
            )
            return sorted(flow for flow, _ in rows), cursor

        self.agree(call)

    @rule(partition=st.integers(0, PARTITIONS - 1))
    def references(self, partition: int) -> None:
        async def call(store: Store, _: int) -> Any:
            known = {CONTROL, *(f"work:{queue}" for queue in await store.queues())}
            return {row for row in await store.references(partition) if row[0] in known}

        self.agree(call)

    @rule(restart=st.sampled_from([None, None, "0-0", "$"]))
    def feed(self, restart: str | None) -> None:
        def call(store: Store, side: int) -> Awaitable[FeedReply]:
            cursors = {p: restart or cursors[side] for p, cursors in self.feed_cursors.items()}
            return store.feed(cursors, 0)

        model, other = self.both(call)
        assert feed_picture(model) == feed_picture(other)
        self.feed_cursors = {p: (model.cursors[p], other.cursors[p]) for p in range(PARTITIONS)}

    @rule()
    def dumps_agree(self) -> None:
        other = self.runner.run(self.other.dump(self.other.store))
        assert self.server.dump() == other

    # --------------------------------------------------------------------- words

    def new(self, prefix: str) -> str:
        """A word that was never used, greater than the ones before."""
        self.made += 1
        return f"{prefix}{self.made:05}"

    def draw_delivered(self, data: st.DataObject) -> list[Delivered]:
        if not self.delivered:
            return []
        return data.draw(st.lists(st.sampled_from(self.delivered), max_size=4, unique=True))

    def deliver(self, model: Sequence[Entry], other: Sequence[Entry]) -> None:
        """Compares what was delivered and remembers it, so that it can be named later on."""
        assert [entry_picture(entry) for entry in model] == [entry_picture(entry) for entry in other]
        for pair in zip(model, other, strict=True):
            self.delivered.append(Delivered(pair[0].payload, pair))
            for side, entry in enumerate(pair):
                self.payloads[side][entry[:3]] = entry.payload

    def payload_at(self, ref: StreamRef, cursor: str, side: int) -> str:
        """What stands at a cursor of a takeover: it is pending, so it was delivered."""
        return "" if cursor == "0-0" else self.payloads[side][(ref.partition, ref.stream, cursor)]


async def heads_of(store: Store) -> list[Any]:
    """The heads of all flows, without times."""
    heads = await store.heads(FLOWS)
    return [head and (head.version, head.tx, head.sealed, head.fields) for head in heads]


async def walk(store: Store, partition: int, index: str, page: int) -> list[str]:
    """Walks an index to its end."""
    found: list[str] = []
    cursor = "0"
    for _ in range(2 * len(FLOWS) + 2):
        flows, cursor = await store.walk(partition, index, cursor, page)
        found += flows
        if cursor == "0":
            return found
    raise AssertionError(f"the walk of {index} does not end")


new_events = st.builds(
    NewEvent,
    type=st.sampled_from(["work_started", "step_started"]),
    cause=st.integers(0, 3),
    by=st.sampled_from(["start", "work e1"]),
    data=st.binary(max_size=3),
)
set_heads = st.builds(SetHead, st.just("status"), st.sampled_from(["active", "failed", ""])) | st.builds(
    SetHead, st.just("goal"), st.text("aä ", max_size=2)
)
engines = st.builds(
    EngineInfo,
    id=st.sampled_from(CONSUMERS),
    queues=st.lists(st.sampled_from(QUEUES), max_size=2).map(tuple),
    handlers=st.lists(st.sampled_from(["charge", "prüfe"]), max_size=2).map(tuple),
    lease_ms=st.sampled_from([2_000, 10_000]),
    state=st.sampled_from(["", "{}"]),
)


def stream_refs() -> st.SearchStrategy[StreamRef]:
    return st.builds(
        StreamRef,
        st.integers(0, PARTITIONS - 1),
        st.sampled_from(STREAMS),
        readers=st.integers(1, 3),
        held=st.integers(0, 3),
    )


def fetches() -> st.SearchStrategy[Fetch]:
    return st.builds(
        Fetch,
        consumer=st.sampled_from(CONSUMERS),
        slots=st.integers(0, 4),
        streams=st.lists(stream_refs(), min_size=1, max_size=4),
        control=st.integers(0, 3),
    )


def helds(history: Sequence[tuple[int, str]]) -> st.SearchStrategy[tuple[int, str]]:
    """What a caller may hold: mostly the truth, or what was true, a fork, or more than there is."""
    version, _ = history[-1]
    truth = st.just(history[-1])  # drawn most of the time: a refusal leads nowhere new
    wrong = st.sampled_from([*history, (max(version, 1), "t-fork"), (version + 1, "t-lost")])
    return st.integers(0, 3).flatmap(lambda n: wrong if n == 3 else truth)


def entry_picture(entry: Entry) -> tuple[object, ...]:
    return entry.partition, entry.stream, entry.payload


def event_picture(event: StoredEvent) -> StoredEvent:
    return event._replace(at=0)


def picture(reply: TurnReply) -> object:
    """An answer without times."""
    match reply:
        case Committed():
            return reply._replace(at=0)
        case Refused():
            return reply._replace(missed=tuple(map(event_picture, reply.missed)))
        case PlanMissing():
            return reply


def due_picture(due_ms: int | None, now_ms: int) -> bool | None:
    """Whether the next due entry is due; None when there is none."""
    return None if due_ms is None else due_ms <= now_ms


def feed_picture(reply: FeedReply) -> Mapping[str, object]:
    return {"entries": [entry._replace(id="") for entry in reply.entries], "gaps": reply.gaps}


def run(other: Callable[[], Other], *, examples: int) -> None:
    """Runs the machine against other stores, a new one for each example."""
    run_state_machine_as_test(
        lambda: Machine(other()),
        settings=settings(
            max_examples=max(examples, EXAMPLES),
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def in_memory() -> Other:
    server = MemoryServer(partitions=PARTITIONS)

    async def dump(_: Store) -> dict[str, object]:
        return server.dump()

    return Other(MemoryStore(server=server), dump, lambda: None)


def on_server(kind: str) -> Other:
    server = TestServer(kind)

    async def dump(store: Store) -> dict[str, object]:
        return await dump_redis(server, store)

    def end() -> None:
        unknown = server.unknown_keys()
        server.empty()
        server.close()
        assert unknown == []

    store = RedisStore("", server.namespace, partitions=PARTITIONS, connector=server.connector)
    return Other(store, dump, end)


def test_what_the_machine_leaves_out_is_all_that_differs_by_clock() -> None:
    run(in_memory, examples=30)


@pytest.mark.timeout(SHRINK_LIMIT_S)
def test_memory_and_fakeredis_never_differ() -> None:
    run(lambda: on_server("fakeredis"), examples=30)


@pytest.mark.timeout(SHRINK_LIMIT_S)
@pytest.mark.parametrize("kind", kinds())
def test_memory_and_a_real_server_never_differ(kind: str) -> None:
    run(lambda: on_server(kind), examples=100)
