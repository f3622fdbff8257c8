"""What the sweep restores is what the flow needs by then, and nothing that stays behind."""

from __future__ import annotations

import asyncio

from argyll_redis.core.commands import Broken, Outcome
from argyll_redis.steps.job import Job
from tests.runtime.nodes import step
from tests.runtime.test_history import partition
from tests.runtime.test_lost_replies import LEASE_MS, World, play

WAIT_S = 20 * LEASE_MS / 1000


async def break_it(job: Job) -> Outcome:
    return Broken("on purpose")


def test_a_due_entry_that_the_same_turn_settles_is_not_left_behind() -> None:
    """A failed flow lacks both the attempt it waits for and the end of its patience: the first is
    abandoned, which closes the log, and nothing is due any more."""

    async def scene(world: World) -> tuple[str, bool, int]:
        steps = [step("breaks", ["a0"], ["b"]), step("waits", ["a0"], ["c"], queue="nobodys")]
        async with world.fleet(steps) as those:
            await those.client.store.add_queues(["default", "nobodys"])
            await those.start(["f"], ["breaks", "waits"], {"a0": [1]})
            await world.add_engine(those, handler=break_it)
            while not (await those.client.load("f")).is_over:
                await asyncio.sleep(0.01)
            there = partition(world, "f")
            lingers = len(there.due)
            there.due.pop_through(2**53, lingers)
            del there.streams["work:nobodys"]
            await asyncio.sleep(WAIT_S)
            flow = await those.client.load("f")
            return flow.status, flow.is_deactivated, lingers - len(there.due)

    assert play(scene) == ("failed", True, 1)
