"""The flows that this process knows: a cache of folds, never the truth.

When it is full the longest unused flow goes, closed ones before all. Dropping a flow is always safe:
whoever needs it reads its log again.
"""

from __future__ import annotations

from collections import OrderedDict

from argyll_redis.core.state import Flow

CACHED_FLOWS = 10_000
"""Flows kept at a time; about 10 KB each for a short chain."""
CACHED_BYTES = 64 * 1024 * 1024
"""Bytes of their logs; as values in memory they take about twice as much."""


class FlowCache:
    """Flows by id, each with how many bytes of its log are known to be in it."""

    def __init__(self, limit: int = CACHED_FLOWS, limit_bytes: int = CACHED_BYTES) -> None:
        self._flows: OrderedDict[str, tuple[Flow, int]] = OrderedDict()
        self._bytes = 0
        self._limit = limit
        self._limit_bytes = limit_bytes

    def __len__(self) -> int:
        return len(self._flows)

    def get(self, flow_id: str) -> Flow | None:
        found = self._flows.get(flow_id)
        if found is None:
            return None
        self._flows.move_to_end(flow_id)
        return found[0]

    def flows(self) -> list[Flow]:
        """All of them; none counts as used for that."""
        return [flow for flow, _ in self._flows.values()]

    def put(self, flow: Flow, added_bytes: int = 0) -> None:
        """Keeps a flow at its newest version, `added_bytes` of log further than before. One that is
        deactivated is the first to go; the one just put stays, however large."""
        _, before = self._flows.pop(flow.id, (flow, 0))
        self._flows[flow.id] = (flow, before + added_bytes)
        self._bytes += added_bytes
        while len(self._flows) > max(1, self._limit) or (
            self._bytes > self._limit_bytes and len(self._flows) > 1
        ):
            self._drop_first()
        if flow.is_deactivated:
            self._flows.move_to_end(flow.id, last=False)

    def _drop_first(self) -> None:
        _, (_, weight) = self._flows.popitem(last=False)
        self._bytes -= weight

    def drop(self, flow_id: str) -> None:
        _, weight = self._flows.pop(flow_id, (None, 0))
        self._bytes -= weight
