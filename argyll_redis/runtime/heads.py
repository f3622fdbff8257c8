"""Heads of flows: those that are asked for at the same moment are read in one round trip.

A thousand flows that are started together are waited for by a thousand tasks, and each looks once whether
its flow is over already.
"""

from __future__ import annotations

import asyncio

from argyll_redis.errors import CallRefused
from argyll_redis.store.protocol import Head, Store

HEADS_A_READ = 200
"""Heads of one read: less than a ms of the server's time."""


class Heads:
    """Reads heads for whoever asks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked: dict[str, asyncio.Future[Head | None]] = {}
        self._reads: set[asyncio.Task[None]] = set()

    async def read(self, flow_id: str) -> Head | None:
        """The head of a flow as it is now or a moment later; None when there is no such flow. Raises what
        `Store.heads` does."""
        asked = self._asked.get(flow_id)
        if asked is None:
            loop = asyncio.get_running_loop()
            if not self._asked:
                loop.call_soon(self._send)
            asked = self._asked[flow_id] = loop.create_future()
        return await asyncio.shield(asked)

    def _send(self) -> None:
        asked, self._asked = list(self._asked.items()), {}
        for place in range(0, len(asked), HEADS_A_READ):
            task = asyncio.get_running_loop().create_task(self._read(asked[place : place + HEADS_A_READ]))
            self._reads.add(task)
            task.add_done_callback(self._reads.discard)

    async def _read(self, asked: list[tuple[str, asyncio.Future[Head | None]]]) -> None:
        try:
            heads = await self._store.heads([flow_id for flow_id, _ in asked])
        except CallRefused as error:
            if len(asked) > 1:  # what is in the place of one head is no matter of the others
                for each in asked:
                    await self._read([each])
            else:
                _fail(asked, error)
        except BaseException as error:
            _fail(asked, error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), head in zip(asked, heads, strict=True):
                future.set_result(head)


def _fail(asked: list[tuple[str, asyncio.Future[Head | None]]], error: BaseException) -> None:
    for _, future in asked:
        if not future.done():
            future.set_exception(error)
            future.exception()  # whoever asked may be gone by now
