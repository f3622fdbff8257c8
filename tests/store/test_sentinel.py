"""Sentinel: where the master is, is asked anew for each connection, and engines follow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import hiredis
import pytest
from own_redis import OwnRedis, own_processes, until
from redis.exceptions import ResponseError

from argyll_redis.app import Argyll
from argyll_redis.config import AppConfig
from argyll_redis.errors import HistoryLost, InvalidInput, StoreUnavailable, StoreUnfit, UnknownFlow
from argyll_redis.store.connect import BlockingLink, Link
from argyll_redis.store.sentinel import SentinelConnector

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(120)]

T = TypeVar("T")

SERVICE = "shop-db"


# ---------------------------------------------------------------------------- URLs

GOOD_URLS = {
    "redis+sentinel://h/s": "h:26379/s",
    "redis+sentinel://h:1,[::1]:2/s/3": "h:1,[::1]:2/s",
    "redis+sentinel://user:p%40ss@h:1,g/s?db=2&sentinel_password=x": "h:1,g:26379/s",
    "rediss+sentinel://h/s?ssl_ca_certs=/tmp/ca.pem": "h:26379/s",
}


@pytest.mark.parametrize(("url", "address"), GOOD_URLS.items())
def test_a_url_names_sentinels_and_a_service(url: str, address: str) -> None:
    connector = SentinelConnector(url)
    connector.connection()
    connector.blocking_connection()
    assert connector.address == address


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis+sentinel://:s3cr3t@h", "names no service"),
        ("redis+sentinel://:s3cr3t@h/", "names no service"),
        ("redis+sentinel://:s3cr3t@h,/s", "cannot be read"),
        ("redis+sentinel://:s3cr3t@h:1:2/s", "cannot be read"),
        ("redis+sentinel://:s3cr3t@h/s/db", "cannot be read"),
        ("redis+sentinel://:s3cr3t@h/s?sentinel=1", "not an option"),
        ("redis://:s3cr3t@h?sentinel_password=s3cr3t", "not an option"),
        ("redis://:s3cr3t@h,g", "cannot be read"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_quoting_it(url: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        SentinelConnector(url)
    assert "s3cr3t" not in str(refused.value)


# ------------------------------------------------------------------- servers that we play


@asynccontextmanager
async def played(answer: Callable[[list[bytes]], bytes]) -> AsyncIterator[str]:
    """A server that answers commands as it is told. Gives host and port."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        commands = hiredis.Reader()
        while data := await reader.read(65536):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                writer.write(b"+OK\r\n" if command[0] == b"CLIENT" else answer(command))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


def pointing_to(address: str) -> Callable[[list[bytes]], bytes]:
    """A sentinel that says that the master is there."""
    host, port = address.split(":")
    reply = b"*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(host), host.encode(), len(port), port.encode())
    return lambda _: reply


def with_role(role: bytes) -> Callable[[list[bytes]], bytes]:
    """A server that has a role and says PONG."""
    return lambda command: (
        b"*1\r\n$%d\r\n%s\r\n" % (len(role), role) if command == [b"ROLE"] else b"+PONG\r\n"
    )


@asynccontextmanager
async def linked(*sentinels: str, options: str = "") -> AsyncIterator[Link]:
    link = Link(SentinelConnector(f"redis+sentinel://{','.join(sentinels)}/{SERVICE}{options}"), limit=1)
    try:
        yield link
    finally:
        await link.close()


async def test_the_next_sentinel_is_asked_when_one_is_away() -> None:
    async with (
        played(with_role(b"master")) as master,
        played(pointing_to(master)) as sentinel,
        linked("127.0.0.1:1", sentinel) as link,
    ):
        assert await link.call(("PING",)) == b"PONG"


async def test_who_knows_no_such_service_is_not_the_last_one_asked() -> None:
    async with (
        played(with_role(b"master")) as master,
        played(lambda _: b"*-1\r\n") as stranger,
        played(pointing_to(master)) as sentinel,
        linked(stranger, sentinel) as link,
    ):
        assert await link.call(("PING",)) == b"PONG"


async def test_when_nobody_knows_the_master_it_is_said_what_each_sentinel_said() -> None:
    async with played(lambda _: b"*-1\r\n") as stranger, linked("127.0.0.1:1", stranger) as link:
        with pytest.raises(StoreUnavailable) as raised:
            await link.call(("PING",))
    assert str(raised.value) == (
        f"cannot reach redis at 127.0.0.1:1,{stranger}/{SERVICE} (no sentinel says where the master is: "
        f"127.0.0.1:1: connection refused; {stranger}: it knows no service {SERVICE})"
    )


async def test_a_server_that_is_no_master_is_not_taken_for_one() -> None:
    """Sentinels may not know yet that the master they point to has become a replica."""
    async with (
        played(with_role(b"slave")) as replica,
        played(pointing_to(replica)) as sentinel,
        linked(sentinel) as link,
    ):
        with pytest.raises(StoreUnavailable, match="is no master yet"):
            await link.call(("PING",))


async def test_a_user_who_may_not_ask_for_the_role_is_told_so() -> None:
    def denied(command: list[bytes]) -> bytes:
        return b"-NOPERM User x has no permissions to run the 'role' command\r\n"

    async with played(denied) as master, played(pointing_to(master)) as sentinel, linked(sentinel) as link:
        for _ in range(2):
            with pytest.raises(StoreUnfit, match="'role'"):
                await link.call(("PING",))


async def test_a_replica_that_refuses_writes_is_left_for_the_master() -> None:
    """The next call asks the sentinels anew."""
    read_only = with_role(b"master")
    async with (
        played(lambda each: read_only(each) if each == [b"ROLE"] else b"-READONLY x\r\n") as old,
        played(with_role(b"master")) as new,
    ):
        masters = iter([old, new])
        async with (
            played(lambda each: pointing_to(next(masters))(each)) as sentinel,
            linked(sentinel) as link,
        ):
            with pytest.raises(StoreUnavailable, match="read-only"):
                await link.call(("SET", "x", "1"))
            assert await link.call(("PING",)) == b"PONG"


async def test_the_renewing_thread_leaves_a_replica_for_the_master() -> None:
    read_only = with_role(b"master")
    async with (
        played(lambda each: read_only(each) if each == [b"ROLE"] else b"-READONLY x\r\n") as old,
        played(with_role(b"master")) as new,
    ):
        masters = iter([old, new])
        async with played(lambda each: pointing_to(next(masters))(each)) as sentinel:
            link = BlockingLink(SentinelConnector(f"redis+sentinel://{sentinel}/{SERVICE}"))
            with pytest.raises(StoreUnavailable, match="read-only"):
                await asyncio.to_thread(link.call, ("SET", "x", "1"))
            assert await asyncio.to_thread(link.call, ("PING",)) == b"PONG"
            link.close()


async def test_a_sentinel_is_logged_in_to_with_what_is_its_own() -> None:
    """The user and password of the URL are for the servers."""
    said: list[list[bytes]] = []

    def sentinel_says(command: list[bytes]) -> bytes:
        said.append(command)
        return b"+OK\r\n" if command[0] == b"AUTH" else b"*-1\r\n"

    async with played(sentinel_says) as sentinel:
        options = "?sentinel_username=watcher&sentinel_password=w4tch"
        async with linked(sentinel, options=options) as link:
            with pytest.raises(StoreUnavailable) as raised:
                await link.call(("PING",))
        assert [b"AUTH", b"watcher", b"w4tch"] in said
        assert "w4tch" not in str(raised.value)


# --------------------------------------------------------------------------- failover


@dataclass
class Service:
    """A master and a replica, and the sentinel that watches over them."""

    servers: list[OwnRedis]
    sentinel: OwnRedis

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.sentinel.address}/{SERVICE}"

    def master(self) -> OwnRedis:
        """The one that the sentinel knows as the master."""
        with self.sentinel.client() as client:
            _, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(each for each in self.servers if each.port == int(port))

    def fail_over(self) -> None:
        """Asks the sentinel for a failover, and waits until it is over."""
        before = self.master()
        until(self._is_failing_over)
        until(lambda: self.master() is not before)
        before.follow(self.master())  # the sentinel does it, too, but only some ten seconds later

    def _is_failing_over(self) -> bool:
        """Asks for a failover; False while the sentinel has not heard enough of the replica to promote it."""
        with self.sentinel.client() as client:
            try:
                client.execute_command("SENTINEL", "FAILOVER", SERVICE)
            except ResponseError as error:
                if "NOGOODSLAVE" in str(error):
                    return False
                raise
        return True

    def knows_replica(self) -> bool:
        """Whether the sentinel has a replica that it could promote."""
        with self.sentinel.client() as client:
            replicas = client.execute_command("SENTINEL", "REPLICAS", SERVICE)
        return any(b"ok" in str(each).encode() and "master_link_down" not in str(each) for each in replicas)


@pytest.fixture
def service() -> Iterator[Service]:
    with own_processes() as make:
        master, replica = make("--repl-diskless-sync-delay", "0").start(), make().start()
        replica.follow(master)
        sentinel = make(is_sentinel=True).start()
        with sentinel.client() as client:
            client.execute_command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", str(master.port), "1")
            for option, value in (("down-after-milliseconds", 1_000), ("failover-timeout", 10_000)):
                client.execute_command("SENTINEL", "SET", SERVICE, option, value)
        made = Service([master, replica], sentinel)
        until(made.knows_replica)
        yield made


def app_of(url: str, **settings: Any) -> tuple[Argyll, list[tuple[str, int]]]:
    """An app with three steps in a chain, and a journal of what was called as (flow, step)."""
    app = Argyll(url, namespace="t", config=AppConfig(lease_ms=2_000, **settings))
    calls: list[tuple[str, int]] = []

    def noted(flow: str, step: int) -> int:
        calls.append((flow, step))
        return step

    @app.step(outputs="one")
    async def first(name: str) -> int:
        return noted(name, 1)

    @app.step(outputs="two")
    async def second(name: str, one: int) -> int:
        return noted(name, 2)

    @app.step(outputs="three")
    async def third(name: str, two: int) -> int:
        return noted(name, 3)

    return app, calls


@asynccontextmanager
async def running(app: Argyll) -> AsyncIterator[None]:
    """Has an app be an engine while this is entered."""
    stop, ready = asyncio.Event(), asyncio.Event()
    engine = asyncio.create_task(app.run(until=stop.wait, on_ready=lambda *_: ready.set()))
    try:
        await asyncio.wait([engine, asyncio.create_task(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
        yield
    finally:
        stop.set()
        await engine


async def persistently(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks again until there is an answer: the same start again is a success."""
    while True:
        try:
            return await ask()
        except HistoryLost:
            raise
        except StoreUnavailable:
            continue


FLOWS = 60


async def test_engines_follow_the_master_when_it_changes_under_load(service: Service) -> None:
    """The old master hands over: every flow ends, and the audit finds nothing."""
    app, _ = app_of(service.url, wait_replicas=1, wait_limit_ms=5_000)
    async with app, running(app):
        ids = [f"f{number}" for number in range(FLOWS)]

        async def started(id: str) -> None:
            await asyncio.sleep(0)
            flow = await persistently(lambda: app.start(["third"], {"name": id}, id=id))
            assert await persistently(lambda: flow.result(timeout_ms=60_000)) == {"three": 3}

        async with asyncio.TaskGroup() as group:
            for id in ids[: FLOWS // 2]:
                group.create_task(started(id))
            await asyncio.to_thread(service.fail_over)
            for id in ids[FLOWS // 2 :]:
                group.create_task(started(id))
        node = await app.node()
        assert node.committer.quarantined == {}
        assert (await app.audit())["violations"] == []


async def test_a_master_that_is_killed_is_followed_by_the_one_that_is_promoted(service: Service) -> None:
    """Nobody waits for copies: a flow that went back is left alone and named, every other one ends."""
    app, _ = app_of(service.url)
    async with app, running(app):
        node = await app.node()

        async def ended(id: str) -> str:
            """What becomes of a flow that is asked for until there is an answer."""
            try:
                flow = await persistently(lambda: app.start(["third"], {"name": id}, id=id))
                await persistently(lambda: flow.result(timeout_ms=60_000))
            except (HistoryLost, UnknownFlow) as error:
                return type(error).__name__
            return "completed"

        before = [asyncio.create_task(ended(f"before{number}")) for number in range(FLOWS // 2)]
        old = service.master()
        await asyncio.to_thread(old.kill)
        await asyncio.to_thread(until, lambda: service.master() is not old)
        after = await asyncio.gather(*(ended(f"after{number}") for number in range(FLOWS // 2)))
        assert set(after) == {"completed"}
        lost = [outcome for outcome in await asyncio.gather(*before) if outcome != "completed"]
        assert len(lost) <= len(node.committer.quarantined)
        flows = [each["id"] for each in await app.flows()]
        audits = [await app.audit(id) for id in flows if id not in node.committer.quarantined]
        assert [violation for audit in audits for violation in audit["violations"]] == []
