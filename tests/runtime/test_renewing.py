"""Leases are renewed by a thread of their own: an event loop that stands still makes no dead engine."""

from __future__ import annotations

import time

import pytest

from argyll_redis.core.commands import Outcome
from argyll_redis.steps.job import Job
from argyll_redis.store.keys import GROUP
from argyll_redis.store.protocol import partition_of, work_stream
from tests.runtime.nodes import chain, echo, fleet
from tests.servers import StoreFactory, TestServer

pytestmark = [pytest.mark.anyio, pytest.mark.real]

LEASE_MS = 1_000
RENEWALS = 5
"""More than a lease has: without them it would be over."""


async def test_a_loop_that_stands_still_for_longer_than_a_lease_loses_none(real_server: TestServer) -> None:
    """A step blocks it until the server shows that its entry was renewed, again and again."""
    factory = StoreFactory(real_server.kind)
    factory.server = real_server
    partition = partition_of("f", 2)
    stream = real_server.keys.of(partition, work_stream("default"))
    attempts: list[int] = []

    def idle_ms() -> int:
        [pending] = real_server.client.xpending_range(stream, GROUP, "-", "+", 10)
        return pending["time_since_delivered"]

    async def block(job: Job) -> Outcome:
        attempts.append(job.attempt)
        seen, last = 0, idle_ms()
        while seen < RENEWALS:
            time.sleep(0.005)  # noqa: ASYNC251 - this is what is tested
            now = idle_ms()
            seen, last = seen + (now < last), now
        return await echo(job)

    async with fleet(factory, chain(1)) as those:
        engine = await those.add_engine(block, lease_ms=LEASE_MS)
        await those.start(["f"], ["s0"], {"a0": [1]})
        flow = await those.finished("f")
        lost = engine.counters.lost
    await factory.close()
    assert (flow.status, attempts, lost) == ("completed", [1], 0)
