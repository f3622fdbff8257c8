"""What lies between the processes and Redis delays, cuts, swallows, chops and goes silent."""

from __future__ import annotations

from functools import partial

from tests.chaos.ground import Asked, Ground
from tests.chaos.nemeses import Strike, strike_all, weighted
from tests.chaos.proxy import Mood
from tests.chaos.report import Report

PROMISE = "connections to Redis delayed, cut, half-open, refused, chopped, their replies swallowed"

FLOWS_A_S = 25
FLOWS_A_FAULT = 25
WEIGHTS = {
    "cut": 4, Mood.DELAY.value: 3, Mood.SWALLOW.value: 4, Mood.HALF_OPEN.value: 2, Mood.REFUSE.value: 2,
    Mood.ONE_BYTE.value: 2,
}  # fmt: skip
LASTS_S: dict[Mood, tuple[float, float]] = {
    Mood.DELAY: (0.5, 3.0),
    Mood.SWALLOW: (0.05, 0.5),
    Mood.HALF_OPEN: (0.5, 6.0),
    Mood.REFUSE: (0.5, 3.0),
    Mood.ONE_BYTE: (0.2, 1.0),
}
DELAY_S = 0.3


async def run(report: Report, asked: Asked) -> None:
    """Runs the gate."""
    async with Ground(report, asked, is_proxied=True) as ground:
        draw = ground.random

        async def cut() -> None:
            draw.choice(ground.proxies).cut()

        async def be(mood: Mood) -> None:
            proxy = draw.choice(ground.proxies)
            if proxy.mood is Mood.WELL:
                await proxy.be(mood, draw.uniform(*LASTS_S[mood]), delay_s=DELAY_S)

        strikes: dict[str, Strike] = {"cut": cut, **{mood.value: partial(be, mood) for mood in LASTS_S}}
        count = max(len(WEIGHTS), asked.flows // FLOWS_A_FAULT)
        plan = weighted(draw, WEIGHTS, count=count, over_s=asked.flows / FLOWS_A_S)
        await ground.load_while(FLOWS_A_S, lambda: strike_all(plan, strikes, report))
        report.figure("starts asked again", ground.load.unknown)
        await ground.finish()
