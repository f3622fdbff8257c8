"""Three masters instead of one server: each is killed and comes back, and engines are killed as well."""

from __future__ import annotations

import asyncio

from tests.chaos.cluster_process import ClusterProcess
from tests.chaos.ground import Asked, Ground
from tests.chaos.nemeses import exactly, strike_all
from tests.chaos.report import Report

PROMISE = "a cluster of three masters: masters killed (-9) and back, engines killed: nothing lost or doubled"

FLOWS_A_S = 25
FLOWS_A_KILL = 200
AWAY_S = (0.5, 5.0)
"""How long a master stays away: sometimes too short for the others to notice."""
FSYNC = "always"


async def run(report: Report, asked: Asked) -> None:
    """Runs the gate."""
    async with Ground(report, asked, make_redis=lambda place: ClusterProcess(place, fsync=FSYNC)) as ground:
        draw, engines = ground.random, ground.engines
        cluster = ground.redis
        assert isinstance(cluster, ClusterProcess)
        one_at_a_time = asyncio.Lock()

        async def kill_master() -> None:
            async with one_at_a_time:
                master = draw.choice(cluster.masters)
                master.kill()
                await asyncio.sleep(draw.uniform(*AWAY_S))
                await master.start()
                await cluster.up()

        async def kill_engine() -> None:
            engines.kill(draw.choice(engines.running))

        kills = max(2, asked.flows // FLOWS_A_KILL)
        plan = exactly(
            draw, {"master kill -9": kills, "engine kill -9": kills}, over_s=asked.flows / FLOWS_A_S
        )
        strikes = {"master kill -9": kill_master, "engine kill -9": kill_engine}
        await ground.load_while(FLOWS_A_S, lambda: strike_all(plan, strikes, report))
        report.figure("starts asked again", ground.load.unknown)
        await ground.finish()
