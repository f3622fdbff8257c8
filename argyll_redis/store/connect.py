"""Connections to Redis: from a connector to calls whose outcome is a reply or one of our exceptions.

redis-py's clients and pools are left out: they send a command again on their own, which an event log
cannot bear, and they cost more than the call itself. Its connections (sockets, TLS, login, hiredis)
are used as they are, with retries off and RESP2, whose replies look the same in all versions.

A call that was cancelled, timed out or failed drops its connection, so that no reply can reach another call.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

import anyio
import hiredis
import redis.asyncio as async_redis
import redis.asyncio.retry as async_retry
import redis.connection as sync_redis
import redis.exceptions as redis_errors
from redis.backoff import NoBackoff
from redis.retry import Retry

from argyll_redis.errors import InvalidInput, StoreUnavailable, StoreUnfit
from argyll_redis.store.answers import Treatment, answer_to, exception_for, is_known
from argyll_redis.store.copies import Copying
from argyll_redis.store.url import RedisUrl, read_url

CONNECT_LIMIT_MS = 2_000
"""Longest wait for a connection."""

REPLY_LIMIT_MS = 5_000
"""Longest wait for a reply, beside what the call itself waits in Redis."""

T = TypeVar("T")

Reply = Any
"""What hiredis makes of a reply: bytes, int, None, or a list of these."""

Command = Sequence[str | bytes | int]

pack = cast(
    Callable[[tuple[str | bytes | int, ...]], bytes],
    hiredis.pack_command,  # pyright: ignore[reportUnknownMemberType]
)
"""Puts a command into the bytes that travel."""

_LOST = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.InvalidResponse,
    OSError,
    TimeoutError,
)
"""Errors after which nobody knows whether the call was applied."""

_ALWAYS: Mapping[str, Any] = {"protocol": 2, "socket_connect_timeout": CONNECT_LIMIT_MS / 1000}
"""Options of every connection."""
_ERRNO = re.compile(r"\[Errno (\d+)\]")


class Connection(Protocol):
    """What is used of a redis-py asyncio connection."""

    @property
    def is_connected(self) -> bool: ...
    async def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None: ...
    async def read_response(self) -> Reply: ...
    async def disconnect(self, nowait: bool = False) -> None: ...


class BlockingConnection(Protocol):
    """What is used of a redis-py connection that blocks its thread."""

    def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None: ...
    def read_response(self) -> Reply: ...
    def can_read(self, timeout: float = 0) -> bool: ...
    def disconnect(self) -> None: ...


class Connector(Protocol):
    """Makes connections, not yet connected, to one server."""

    address: str
    """Names the server in messages, without its password."""

    def connection(self) -> Connection: ...
    def blocking_connection(self) -> BlockingConnection: ...


class UrlConnector:
    """Makes connections to the server that a URL names."""

    def __init__(self, url: str) -> None:
        """Raises `InvalidInput`, also for a URL that names more than one server."""
        read = read_url(url)
        if read.kind:
            raise InvalidInput("the Redis URL names several servers where one is meant")
        self.address = read.address
        self._scheme = read.scheme
        self._options = {**read.options, **_where(read)}

    def connection(self) -> Connection:
        return make_connection(self._scheme, self._options)

    def blocking_connection(self) -> BlockingConnection:
        return make_blocking_connection(self._scheme, self._options)


def make_connection(scheme: str, options: Mapping[str, Any]) -> Connection:
    """Makes a connection that is not yet connected; `options` say where it goes, too."""
    kinds = {
        "redis": async_redis.Connection,
        "rediss": async_redis.SSLConnection,
        "unix": async_redis.UnixDomainSocketConnection,
    }
    retry = async_retry.Retry(NoBackoff(), 0)
    # No socket_timeout: each call has a deadline of its own, which covers connecting and logging in, too.
    made = kinds[scheme](**{**_ALWAYS, **options}, retry=retry, socket_timeout=None)
    return cast(Connection, _unannounced(made))


def make_blocking_connection(
    scheme: str, options: Mapping[str, Any], *, limit_ms: int | None = None
) -> BlockingConnection:
    """Makes a connection for a thread, that waits for a reply up to `limit_ms`, or `REPLY_LIMIT_MS`."""
    kinds = {
        "redis": sync_redis.Connection,
        "rediss": sync_redis.SSLConnection,
        "unix": sync_redis.UnixDomainSocketConnection,
    }
    timeout_s: Any = (limit_ms or REPLY_LIMIT_MS) / 1000  # the annotation of TLS connections says int
    made = kinds[scheme](**{**_ALWAYS, **options}, retry=Retry(NoBackoff(), 0), socket_timeout=timeout_s)
    return _unannounced(made)


def _unannounced(connection: T) -> T:
    """Keeps redis-py from telling the server its own name and version each time it connects: a user with few
    rights may not, and each time is a line in the server's log of what it has refused."""
    for name in ("driver_info", "lib_name", "lib_version"):  # what versions of redis-py call it
        if hasattr(connection, name):
            setattr(connection, name, None)
    return connection


def _where(url: RedisUrl) -> dict[str, Any]:
    """The options that say where a connection goes."""
    if url.path:
        return {"path": url.path}
    ((host, port),) = url.hosts
    return {"host": host, "port": port}


class Link:
    """A bounded set of connections; a call that finds none free waits for one."""

    def __init__(self, connector: Connector, *, limit: int, copying: Copying | None = None) -> None:
        """`copying` is what calls that have to have copies wait for."""
        self._connector = connector
        self._copying = copying
        self._free = anyio.Semaphore(limit, fast_acquire=True)
        self._idle: list[Connection] = []
        self._is_closed = False

    async def call(self, command: Command, *, wait_ms: int = 0, copied: str = "") -> Reply:
        """Sends a command and gives its reply; raises what the table of answers says of an error reply.

        `wait_ms` is how long the command may wait inside Redis. `copied` is the id key of a partition on
        this server: then what the server did up to this reply has its copies where the link waits for
        any, or the call counts as not answered. A reply of nothing needs none.
        """
        (reply,) = await self._replies([command], wait_ms, copied)
        if isinstance(reply, Exception):
            raise exception_for(reply)
        return reply

    async def pipeline(self, commands: Sequence[Command], *, copied: str = "") -> list[Reply]:
        """Sends commands in one round trip; an error reply is raised when all have been read."""
        replies = await self._replies(commands, 0, copied)
        for reply in replies:
            if isinstance(reply, Exception):
                raise exception_for(reply)
        return replies

    async def attempts(
        self, commands: Sequence[Command], *, wait_ms: int = 0, copied: str = ""
    ) -> list[Reply]:
        """Sends commands in one round trip; error replies are given as they came."""
        return await self._replies(commands, wait_ms, copied)

    async def refuse_behind(self, id_key: str) -> None:
        """Raises `StoreUnfit` while the copies are behind; asks only when they were at last."""
        if self._copying is not None and self._copying.is_behind:
            await self._replies([], 0, id_key)

    async def close(self) -> None:
        """Drops all connections; calls in flight end first."""
        self._is_closed = True
        await self._drop_idle()

    async def _drop_idle(self) -> None:
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)

    async def _replies(self, commands: Sequence[Command], wait_ms: int, copied: str) -> list[Reply]:
        copying = self._copying if copied and self._copying and self._copying.instance else None
        if copying is not None:
            commands = [*commands, *copying.commands(copied)]
            wait_ms += copying.copies.limit_ms
        if not commands:
            return []
        packed = b"".join([pack(tuple(command)) for command in commands])
        replies = await self._exchange(packed, len(commands), wait_ms)
        if copying is None:
            return replies
        *replies, mark, found = replies
        try:
            copying.check(mark, found)
        except StoreUnfit:
            # Whoever has no replicas any more may be no master any more: the next call asks anew.
            await self._drop_idle()
            if replies != [None] and not any(isinstance(reply, Exception) for reply in replies):
                raise
        return replies

    async def _exchange(self, packed: bytes, count: int, wait_ms: int) -> list[Reply]:
        if self._is_closed:
            raise StoreUnavailable("the store is closed")
        await self._free.acquire()
        connection = self._idle.pop() if self._idle else self._connector.connection()
        try:
            async with asyncio.timeout((REPLY_LIMIT_MS + wait_ms) / 1000):
                if connection.is_connected and await is_stale(connection):
                    await connection.disconnect(nowait=True)
                await connection.send_packed_command([packed], check_health=False)
                replies = [await _read(connection) for _ in range(count)]
            if any(map(_ends_connection, replies)):
                await connection.disconnect(nowait=True)
                await self._drop_idle()
            return replies
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, _LOST):
                raise _unavailable(error, self._connector.address) from None
            if isinstance(error, redis_errors.ResponseError):  # to a login, or to the choice of a database
                raise exception_for(error) from None
            raise
        finally:
            if self._is_closed:
                await connection.disconnect(nowait=True)
            else:
                self._idle.append(connection)
            self._free.release()


async def is_stale(connection: Any) -> bool:
    """Tells whether the server has closed an idle connection, or said something nobody asked for."""
    # redis-py 8 renamed it; both only look.
    look = getattr(connection, "can_read", None) or connection.can_read_destructive
    try:
        return bool(await look())
    except (redis_errors.RedisError, OSError):
        return True


async def _read(connection: Connection) -> Reply:
    """Reads a reply; an error reply is a value."""
    try:
        reply = await connection.read_response()
    except redis_errors.ResponseError as error:
        reply = error
    except redis_errors.ConnectionError as error:
        # redis-py makes lost connections of some error replies, such as LOADING.
        if not is_known(error):
            raise
        reply = error
    return reply


def _ends_connection(reply: Reply) -> bool:
    """Whether a reply means that another server, or another connection to it, has to be found."""
    return isinstance(reply, Exception) and answer_to(reply).treatment is Treatment.RECONNECT


class BlockingLink:
    """One connection for a thread that must not depend on the event loop."""

    def __init__(self, connector: Connector, *, copying: Copying | None = None) -> None:
        self._connector = connector
        self._copying = copying
        self._lock = threading.Lock()
        self._connection: BlockingConnection | None = None
        self._is_closed = False

    def call(self, command: Command) -> Reply:
        """Sends a command and gives its reply, as `Link.call` does."""
        (reply,) = self.attempts([command])
        if isinstance(reply, Exception):
            raise exception_for(reply)
        return reply

    def is_copied(self, id_key: str) -> bool:
        """Whether what the server did up to now has its copies, where the link waits for any."""
        if self._copying is None:
            return True
        try:
            self._copying.check(*self.attempts(self._copying.commands(id_key)))
        except StoreUnavailable:
            return False
        return True

    def close(self) -> None:
        """Drops the connection; a call in flight drops it when it ends, and nobody waits for that."""
        self._is_closed = True
        if self._lock.acquire(blocking=False):
            self._drop()
            self._lock.release()

    def attempts(self, commands: Sequence[Command]) -> list[Reply]:
        """Sends commands in one round trip; error replies are given as they came."""
        packed = b"".join([pack(tuple(command)) for command in commands])
        with self._lock:
            if self._is_closed:
                raise StoreUnavailable("the store is closed")
            replies = self._exchange(packed, len(commands))
            if self._is_closed or any(map(_ends_connection, replies)):
                self._drop()
        return replies

    def _exchange(self, packed: bytes, count: int) -> list[Reply]:
        if self._connection is not None and is_stale_blocking(self._connection):
            self._drop()
        connection = self._connection = self._connection or self._connector.blocking_connection()
        try:
            connection.send_packed_command([packed], check_health=False)
            return [_read_blocking(connection) for _ in range(count)]
        except BaseException as error:
            self._drop()
            if isinstance(error, _LOST):
                raise _unavailable(error, self._connector.address) from None
            if isinstance(error, redis_errors.ResponseError):  # to a login, or to the choice of a database
                raise exception_for(error) from None
            raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None


def _read_blocking(connection: BlockingConnection) -> Reply:
    """Reads a reply, as `_read` does, for a thread."""
    try:
        return connection.read_response()
    except redis_errors.ResponseError as error:
        return error


def is_stale_blocking(connection: BlockingConnection) -> bool:
    """Tells what `is_stale` tells, without a loop."""
    try:
        return connection.can_read(timeout=0)
    except (redis_errors.RedisError, OSError):
        return True


def _unavailable(error: BaseException, address: str) -> Exception:
    """Makes the exception for a call without a reply. What the server answered to a login comes wrapped
    as a lost connection."""
    for each in (error, error.__cause__):
        if isinstance(each, Exception) and is_known(each):
            return exception_for(each)
    return StoreUnavailable(f"cannot reach redis at {address} ({reason_of(error)})", address=address)


def reason_of(error: BaseException) -> str:
    """Says why a call had no reply: in the words of the system, where it is the system that says so."""
    if isinstance(error, redis_errors.InvalidResponse):
        return "what answers is not Redis"
    if isinstance(error, redis_errors.TimeoutError | TimeoutError):
        return "no reply in time"
    for each in (error, error.__cause__, error.__context__):
        if isinstance(each, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {each.verify_message.rstrip('.')}"
        if isinstance(each, ssl.SSLError):
            return f"TLS fails: {(each.reason or each.strerror or '').lower().replace('_', ' ')}"
        if isinstance(each, OSError) and (text := _system_words(each)):
            return f"{text[:1].lower()}{text[1:]}"
    return str(error)


def _system_words(error: OSError) -> str:
    """What the system calls an error; asyncio puts words of its own around it, and makes one error
    without a number of those of several addresses. A look-up of a name has numbers below 0."""
    found = _ERRNO.search(str(error)) if error.errno is None else None
    number = int(found[1]) if found else error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or ""
