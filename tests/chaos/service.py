"""A service that steps call, and that behaves as services do: `python -m tests.chaos.service PORT ...`.

It answers with errors, hangs, cuts answers short, talks garbage, asks to be left alone for a while; its
webhooks come early, late, twice, for nobody, or not at all. What it does is drawn from the seed, the
call's flow, step and inputs, and its attempt: so two runs of one seed behave alike. Every call is
journalled before anything else; every webhook with what it was told.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.chaos.journals import Journal

UNDO = ":undo"
ROUGH_ATTEMPTS = 3
"""Attempts from this one on are treated well: what is lost with engines counts as attempts, too."""
HANG_S = 4
POST_LIMIT_S = 5
POST_TRIES_S = 120
"""How long a webhook is posted again and again."""
CUT_SHORT = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"a":'
LATE_S = 7
"""Later than the step waits for."""

SYNC_MOODS = {"well": 80, "500": 4, "503": 3, "429": 2, "hang": 2, "cut": 4, "garbage": 3, "close": 2}
ASYNC_MOODS = {
    "well": 60, "early": 10, "twice": 10, "slow": 8, "forged": 5, "unfinished": 3, "late": 2, "forget": 2,
}  # fmt: skip


class Service:
    """The service and its journals."""

    def __init__(self, directory: Path, *, seed: int, bases: list[str]) -> None:
        self._calls = Journal(directory / "calls-service.jsonl")
        self._answers = Journal(directory / "answers-service.jsonl")
        self._forged = Journal(directory / "forged-service.jsonl")
        self._seed = seed
        self._bases = bases
        """The addresses of the engines' APIs: a webhook may be posted to any."""
        self._posting: set[asyncio.Task[None]] = set()
        self._http: aiohttp.ClientSession | None = None

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.put("/quote", self.sync(lambda body: {"quote": body["a"] * 2})),
                web.post("/charge", self.sync(lambda body: {"receipt": f"r-{body['quote']}"})),
                web.post("/pay", self.sync(_paid)),
                web.post("/refund", self.refund),
                web.post("/approve", self.approve),
                web.get("/", self.ready),
            ]
        )
        app.on_startup.append(self._open)
        app.on_cleanup.append(self._close)
        return app

    async def _open(self, _: web.Application) -> None:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=POST_LIMIT_S))

    async def _close(self, _: web.Application) -> None:
        assert self._http is not None
        for task in self._posting:
            task.cancel()
        await self._http.close()

    async def ready(self, _: web.Request) -> web.Response:
        return web.json_response({})

    # ------------------------------------------------------------------- sync

    def sync(self, answer: Any) -> Any:
        async def call(request: web.Request) -> web.StreamResponse:
            body, draw = await self._note(request)
            mood = self._mood(request, draw, SYNC_MOODS)
            if mood != "well":
                return await _ill(request, mood)
            given = answer(body)
            if given is None:
                return web.json_response({"detail": "no money"}, status=402)
            return web.json_response(given)

        return call

    async def refund(self, request: web.Request) -> web.StreamResponse:
        """Undoes, with moods of its own."""
        _, draw = await self._note(request, undo=True)
        mood = self._mood(request, draw, SYNC_MOODS)
        return web.json_response({}) if mood == "well" else await _ill(request, mood)

    # ------------------------------------------------------------------ async

    async def approve(self, request: web.Request) -> web.StreamResponse:
        """Takes work on; the outcome comes as the mood is."""
        body, draw = await self._note(request)
        mood = self._mood(request, draw, ASYNC_MOODS)
        path = request.headers["Argyll-Webhook-URL"].partition("/webhook/")[2]
        good = {"approved": body["a"]}
        if mood == "early":
            await self._post_until_answered(path, good, limit_s=1)
        match mood:
            case "forget":
                pass
            case "forged":
                flow, step, _ = path.split("/")
                self._later(0, self._forge(f"{flow}/{step}/{draw.randbytes(16).hex()}"))
                self._later(0.1, self._post_until_answered(path, good))
            case "unfinished":
                self._later(0.05, self._post_until_answered(path, None))
            case "twice":
                self._later(0.05, self._post_twice(path, good))
            case _:
                delay_s = {"late": LATE_S, "slow": 1.5}.get(mood, draw.random() * 0.4)
                self._later(delay_s, self._post_until_answered(path, good))
        return web.json_response({}, status=202)

    def _later(self, delay_s: float, post: Any) -> None:
        async def posting() -> None:
            await asyncio.sleep(delay_s)
            await post

        task = asyncio.get_running_loop().create_task(posting())
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)

    async def _post_twice(self, path: str, good: dict[str, Any]) -> None:
        """The same outcome to two engines at once, and once it is known another one, which comes too late."""
        await asyncio.gather(*(self._post_until_answered(path, good) for _ in range(2)))
        await self._post_until_answered(path, {"approved": -1})

    async def _forge(self, path: str) -> None:
        status = await self._post(path, {"approved": -2})
        flow, step, token = path.split("/")
        answer = {200: "ok", 400: "refused"}.get(status, "unknown")
        self._forged.note(flow=flow, step=step, token=token, answer=answer)

    async def _post_until_answered(
        self, path: str, body: dict[str, Any] | None, limit_s: float = POST_TRIES_S
    ) -> None:
        """Posts an outcome, or "try again" when there is none, until somebody answers."""
        flow, step, token = path.split("/")
        deadline_s = time.monotonic() + limit_s
        while True:
            status = await self._post(path, body)
            answer = "ok" if status == 200 else "refused" if 400 <= status < 500 else "unknown"
            self._answers.note(
                do="webhook", flow=flow, step=step, token=token, answer=answer, at=_now_ms(), body=body
            )
            if answer != "unknown" or time.monotonic() > deadline_s:
                return
            await asyncio.sleep(0.1)

    async def _post(self, path: str, body: dict[str, Any] | None) -> int:
        """Posts to any engine; 0 when there is no answer."""
        assert self._http is not None
        kind = "application/json" if body is not None else "application/problem+json"
        data = json.dumps(body if body is not None else {"status": 503, "detail": "later"})
        base = random.choice(self._bases)
        try:
            async with self._http.post(
                f"{base}/webhook/{path}", data=data, headers={"Content-Type": kind}
            ) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 0

    # ----------------------------------------------------------------- moods

    async def _note(
        self, request: web.Request, *, undo: bool = False
    ) -> tuple[dict[str, Any], random.Random]:
        body = await request.json()
        headers = request.headers
        flow, step = headers["Argyll-Flow-ID"], headers["Argyll-Step-ID"]
        attempt = int(headers["Argyll-Attempt"])
        self._calls.note(
            flow=flow,
            step=step,
            token=headers["Argyll-Receipt-Token"] + UNDO * undo,
            attempt=attempt,
            at=_now_ms(),
        )
        draw = random.Random(f"{self._seed} {flow} {step} {json.dumps(body, sort_keys=True)} {attempt}")
        return body, draw

    def _mood(self, request: web.Request, draw: random.Random, moods: dict[str, int]) -> str:
        if int(request.headers["Argyll-Attempt"]) >= ROUGH_ATTEMPTS:
            return "well"
        return draw.choices(list(moods), list(moods.values()))[0]


def _paid(body: dict[str, Any]) -> dict[str, Any] | None:
    """All but the last of an order can be paid."""
    return None if body["parts"] == body["a"] % 10 else {"paid": body["parts"]}


async def _ill(request: web.Request, mood: str) -> web.StreamResponse:
    """Answers as services do that are not well."""
    transport = request.transport
    assert transport is not None
    if mood == "hang":
        await asyncio.sleep(HANG_S)
        return web.json_response({"late": True})
    if mood in ("500", "503"):
        return web.json_response({"detail": "not well"}, status=int(mood))
    if mood == "429":
        return web.json_response({"detail": "too many"}, status=429, headers={"Retry-After": "1"})
    if mood == "cut":
        transport.write(CUT_SHORT)
    elif mood == "garbage":
        transport.write(b"\x00\xff garbage instead of HTTP\r\n\r\n")
    transport.close()
    return web.Response()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def main() -> None:
    asked = json.loads(sys.argv[1])
    service = Service(Path(asked["journals"]), seed=asked["seed"], bases=asked["bases"])
    web.run_app(service.app(), host="127.0.0.1", port=asked["port"], print=None, access_log=None)


if __name__ == "__main__":
    main()
