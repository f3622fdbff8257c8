"""The processes of one run: the one that is struck, and the one that comes after it and judges.

Each is engine, client and API at once, and where a flow calls a service, that service, too.
"""

from __future__ import annotations

import asyncio
import socket
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
from aiohttp import web

from argyll_redis import AppConfig, Argyll, UnknownFlow
from argyll_redis.core import events as e
from argyll_redis.core.audit_calls import audit_calls
from argyll_redis.errors import StoreUnavailable
from argyll_redis.http.address import Address
from argyll_redis.http.api import Api
from argyll_redis.http.guard import Hosts
from argyll_redis.store.redis import RedisStore
from tests.sweep.kinds import Journal, Kind
from tests.sweep.strike import Strike, StrikingConnector

LEASE_MS = 300
LINGER_MS = 100
"""How long a flow that is over waits for what it was promised from outside."""
PARTITIONS = 2
POLL_S = 0.01
WORK_LIMIT_S = 60
"""Longest time in which a process brings the flow to its end; one that takes longer is stuck."""
FLOW = "swept"
HOST = "127.0.0.1:8080"
BASE_URL = f"http://{HOST}"
ANSWER = {"answer": 7}
"""What the step service posts."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run happens."""

    url: str
    namespace: str
    directory: Path
    service: socket.socket
    """Bound and listening: whoever lives answers calls of the step service."""

    @property
    def journal(self) -> Journal:
        return Journal(self.directory / "calls")

    @property
    def is_over(self) -> Path:
        """A file that is there once the process that was struck has ended."""
        return self.directory / "over"


class Actor:
    """A process that starts the flow, runs it as an engine, and does what is done from outside."""

    def __init__(self, kind: Kind, place: Place, strike: Strike) -> None:
        self.kind = kind
        self.place = place
        self.journal = place.journal
        self._connector = StrikingConnector(place.url, strike)
        config = AppConfig(lease_ms=LEASE_MS, linger_ms=LINGER_MS, webhook_base_url=BASE_URL)
        self.app = Argyll(place.url, place.namespace, config=config, make_store=self._store)
        kind.declare(self.app, self.journal)
        self._api = Api(self.app, hosts=Hosts(Address("127.0.0.1", 8080)))
        self._posting: set[asyncio.Task[None]] = set()

    def _store(self) -> RedisStore:
        return RedisStore("", self.place.namespace, partitions=PARTITIONS, connector=self._connector)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """An engine that is started again whenever it cannot reach Redis, and the step service."""
        stop = asyncio.Event()
        engine = asyncio.create_task(_patiently(lambda: self.app.run(until=stop.wait, concurrency=10)))
        runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0.01)
        await runner.setup()
        await web.SockSite(runner, self.place.service.dup()).start()
        try:
            yield
            stop.set()
            await engine
        finally:
            engine.cancel()
            for task in self._posting:
                task.cancel()
            await asyncio.gather(engine, *self._posting, return_exceptions=True)
            await runner.cleanup()
            with suppress(StoreUnavailable):
                await self.app.close()

    # ------------------------------------------------------------------- client

    async def run_flow(self) -> None:
        """Starts the flow, acts on it, waits until it is deactivated: a client that tries again."""
        address = "http://{}:{}".format(*self.place.service.getsockname())
        definitions = self.kind.definitions(address)
        await _patiently(self.app.register_declared)
        if definitions:
            await _patiently(lambda: self.app.register_steps(definitions))
        goals, options = list(self.kind.goals), dict(self.kind.options)
        await _patiently(lambda: self.app.start(goals, self.kind.init, id=FLOW, **options))
        self._post_again()
        await _patiently(lambda: self.kind.act(self.app, FLOW))
        await _patiently(self._deactivated)

    async def _deactivated(self) -> None:
        async for _ in self.app.flow(FLOW).events():
            pass

    # ------------------------------------------------------------------ service

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        """Writes the call down, accepts it, and posts its outcome a moment later."""
        headers = request.headers
        url = httpx.URL(headers["Argyll-Webhook-URL"])
        token, attempt = headers["Argyll-Receipt-Token"], int(headers["Argyll-Attempt"])
        self.journal.note(token, attempt, webhook=url.path)
        self._post(url.path)
        return web.Response(status=202)

    def _post_again(self) -> None:
        """Posts what a process before this one was asked for and may not have posted."""
        for path in {line["webhook"] for line in self.journal.lines() if "webhook" in line}:
            self._post(path)

    def _post(self, path: str) -> None:
        task = asyncio.create_task(self._posted(path))
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)

    async def _posted(self, path: str) -> None:
        transport = httpx.ASGITransport(self._api)
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
            while (await client.post(path, json=ANSWER)).status_code != 200:
                await asyncio.sleep(POLL_S)

    # -------------------------------------------------------------------- judge

    async def judge(self) -> list[str]:
        """Everything that is wrong once the flow is over and nothing is on its way."""
        wrong = [*await self._wrong_outcome(), *await self._left_over()]
        audited = await self.app.audit()
        wrong += [f"audit: {v['invariant']}: {v['flow']}: {v['message']}" for v in audited["violations"]]
        ids = await self._flow_ids()
        calls = [(line["token"], line["attempt"]) for line in self.journal.lines()]
        known: set[tuple[str, int]] = set()
        for flow_id in ids:
            log = await self.app.log(flow_id)
            released = {(r.event.token, r.event.attempt) for r in log if isinstance(r.event, e.WorkStarted)}
            undone = {(t, a) for t, a in calls if t.partition(":undo")[0] in {t for t, _ in released}}
            own = [call for call in calls if call in undone]
            known.update(own)
            wrong += [f"calls: {v.invariant}: {v.message}" for v in audit_calls(flow_id, log, own)]
            wrong += _counted_twice(flow_id, log)
        wrong += [f"calls: {call} is of no work item" for call in calls if call not in known]
        return wrong

    async def _wrong_outcome(self) -> list[str]:
        outcome = await self.app.flow(FLOW).outcome()
        expected = "failed" if self.kind.result is None else "completed"
        if (outcome["status"], outcome["result"]) != (expected, self.kind.result):
            return [f"outcome: {outcome}"]
        return []

    async def _left_over(self) -> list[str]:
        """Entries that nobody could read, and keys that no row of the table knows."""
        node = await self.app.node()
        dead = await node.store.dead()
        return [f"dead: {dead.last_reason}"] if dead.entries else []

    async def _flow_ids(self) -> list[str]:
        """The flow and its children."""
        state = await self.app.state(FLOW)
        items = [item for run in state["executions"].values() for item in run["work_items"].values()]
        return [FLOW, *(item["child"] for item in items if "child" in item)]

    async def seen(self) -> str:
        """How far the flow is, and what is on its way."""
        try:
            stats = (await self.app.queue_stats())["queues"]
            types = [recorded.event.type for recorded in await self.app.log(FLOW)]
        except (StoreUnavailable, UnknownFlow) as error:
            return str(error)
        return f"{' '.join(types)}; {[each for each in stats if any(list(each.values())[1:4])]}"

    async def until_empty(self) -> None:
        """Waits until every queue is empty."""
        while True:
            with suppress(StoreUnavailable):
                stats = (await self.app.queue_stats())["queues"]
                if not any(queue["depth"] + queue["in_flight"] + queue["due"] for queue in stats):
                    return
            await asyncio.sleep(POLL_S)


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks again while Redis cannot be reached."""
    while True:
        try:
            return await ask()
        except StoreUnavailable:
            await asyncio.sleep(POLL_S)


def _counted_twice(flow_id: str, log: list[Any]) -> list[str]:
    """Work items with more than one outcome that counts. The audit says so, too: this asks nobody."""
    ended = Counter(
        recorded.event.token
        for recorded in log
        if isinstance(recorded.event, e.WorkSucceeded | e.WorkFailed | e.WorkSkipped)
    )
    return [f"twice: {flow_id}: {token} has {n} outcomes" for token, n in ended.items() if n > 1]


async def be_struck(kind: Kind, place: Place, strike: Strike) -> list[str]:
    """The process that is struck; where it survives, it goes on until the flow is deactivated. Gives what
    is wrong with that."""
    return await _in_time(Actor(kind, place, strike), "the process that was struck", Actor.run_flow)


async def come_after(kind: Kind, place: Place, *, waits: bool) -> list[str]:
    """A fresh process that finishes the flow; gives what is wrong. With `waits`, the one before lives
    still, and has a word to say before it is judged."""

    async def work(actor: Actor) -> list[str]:
        await actor.run_flow()
        while waits and not place.is_over.exists():
            await asyncio.sleep(POLL_S)
        await actor.until_empty()
        return await actor.judge()

    return await _in_time(Actor(kind, place, Strike()), "the one after it", work)


async def _in_time(actor: Actor, who: str, work: Callable[[Actor], Awaitable[list[str] | None]]) -> list[str]:
    """What a process finds wrong, or where it is stuck."""
    async with actor.working():
        try:
            async with asyncio.timeout(WORK_LIMIT_S):
                return await work(actor) or []
        except TimeoutError as error:
            return [f"stuck: {who} in {_place_of(error)}: {await actor.seen()}"]


def _place_of(error: BaseException) -> str:
    """The functions, outermost first, that what was given up waited in."""
    frames = traceback.extract_tb(error.__cause__ and error.__cause__.__traceback__)
    return " > ".join(f"{frame.name}:{frame.lineno}" for frame in frames)
