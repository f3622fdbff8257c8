"""What all parts of a simulated run share: the clock, the server, the network, and what is written down."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple, cast

from argyll_redis.core.model import JSON, Plan
from argyll_redis.runtime.cache import FlowCache
from argyll_redis.runtime.node import Node
from argyll_redis.scripting import Evaluator
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import Store
from argyll_redis.testing.faults import FaultyStore, Network, OldVersion
from argyll_redis.testing.scenario import Scenario
from argyll_redis.testing.virtual import Process, VirtualLoop

PARTITIONS = 2
EPOCH_MS = 1_700_000_000_000
"""The server's clock when a run begins."""
EVALUATOR = Evaluator()
"""Shared by all runs: it keeps nothing but compiled scripts."""


def _connect(server: MemoryServer) -> MemoryStore:
    return MemoryStore(server=server)


def _as_it_is(store: FaultyStore) -> Store:
    return cast(Store, store)


@dataclass(frozen=True, slots=True)
class Bug:
    """A known bug, planted from outside: the product has no switch for it."""

    name: str
    what: str
    connect: Callable[[MemoryServer], Store] = _connect
    """Makes a connection: what goes wrong within one call."""
    wrap: Callable[[FaultyStore], Store] = _as_it_is
    """Stands before the network: what goes wrong between two calls."""
    patch: Callable[[], AbstractContextManager[object]] = nullcontext
    """Replaces a rule for as long as it is entered."""
    from_seed: int = 0
    """Where a short search begins, for a bug that shows in few seeds."""


NO_BUG = Bug("", "nothing is planted")


class Call(NamedTuple):
    """A step was called."""

    token: str
    attempt: int
    at_ms: int


class Acked(NamedTuple):
    """A completion from outside was answered as counted."""

    flow: str
    token: str
    outputs: dict[str, JSON]
    """By inner name, as they were sent."""


@dataclass(slots=True)
class Journal:
    """What was seen from outside while it happened, to be held against the logs afterwards."""

    calls: dict[str, list[Call]] = field(default_factory=dict[str, list[Call]])
    """By flow."""
    started: set[str] = field(default_factory=set[str])
    """Flows whose start was answered."""
    cancelled: set[str] = field(default_factory=set[str])
    """Flows whose cancel was answered as counted."""
    acked: list[Acked] = field(default_factory=list[Acked])
    doubled: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    """Attempts an entry of which was delivered twice on purpose."""
    withheld: int = 0
    """Entries that were taken back and are not delivered again yet."""
    disturbances: int = 0
    """What befell engines and entries beside the network's faults."""


class Stage:
    """What all parts of one run share."""

    def __init__(self, loop: VirtualLoop, seed: int, scenario: Scenario, bug: Bug) -> None:
        self.loop = loop
        self.scenario = scenario
        self.random = Random(f"run {seed}")
        self.server = MemoryServer(partitions=PARTITIONS, now_ms=self.now_ms)
        self.network = Network(
            Random(f"faults {seed}"), scenario.rates, lease_ms=scenario.lease_ms, note=self.note
        )
        self.journal = Journal()
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.leapt_ms = 0
        """By how much the server's clock has leapt forward."""
        self.is_calm = False
        """Whether faults and all else that disturbs are over."""
        self.is_over = False
        """Whether the run has been judged."""
        self._bug = bug
        self._spread = Random(f"spread {seed}")

    @property
    def is_disturbed(self) -> bool:
        """Whether anything has happened by which an engine may lose what it has begun."""
        has_old_engine = any(engine.unknown for engine in self.scenario.engines)
        return has_old_engine or self.network.disturbances + self.journal.disturbances > 0

    def now_ms(self) -> int:
        """The server's clock."""
        return EPOCH_MS + self.loop.now_ms() + self.leapt_ms

    def note(self, who: str, what: str) -> None:
        """Writes a line of the trace."""
        self.trace.append(f"{self.loop.now_ms():7} {who:6} {what}")

    def object(self, what: str) -> None:
        """Writes down what must not be."""
        self.violations.append(what)
        self.note("!", what)

    def calm(self) -> None:
        """Ends all that disturbs."""
        self.is_calm = self.network.is_calm = True
        self.note("", "calm")

    def node(self, process: Process, unknown: str | None = None) -> Node:
        """Wires the parts of a process; its own clock began at some time of its own."""
        store = FaultyStore(self._bug.connect(self.server), process, self.network)
        began_ms = self.random.randrange(10**6)
        node = Node(
            cast(Store, OldVersion(store, unknown)) if unknown else self._bug.wrap(store),
            process.name,
            monotonic=lambda: began_ms + self.loop.now_ms(),
            spread=lambda limit_ms: self._spread.random() * limit_ms,
            evaluator=EVALUATOR,
        )
        node.committer.cache = FlowCache(self.scenario.cached_flows)
        return node

    def plans(self) -> list[Plan]:
        """The plans of all flows, and of their children."""
        plans = [flow.plan for flow in self.scenario.flows]
        for plan in plans:
            plans.extend(plan.children.values())  # and so theirs, as the list grows
        return plans
