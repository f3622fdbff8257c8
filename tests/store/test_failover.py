"""A replica that was behind becomes the master: what engines know and the server does not is never
continued by who knew better, and with a wait for copies nothing that was answered is lost.

The replica is cut off, the master goes on to be written, then it is killed and the replica promoted. The
connections of the engines go wherever the master is, as through a proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from own_redis import OwnRedis, own_processes
from store_words import until

from argyll_redis.app import Argyll
from argyll_redis.config import AppConfig
from argyll_redis.core.model import StepId
from argyll_redis.errors import HistoryLost, NamespaceEmptied, StoreUnavailable
from argyll_redis.steps.context import ACCEPTED
from argyll_redis.store.connect import UrlConnector
from argyll_redis.store.copies import Copies
from argyll_redis.store.redis import RedisStore

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(120)]

T = TypeVar("T")

LEASE_MS = 1_000


class Proxy:
    """Makes connections to whichever server is the master."""

    address = "the proxy"

    def __init__(self, master: OwnRedis) -> None:
        self.master = master

    def connection(self) -> Any:
        return _Redirected(lambda: UrlConnector(self.master.url).connection())

    def blocking_connection(self) -> Any:
        return UrlConnector(self.master.url).blocking_connection()


class _Redirected:
    """A connection that goes to the master of the moment each time it connects."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._inner = make()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None:
        if not self._inner.is_connected:
            self._inner = self._make()
        await self._inner.send_packed_command(command, check_health)


class Fleet:
    """A master and its replica, and apps that reach them through a proxy."""

    def __init__(self, master: OwnRedis, replica: OwnRedis) -> None:
        self.master, self.replica = master, replica
        self.proxy = Proxy(master)
        self.calls: list[str] = []
        """Steps that were called, as `flow.step`."""

    def app(self, copies: Copies) -> Argyll:
        """An app with a step that is called, one that a person completes, and one after it."""
        app = Argyll(
            namespace="t",
            config=AppConfig(lease_ms=LEASE_MS, grace_ms=500),
            make_store=lambda: RedisStore("", "t", partitions=2, connector=self.proxy, copies=copies),
        )

        @app.step(outputs="asked")
        async def ask(name: str) -> str:
            self.calls.append(f"{name}.ask")
            return name

        @app.step(outputs="said")
        async def approve(asked: str) -> str:
            self.calls.append(f"{asked}.approve")
            return ACCEPTED

        @app.step(outputs="done")
        async def ship(asked: str, said: str) -> str:
            self.calls.append(f"{asked}.ship")
            return said

        return app

    def fail_over(self) -> None:
        """The master dies, and the replica takes its place with what it has."""
        self.master.kill()
        self.replica.promote()
        self.proxy.master = self.replica


@pytest.fixture
def those() -> Iterator[Fleet]:
    with own_processes() as make:
        master, replica = make("--repl-diskless-sync-delay", "0").start(), make().start()
        replica.follow(master)
        yield Fleet(master, replica)


@asynccontextmanager
async def running(app: Argyll) -> AsyncIterator[Argyll]:
    """Has an app be an engine while this is entered."""
    stop, ready = asyncio.Event(), asyncio.Event()
    async with app:
        engine = asyncio.create_task(app.run(until=stop.wait, on_ready=lambda *_: ready.set()))
        began = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait([engine, began], return_when=asyncio.FIRST_COMPLETED)
            yield app
        finally:
            stop.set()
            began.cancel()
            await engine


async def persistently(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks again until there is an answer."""
    while True:
        try:
            return await ask()
        except StoreUnavailable as error:
            if isinstance(error, HistoryLost | NamespaceEmptied):
                raise
            await asyncio.sleep(0.01)


def waits_for_a_person(app: Argyll, flow_id: str) -> Callable[[], Awaitable[bool]]:
    """Whether the call of `approve` was accepted."""

    async def asked() -> bool:
        flow = await (await app.node()).load(flow_id)
        run = flow.steps.get(StepId("approve"))
        return run is not None and any(item.is_accepted for item in run.items.values())

    return asked


async def approve(app: Argyll, flow_id: str, said: str, *, token: str = "") -> None:
    """Completes `approve`; the token is looked up where nobody gives it."""
    token = token or await token_of(app, flow_id)
    await app.complete(flow_id, "approve", token, {"said": said})


async def token_of(app: Argyll, flow_id: str) -> str:
    flow = await (await app.node()).load(flow_id)
    (item,) = flow.steps[StepId("approve")].items.values()
    return item.token


async def start(app: Argyll, flow_id: str) -> None:
    await app.start(["ship"], {"name": flow_id}, id=flow_id)


# ------------------------------------------------------------- what is not waited for


async def test_a_flow_that_went_back_is_left_alone_by_who_knew_more(
    those: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """It was completed on the old master; the new one knows only that it waits for a person. The engine
    that completed it says so and touches it no more; one that starts anew goes on from what is there."""
    careless = Copies()
    async with running(those.app(careless)) as app:
        await start(app, "back")
        await until(waits_for_a_person(app, "back"))
        those.replica.catch_up(those.master)
        those.replica.cut_off()
        token = await token_of(app, "back")
        await approve(app, "back", "yes", token=token)
        assert await app.flow("back").result(timeout_ms=20_000) == {"done": "yes"}
        await start(app, "gone")
        await until(waits_for_a_person(app, "gone"))
        gone = await token_of(app, "gone")
        those.fail_over()
        node = await app.node()
        version = (await persistently(lambda: node.load("back"))).version
        with pytest.raises(HistoryLost):
            await persistently(lambda: approve(app, "back", "no", token=token))
        with pytest.raises(HistoryLost):
            await persistently(lambda: approve(app, "gone", "no", token=gone))
        assert "back" in node.committer.quarantined
        assert 'flow "back" is left alone' in caplog.text
        assert (await persistently(lambda: node.load("back"))).version == version
    async with running(those.app(careless)) as anew:
        await approve(anew, "back", "no")
        assert await anew.flow("back").result(timeout_ms=20_000) == {"done": "no"}
        assert (await anew.audit())["violations"] == []


# ---------------------------------------------------------------- what is waited for


async def test_without_a_copy_nothing_is_answered_and_nothing_is_begun(those: Fleet) -> None:
    """When the replica is back everything goes on, and nothing is called twice."""
    async with running(those.app(Copies(1, limit_ms=100))) as app:
        await persistently(lambda: start(app, "before"))
        await until(waits_for_a_person(app, "before"))
        token = await token_of(app, "before")
        those.replica.cut_off()
        node = await app.node()
        resent = node.committer.counters.resent
        starting = asyncio.create_task(start(app, "during"))
        completing = asyncio.create_task(approve(app, "before", "yes", token=token))

        async def were_sent_again() -> bool:
            return node.committer.counters.resent >= resent + 4

        await until(were_sent_again, limit_s=30)
        assert (starting.done(), completing.done()) == (False, False)
        assert "not copied" in node.committer.breaker.reason
        with pytest.raises(StoreUnavailable, match="not copied"):
            await app.check_ready()
        assert those.calls == ["before.ask", "before.approve"]
        those.replica.follow(those.master)
        await asyncio.gather(starting, completing)
        assert await persistently(lambda: app.flow("before").result(timeout_ms=30_000)) == {"done": "yes"}
        await until(waits_for_a_person(app, "during"), limit_s=30)
        assert node.committer.breaker.reason == ""
        assert sorted(those.calls) == [
            "before.approve",
            "before.ask",
            "before.ship",
            "during.approve",
            "during.ask",
        ]
        assert (await app.audit())["violations"] == []


async def test_nothing_that_was_answered_is_lost_in_a_failover(those: Fleet) -> None:
    """Starts and completions are asked for while the replica is cut off, and asked for again on the new
    master: whatever had an answer is there, and every flow ends."""
    copies = Copies(1, limit_ms=100)
    answered: list[str] = []
    ids = [f"f{number}" for number in range(12)]
    async with running(those.app(copies)) as app:

        async def started(flow_id: str) -> None:
            await start(app, flow_id)
            answered.append(flow_id)

        await asyncio.gather(*(persistently(lambda id=id: started(id)) for id in ids[:6]))
        those.replica.cut_off()
        late = [asyncio.create_task(started(id)) for id in ids[6:]]
        node = await app.node()

        async def are_applied() -> bool:
            with those.master.client() as client:
                return all(client.keys(f"*:flow:{id}") for id in ids[6:])

        await until(are_applied)
        assert sorted(answered) == sorted(ids[:6])
        those.fail_over()
        with pytest.raises(StoreUnavailable):  # the new master has no replica yet
            await node.store.load([("f0", 0, 1)])
        for task in late:
            task.cancel()
    async with running(those.app(Copies())) as anew:
        heads = await (await anew.node()).store.heads(ids)
        assert {id for id, head in zip(ids, heads, strict=True) if head} >= set(answered)
        for id in ids:
            await start(anew, id)  # those that had no answer are asked for again
        for id in ids:
            await until(waits_for_a_person(anew, id), limit_s=30)
            await approve(anew, id, "yes")
            assert await anew.flow(id).result(timeout_ms=30_000) == {"done": "yes"}
        assert (await anew.audit())["violations"] == []
