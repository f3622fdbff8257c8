"""Where an app connects and when: at first use, anew after `close`, once for each event loop; and what
it says of servers that it cannot reach or use."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from api_apps import Apps, event, token_of, until
from api_servers import info, pretending
from servers import StoreFactory

from argyll_redis import (
    ACCEPTED,
    AppConfig,
    Argyll,
    FlowHandle,
    InvalidInput,
    StoreUnavailable,
    StoreUnfit,
    handle,
)
from argyll_redis.runtime import follower

pytestmark = pytest.mark.anyio

SECRET = "s3cr3t"
SOON_S = 3
"""Whoever cannot connect is told within this time."""


def chain(app: Argyll) -> None:
    @app.step(outputs="b")
    async def first(a: int) -> int:
        return a + 1

    @app.step(outputs="approved")
    async def ask() -> Any:
        return ACCEPTED


# ----------------------------------------------------------------------- loops


async def test_an_app_connects_at_first_use_and_again_after_it_was_closed(apps: Apps) -> None:
    app = apps()
    chain(app)
    for a in range(3):
        running = await apps.run(app)
        flow = await app.start(["first"], {"a": a})
        assert await flow.result() == {"b": a + 1}
        await running.drain()
        await app.close()
    assert len(await app.flows()) == 3
    await app.close()
    await app.close()


async def test_an_app_is_a_context(apps: Apps) -> None:
    app = apps()
    chain(app)
    async with app as same:
        assert same is app
        flow = await app.start(["first"], {"a": 1})
    async with app:
        assert await app.status(flow.id) == {"id": flow.id, "status": "active"}


async def test_a_close_commits_what_is_on_its_way(apps: Apps) -> None:
    app = apps()
    chain(app)
    flows = await app.start_many({"goals": ["first"], "init": {"a": a}, "id": f"f{a}"} for a in range(20))
    cancels = [asyncio.create_task(app.cancel(f"f{n}")) for n, _ in enumerate(flows)]
    await asyncio.sleep(0)
    await app.close()
    assert await asyncio.gather(*cancels) == [True] * 20
    assert {row["status"] for row in await apps().flows()} == {"failed"}


async def test_who_comes_while_the_app_is_closed_is_answered(apps: Apps) -> None:
    app = apps()
    chain(app)
    await app.register_declared()
    starts = [asyncio.create_task(app.start(["first"], {"a": a}, id=f"f{a}")) for a in range(20)]
    await asyncio.sleep(0)
    await app.close()
    ended = await asyncio.gather(*starts, return_exceptions=True)
    assert all(isinstance(end, FlowHandle | StoreUnavailable) for end in ended)
    there = {row["id"] for row in await apps().flows()}
    assert there == {end.id for end in ended if isinstance(end, FlowHandle)}


async def test_transactions_of_an_app_that_connects_again_have_names_of_their_own(apps: Apps) -> None:
    app = apps()
    chain(app)
    running = await apps.run(app)
    flow = await app.start(["ask"])
    token = await token_of(flow, "ask")
    await running.drain()
    await app.close()
    assert await app.complete(flow.id, "ask", token, {"approved": 1})
    await app.close()
    other = await app.start(["ask"])
    log = [*await app.log(flow.id), *await app.log(other.id)]
    transactions = [each.tx for each in log if each.place == 1]
    assert len(transactions) == 4  # start, acceptance; completion; another start
    assert len(set(transactions)) == 4


def elsewhere(main: Callable[[], Coroutine[Any, Any, Any]]) -> Awaitable[Any]:
    """Runs in an event loop of its own, in a thread of its own."""
    return asyncio.to_thread(asyncio.run, main())


async def test_an_app_can_be_used_in_two_event_loops_at_once(apps: Apps, store_factory: StoreFactory) -> None:
    if store_factory.kind == "fakeredis":
        pytest.skip("fakeredis does not wake readers in another event loop")
    app = apps()
    chain(app)
    await apps.run(app)

    async def other() -> list[Any]:
        async with app:
            flows = await app.start_many({"goals": ["first"], "init": {"a": a}} for a in range(10))
            return [await flow.result() for flow in flows]

    flow = await app.start(["first"], {"a": 100})
    assert await elsewhere(other) == [{"b": a + 1} for a in range(10)]
    assert await flow.result() == {"b": 101}
    again = await app.start(["first"], {"a": 200})
    assert await again.result() == {"b": 201}


async def test_two_engines_of_one_app_in_two_event_loops_are_two(
    apps: Apps, store_factory: StoreFactory
) -> None:
    if store_factory.kind == "fakeredis":
        pytest.skip("fakeredis does not wake readers in another event loop")
    app = apps()
    chain(app)
    await apps.run(app)
    is_ready, may_end = threading.Event(), threading.Event()

    async def other() -> None:
        async with app:
            await app.run(until=lambda: asyncio.to_thread(may_end.wait), on_ready=lambda *_: is_ready.set())

    running = asyncio.create_task(asyncio.to_thread(asyncio.run, other()))
    try:
        assert await asyncio.to_thread(is_ready.wait, 20)
        flows = await app.start_many({"goals": ["first"], "init": {"a": a}} for a in range(40))
        assert [await flow.result() for flow in flows] == [{"b": a + 1} for a in range(40)]  # type: ignore[union-attr]
    finally:
        may_end.set()
        await running


def test_an_app_that_was_never_closed_can_be_used_in_the_next_loop() -> None:
    app = Argyll("memory://", namespace="next-loop")
    chain(app)

    async def start(a: int) -> int:
        await app.start(["first"], {"a": a})
        return len(await app.flows())

    assert [asyncio.run(start(a)) for a in range(3)] == [1, 2, 3]
    asyncio.run(app.close())
    gc.collect()
    assert len(app._connections) <= 1


async def test_apps_in_memory_share_a_namespace_within_the_process() -> None:
    one, two, three = (Argyll("memory://", name) for name in ("shared", "shared", "other"))
    async with one, two, three:
        await one.register_steps([{"id": "x", "type": "python", "python": {"handler": "x"}}])
        assert [step["id"] for step in await two.steps()] == ["x"]
        assert await three.steps() == []


# ---------------------------------------------------------------- where it connects


@pytest.mark.parametrize(
    ("url", "namespace", "message"),
    [
        ("http://localhost", "x", "the URL has no known scheme"),
        ("", "x", "the URL has no known scheme"),
        ("redis+sentinel://localhost", "x", "names no service"),
        ("redis://localhost:port", "x", "URL"),
        ("memory://", "Bad NS", "'Bad NS' is no namespace; use 1 to 64 of a-z 0-9 _ -"),
        ("redis://localhost", "x" * 65, "is no namespace"),
    ],
)
async def test_a_place_that_cannot_be_is_refused_at_first_use(url: str, namespace: str, message: str) -> None:
    app = Argyll(url, namespace)
    with pytest.raises(InvalidInput, match=message):
        await app.flows()


async def test_an_app_can_be_sent_elsewhere_until_it_has_connected() -> None:
    app = Argyll("redis://127.0.0.1:1")
    chain(app)
    with pytest.raises(StoreUnavailable):
        await app.start(["first"], {"a": 1})
    app.reconfigure(url="memory://", namespace="elsewhere", lease_ms=500, max_retries=3)
    await app.start(["first"], {"a": 1})
    assert (app.namespace, app.config.lease_ms, app.config.retry.max_retries) == ("elsewhere", 500, 3)
    with pytest.raises(InvalidInput, match="connected already"):
        app.reconfigure(namespace="third")
    await app.close()
    app.reconfigure(namespace="third")
    flow = await app.start(["first"], {"a": 1})
    assert flow.id in [row["id"] for row in await app.flows()]
    await app.close()


# ------------------------------------------------------------- servers to complain of


async def complaint(url: str) -> StoreUnavailable:
    """What an app says of a server, whatever is asked of it first, and in good time."""
    errors: list[StoreUnavailable] = []
    for use in (
        lambda app: app.start(["first"], {"a": 1}),
        lambda app: app.run(),
        lambda app: app.flows(),
        lambda app: app.flow("x").result(),
        lambda app: app.complete("x", "y", "z"),
        lambda app: app.__aenter__(),
    ):
        app = Argyll(url, config=AppConfig())
        chain(app)
        with pytest.raises(StoreUnavailable) as raised:
            async with asyncio.timeout(SOON_S):
                await use(app)
        errors.append(raised.value)
        await app.close()
    assert len({(type(error), str(error)) for error in errors}) == 1
    assert SECRET not in repr(errors) + str(errors[0].__cause__) + str(errors[0].__context__)
    return errors[0]


async def test_a_server_that_cannot_be_reached_is_called_so() -> None:
    error = await complaint(f"redis://me:{SECRET}@127.0.0.1:1/0")
    assert type(error) is StoreUnavailable
    assert str(error).startswith("cannot reach redis at 127.0.0.1:1 (")


async def test_a_server_that_says_nothing_is_called_so() -> None:
    async with pretending(lambda _: None) as place:
        app = Argyll(f"redis://:{SECRET}@{place}")
        with pytest.raises(StoreUnavailable, match="no reply in time") as raised:
            async with asyncio.timeout(SOON_S):
                await app.flows()
        assert SECRET not in repr(raised.value)
        await app.close()


async def test_a_wrong_password_is_called_so_without_saying_it() -> None:
    def answer(command: list[bytes]) -> bytes:
        if command[0] == b"AUTH":
            return b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
        return b"-NOAUTH Authentication required.\r\n"

    async with pretending(answer) as place:
        for url in (f"redis://:{SECRET}@{place}", f"redis://me:{SECRET}@{place}", f"redis://{place}"):
            error = await complaint(url)
            assert type(error) is StoreUnfit
            assert str(error) == "Redis wants another user or password (put them into the URL)"


UNFIT = [
    ({"redis_version": "6.2.14"}, "the server is Redis 6.2.14 (use Redis 7.0 or later, or Valkey)"),
    (
        {"maxmemory_policy": "allkeys-lru"},
        "the eviction policy allkeys-lru drops keys (set maxmemory-policy to noeviction)",
    ),
    ({"role": "slave"}, "the server is a replica (connect to its master)"),
    ({"cluster_enabled": "1"}, "the server is a node of a cluster"),
]


@pytest.mark.parametrize(("fields", "message"), UNFIT, ids=[message for _, message in UNFIT])
async def test_a_server_that_cannot_be_trusted_is_refused_before_anything_is_written(
    fields: dict[str, str], message: str
) -> None:
    said: set[bytes] = set()

    def answer(command: list[bytes]) -> bytes:
        said.add(command[0].upper())
        return info(**fields) if command[0] == b"INFO" else b"+OK\r\n"

    async with pretending(answer) as place:
        error = await complaint(f"redis://:{SECRET}@{place}")
    assert type(error) is StoreUnfit
    assert str(error).startswith(f"redis at {place} cannot be used: {message}")
    assert said <= {b"AUTH", b"CLIENT", b"INFO", b"SELECT"}


async def test_a_server_that_refuses_writes_from_the_start_is_called_so() -> None:
    def answer(command: list[bytes]) -> bytes:
        if command[0] == b"INFO":
            return info()
        if command[0].startswith(b"EVAL"):
            return b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
        return b"+OK\r\n"

    async with pretending(answer) as place:
        error = await complaint(f"redis://{place}")
    assert type(error) is StoreUnfit
    assert str(error).startswith("Redis is out of memory and refuses writes")


async def test_giving_up_while_connecting_leaves_the_app_usable() -> None:
    replies: list[Callable[[], bytes | None]] = [lambda: None]

    async with pretending(lambda _: replies[0]()) as place:
        app = Argyll(f"redis://{place}")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await app.flows()
        replies[0] = lambda: info(role="slave")
        with pytest.raises(StoreUnfit):
            await app.flows()
        await app.close()


async def test_a_follower_that_cannot_begin_is_forgotten(apps: Apps, store_factory: StoreFactory) -> None:
    app = apps()
    chain(app)
    flow = await app.start(["first"], {"a": 1})
    node = await app.node()

    async def away(*_: Any) -> Any:
        raise StoreUnavailable("away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node.store, "feed", away)
        with pytest.raises(StoreUnavailable, match="away"):
            await flow.result()
    assert node.follower._following == {}
    await apps.run(app)
    assert await flow.result() == {"b": 2}
    assert (await event(flow, "flow_completed"))["data"] == {"result": {"b": 2}}


# -------------------------------------------------------------------------- waiting


class Watched:
    """The calls of a store by which a flow is waited for; they can be made to fail."""

    def __init__(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answered = {"heads": 0, "load": 0, "feed": 0}
        self.to_fail = dict.fromkeys(self.answered, 0)
        for name in self.answered:
            monkeypatch.setattr(store, name, self._watched(name, getattr(store, name)))

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        async def watched(*given: Any) -> Any:
            if self.to_fail[name]:
                self.to_fail[name] -= 1
                raise StoreUnavailable("away")
            reply = await call(*given)
            self.answered[name] += 1
            return reply

        return watched

    @property
    def has_looked(self) -> bool:
        return all(self.answered.values())


async def test_whoever_waits_goes_on_waiting_while_the_server_is_away(
    apps: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "ERROR_DELAY_MS", 10)
    monkeypatch.setattr(follower, "ERROR_DELAY_MS", 10)
    app, engine = apps(), apps()
    chain(app)
    chain(engine)
    flow = await app.start(["first"], {"a": 1})
    watched = Watched((await app.node()).store, monkeypatch)
    waiting = [asyncio.create_task(flow.result()), asyncio.create_task(event(flow, "flow_deactivated"))]
    await until(lambda: watched.has_looked)
    watched.to_fail = dict.fromkeys(watched.to_fail, 3)
    await apps.run(engine)
    result, last = await asyncio.gather(*waiting)
    assert (result, last["data"]) == ({"b": 2}, {"status": "completed"})
    assert (watched.to_fail["heads"], watched.to_fail["load"]) == (0, 0)
    assert watched.to_fail["feed"] < 3


async def test_whoever_waits_is_told_that_the_app_was_closed(
    apps: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = apps()
    chain(app)
    flow = await app.start(["first"], {"a": 1})
    watched = Watched((await app.node()).store, monkeypatch)
    waiting = [asyncio.create_task(flow.result()), asyncio.create_task(event(flow, "flow_deactivated"))]
    await until(lambda: watched.has_looked)
    await app.close()
    for task in waiting:
        with pytest.raises(StoreUnavailable, match="the app was closed"):
            await task


async def test_a_close_lets_an_engine_drain(apps: Apps) -> None:
    app = apps()
    begun, may_end = asyncio.Event(), asyncio.Event()

    @app.step(outputs="x")
    async def slow() -> int:
        begun.set()
        await may_end.wait()
        return 1

    async with app:
        running = asyncio.create_task(app.run())
        flow = await app.start([slow])
        await begun.wait()
        asyncio.get_running_loop().call_soon(may_end.set)
    await running
    assert await apps().flow(flow.id).result(timeout_ms=5_000) == {"x": 1}
    assert await apps().engines() == ()


async def test_a_follower_that_is_let_go_does_no_harm(apps: Apps) -> None:
    app = apps()
    chain(app)
    async with app:
        flow = await app.start(["first"], {"a": 1})
        async for each in flow.events():
            assert each["type"] == "flow_started"
            break
    gc.collect()
