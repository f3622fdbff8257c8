"""A thousand webhooks for one flow at the same time, over three engines, a third of them duplicates."""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp
import pytest
from contract_client import Outside, each, values

WEBHOOKS = 1_000
ITEMS = 667
"""A third of the webhooks are for items that have one already."""


async def post_all(posts: list[tuple[str, int]]) -> list[int]:
    """Posts everything at once, and gives the statuses."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=50)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def post(url: str, number: int) -> int:
            async with session.post(url, json={"paid": number}) as answer:
                await answer.read()
                return answer.status

        return await asyncio.gather(*(post(*each) for each in posts))


@pytest.mark.contract(
    "tokens", "A thousand webhooks at once, a third of them duplicates, count once an item, none is a 5xx."
)
def test_a_thousand_webhooks_at_once_count_once_an_item(outside: Outside) -> None:
    outside.register(
        outside.service("charge", {"order": each()}, "paid", type="async", work_config={"parallelism": ITEMS})
    )
    flow = outside.start("charge", init={"order": list(range(ITEMS))})
    outside.follow(flow, "work_accepted", ITEMS)
    paths = {call.body["order"]: call.webhook_path for call in outside.desk.calls("charge")}
    posts = [
        (
            f"{outside.clients[number % 3].base_url}{paths[number % ITEMS]}".replace("//webhook", "/webhook"),
            number,
        )
        for number in range(WEBHOOKS)
    ]
    found = Counter(asyncio.run(post_all(posts)))
    state = outside.end(flow)
    assert (found, state["status"]) == ({200: WEBHOOKS}, "completed")
    [rows] = values(state, "paid")
    assert [row["order"] for row in rows] == list(range(ITEMS))
    assert all(row["paid"] % ITEMS == row["order"] for row in rows)
    assert len(outside.of_type(flow, "work_succeeded")) == ITEMS
    assert len(outside.desk.calls("charge")) == ITEMS
