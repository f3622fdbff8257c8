"""What an engine costs when there is nothing to do, counted over a minute of virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter

from argyll_redis.core.state import FlowStatus
from argyll_redis.runtime.node import Node
from argyll_redis.store.memory import MemoryServer, MemoryStore
from argyll_redis.testing.virtual import VirtualLoop, run_virtual
from tests.runtime.nodes import CountedStore, chain, fleet

IDLE_S = 60
NOT_SENT = ("partitions", "open", "close")


def test_an_idle_engine_sends_under_ten_commands_a_second() -> None:
    """After its work is done an engine looks, waits, renews and sweeps; little of each."""
    calls: Counter[str] = Counter()

    async def a_minute(loop: VirtualLoop) -> None:
        server = MemoryServer(partitions=16, now_ms=lambda: 1_000_000 + round(loop.time() * 1000))
        async with fleet(lambda: MemoryStore(server=server), chain(5)) as those:
            node = Node(
                CountedStore(MemoryStore(server=server), calls),
                "e",
                monotonic=lambda: round(loop.time() * 1000),
            )
            await node.open()
            those.nodes.append(node)
            await those.add_engine(node=node, renew_in_thread=False)
            await those.start(["f"], ["s4"], {"a0": [1]})
            assert (await those.finished("f")).status is FlowStatus.COMPLETED
            calls.clear()
            await asyncio.sleep(IDLE_S)
            counted.update({name: count for name, count in calls.items() if name not in NOT_SENT})

    counted: Counter[str] = Counter()
    run_virtual(a_minute)
    assert counted.total() / IDLE_S < 10
    assert counted["keep"] >= IDLE_S / 2  # it does keep
