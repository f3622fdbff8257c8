"""Reads that wait in Redis, one for each slot, as a cluster refuses one that names several.

A call waits for the first of its reads that brings something. The others are not cancelled then: what
was delivered to a cancelled one would be found only at the next renewals, and each costs its connection.
They read on, and the next call that wants the same goes on with them. What one of them brings while no
call waits for it comes late: it is handed to whoever takes that, or kept for the next call.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")

ENDING_MS = 1_000
"""How much longer a call waits for reads whose time is over."""

Read = Callable[[], Coroutine[Any, Any, Found]]
"""Begins a read; what it brings is empty when its time was over."""


class LongReads(Generic[Key, Found]):
    """The reads of one kind that are on their way, each under a key that says what it reads."""

    def __init__(self, late: Callable[[Key, Found], bool]) -> None:
        """`late` takes what came late; False when it does not, and the next call gets it."""
        self._late = late
        self._running: dict[Key, asyncio.Task[Found]] = {}
        self._begun_s: dict[asyncio.Task[Found], float] = {}
        """When each began, by the event loop's clock."""
        self._awaited: Counter[Key] = Counter()

    def waiting(self) -> list[Key]:
        """What is read at the moment."""
        return [key for key, task in self._running.items() if not task.done()]

    async def first(self, reads: Mapping[Key, Read[Found]], wait_ms: int) -> list[tuple[Key, Found]]:
        """Gives what the first of these reads brings, with what others have brought by then; nothing
        when `wait_ms` are over. Raises what a read raises when none has brought anything."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        end = now + wait_ms / 1000
        self._awaited.update(reads.keys())
        try:
            while True:
                for key, read in reads.items():
                    if key not in self._running:
                        self._begin(key, read, now)
                tasks = [self._running[key] for key in reads]
                await asyncio.wait(tasks, timeout=max(0, end - now), return_when=asyncio.FIRST_COMPLETED)
                now = loop.time()
                if now >= end:
                    # Those whose own time is over, too, are about to say so, or why they cannot.
                    ending = [task for task in tasks if self._begun_s.get(task, end) + wait_ms / 1000 <= end]
                    if ending:
                        await asyncio.wait(ending, timeout=ENDING_MS / 1000)
                    return self._collect(reads)
                if found := self._collect(reads):
                    return found
        except asyncio.CancelledError:
            self.cancel(reads)
            raise
        finally:
            self._awaited.subtract(reads.keys())
            self._awaited += Counter()  # drops what nobody waits for

    def cancel(self, keys: Iterable[Key]) -> None:
        """Ends reads and their connections, at once."""
        for key in keys:
            task = self._running.pop(key, None)
            if task is not None:
                task.cancel()

    def close(self) -> None:
        self.cancel(list(self._running))

    def _begin(self, key: Key, read: Read[Found], now: float) -> None:
        task = self._running[key] = asyncio.get_running_loop().create_task(read())
        self._begun_s[task] = now
        task.add_done_callback(lambda ended: self._ended(key, ended))

    def _ended(self, key: Key, task: asyncio.Task[Found]) -> None:
        """Sees to a read that nobody waits for."""
        self._begun_s.pop(task, None)
        if task.cancelled() or self._running.get(key) is not task or self._awaited[key]:
            return
        # A failure that nobody waits for is no news: the next call finds out for itself.
        if task.exception() is not None or not task.result() or self._late(key, task.result()):
            del self._running[key]

    def _collect(self, keys: Iterable[Key]) -> list[tuple[Key, Found]]:
        found: list[tuple[Key, Found]] = []
        failed: BaseException | None = None
        for key in keys:
            task = self._running.get(key)
            if task is None or not task.done():
                continue
            del self._running[key]
            if task.cancelled():
                continue
            if (error := task.exception()) is not None:
                failed = failed or error
            elif task.result():
                found.append((key, task.result()))
        if failed is not None and not found:
            raise failed
        return found
