"""The API as an ASGI application: finds the route, sees who asks, reads the body, calls the handler.

Everything that goes wrong on the way is answered in one shape. The application knows nothing of sockets
and signals: `server.py` does.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from argyll_redis.core.values import shown
from argyll_redis.http.answers import Refused, refusal_of
from argyll_redis.http.bodies import read_body
from argyll_redis.http.guard import Hosts
from argyll_redis.http.keys import ApiKeys
from argyll_redis.http.metrics import Metrics
from argyll_redis.http.route import Call, Route
from argyll_redis.http.routes import ROUTES
from argyll_redis.runtime.clock import monotonic_ms

if TYPE_CHECKING:
    from argyll_redis.app import Argyll

MAX_REQUESTS = 1_000
"""Requests answered at a time; more are told to come again."""
MAX_STREAMS = 1_000
"""Streams and websockets open at a time; more are told to come again."""
MAX_QUERY_FIELDS = 100
"""Parameters of one query."""
WITH_BODY = ("POST", "PUT")
ELSEWHERE = "(elsewhere)"
"""What figures call a request that found no route."""

_BEARER = re.compile(r"bearer +([!-~]+) *", re.IGNORECASE)


class Api:
    """The API of one app."""

    def __init__(
        self, app: Argyll, *, hosts: Hosts, keys: ApiKeys | None = None, routes: Sequence[Route] = ROUTES
    ) -> None:
        self.app = app
        self.routes = tuple(routes)
        self.metrics = Metrics(app)
        self.is_draining = False
        """Whether the process lets its work end: it still answers, and says so."""
        self.closing = asyncio.Event()
        """Set when streams and websockets have to end."""
        self._hosts = hosts
        self._keys = keys or ApiKeys()
        self._requests = 0
        self._streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            response = await self._answered(Request(scope, receive))
            await response(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._follow(WebSocket(scope, receive, send))

    # ------------------------------------------------------------------- requests

    async def _answered(self, request: Request) -> Response:
        began_ms, name = monotonic_ms(), ELSEWHERE
        self._requests += 1
        try:
            if self._requests > MAX_REQUESTS:
                raise _full()
            self._hosts.check(request.headers)
            route, path = self._found(request.method, request.url.path)
            name = route.name
            self._allow(route, request)
            if route.is_socket:
                raise Refused(HTTPStatus.UPGRADE_REQUIRED, "this is a websocket", {"upgrade": "websocket"})
            call = await self._call(route, path, request)
            response = await route.handle(call)
            assert response is not None
        except Exception as error:
            response = refusal_of(error, f"{request.method} {name}")
        finally:
            self._requests -= 1
        self.metrics.count(name, response.status_code, monotonic_ms() - began_ms)
        return response

    async def _call(self, route: Route, path: dict[str, str], request: Request) -> Call:
        query = route.read_query(_query_of(request))
        body = await read_body(request, route.max_body_bytes) if route.method in WITH_BODY else b""
        return Call(self, request, route, path, query, body)

    def _found(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route of a request. Raises `Refused`: 404, or 405 with what is allowed."""
        segments = tuple(path.removeprefix("/").split("/"))
        matches = [(route, found) for route in self.routes if (found := route.match(segments)) is not None]
        # A segment that is a word of its own goes before one that stands for any text.
        matches.sort(key=lambda match: len(match[1]))
        if not matches:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such route (GET /openapi.json has all of them)")
        asked = "GET" if method == "HEAD" else method
        found = next((match for match in matches if match[0].method == asked), None)
        if found is None:
            allowed = ", ".join(sorted({route.method for route, _ in matches}))
            message = f"{shown(method)} is not possible here (use {allowed})"
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, message, {"allow": allowed})
        return found

    def _allow(self, route: Route, connection: HTTPConnection) -> None:
        """Raises `Refused`: 401 without a key or with an unknown one, 403 for one that allows less."""
        if route.role is None or not self._keys:
            return
        given = _BEARER.fullmatch(connection.headers.get("authorization", ""))
        role = self._keys.role_of(given[1]) if given else None
        if role is None:
            what = "the key is not known" if given else "a key is needed"
            mend = "send Authorization: Bearer KEY"
            raise Refused(
                HTTPStatus.UNAUTHORIZED, f"{what} ({mend})", {"www-authenticate": 'Bearer realm="argyll"'}
            )
        if role < route.role:
            message = f"the key has the role {role.word}, and this needs {route.role.word}"
            raise Refused(HTTPStatus.FORBIDDEN, message)

    # -------------------------------------------------------------------- streams

    async def _follow(self, socket: WebSocket) -> None:
        try:
            self._hosts.check(socket.headers)
            route, path = self._found("GET", socket.url.path)
            if not route.is_socket:
                raise Refused(HTTPStatus.NOT_FOUND, "this route is no websocket")
            self._allow(route, socket)
            route.read_query(_query_of(socket))
            self.refuse_when_full()
        except Exception as error:
            await _deny(socket, refusal_of(error, "websocket"))
            return
        with self.following():
            await route.handle(Call(self, socket, route, path, {}))

    def refuse_when_full(self) -> None:
        """Raises `Refused` when too many follow already, or the server is about to close."""
        if self._streams >= MAX_STREAMS or self.closing.is_set():
            raise _full()

    @contextmanager
    def following(self) -> Iterator[None]:
        """Counts somebody who follows, while this is entered."""
        self._streams += 1
        self.metrics.streams = self._streams
        try:
            yield
        finally:
            self._streams -= 1
            self.metrics.streams = self._streams


async def _deny(socket: WebSocket, response: Response) -> None:
    """Refuses a websocket, with the same answer as a request where the server can give one."""
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(response)
    else:
        await socket.close()


def _full() -> Refused:
    message = "the server has too much to do just now (come again)"
    return Refused(HTTPStatus.SERVICE_UNAVAILABLE, message, {"retry-after": "1"})


def _query_of(connection: HTTPConnection) -> list[tuple[str, str]]:
    try:
        return parse_qsl(connection.url.query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST, f"more than {MAX_QUERY_FIELDS} parameters") from None
