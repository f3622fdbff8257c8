"""Work that lasts many leases, and the death of those who do it."""

from __future__ import annotations

import asyncio

from tests.chaos.engines import EngineOptions
from tests.chaos.ground import NAMESPACE, Asked, Ground
from tests.chaos.journals import CALLS, lines
from tests.chaos.judge import drained
from tests.chaos.processes import GaveUp
from tests.chaos.report import Report
from tests.chaos.shapes import Shape, mixed

PROMISE = "work of 20 leases on 6 engines is called once; that of killed engines is taken over in time"

ENGINES = 6
KILLED = 2
LEASE_MS, SHORT_LEASE_MS = 1_000, 500
LEASES = 20
SECOND_LEASES = 6
FLOWS_A_S = 20
SEEN_LIMIT_S = 60
MAX_RECOVERY_LEASES = 1.25
RECOVERY_SLACK_S = 1.0


async def run(report: Report, asked: Asked) -> None:
    """Runs the gate: first nobody dies, then some do."""
    lease_ms = SHORT_LEASE_MS if asked.is_short else LEASE_MS
    options = EngineOptions(lease_ms=lease_ms, concurrency=asked.flows)
    async with Ground(report, asked, engines=ENGINES, options=options) as ground:
        first = _resting("first", asked.flows, LEASES * lease_ms)
        await ground.start(first, per_s=FLOWS_A_S)
        limit_s = LEASES * lease_ms / 1_000 + SEEN_LIMIT_S
        if await drained(ground.redis.client, NAMESPACE, limit_s=limit_s) is None:
            raise GaveUp("the first flows did not end")
        calls = len(list(lines(ground.journals, CALLS)))
        report.figure("calls for work of 20 leases", f"{calls} for {asked.flows}")
        report.require(calls == asked.flows, f"{calls - asked.flows} calls too many")

        await ground.start(_resting("second", asked.flows, SECOND_LEASES * lease_ms), per_s=FLOWS_A_S)
        await _until_called(ground, calls + asked.flows)
        for slot in ground.random.sample(ground.engines.running, KILLED):
            ground.engines.kill(slot)
            report.faults["kill -9"] += 1
        await ground.finish()
    limit_s = MAX_RECOVERY_LEASES * lease_ms / 1_000 + RECOVERY_SLACK_S
    worst = report.figures.get("kill to begun again, worst s")
    report.require(worst is not None, "none of the killed engines had work")
    report.limit(worst or 0.0, limit_s, "to take work over")


def _resting(name: str, flows: int, rest_ms: int) -> list[tuple[str, int, Shape]]:
    shape = Shape(name, ("rest",), lambda a: {"rested": a}, init={"rest_ms": rest_ms})
    return [(f"{name}-{number}", number, shape) for _, number, _ in mixed(flows, (shape,))]


async def _until_called(ground: Ground, count: int) -> None:
    for _ in range(SEEN_LIMIT_S * 10):
        if len(list(lines(ground.journals, CALLS))) >= count:
            return
        await asyncio.sleep(0.1)
    raise GaveUp("the second flows were not begun")
