"""Leases, renewed from a thread of its own with its own connection.

A busy event loop must not make a dead engine of a live one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence

from argyll_redis.errors import (
    NamespaceEmptied,
    StoreUnavailable,
)
from argyll_redis.runtime.clock import ServerClock
from argyll_redis.runtime.engine import Engine
from argyll_redis.store.protocol import CONTROL, Lease, RenewReply, Store, work_stream

log = logging.getLogger(__name__)

RENEWALS_A_LEASE = 4


class Renewer:
    """Renews an engine's leases, from a thread of its own with its own connection, so that a busy
    loop does not make a dead engine of a live one."""

    def __init__(self, engine: Engine, store: Store, clock: ServerClock) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock
        self._every_s = engine.config.lease_ms / RENEWALS_A_LEASE / 1000
        self.streams = [
            (partition, name)
            for partition in range(store.partitions)
            for name in (CONTROL, *(work_stream(queue) for queue in engine.config.queues))
        ]
        self._stopped = threading.Event()
        self._ended = asyncio.Event()
        self._failed: Exception | None = None
        self._refused = ""
        """Why the last renewal failed; empty when it went well."""

    async def run(self) -> None:
        """Renews until cancelled."""
        if not self._engine.config.renew_in_thread:
            while True:
                self._renew_once(lambda apply, *given: apply(*given))
                await asyncio.sleep(self._every_s)
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._loop, args=(loop,), name="argyll-renewer", daemon=True)
        thread.start()
        try:
            await self._ended.wait()
        finally:
            self._stopped.set()
        if self._failed is not None:
            raise self._failed

    def _loop(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stopped.is_set():
            try:
                self._renew_once(loop.call_soon_threadsafe)
            except Exception as error:
                self._failed = error
                if not loop.is_closed():
                    loop.call_soon_threadsafe(self._ended.set)
                return
            self._stopped.wait(self._every_s)

    def _renew_once(self, deliver: Callable[..., object]) -> None:
        asked_ms = self._clock.monotonic_ms()
        leases: Sequence[Lease] = self._engine.hand.leases()
        try:
            reply: RenewReply = self._store.renew(
                self._engine.config.id, leases, self.streams, known=self._engine.let_go()
            )
        except NamespaceEmptied:
            raise
        except StoreUnavailable as error:
            if str(error) != self._refused:
                log.warning("leases are not renewed: %s", error)
            self._refused = str(error)
            return
        self._refused = ""
        deliver(self._engine.renewed, reply, asked_ms)
