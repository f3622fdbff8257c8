"""What an engine does with entries whose replies were lost or came late, and with flows it cannot read.

Each test is one that the fault simulator has found. Time is virtual: nothing here waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from argyll_redis.core.commands import Look, Outcome, Report, Retry, Start, Succeeded, Unfinished
from argyll_redis.core.model import StepId, StepType
from argyll_redis.core.state import FlowStatus, WorkStatus
from argyll_redis.errors import CallRefused, StoreUnavailable, UnknownEvent
from argyll_redis.runtime.committer import Committer
from argyll_redis.runtime.engine import Engine
from argyll_redis.runtime.engine_config import EngineConfig
from argyll_redis.runtime.node import Node
from argyll_redis.steps.job import Job
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import (
    CommitReply,
    Entry,
    Fetch,
    Head,
    Keep,
    KeepReply,
    Lease,
    NewEvent,
    RenewReply,
    StoredEvent,
    StreamRef,
    Turn,
    partition_of,
)
from argyll_redis.testing.virtual import VirtualLoop, run_virtual
from tests.runtime.nodes import Fleet, chain, echo, fleet, step

T = TypeVar("T")

LEASE_MS = 2_000
PARTITIONS = 2
INIT = {"a0": [1]}


class World:
    """A server with virtual time, engines on it, and a journal of their calls."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.server = MemoryServer(partitions=PARTITIONS, now_ms=lambda: 1_000_000 + loop.now_ms())
        self.calls: list[int] = []
        """Attempts, in the order of their calls."""

    def fleet(self, steps: Sequence[dict[str, Any]]) -> AbstractAsyncContextManager[Fleet]:
        return fleet(lambda: MemoryStore(server=self.server), steps)

    async def call(self, job: Job) -> Outcome:
        self.calls.append(job.attempt)
        return await echo(job)

    async def add_engine(
        self,
        those: Fleet,
        store: MemoryStore | None = None,
        handler: Callable[[Job], Awaitable[Outcome]] | None = None,
        **config: Any,
    ) -> Engine:
        """Starts an engine whose clock is the virtual one."""
        name = f"e{len(those.engines)}"
        node = Node(
            store or MemoryStore(server=self.server),
            name,
            monotonic=self.loop.now_ms,
            spread=lambda limit_ms: limit_ms / 10,
        )
        await node.open()
        those.nodes.append(node)
        settings: dict[str, Any] = {"lease_ms": LEASE_MS, "renew_in_thread": False, **config}
        return await those.add_engine(handler or self.call, node=node, **settings)


def play(scene: Callable[[World], Awaitable[T]]) -> T:
    """Runs a scene under virtual time."""

    async def main(loop: VirtualLoop) -> T:
        return await scene(World(loop))

    return run_virtual(main)


async def deliver_to_ghost(those: Fleet, flow_id: str) -> None:
    """Delivers what waits to an engine that is gone."""
    store = those.client.store
    await store.fetch(Fetch("ghost", 10, [StreamRef(partition_of(flow_id, PARTITIONS), "work:default")]))


class HeadOnly(MemoryStore):
    """Has of one flow nothing but its head."""

    def __init__(self, server: MemoryServer, flow: str, head: Head) -> None:
        super().__init__(server=server)
        self._flow = flow
        self._head = head

    async def heads(self, flows: Sequence[str]) -> list[Head | None]:
        found = await super().heads(flows)
        return [self._head if flow == self._flow else head for flow, head in zip(flows, found, strict=True)]

    async def load(self, reads: Sequence[tuple[str, int, int]]) -> list[list[StoredEvent]]:
        found = await super().load(reads)
        return [[] if read[0] == self._flow else page for read, page in zip(reads, found, strict=True)]


class LosesTakeover(MemoryStore):
    """Loses the reply of the first round of keeping that takes anything over."""

    has_lost = False

    async def keep(self, keep: Keep) -> KeepReply:
        reply = await super().keep(keep)
        if reply.taken and not self.has_lost:
            self.has_lost = True
            raise StoreUnavailable("the reply is lost")
        return reply


def test_what_was_taken_over_by_a_lost_reply_runs_under_another_attempt() -> None:
    """A dead engine may have run it, so its attempt is never begun again."""

    async def scene(world: World) -> list[int]:
        async with world.fleet(chain(1)) as those:
            await those.start(["f"], ["s0"], INIT)
            await deliver_to_ghost(those, "f")
            await world.add_engine(those, LosesTakeover(server=world.server))
            await those.finished("f")
            return world.calls

    assert play(scene) == [2]


class Stalls(MemoryStore):
    """Gives the reply of a blocking read that delivers work a lease late."""

    async def block(
        self, consumer: str, streams: Sequence[tuple[int, str]], block_ms: int
    ) -> tuple[Entry, ...]:
        entries = await super().block(consumer, streams, block_ms)
        if any(entry.stream != "control" for entry in entries):
            await asyncio.sleep(LEASE_MS / 1000)
        return entries


@pytest.mark.parametrize("work_ms", [0, 3 * LEASE_MS])
@pytest.mark.parametrize("concurrency", [1, 2])
def test_an_entry_that_was_found_before_its_reply_came_is_run_once(concurrency: int, work_ms: int) -> None:
    """Whether it was begun or, for want of a slot, handed back: the reply that comes late starts nothing."""

    async def scene(world: World) -> list[int]:
        async def work(job: Job) -> Outcome:
            world.calls.append(job.attempt)
            await asyncio.sleep(work_ms / 1000)
            return await echo(job)

        async with world.fleet(chain(1)) as those:
            store = Stalls(server=world.server)
            await world.add_engine(those, store, work, concurrency=concurrency)
            await asyncio.sleep(0.1)
            await those.start(["f"], ["s0"], INIT)
            await asyncio.sleep(0.1)
            await world.add_engine(those, None, work)
            await those.finished("f")
            await asyncio.sleep(2 * LEASE_MS / 1000)
            return world.calls

    assert play(scene) == [1]


class BusyLoop(MemoryStore):
    """Delivers its first entry three leases late, to an engine that hears of nothing meanwhile: as when
    its event loop is blocked and only the renewer's thread goes on."""

    hears_nothing = False
    has_delivered = False

    async def block(
        self, consumer: str, streams: Sequence[tuple[int, str]], block_ms: int
    ) -> tuple[Entry, ...]:
        entries = await super().block(consumer, streams, block_ms)
        if not self.has_delivered and any(entry.stream != "control" for entry in entries):
            self.has_delivered = self.hears_nothing = True
            await asyncio.sleep(3 * LEASE_MS / 1000)
            self.hears_nothing = False
        return entries

    def renew(self, *given: Any, **named: Any) -> RenewReply:
        reply = super().renew(*given, **named)
        return replace(reply, unnamed=()) if self.hears_nothing else reply


def test_an_entry_delivered_to_a_busy_engine_is_not_lost() -> None:
    """It was never called, so it is still its first attempt, though another engine is there."""

    async def scene(world: World) -> list[int]:
        async with world.fleet(chain(1)) as those:
            await world.add_engine(those, BusyLoop(server=world.server))
            await asyncio.sleep(0.1)
            await those.start(["f"], ["s0"], INIT)
            await asyncio.sleep(0.1)
            await world.add_engine(those)
            await those.finished("f")
            return world.calls

    assert play(scene) == [1]


def test_a_call_that_outlasts_the_grace_is_not_handed_back_under_its_attempt() -> None:
    """It has run, maybe to its end: only a takeover says that it may run again."""

    async def scene(world: World) -> list[int]:
        async def hang(job: Job) -> Outcome:
            world.calls.append(job.attempt)
            if len(world.calls) == 1:
                await asyncio.Event().wait()
            return await echo(job)

        async with world.fleet(chain(1)) as those:
            stop = asyncio.Event()
            config = EngineConfig(
                "first", ("default",), lease_ms=LEASE_MS, grace_ms=500, renew_in_thread=False
            )
            node = Node(MemoryStore(server=world.server), "first", monotonic=world.loop.now_ms)
            await node.open()
            running = node.run_engine(config, {StepType.PYTHON: hang}, can_do=lambda _: True, until=stop.wait)
            first = asyncio.create_task(running)
            await those.start(["f"], ["s0"], INIT)
            await asyncio.sleep(0.1)
            stop.set()
            await first
            await world.add_engine(those, None, hang)
            await those.finished("f")
            return world.calls

    assert play(scene) == [1, 2]


def test_an_engine_takes_no_more_than_it_has_slots_whatever_replies_are_lost() -> None:
    """What two renewals find is handed back when no slot is free."""

    class LosesFetch(MemoryStore):
        has_lost = False

        async def fetch(self, fetch: Fetch) -> tuple[Entry, ...]:
            entries = await super().fetch(fetch)
            if len(entries) > 1 and not self.has_lost:
                self.has_lost = True
                raise StoreUnavailable("the reply is lost")
            return entries

    async def scene(world: World) -> tuple[int, int, bool]:
        most = now = 0

        async def work(job: Job) -> Outcome:
            nonlocal most, now
            now += 1
            most = max(most, now)
            await asyncio.sleep(2 * LEASE_MS / 1000)
            now -= 1
            return await echo(job)

        async with world.fleet(chain(1)) as those:
            flows = [f"f{n}" for n in range(8)]
            await those.start(flows, ["s0"], INIT)
            store = LosesFetch(server=world.server)
            engine = await world.add_engine(those, store, work, concurrency=2)
            for flow in flows:
                await those.finished(flow)
            return most, engine.counters.lost, store.has_lost

    assert play(scene) == (2, 0, True)


def test_a_call_that_is_stopped_before_it_is_made_frees_its_slot() -> None:
    """A task that is cancelled before it runs never hears of it."""

    async def scene(world: World) -> tuple[int, int, list[int]]:
        async with world.fleet(chain(1)) as those:
            engine = await world.add_engine(those)
            await those.start(["f"], ["s0"], INIT)
            flow = await those.client.load("f")
            those.nodes[0].committer.cache.put(flow)  # so that it is begun without a read
            payload = f"f {next(iter(flow.tokens))} 1 {flow.version}"
            entry = Entry(partition_of("f", PARTITIONS), "work:default", "1-1", payload)
            before = engine.intake.free_slots
            engine.take(entry)
            lease = Lease(entry.partition, entry.stream, entry.id, "f")
            engine.renewed(RenewReply((lease,), {}, ()), world.loop.now_ms())
            after = engine.intake.free_slots
            await those.finished("f")
            return before, after, world.calls

    before, after, calls = play(scene)
    assert (before, calls) == (after, [1])


def test_a_lost_entry_is_buried_once_the_server_answers_again() -> None:
    """An error of burying is no error of the engine, and the entry is found again."""

    class RefusesToBury(MemoryStore):
        refusals = 2

        async def bury(self, entry: Entry, reason: str) -> None:
            if self.refusals:
                self.refusals -= 1
                raise StoreUnavailable("refused")
            await super().bury(entry, reason)

    async def scene(world: World) -> tuple[list[str], list[str]]:
        async with world.fleet(chain(1)) as those:
            world.server.namespace.partitions[0].add_entry("work:default", "nonsense", world.server.now_ms())
            await world.add_engine(those, RefusesToBury(server=world.server))
            await asyncio.sleep(3 * LEASE_MS / 1000)
            dead = [payload for _, payload, _ in world.server.namespace.partitions[0].dead]
            return dead, world.loop.complaints

    assert play(scene) == (["nonsense"], [])


# ------------------------------------------------------------------ equal starts


def test_two_equal_starts_at_once_in_one_process_make_one_flow() -> None:
    """The second is answered by what the first committed."""

    async def scene(world: World) -> tuple[int, list[bool]]:
        async with world.fleet(chain(1)) as those:
            plan = await those.plan(["s0"], INIT)
            hash = those.client.logs.plans.add(plan)
            start = Start("start:client", plan, hash, "0" * 32, INIT)
            answers = await asyncio.gather(*(those.client.committer.ask("f", start) for _ in range(3)))
            flow = await those.client.load("f")
            return len(flow.turn_firsts), [answer.counted for answer in answers]

    assert play(scene) == (1, [True, False, False])


# ------------------------------------------------------- what cannot be read here


async def append_unknown(world: World, flow_id: str) -> None:
    """Appends an event that no version knows yet."""
    store = MemoryStore(server=world.server)
    await store.open()
    [head] = await store.heads([flow_id])
    assert head is not None
    event = NewEvent("step_frozen", 0, "operator:later", b"{}")
    turn = Turn(partition_of(flow_id, PARTITIONS), flow_id, head.version, head.tx, "later.1", [event])
    await store.commit([turn])


async def _raised(committer: Committer, flow_id: str) -> type[BaseException]:
    try:
        await committer.ask(flow_id, Look("operator:test"))
    except Exception as error:
        return type(error)
    raise AssertionError("it was answered")


def test_every_command_on_a_flow_of_a_later_version_is_told_so() -> None:
    """The first and those after it: it is not the server that has lost anything."""

    async def scene(world: World) -> list[type[BaseException]]:
        async with world.fleet(chain(1)) as those:
            await those.start(["f"], ["s0"], INIT)
            await append_unknown(world, "f")
            committer = those.client.committer
            return [await _raised(committer, "f"), await _raised(committer, "f")]

    assert play(scene) == [UnknownEvent, UnknownEvent]


def test_work_of_a_flow_of_a_later_version_is_left_to_others() -> None:
    """Nothing of it goes to `dead`, and what was called is not handed back."""

    async def scene(world: World) -> tuple[list[int], int, list[object]]:
        async def work(job: Job) -> Outcome:
            world.calls.append(job.attempt)
            await append_unknown(world, "f")
            return await echo(job)

        async with world.fleet(chain(1)) as those:
            await world.add_engine(those, None, work)
            await those.start(["f"], ["s0"], INIT)
            await asyncio.sleep(5 * LEASE_MS / 1000)
            [partition] = [each for each in world.server.namespace.partitions if each.logs]
            return world.calls, partition.streams["work:default"].pending_count, list(partition.dead)

    assert play(scene) == ([1], 1, [])


def test_a_flow_that_the_sweep_cannot_read_holds_up_no_other() -> None:
    """The others of its page are looked at one by one."""

    async def scene(world: World) -> FlowStatus:
        async with world.fleet(chain(1)) as those:
            await those.start(["f", "g"], ["s0"], INIT)
            await append_unknown(world, "f")
            world.server.lose_dispatch()
            await world.add_engine(those)
            return (await those.finished("g")).status

    assert play(scene) is FlowStatus.COMPLETED


def test_a_flow_whose_log_is_gone_ends_no_engine() -> None:
    """The sweep finds its head, and nothing else of it."""

    async def scene(world: World) -> tuple[FlowStatus, list[str]]:
        async with world.fleet(chain(1)) as those:
            await those.start(["f", "g"], ["s0"], INIT)
            [home] = [each for each in world.server.namespace.partitions if "f" in each.logs]
            head = home.logs["f"].head()
            world.server.lose_dispatch()
            engine = await world.add_engine(those, HeadOnly(world.server, "f", head))
            flow = await those.finished("g")
            return flow.status, list(engine._committer.quarantined)

    assert play(scene) == (FlowStatus.COMPLETED, ["f"])


class Foreign(MemoryStore):
    """Has something of another type in the place of the head of `f`, or of the indexes of a partition."""

    def __init__(self, server: MemoryServer, partition: int | None) -> None:
        super().__init__(server=server)
        self._partition = partition

    async def heads(self, flows: Sequence[str]) -> list[Head | None]:
        if self._partition is None and "f" in flows:
            raise CallRefused("WRONGTYPE")
        return await super().heads(flows)

    async def walk(self, partition: int, index: str, cursor: str, limit: int) -> tuple[list[str], str]:
        if partition == self._partition:
            raise CallRefused("WRONGTYPE")
        return await super().walk(partition, index, cursor, limit)


@pytest.mark.parametrize("is_index", [False, True])
def test_what_is_in_the_place_of_a_head_or_an_index_holds_up_no_other(is_index: bool) -> None:
    async def scene(world: World) -> tuple[FlowStatus, list[str]]:
        home = partition_of("f", PARTITIONS)
        names = (f"g{number}" for number in range(100))
        other = next(name for name in names if (partition_of(name, PARTITIONS) == home) is not is_index)
        async with world.fleet(chain(1)) as those:
            await those.start(["f", other], ["s0"], INIT)
            world.server.lose_dispatch()
            engine = await world.add_engine(those, Foreign(world.server, home if is_index else None))
            flow = await those.finished(other)
            return flow.status, list(engine._committer.quarantined)

    assert play(scene) == (FlowStatus.COMPLETED, [] if is_index else ["f"])


def test_a_due_entry_that_was_lost_is_restored_for_its_own_time() -> None:
    """Restored too early it would decide to nothing, and be lost again."""

    async def scene(world: World) -> tuple[int, int, FlowStatus]:
        slow = step("slow", ["a0"], ["a1"])

        async def hang(job: Job) -> Outcome:
            await asyncio.Event().wait()
            return await echo(job)

        async with world.fleet([slow]) as those:
            plan = await those.plan(["slow"], INIT)
            start = Start(
                "start:client", plan, those.client.logs.plans.add(plan), "0" * 32, INIT, timeout_ms=60_000
            )
            await those.client.committer.ask("f", replace(start, linger_ms=1))
            began_ms = world.loop.now_ms()
            world.server.lose_dispatch()
            await world.add_engine(those, None, hang, grace_ms=1)
            await asyncio.sleep(5 * LEASE_MS / 1000)
            scores = [each.due.first_score for each in world.server.namespace.partitions]
            [due_ms] = [score for score in scores if score is not None]
            await asyncio.sleep(60)
            flow = await those.client.load("f")
            lasted_s = (flow.at_of(flow.ended_version) - flow.at_of(1)) // 1000
            return due_ms - 1_000_000 - began_ms, lasted_s, flow.status

    assert play(scene) == (60_000, 60, FlowStatus.FAILED)


# --------------------------------------------------------------- turns that are late


class DelaysCommit(MemoryStore):
    """Delays every commit by what is set."""

    delay_s = 0.0

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        await asyncio.sleep(self.delay_s)
        return await super().commit(turns, fetch)


def test_a_retry_that_came_due_while_a_turn_was_on_its_way_starts_after_it() -> None:
    """Its due entry found no free slot; the turn that frees the slot was decided before it was due."""

    async def scene(world: World) -> list[tuple[str, int]]:
        steps = [
            step(
                "each",
                (),
                ["made"],
                for_each=["parts"],
                work_config={"parallelism": 1, "init_backoff": 500, "backoff_type": "fixed"},
            )
        ]
        async with world.fleet(steps) as those:
            store = DelaysCommit(server=world.server)
            late = Node(store, "late", monotonic=world.loop.now_ms)
            other = Node(MemoryStore(server=world.server), "other", monotonic=world.loop.now_ms)
            for node in (late, other):
                await node.open()
                those.nodes.append(node)
            await those.start(["f"], ["each"], {"parts": [[1, 2]]})
            first, second = (await late.load("f")).tokens
            await late.committer.ask("f", Report("work:late", first, Unfinished("not yet"), 1))
            store.delay_s = 1.0
            frees = asyncio.create_task(
                late.committer.ask("f", Report("work:late", second, Succeeded({"made": 1}), 1))
            )
            await asyncio.sleep(0.7)
            await other.committer.ask("f", Retry("timer:other", first, 2))
            await frees
            await late.committer.close()
            items = (await other.load("f")).steps[StepId("each")].items
            return [(items[index].status, items[index].attempt) for index in (0, 1)]

    assert play(scene) == [(WorkStatus.ACTIVE, 2), (WorkStatus.SUCCEEDED, 1)]
