"""Connections to the master of a service that sentinels watch over.

Where the master is, is asked anew for every connection, and what is found there has to say that it is
one: sentinels may not know yet of what has just happened. So a connection that is lost, or whose server
has become a replica, is followed by one to whichever server is the master then.

A master that is replaced while it is well goes on as one for some ten seconds, and what is written to it
then is lost. So they are asked once a second, too, and a connection to the old one is used no more.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import redis.exceptions as redis_errors

from argyll_redis.errors import InvalidInput
from argyll_redis.store.connect import (
    BlockingConnection,
    Connection,
    Reply,
    is_stale,
    is_stale_blocking,
    make_blocking_connection,
    make_connection,
    pack,
    reason_of,
)
from argyll_redis.store.url import SENTINEL, Host, RedisUrl, named, read_url

SENTINEL_LIMIT_MS = 500
"""Longest wait for one sentinel; the next one is asked then. Short, as an opening has 2.5 s for all."""

LOOK_AGAIN_MS = 1_000
"""How often they are asked whether the master is still where connections go."""

_ROLE = pack(("ROLE",))
_MASTER = b"master"
_LOST = (redis_errors.RedisError, OSError, TimeoutError)
"""What an attempt to ask a sentinel may end with."""


class SentinelConnector:
    """Makes connections to the master of the service that a URL names."""

    def __init__(self, url: str) -> None:
        """Raises `InvalidInput`."""
        self._url = read_url(url)
        if self._url.kind != SENTINEL:
            raise InvalidInput("the Redis URL names no sentinels")
        self.address = self._url.address
        self._sentinels = Sentinels(self._url)

    def connection(self) -> Connection:
        return _Following(self._url, self._sentinels)

    def blocking_connection(self) -> BlockingConnection:
        return _BlockingFollowing(self._url, self._sentinels)


class Sentinels:
    """The sentinels of a URL: asked in turn, the one that answered last first."""

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        self._hosts = list(url.hosts)
        self._question = pack(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", url.service))
        shared = {name: value for name, value in url.options.items() if name not in ("username", "password")}
        self._options = {**shared, **url.sentinel, "db": 0}
        self._master: Host | None = None
        """Where the master was when they were asked last."""
        self._asked_s = -math.inf

    async def find(self) -> Host:
        """Says where the master is. Raises a `ConnectionError` of redis-py when no sentinel knows."""
        failures: list[str] = []
        for host in list(self._hosts):
            connection = make_connection(self._url.scheme, {**self._options, **_at(host)})
            try:
                async with asyncio.timeout(SENTINEL_LIMIT_MS / 1000):
                    await connection.send_packed_command([self._question], check_health=False)
                    return self._found(host, await connection.read_response())
            except _LOST as error:
                failures.append(f"{named(host)}: {reason_of(error)}")
            finally:
                await connection.disconnect(nowait=True)
        raise _nobody_knows(failures)

    def find_blocking(self) -> Host:
        """Says where the master is, as `find` does."""
        failures: list[str] = []
        for host in list(self._hosts):
            options = {**self._options, **_at(host), "socket_connect_timeout": SENTINEL_LIMIT_MS / 1000}
            connection = make_blocking_connection(self._url.scheme, options, limit_ms=SENTINEL_LIMIT_MS)
            try:
                connection.send_packed_command([self._question], check_health=False)
                return self._found(host, connection.read_response())
            except _LOST as error:
                failures.append(f"{named(host)}: {reason_of(error)}")
            finally:
                connection.disconnect()
        raise _nobody_knows(failures)

    async def point_to(self, host: Host) -> bool:
        """Whether the master still is where a connection goes, as far as was asked lately."""
        if self._has_to_ask():
            with suppress(*_LOST):
                await self.find()
        return host == self._master

    def point_to_blocking(self, host: Host) -> bool:
        """Tells what `point_to` tells, without a loop."""
        if self._has_to_ask():
            with suppress(*_LOST):
                self.find_blocking()
        return host == self._master

    def _has_to_ask(self) -> bool:
        """Whether it is time to ask again. Sentinels who do not answer change nothing."""
        now_s = time.monotonic()
        if now_s - self._asked_s < LOOK_AGAIN_MS / 1000:
            return False
        self._asked_s = now_s
        return True

    def _found(self, host: Host, reply: Reply) -> Host:
        """Reads an answer; who gave one is asked first the next time."""
        if not isinstance(reply, list):
            raise redis_errors.ConnectionError(f"it knows no service {self._url.service}")
        self._hosts = [host, *(each for each in self._hosts if each != host)]
        name, port = cast(list[bytes], reply)
        self._master = (name.decode(), int(port))
        self._asked_s = time.monotonic()
        return self._master


def _at(host: Host) -> dict[str, Any]:
    return {"host": host[0], "port": host[1]}


def _nobody_knows(failures: Sequence[str]) -> redis_errors.ConnectionError:
    return redis_errors.ConnectionError(f"no sentinel says where the master is: {'; '.join(failures)}")


def _refuse_other_roles(host: Host, role: Reply) -> None:
    """Refuses a server that is no master, though sentinels say so."""
    if not isinstance(role, list) or role[0] != _MASTER:
        raise redis_errors.ConnectionError(f"{named(host)}, where the sentinels point to, is no master yet")


class _Following:
    """A connection that is made to the master of the moment."""

    def __init__(self, url: RedisUrl, sentinels: Sentinels) -> None:
        self._url = url
        self._sentinels = sentinels
        self._inner: Connection | None = None
        self._host: Host = ("", 0)

    @property
    def is_connected(self) -> bool:
        return self._inner is not None and self._inner.is_connected

    async def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None:
        if not self.is_connected:
            await self._connect()
        await self._connected.send_packed_command(command, check_health)

    async def _connect(self) -> None:
        await self.disconnect(nowait=True)
        host = await self._sentinels.find()
        inner = make_connection(self._url.scheme, {**self._url.options, **_at(host)})
        try:
            await inner.send_packed_command([_ROLE], check_health=False)
            _refuse_other_roles(host, await inner.read_response())
        except BaseException:
            await inner.disconnect(nowait=True)
            raise
        self._inner, self._host = inner, host

    @property
    def _connected(self) -> Connection:
        if self._inner is None:
            raise redis_errors.ConnectionError("not connected")
        return self._inner

    async def read_response(self) -> Reply:
        return await self._connected.read_response()

    async def can_read(self) -> bool:
        return await is_stale(self._connected) or not await self._sentinels.point_to(self._host)

    async def disconnect(self, nowait: bool = False) -> None:
        if self._inner is not None:
            await self._inner.disconnect(nowait)
            self._inner = None


class _BlockingFollowing:
    """As `_Following`, for a thread."""

    def __init__(self, url: RedisUrl, sentinels: Sentinels) -> None:
        self._url = url
        self._sentinels = sentinels
        self._inner: BlockingConnection | None = None
        self._host: Host = ("", 0)

    def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None:
        if self._inner is None:
            self._connect()
        self._connected.send_packed_command(command, check_health)

    def _connect(self) -> None:
        host = self._sentinels.find_blocking()
        inner = make_blocking_connection(self._url.scheme, {**self._url.options, **_at(host)})
        try:
            inner.send_packed_command([_ROLE], check_health=False)
            _refuse_other_roles(host, inner.read_response())
        except BaseException:
            inner.disconnect()
            raise
        self._inner, self._host = inner, host

    @property
    def _connected(self) -> BlockingConnection:
        if self._inner is None:
            raise redis_errors.ConnectionError("not connected")
        return self._inner

    def read_response(self) -> Reply:
        return self._connected.read_response()

    def can_read(self, timeout: float = 0) -> bool:
        return is_stale_blocking(self._connected) or not self._sentinels.point_to_blocking(self._host)

    def disconnect(self) -> None:
        if self._inner is not None:
            self._inner.disconnect()
            self._inner = None
