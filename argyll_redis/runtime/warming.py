"""Flows that are not known well enough to be decided on: their logs are read, many in one read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from argyll_redis.core.state import Flow
from argyll_redis.errors import (
    HistoryLost,
    InvariantBroken,
    NamespaceEmptied,
    StoreUnavailable,
    UnknownEvent,
)
from argyll_redis.runtime.expiry import Expiry
from argyll_redis.runtime.logs import Logs
from argyll_redis.runtime.mailbox import Desk, Mailbox
from argyll_redis.runtime.patience import until_answered


class Warming:
    """Reads flows for a committer, and gives their mailboxes back to it."""

    def __init__(self, desk: Desk, logs: Logs, expiry: Expiry, spread: Callable[[float], float]) -> None:
        self._desk = desk
        self._logs = logs
        self._expiry = expiry
        self._spread = spread

    async def warm(self, boxes: Sequence[Mailbox]) -> None:
        """Reads the logs of flows from where the cache has them, all in one read."""
        flows = [self._desk.cache.get(box.flow_id) or Flow(box.flow_id) for box in boxes]
        needs = [box.needs_version for box in boxes]
        try:
            read_bytes = await until_answered(lambda: self._logs.catch_up(flows), self._spread)
        except NamespaceEmptied as error:
            self._desk.stop(error, boxes=boxes)
        except (InvariantBroken, UnknownEvent, HistoryLost):
            for box in boxes:
                await self._warm_alone(box)
        else:
            for flow, box, read_for in zip(flows, boxes, needs, strict=True):
                self._was_read(box, flow, read_for, read_bytes[flow.id])

    async def _warm_alone(self, box: Mailbox) -> None:
        """Reads a flow from its beginning, as one of those that were read with it cannot be read, or is
        not the one that was known: that one is left alone."""
        known = self._desk.cache.get(box.flow_id)
        flow, read_for = Flow(box.flow_id), box.needs_version
        try:
            read_bytes = await self._logs.catch_up([flow])
            if known is not None:
                await self._see_that_it_goes_on(known)
        except (InvariantBroken, UnknownEvent, HistoryLost) as error:
            self._desk.leave_alone(box, error)
        except StoreUnavailable:
            self._desk.make_ready(box)
        else:
            self._was_read(box, flow, read_for, read_bytes[flow.id])

    async def _see_that_it_goes_on(self, known: Flow) -> None:
        """Raises `HistoryLost` when the log is not the one of the flow that was known, unless that one has
        expired and another one has its id."""
        try:
            await self._logs.check(known)
        except HistoryLost:
            if not await self._expiry.has_passed(known):
                raise
            self._desk.cache.drop(known.id)

    def _was_read(self, box: Mailbox, flow: Flow, read_for: int, read_bytes: int) -> None:
        box.flow, box.read_for = flow, read_for
        if flow.version:
            self._desk.remember(flow, read_bytes)
        self._desk.make_ready(box)
