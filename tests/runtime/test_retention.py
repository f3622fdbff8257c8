"""Trees go a set time after their last flow was deactivated, and nobody is alarmed by it.

Time is virtual: nothing here waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from argyll_redis.core.commands import Answer, Cancel, Start
from argyll_redis.core.state import Flow
from argyll_redis.errors import HistoryLost, StoreUnavailable
from argyll_redis.runtime.clock import new_seed
from argyll_redis.runtime.logs import Logs
from argyll_redis.runtime.node import Node
from argyll_redis.runtime.retention import FLOWS_A_ROUND, LOOK_MS, REAP_MS
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import Expired, partition_of
from tests.runtime.nodes import Fleet, chain, step
from tests.runtime.test_children import STEPS as SUB_STEPS
from tests.runtime.test_lost_replies import INIT, LEASE_MS, PARTITIONS, World, play

KEEP_MS = 120_000
OVER_S = (KEEP_MS + LOOK_MS) / 1000 + 2
"""When a tree that was deactivated at first has surely been looked at after its time."""

Scene = Callable[[World, Fleet], Awaitable[Any]]


def act(scene: Scene, steps: Sequence[dict[str, Any]] = ()) -> Any:
    """Plays a scene on a fleet that has the steps."""

    async def whole(world: World) -> Any:
        async with world.fleet(steps or chain(1)) as those:
            return await scene(world, those)

    return play(whole)


class Watched(MemoryStore):
    """Writes down what it removes, and may fail at first."""

    def __init__(self, world: World, *, failures: int = 0) -> None:
        super().__init__(server=world.server)
        self.loop = world.loop
        self.failures = failures
        self.expiries: list[tuple[int, int, int]] = []
        """When (ms), in which partition, how many flows."""
        self.reaps: list[tuple[int, int]] = []

    async def expire(self, partition: int, *, keep_ms: int, limit: int) -> Expired:
        found = await super().expire(partition, keep_ms=keep_ms, limit=limit)
        self.expiries.append((self.loop.now_ms(), partition, found.flows))
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("the reply is lost")
        return found

    async def reap(self, partition: int, min_idle_ms: int) -> None:
        await super().reap(partition, min_idle_ms)
        self.reaps.append((self.loop.now_ms(), partition))


async def node_of(
    world: World, those: Fleet, name: str, store: MemoryStore | None = None, **how: Any
) -> Node:
    """A process that keeps flows for `KEEP_MS`."""
    settings: dict[str, Any] = {"retention_ms": KEEP_MS, **how}
    store = store or MemoryStore(server=world.server)
    node = Node(store, name, monotonic=world.loop.now_ms, spread=lambda limit_ms: limit_ms / 10, **settings)
    await node.open()
    those.nodes.append(node)
    return node


async def add_engine(world: World, those: Fleet, store: MemoryStore | None = None, **how: Any) -> Node:
    """Starts an engine that keeps flows for `KEEP_MS`."""
    node = await node_of(world, those, f"e{len(those.engines)}", store, **how)
    await those.add_engine(world.call, node=node, lease_ms=LEASE_MS, renew_in_thread=False)
    return node


async def ask_to_start(those: Fleet, node: Node, flow_id: str = "f", n: int = 1) -> Answer:
    """Starts a flow from a process."""
    plan = await those.plan(["s0"], INIT)
    start = Start(f"start:{node.client_id}", plan, node.logs.plans.add(plan), new_seed(), {"a0": [n]})
    return await node.committer.ask(flow_id, start)


def logs_of(server: MemoryServer) -> list[str]:
    return sorted(id for partition in server.namespace.partitions for id in partition.logs)


def left_in(server: MemoryServer) -> list[object]:
    """All that is left of flows."""
    return [
        each
        for partition in server.namespace.partitions
        for kept in (partition.logs, partition.plans, partition.indexes, partition.expire, partition.tree)
        for each in kept
    ]


# ------------------------------------------------------------------------ keeping


def test_a_flow_goes_when_its_time_is_over_with_all_that_is_kept_for_it() -> None:
    async def scene(world: World, those: Fleet) -> list[object]:
        await add_engine(world, those)
        await those.start(["f"], ["s0"], INIT)
        await those.finished("f")
        await asyncio.sleep(OVER_S)
        return left_in(world.server)

    assert act(scene) == []


def test_a_flow_is_there_until_its_time_is_over() -> None:
    async def scene(world: World, those: Fleet) -> list[str]:
        await add_engine(world, those)
        await those.start(["f"], ["s0"], INIT)
        await those.finished("f")
        await asyncio.sleep(KEEP_MS / 1000 - 1)
        return logs_of(world.server)

    assert act(scene) == ["f"]


def test_a_flow_that_is_not_over_stays() -> None:
    async def scene(world: World, those: Fleet) -> list[str]:
        await add_engine(world, those)
        await those.start(["f"], ["nowhere"], INIT)
        await asyncio.sleep(2 * OVER_S)
        return logs_of(world.server)

    assert act(scene, [step("nowhere", ["a0"], ["a1"], queue="nowhere")]) == ["f"]


def test_a_retention_of_0_keeps_flows_for_ever() -> None:
    async def scene(world: World, those: Fleet) -> tuple[list[str], list[Any]]:
        store = Watched(world)
        await add_engine(world, those, store, retention_ms=0)
        await those.start(["f"], ["s0"], INIT)
        await those.finished("f")
        await asyncio.sleep(4 * OVER_S)
        return logs_of(world.server), store.expiries

    assert act(scene) == (["f"], [])


def test_a_flow_goes_with_its_children() -> None:
    async def scene(world: World, those: Fleet) -> tuple[int, list[object]]:
        await add_engine(world, those)
        await those.start(["f"], ["sub"], {"n": [7]})
        await those.finished("f")
        before = len(logs_of(world.server))
        await asyncio.sleep(OVER_S)
        return before, left_in(world.server)

    assert act(scene, SUB_STEPS) == (2, [])


def test_a_tree_that_went_in_part_is_finished_by_whoever_looks_next() -> None:
    async def scene(world: World, those: Fleet) -> tuple[list[str], list[object]]:
        dead = await node_of(world, those, "dead")
        await add_engine(world, those)
        await those.start(["f"], ["sub"], {"n": [7]})
        await those.finished("f")
        await dead.store.expire(partition_of("f", PARTITIONS), keep_ms=0, limit=1)
        half = logs_of(world.server)
        await asyncio.sleep(OVER_S)
        return half, left_in(world.server)

    assert act(scene, SUB_STEPS) == (["f"], [])


def test_a_removal_whose_reply_is_lost_goes_on() -> None:
    async def scene(world: World, those: Fleet) -> list[object]:
        await add_engine(world, those, Watched(world, failures=3))
        await those.start(["f", "g", "h"], ["s0"], INIT)
        for id in "fgh":
            await those.finished(id)
        await asyncio.sleep(OVER_S + 3 * LOOK_MS / 1000)
        return left_in(world.server)

    assert act(scene) == []


# ------------------------------------------------------------------------- pacing


def test_many_flows_go_at_a_bounded_pace() -> None:
    count = 2 * FLOWS_A_ROUND + 50

    async def scene(world: World, those: Fleet) -> tuple[int, int, list[object]]:
        store = Watched(world)
        await add_engine(world, those, store)
        ids = [id for n in range(9_999) if partition_of(id := f"f{n}", PARTITIONS) == 0][:count]
        await those.start(ids, ["s0"], INIT)
        for id in ids:
            await those.finished(id)
        await asyncio.sleep(OVER_S + 10)
        seconds = [at_ms for at_ms, _, flows in store.expiries if flows]
        pause_ms = min(after - before for before, after in pairwise(seconds))
        return max(flows for _, _, flows in store.expiries), pause_ms, left_in(world.server)

    most, pause_ms, left = act(scene)
    assert (most, left) == (FLOWS_A_ROUND, [])
    assert pause_ms >= 500


def test_an_engine_looks_about_once_a_minute_when_nothing_is_due() -> None:
    minutes = 30

    async def scene(world: World, those: Fleet) -> tuple[int, int]:
        store = Watched(world)
        await add_engine(world, those, store)
        await asyncio.sleep(minutes * 60)
        return len(store.expiries), len(store.reaps)

    looks, reaps = act(scene)
    assert PARTITIONS * (minutes - 1) <= looks <= PARTITIONS * minutes * 4 / 3
    assert 2 * PARTITIONS <= reaps <= PARTITIONS * (minutes * 60_000 / REAP_MS + 1) * 4 / 3


def test_of_two_engines_each_looks_at_the_partitions_that_prefer_it() -> None:
    async def scene(world: World, those: Fleet) -> list[set[int]]:
        stores = [Watched(world) for _ in range(2)]
        for store in stores:
            await add_engine(world, those, store)
        await asyncio.sleep(5 * LOOK_MS / 1000)
        return [{partition for at_ms, partition, _ in each.expiries if at_ms > 10_000} for each in stores]

    mine, others = act(scene)
    assert (mine | others, mine & others) == (set(range(PARTITIONS)), set())


# ------------------------------------------------------------- what is known of it


async def expired(world: World, flow_id: str = "f") -> None:
    """Waits until a flow has expired."""
    while flow_id in logs_of(world.server):
        await asyncio.sleep(1)


def test_a_flow_started_again_where_its_end_is_known_is_a_new_one() -> None:
    async def scene(world: World, those: Fleet) -> tuple[Answer, Flow]:
        node = await add_engine(world, those)
        await ask_to_start(those, node)
        await those.finished("f")
        await expired(world)
        again = await ask_to_start(those, node)
        return again, await those.finished("f")

    again, flow = act(scene)
    assert (again.counted, flow.is_deactivated, flow.at_of(1) > KEEP_MS) == (True, True, True)


def test_a_flow_started_again_with_something_else_is_a_new_one() -> None:
    async def scene(world: World, those: Fleet) -> object:
        node = await add_engine(world, those)
        await ask_to_start(those, node)
        await those.finished("f")
        await expired(world)
        await ask_to_start(those, node, n=2)
        return (await those.finished("f")).init

    assert act(scene) == {"a0": [2]}


def test_a_flow_started_again_where_its_end_is_not_known_is_a_new_one() -> None:
    async def scene(world: World, those: Fleet) -> Answer:
        other = await node_of(world, those, "other")
        await ask_to_start(those, other)
        await add_engine(world, those)
        await those.finished("f")
        await expired(world)
        return await ask_to_start(those, other)

    assert act(scene).counted is True


def test_work_of_a_flow_that_has_the_id_now_is_run_at_its_first_attempt() -> None:
    """Though the engine remembers the flow that had the id before, and that one had come further."""

    async def scene(world: World, those: Fleet) -> list[int]:
        other = await node_of(world, those, "other")
        await add_engine(world, those)
        await ask_to_start(those, other)
        await those.finished("f")
        await expired(world)
        world.calls.clear()
        await ask_to_start(those, other)
        await those.finished("f")
        return world.calls

    assert act(scene) == [1]


def test_a_flow_that_is_there_is_not_started_again() -> None:
    async def scene(world: World, those: Fleet) -> Answer:
        node = await add_engine(world, those)
        await ask_to_start(those, node)
        await those.finished("f")
        return await ask_to_start(those, node)

    assert act(scene).counted is False


@pytest.mark.parametrize("knows_the_end", [True, False])
def test_a_command_for_a_flow_that_has_expired_is_for_an_unknown_one(knows_the_end: bool) -> None:
    async def scene(world: World, those: Fleet) -> tuple[Answer, dict[str, Any]]:
        other = await node_of(world, those, "other")
        await ask_to_start(those, other)
        engine = await add_engine(world, those)
        await those.finished("f")
        await expired(world)
        node = engine if knows_the_end else other
        answer = await node.committer.ask("f", Cancel("operator:o"))
        return answer, node.committer.quarantined

    answer, quarantined = act(scene)
    assert (answer.unknown, quarantined) == (True, {})


@pytest.mark.parametrize("knows_the_end", [True, False])
def test_a_command_finds_the_flow_that_has_the_id_now(knows_the_end: bool) -> None:
    async def scene(world: World, those: Fleet) -> tuple[Answer, str | None, dict[str, Any]]:
        other = await node_of(world, those, "other")
        await ask_to_start(those, other)
        engine = await add_engine(world, those)
        await those.finished("f")
        await expired(world)
        node = engine if knows_the_end else other
        await those.client.store.add_queues(["nowhere"])
        plan = await those.plan(["idle"], INIT)
        third = await node_of(world, those, "third")
        start = Start("start:third", plan, third.logs.plans.add(plan), new_seed(), INIT)
        await third.committer.ask("f", start)
        answer = await node.committer.ask("f", Cancel("operator:o"))
        return answer, (await those.client.load("f")).error, node.committer.quarantined

    steps = [*chain(1), step("idle", ["a0"], ["b"], queue="nowhere")]
    answer, error, quarantined = act(scene, steps)
    assert (answer.counted, error, quarantined) == (True, "cancelled", {})


def test_a_flow_that_is_gone_before_its_time_is_lost() -> None:
    async def scene(world: World, those: Fleet) -> tuple[bool, list[str]]:
        other = await node_of(world, those, "other")
        await ask_to_start(those, other)
        world.server.namespace.partitions[partition_of("f", PARTITIONS)].logs.clear()
        with pytest.raises(HistoryLost, match="the server has lost history"):
            await other.committer.ask("f", Cancel("operator:o"))
        return True, list(other.committer.quarantined)

    assert act(scene) == (True, ["f"])


# ------------------------------------------------------------------------ reading


class Vanishes(MemoryStore):
    """Removes what is over right after a log was read: before its plan is."""

    is_over = True

    async def load(self, reads: Sequence[tuple[str, int, int]]) -> Any:
        found = await super().load(reads)
        if self.is_over:
            for partition in range(self.partitions):
                await self.expire(partition, keep_ms=0, limit=100)
        return found


def test_a_flow_that_expires_while_it_is_read_does_not_exist() -> None:
    async def scene(world: World, those: Fleet) -> tuple[int, list[Any]]:
        await add_engine(world, those)
        await those.start(["f", "g"], ["s0"], INIT)
        for id in "fg":
            await those.finished(id)
        store = Vanishes(server=world.server)
        await store.open()
        flow = await Logs(store).read("f")
        return flow.version, await Logs(store).events("g")

    assert act(scene) == (0, [])


def test_a_plan_that_is_gone_while_its_flow_is_there_is_lost_history() -> None:
    async def scene(world: World, those: Fleet) -> bool:
        await those.start(["f"], ["s0"], INIT)
        world.server.namespace.partitions[partition_of("f", PARTITIONS)].plans.clear()
        store = MemoryStore(server=world.server)
        await store.open()
        with pytest.raises(HistoryLost, match="is gone while a flow has it"):
            await Logs(store).read("f")
        return True

    assert act(scene) is True
