"""Requests and websockets at the API, in this process: every route, and none of them as it was meant."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from argyll_redis import Argyll
from argyll_redis.http.address import Address
from argyll_redis.http.api import Api
from argyll_redis.http.guard import Hosts
from argyll_redis.http.keys import read_keys
from argyll_redis.http.route import Route
from argyll_redis.http.routes import ROUTES
from argyll_redis.store.memory_server import MemoryServer
from tests.fuzz.cases import Wrong
from tests.fuzz.draw import Draw
from tests.fuzz.flows import STARTS, WITH_HTTP, filled, in_memory
from tests.fuzz.samples import STEPS
from tests.http.http_words import mismatch

REFUSALS = frozenset({400, 401, 403, 404, 405, 408, 413, 415, 426})
"""What every route may answer beside its own answers."""
FRESH_AFTER = 1_000
"""Cases that share a namespace."""
ANSWER_LIMIT_S = 20
"""Longest wait for an answer, on a machine that has a lot to do."""
KEYS = "read:r-key,operate:o-key,define:d-key"
FLOWS = (*(start["id"] for start in STARTS), "nobody", "parent:nested:x", "CHAIN", " chain ")
BODIES: Mapping[str, tuple[Any, ...]] = {
    "register_step": STEPS,
    "update_step": STEPS,
    "preview_plan": tuple(
        {"goals": s["goals"], "init": {n: [v] for n, v in s["init"].items()}} for s in STARTS
    ),
    "start_flow": tuple({**s, "init": {n: [v] for n, v in s["init"].items()}} for s in STARTS),
    "query_flows": (
        {"id_prefix": "c", "labels": {"team": "a"}, "statuses": ["active"], "limit": 5, "sort": "recent_asc"},
        {"cursor": "WyJhIiwxXQ"},
        {},
    ),
    "take_outcome": (
        {"approved": True},
        {"title": "t", "detail": "d", "status": 503},
        {"status": 400, "detail": "no"},
        {},
    ),
}
SUBSCRIBE = {
    "type": "subscribe",
    "data": {
        "sub_id": "s",
        "aggregate_ids": [["flow", "chain"], ["catalog"], ["flow"]],
        "event_types": ["work_started"],
        "include_state": True,
    },
}


class Requests:
    """Cases of what anybody may send to the API."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._left = 0
        self._app: Argyll | None = None
        self._server = MemoryServer()
        self._tokens: list[str] = []
        self._said: Any = None

    def close(self) -> None:
        self._runner.run(self._end())
        self._runner.close()

    def shown(self) -> str:
        return repr(self._said)

    def run(self, draw: Draw) -> None:
        self._runner.run(self._case(draw))

    async def _case(self, draw: Draw) -> None:
        if self._left == 0:
            await self._begin()
        self._left -= 1
        assert self._app is not None
        api = Api(
            self._app,
            hosts=Hosts(Address("127.0.0.1", 8080)),
            keys=read_keys(KEYS if draw.chance(20) else None),
        )
        before = self._picture()
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                if draw.chance(15):
                    await self._socket(api, draw)
                    changed = before != self._picture()
                    if changed:
                        raise Wrong("a websocket changed something")
                    return
                status = await self._request(api, draw)
        except TimeoutError:
            raise Wrong(f"no answer within {ANSWER_LIMIT_S} s") from None
        after = self._picture()
        if status >= 400 and after != before:
            changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
            raise Wrong(f"it was refused with {status}, and this changed: {changed}")

    async def _begin(self) -> None:
        """A fresh namespace with flows."""
        await self._end()
        self._server = MemoryServer(partitions=1)
        await filled(in_memory(self._server))
        self._app = Argyll(config=WITH_HTTP, make_store=in_memory(self._server))
        logs = self._server.namespace.partitions[0].logs
        self._tokens = [
            json.loads(event.data)["token"]
            for log in logs.values()
            for event in log.events
            if event.type == "work_started"
        ]
        self._left = FRESH_AFTER

    async def _end(self) -> None:
        if self._app is not None:
            await self._app.close()

    def _picture(self) -> tuple[Any, ...]:
        """What no refused request changes."""
        namespace = self._server.namespace
        [home] = namespace.partitions
        streams = [len(stream) for stream in home.streams.values()]
        logs = [(id, log.version, log.sealed) for id, log in home.logs.items()]
        return namespace.catalog.version, logs, streams, list(home.due), len(home.dead), len(home.plans)

    # ----------------------------------------------------------------- requests

    async def _request(self, api: Api, draw: Draw) -> int:
        route = draw.one(ROUTES)
        method = (
            route.method
            if draw.chance(92)
            else draw.one(("GET", "HEAD", "PUT", "PATCH", "OPTIONS", "\u00c9"))
        )
        path, query = self._path(draw, route), _query(draw, route)
        headers = _headers(draw, route)
        chunks = _chunks(draw, draw.bytes_of(_body(draw, route)))
        self._said = {"method": method, "path": path, "query": query, "headers": headers, "body": chunks}
        answer = _Answer(chunks, is_cut=draw.chance(4))
        await api(_scope("http", method, path, query, headers), answer.receive, answer.send)
        answer.judge(method)
        if answer.status < 400 and method == route.method and path == quote(unquote(path)):
            _judge_answer(api, method, path, answer)
        return answer.status

    def _path(self, draw: Draw, route: Route) -> str:
        """A path as it travels, percent-encoded."""
        values = {
            "flow": draw.one(FLOWS),
            "step": draw.one((*(step["id"] for step in STEPS), "approve", "DOUBLE", "nobody")),
            "token": draw.one(self._tokens),
        }
        segments = [
            (draw.text() if draw.chance(15) else values[segment[1:-1]])
            if segment.startswith("{")
            else segment
            for segment in route.segments
        ]
        if draw.chance(4):
            segments.insert(draw.number(len(segments) + 1), draw.text())
        safe = "/" if draw.chance(10) else ""
        return "/" + "/".join(quote(each.encode("utf-8", "replace"), safe=safe) for each in segments)

    # --------------------------------------------------------------- websockets

    async def _socket(self, api: Api, draw: Draw) -> None:
        messages: list[dict[str, Any]] = [{"type": "websocket.connect"}]
        for _ in range(1 + draw.number(3)):
            data = draw.bytes_of(draw.changed(SUBSCRIBE) if draw.chance(90) else draw.value())
            if draw.chance(20):
                messages.append({"type": "websocket.receive", "bytes": data})
            else:
                messages.append({"type": "websocket.receive", "text": data.decode("utf-8", "replace")})
        headers = _headers(draw, ROUTES[0])
        self._said = {"websocket": messages, "headers": headers}
        spoken = _Spoken(messages)
        await api(_scope("websocket", "GET", "/engine/ws", "", headers), spoken.receive, spoken.send)
        spoken.judge()


def _scope(
    type: str, method: str, path: str, query: str, headers: list[tuple[bytes, bytes]]
) -> dict[str, Any]:
    return {
        "type": type,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http" if type == "http" else "ws",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
        "subprotocols": [],
        "state": {},
    }


def _query(draw: Draw, route: Route) -> str:
    if draw.chance(60):
        return ""
    names = [*route.numbers, "at", "after", "x"]
    values = ("0", "1", "5", "999999999999999999", "-1", "1.0", "\u0661", " 1", "1e3", "")
    pairs = [
        (draw.one(names), draw.one(values) if draw.chance(80) else draw.text())
        for _ in range(1 + draw.number(3))
    ]
    text = "&".join(f"{n}={quote(v.encode('utf-8', 'replace'))}" for n, v in pairs)
    return text if draw.chance(90) else draw.one(("&" * 200, "%", "%zz=%", "a=1&" * 150, "=", "at=%ff"))


def _headers(draw: Draw, route: Route) -> list[tuple[bytes, bytes]]:
    headers = {"host": "127.0.0.1:8080", "content-type": "application/json"}
    if route.name == "take_outcome" and draw.chance(40):
        headers["content-type"] = draw.one(("application/problem+json", "Application/Problem+JSON ; a=b", ""))
    if draw.chance(40):
        name = draw.one(_NAMES)
        text = draw.one(_VALUES) if draw.chance(80) else draw.text()
        headers[name] = "".join(c for c in text if c not in "\r\n\x00")
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]


_NAMES = (
    *("host", "origin", "accept", "last-event-id", "authorization", "argyll-attempt", "content-type"),
    *("content-length", "content-encoding", "x-forwarded-for", "connection", "accept-encoding"),
)
_VALUES = (
    *("text/event-stream", "Text/Event-Stream;q=1, */*", "0-0", "5-0", "5", "99999999999999999999-0", "1-1"),
    *("Bearer d-key", "Bearer r-key", "bearer o-key", "Bearer ", "Basic eDp5", "1", "2", "0", "-1", "1.5"),
    *(
        "\u00b2",
        "999999999999999999999",
        "http://127.0.0.1:8080",
        "http://evil.test",
        "null",
        "[",
        "evil.test",
    ),
    *("127.0.0.1:99999", "[::1", "localhost.", "LOCALHOST", "gzip", "identity", "br, gzip", "1" * 3_000),
)


def _body(draw: Draw, route: Route) -> Any:
    samples = BODIES.get(route.name)
    if samples is None:
        return draw.value() if draw.chance(20) else {}
    sample = draw.one(samples)
    return sample if draw.chance(15) else draw.changed(sample)


def _chunks(draw: Draw, data: bytes) -> list[bytes]:
    if draw.chance(1):
        data += b" " * 1_100_000
    if draw.chance(80) or not data:
        return [data]
    at = draw.number(len(data))
    return [data[:at], b"", data[at:]]


class _Answer:
    """The client of one request."""

    def __init__(self, chunks: list[bytes], *, is_cut: bool) -> None:
        self._messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": chunk, "more_body": place < len(chunks) or is_cut}
            for place, chunk in enumerate(chunks, 1)
        ]
        if is_cut:
            self._messages.append({"type": "http.disconnect"})
        self._is_enough = asyncio.Event()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop(0)
        await self._is_enough.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")
            self._is_enough.set()  # of a stream, the beginning is enough

    def judge(self, method: str) -> None:
        """A refusal has one shape, and is never the server's fault."""
        if self.status == 0:
            raise Wrong("no answer at all")
        if self.status >= 500:
            raise Wrong(f"{self.status}: {self.body[:500]!r}")
        if self.status < 400 or method == "HEAD":
            return
        try:
            told = json.loads(self.body)
        except ValueError:
            raise Wrong(f"{self.status} is no JSON: {self.body[:200]!r}") from None
        if set(told) != {"error", "status"} or told["status"] != self.status or not told["error"]:
            raise Wrong(f"a refusal has another shape: {told}")
        if "Traceback" in told["error"] or 'File "' in told["error"]:
            raise Wrong(f"a trace: {told['error'][:500]}")
        if any(ord(character) < 32 for character in told["error"]):
            raise Wrong(f"a refusal holds control characters: {told['error'][:300]!r}")


def _judge_answer(api: Api, method: str, path: str, answer: _Answer) -> None:
    """A success is one that the description of the API has."""
    route, _ = api._found(method, unquote(path))
    described = route.answers.get(answer.status)
    if described is None:
        raise Wrong(f"{route.name} answers {answer.status}, which is not described")
    if described.schema is not None and answer.headers.get("content-type") == "application/json":
        wrong = mismatch(described.schema, json.loads(answer.body))
        if wrong:
            raise Wrong(f"{route.name} answers otherwise than described: {wrong}")


class _Spoken:
    """The client of one websocket. It goes when everything has been said and nothing comes any more."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self._messages = messages
        self._sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop(0)
        await asyncio.sleep(0)
        return {"type": "websocket.disconnect", "code": 1000}

    async def send(self, message: Any) -> None:
        self._sent.append(message)

    def judge(self) -> None:
        for message in self._sent:
            if message["type"] != "websocket.send":
                continue
            told = json.loads(message["text"])
            if told.get("type") == "error" and (told["status"] >= 500 or "Traceback" in told["error"]):
                raise Wrong(f"a websocket says {told}")
