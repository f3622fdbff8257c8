"""The server: a socket that is bound first, and uvicorn on it, beside whatever else the process does.

Signals are the process's own affair: the server ends when it is told to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from argyll_redis.errors import InvalidInput, Problem
from argyll_redis.http.address import OPTION, Address, bind, bound_address, read_address

if TYPE_CHECKING:
    from argyll_redis.app import Argyll
    from argyll_redis.http.api import Api

log = logging.getLogger(__name__)

NEEDED = ("starlette", "uvicorn", "wsproto", "prometheus_client")
"""The packages of the extra `server`."""
KEEP_ALIVE_S = 5
"""How long a connection may be idle between two requests."""
HEADER_LIMIT_S = 10
"""How long a connection may be open, or idle, until the head of a request has come as a whole."""
CLOSE_LIMIT_S = 5
"""How long requests on their way have when the server ends."""
MAX_HEADER_BYTES = 64 * 1024
"""Of the head of a request."""
MAX_MESSAGE_BYTES = 64 * 1024
"""Of a message that comes over a websocket: no subscription is longer."""


class HttpServer:
    """The API of one app on one address; its socket is bound when this is made."""

    def __init__(
        self, app: Argyll, address: str, *, keys: str | None = None, hosts: Sequence[str] = ()
    ) -> None:
        """`keys` are `role:key,...`; without any, only a loopback address may be used.

        Raises `InvalidInput`: for packages that are missing, an address that cannot be used, keys that
        cannot be read. Nothing is bound then.
        """
        refuse_missing()
        from argyll_redis.http.api import Api
        from argyll_redis.http.guard import Hosts
        from argyll_redis.http.keys import VARIABLE, read_keys

        given, known = read_address(address), read_keys(keys)
        if not known and not given.is_loopback:
            what = f"{given.netloc} can be reached from other machines, and there are no keys"
            mend = f"set {VARIABLE}=role:key,... or listen on 127.0.0.1"
            raise InvalidInput(problems=[Problem(OPTION, what, mend)])
        Hosts(given, others=hosts)  # refuses a wrong name before anything is bound
        self._socket = bind(given)
        self.address: Address = bound_address(given, self._socket)
        self._base_url = app.config.webhook_base_url or self.address.url
        found = Hosts(self.address, base_url=self._base_url, others=hosts)
        self._server: Any = None
        self.api: Api = Api(app, hosts=found, keys=known)

    @property
    def url(self) -> str:
        """Where the API is."""
        return self.address.url

    @property
    def webhook_base_url(self) -> str:
        """Where steps post their outcomes."""
        return self._base_url

    def attach(self, engine: object) -> None:
        """Counts an engine of this process among the figures."""
        self.api.metrics.engine = engine

    def drain(self) -> None:
        """Says from now on that the process is about to end. Everything is still answered."""
        self.api.is_draining = True

    def close(self) -> None:
        """Lets go of a socket that was never served."""
        self._socket.close()

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None, None]:
        """Answers while this is entered; at the end streams and websockets are closed, and requests on
        their way have a moment to end."""
        ready = asyncio.Event()
        server = self._server = _uvicorn(self.api, ready)
        task = asyncio.get_running_loop().create_task(server.serve(sockets=[self._socket]))
        task.add_done_callback(lambda _: ready.set())
        try:
            await ready.wait()
            yield
        finally:
            self.drain()
            self.api.closing.set()
            server.should_exit = True
            await task


def _patient_protocol() -> Any:
    """The protocol of connections, which gives up those that send no request: uvicorn waits for ever for
    the rest of a head."""
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    base: Any = AutoHTTPProtocol  # one of two, whichever is installed

    class Protocol(base):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.loop.call_later(HEADER_LIMIT_S, self._look, self.cycle)

        def _look(self, seen: Any) -> None:
            """Closes a connection on which no request has begun since the last look, or is under way."""
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                return  # gone, or a websocket by now
            if self.cycle is seen and (seen is None or seen.response_complete):
                self.transport.close()
            else:
                self.loop.call_later(HEADER_LIMIT_S, self._look, self.cycle)

    return Protocol


def _uvicorn(api: Callable[..., Any], ready: asyncio.Event) -> Any:
    """A server that says when it is ready, and leaves signals and logs alone."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[Any] | None = None) -> None:
            await super().startup(sockets)
            ready.set()

        @contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            yield

    return Server(
        uvicorn.Config(
            api,
            http=_patient_protocol(),
            ws="wsproto",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,  # a webhook's path holds its token
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=CLOSE_LIMIT_S,
            ws_max_size=MAX_MESSAGE_BYTES,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        )
    )


def is_installed() -> bool:
    """Whether the packages that the server needs are there."""
    return not _missing()


def refuse_missing() -> None:
    """Raises `InvalidInput` that says how to install what is missing."""
    missing = _missing()
    if missing:
        what = f"the server needs {', '.join(missing)}"
        raise InvalidInput(problems=[Problem(OPTION, what, "pip install 'argyll-redis[server]'")])


def _missing() -> list[str]:
    return [name for name in NEEDED if find_spec(name) is None]
