"""What is looked at before anything else: the host that was asked for, and the page that asks.

A page of any site can make a browser send requests to this machine. By the name of another host it
gets nothing (a name that is made to lead here is still another name), and from another origin it gets
nothing either. Other origins are never allowed.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from argyll_redis.core.values import shown
from argyll_redis.errors import InvalidInput, Problem
from argyll_redis.http.address import Address
from argyll_redis.http.answers import Refused

LOCAL = ("localhost", "127.0.0.1", "::1")
DEFAULT_PORTS = {"http": 80, "https": 443}


class _Place(NamedTuple):
    host: str
    port: int | None


class Hosts:
    """The names under which a server may be asked."""

    def __init__(self, address: Address, *, base_url: str = "", others: Iterable[str] = ()) -> None:
        """`base_url` is where webhooks are sent; `others` are names that a proxy in front is known by.

        Raises `InvalidInput` for one that is no name.
        """
        names = {*LOCAL, address.host, urlsplit(base_url).hostname or "", *map(_name, others)}
        if address.is_any:
            names.add(socket.gethostname())
        self._names = {name.lower() for name in names if name}
        self._is_any = address.is_any

    def check(self, headers: Headers) -> None:
        """Raises `Refused` for a request to another host, or by a page of another origin."""
        place = _place(headers.get("host", ""))
        if place is None or not self._knows(place.host):
            given = shown(headers.get("host", ""))
            message = f'"{given}" is not a name of this server (it can be given one with --http-host)'
            raise Refused(HTTPStatus.BAD_REQUEST, message)
        origin = headers.get("origin")
        if origin is not None and not _is_same(origin, place):
            raise Refused(HTTPStatus.FORBIDDEN, "pages of other origins get no answers here")

    def _knows(self, host: str) -> bool:
        if host in self._names:
            return True
        return self._is_any and _is_ip(host)  # a number is never the name of another host


def _name(given: str) -> str:
    place = _place(given)
    if place is None or place.port is not None:
        mend = "give a name, without scheme and port"
        raise InvalidInput(
            problems=[Problem("--http-host", f'"{given:.100}" is not the name of a host', mend)]
        )
    return place.host


def _place(text: str) -> _Place | None:
    """Host and port of a `Host` header."""
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.path or parts.query or parts.fragment or parts.username is not None:
        return None
    return _Place(parts.hostname.removesuffix("."), port)


def _is_same(origin: str, place: _Place) -> bool:
    """Whether an origin is the host that was asked. The scheme does not count: a proxy in front may
    speak another one."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return False
    default = DEFAULT_PORTS.get(parts.scheme)
    if default is None or parts.hostname is None:
        return False
    own = {place.port} if place.port is not None else {None, default}
    return parts.hostname.removesuffix(".") == place.host and (port in own or (port or default) in own)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
