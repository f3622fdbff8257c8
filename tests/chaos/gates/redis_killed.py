"""Redis itself is killed under load and comes back with its append-only file."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left

from tests.chaos.ground import Asked, Ground
from tests.chaos.judge import Logs
from tests.chaos.nemeses import exactly, strike_all
from tests.chaos.report import Report

PROMISE = (
    "Redis killed (-9) under load, appendfsync always: nothing acknowledged is lost, service is soon back"
)

FLOWS_A_S = 40
FLOWS_A_KILL, FLOWS_A_ENGINE_KILL = 200, 400
"""4,000 flows are 20 kills of Redis and 10 of engines."""
AWAY_S = (0.0, 1.5)
"""How long the server stays away."""
BACK_LIMIT_S = 2.0


async def run(report: Report, asked: Asked) -> None:
    """Runs the gate."""
    async with Ground(report, asked, fsync="always") as ground:
        draw = ground.random
        back: list[tuple[float, int]] = []
        """When the server answered again: by the monotonic clock (s), and unix ms."""
        is_down = asyncio.Lock()

        async def kill_redis() -> None:
            async with is_down:
                ground.server.kill()
                await asyncio.sleep(draw.uniform(*AWAY_S))
                await ground.server.start()
                back.append((time.monotonic(), time.time_ns() // 1_000_000))

        async def kill_engine() -> None:
            ground.engines.kill(draw.choice(ground.engines.running))

        counts = {
            "Redis kill -9": max(2, asked.flows // FLOWS_A_KILL),
            "engine kill -9": max(1, asked.flows // FLOWS_A_ENGINE_KILL),
        }
        plan = exactly(draw, counts, over_s=asked.flows / FLOWS_A_S)
        strikes = {"Redis kill -9": kill_redis, "engine kill -9": kill_engine}
        await ground.load_while(FLOWS_A_S, lambda: strike_all(plan, strikes, report))
        report.figure("starts acknowledged", len(ground.load.acknowledged))
        report.figure("starts asked again", ground.load.unknown)
        logs = await ground.finish()
        if logs is not None:
            _measure_return(report, ground, logs, back)


def _measure_return(report: Report, ground: Ground, logs: Logs, back: list[tuple[float, int]]) -> None:
    """From the first answer to PING to the first start that was acknowledged, and to the first outcome
    that an engine committed."""
    answered, worked = sorted(ground.load.answered_s), sorted(logs.worked_ms)
    to_answer, to_work = [0.0], [0.0]
    for ready_s, ready_ms in back:
        place = bisect_left(answered, ready_s)
        if place < len(answered):
            to_answer.append(answered[place] - ready_s)
        place = bisect_left(worked, ready_ms)
        if place < len(worked):
            to_work.append((worked[place] - ready_ms) / 1_000)
    report.figure("PING to the first start, worst s", max(to_answer))
    report.figure("PING to the first outcome, worst s", max(to_work))
    report.limit(max(*to_answer, *to_work), BACK_LIMIT_S, "the way back from PING")
