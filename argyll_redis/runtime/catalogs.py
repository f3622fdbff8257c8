"""The catalog as this process knows it: folded from its log, caught up before every use.

A start sees every registration that was answered before it was asked: it waits for a read that is
sent after it came. One read serves all that wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from argyll_redis.core.catalog import Catalog, CatalogEvent, apply_all, catalog_event
from argyll_redis.errors import HistoryLost, StoreUnavailable, UnknownEvent
from argyll_redis.runtime.clock import spread_ms
from argyll_redis.store.codec import decode, encode
from argyll_redis.store.protocol import Committed, NewEvent, Store, StoredEvent

LOOK_MS = 1_000
"""How often the catalog is looked at while somebody follows it; one look serves all of them."""
CONFLICT_DELAY_MS = 50
"""Longest delay before a registration that met another one is decided again."""


class CatalogBook:
    """The catalog of a namespace."""

    def __init__(self, store: Store, client_id: str, spread: Callable[[float], float] = spread_ms) -> None:
        self.catalog = Catalog()
        self._last_tx = ""
        self._store = store
        self._client_id = client_id
        self._spread = spread
        self._transactions = 0
        self._reading = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        self._look: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        """Set, and replaced, when the catalog goes on."""

    async def refresh(self) -> Catalog:
        """The catalog with everything that was answered before this call."""
        if self._next is None or self._next.done():
            self._next = asyncio.get_running_loop().create_task(self._read_once())
        await asyncio.shield(self._next)
        return self.catalog

    async def _read_once(self) -> None:
        async with self._reading:
            self._next = None  # whoever comes now waits for another read
            self._fold(await self._store.catalog(self.catalog.version))

    async def wait(self, version: int) -> None:
        """Waits until the catalog is beyond a version. Raises `StoreUnavailable`."""
        while self.catalog.version <= version:
            if self._look is None or self._look.done():
                self._look = asyncio.get_running_loop().create_task(self._look_later())
            await asyncio.shield(self._look)

    async def _look_later(self) -> None:
        await asyncio.sleep(LOOK_MS / 1000)
        await self.refresh()

    async def changed(self, version: int) -> None:
        """Waits until this process knows of the catalog beyond a version; looks for nothing itself."""
        while self.catalog.version <= version:
            await self._changed.wait()

    async def close(self) -> None:
        """Looks no more."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)

    def _fold(self, stored: Sequence[StoredEvent]) -> None:
        if not stored:
            return
        if stored[0].version != self.catalog.version + 1:
            raise HistoryLost(
                f"the catalog goes on at version {stored[0].version}, not {self.catalog.version + 1}"
            )
        try:
            events = [(catalog_event(each.type, decode(each.data)), each.at) for each in stored]
            self.catalog = apply_all(self.catalog, events)
        except UnknownEvent:
            raise
        except Exception as error:  # a log may hold anything
            what = f"the catalog holds after version {self.catalog.version} what nobody can make sense of"
            raise HistoryLost(f"{what} ({error!r:.500})") from error
        self._last_tx = stored[-1].tx
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(
        self, by: str, decide: Callable[[Catalog], Sequence[CatalogEvent]]
    ) -> Sequence[CatalogEvent]:
        """Decides on the newest catalog and appends, as one transaction; again when others came
        first. Gives the events; none appends nothing."""
        self._transactions += 1
        tx = f"{self._client_id}.c{self._transactions}"
        while True:
            await self.refresh()
            before = self.catalog
            events = decide(before)
            if not events:
                return events
            new = [NewEvent(event.type, 0, by, encode(event.data())) for event in events]
            try:
                reply = await self._store.append_catalog(before.version, self._last_tx, tx, new)
                is_appended = isinstance(reply, Committed)
            except StoreUnavailable:
                if not await self._has(before.version, tx):
                    raise
                is_appended = True
            if is_appended:
                await self.refresh()  # whoever asked goes on with the catalog that has them
                return events
            await asyncio.sleep(self._spread(CONFLICT_DELAY_MS) / 1000)

    async def _has(self, after: int, tx: str) -> bool:
        """Whether a transaction whose reply was lost is in the log."""
        return any(event.tx == tx for event in await self._store.catalog(after))
