"""Following more than one flow: the events of all of them, and those of the catalog, as they come."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from argyll_redis.core.events import Recorded
from argyll_redis.core.model import JSON
from argyll_redis.core.state import Flow
from argyll_redis.errors import HistoryLost, NamespaceEmptied, StoreUnavailable
from argyll_redis.runtime.clock import spread_ms
from argyll_redis.runtime.follower import Overview
from argyll_redis.views import show_events

if TYPE_CHECKING:
    from argyll_redis.runtime.node import Node

log = logging.getLogger(__name__)

FLOWS = 256
"""Folded flows that somebody who follows all of them keeps at a time."""
TOLD = 10_000
"""Flows of which is known what was told already."""
ERROR_DELAY_MS = 1_000
"""Longest delay before a look that failed is made again."""

FlowEvent = tuple[str, dict[str, JSON]]
"""A flow's id, and an event as `FlowHandle.events` gives it."""


class Watching:
    """What can be followed beside single flows; mixed into `Argyll`."""

    if TYPE_CHECKING:

        async def node(self) -> Node: ...

        async def catalog_events(self, *, after: int = 0) -> list[dict[str, JSON]]: ...

    @asynccontextmanager
    async def all_events(self) -> AsyncGenerator[AsyncGenerator[FlowEvent, None], None]:
        """Gives the events of every flow, children included, from now on: enter it, then iterate.

        Raises `EventsMissed` when the events came faster than they were taken.
        """
        node = await self.node()
        async with node.follower.overview() as overview:
            events = _everything(node, overview)
            try:
                yield events
            finally:
                await events.aclose()

    async def follow_catalog(self, after: int) -> AsyncGenerator[dict[str, JSON], None]:
        """Gives the catalog's events after a version, and goes on as they come, at most about a second
        later."""
        node = await self.node()
        while True:
            try:
                await node.catalog.wait(after)
                events = await self.catalog_events(after=after)
            except (NamespaceEmptied, HistoryLost):
                raise
            except StoreUnavailable as error:
                log.warning("a look at the catalog is tried again: %s", error)
                await asyncio.sleep(spread_ms(ERROR_DELAY_MS) / 1000)
                continue
            for event in events:
                yield event
                after += 1


async def _everything(node: Node, overview: Overview) -> AsyncGenerator[FlowEvent, None]:
    flows: OrderedDict[str, Flow] = OrderedDict()
    told: OrderedDict[str, int] = OrderedDict()
    while True:
        for flow_id, first in (await overview.news()).items():
            flow = flows.pop(flow_id, None) or Flow(flow_id)
            # What was read already may be heard of once more, as hints come later than what they are about.
            first = max(first, told.pop(flow_id, 0) + 1)
            while page := await _page(node, flow):
                for shape in show_events(flow, page):
                    if flow.version + 1 >= first:
                        yield flow_id, shape
            told[flow_id] = flow.version
            if not flow.is_deactivated:
                flows[flow_id] = flow
            _forget(flows, FLOWS)
            _forget(told, TOLD)


def _forget(kept: OrderedDict[str, Any], most: int) -> None:
    """Drops what was not used for longest."""
    while len(kept) > most:
        kept.popitem(last=False)


async def _page(node: Node, flow: Flow) -> list[Recorded]:
    """More events of a flow; asked for again while the server is away."""
    while True:
        try:
            return await node.logs.events(flow.id, flow.version)
        except (NamespaceEmptied, HistoryLost):
            raise
        except StoreUnavailable as error:
            log.warning("a look at flow %s is tried again: %s", flow.id, error)
            await asyncio.sleep(spread_ms(ERROR_DELAY_MS) / 1000)
