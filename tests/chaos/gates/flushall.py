"""The server is emptied while flows run: everybody stops, loudly, and nothing is written to it."""

from __future__ import annotations

import asyncio
import time

from argyll_redis.errors import NamespaceEmptied
from tests.chaos.ground import Asked, Ground
from tests.chaos.processes import GaveUp
from tests.chaos.report import Report
from tests.chaos.shapes import mixed

PROMISE = "FLUSHALL under load: all engines stop and say why, and nothing is written to the empty server"

FLOWS_A_S = 50
LOAD_S = 2.0
STOP_LIMIT_S = 4.0
"""Two seconds, and the two that a waiting read may take."""
WAIT_S = 30
SAYS = "emptied"


async def run(report: Report, asked: Asked) -> None:
    """Runs the gate."""
    async with Ground(report, asked, is_watched=False) as ground:
        load = asyncio.create_task(ground.start(mixed(asked.flows), per_s=FLOWS_A_S))
        await asyncio.sleep(min(LOAD_S, asked.flows / FLOWS_A_S / 2))
        await ground.redis.client.flushall()
        report.faults["FLUSHALL"] += 1
        began_s = time.monotonic()
        children = [slot.child for slot in ground.engines.slots if slot.child is not None]
        for child in children:
            status = await child.ended(WAIT_S)
            report.require(status > 0, f"{child.name} ended with {status}")
            report.require(SAYS in child.said(), f"{child.name} does not say that it was emptied")
        took_s = time.monotonic() - began_s
        report.figure("all engines stopped after, s", took_s)
        report.limit(took_s, STOP_LIMIT_S, "to stop")
        await _see_the_client_stop(report, load)
        left = await ground.redis.client.dbsize()
        report.figure("keys on the empty server", left)
        report.require(left == 0, f"{left} keys were written to the empty server")


async def _see_the_client_stop(report: Report, load: asyncio.Task[None]) -> None:
    try:
        await asyncio.wait_for(load, WAIT_S)
    except NamespaceEmptied:
        return
    except (TimeoutError, GaveUp) as error:
        report.wrong.append(f"the client was not told that the server was emptied: {error!r}")
        return
    report.wrong.append("the client was never told that the server was emptied")
