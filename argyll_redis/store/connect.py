"""Connections to Redis: from a URL to calls whose outcome is a reply or one of our exceptions.

redis-py's clients and pools are left out: they send a command again on their own, which an event log
cannot bear, and they cost more than the call itself. Its connections (sockets, TLS, login, hiredis)
are used as they are, with retries off and RESP2, whose replies look the same in all versions.

A call that was cancelled, timed out or failed drops its connection, so that no reply can reach another call.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, unquote, urlsplit

import anyio
import hiredis
import redis.asyncio as async_redis
import redis.asyncio.retry as async_retry
import redis.connection as sync_redis
import redis.exceptions as redis_errors
from redis.backoff import NoBackoff
from redis.retry import Retry

from argyll_redis.errors import InvalidInput, StoreUnavailable
from argyll_redis.store.answers import Treatment, answer_to, exception_for, is_known

CONNECT_LIMIT_MS = 2_000
"""Longest wait for a connection."""

REPLY_LIMIT_MS = 5_000
"""Longest wait for a reply, beside what the call itself waits in Redis."""

Reply = Any
"""What hiredis makes of a reply: bytes, int, None, or a list of these."""

Command = Sequence[str | bytes | int]

_pack = cast(
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

_TLS_OPTIONS = frozenset(
    {"ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"}
)
_TLS_WORDS = {"ssl_cert_reqs": ("required", "optional", "none"), "ssl_check_hostname": ("true", "false")}
"""What TLS options that are words may be. Any other word would be true to redis-py, or an error late."""
_LATER = {
    "redis+cluster": "a Redis Cluster",
    "rediss+cluster": "a Redis Cluster",
    "redis+sentinel": "Sentinel",
}
_ERRNO = re.compile(r"\[Errno (\d+)\]")
_URL_MEND = "use redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://... or unix:///PATH[?db=DB]"


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
        try:
            self._scheme, self._options = _parsed(url)
        except (ValueError, UnicodeError):
            # The cause is left out: it may quote the URL, and so the password.
            raise InvalidInput(f"the Redis URL cannot be read ({_URL_MEND})") from None
        self.address = _address(self._options)

    def connection(self) -> Connection:
        kinds = {
            "redis": async_redis.Connection,
            "rediss": async_redis.SSLConnection,
            "unix": async_redis.UnixDomainSocketConnection,
        }
        retry = async_retry.Retry(NoBackoff(), 0)
        # No socket_timeout: each call has a deadline of its own, which covers connecting and logging in, too.
        return cast(Connection, kinds[self._scheme](**self._options, retry=retry, socket_timeout=None))

    def blocking_connection(self) -> BlockingConnection:
        kinds = {
            "redis": sync_redis.Connection,
            "rediss": sync_redis.SSLConnection,
            "unix": sync_redis.UnixDomainSocketConnection,
        }
        timeout_s: Any = REPLY_LIMIT_MS / 1000  # the annotation of TLS connections says int
        return kinds[self._scheme](**self._options, retry=Retry(NoBackoff(), 0), socket_timeout=timeout_s)


def _parsed(url: str) -> tuple[str, dict[str, Any]]:
    """Splits a URL into its scheme and the options of a redis-py connection."""
    parts = urlsplit(url)
    scheme = parts.scheme
    if parts.fragment:
        raise ValueError("a # that is not escaped")
    if scheme in _LATER:
        raise InvalidInput(f"{_LATER[scheme]} is not supported yet ({_URL_MEND})")
    if scheme not in ("redis", "rediss", "unix"):
        raise InvalidInput(f"{scheme or 'no scheme'} is not a scheme of a Redis URL ({_URL_MEND})")
    query = {
        name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()
    }
    options: dict[str, Any] = {
        "protocol": 2,
        "socket_connect_timeout": CONNECT_LIMIT_MS / 1000,
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "client_name": query.pop("client_name", None),
    }
    if scheme == "unix":
        if not parts.path or parts.hostname:
            raise ValueError("no path, or one that does not begin with /")
        options["path"] = unquote(parts.path)
        options["db"] = int(query.pop("db", 0))
    else:
        options["host"] = parts.hostname or "localhost"
        options["port"] = parts.port or 6379
        options["db"] = int(query.pop("db", 0) if parts.path in ("", "/") else parts.path[1:])
        options["socket_keepalive"] = True
    if scheme == "rediss":
        options |= _tls_options({name: query.pop(name) for name in _TLS_OPTIONS & query.keys()})
    if query:
        raise InvalidInput(f"{', '.join(sorted(query))}: not an option of a Redis URL ({_URL_MEND})")
    return scheme, options


def _tls_options(given: dict[str, str]) -> dict[str, Any]:
    for name, words in _TLS_WORDS.items():
        if given.get(name, words[0]) not in words:
            raise InvalidInput(f"{name} of the Redis URL cannot be that (use {', '.join(words)})")
    is_checked = given.get("ssl_cert_reqs") != "none"
    return {**given, "ssl_check_hostname": given.get("ssl_check_hostname", str(is_checked).lower()) == "true"}


def _address(options: Mapping[str, Any]) -> str:
    """Names a server in messages."""
    if "path" in options:
        return str(options["path"])
    host: str = options["host"]
    return f"[{host}]:{options['port']}" if ":" in host else f"{host}:{options['port']}"


class Link:
    """A bounded set of connections; a call that finds none free waits for one."""

    def __init__(self, connector: Connector, *, limit: int) -> None:
        self._connector = connector
        self._free = anyio.Semaphore(limit, fast_acquire=True)
        self._idle: list[Connection] = []
        self._is_closed = False

    async def call(self, command: Command, *, wait_ms: int = 0) -> Reply:
        """Sends a command and gives its reply; raises what the table of answers says of an error reply.

        `wait_ms` is how long the command may wait inside Redis.
        """
        reply = (await self._exchange(_pack(tuple(command)), 1, wait_ms))[0]
        if isinstance(reply, Exception):
            raise exception_for(reply)
        return reply

    async def pipeline(self, commands: Sequence[Command]) -> list[Reply]:
        """Sends commands in one round trip; an error reply is raised when all have been read."""
        replies = await self.attempts(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise exception_for(reply)
        return replies

    async def attempts(self, commands: Sequence[Command]) -> list[Reply]:
        """Sends commands in one round trip; error replies are given as they came."""
        if not commands:
            return []
        packed = b"".join([_pack(tuple(command)) for command in commands])
        return await self._exchange(packed, len(commands), 0)

    async def close(self) -> None:
        """Drops all connections; calls in flight end first."""
        self._is_closed = True
        while self._idle:
            await self._idle.pop().disconnect()

    async def _exchange(self, packed: bytes, count: int, wait_ms: int) -> list[Reply]:
        if self._is_closed:
            raise StoreUnavailable("the store is closed")
        await self._free.acquire()
        connection = self._idle.pop() if self._idle else self._connector.connection()
        try:
            async with asyncio.timeout((REPLY_LIMIT_MS + wait_ms) / 1000):
                if connection.is_connected and await _is_stale(connection):
                    await connection.disconnect(nowait=True)
                await connection.send_packed_command([packed], check_health=False)
                return [await _read(connection) for _ in range(count)]
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, _LOST):
                raise _unavailable(error, self._connector.address) from None
            raise
        finally:
            if self._is_closed:
                await connection.disconnect(nowait=True)
            else:
                self._idle.append(connection)
            self._free.release()


async def _is_stale(connection: Any) -> bool:
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
    if isinstance(reply, Exception) and answer_to(reply).treatment is Treatment.RECONNECT:
        await connection.disconnect(nowait=True)
    return reply


class BlockingLink:
    """One connection for a thread that must not depend on the event loop."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._lock = threading.Lock()
        self._connection: BlockingConnection | None = None
        self._is_closed = False

    def call(self, command: Command) -> Reply:
        """Sends a command and gives its reply, as `Link.call` does."""
        packed = _pack(tuple(command))
        with self._lock:
            if self._is_closed:
                raise StoreUnavailable("the store is closed")
            reply = self._exchange(packed)
            if self._is_closed:
                self._drop()
        if isinstance(reply, Exception):
            raise exception_for(reply)
        return reply

    def close(self) -> None:
        """Drops the connection; a call in flight drops it when it ends, and nobody waits for that."""
        self._is_closed = True
        if self._lock.acquire(blocking=False):
            self._drop()
            self._lock.release()

    def _exchange(self, packed: bytes) -> Reply:
        if self._connection is not None and _is_stale_blocking(self._connection):
            self._drop()
        connection = self._connection = self._connection or self._connector.blocking_connection()
        try:
            connection.send_packed_command([packed], check_health=False)
            return connection.read_response()
        except redis_errors.ResponseError as error:
            return error
        except BaseException as error:
            self._drop()
            if isinstance(error, _LOST):
                raise _unavailable(error, self._connector.address) from None
            raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None


def _is_stale_blocking(connection: BlockingConnection) -> bool:
    """Tells what `_is_stale` tells, without a loop."""
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
    return StoreUnavailable(f"cannot reach redis at {address} ({_reason(error)})", address=address)


def _reason(error: BaseException) -> str:
    """Says why a call had no reply: in the words of the system, where it is the system that says so."""
    if isinstance(error, redis_errors.InvalidResponse):
        return "what answers is not Redis"
    for each in (error, error.__cause__, error.__context__):
        if isinstance(each, OSError) and (text := _system_words(each)):
            return f"{text[:1].lower()}{text[1:]}"
    return str(error) or "no reply in time"


def _system_words(error: OSError) -> str:
    """What the system calls an error; asyncio puts words of its own around it, and makes one error
    without a number of those of several addresses. A look-up of a name has numbers below 0."""
    found = _ERRNO.search(str(error)) if error.errno is None else None
    number = int(found[1]) if found else error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or ""
