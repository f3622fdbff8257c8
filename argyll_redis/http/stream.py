"""A flow's events as server-sent events: followed live, and resumed where the client left off.

The id of each message is the entry id of the event, so a browser resumes by itself with
`Last-Event-ID`. Events are read only as fast as the client takes them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from argyll_redis.core.values import shown
from argyll_redis.errors import ArgyllError, InvalidInput, Problem
from argyll_redis.http.answers import HEADERS
from argyll_redis.http.route import Call

log = logging.getLogger(__name__)

MEDIA_TYPE = "text/event-stream"
ALIVE_S = 15
"""How often something is said when nothing happens: proxies drop connections that are silent."""
RETRY_MS = 1_000
"""When a browser whose connection broke comes again."""
SILENCE = b": nothing new\n\n"


def wants_stream(request: Request) -> bool:
    """Whether the client asks for server-sent events."""
    accepted = (part.partition(";")[0].strip() for part in request.headers.get("accept", "").split(","))
    return request.method == "GET" and MEDIA_TYPE in (part.lower() for part in accepted)


async def stream_events(call: Call, after: int) -> Response:
    """Answers with a stream that ends when the flow is deactivated.

    A client that has the last event already is told by 204 not to come again. Raises `UnknownFlow`,
    `InvalidInput`.
    """
    flow = call.path["flow"]
    after = max(after, last_event(call.request))
    version, is_closed = await call.app.position(flow)
    if is_closed and after >= version:
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=dict(HEADERS))
    call.api.refuse_when_full()
    return StreamingResponse(
        _messages(call, flow, after), headers={**HEADERS, "x-accel-buffering": "no"}, media_type=MEDIA_TYPE
    )


def last_event(request: Request) -> int:
    """The version that `Last-Event-ID` names; 0 without one. Raises `InvalidInput`."""
    given = request.headers.get("last-event-id", "").strip()
    if not given:
        return 0
    version = given.removesuffix("-0")
    if version.isascii() and version.isdigit() and len(version) <= 18:
        return int(version)
    mend = "use the id of an event, such as 17-0"
    raise InvalidInput(
        problems=[Problem("Last-Event-ID", f'"{shown(given)}" is not the id of an event', mend)]
    )


async def _messages(call: Call, flow: str, after: int) -> AsyncGenerator[bytes, None]:
    """What is sent. The flow may go away while it is followed: then the stream ends, and the log says
    why."""
    events = call.app.flow(flow).events(after)
    with call.api.following():
        yield f"retry: {RETRY_MS}\n\n".encode()
        try:
            async for event in until_closing(events, call.api.closing, quiet_s=ALIVE_S):
                yield SILENCE if event is None else _message(event)
        except ArgyllError as error:
            log.warning("a stream of events ended: %s", error)


def _message(event: dict[str, Any]) -> bytes:
    return b"id: %s\ndata: %s\n\n" % (event["id"].encode(), orjson.dumps(event))


async def until_closing(
    events: AsyncGenerator[Any, None], closing: asyncio.Event, *, quiet_s: float | None = None
) -> AsyncGenerator[Any, None]:
    """Gives what comes until the server closes; None whenever nothing has come for so long."""
    ends = asyncio.ensure_future(closing.wait())
    next_one: asyncio.Future[Any] | None = None
    try:
        while not closing.is_set():
            next_one = next_one or asyncio.ensure_future(anext(events))
            await asyncio.wait([next_one, ends], timeout=quiet_s, return_when=asyncio.FIRST_COMPLETED)
            if next_one.done():
                done, next_one = next_one, None
                try:
                    event = done.result()
                except StopAsyncIteration:
                    return
                yield event
            elif not ends.done():
                yield None
    finally:
        ends.cancel()
        if next_one is not None:
            next_one.cancel()
            await asyncio.gather(next_one, return_exceptions=True)
        await events.aclose()
