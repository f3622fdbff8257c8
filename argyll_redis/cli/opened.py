"""From the synchronous world of commands to an app that is connected, and back.

asyncio takes half as long to import as all of `--help`: it is imported where something runs.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click

from argyll_redis.cli.options import DEFAULT_NAMESPACE, DEFAULT_URL, Asked
from argyll_redis.cli.refusals import DEBUG_VARIABLE
from argyll_redis.cli.waiting import config_of_variables
from argyll_redis.core.text import printable
from argyll_redis.errors import UnknownFlow, UnknownGoal, UnknownStep

if TYPE_CHECKING:
    from argyll_redis.app import Argyll

T = TypeVar("T")
READER_S = 0.5
"""How often it is asked whether somebody still reads."""
SAME_AGAIN_S = 30.0
"""How long a command that goes on does not repeat what it has said."""


def run_async(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs to the end; Ctrl-C cancels the work and raises `KeyboardInterrupt`."""
    import asyncio

    class Loop(asyncio.SelectorEventLoop):
        """An event loop that ends without waiting for threads.

        A look-up of a host name cannot be stopped; whoever asked for it has given up, and so do we.
        """

        async def shutdown_default_executor(self, timeout: float | None = None) -> None:
            """Does nothing: closing the loop lets go of the threads."""

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(work())


async def while_read(work: Coroutine[Any, Any, T]) -> T:
    """Runs what may go on for long without writing, and ends it when the reader of standard output has gone:
    a pipe tells that only to those who write or ask. Raises `BrokenPipeError` then."""
    import asyncio

    task = asyncio.get_running_loop().create_task(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=READER_S)
            if not task.done() and _has_no_reader():
                raise BrokenPipeError
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _has_no_reader() -> bool:
    import select

    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except (AttributeError, OSError, ValueError):
        return False  # closed, or no file at all
    return any(found & select.POLLERR for _, found in poll.poll(0))


def run(
    asked: Asked,
    work: Callable[[Argyll], Coroutine[Any, Any, T]],
    *,
    say: Callable[[str], None] | None = None,
) -> T:
    """Connects to where a command goes, does its work, disconnects. What is logged meanwhile is said on
    standard error, or by `say`."""
    from argyll_redis.app import Argyll

    async def connected() -> T:
        async with Argyll(*place_of(asked), config=config_of_variables()) as app:
            try:
                return await work(app)
            except (UnknownFlow, UnknownStep) as error:
                raise _placed(error, asked) from None

    with _log_in_lines(say or _to_stderr):
        return run_async(connected)


def _placed(error: UnknownFlow | UnknownStep, asked: Asked) -> UnknownFlow | UnknownStep:
    """Says with what is not there how to look elsewhere: a goal's error names the namespace; others do
    where nobody has named one, which is easily forgotten."""
    options = "--namespace or ARGYLL_NAMESPACE says which"
    if isinstance(error, UnknownGoal):
        return UnknownGoal(f"{error} ({options})")
    if asked.namespace is None:
        return type(error)(f"{error}; the namespace is `{DEFAULT_NAMESPACE}` ({options})")
    return error


def run_looking(asked: Asked, work: Callable[[Argyll], Coroutine[Any, Any, T]]) -> T:
    """As `run`, for work that connects by itself because it copes with a server that cannot be used."""
    from argyll_redis.app import Argyll

    async def looking() -> T:
        try:
            return await work(Argyll(*place_of(asked), config=config_of_variables()))
        except UnknownFlow as error:
            raise _placed(error, asked) from None

    with _log_in_lines(_to_stderr):
        return run_async(looking)


def place_of(asked: Asked) -> tuple[str, str]:
    """The URL and the namespace that a command goes to. One that is given and empty is no default: it
    was a variable that is not set."""
    return (
        DEFAULT_URL if asked.url is None else asked.url,
        DEFAULT_NAMESPACE if asked.namespace is None else asked.namespace,
    )


# ------------------------------------------------------------------------ logs


class _Lines(logging.Handler):
    """Says what is logged in one line each, without tracebacks, and of the same kind only now and then:
    a server that is away for a minute is news once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say
        self._said_s: dict[str, float] = {}
        """When something of a kind was last said."""

    def emit(self, record: logging.LogRecord) -> None:
        """Says a line."""
        last_s = self._said_s.get(str(record.msg), -SAME_AGAIN_S)
        if record.created - last_s >= SAME_AGAIN_S:
            self._said_s[str(record.msg)] = record.created
            self._say(printable(f"{record.levelname.lower()}: {record.getMessage()}"))


def _to_stderr(line: str) -> None:
    click.echo(line, err=True)


@contextmanager
def _log_in_lines(say: Callable[[str], None]) -> Iterator[None]:
    """Logs for whoever gave a command. What an operator should know of the server is for
    `argyll engine` to say, not for every command."""
    if os.environ.get(DEBUG_VARIABLE):
        yield
        return
    loggers = [logging.getLogger(name) for name in ("argyll_redis", "asyncio")]
    server = logging.getLogger("argyll_redis.store.redis")
    kept, kept_level, handler = [each.propagate for each in loggers], server.level, _Lines(say)
    for each in loggers:
        each.addHandler(handler)
        each.propagate = False
    server.setLevel(logging.ERROR)
    try:
        yield
    finally:
        server.setLevel(kept_level)
        for each, propagate in zip(loggers, kept, strict=True):
            each.removeHandler(handler)
            each.propagate = propagate


def shown_url(url: str) -> str:
    """A URL as it may be printed: without user, password and options."""
    try:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{place}{parts.path}"
    except ValueError:
        return url.partition(":")[0] + "://..."
