"""What all parts of a simulated run share: the clock, the server, the network, and what is written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from argyll_redis.core.model import JSON, Plan
from argyll_redis.runtime.cache import FlowCache
from argyll_redis.runtime.logs import PlanBook, hash_of
from argyll_redis.runtime.node import Node
from argyll_redis.scripting import Evaluator
from argyll_redis.steps.job import Job
from argyll_redis.store.codec import decode
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import Store, partition_of
from argyll_redis.testing.fates import Fates
from argyll_redis.testing.faults import FaultyStore, Network, OldVersion
from argyll_redis.testing.scenario import Scenario
from argyll_redis.testing.virtual import Process, VirtualLoop

PARTITIONS = 2
EPOCH_MS = 1_700_000_000_000
"""The server's clock when a run begins."""
SKEW_MS = 3_600_000
"""How far the clocks of two processes may be apart."""
DRIFT = 50e-6
"""By how much the clock of a process may be too fast or too slow: what the quartz of a machine has."""
EVALUATOR = Evaluator()
"""Shared by all runs: it keeps nothing but compiled scripts."""


def _connect(server: MemoryServer) -> MemoryStore:
    return MemoryStore(server=server)


def _as_it_is(store: FaultyStore) -> Store:
    return cast(Store, store)


class _SharedPlans(PlanBook):
    """The plans of one process, or of who looks on. What one has parsed, another one need not parse once
    more."""

    def __init__(self, parsed: dict[str, Plan]) -> None:
        super().__init__()
        self._parsed = parsed

    def parse(self, hash: str, stored: bytes) -> Plan:
        plan = self._parsed.get(hash)
        if plan is None or hash_of(stored) != hash:
            plan = self._parsed[hash] = super().parse(hash, stored)
        self._keep(plan, stored)
        return plan


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
    born_ms: int = 0
    """When the process began that called it."""


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
    promised: set[str] = field(default_factory=set[str])
    """Those of them whose log must be there."""
    cancelled: set[str] = field(default_factory=set[str])
    """Flows whose cancel was answered as counted."""
    acked: list[Acked] = field(default_factory=list[Acked])
    doubled: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    """Attempts an entry of which was delivered twice on purpose."""
    withheld: int = 0
    """Entries that were taken back and are not delivered again yet."""
    disturbances: int = 0
    """What befell engines and entries beside the network's faults."""
    failed_over_ms: int = -1
    """When the server lost what it had taken in lately, by the loop's clock; -1: it never did."""
    emptied_ms: int = -1
    """When the server was emptied; -1: it never was."""
    must_stop: list[Process] = field(default_factory=list[Process])
    """Engines that were at work when the server was emptied."""
    begun_while_full: Counter[str] = field(default_factory=Counter[str])
    """Calls that an engine began while the server refused to write, by process; of the last such time."""

    def fail_over(self, now_ms: int) -> None:
        """Takes back what was promised before: the server may have lost it."""
        self.failed_over_ms = now_ms
        self.disturbances += 1
        self.promised.clear()
        self.cancelled.clear()
        self.acked.clear()

    def keeps(self, asked_ms: int) -> bool:
        """Whether the server has lost nothing since something was asked."""
        return asked_ms > self.failed_over_ms

    @property
    def has_failed_over(self) -> bool:
        return self.failed_over_ms >= 0


class Stage:
    """What all parts of one run share."""

    def __init__(self, loop: VirtualLoop, scenario: Scenario, bug: Bug, fates: Fates) -> None:
        self.loop = loop
        self.scenario = scenario
        self.fates = fates
        self.random = fates.draw("run")
        """For what no name of its own is worth."""
        self.server = MemoryServer(partitions=PARTITIONS, now_ms=self.now_ms)
        self.network = Network(fates, scenario.rates, lease_ms=scenario.lease_ms, note=self.note)
        self.journal = Journal()
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.ready: list[Process] = []
        """Those of the engines that have begun to work, dead ones as well."""
        self.leapt_ms = 0
        """By how much the server's clock has leapt forward."""
        self.is_calm = False
        """Whether faults and all else that disturbs are over."""
        self.is_over = False
        """Whether the run has been judged."""
        self._plans: dict[str, Plan] = {}
        self._bug = bug

    @property
    def is_disturbed(self) -> bool:
        """Whether anything has happened by which an engine may lose what it has begun."""
        has_old_engine = any(engine.unknown for engine in self.scenario.engines)
        return has_old_engine or self.network.disturbances + self.journal.disturbances > 0

    def now_ms(self) -> int:
        """The server's clock."""
        return EPOCH_MS + self.loop.now_ms() + self.leapt_ms

    def lost_ms(self, job: Job) -> int:
        """When the attempt after one was released because that one was lost, by the server's clock; 0 for
        one that was not."""
        home = self.server.namespace.partitions[partition_of(job.flow_id, PARTITIONS)]
        log = home.logs.get(job.flow_id)
        for event in log.events if log is not None else ():
            if event.type == "work_started" and job.token.encode() in event.data:
                data: Any = decode(event.data)
                if (data["token"], data["attempt"]) == (job.token, job.attempt + 1) and data[
                    "reason"
                ] == "lost":
                    return event.at
        return 0

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
        """Wires the parts of a process. It has a clock of its own."""
        store = FaultyStore(self._bug.connect(self.server), process, self.network)
        draw = self.fates.draw(f"spread {process.name}")
        seen = cast(FaultyStore, OldVersion(store, unknown)) if unknown else store
        node = Node(
            self._bug.wrap(seen),
            process.name,
            monotonic=self._clock_of(process),
            spread=lambda limit_ms: draw.random() * limit_ms,
            evaluator=EVALUATOR,
        )
        node.logs.plans = self.plan_book()
        node.committer.cache = FlowCache(self.scenario.cached_flows)
        return node

    def plan_book(self) -> PlanBook:
        """A book of plans for somebody of this run."""
        return _SharedPlans(self._plans)

    def _clock_of(self, process: Process) -> Callable[[], int]:
        """The clock of a process's machine: up to an hour ahead of others, and, where clocks drift, never
        quite as fast as any other."""
        draw = self.fates.draw(f"clock {process.name}")
        off_ms = draw.randint(0, SKEW_MS)
        drift = draw.uniform(-DRIFT, DRIFT) if self.scenario.clocks_drift else 0.0
        loop = self.loop
        return lambda: off_ms + round(loop.now_ms() * (1 + drift))

    def plans(self) -> list[Plan]:
        """The plans of all flows, and of their children."""
        plans = [flow.plan for flow in self.scenario.flows]
        for plan in plans:
            plans.extend(plan.children.values())  # and so theirs, as the list grows
        return plans
