"""Logs, plans, heads, the catalog and dispatch entries, hurt where they are kept: read, told, run on.

What cannot be read is said, of that flow and of no other; an engine that meets it lives, and the other
flows go on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from argyll_redis import Argyll
from argyll_redis.core.events import EVENTS
from argyll_redis.errors import ArgyllError, CallRefused
from argyll_redis.store.memory_partition import Log, Partition
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import StoredEvent
from tests.fuzz.cases import Wrong
from tests.fuzz.draw import Draw
from tests.fuzz.flows import WAITING, app_on, filled, in_memory

FRESH_AFTER = 400
"""Cases that share a namespace."""
APP_AFTER = 40
"""Cases that share an app, and so its caches."""
ENGINE_PERCENT = 4
"""Cases that start an engine: these cost the most."""
LIMIT_S = 45
OTHER = "chain"
"""The flow that is hurt least often, and is looked at beside the one that is."""


class Logs:
    """Cases of what may be in a store, whoever has put it there."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._server = MemoryServer(partitions=1)
        self._app: Argyll | None = None
        self._cases = 0
        self._said: Any = None

    def close(self) -> None:
        self._runner.run(self._end())
        self._runner.close()

    def shown(self) -> str:
        return repr(self._said)

    def run(self, draw: Draw) -> None:
        self._runner.run(self._case(draw))

    async def _case(self, draw: Draw) -> None:
        if self._cases % FRESH_AFTER == 0:
            self._server = MemoryServer(partitions=1)
            await filled(in_memory(self._server))
        if self._cases % APP_AFTER == 0:
            await self._end()
            self._app = app_on(in_memory(self._server))
        self._cases += 1
        assert self._app is not None
        try:
            async with asyncio.timeout(LIMIT_S):
                if draw.chance(ENGINE_PERCENT):
                    self._cases = 0  # the next one begins anew: an engine goes on with what it finds
                    await self._run_engine(draw)
                else:
                    await self._read(self._app, draw)
        except TimeoutError:
            raise Wrong(f"not over within {LIMIT_S} s") from None

    async def _end(self) -> None:
        if self._app is not None:
            await self._app.close()

    @property
    def _home(self) -> Partition:
        return self._server.namespace.partitions[0]

    # -------------------------------------------------------------------- read

    async def _read(self, app: Argyll, draw: Draw) -> None:
        """Reads one hurt flow in every way there is, then mends it."""
        id = draw.one([each for each in self._home.logs if each != OTHER])
        log = self._home.logs[id]
        kept = (list(log.events), log.tx, log.sealed, dict(log.fields))
        plans = {hash: plan.data for hash, plan in self._home.plans.items()}
        self._said = (id, hurt_log(draw, log, self._home))
        try:
            await look_at(app, id, draw)
        finally:
            log.events, log.tx, log.sealed, log.fields = kept
            for hash, data in plans.items():
                self._home.plans[hash].data = data

    # ------------------------------------------------------------------ engine

    async def _run_engine(self, draw: Draw) -> None:
        """An engine on a namespace with hurt flows and garbage in its queues: new flows are run, garbage
        is put aside, and it ends in order."""
        home, said = self._home, list[Any]()
        for id in WAITING:
            if draw.chance(60):
                said.append((id, hurt_log(draw, home.logs[id], home)))
        said.append(_unfinish(draw, home.logs["script"], home))
        garbage = [_entry(draw, home) for _ in range(1 + draw.number(4))]
        self._said = (said, garbage)
        for stream, payload in garbage:
            home.add_entry(stream, payload, self._server.now_ms())
        if draw.chance(30):
            self._server.namespace.catalog.events.append(_catalog_event(draw, self._server.namespace.catalog))
            self._said = (*self._said, self._server.namespace.catalog.events[-1])
            await _typed(lambda: _ran_with_broken_catalog(self._server))
            return
        await run_beside(app_on(in_memory(self._server)), (*WAITING, "script"))
        left = [payload for stream in home.streams.values() for payload, _ in stream.entries()]
        if any(payload in left for _, payload in garbage if _is_garbage(payload)):
            raise Wrong(f"garbage is left in the queues: {left}")


async def _exported(app: Argyll, id: str) -> list[str]:
    return [line async for line in app.export_flow(id)]


async def look_at(app: Argyll, id: str, draw: Draw) -> None:
    """Asks of a hurt flow what can be asked, and of another one whether it is whole still."""
    steps = ("second", "make", "nested", "nobody", draw.text())
    asks: list[Callable[[], Awaitable[Any]]] = [
        lambda: app.state(id),
        lambda: app.events(id),
        lambda: app.why(id, draw.one(steps)),
        lambda: app.why_goals(id),
        lambda: app.waits_for(id),
        lambda: app.waiting(id, "approve"),
        lambda: app.status(id),
        lambda: app.position(id),
        lambda: app.state(id, at=1 + draw.number(8)),
        lambda: app.query(id_prefix=id[:3]),
        lambda: app.flows(),
        lambda: app.complete(id, "approve", "t", {"approved": True}),
        lambda: app.restart(id),
        lambda: app.queue_stats(),
        lambda: app.doctor(),
        lambda: _exported(app, id),
    ]
    for _ in range(4):
        await _typed(draw.one(asks))
    audited = await _typed(lambda: app.audit(id))
    if audited is not None and not isinstance(audited["violations"], list):
        raise Wrong(f"the audit gives {audited}")


async def run_beside(app: Argyll, hurt: Sequence[str]) -> None:
    """An engine on a namespace with hurt flows: a new flow is run, and the engine ends in order."""
    stop = asyncio.Event()
    running = asyncio.create_task(app.run(until=stop.wait))
    try:
        try:
            started = await app.start(["second"], {"n": 1}, id="another")
        except CallRefused:
            return  # what it needs itself, its plan, is hurt
        waiting = asyncio.create_task(started.outcome())
        await asyncio.wait([waiting, running], timeout=LIMIT_S / 2, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
            raise Wrong("the engine has ended")
        if not waiting.done():
            waiting.cancel()
            raise Wrong("a flow beside the hurt ones does not end")
        if waiting.result()["status"] != "completed":
            raise Wrong("a flow beside the hurt ones did not complete")
        for id in hurt:
            await _typed(lambda id=id: app.complete(id, "approve", "t", {}))
            await _typed(lambda id=id: app.cancel(id))
        if running.done():
            raise Wrong("the engine has ended")
    finally:
        stop.set()
        await asyncio.wait([running], timeout=LIMIT_S / 2)
        await app.close()


async def _ran_with_broken_catalog(server: MemoryServer) -> None:
    app = app_on(in_memory(server))
    try:
        await app.start(["second"], {"n": 1}, id="another")
    finally:
        await app.close()


async def _typed(ask: Callable[[], Awaitable[Any]]) -> Any:
    """What it gives; None when it raises an error of ours that says what is the matter."""
    try:
        return await ask()
    except ArgyllError as error:
        if not str(error):
            raise Wrong(f"{type(error).__name__} says nothing") from None
        return None


# ------------------------------------------------------------------------ hurt


def hurt_log(draw: Draw, log: Log, home: Partition) -> list[str]:
    """Hurts a log in a few places; gives what was done."""
    done: list[str] = []
    for _ in range(1 + draw.number(2)):
        match draw.number(12):
            case 0:
                done.append(_reorder(draw, log))
            case 1:
                done.append(_hurt_head(draw, log))
            case 2:
                done.append(_hurt_plan(draw, log, home))
            case 3:
                other = draw.one(list(home.logs.values()))
                log.events.insert(draw.number(len(log.events) + 1), draw.one(other.events or log.events))
                done.append("an event of another flow")
            case _:
                done.append(_hurt_event(draw, log))
    log.events = [event._replace(version=place) for place, event in enumerate(log.events, 1)]
    return done


def _reorder(draw: Draw, log: Log) -> str:
    place = draw.number(len(log.events))
    match draw.number(4):
        case 0:
            del log.events[place]
            return f"event {place} is gone"
        case 1:
            log.events.insert(place, log.events[place])
            return f"event {place} is there twice"
        case 2:
            other = draw.number(len(log.events))
            log.events[place], log.events[other] = log.events[other], log.events[place]
            return f"events {place} and {other} have changed places"
        case _:
            del log.events[max(1, place) :]
            return f"cut at {place}"


def _hurt_head(draw: Draw, log: Log) -> str:
    match draw.number(4):
        case 0:
            log.tx = draw.text()
        case 1:
            log.sealed = not log.sealed
        case 2:
            log.fields = {"status": draw.text()}
        case _:
            log.fields = {draw.text(): draw.text()}
    return f"head {log.tx} {log.sealed} {log.fields}"


def _hurt_plan(draw: Draw, log: Log, home: Partition) -> str:
    if not log.events:
        return ""
    with suppress(ValueError, KeyError, TypeError):
        hash = json.loads(log.events[0].data)["plan"]
        plan = home.plans[hash]
        plan.data = draw.hurt(plan.data)
        return f"plan {hash}"
    return ""


def _hurt_event(draw: Draw, log: Log) -> str:
    if not log.events:
        return ""
    place = draw.number(len(log.events))
    event = log.events[place]
    log.events[place] = changed = _hurt(draw, event)
    return f"event {place}: {changed}"


def _hurt(draw: Draw, event: StoredEvent) -> StoredEvent:
    match draw.number(12):
        case 0:
            return event._replace(data=draw.hurt(event.data))
        case 1:
            return event._replace(type=draw.one((*EVENTS, draw.text())))
        case 2:
            return event._replace(at=draw.one((0, -1, 1, 2**62, event.at - 1)))
        case 3:
            return event._replace(cause=draw.one((0, -1, 1, 5, 10**9)))
        case 4:
            return event._replace(by=draw.text())
        case 5:
            return event._replace(tx=draw.text())
        case 6:
            return event._replace(place=draw.one((0, -1, 2, 10**9)), count=draw.one((0, 1, 5)))
        case _:
            return event._replace(data=_hurt_data(draw, event.data))


def _hurt_data(draw: Draw, data: bytes) -> bytes:
    """Still JSON, mostly: fields gone, doubled, of other types."""
    try:
        return json.dumps(draw.changed(json.loads(data), 1)).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return draw.hurt(data)


def _unfinish(draw: Draw, log: Log, home: Partition) -> tuple[str, int]:
    """Makes a finished flow one that was cut off: its end is gone, and it is open again."""
    count = 1 + draw.number(len(log.events) - 1)
    log.events = log.events[:count]
    log.tx, log.sealed, log.fields = log.events[-1].tx, False, {"status": "active"}
    home.indexes.setdefault("open", type(home.due)()).add("script", log.started_at)
    return "script", count


def _entry(draw: Draw, home: Partition) -> tuple[str, str]:
    """An entry of a dispatch stream that is no good."""
    stream = draw.one(("control", "work:default", "work:builtin"))
    id = draw.one(list(home.logs))
    match draw.number(4):
        case 0:
            return stream, draw.text()
        case 1:
            return stream, " ".join(draw.text() for _ in range(1 + draw.number(5)))
        case 2:
            word = draw.one(("retry", "child", "look", "cancel", "deadline", "timeout", "linger", "sweep"))
            return stream, f"{id} {word} {draw.text()} {draw.text()}"
        case _:
            return stream, f"{id} {draw.text()} {draw.one((0, 1, -1, 10**20))} {draw.one((1, 3, 10**9, 'x'))}"


def _is_garbage(payload: str) -> bool:
    return bool(payload)


def _catalog_event(draw: Draw, catalog: Log) -> StoredEvent:
    event = draw.one(catalog.events)
    data = draw.hurt(event.data) if draw.chance(50) else _hurt_data(draw, event.data)
    kind = event.type if draw.chance(70) else draw.text()
    return event._replace(version=len(catalog.events) + 1, type=kind, data=data)
