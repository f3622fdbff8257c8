"""A service that steps call, inside the test: it answers as it is told, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from argyll_redis.core.model import JSON

Reply = web.Response | Mapping[str, JSON] | None


@dataclass(frozen=True)
class Asked:
    """One call."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Looked up without regard to case."""
    body: JSON

    @property
    def attempt(self) -> int:
        return int(self.headers["Argyll-Attempt"])

    @property
    def token(self) -> str:
        return self.headers["Argyll-Receipt-Token"]


Answer = Callable[[Asked], Awaitable[Reply]]


@dataclass
class Service:
    """Where it is, and what it was asked."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)
    """The ports that calls came from."""
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the first call."""

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]


@asynccontextmanager
async def service(answer: Answer) -> AsyncIterator[Service]:
    """Serves until it is left. A mapping is answered as JSON, None as nothing."""
    found = Service()

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        asked = Asked(request.method, request.raw_path, request.headers, body)
        found.asked.append(asked)
        found.connections.add((request.transport or found).get_extra_info("peername"))  # type: ignore[union-attr]
        found.came.set()
        reply = await answer(asked)
        if reply is None:
            return web.Response(status=204)
        return reply if isinstance(reply, web.Response) else web.json_response(dict(reply))

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield found
    finally:
        await runner.cleanup()


def http_step(
    id: str, endpoint: str, *, inputs: Mapping[str, Any], output: str = "", type: str = "sync", **rest: Any
) -> dict[str, Any]:
    """A definition: inputs by name, each a role or a whole attribute; `http_...` are fields of `http`."""
    attributes = {name: each if isinstance(each, dict) else {"role": each} for name, each in inputs.items()}
    if output:
        attributes[output] = {"role": "output"}
    http = {name.removeprefix("http_"): rest.pop(name) for name in list(rest) if name.startswith("http_")}
    return {"id": id, "type": type, "attributes": attributes, "http": {"endpoint": endpoint, **http}, **rest}
