"""From the synchronous world of commands to an app that is connected, and back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from argyll_redis.cli.options import DEFAULT_NAMESPACE, DEFAULT_URL, Asked

if TYPE_CHECKING:
    from argyll_redis.app import Argyll

T = TypeVar("T")


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that ends without waiting for threads.

    A look-up of a host name cannot be stopped; whoever asked for it has given up, and so do we.
    """

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Does nothing: closing the loop lets go of the threads."""


def run_async(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs to the end; Ctrl-C cancels the work and raises `KeyboardInterrupt`."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work())


def run(asked: Asked, work: Callable[[Argyll], Coroutine[Any, Any, T]]) -> T:
    """Connects to where a command goes, does its work, disconnects."""
    from argyll_redis.app import Argyll

    async def connected() -> T:
        async with Argyll(asked.url or DEFAULT_URL, asked.namespace or DEFAULT_NAMESPACE) as app:
            return await work(app)

    with _quiet():
        return run_async(connected)


@contextmanager
def _quiet() -> Iterator[None]:
    """Logs errors only: what an operator should know of the server is for `argyll engine` to say, not
    for every command."""
    logger = logging.getLogger("argyll_redis")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def shown_url(url: str) -> str:
    """A URL as it may be printed: without user, password and options."""
    try:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{place}{parts.path}"
    except ValueError:
        return url.partition(":")[0] + "://..."
