"""Whether anything is left to happen, and when: so that a day of waiting costs no more than a second.

Engines that have nothing to do look at the server all the time. When nobody has anything in hand, all
that can happen is what is due and what others than engines wait for; the clock jumps to a little
before that, as if everything had slept.
"""

from __future__ import annotations

from collections.abc import Iterator

from argyll_redis.runtime.node import Node
from argyll_redis.store.memory_types import DispatchStream
from argyll_redis.testing.crew import Crew
from argyll_redis.testing.functions import Callers
from argyll_redis.testing.stage import EPOCH_MS, Stage
from argyll_redis.testing.virtual import MS, NothingToDo

AWAKE_MS = 8_000
"""How long before something happens the clock runs as usual, a lease at least: engines renew theirs, and
announce themselves."""
LOOK_MS = 2_000
"""How often it is looked at whether everything is idle."""
PATIENCE = 3
"""Looks in a row at which nothing is left to happen before that is an error."""


class Idleness:
    """Looks whether engines, callers and the server are idle."""

    def __init__(self, stage: Stage, crew: Crew, outside: Callers) -> None:
        self.nodes: list[Node] = []
        """Further nodes through which something may be on its way."""
        self._stage = stage
        self._crew = crew
        self._outside = outside
        self._looked_s = 0.0
        self._in_vain = 0

    @property
    def is_idle(self) -> bool:
        """Whether nobody has anything in hand, or on its way, or waiting in a queue."""
        return (
            self._crew.is_idle
            and all(node.committer.is_idle for node in self.nodes)
            and not any(map(len, self._streams()))
        )

    @property
    def is_for_ever(self) -> bool:
        """Whether nothing will happen any more unless somebody outside does something."""
        return self.is_idle and self._outside.brings_nothing and self._due_s() is None

    def _streams(self) -> Iterator[DispatchStream]:
        return (
            stream
            for partition in self._stage.server.namespace.partitions
            for stream in partition.streams.values()
        )

    def _due_s(self) -> float | None:
        """When the next entry is due, by the loop's clock."""
        partitions = self._stage.server.namespace.partitions
        scores = [partition.due.first_score for partition in partitions if len(partition.due)]
        first = min((score for score in scores if score is not None), default=None)
        return None if first is None else (first - EPOCH_MS - self._stage.leapt_ms) / MS

    def skip_to_s(self, own_s: float | None) -> float | None:
        """Where the clock may jump to, given when the next timer rings that is no engine's; None: nowhere.

        Raises `NothingToDo` when nothing is left to happen and somebody waits all the same.
        """
        loop = self._stage.loop
        if loop.time() < self._looked_s:
            return None
        self._looked_s = loop.time() + LOOK_MS / MS
        if not self.is_idle:
            self._in_vain = 0
            return None
        times = [each for each in (own_s, self._due_s()) if each is not None]
        if not times:
            self._in_vain += 1
            if self._in_vain >= PATIENCE:
                raise NothingToDo(loop.now_ms())
            return None
        self._in_vain = 0
        return min(times) - max(AWAKE_MS, self._stage.scenario.lease_ms) / MS
