"""What happens at the edges: logs that cannot be read, large values, time that was over before anybody
looked, and a start beside the work of the same flow."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from argyll_redis.core.commands import Outcome, Start
from argyll_redis.core.state import FlowStatus
from argyll_redis.errors import NamespaceEmptied
from argyll_redis.runtime import committer, follower
from argyll_redis.runtime.clock import new_seed
from argyll_redis.runtime.follower import Following
from argyll_redis.runtime.node import Node
from argyll_redis.steps.job import Job
from argyll_redis.store.protocol import CommitReply, Fetch, Turn, partition_of
from tests.runtime.nodes import chain, echo, fleet
from tests.servers import StoreFactory

pytestmark = pytest.mark.anyio


async def test_a_log_that_cannot_be_read_stops_its_own_flow_alone(store_factory: StoreFactory) -> None:
    """Somebody adds an entry of his own to a flow's log while work of it runs: the turn that meets it is
    refused, the flow is left alone, and the other turns of the call and all that follows go on."""
    if store_factory.server is None:
        pytest.skip("nobody else writes into this process")
    is_written = asyncio.Event()
    begun: Counter[str] = Counter()

    async def work(job: Job) -> Outcome:
        begun[job.flow_id] += 1
        await is_written.wait()
        return await echo(job)

    async with fleet(store_factory, chain(2)) as those:
        engine = await those.add_engine(work)
        await those.start(["odd", "good"], ["s1"], {"a0": [1]})
        while len(begun) < 2:
            await asyncio.sleep(0.001)
        vandalize(store_factory, "odd", those.client.store.partitions)
        is_written.set()
        assert (await those.finished("good")).status is FlowStatus.COMPLETED
        node = those.nodes[0].committer
        while "odd" not in node.quarantined:
            await asyncio.sleep(0.001)
        assert (node.fatal, list(node.quarantined), engine.counters.begun) == (None, ["odd"], 3)


def vandalize(factory: StoreFactory, flow: str, partitions: int) -> None:
    """Appends to a flow's log what is no event."""
    assert factory.server is not None
    prefix = f"{{{factory.server.namespace}:{partition_of(flow, partitions)}}}"
    factory.server.client.xadd(f"{prefix}:flow:{flow}", {"type": "x", "extra": "y"}, id="4-0")
    factory.server.client.hset(f"{prefix}:head:{flow}", mapping={"v": 4, "tx": "somebody"})


class SizedStore:
    """Notes how many bytes of events each call carried, and for how many turns."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.calls: list[tuple[int, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        self.calls.append((len(turns), sum(turn.size for turn in turns)))
        return await self._store.commit(turns, fetch)


async def test_large_values_do_not_travel_in_one_call(store_factory: StoreFactory) -> None:
    """A call carries turns until it is full by bytes; only its last turn may go beyond that."""
    large = "x" * 100_000
    async with fleet(store_factory, chain(1)) as those:
        store = SizedStore(store_factory())
        node = Node(store, "sized")
        await node.open()
        those.nodes.append(node)
        plan = await those.plan(["s0"], {"a0": [large]})
        hash = node.logs.plans.add(plan)
        starts = [Start("start:sized", plan, hash, new_seed(), {"a0": [large]}) for _ in range(20)]
        await asyncio.gather(*(node.committer.ask(f"f{n}", start) for n, start in enumerate(starts)))
        assert sum(turns for turns, _ in store.calls) == 20
        assert max(turns for turns, _ in store.calls) == 3
        assert max(size for _, size in store.calls) < committer.BYTES_A_CALL + 110_000


async def test_a_flow_whose_time_is_over_ends_when_an_engine_comes(store_factory: StoreFactory) -> None:
    """With nobody there to look, its time passed unnoticed: no step of it is called any more."""
    called: Counter[str] = Counter()

    async def note(job: Any) -> Any:
        called[job.flow_id] += 1
        raise AssertionError("nothing is to be called")

    async with fleet(store_factory, chain(1)) as those:
        plan = await those.plan(["s0"], {"a0": [1]})
        hash = those.client.logs.plans.add(plan)
        start = Start("start:client", plan, hash, new_seed(), {"a0": [1]}, timeout_ms=1)
        await those.client.committer.ask("f", start)
        born_ms = (await those.client.load("f")).at_of(1)
        while await those.client.store.now_ms() <= born_ms + 1:
            await asyncio.sleep(0)
        await those.add_engine(note)
        flow = await those.finished("f")
        assert (flow.status, flow.error, called) == (FlowStatus.FAILED, "timed out", Counter())


async def test_whoever_only_waits_learns_that_the_server_was_emptied(
    store_factory: StoreFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing comes from an emptied server, so a follower that reads nothing looks whether it is the
    one it knew."""
    monkeypatch.setattr(follower, "BLOCK_MS", 50)
    async with fleet(store_factory, chain(1)) as those:
        await those.start(["f"], ["s0"], {"a0": [1]})
        async with those.client.follower.follow("f") as following:
            await store_factory.empty()
            with pytest.raises(NamespaceEmptied):
                await listen(following)


async def listen(following: Following) -> None:
    """Waits for changes until there can be no more."""
    while True:
        await following.wait()


class AwayStore:
    """A store whose commits get no answer."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        await asyncio.Event().wait()
        raise AssertionError("never set")


async def test_a_process_that_ends_does_not_wait_for_a_server_that_is_away(
    store_factory: StoreFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked for and cannot be committed is dropped after a while."""
    monkeypatch.setattr("argyll_redis.runtime.node.CLOSE_LIMIT_S", 0.05)
    async with fleet(store_factory, chain(1)) as those:
        node = Node(AwayStore(store_factory()), "away")
        await node.open()
        plan = await those.plan(["s0"], {"a0": [1]})
        start = Start("start:away", plan, node.logs.plans.add(plan), new_seed(), {"a0": [1]})
        asking = asyncio.create_task(node.committer.ask("f", start))
        await asyncio.sleep(0)
        await node.close()
        asking.cancel()
        assert not asking.done() or asking.cancelled()
