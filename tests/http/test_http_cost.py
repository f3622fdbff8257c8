"""A route costs what its method costs: the way over HTTP adds no call of the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from http_words import DOUBLE, api_of, client_of

from argyll_redis import Argyll
from argyll_redis.store.memory import MemoryServer, MemoryStore
from tests.runtime.nodes import CountedStore

pytestmark = pytest.mark.anyio

Ask = Callable[[httpx.AsyncClient], Awaitable[Any]]
Do = Callable[[Argyll], Awaitable[Any]]

BODY = {"goals": ["double"], "init": {"a": [1]}}
PAIRS: dict[str, tuple[Ask, Do]] = {
    "start": (lambda http: http.post("/engine/flow", json=BODY), lambda app: app.start(["double"], {"a": 1})),
    "status": (lambda http: http.get("/engine/flow/f/status"), lambda app: app.status("f")),
    "state": (lambda http: http.get("/engine/flow/f"), lambda app: app.state("f")),
    "events": (lambda http: http.get("/engine/flow/f/events"), lambda app: app.events("f")),
    "list": (lambda http: http.get("/engine/flow"), lambda app: app.flows()),
    "why": (lambda http: http.get("/engine/flow/f/why/double"), lambda app: app.why("f", "double")),
    "cancel": (lambda http: http.post("/engine/flow/g/cancel"), lambda app: app.cancel("h")),
    "steps": (lambda http: http.get("/engine/step"), lambda app: app.steps()),
}


@pytest.mark.parametrize("what", PAIRS)
async def test_a_route_makes_the_calls_of_its_method_alone(what: str) -> None:
    calls: Counter[str] = Counter()
    server = MemoryServer(partitions=2)
    ask, do = PAIRS[what]
    async with Argyll(make_store=lambda: CountedStore(MemoryStore(server=server), calls)) as app:
        await app.register_steps([DOUBLE])
        for id in "fgh":
            await app.start(["double"], {"a": 1}, id=id)
        async with client_of(api_of(app)) as http:
            calls.clear()
            assert (await ask(http)).status_code < 300
            over_http = Counter(calls)
            calls.clear()
            await do(app)
        assert over_http == calls
        calls.clear()
