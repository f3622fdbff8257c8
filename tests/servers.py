"""The servers that tests run on: fakeredis, and every real Redis and Valkey that is found.

A real server is looked for on PATH (`redis-server`, `valkey-server`) and in `ARGYLL_TEST_REDIS_URL`.
Those from PATH are started once a test session, on a Unix socket in a private directory, and die with
the tests. Under CI a missing real server is a failure.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import clusters
import fakeredis
import pytest
import redis
from fakeredis.aioredis import FakeAsyncRedisConnection
from fakeredis.commands_mixins.scripting_mixin import ScriptingCommandsMixin

from argyll_redis.store.cluster import ClusterStore
from argyll_redis.store.cluster_link import ClusterConnector
from argyll_redis.store.connect import UrlConnector
from argyll_redis.store.keys import Keys, row_of
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.redis import RedisStore

URL_VARIABLE = "ARGYLL_TEST_REDIS_URL"
BINARIES = ("redis-server", "valkey-server")
CLUSTER = "cluster"
"""The kind that is a Redis Cluster; for those who ask for it."""
START_LIMIT_S = 10

# Becomes the server, after asking the kernel to kill it when this process ends, however it ends.
DIE_WITH_PARENT = """
import ctypes, os, sys
prctl = getattr(ctypes.CDLL(None), "prctl", None)
if prctl is not None:
    prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the tests are gone")
os.execvp(sys.argv[2], sys.argv[2:])
"""

_numbers = count(1)


# ----------------------------------------------------------------------- fakeredis


class _FakeConnection(FakeAsyncRedisConnection):
    """A connection that says of a missing stream what Redis says."""

    async def read_response(self, **options: Any) -> Any:
        try:
            return await super().read_response(**options)
        except redis.ResponseError as error:
            if "XGROUP subcommand requires the key" in str(error):
                raise redis.ResponseError(f"NOGROUP No such key or group ({error})") from None
            raise


class FakeConnector:
    """Connections, asyncio and blocking, to one fakeredis server."""

    address = "fakeredis"

    def __init__(self) -> None:
        self.server = fakeredis.FakeServer()

    def connection(self) -> Any:
        return _FakeConnection(server=self.server, protocol=2)

    def blocking_connection(self) -> Any:
        return fakeredis.FakeRedisConnection(server=self.server, protocol=2)


class _WithoutShebang:
    """A Lua runtime for scripts that begin as Redis wants them, which plain Lua does not understand."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def execute(self, script: bytes | str) -> Any:
        if isinstance(script, bytes) and script.startswith(b"#!"):
            script = b"--" + script[2:]
        return self._runtime.execute(script)


def _mend_shebang() -> None:
    """Makes fakeredis run scripts that begin with `#!lua`."""
    plain = ScriptingCommandsMixin._get_server_runtime

    def mended(self: Any, server: Any) -> Any:
        return _WithoutShebang(plain(self, server))

    ScriptingCommandsMixin._get_server_runtime = mended


def _runs_shebang() -> bool:
    client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    try:
        return client.eval("#!lua\nreturn 7", 0) == 7
    except redis.ResponseError:
        return False


def _delivers_when_blocking() -> bool:
    """Tells whether a blocking group read gives what it marks as delivered, and waits for nothing."""
    client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    client.xgroup_create("s", "g", "0", mkstream=True)
    client.xadd("s", {"r": "1"})
    found = client.xreadgroup("g", "c", {"s": ">"}, block=1)
    started = time.monotonic()
    nothing = client.xreadgroup("g", "c", {"s": ">"}, count=1, block=30)
    waited_s = time.monotonic() - started
    return bool(found) and not nothing and waited_s >= 0.02


def mend_fakeredis() -> None:
    """Mends what tests need of fakeredis, where this version of it needs mending; loud when it cannot."""
    if not _runs_shebang():
        _mend_shebang()
    if not _runs_shebang():
        raise RuntimeError("fakeredis does not run scripts that begin with #!lua, mended or not")
    if not _delivers_when_blocking():
        raise RuntimeError("this fakeredis loses entries of blocking reads; use 2.41 or later")


mend_fakeredis()


# -------------------------------------------------------------------- real servers


@cache
def start_server(binary: str) -> str:
    """Starts a server once and gives its URL."""
    directory = tempfile.mkdtemp(prefix="argyll-")
    socket = Path(directory) / "redis.sock"
    options = {
        "--port": "0",
        "--unixsocket": str(socket),
        "--dir": directory,
        "--save": "",
        "--appendonly": "no",
    }
    arguments = [each for option in options.items() for each in option]
    process = subprocess.Popen(
        [sys.executable, "-c", DIE_WITH_PARENT, str(os.getpid()), binary, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    atexit.register(_stop, process, directory)
    _await_ping(process, socket)
    return f"unix://{socket}"


def _await_ping(process: subprocess.Popen[bytes], socket: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    with redis.Redis(unix_socket_path=str(socket), retry=None) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                time.sleep(0.005)
    raise RuntimeError(f"{process.args!r} did not start")


def _stop(process: subprocess.Popen[bytes], directory: str) -> None:
    process.kill()
    process.wait()
    shutil.rmtree(directory, ignore_errors=True)


def programs() -> list[str]:
    """The servers that are on PATH."""
    return [binary for binary in BINARIES if shutil.which(binary)]


def leave_out(reason: str) -> NoReturn:
    """Leaves a test out for want of a server; under CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def real_servers() -> dict[str, Callable[[], str]]:
    """Finds the real servers: by name, how to get a URL of each."""
    found: dict[str, Callable[[], str]] = {
        binary: lambda binary=binary: start_server(binary) for binary in programs()
    }
    if url := os.environ.get(URL_VARIABLE):
        found[URL_VARIABLE] = lambda: url
    return found


def kinds(*others: str) -> list[Any]:
    """Gives the parameters of a fixture over all servers, those named here first."""
    names = list(real_servers()) or ["a real server"]
    return [*others, *(pytest.param(name, marks=pytest.mark.real) for name in names)]


def shared_cluster() -> clusters.Cluster:
    """The cluster that all tests of a session share."""
    if shutil.which(clusters.BINARY) is None:
        leave_out(f"no {clusters.BINARY} on PATH for a cluster")
    return clusters.shared_cluster(DIE_WITH_PARENT)


def cluster_kind() -> Any:
    """The parameter of a fixture that stands for a cluster."""
    return pytest.param(CLUSTER, marks=pytest.mark.real)


# ------------------------------------------------------------------------ fixtures


class TestServer:
    """A server as a test sees it: a namespace of its own, a plain client, and no keys left by others."""

    __test__ = False

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.namespace = f"t{next(_numbers)}-{uuid4().hex[:6]}"
        self.keys = Keys(self.namespace)
        self.url = ""
        if kind == "fakeredis":
            self.connector: Any = FakeConnector()
            self.client: Any = redis.Redis(connection_pool=_fake_pool(self.connector))
        elif kind == CLUSTER:
            self.url = shared_cluster().url
            self.connector = ClusterConnector(self.url)
            self.client = shared_cluster().client
        else:
            self.url = _url_of(kind)
            self.connector = UrlConnector(self.url)
            self.client = redis.Redis.from_url(self.url, protocol=2)

    def all_keys(self) -> list[str]:
        """Gives all keys of the namespace."""
        patterns = (f"{{{self.namespace}}}:*", f"{{{self.namespace}:*")
        return sorted(
            {key.decode() for pattern in patterns for key in self.client.scan_iter(pattern, count=1000)}
        )

    def unknown_keys(self) -> list[str]:
        """Gives the keys that no row of the table knows, by name or type."""
        keys = self.all_keys()
        pipeline = self.client.pipeline(transaction=False)
        for key in keys:
            pipeline.type(key)
        rows = [row_of(key, self.namespace) for key in keys]
        return [
            key
            for key, row, type in zip(keys, rows, pipeline.execute(), strict=True)
            if row is None or row.type.value != type.decode()
        ]

    def empty(self) -> None:
        """Deletes the namespace's keys, as somebody's FLUSHDB would."""
        if keys := self.all_keys():
            self.client.delete(*keys)

    def close(self) -> None:
        if self.kind != CLUSTER:
            self.client.close()


class StoreFactory:
    """Makes stores, not yet open, that share one namespace on one server."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.memory = MemoryServer(partitions=2) if kind == "memory" else None
        self.server = TestServer(kind) if self.memory is None else None
        self._made: list[Any] = []

    def __call__(self, *, partitions: int = 2) -> Any:
        """Makes a store; the number of partitions counts only for the first one opened."""
        if self.memory is not None:
            store: Any = MemoryStore(server=self.memory)
        else:
            make = ClusterStore if self.kind == CLUSTER else RedisStore
            store = make("", self.server.namespace, partitions=partitions, connector=self.server.connector)
        self._made.append(store)
        return store

    async def empty(self) -> None:
        """Deletes everything, as somebody's FLUSHDB would."""
        if self.memory is not None:
            self.memory.clear()
        else:
            self.server.empty()

    async def close(self) -> None:
        """Closes the stores that were made."""
        for store in self._made:
            await store.close()


def _fake_pool(connector: FakeConnector) -> redis.ConnectionPool:
    return redis.ConnectionPool(
        connection_class=fakeredis.FakeRedisConnection, server=connector.server, protocol=2
    )


def _url_of(kind: str) -> str:
    servers = real_servers()
    if kind not in servers:
        leave_out(f"no real server: put {' or '.join(BINARIES)} on PATH, or set {URL_VARIABLE}")
    return servers[kind]()


async def checked_factory(kind: str) -> AsyncIterator[StoreFactory]:
    """Gives a factory of stores to a test, and fails the test when it leaves a key that nobody knows."""
    factory = StoreFactory(kind)
    try:
        yield factory
        await factory.close()
        if factory.server is not None:
            assert factory.server.unknown_keys() == []
    finally:
        if factory.server is not None:
            factory.server.empty()
            factory.server.close()


def checked_server(kind: str) -> Iterator[TestServer]:
    """Gives a server to a test, and fails the test when it leaves a key that nobody knows."""
    server = TestServer(kind)
    try:
        yield server
        assert server.unknown_keys() == []
    finally:
        server.empty()
        server.close()
