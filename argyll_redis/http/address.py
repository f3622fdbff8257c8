"""Where the server listens: `HOST:PORT` read, judged and bound."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from argyll_redis.errors import InvalidInput, Problem

OPTION = "--http"
BACKLOG = 2_048
"""Connections that wait to be accepted."""
MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; port 0 lets the system choose one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name counts as what it stands for."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return _all_loopback(self.host)

    @property
    def is_any(self) -> bool:
        """Whether it is every address of this machine."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False

    @property
    def netloc(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The address as others can use it; where it is every address, by this machine's name."""
        return f"http://{Address(socket.gethostname(), self.port).netloc if self.is_any else self.netloc}"


def read_address(text: str) -> Address:
    """Reads `HOST:PORT`, with an IPv6 host in brackets. Raises `InvalidInput`."""
    host, colon, port = text.strip().rpartition(":")
    mend = "use HOST:PORT, such as 127.0.0.1:8080"
    if not colon or not host or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        raise InvalidInput(problems=[Problem(OPTION, f'"{text:.100}" is not HOST:PORT', mend)])
    if not (port.isascii() and port.isdigit()) or len(port) > len(str(MAX_PORT)) or int(port) > MAX_PORT:
        raise InvalidInput(problems=[Problem(OPTION, f'"{port:.100}" is not a port', f"use 0 to {MAX_PORT}")])
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def bind(address: Address) -> socket.socket:
    """Binds and listens. Raises `InvalidInput` that says why that is not possible."""
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, place = found[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(place)
            bound.listen(BACKLOG)
            bound.setblocking(False)
        except BaseException:
            bound.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        mend = "use another port, or 0 for any free one"
        problem = Problem(OPTION, f"cannot listen on {address.netloc}: {reason}", mend)
        raise InvalidInput(problems=[problem]) from None
    return bound


def bound_address(address: Address, bound: socket.socket) -> Address:
    """The address with the port that the system chose."""
    return Address(address.host, bound.getsockname()[1])


def _all_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    addresses = [ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found]
    return bool(addresses) and all(each.is_loopback for each in addresses)
