"""`argyll engine`: a production engine process."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import click

from argyll_redis import __version__
from argyll_redis.cli.answers import print_json_line
from argyll_redis.cli.opened import run_async, shown_url
from argyll_redis.cli.options import Asked, Duration, common
from argyll_redis.cli.serving import HttpAsked, http_options, made_server
from argyll_redis.cli.texts import counted, duration, listed
from argyll_redis.cli.waiting import waiting_options
from argyll_redis.core.limits import MAX_DURATION_MS
from argyll_redis.errors import InvalidInput, Problem

if TYPE_CHECKING:
    import asyncio

    from argyll_redis.app import Argyll
    from argyll_redis.http.server import HttpServer
    from argyll_redis.runtime.engine import Engine
    from argyll_redis.runtime.engine_config import EngineConfig

BUILTIN = "builtin"
"""The queue that every engine serves."""
CONCURRENCY = 100
MAX_CONCURRENCY = 10_000
"""More does not speed up one process; it only takes work from others that could run it."""


def _setting(name: str, help: str, *, default: object = None, metavar: str | None = "N", **how: Any) -> Any:
    """An option that is a variable as well: `--lease-ms` is `ARGYLL_LEASE_MS`."""
    return click.option(
        name,
        metavar=metavar,
        envvar="ARGYLL_" + name.removeprefix("--").replace("-", "_").upper(),
        show_envvar=True,
        show_default=str(default) if default is not None else False,
        help=help,
        **how,
    )


@click.command(short_help="Run an engine: take work, run it, keep flows going.")
@_setting("--app", "The app whose python steps it runs: app in shop.py is shop:app.", metavar="MODULE:NAME")
@_setting(
    "--concurrency",
    "Work items that run at a time; 0 serves the HTTP API only.",
    default=CONCURRENCY,
    type=click.IntRange(0, MAX_CONCURRENCY),
)
@_setting(
    "--queue",
    "A queue to serve beside builtin; can be given more than once, in the variable with blanks between.",
    default="those of the app's steps",
    metavar="NAME",
    multiple=True,
)
@_setting(
    "--lease-ms", "Work of an engine that is silent for so long is taken over.", default=10_000, type=int
)
@_setting(
    "--linger-ms",
    "How long an outcome from outside is waited for after the flow's own.",
    default=3_600_000,
    type=int,
)
@_setting(
    "--grace-ms", "How long running work may take to end when the engine stops.", default=30_000, type=int
)
@_setting(
    "--memo-ttl-ms",
    "How long what a memoizable step gave is reused.",
    default=24 * 3_600_000,
    type=int,
)
@_setting(
    "--retention",
    "How long a flow is kept after it and all its children were deactivated, as 12h or 7d; 0 is for ever.",
    default="7d",
    metavar="DURATION",
    type=Duration(MAX_DURATION_MS),
)
@waiting_options
@_setting("--max-retries", "Retries of steps that do not say; -1 is without end.", default=10, type=int)
@_setting("--init-backoff-ms", "Delay before their first retry.", default=1_000, type=int)
@_setting("--max-backoff-ms", "Longest delay before a retry.", default=60_000, type=int)
@_setting(
    "--backoff",
    "How the delay grows.",
    default="exponential",
    metavar=None,
    type=click.Choice(["fixed", "linear", "exponential"]),
)
@_setting(
    "--http-allow",
    "A host name, address or network, such as 10.0.0.0/8, that calls of services may go to; can be given "
    "more than once, in the variable with blanks between.",
    default="all but link-local and the like",
    metavar="HOST",
    multiple=True,
)
@http_options()
@common
def engine(
    asked: Asked,
    app: str | None,
    concurrency: int | None,
    queue: tuple[str, ...],
    http: str | None,
    http_host: tuple[str, ...],
    retention: int | None,
    **given: Any,
) -> None:
    """Run an engine until it is told to stop (SIGTERM or Ctrl-C).

    It then takes no new work and lets running work end; a second signal ends it at once, and other
    engines take its work over. Any number of engines can run on one namespace.

    Without --app it runs the steps of the queue builtin only. With --app, an URL and a namespace that
    are not given here are those of the app.

    Example: `argyll engine --app shop:app --concurrency 50`
    """
    if concurrency == 0 and not http:
        what = "0 runs no work, and there is no HTTP API to serve"
        raise InvalidInput(problems=[Problem("--concurrency", what, "give --http, or use 1 or more")])
    given["retention_ms"] = retention
    settings = {name: value for name, value in given.items() if value not in (None, ())}
    served = configured(asked, app, queue, settings)
    _refuse_memory(served, http)
    server = made_server(served, HttpAsked(http, http_host))
    log_to_stderr(as_json=asked.as_json)
    announcer = Announcer(served, asked.as_json, server.url if server else None)
    run_async(lambda: serve(served, announcer, concurrency, queue, server))


def _refuse_memory(app: Argyll, http: str | None) -> None:
    """Refuses an engine that nobody could give work to."""
    if app.url.startswith("memory:") and not http:
        what = "memory:// is seen by this process only, so that nobody could start a flow on this engine"
        mend = "give the URL of a Redis that others use, or try the app out with `argyll dev`"
        raise InvalidInput(problems=[Problem("--redis", what, mend)])


def configured(asked: Asked, target: str | None, queues: tuple[str, ...], given: dict[str, Any]) -> Argyll:
    """The app that is asked for, or one without python steps, with the settings that were given.

    Raises `InvalidInput`.
    """
    from argyll_redis.app import Argyll

    if target is None:
        others = [name for name in queues if name != BUILTIN]
        if others:
            mend = "give the app with --app"
            what = f"{listed(others)}: without python steps an engine serves only {BUILTIN}"
            raise InvalidInput(problems=[Problem("--queue", what, mend)])
        app = Argyll()
    else:
        from argyll_redis.cli.loading import load_app

        app = load_app(target)
    try:
        app.reconfigure(url=asked.url, namespace=asked.namespace, **given)
    except InvalidInput as error:
        if not error.problems:
            raise
        raise InvalidInput(problems=[_of_option(problem) for problem in error.problems]) from None
    return app


def _of_option(problem: Problem) -> Problem:
    """A problem with a setting, said of its option."""
    return Problem(f"--{problem.path.replace('_', '-')}", problem.what, problem.mend)


# ----------------------------------------------------------------------- serve


class Teller(Protocol):
    """Says what an engine does."""

    def started(self, engine: Engine | None) -> None: ...
    def draining(self) -> None: ...
    def stopped(self) -> None: ...


class Announcer:
    """Says on standard error what the engine does, or as JSON on standard output."""

    def __init__(self, app: Argyll, as_json: bool, http_url: str | None = None) -> None:
        self._app = app
        self._as_json = as_json
        self._http_url = http_url

    def started(self, engine: Engine | None) -> None:
        """Says where the engine works and what it takes; without one, where the API is."""
        where = shown_url(self._app.url)
        http = {"http": self._http_url} if self._http_url else {}
        if engine is None:
            self._api_started(where, http)
            return
        config = engine.config
        if self._as_json:
            print_json_line(
                {
                    "message": "engine started",
                    "engine": config.id,
                    "redis": where,
                    "namespace": self._app.namespace,
                    "queues": list(config.queues),
                    "handlers": python_steps(self._app, config),
                    "concurrency": config.concurrency,
                    "lease_ms": config.lease_ms,
                    **http,
                }
            )
            return
        _say(f"argyll {__version__}: engine {config.id}")
        _say(f"redis {where}, namespace {self._app.namespace}")
        if self._http_url:
            _say(f"http {self._http_url}")
        steps = counted(len(python_steps(self._app, config)), "python step")
        _say(
            f"serves {listed(config.queues)} ({steps}), {counted(config.concurrency, 'work item')} at a time"
        )

    def _api_started(self, where: str, http: dict[str, str]) -> None:
        if self._as_json:
            message = {"message": "api started", "redis": where, "namespace": self._app.namespace}
            print_json_line({**message, **http})
            return
        _say(f"argyll {__version__}: the HTTP API only, no work is run here")
        _say(f"redis {where}, namespace {self._app.namespace}")
        _say(f"http {self._http_url}")

    def draining(self) -> None:
        """Says that the engine stops when its work has ended."""
        grace = duration(self._app.config.grace_ms)
        text = f"stopping: running work has {grace} to end (a second signal ends it at once)"
        self._say(text, "engine draining")

    def stopped(self) -> None:
        """Says that everything is handed back."""
        self._say("stopped", "engine stopped")

    def _say(self, text: str, message: str) -> None:
        if self._as_json:
            print_json_line({"message": message})
        else:
            _say(text)


def python_steps(app: Argyll, config: EngineConfig) -> list[str]:
    """The steps of an app that an engine serves: what else it can do is not said by name."""
    return [id for id in config.handlers if id in app.declared]


def _say(text: str) -> None:
    with suppress(OSError):  # an engine works on when nobody can hear it
        click.echo(text, err=True)


async def serve(
    app: Argyll,
    announcer: Teller,
    concurrency: int | None,
    queues: tuple[str, ...],
    http: HttpServer | None = None,
) -> None:
    """Runs the engine, the API, or both; the first signal drains them, the second ends the process."""
    import asyncio

    stop = asyncio.Event()

    def draining() -> None:
        if http is not None:
            http.drain()
        announcer.draining()

    def began(engine: Engine, _: object) -> None:
        if http is not None:
            http.attach(engine)
        announcer.started(engine)

    async def until() -> None:
        await stop.wait()

    _on_signals(stop, draining)
    try:
        async with _answering(app, http):
            if concurrency == 0:
                await app.register_declared()
                announcer.started(None)
                await stop.wait()
            else:
                await app.run(
                    concurrency=CONCURRENCY if concurrency is None else concurrency,
                    queues=queues or None,
                    until=until,
                    on_ready=began,
                )
    finally:
        await app.close()
    announcer.stopped()


@asynccontextmanager
async def _answering(app: Argyll, http: HttpServer | None) -> AsyncGenerator[None, None]:
    """Has the API answered while this is entered, once Redis can be reached."""
    if http is None:
        yield
        return
    try:
        await app.node()
        async with http.serving():
            yield
    finally:
        http.close()


def _on_signals(stop: asyncio.Event, draining: Callable[[], None]) -> None:
    """Sets `stop` at the first SIGTERM or SIGINT."""
    import asyncio

    def received(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        draining()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received, number)


# ------------------------------------------------------------------------ logs


class _JsonLines(logging.Formatter):
    """Log records as JSON, one a line."""

    def format(self, record: logging.LogRecord) -> str:
        import orjson

        line = {
            "at": round(record.created * 1_000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def log_to_stderr(*, as_json: bool) -> None:
    """Sends the package's log to standard error; an app that set up logging itself keeps its own."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_JsonLines() if as_json else plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
