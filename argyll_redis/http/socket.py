"""The websocket: one connection, several subscriptions, each to flows, to all flows, or to the catalog.

A subscription to what has a state may ask for it, and gets every event from the state's version on:
none is missed between the two, and none comes twice. Events are read only as fast as they are taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from argyll_redis.core.events import EVENTS
from argyll_redis.core.model import JSON
from argyll_redis.core.reader import Reader, did_you_mean
from argyll_redis.core.values import shown
from argyll_redis.errors import ArgyllError, InvalidInput, Problem
from argyll_redis.http.answers import redacted, status_of
from argyll_redis.http.bodies import parse_object
from argyll_redis.http.route import Call
from argyll_redis.http.stream import until_closing
from argyll_redis.views import flow_state, rfc3339

if TYPE_CHECKING:
    from argyll_redis.app import Argyll

log = logging.getLogger(__name__)

MAX_SUBSCRIPTIONS = 100
"""Of one connection."""
MAX_AGGREGATES = 100
"""Of one subscription."""
MAX_SUB_ID_CHARS = 256
"""Of the name of a subscription."""
CATALOG_EVENTS = ("step_registered", "step_updated", "step_unregistered")
GOING_AWAY = 1001
"""The code of a connection that the server closes because it ends."""

GONE = (WebSocketDisconnect, RuntimeError, OSError)
"""What sending to a client that has gone may raise."""

Aggregate = tuple[str, ...]
"""`("catalog",)`, `("flow",)` for all flows, or `("flow", id)`."""
CATALOG, ALL_FLOWS = ("catalog",), ("flow",)


@dataclass(frozen=True, slots=True)
class Wish:
    """A subscription as it was asked for."""

    sub_id: str
    aggregates: tuple[Aggregate, ...]
    event_types: frozenset[str]
    """Empty for all."""
    include_state: bool


async def follow(call: Call) -> None:
    """Serves one connection until either side ends it."""
    socket = cast("WebSocket", call.connection)
    await socket.accept()
    await _Connection(call.app, socket, call.api.closing).serve()


class _Connection:
    """One connection and its subscriptions."""

    def __init__(self, app: Argyll, socket: WebSocket, closing: asyncio.Event) -> None:
        self._app = app
        self._socket = socket
        self._closing = closing
        self._sending = asyncio.Lock()
        self._subscriptions: dict[str, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        listening = asyncio.ensure_future(self._listen())
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait([listening, closing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            tasks = [listening, closing, *self._subscriptions.values()]
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        if self._closing.is_set():
            with contextlib.suppress(*GONE):
                await self._socket.close(GOING_AWAY)
        if isinstance(ends[0], Exception) and not isinstance(ends[0], WebSocketDisconnect):
            log.error("a websocket failed", exc_info=ends[0])

    async def _listen(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes") or (message.get("text") or "").encode("utf-8", "replace")
            await self._obey(data)

    async def _obey(self, data: bytes) -> None:
        sub_id = ""
        try:
            message = parse_object(data)
            given = message.get("data")
            asked: Mapping[str, JSON] = given if isinstance(given, dict) else {}
            named = asked.get("sub_id", message.get("sub_id"))
            sub_id = named if isinstance(named, str) else ""
            match message.get("type"):
                case "subscribe":
                    await self._subscribe(read_wish(given))
                case "unsubscribe":
                    await self._unsubscribe(sub_id)
                case other:
                    mend = "use subscribe or unsubscribe"
                    what = f"`{shown(other)}` is not a type of message"
                    raise InvalidInput(problems=[Problem("type", what, mend)])
        except ArgyllError as error:
            await self._refuse(error, sub_id)

    async def _refuse(self, error: Exception, sub_id: str) -> None:
        answer: dict[str, JSON] = {"type": "error", "error": redacted(str(error)), "status": status_of(error)}
        if sub_id:
            answer["sub_id"] = sub_id
        await self._send(answer)

    async def _send(self, message: dict[str, JSON]) -> None:
        async with self._sending:
            await self._socket.send({"type": "websocket.send", "text": orjson.dumps(message).decode()})

    async def _unsubscribe(self, sub_id: str) -> None:
        task = self._subscriptions.pop(sub_id, None)
        if task is None:
            what = f'"{shown(sub_id)}" is not subscribed'
            raise InvalidInput(problems=[Problem("sub_id", what, "use the sub_id of a subscription")])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self._send({"type": "unsubscribed", "sub_id": sub_id})

    async def _subscribe(self, wish: Wish) -> None:
        if wish.sub_id in self._subscriptions:
            mend = "unsubscribe first, or use another sub_id"
            raise InvalidInput(problems=[Problem("sub_id", f'"{wish.sub_id}" is subscribed already', mend)])
        if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            what = f"{MAX_SUBSCRIPTIONS} subscriptions are open"
            raise InvalidInput(problems=[Problem("", what, "unsubscribe from one, or connect once more")])
        stack = AsyncExitStack()
        try:
            sources, items = await self._begin(wish, stack)
        except BaseException:
            await stack.aclose()
            raise
        answered = asyncio.Event()
        pump = self._pump(wish, sources, stack, answered)
        self._subscriptions[wish.sub_id] = asyncio.get_running_loop().create_task(pump)
        await self._send({"type": "subscribed", "sub_id": wish.sub_id, "items": items})
        answered.set()

    async def _begin(
        self, wish: Wish, stack: AsyncExitStack
    ) -> tuple[list[AsyncGenerator[dict[str, JSON], None]], list[JSON]]:
        """What is to be followed, each from the version that its item shows or that it has now."""
        sources: list[AsyncGenerator[dict[str, JSON], None]] = []
        items: list[JSON] = []
        named = frozenset(each[1] for each in wish.aggregates if len(each) > 1)
        for aggregate in wish.aggregates:
            if aggregate == ALL_FLOWS:
                events = await stack.enter_async_context(self._app.all_events())
                sources.append(_of_all(events, named))
                state, version = (await self._app.flows() if wish.include_state else None), 0
            elif aggregate == CATALOG:
                state = await self._app.catalog_state()
                version = state["version"]
                sources.append(_of_one(self._app.follow_catalog(version), aggregate))
            else:
                state, version = await self._flow(aggregate[1], wish.include_state)
                sources.append(_of_one(self._app.flow(aggregate[1]).events(version), aggregate))
            if wish.include_state:
                items.append({"id": list(aggregate), "data": state, "sequence": version})
        return sources, items

    async def _flow(self, flow_id: str, include_state: bool) -> tuple[JSON, int]:
        if not include_state:
            return None, (await self._app.position(flow_id))[0]
        flow = await self._app.load(flow_id)
        return flow_state(flow), flow.version

    async def _pump(
        self,
        wish: Wish,
        sources: list[AsyncGenerator[dict[str, JSON], None]],
        stack: AsyncExitStack,
        answered: asyncio.Event,
    ) -> None:
        """Sends what comes until the subscription ends; one that can't go on is said to have ended."""
        try:
            async with stack:
                await answered.wait()
                async with asyncio.TaskGroup() as group:
                    for source in sources:
                        group.create_task(self._forward(wish, source))
        except* ArgyllError as errors:
            self._subscriptions.pop(wish.sub_id, None)
            with contextlib.suppress(*GONE):
                await self._refuse(_first(errors), wish.sub_id)
        except* GONE:
            pass  # whoever listens to the client knows

    async def _forward(self, wish: Wish, source: AsyncGenerator[dict[str, JSON], None]) -> None:
        async for event in until_closing(source, self._closing):
            if not wish.event_types or event["type"] in wish.event_types:
                await self._send({**event, "sub_id": wish.sub_id})


def _first(errors: BaseExceptionGroup) -> Exception:
    """One of the errors of a group."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return cast("Exception", error)


async def _of_one(
    events: AsyncGenerator[dict[str, JSON], None], aggregate: Aggregate
) -> AsyncGenerator[dict[str, JSON], None]:
    try:
        async for event in events:
            yield _shape(aggregate, event)
    finally:
        await events.aclose()


async def _of_all(
    events: AsyncGenerator[tuple[str, dict[str, JSON]], None], named: frozenset[str]
) -> AsyncGenerator[dict[str, JSON], None]:
    """Those of all flows but the ones that the same subscription names: these come anyway."""
    async for flow_id, event in events:
        if flow_id not in named:
            yield _shape(("flow", flow_id), event)


def _shape(aggregate: Aggregate, event: dict[str, Any]) -> dict[str, JSON]:
    return {
        "type": event["type"],
        "data": event["data"],
        "id": list(aggregate),
        "timestamp": rfc3339(event["at"]),
        "sequence": int(event["id"].partition("-")[0]),
    }


# --------------------------------------------------------------------- reading


def read_wish(given: JSON) -> Wish:
    """Reads a subscription. Raises `InvalidInput` with all that is wrong."""
    problems: list[Problem] = []
    if not isinstance(given, dict):
        mend = "use {sub_id, aggregate_ids, event_types, include_state}"
        raise InvalidInput(problems=[Problem("data", "is not an object", mend)])
    reader = Reader(cast("dict[str, JSON]", given), path="data", problems=problems)
    sub_id = reader.text("sub_id", most=MAX_SUB_ID_CHARS)
    if not sub_id and not problems:
        reader.refuse("sub_id", "is missing", "give the subscription a name")
    aggregates = _aggregates(reader)
    types = reader.words("event_types", most=len(EVENTS) + len(CATALOG_EVENTS))
    known = (*EVENTS, *CATALOG_EVENTS)
    for each in types:
        if each not in known:
            reader.refuse("event_types", f"`{each}` is not a type of event", did_you_mean(each, known))
    include_state = reader.flag("include_state")
    reader.finish()
    if problems:
        raise InvalidInput(problems=problems)
    return Wish(sub_id, aggregates, frozenset(types), include_state)


def _aggregates(reader: Reader) -> tuple[Aggregate, ...]:
    given = reader.get("aggregate_ids")
    mend = 'use a list of ["flow", ID], ["flow"] or ["catalog"]'
    if not isinstance(given, list) or not given:
        reader.refuse("aggregate_ids", "is not a list of ids" if given else "is missing", mend)
        return ()
    if len(given) > MAX_AGGREGATES:
        reader.refuse("aggregate_ids", f"has {len(given):,} entries", f"use at most {MAX_AGGREGATES}")
        return ()
    found: dict[Aggregate, None] = {}
    for index, each in enumerate(cast("list[JSON]", given)):
        parts = tuple(each) if isinstance(each, list) else ()
        is_flow = len(parts) == 2 and parts[0] == "flow" and isinstance(parts[1], str)
        if is_flow or parts in (CATALOG, ALL_FLOWS):
            found[parts] = None
        else:
            reader.refuse(f"aggregate_ids[{index}]", "is not the id of an aggregate", mend)
    return tuple(found)
