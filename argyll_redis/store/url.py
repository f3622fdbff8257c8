"""What the URL of a Redis says: the kind of place, its addresses, and the options of a connection.

Pure: nothing here connects. A URL may hold passwords, so no refusal quotes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from argyll_redis.errors import InvalidInput

PORT = 6379
SENTINEL_PORT = 26379

CLUSTER = "+cluster"
SENTINEL = "+sentinel"
"""What a scheme ends with that names more than one server."""

URL_MEND = (
    "use redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://..., unix:///PATH[?db=DB], "
    "redis+sentinel://HOST[:PORT][,HOST...]/SERVICE[/DB] or redis+cluster://HOST[:PORT][,HOST...]"
)
SCHEMES = (
    *("redis", "rediss", "unix"),
    *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
)
"""Those that name a Redis."""

_TLS_OPTIONS = frozenset(
    {"ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"}
)
_TLS_WORDS = {"ssl_cert_reqs": ("required", "optional", "none"), "ssl_check_hostname": ("true", "false")}
"""What TLS options that are words may be. Any other word would be true to redis-py, or an error late."""
_SENTINEL_OPTIONS = {"sentinel_username": "username", "sentinel_password": "password"}
"""How the options of a URL that sentinels are logged in to with are called by redis-py."""

Host = tuple[str, int]
"""A host and a port."""


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """What a URL says."""

    scheme: str
    """`redis`, `rediss` or `unix`, without what names more than one server."""
    kind: str
    """`+sentinel` or `+cluster`; empty where the URL names one server."""
    hosts: tuple[Host, ...]
    """Of the server, of the sentinels, or of nodes of a cluster; none for a socket."""
    path: str
    """Of the socket; empty for a host."""
    service: str
    """By which sentinels know the master."""
    options: Mapping[str, Any]
    """Of a redis-py connection, beside where it goes."""
    sentinel: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Those that a connection to a sentinel has in place of them."""

    @property
    def address(self) -> str:
        """Names the place in messages, without its password."""
        if self.path:
            return self.path
        hosts = ",".join(map(named, self.hosts))
        return f"{hosts}/{self.service}" if self.service else hosts


def named(host: Host) -> str:
    """A host and its port, as messages name them."""
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def read_url(url: str) -> RedisUrl:
    """Reads a URL. Raises `InvalidInput`, which does not quote it."""
    try:
        return _read(url)
    except (ValueError, UnicodeError):
        # The cause is left out: it may quote the URL, and so the password.
        raise InvalidInput(f"the Redis URL cannot be read ({URL_MEND})") from None


def _read(url: str) -> RedisUrl:
    parts = urlsplit(url)
    if parts.fragment:
        raise ValueError("a # that is not escaped")
    if parts.scheme not in SCHEMES:
        raise InvalidInput(f"{parts.scheme or 'no scheme'} is not a scheme of a Redis URL ({URL_MEND})")
    scheme, plus, rest = parts.scheme.partition("+")
    kind = plus + rest
    query = {
        name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()
    }
    login, _, netloc = parts.netloc.rpartition("@")
    options = _login(login) | {"client_name": query.pop("client_name", None)}
    tls = {name: query.pop(name) for name in _TLS_OPTIONS & query.keys()} if scheme == "rediss" else {}
    hosts, path, service, db = (), "", "", ""
    if scheme == "unix":
        path = _socket(netloc, parts.path)
    else:
        hosts = _hosts(netloc, SENTINEL_PORT if kind == SENTINEL else PORT)
        service, db = _below(parts.path, kind)
        if len(hosts) > 1 and not kind:
            raise ValueError("several hosts")
        options["socket_keepalive"] = True
    if scheme == "rediss":
        options |= _tls_options(tls)
    sentinel = {own: query.pop(name) for name, own in _SENTINEL_OPTIONS.items() if name in query and service}
    options["db"] = int(db or query.pop("db", 0))
    if kind == CLUSTER and options["db"]:
        raise InvalidInput("a Redis Cluster has database 0 alone (use redis+cluster://HOST[:PORT][,HOST...])")
    if query:
        raise InvalidInput(f"{', '.join(sorted(query))}: not an option of a Redis URL ({URL_MEND})")
    return RedisUrl(scheme, kind, hosts, path, service, options, sentinel)


def _login(text: str) -> dict[str, Any]:
    username, _, password = text.partition(":")
    return {"username": unquote(username) or None, "password": unquote(password) or None}


def _socket(netloc: str, path: str) -> str:
    if not path or netloc:
        raise ValueError("no path, or one that does not begin with /")
    return unquote(path)


def _hosts(netloc: str, port: int) -> tuple[Host, ...]:
    """Reads hosts with commas between."""
    places = [urlsplit(f"//{place}") for place in netloc.split(",")]
    if len(places) > 1 and not all(place.hostname for place in places):
        raise ValueError("a comma without a host")
    return tuple((place.hostname or "localhost", place.port or port) for place in places)


def _below(path: str, kind: str) -> tuple[str, str]:
    """Reads the service and the database from what comes after the hosts."""
    first, _, rest = path.removeprefix("/").partition("/")
    if kind != SENTINEL:
        return "", f"{first}/{rest}" if rest else first
    if not first:
        what = "the Redis URL names no service whose master the sentinels know"
        raise InvalidInput(f"{what} (use redis+sentinel://HOST[:PORT][,HOST...]/SERVICE[/DB])")
    return unquote(first), rest


def _tls_options(given: dict[str, str]) -> dict[str, Any]:
    for name, words in _TLS_WORDS.items():
        if given.get(name, words[0]) not in words:
            raise InvalidInput(f"{name} of the Redis URL cannot be that (use {', '.join(words)})")
    is_checked = given.get("ssl_cert_reqs") != "none"
    return {**given, "ssl_check_hostname": given.get("ssl_check_hostname", str(is_checked).lower()) == "true"}
