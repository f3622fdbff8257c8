"""`argyll dev`: a server and an engine, to try things out on."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from argyll_redis import __version__
from argyll_redis.cli.answers import print_json_line, print_text
from argyll_redis.cli.engine import configured, log_to_stderr, python_steps, serve
from argyll_redis.cli.opened import run_async, shown_url
from argyll_redis.cli.options import Asked, placed
from argyll_redis.cli.serving import (
    KEYS_VARIABLE,
    TRYING_OUT,
    HttpAsked,
    http_options,
    server_to_try_out,
)
from argyll_redis.cli.texts import counted, listed

if TYPE_CHECKING:
    from argyll_redis.app import Argyll
    from argyll_redis.runtime.embedded import Embedded
    from argyll_redis.runtime.engine import Engine

NO_HTTP = "the HTTP API is not served: it needs pip install 'argyll-redis[server]'"
GRACE_MS = 3_000
"""Whoever tries things out does not wait longer for running work to end."""


@click.command(short_help="Run a server and an engine to try things out on.")
@click.option(
    "--app",
    metavar="MODULE:NAME",
    envvar="ARGYLL_APP",
    show_envvar=True,
    help="The app whose python steps it runs: app in shop.py is shop:app.",
)
@http_options(f"{TRYING_OUT}, or any free port")
@placed("an embedded one")
def dev(asked: Asked, app: str | None, http: str | None, http_host: tuple[str, ...], **given: Any) -> None:
    """Run a Redis server, an engine and the HTTP API until Ctrl-C, and say what to type elsewhere.

    The server is a redis-server or valkey-server from PATH, started for this command only, on a private
    socket: what it holds is gone at the end. Where there is none, all is in memory, and only the steps
    of --app can use it, as no other process sees it. With --redis that server is used, and stays.

    Example: `argyll dev --app shop:app`
    """
    log_to_stderr(as_json=asked.as_json)
    settings = {name: value for name, value in given.items() if value is not None}
    # The app first: nobody waits for a server to be told what is wrong with it. Its module may well run a
    # loop of its own while it is imported.
    made = configured(asked, app, (), {"grace_ms": GRACE_MS, **settings})
    run_async(lambda: _dev(asked, made, HttpAsked(http, http_host)))


async def _dev(asked: Asked, app: Argyll, http_asked: HttpAsked) -> None:
    http = server_to_try_out(app, http_asked)
    try:
        async with _server(asked.url) as server:
            app.reconfigure(url=server.url)
            try:
                http_url = http.url if http else None
                hints = await _hints(app, server, http_url)
                teller = _Teller(app, server, hints, as_json=asked.as_json, http_url=http_url)
                await serve(app, teller, None, (), http)
            finally:
                await app.close()
    finally:
        if http is not None:
            http.close()


@asynccontextmanager
async def _server(url: str | None) -> AsyncIterator[Embedded]:
    """The server that is asked for, or an embedded one while this is entered."""
    from argyll_redis.runtime.embedded import Embedded, EmbeddedServer

    if url is not None:
        yield Embedded(url, "given", f"the Redis at {shown_url(url)}", None)
        return
    async with EmbeddedServer() as server:
        yield server


async def _hints(app: Argyll, server: Embedded, http_url: str | None) -> list[str]:
    """What to type next, in another terminal, on the steps that there are."""
    asking = [_curl(http_url)] if http_url else []
    if server.kind == "memory":
        return asking
    await app.register_declared()
    is_whole = shown_url(server.url) == server.url  # a password is not shown: whoever gave it knows it
    hints = [f"export ARGYLL_REDIS_URL={shlex.quote(server.url)}"] if is_whole else []
    # The default, too: what that terminal has exported before would lead elsewhere.
    hints.append(f"export ARGYLL_NAMESPACE={app.namespace}")
    if not app.declared:
        start = "argyll flow start GOAL --init NAME=VALUE --wait"
        return [*hints, "argyll step register FILE", start, *asking]
    goal = list(app.declared)[-1]
    needed = (await app.plan([goal])).required
    start = " ".join(["argyll flow start", goal, *(f"--init {shlex.quote(name)}=..." for name in needed)])
    return [*hints, "argyll step list", f"{start} --id first", "argyll flow watch first", *asking]


def _curl(http_url: str) -> str:
    """How the flows are asked for over HTTP; a key is not shown."""
    key = " -H 'Authorization: Bearer KEY'" if os.environ.get(KEYS_VARIABLE) else ""
    return f"curl{key} {http_url}/engine/flow"


class _Teller:
    """Says on standard output what runs where, and what to do with it."""

    def __init__(
        self, app: Argyll, server: Embedded, hints: list[str], *, as_json: bool, http_url: str | None
    ) -> None:
        self._app = app
        self._server = server
        self._hints = hints
        self._as_json = as_json
        self._http_url = http_url

    def started(self, engine: Engine | None) -> None:
        """Says all that there is to say."""
        assert engine is not None
        where, config = shown_url(self._server.url), engine.config
        if self._as_json:
            print_json_line(
                {
                    "message": "dev started",
                    "redis": where,
                    "namespace": self._app.namespace,
                    "server": {"kind": self._server.kind, "what": self._server.sentence},
                    "engine": config.id,
                    "queues": list(config.queues),
                    "handlers": python_steps(self._app, config),
                    **({"http": self._http_url} if self._http_url else {}),
                    "next": self._hints,
                }
            )
            return
        steps = counted(len(python_steps(self._app, config)), "python step")
        is_memory = self._server.kind == "memory"
        http = f"http {self._http_url}" if self._http_url else NO_HTTP
        print_text(
            f"argyll {__version__}, {'all' if is_memory else 'on'} {self._server.sentence}\n"
            f"redis {where}, namespace {self._app.namespace}\n"
            f"{http}\n"
            f"engine {config.id} serves {listed(config.queues)} ({steps})",
            self._next(),
        )

    def _next(self) -> str:
        hints = [f"  {hint}" for hint in self._hints]
        if self._server.kind == "memory":
            only = (
                "Only this process sees it: put redis-server or valkey-server on PATH to look at it from\n"
                "another terminal. Ctrl-C ends it."
            )
            return "\n".join(["In another terminal, over HTTP:", *hints, only] if hints else [only])
        with_it = "" if self._server.kind == "given" else ", and the server with all that it holds"
        ends = f"Ctrl-C ends the engine{with_it}"
        return "\n".join(["In another terminal:", *hints, f"{ends}."])

    def draining(self) -> None:
        """Says that running work has a moment to end."""
        if self._as_json:
            print_json_line({"message": "engine draining"})

    def stopped(self) -> None:
        """Says that all is over."""
        if self._as_json:
            print_json_line({"message": "dev stopped"})
        else:
            print_text("stopped")
