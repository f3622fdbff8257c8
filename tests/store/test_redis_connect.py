"""Connections: URLs, deadlines, error replies, and that no call ever gets the reply of another."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import hiredis
import pytest
import redis.exceptions as redis_errors
from servers import TestServer
from store_words import until

from argyll_redis.errors import (
    InvalidInput,
    NamespaceEmptied,
    StoreUnavailable,
    StoreUnfit,
)
from argyll_redis.store import connect
from argyll_redis.store import redis as redis_store
from argyll_redis.store.answers import ANSWERS, NoGroup, NoScript, Treatment
from argyll_redis.store.connect import BlockingLink, Link, UrlConnector
from argyll_redis.store.redis import RedisStore

pytestmark = pytest.mark.anyio

SECRET = "s3cr3t/pass"


# ---------------------------------------------------------------------------- URLs

GOOD_URLS = {
    "redis://localhost": "localhost:6379",
    "redis://localhost/": "localhost:6379",
    "redis://127.0.0.1:7000/3": "127.0.0.1:7000",
    "redis://:p%40ss@h:7000/3": "h:7000",
    "redis://[::1]:7000": "[::1]:7000",
    "redis://?db=2": "localhost:6379",
    "rediss://h": "h:6379",
    "rediss://h?ssl_cert_reqs=none": "h:6379",
    "rediss://h?ssl_ca_certs=/tmp/ca.pem": "h:6379",
    "unix:///tmp/redis.sock?db=2": "/tmp/redis.sock",
    "redis://h?client_name=x": "h:6379",
}


@pytest.mark.parametrize(("url", "address"), GOOD_URLS.items())
def test_a_url_names_a_server(url: str, address: str) -> None:
    connector = UrlConnector(url)
    connector.connection()
    connector.blocking_connection()
    assert connector.address == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        f"http://:{SECRET}@h",
        f"redis://:{SECRET}@h:port",
        f"redis://:{SECRET}@h/db",
        f"redis://:{SECRET}@h:99999999",
        f"redis://u:{SECRET.replace('/', '')}@h?socket_timeout=1",
        f"redis+cluster://:{SECRET}@h",
        f"redis+sentinel://:{SECRET}@h:1,h:2/service",
        f"redis://:{SECRET}#@h",
        "redis://h/0#db",
        "unix://",
        "unix://tmp/redis.sock",
        "redis://h?db",
        "rediss://h?ssl_cert_reqs=no",
        "rediss://h?ssl_check_hostname=no",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        UrlConnector(url)
    assert "s3cr3t" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("options", "is_checked"),
    [
        ("", True),
        ("?ssl_check_hostname=true", True),
        ("?ssl_check_hostname=false", False),
        ("?ssl_cert_reqs=optional", True),
        ("?ssl_cert_reqs=none", False),
    ],
)
def test_the_name_of_a_tls_server_is_checked_unless_the_url_says_no(options: str, is_checked: bool) -> None:
    connection: Any = UrlConnector(f"rediss://h{options}").blocking_connection()
    assert connection.check_hostname is is_checked


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"), "connection refused"),
        (OSError("Multiple exceptions: [Errno 111] failed ('::1', 1), [Errno 111] x"), "connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "name or service not known"),
        (redis_errors.InvalidResponse('Protocol error, got "H"'), "what answers is not Redis"),
        (TimeoutError(), "no reply in time"),
    ],
)
async def test_why_a_server_cannot_be_reached_is_said_in_plain_words(error: Exception, words: str) -> None:
    class Lost:
        is_connected = False

        async def send_packed_command(self, *given: Any, **options: Any) -> None:
            raise error

        async def disconnect(self, nowait: bool = False) -> None: ...

    connector: Any = SimpleNamespace(address="h:1", connection=Lost)
    with pytest.raises(StoreUnavailable) as raised:
        await Link(connector, limit=1).call(("PING",))
    assert str(raised.value) == f"cannot reach redis at h:1 ({words})"


@pytest.mark.parametrize("reply", [b"+OK\r\n", b"$-1\r\n", b":1\r\n", b"*0\r\n", b"$3\r\nx:1\r\n"])
async def test_a_server_that_is_not_redis_is_called_so(reply: bytes) -> None:
    async with played(lambda _: reply) as url:
        store = RedisStore(url, "t")
        with pytest.raises(StoreUnfit, match=r"what answers at 127.0.0.1:\d+ is not Redis"):
            await store.open()
        await store.close()


@pytest.mark.parametrize("url", ["redis+cluster://h", "redis+sentinel://h/s"])
def test_a_url_of_several_servers_is_not_one_of_one(url: str) -> None:
    with pytest.raises(InvalidInput, match="names several servers"):
        UrlConnector(url)


# --------------------------------------------------------------- a server that we play


@asynccontextmanager
async def played(answer: Callable[[list[bytes]], bytes | None]) -> AsyncIterator[str]:
    """A server that answers commands as it is told; None is no answer. Gives its URL."""

    serving: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving[writer] = asyncio.current_task()
        commands = hiredis.Reader()
        while data := await reader.read(65536):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                reply = b"+OK\r\n" if command[0] == b"CLIENT" else answer(command)
                writer.write(reply or b"")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.close()
        for writer, task in serving.items():
            writer.close()
            await asyncio.wait([task])


@asynccontextmanager
async def linked(connector: Any, *, limit: int = 1) -> AsyncIterator[Link]:
    link = Link(connector, limit=limit)
    try:
        yield link
    finally:
        await link.close()


@pytest.mark.parametrize("code", ANSWERS)
async def test_every_error_reply_of_the_table_becomes_its_exception(code: str) -> None:
    reply = f"-{code} 0 some:1\r\n".encode()
    async with played(lambda _: reply) as url, linked(UrlConnector(url)) as link:
        with pytest.raises(ANSWERS[code].error) as raised:
            await link.call(("GET", "x"))
    assert type(raised.value) is ANSWERS[code].error
    if "{detail}" in ANSWERS[code].message:
        assert "some:1" in str(raised.value)


async def test_an_error_reply_that_no_row_knows_is_no_reason_to_end() -> None:
    """It may be the word of a proxy, or of a newer server."""
    async with played(lambda _: b"-ERR something new\r\n") as url, linked(UrlConnector(url)) as link:
        with pytest.raises(StoreUnfit, match="something new"):
            await link.call(("GET", "x"))


ERRORS_WITHOUT_A_CODE = {
    "ERR unknown command 'XAUTOCLAIM', with args beginning with: 'x'": "unknown command",
    "ERR DB index is out of range": "DB index is out of range",
    "ERR Error compiling script (new function): user_script:1: '=' expected": "compiling script",
    "ERR user_script:3: attempt to index a nil value script: 0d, on @user_script:3.": "user_script",
    "WRONGTYPE Operation against a key, script: 0d, on @user_script:3.": "WRONGTYPE",
    "ERR max number of clients reached": "max number of clients reached",
}


@pytest.mark.parametrize(("text", "row"), ERRORS_WITHOUT_A_CODE.items())
async def test_an_error_is_known_by_its_code_or_else_by_its_words(text: str, row: str) -> None:
    async with played(lambda _: f"-{text}\r\n".encode()) as url, linked(UrlConnector(url)) as link:
        with pytest.raises(ANSWERS[row].error) as raised:
            await link.call(("GET", "x"))
    assert str(raised.value).startswith(ANSWERS[row].message.partition("{")[0])


def test_every_treatment_is_somebodys() -> None:
    assert {answer.treatment for answer in ANSWERS.values()} == set(Treatment)
    inner = {code for code, answer in ANSWERS.items() if answer.error in (NoScript, NoGroup)}
    assert inner == {"NOSCRIPT", "NOGROUP", "UNBLOCKED"}


async def test_too_many_clients_is_a_server_that_cannot_be_reached() -> None:
    reply = b"-ERR max number of clients reached\r\n"
    async with played(lambda _: reply) as url, linked(UrlConnector(url)) as link:
        with pytest.raises(StoreUnavailable, match="max number of clients"):
            await link.call(("GET", "x"))


async def test_an_error_in_a_pipeline_is_raised_when_all_replies_are_read() -> None:
    replies = iter([b"-OOM x\r\n", b":2\r\n", b":3\r\n"])
    async with played(lambda _: next(replies)) as url, linked(UrlConnector(url)) as link:
        with pytest.raises(StoreUnfit):
            await link.pipeline([("GET", "1"), ("GET", "2")])
        assert await link.call(("GET", "3")) == 3


async def test_a_replica_that_refuses_writes_loses_the_connection() -> None:
    async with played(lambda _: b"-READONLY x\r\n") as url, linked(UrlConnector(url)) as link:
        with pytest.raises(StoreUnavailable, match="replica"):
            await link.call(("SET", "x", "1"))
        assert [connection.is_connected for connection in link._idle] == [False]


async def test_a_server_that_does_not_answer_is_called_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "REPLY_LIMIT_MS", 50)
    async with played(lambda _: None) as url, linked(UrlConnector(url)) as link:
        with pytest.raises(
            StoreUnavailable, match=r"cannot reach redis at 127.0.0.1:\d+ \(no reply in time\)"
        ):
            await link.call(("GET", "x"))


async def test_a_read_that_waits_in_a_server_gone_silent_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever reads next has a connection of its own."""
    monkeypatch.setattr(connect, "REPLY_LIMIT_MS", 50)
    replies = iter([None, b"+second\r\n"])
    async with played(lambda _: next(replies)) as url, linked(UrlConnector(url)) as link:
        with pytest.raises(StoreUnavailable, match="no reply in time"):
            await link.call(("XREADGROUP", "..."), wait_ms=20)
        assert await link.call(("GET", "2")) == b"second"


async def test_the_renewing_thread_gives_up_on_a_server_gone_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "REPLY_LIMIT_MS", 50)
    replies = iter([None, b"+second\r\n"])
    async with played(lambda _: next(replies)) as url:
        link = BlockingLink(UrlConnector(url))
        with pytest.raises(StoreUnavailable, match="no reply in time"):
            await asyncio.to_thread(link.call, ("GET", "1"))
        assert await asyncio.to_thread(link.call, ("GET", "2")) == b"second"
        link.close()


async def test_a_server_that_loads_its_data_says_so_to_the_renewing_thread_too() -> None:
    async with played(lambda _: b"-LOADING Redis is loading the dataset in memory\r\n") as url:
        link = BlockingLink(UrlConnector(url))
        with pytest.raises(StoreUnavailable, match="still loading"):
            await asyncio.to_thread(link.call, ("GET", "1"))
        link.close()


async def test_what_a_login_is_answered_is_told_like_any_answer() -> None:
    """A user who may not choose the database of the URL, for one."""

    def denied(command: list[bytes]) -> bytes:
        return b"-NOPERM User x has no permissions to run the 'select' command\r\n"

    async with played(denied) as url:
        link = BlockingLink(UrlConnector(f"{url}/1"))
        with pytest.raises(StoreUnfit, match="'select'"):
            await asyncio.to_thread(link.call, ("PING",))
        link.close()
        async with linked(UrlConnector(f"{url}/1")) as asking:
            with pytest.raises(StoreUnfit, match="'select'"):
                await asking.call(("PING",))


async def test_a_reply_that_came_too_late_reaches_no_other_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "REPLY_LIMIT_MS", 50)
    replies = iter([None, b"+first\r\n+second\r\n", b"+third\r\n"])
    async with played(lambda _: next(replies)) as url, linked(UrlConnector(url)) as link:
        with pytest.raises(StoreUnavailable):
            await link.call(("GET", "1"))
        assert await link.call(("GET", "2")) == b"first"
        # "second" was said without being asked: the connection is not used again
        assert await link.call(("GET", "3")) == b"third"


async def test_a_dead_port_is_called_so_at_once_and_without_the_password() -> None:
    store = RedisStore(f"redis://user:{SECRET.replace('/', '%2F')}@127.0.0.1:1/0", "t")
    with anyio.fail_after(3), pytest.raises(StoreUnavailable) as raised:
        await store.open()
    assert str(raised.value).startswith("cannot reach redis at 127.0.0.1:1 (")
    assert "s3cr3t" not in str(raised.value)
    await store.close()


async def test_opening_gives_up_on_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert redis_store.OPEN_LIMIT_MS < 3_000
    monkeypatch.setattr(redis_store, "OPEN_LIMIT_MS", 50)
    async with played(lambda _: None) as url:
        store = RedisStore(url, "t")
        with pytest.raises(StoreUnavailable, match="no reply in time"):
            await store.open()
        await store.close()


def test_the_renewing_thread_gets_the_same_exceptions() -> None:
    link = BlockingLink(UrlConnector("redis://127.0.0.1:1"))
    with pytest.raises(StoreUnavailable, match=r"cannot reach redis at 127\.0\.0\.1:1"):
        link.call(("GET", "x"))
    link.close()


# ---------------------------------------------------------------------- real servers


async def test_a_cancelled_call_drops_its_connection(server: TestServer) -> None:
    key = server.keys.of(0, "due")
    async with linked(server.connector) as link:
        await link.call(("PING",))
        with anyio.move_on_after(0.02) as scope:
            await link.call(("BZPOPMIN", key, 0), wait_ms=60_000)
        assert scope.cancelled_caught
        assert [connection.is_connected for connection in link._idle] == [False]
        assert await link.call(("ECHO", "mine")) == b"mine"


async def test_calls_beyond_the_limit_wait_for_a_connection(server: TestServer) -> None:
    async with linked(server.connector, limit=2) as link:
        replies: dict[int, bytes] = {}

        async def echo(n: int) -> None:
            replies[n] = await link.call(("ECHO", n))

        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(echo, n)
        assert replies == {n: str(n).encode() for n in range(20)}
        assert len(link._idle) <= 2


async def test_many_cancelled_calls_mix_up_no_replies(server: TestServer) -> None:
    async with linked(server.connector, limit=3) as link:
        wrong: list[tuple[int, bytes]] = []

        async def echo(n: int) -> None:
            # every third call is cancelled at some point of its way
            with anyio.CancelScope() as scope:
                if n % 3 == 0:
                    asyncio.get_running_loop().call_later(0.0001 * (n % 7), scope.cancel)
                reply = await link.call(("ECHO", n))
                if reply != str(n).encode():
                    wrong.append((n, reply))

        async with anyio.create_task_group() as tasks:
            for n in range(300):
                tasks.start_soon(echo, n)
        assert wrong == []
        assert await link.call(("ECHO", "after")) == b"after"


async def test_a_connection_that_the_server_closed_is_not_used_again(real_server: TestServer) -> None:
    async with linked(real_server.connector) as link:
        me = await link.call(("CLIENT", "ID"))
        real_server.client.client_kill_filter(_id=me)

        async def has_heard() -> bool:
            return await connect.is_stale(link._idle[0])

        await until(has_heard)
        assert await link.call(("ECHO", "again")) == b"again"


async def test_a_server_that_pauses_its_clients_is_waited_for(real_server: TestServer) -> None:
    """A failover by hand pauses them for as long as it takes."""
    async with linked(real_server.connector) as link:
        await link.call(("PING",))
        real_server.client.client_pause(100, all=False)
        key = real_server.keys.meta
        assert await link.call(("HSET", key, "layout", 1)) == 1


async def test_the_renewing_thread_connects_anew_when_the_server_closed(real_server: TestServer) -> None:
    link = BlockingLink(real_server.connector)
    me = link.call(("CLIENT", "ID"))
    real_server.client.client_kill_filter(_id=me)
    assert link.call(("ECHO", "again")) == b"again"
    assert link.call(("CLIENT", "ID")) != me
    link.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        link.call(("PING",))


async def test_a_closed_link_calls_nobody(server: TestServer) -> None:
    link = Link(server.connector, limit=1)
    await link.call(("PING",))
    await link.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await link.call(("PING",))


# -------------------------------------------------------------------- errors by name


def test_the_table_says_what_is_nobodys_fault_and_what_is() -> None:
    assert ANSWERS["OOM"].error is StoreUnfit
    assert ANSWERS["EMPTIED"].error is NamespaceEmptied
    assert ANSWERS["BADARG"].error is ValueError
    assert ANSWERS["LOADING"].error is StoreUnavailable
