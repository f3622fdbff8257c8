"""Redis takes no writes, for want of memory or disk, while much work waits in its queues."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.chaos.engines import EngineOptions
from tests.chaos.ground import NAMESPACE, Asked, Ground
from tests.chaos.journals import CALLS, lines
from tests.chaos.judge import drained
from tests.chaos.nemeses import Strike
from tests.chaos.processes import GaveUp
from tests.chaos.report import Report
from tests.chaos.shapes import Shape

PROMISE = "no memory, then no disk: calls that could not be recorded are not made, and all goes on afterwards"

SLOTS = 10
"""Of each engine: few, so that most work waits."""
RESTING = Shape("rest", ("rest",), lambda a: {"rested": a}, init={"rest_ms": 700})
NOTICE_LIMIT_S = 30
FULL_S = 3.0
"""How long nothing can be written after that."""
LIMIT_S = 60
STOPPED = "nothing is begun until Redis takes writes again"
"""What engines say then."""
LITTLE_BYTES = 64 * 1024
"""Less than any server uses: with it nothing can be written."""


async def run(report: Report, asked: Asked) -> None:
    """Runs the gate."""
    async with Ground(report, asked, options=EngineOptions(concurrency=SLOTS)) as ground:
        server = ground.server

        async def little_memory() -> None:
            await server.client.config_set("maxmemory", LITTLE_BYTES)

        async def much_memory() -> None:
            await server.client.config_set("maxmemory", 0)

        async def full_disk() -> None:
            server.fill_disk()

        async def free_disk() -> None:
            server.clear_disk()

        await _fill(ground, "memory", little_memory, much_memory)
        await _fill(ground, "disk", full_disk, free_disk)
        report.figure("server at the end", await _state(server.client))
        await ground.finish(forgiven=[STOPPED])


async def _fill(ground: Ground, name: str, fill: Strike, clear: Strike) -> None:
    """Lets nothing be written while much work waits: calls stop, and go on when something can be."""
    report, flows = ground.report, ground.asked.flows
    await ground.start([(f"{name}-{number}", number, RESTING) for number in range(flows)], per_s=flows)
    at_first = _calls(ground)
    await fill()
    report.faults[f"no {name}"] += 1
    await _until_all_have_stopped(ground)
    before = _calls(ground)
    await asyncio.sleep(FULL_S)
    after = _calls(ground)
    await clear()
    took_s = await drained(ground.redis.client, NAMESPACE, limit_s=LIMIT_S)
    report.require(took_s is not None, f"flows did not end when there was {name} again")
    report.figure(
        f"calls without {name}", f"{before - at_first} before it was noticed, then {after - before}"
    )
    what = f"{after - before} calls while there was no {name}: their outcome could not be recorded"
    report.require(after == before, what)
    in_hand = 2 * SLOTS * len(ground.engines.slots)
    report.require(before - at_first <= in_hand, f"{before - at_first} calls before it was noticed")
    report.require(before < len(ground.wanted), f"no work waited when there was no {name}")


async def _until_all_have_stopped(ground: Ground) -> None:
    """Waits until every engine says that it has stopped, as often as there was a reason. Raises `GaveUp`."""
    reasons = sum(ground.report.faults.values())
    children = [slot.child for slot in ground.engines.running if slot.child is not None]
    deadline_s = time.monotonic() + NOTICE_LIMIT_S
    while any(child.said().count(STOPPED) < reasons for child in children):
        if time.monotonic() > deadline_s:
            raise GaveUp("an engine does not notice that nothing can be written")
        await asyncio.sleep(0.05)


def _calls(ground: Ground) -> int:
    return sum(1 for _ in lines(ground.journals, CALLS))


async def _state(client: Any) -> str:
    told = await client.info("persistence")
    return f"last AOF write {told['aof_last_write_status']}"
