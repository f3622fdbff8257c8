"""What an engine takes in: its slots, the streams it takes work from, and the reads that wait.

Slots bound what runs at a time. One is reserved before an entry is asked for, and given back when the
call that carries its outcome is sent; what a reservation did not bring is given back at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from argyll_redis.errors import NamespaceEmptied, StoreUnavailable
from argyll_redis.runtime.preference import Place, own_places
from argyll_redis.runtime.work import Hand, InHand
from argyll_redis.store.protocol import CONTROL, EngineInfo, Entry, Fetch, Store, StreamRef, work_stream

log = logging.getLogger(__name__)

BLOCK_MS = 2_000
"""How long a blocked read waits; below every socket timeout."""
ERROR_DELAY_MS = 1_000
"""Longest delay after a read that failed."""
EXTRA_STREAMS = 4
"""Work streams that a commit fetches from beside those it wrote to."""


class Taker(Protocol):
    """Who gets what is taken in."""

    @property
    def may_begin(self) -> bool:
        """Whether work may be begun at all."""
        ...

    @property
    def is_stopped(self) -> bool:
        """Whether nothing may be taken, as the server takes no writes."""
        ...

    def take(self, entry: Entry) -> None:
        """Takes a delivered entry in hand; work takes a slot with it."""
        ...

    def hand_back_unread(self, entry: Entry) -> None:
        """Gives back an entry that was delivered and for which no slot is free."""
        ...


class Intake:
    """Reads entries for one engine, never more work than it has slots."""

    def __init__(
        self,
        info: EngineInfo,
        concurrency: int,
        *,
        store: Store,
        hand: Hand,
        taker: Taker,
        spread: Callable[[float], float],
    ) -> None:
        self._info = info
        self._store = store
        self._hand = hand
        self._taker = taker
        self._spread = spread
        self._free = concurrency
        self._may_go_on = asyncio.Event()
        self._is_closed = False
        self.breaks = 0
        """How often a read failed so far; one always waits, so that no broken connection goes unnoticed."""
        self._readers: Mapping[str, int] = {}
        self._rotation = 0
        self._places: tuple[list[Place], list[Place]] = ([], [])
        """Where it takes work from: what prefers it, and the rest."""
        self.meet(())
        store.on_late(info.id, self.take_or_return)

    # -------------------------------------------------------------------- slots

    @property
    def free_slots(self) -> int:
        return self._free

    def use_slot(self) -> None:
        """Takes a slot for work in hand."""
        self._free -= 1

    def free_slot(self, held: InHand) -> None:
        """Gives back the slot of an entry, once."""
        if held.holds_slot:
            held.holds_slot = False
            self._free += 1
            self._may_go_on.set()

    @property
    def _may_take(self) -> bool:
        return self._free > 0 and self._taker.may_begin

    def reserve(self, partitions: Sequence[int]) -> Fetch | None:
        """Reserves the free slots for a commit to these partitions, for what it has just released
        and a few other streams in rotation."""
        if self._is_closed or not self._may_take:
            return None
        slots, self._free = self._free, 0
        streams = [self._ref(p, queue) for p in partitions for queue in self._info.queues]
        streams += [ref for ref in self._rotated(EXTRA_STREAMS) if ref not in streams]
        return Fetch(self._info.id, slots, streams, control=0)

    def deliver(self, entries: Sequence[Entry], fetch: Fetch) -> None:
        """Takes what a call has fetched and gives back the rest of its reservation."""
        self._free += fetch.slots
        for entry in entries:
            self._taker.take(entry)
        if self._free > 0:
            self._may_go_on.set()

    # ------------------------------------------------------------------ streams

    def meet(self, engines: Sequence[EngineInfo]) -> None:
        """Learns which engines are alive, so that what waits is shared among them."""
        readers: dict[str, int] = {}
        for engine in engines:
            for queue in engine.queues:
                readers[queue] = readers.get(queue, 0) + 1
        self._readers = readers
        partitions = self._store.partitions
        own = own_places(self._info, engines, partitions)
        every = [(partition, queue) for partition in range(partitions) for queue in self._info.queues]
        self._places = ([p for p in every if p in own], [p for p in every if p not in own])

    def _ref(self, partition: int, queue: str) -> StreamRef:
        stream = work_stream(queue)
        readers = max(1, self._readers.get(queue, 1))
        return StreamRef(partition, stream, readers, self._hand.count(partition, stream))

    def _rotated(self, limit: int | None = None) -> list[StreamRef]:
        """Work streams, those that prefer this engine first; in each group another one first each time."""
        self._rotation += limit or 1
        places: list[Place] = []
        for group in self._places:
            start = self._rotation % len(group) if group else 0
            places += group[start:] + group[:start]
        return [self._ref(partition, queue) for partition, queue in places[:limit]]

    # -------------------------------------------------------------------- reads

    async def read_work(self) -> None:
        """Takes work while there are slots: fetches what waits; when nothing does, waits for it.

        The wait names all streams but reserves one slot: it comes back with the first entry that is
        added, and the rare entry too many is handed back.
        """
        while not self._is_closed:
            if not self._may_take:
                await self._wait_a_while()
                continue
            try:
                if not await self._fetch_waiting():
                    await self._wait_for_work()
            except NamespaceEmptied:
                raise
            except StoreUnavailable as error:
                await self._recover("work", error)

    async def _wait_a_while(self) -> None:
        """Waits until there is a slot, or the server takes writes again, or some time has passed."""
        self._may_go_on.clear()
        try:
            async with asyncio.timeout(BLOCK_MS / 1000):
                await self._may_go_on.wait()
        except TimeoutError:
            pass

    async def _fetch_waiting(self) -> bool:
        slots, self._free = self._free, 0
        fetch = Fetch(self._info.id, slots, self._rotated(), control=0)
        entries: Sequence[Entry] = ()
        try:
            entries = await self._store.fetch(fetch)
        finally:
            self.deliver(entries, fetch)
        return bool(entries)

    async def _wait_for_work(self) -> None:
        if self._free <= 0:
            return
        self._free -= 1
        streams = [(ref.partition, ref.stream) for ref in self._rotated()]
        entries: Sequence[Entry] = ()
        try:
            entries = await self._store.block(self._info.id, streams, BLOCK_MS)
        finally:
            self._free += 1
            for entry in entries:
                self.take_or_return(entry)

    def take_or_return(self, entry: Entry) -> None:
        """Takes an entry for which no slot was reserved, or hands it back when none is free."""
        if self._free > 0 or entry.stream == CONTROL or entry in self._hand:
            self._taker.take(entry)
        else:
            self._taker.hand_back_unread(entry)

    async def read_control(self) -> None:
        """Takes what an engine should look at, whatever its queues and slots."""
        streams = [(partition, CONTROL) for partition in range(self._store.partitions)]
        while not self._is_closed:
            if self._taker.is_stopped:
                await self._wait_a_while()
                continue
            try:
                entries = await self._store.block(self._info.id, streams, BLOCK_MS)
            except NamespaceEmptied:
                raise
            except StoreUnavailable as error:
                await self._recover("control", error)
            else:
                for entry in entries:
                    self._taker.take(entry)

    async def _recover(self, what: str, error: StoreUnavailable) -> None:
        self.breaks += 1
        log.warning("reading %s failed: %s", what, error)
        await asyncio.sleep(self._spread(ERROR_DELAY_MS) / 1000)

    def go_on(self) -> None:
        """Looks again whether anything may be taken."""
        self._may_go_on.set()

    def close(self) -> None:
        """Takes nothing new from now on."""
        self._is_closed = True
        self._may_go_on.set()
