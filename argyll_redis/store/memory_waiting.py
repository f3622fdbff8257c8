"""Who waits for entries in memory, and how they are woken: the counterpart of a blocking read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Hashable, Iterable
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TypeVar

import anyio

from argyll_redis.store.protocol import BLOCK_LIMIT_MS

T = TypeVar("T")


class Waiter:
    """Somebody who waits; may be woken from another thread."""

    __slots__ = ("_event", "_loop", "_thread")

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    async def wait(self) -> None:
        await self._event.wait()

    def wait_again(self) -> None:
        """Makes the next wait one for what comes from now on."""
        self._event = anyio.Event()

    def wake(self) -> None:
        """Wakes; the loop of another thread is asked to, and one that is closed has nobody to wake."""
        if threading.get_ident() == self._thread:
            self._event.set()
            return
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)


class WaitingRoom:
    """Where callers wait until something that they named was added."""

    __slots__ = ("_lock", "_waiters")

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self._lock = lock
        self._waiters: dict[Hashable, dict[Waiter, None]] = {}
        """By what is waited for, longest wait first."""

    def wake(self, name: Hashable) -> None:
        """Wakes all who wait for this; who finds nothing left waits on. The caller holds the lock."""
        for waiter in self._waiters.get(name, ()):
            waiter.wake()

    def wake_all(self) -> None:
        """Wakes everybody. The caller holds the lock."""
        for name in self._waiters:
            self.wake(name)

    async def take(
        self, take: Callable[[], tuple[T, ...]], names: Iterable[Hashable], wait_ms: int
    ) -> tuple[T, ...]:
        """Takes what is there, or waits until one of the names is woken and tries again, until time is up.

        Who waits is registered before it looks, so a wake-up from another thread is never missed; who
        was woken for nothing keeps its place, so that nobody waits for ever behind another; and nothing
        is awaited between taking and returning, so nothing taken is lost to a cancellation.
        """
        with self._lock:
            found = take()
        if found or wait_ms <= 0:
            return found
        with anyio.move_on_after(min(wait_ms, BLOCK_LIMIT_MS) / 1_000), self._waiting(names) as waiter:
            while not found:
                with self._lock:
                    waiter.wait_again()
                    found = take()
                if not found:
                    await waiter.wait()
        return found

    @contextmanager
    def _waiting(self, names: Iterable[Hashable]) -> Generator[Waiter]:
        """Registers a waiter under each name for as long as the block lasts."""
        waiter = Waiter()
        registered = tuple(names)
        with self._lock:
            for name in registered:
                self._waiters.setdefault(name, {})[waiter] = None
        try:
            yield waiter
        finally:
            with self._lock:
                for name in registered:
                    self._leave(name, waiter)

    def _leave(self, name: Hashable, waiter: Waiter) -> None:
        waiters = self._waiters.get(name, {})
        waiters.pop(waiter, None)
        if not waiters:
            self._waiters.pop(name, None)
