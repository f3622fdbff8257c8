"""The one way out: requests to services, through a pool of connections that an engine's calls share.

Behind `HttpClient`, which has one method, so that another library can take aiohttp's place. It is
imported when the first call is made: engines without such steps do not need it.
"""

from __future__ import annotations

import asyncio
import io
import os
import socket
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import SplitResult, urljoin, urlsplit

from argyll_redis.core.limits import MAX_BODY_BYTES, MAX_REDIRECTS
from argyll_redis.steps.http_address import Address, AllowList, closed_because, literal
from argyll_redis.steps.http_answer import BodyFault, HttpAnswer, one_line
from argyll_redis.steps.http_request import HttpRequest

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from yarl import URL

KEEP_ALIVE_S = 4
"""How long an idle connection is kept: less than the 5 s after which many servers close it, perhaps just
as the next call is sent."""
DNS_CACHE_S = 10
"""How long the addresses of a name are used again."""
PLAIN_BODY_BYTES = 64 * 1024
"""A larger body is sent in pieces, so that other calls go on."""
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_INFLATED = ("gzip", "x-gzip", "deflate")

Look = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host name; raises `OSError` when there are none."""


class CallRefused(Exception):
    """The call is not made, now or later: it leads where no call may go."""


class CallBroke(Exception):
    """The call came to no answer: what carries it failed."""


class HttpClient(Protocol):
    """Makes requests."""

    async def send(self, request: HttpRequest) -> HttpAnswer:
        """Sends a request and gives the answer, whatever its status. Has no limit of time of its own.

        Raises `CallRefused`, `CallBroke`.
        """
        ...


class AiohttpClient:
    """One pool of connections, opened at the first call. No cookies, no proxies, no credentials."""

    def __init__(self, allow: AllowList, *, look: Look | None = None) -> None:
        """`look` looks names up in place of the system; for tests."""
        self._allow = allow
        self._look = look or _look
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Closes all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(self, request: HttpRequest) -> HttpAnswer:
        """As `HttpClient` says. Follows redirects within the host."""
        for _ in range(MAX_REDIRECTS + 1):
            answer, location = await self._send_once(request)
            if location is None:
                return answer
            request = _redirected(request, answer.status, location)
        raise CallRefused(f"the service redirects more than {MAX_REDIRECTS} times")

    async def _send_once(self, request: HttpRequest) -> tuple[HttpAnswer, str | None]:
        """Gives an answer, and where it redirects to, if it does."""
        import aiohttp

        url = _url(request.url)
        self._check_literal(url.raw_host or "")  # as the library reads it, not as another parser would
        if self._session is None:
            self._session = _opened(self._resolve)
        try:
            async with self._session.request(
                request.method,
                url,
                headers=request.headers,
                data=_data(request.body),
                allow_redirects=False,
            ) as response:
                if response.status in _REDIRECTS and "Location" in response.headers:
                    return HttpAnswer(response.status), response.headers["Location"]
                return await _answer(response, request), None
        except aiohttp.InvalidURL:
            raise CallRefused("the URL has no host that can be called") from None
        except (aiohttp.ClientError, OSError) as error:
            raise CallBroke(_what_broke(error, request.url)) from error

    def _check_literal(self, host: str) -> None:
        """Refuses a host that is written as an address and may not be called; names wait for theirs."""
        try:
            address = literal(host)
        except ValueError:
            raise CallRefused(f"{host} is not how an address is written (use all its parts)") from None
        if address is not None:
            self._permitted(host, [address])

    async def _resolve(self, host: str, port: int) -> list[Address]:
        """The addresses of a host that may be connected to."""
        try:
            found = await self._look(host, port)
        except UnicodeError:
            raise CallRefused(f'"{one_line(host)}" is no host name') from None
        except OSError as error:
            raise CallBroke(f"cannot find the address of {host}") from error
        return self._permitted(host, [ip_address(each.partition("%")[0]) for each in found])

    def _permitted(self, host: str, addresses: Sequence[Address]) -> list[Address]:
        """Those of a host's addresses that may be called. One that is closed closes the whole host.

        Raises `CallRefused` when there are none.
        """
        for address in addresses:
            why = closed_because(address)
            if why:
                at = "" if host == str(address) else f"{host} is {address}, which "
                raise CallRefused(f"step calls do not go there: {at or f'{address} '}{why}")
        permitted = [each for each in addresses if self._allow.allows(host, each)]
        if addresses and not permitted:
            raise CallRefused(f"step calls do not go there: {host} is not on the allow-list of this engine")
        return permitted


# ---------------------------------------------------------------------- sending


def _opened(resolve: Callable[[str, int], Awaitable[list[Address]]]) -> ClientSession:
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Resolver(AbstractResolver):
        """Gives only addresses that were checked; they are what is then connected to."""

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            return [
                ResolveResult(
                    hostname=host,
                    host=str(address),
                    port=port,
                    family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                    proto=0,
                    flags=socket.AI_NUMERICHOST,
                )
                for address in await resolve(host, port)
            ]

        async def close(self) -> None:
            return None

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=Resolver(),
            ttl_dns_cache=DNS_CACHE_S,
            limit=0,  # the engine's slots bound it
            keepalive_timeout=KEEP_ALIVE_S,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        auto_decompress=False,  # here it stops at a limit
        trust_env=False,
    )
    # It has no public switch for this: GET, PUT and DELETE are sent again when the service hangs up, which
    # would make two calls of one attempt.
    session._retry_connection = False
    return session


async def _look(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _url(text: str) -> URL:
    """A URL as it is, as it is escaped already. Raises `CallRefused`."""
    from yarl import URL

    try:
        return URL(text, encoded=text.isascii())
    except ValueError:
        raise CallRefused("the URL of the call cannot be read") from None


def _data(body: bytes | None) -> bytes | io.BytesIO | None:
    return io.BytesIO(body) if body is not None and len(body) > PLAIN_BODY_BYTES else body


def _what_broke(error: Exception, url: str) -> str:
    """What kept a call from its answer, without its path, which may hold values of the flow."""
    import aiohttp

    parts = urlsplit(url)
    where = f"{parts.hostname}:{_port(parts)}"
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return one_line(f"the certificate of {where} is not valid: {error.certificate_error}")
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            return f"cannot connect to {where}" + (f": {os.strerror(number)}" if number else "")
        case aiohttp.ServerDisconnectedError():
            return f"{where} closed the connection without an answer"
        case aiohttp.ClientResponseError():
            return f"the answer of {where} is not HTTP"
        case _:
            return one_line(f"the connection to {where} broke: {type(error).__name__}")


# --------------------------------------------------------------------- redirects


def _redirected(request: HttpRequest, status: int, location: str) -> HttpRequest:
    """The request that a redirect asks for: the same one elsewhere on the same host, but for 303, which
    says where to GET the answer. Raises `CallRefused`."""
    try:
        target = urljoin(request.url, location)
        now, then = urlsplit(request.url), urlsplit(target)
        is_same = _is_same_host(now, then)
    except ValueError:
        raise CallRefused(f"status {status} redirects to what is not a URL") from None
    if not is_same:
        raise CallRefused(f"status {status} redirects to another host, which is not followed")
    if status == 303:
        headers = {name: value for name, value in request.headers.items() if name != "Content-Type"}
        return replace(request, method="GET", url=target, headers=headers, body=None)
    return replace(request, url=target)


def _is_same_host(now: SplitResult, then: SplitResult) -> bool:
    """Whether both lead to one server: the same scheme, host and port, or its usual port for https."""
    if now.hostname != then.hostname or then.username or then.password:
        return False
    if (now.scheme, _port(now)) == (then.scheme, _port(then)):
        return True
    return [(now.scheme, _port(now)), (then.scheme, _port(then))] == list(_PORTS.items())


def _port(parts: SplitResult) -> int | None:
    return parts.port or _PORTS.get(parts.scheme)


# ----------------------------------------------------------------------- reading


async def _answer(response: ClientResponse, request: HttpRequest) -> HttpAnswer:
    """Reads an answer; what is wrong with its body is said, and no reason to forget its status."""
    answer = HttpAnswer(response.status, response.headers)
    if answer.is_success and not request.needs_body:
        return answer
    body, fault = await _read(response)
    return replace(answer, body=body, fault=fault)


async def _read(response: ClientResponse) -> tuple[bytes, BodyFault | None]:
    """Reads a body and inflates it, up to the limit; what is beyond is neither read nor inflated."""
    import aiohttp

    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    inflater = _Inflater() if coding in _INFLATED else None
    if inflater is None and coding not in ("identity", ""):
        return b"", BodyFault.NOT_INFLATED
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += inflater.inflate(chunk, MAX_BODY_BYTES + 1 - len(body)) if inflater else chunk
            if len(body) > MAX_BODY_BYTES:
                return bytes(body[:MAX_BODY_BYTES]), BodyFault.TOO_LARGE
    except zlib.error:
        return bytes(body), BodyFault.NOT_INFLATED
    except (aiohttp.ClientError, OSError):
        return bytes(body), BodyFault.CUT
    return bytes(body), BodyFault.CUT if inflater and not inflater.is_complete else None


class _Inflater:
    """Inflates a body piece by piece, never more than is asked for."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._began = False

    @property
    def is_complete(self) -> bool:
        return self._stream.eof or not self._began

    def inflate(self, data: bytes, limit: int) -> bytes:
        """Gives at most `limit` bytes of what the data holds. Raises `zlib.error`."""
        found = bytearray()
        while data and len(found) < limit:
            if self._stream.eof:  # several gzip files one after the other are one
                self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
            self._began = True
            found += self._stream.decompress(data, limit - len(found))
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        return bytes(found)
