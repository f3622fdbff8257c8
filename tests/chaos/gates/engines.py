"""Engines are killed and frozen while flows of every shape run."""

from __future__ import annotations

from tests.chaos.ground import Asked, Ground
from tests.chaos.nemeses import exactly, strike_all
from tests.chaos.report import Report

PROMISE = "engines killed (-9) and frozen under load: nothing lost, nothing counted twice, taken over in time"

FLOWS_A_S = 42
"""The pace: two cores carry it, and the load lasts as long as the faults do."""
FLOWS_A_KILL, FLOWS_A_FREEZE = 200, 500
"""10,000 flows are 50 kills and 20 freezes."""
FREEZE_LEASES = (0.5, 4.0)
LIMIT_S = 300
MAX_RECOVERY_LEASES = 1.25
RECOVERY_SLACK_S = 1.0


async def run(report: Report, asked: Asked) -> None:
    """Runs the gate."""
    async with Ground(report, asked) as ground:
        draw, engines = ground.random, ground.engines
        lease_s = ground.options.lease_ms / 1_000

        async def kill() -> None:
            engines.kill(draw.choice(engines.running))

        async def freeze() -> None:
            await engines.freeze(draw.choice(engines.running), draw.uniform(*FREEZE_LEASES) * lease_s)

        counts = {
            "kill -9": max(2, asked.flows // FLOWS_A_KILL),
            "freeze": max(2, asked.flows // FLOWS_A_FREEZE),
        }
        plan = exactly(draw, counts, over_s=asked.flows / FLOWS_A_S)
        strikes = {"kill -9": kill, "freeze": freeze}
        await ground.load_while(FLOWS_A_S, lambda: strike_all(plan, strikes, report))
        await ground.finish()
    report.limit(report.took_s, LIMIT_S, "all of it")
    limit_s = MAX_RECOVERY_LEASES * lease_s + RECOVERY_SLACK_S
    p99_s = report.figures.get("kill to begun again, p99 s", 0.0)
    report.limit(p99_s, limit_s, "99 of 100 from the kill to being begun again")
