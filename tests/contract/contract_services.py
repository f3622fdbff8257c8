"""The services that steps of the contract tests call: one server in a thread, which answers as it is told.

Every test has a `Desk`: a place on the server of its own, so that calls of other tests never mix with
its own. It records each call, and may hold an answer back until the test lets it go.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

WAIT_LIMIT_S = 30
"""How long a test waits for a call; under a heavy load even a takeover comes sooner."""

_numbers = count(1)


@dataclass(frozen=True)
class Call:
    """One call as the service saw it."""

    method: str
    path: str
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def attempt(self) -> int:
        return int(self.headers["Argyll-Attempt"])

    @property
    def token(self) -> str:
        return self.headers["Argyll-Receipt-Token"]

    @property
    def webhook_url(self) -> str:
        return self.headers["Argyll-Webhook-URL"]

    @property
    def webhook_path(self) -> str:
        """The way to the webhook in any process of the namespace, not only in the one that called."""
        return urlsplit(self.webhook_url).path


@dataclass(frozen=True)
class Reply:
    """What a service answers; `text` goes out as it is."""

    status: int = 200
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_cut: bool = False
    """The connection ends in the middle of the body."""


Answer = Reply | Mapping[str, Any] | None
Answers = Answer | list[Answer] | Callable[[Call], Answer]
"""One answer to all calls; one after the other, the last one again and again; or what a function gives."""


class Desk:
    """The services of one test: each is known by the id of its step."""

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self._loop = loop
        self._answers: dict[str, Answers] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._calls: dict[str, list[Call]] = {}
        self._changed = threading.Condition()
        self.active: dict[str, int] = {}
        self.most_active: dict[str, int] = {}

    def answer(self, id: str, *answers: Any) -> None:
        """Says how a service answers; several answers are given one after the other."""
        self._answers[id] = answers[0] if len(answers) == 1 else list(answers)

    def hold(self, *ids: str) -> None:
        """Holds back all answers of these services."""
        for id in ids:
            self._gates[id] = asyncio.Event()

    def release(self, *ids: str) -> None:
        """Lets the answers go that were held back, and those that come later."""
        for id in ids:
            self._loop.call_soon_threadsafe(self._gates[id].set)

    def release_all(self) -> None:
        self.release(*self._gates)

    def calls(self, id: str) -> list[Call]:
        """The calls so far, in order."""
        with self._changed:
            return list(self._calls.get(id, ()))

    def await_calls(self, id: str, number: int = 1) -> list[Call]:
        """Waits until a service was called so often."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self._calls.get(id, ())) >= number, WAIT_LIMIT_S)
            assert came, f"{id} was called {len(self._calls.get(id, ()))} times, not {number}"
            return list(self._calls[id])

    async def take(self, id: str, call: Call) -> Answer:
        """What the service answers to this call."""
        with self._changed:
            calls = self._calls.setdefault(id, [])
            calls.append(call)
            number = len(calls)
            self.active[id] = self.active.get(id, 0) + 1
            self.most_active[id] = max(self.most_active.get(id, 0), self.active[id])
            self._changed.notify_all()
        try:
            if id in self._gates:
                await self._gates[id].wait()
            answers = self._answers.get(id)
            if callable(answers):
                return answers(call)
            if isinstance(answers, list):
                return answers[min(number, len(answers)) - 1]
            return answers
        finally:
            with self._changed:
                self.active[id] -= 1


class Services:
    """The server; use as a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._ends = asyncio.Event()
        self._desks: dict[str, Desk] = {}
        self.url = ""

    def __enter__(self) -> Services:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ends.set)
        self._thread.join(10)

    def desk(self) -> Desk:
        """A place for one test."""
        name = f"desk{next(_numbers)}"
        self._desks[name] = Desk(f"{self.url}/{name}", self._loop)
        return self._desks[name]

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_route("*", "/{desk}/{id}{rest:.*}", self._take)
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        await self._ends.wait()
        await runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        desk = self._desks[request.match_info["desk"]]
        text = (await request.read()).decode()
        call = Call(request.method, request.raw_path.split("/", 3)[-1], dict(request.headers), text)
        answer = await desk.take(request.match_info["id"], call)
        if answer is None:
            return web.Response()
        if not isinstance(answer, Reply):
            return web.json_response(answer)
        if answer.is_cut:
            return await _cut(request)
        return web.Response(status=answer.status, text=answer.text, headers=answer.headers)


async def _cut(request: web.Request) -> web.StreamResponse:
    """Half a body, and the end of the connection."""
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"half": ')
    assert request.transport is not None
    request.transport.close()
    return response
