"""The flows that this process knows: a cache of folds, never the truth.

When it is full the longest unused flow goes, closed ones before all. Dropping a flow is always safe:
whoever needs it reads its log again.
"""

from __future__ import annotations

from collections import OrderedDict

from argyll_redis.core.state import Flow

CACHED_FLOWS = 10_000
"""Flows kept at a time; about 10 KB each for a short chain."""


class FlowCache:
    """Flows by id."""

    def __init__(self, limit: int = CACHED_FLOWS) -> None:
        self._flows: OrderedDict[str, Flow] = OrderedDict()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._flows)

    def get(self, flow_id: str) -> Flow | None:
        flow = self._flows.get(flow_id)
        if flow is not None:
            self._flows.move_to_end(flow_id)
        return flow

    def put(self, flow: Flow) -> None:
        """Keeps a flow at its newest version. One that is deactivated is the first to go."""
        self._flows[flow.id] = flow
        self._flows.move_to_end(flow.id, last=not flow.is_deactivated)
        while len(self._flows) > self._limit:
            self._flows.popitem(last=False)

    def drop(self, flow_id: str) -> None:
        self._flows.pop(flow_id, None)
