"""What an engine costs, in counts that hold on any machine: commits, calls, who ran what."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from argyll_redis.core.commands import Outcome, Start
from argyll_redis.core.events import WorkSucceeded
from argyll_redis.core.state import FlowStatus
from argyll_redis.runtime.clock import new_seed
from argyll_redis.runtime.node import Node
from argyll_redis.steps.job import Job
from argyll_redis.store.protocol import CommitReply, Fetch, Turn
from tests.runtime.nodes import CountedStore, chain, echo, fan_out, fleet, wide
from tests.servers import StoreFactory

pytestmark = pytest.mark.anyio


async def test_a_flow_of_five_steps_in_a_chain_is_six_commits(store_factory: StoreFactory) -> None:
    """One for the start, one for each outcome; what an outcome makes ready is in the same commit."""
    async with fleet(store_factory, chain(5)) as those:
        await those.add_engine()
        await those.start(["f"], ["s4"], {"a0": [1]})
        flow = await those.finished("f")
        commits = [node.committer.counters.commits for node in (those.client, *those.nodes)]
        assert (sum(commits), flow.status, len(flow.turn_firsts)) == (6, FlowStatus.COMPLETED, 6)


async def test_an_engine_that_commits_gets_the_next_work_in_the_reply(store_factory: StoreFactory) -> None:
    """With slots to spare, a chain in one process costs its six commits and no read of its own."""
    async with fleet(store_factory, chain(5)) as those:
        calls: Counter[str] = Counter()
        node = Node(CountedStore(store_factory(), calls), "both")
        await node.open()
        those.nodes.append(node)
        await those.add_engine(node=node)
        plan = await those.plan(["s4"], {"a0": [1]})
        start = Start("start:both", plan, node.logs.plans.add(plan), new_seed(), {"a0": [1]})
        while not calls["block"]:
            await asyncio.sleep(0)  # the engine waits for work
        before = Counter(calls)
        await node.committer.ask("f", start)
        assert (await those.finished("f")).status is FlowStatus.COMPLETED
        assert (calls["commit"] - before["commit"], calls["fetch"] - before["fetch"]) == (6, 0)


async def test_under_load_there_are_fewer_calls_than_commits(store_factory: StoreFactory) -> None:
    """Turns of many flows travel together."""
    async with fleet(store_factory, chain(5)) as those:
        engine_node = those.client
        await those.add_engine(node=engine_node)
        ids = [f"f{number}" for number in range(60)]
        await those.start(ids, ["s4"], {"a0": [1]})
        for id in ids:
            await those.finished(id)
        counters = engine_node.committer.counters
        assert counters.commits == 6 * len(ids)
        assert counters.calls < counters.commits / 2


async def test_two_engines_share_the_items_of_one_flow(store_factory: StoreFactory) -> None:
    """Of 100 items each of two engines runs at least 30."""
    async with fleet(store_factory, fan_out(parallelism=100)) as those:
        everybody = asyncio.Barrier(100)

        async def item(job: Job) -> Outcome:
            if job.step.id == "each":
                await everybody.wait()  # none ends before all have begun
            return await echo(job)

        engines = [await those.add_engine(item), await those.add_engine(item)]
        for engine in engines:
            engine.intake.meet([each.config.info for each in engines])
        await those.start(["f"], ["join"], {"count": [100]})
        flow = await those.finished("f")
        by = Counter(
            event.by
            for event in await those.client.logs.events("f")
            if isinstance(event.event, WorkSucceeded) and event.event.step == "each"
        )
        assert flow.status is FlowStatus.COMPLETED
        assert sum(by.values()) == 100
        assert min(by.values()) >= 30


async def test_a_hundred_flows_of_parallel_steps_all_complete_on_two_engines(
    store_factory: StoreFactory,
) -> None:
    """Ten independent steps and a join, a hundred times at once: conflicts between the engines cost
    a decision, never a flow."""
    async with fleet(store_factory, wide(10)) as those:
        await those.add_engine()
        await those.add_engine()
        ids = [f"f{number}" for number in range(100)]
        await those.start(ids, ["join"], {"a0": [1]})
        flows = [await those.finished(id) for id in ids]
        assert Counter(flow.status for flow in flows) == {FlowStatus.COMPLETED: 100}


class HeldStore:
    """A store whose commits of one flow are answered late."""

    def __init__(self, store: Any, flow_id: str) -> None:
        self._store = store
        self._flow_id = flow_id
        self.release = asyncio.Event()
        self.held = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        reply = await self._store.commit(turns, fetch)
        if any(turn.flow == self._flow_id for turn in turns):
            self.held.set()
            await self.release.wait()
        return reply


async def test_no_turn_of_one_flow_waits_for_the_reply_of_another(store_factory: StoreFactory) -> None:
    """While the reply to one flow's turn is on its way, another flow starts, runs and completes."""
    async with fleet(store_factory, chain(2)) as those:
        store = HeldStore(store_factory(), "slow")
        node = Node(store, "held")
        await node.open()
        those.nodes.append(node)
        await those.add_engine(node=node)
        plan = await those.plan(["s1"], {"a0": [1]})
        start = Start("start:held", plan, node.logs.plans.add(plan), new_seed(), {"a0": [1]})
        slow = asyncio.create_task(node.committer.ask("slow", start))
        await store.held.wait()
        await those.start(["quick"], ["s1"], {"a0": [1]})
        assert (await those.finished("quick")).status is FlowStatus.COMPLETED
        assert not slow.done()
        store.release.set()
        await slow
        assert (await those.finished("slow")).status is FlowStatus.COMPLETED
