"""Engines are replaced one after the other, as a deploy does it, while flows run."""

from __future__ import annotations

import asyncio

from tests.chaos.ground import Asked, Ground
from tests.chaos.report import Report
from tests.chaos.shapes import mixed

PROMISE = (
    "engines restarted (SIGTERM) one after the other under load: no attempt is lost, every drain in time"
)

FLOWS_A_RESTART = 50
"""5,000 flows are 100 restarts; so many are started while one engine is replaced."""
FLOWS_A_S = 50
GRACE_SLACK_S = 1.0


async def run(report: Report, asked: Asked) -> None:
    """Runs the gate."""
    async with Ground(report, asked) as ground:
        flows = mixed(asked.flows)
        for number, first in enumerate(range(0, asked.flows, FLOWS_A_RESTART)):
            slot = ground.engines.slots[number % len(ground.engines.slots)]
            async with asyncio.TaskGroup() as group:
                group.create_task(ground.start(flows[first : first + FLOWS_A_RESTART], per_s=FLOWS_A_S))
                group.create_task(ground.engines.restart(slot))
            report.faults["SIGTERM"] += 1
        logs = await ground.finish()
        drains = ground.engines.drains
        report.figure("longest drain, s", max(drain.seconds for drain in drains))
        limit_s = ground.options.grace_ms / 1_000 + GRACE_SLACK_S
        for drain in drains:
            report.require(drain.exit_status == 0, f"a drain ended with {drain.exit_status}")
            report.limit(drain.seconds, limit_s, "a drain")
        if logs is not None:
            report.require(not logs.lost, f"{len(logs.lost)} attempts were lost with engines that drained")
