"""`--http` and what goes with it, for the commands that serve the HTTP API."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from argyll_redis.errors import InvalidInput

if TYPE_CHECKING:
    from argyll_redis.app import Argyll
    from argyll_redis.http.server import HttpServer

KEYS_VARIABLE = "ARGYLL_API_KEYS"
"""As in `argyll_redis.http.keys`, which is not imported for `--help`; a test holds them equal."""
TRYING_OUT = "127.0.0.1:8080"
"""Where `argyll dev` listens when nobody says where; on any free port when that one is taken."""
ANY_PORT = "127.0.0.1:0"


@dataclass(frozen=True, slots=True)
class HttpAsked:
    """Where the API is to be, as options say."""

    address: str | None
    hosts: tuple[str, ...]


def http_options(default: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command `--http`, `--http-host` and `--webhook-base-url`."""

    def give(function: Callable[..., None]) -> Callable[..., None]:
        for option in (_base_url(), _host(), _http(default)):
            function = option(function)
        return function

    return give


def _http(default: str | None) -> Any:
    return click.option(
        "--http",
        metavar="HOST:PORT",
        envvar="ARGYLL_HTTP",
        show_envvar=True,
        show_default=default or False,
        help="Serve the HTTP API there; port 0 is any free one. Others than this machine need keys, "
        f"{KEYS_VARIABLE}=role:key,... with the roles read, operate and define.",
    )


def _host() -> Any:
    return click.option(
        "--http-host",
        metavar="NAME",
        envvar="ARGYLL_HTTP_HOST",
        show_envvar=True,
        multiple=True,
        help="A name that the API is asked by beside its own, such as that of a proxy; can be given more "
        "than once.",
    )


def _base_url() -> Any:
    return click.option(
        "--webhook-base-url",
        metavar="URL",
        envvar="ARGYLL_WEBHOOK_BASE_URL",
        show_envvar=True,
        show_default="the HTTP address",
        help="Where steps of type async post their outcomes: what comes before /webhook.",
    )


def made_server(app: Argyll, asked: HttpAsked) -> HttpServer | None:
    """Binds the address that is asked for; None when none is. The app then knows where its webhooks are.

    Raises `InvalidInput`.
    """
    if not asked.address:
        return None
    from argyll_redis.http.server import HttpServer

    server = HttpServer(app, asked.address, keys=os.environ.get(KEYS_VARIABLE), hosts=asked.hosts)
    if not app.config.webhook_base_url:
        app.reconfigure(webhook_base_url=server.webhook_base_url)
    return server


def server_to_try_out(app: Argyll, asked: HttpAsked) -> HttpServer | None:
    """As `made_server`; when no address is asked for, the usual one, or any port when that is taken. None
    where the packages are missing: what can be tried out without is tried out without."""
    if asked.address:
        return made_server(app, asked)
    from argyll_redis.http.server import is_installed

    if not is_installed():
        return None
    try:
        return made_server(app, HttpAsked(TRYING_OUT, asked.hosts))
    except InvalidInput:
        return made_server(app, HttpAsked(ANY_PORT, asked.hosts))
