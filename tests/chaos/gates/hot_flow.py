"""One flow that everybody writes to: a thousand webhooks at once, and ten thousand items."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

import aiohttp

from tests.chaos.engines import EngineOptions
from tests.chaos.ground import NAMESPACE, Asked, Ground
from tests.chaos.judge import drained
from tests.chaos.processes import GaveUp
from tests.chaos.report import Report, percentile
from tests.chaos.shapes import Shape

PROMISE = "a thousand webhooks into one flow over four engines, and a flow of ten thousand items"

P99_LIMIT_S = 2.0
ITEMS_A_WEBHOOK = 10
"""A flow of 10,000 items beside 1,000 webhooks."""
ITEMS_LIMIT_S = 60.0
WAIT_LIMIT_S = 120
CALL_LIMIT_S = 30


async def run(report: Report, asked: Asked) -> None:
    """Runs the gate; the flows asked for are the webhooks."""
    webhooks, items = asked.flows, asked.flows * ITEMS_A_WEBHOOK
    async with Ground(
        report, asked, options=EngineOptions(lease_ms=5_000, concurrency=100), is_watched=False
    ) as ground:
        hot = Shape("webhooks", ("count_words",), lambda a: {"answers": webhooks}, init={"n": webhooks})
        await ground.start([("hot", 0, hot)], per_s=1)
        tokens = await _waiting(ground, webhooks)
        took_s = await _post_all(ground, tokens)
        report.figure("webhooks", len(took_s))
        report.figure("webhook answered, p50 s", percentile(took_s, 0.5))
        p99_s = percentile(took_s, 0.99)
        report.figure("webhook answered, p99 s", p99_s)
        report.limit(p99_s, P99_LIMIT_S, "99 of 100 webhooks")
        if await drained(ground.redis.client, NAMESPACE, limit_s=WAIT_LIMIT_S) is None:
            raise GaveUp("the flow of the webhooks did not end")

        wide = Shape("items", ("count_halves",), lambda a: {"halves": items}, init={"n": items})
        began_s = time.monotonic()
        await ground.start([("wide", 0, wide)], per_s=1)
        await drained(ground.redis.client, NAMESPACE, limit_s=WAIT_LIMIT_S)
        wide_s = time.monotonic() - began_s
        report.figure(f"flow of {items} items, s", wide_s)
        report.limit(wide_s, ITEMS_LIMIT_S, f"a flow of {items} items")
        logs = await ground.finish()
        if logs is not None:
            report.require(not logs.lost, f"{len(logs.lost)} attempts were lost, and nothing was struck")


async def _waiting(ground: Ground, count: int) -> list[str]:
    """The tokens that wait for a webhook, once all do."""
    for _ in range(WAIT_LIMIT_S * 4):
        flow = await ground.app.load("hot")
        run = flow.steps.get("ask_around")  # type: ignore[call-overload]
        tokens = [str(item.token) for item in run.items.values() if item.is_accepted] if run else []
        if len(tokens) == count:
            return tokens
        await asyncio.sleep(0.25)
    raise GaveUp("the items did not all come to wait for their webhooks")


async def _post_all(ground: Ground, tokens: Sequence[str]) -> list[float]:
    """Posts all at once, each to any engine; gives how long each took. Raises `GaveUp`."""
    connector = aiohttp.TCPConnector(limit=0)
    limit = aiohttp.ClientTimeout(total=CALL_LIMIT_S)
    bases = [slot.base for slot in ground.engines.slots]

    async with aiohttp.ClientSession(connector=connector, timeout=limit) as http:

        async def post(token: str) -> float:
            began_s = time.monotonic()
            url = f"{random.choice(bases)}/webhook/hot/ask_around/{token}"
            async with http.post(url, json={"word": "here"}) as answer:
                if answer.status != 200:
                    raise GaveUp(f"a webhook was answered with {answer.status}: {await answer.text()}")
            return time.monotonic() - began_s

        return await asyncio.gather(*map(post, tokens))
