"""The clocks of a cluster's nodes, of which the slowest is shown.

A due time is one of the node that has the partition. Whoever decided by a faster clock would do so before
its time; by a slower one nothing is early, and what is due on a node comes as an entry that this node has
added, which says how late it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from argyll_redis.store.url import Host


class NodeClocks:
    """What is known of each node's clock: how far it is ahead of the event loop's."""

    def __init__(self) -> None:
        self._ahead_ms: dict[Host, float] = {}

    def read(self, node: Host, now_ms: int) -> None:
        """Takes a reading from a reply."""
        self._ahead_ms[node] = now_ms - _loop_ms()

    def shown_ms(self, nodes: Iterable[Host]) -> int:
        """The time by the slowest of these nodes, unix ms; 0 before the first reading."""
        known = [self._ahead_ms[node] for node in nodes if node in self._ahead_ms]
        return int(min(known) + _loop_ms()) if known else 0


def _loop_ms() -> float:
    return asyncio.get_running_loop().time() * 1000
