"""W9: what an event costs when there is more and more of something: flows kept, items of a flow, steps of
a plan. It ought to be the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from bench.crew import Crew
from bench.options import Options
from bench.rows import Figures, Probe
from bench.server import Servers
from bench.worker import Role
from bench.workloads import ITEMS, WORKLOADS, workload_of

BURST_FLOWS = 2_000
"""Started at once, until there are as many as shall be kept."""
WARM_UP_FLOWS = 20
LOOKED_AT_FLOWS = 20
PLANS = 20
"""Asked for in a run; the first is the slowest, the middle one counts."""
ONCE = 30_000
"""More flows than this are kept in the first round alone: they take minutes."""


def probes(servers: Servers, options: Options) -> Iterator[Probe]:
    """The three series."""
    about = {"workload": "W9", **servers.about()}
    kept = Kept(servers, options)
    for size in sorted(options.kept):
        named = {**about, "layout": "W1, flows kept", "size": size, "flows": options.kept_step}
        yield Probe(named, lambda size=size: kept.run(size))
    most = max(options.item_counts, default=0)
    for size in options.item_counts:
        flows = max(1, most // size)
        named = {**about, "layout": "items of a flow", "size": size, "flows": flows}
        yield Probe(named, lambda size=size, flows=flows: _items(servers, size=size, flows=flows))
    for size in options.plan_sizes:
        named = {**about, "layout": "steps of a plan", "size": size, "flows": 0}
        yield Probe(named, lambda size=size: _plan(servers, size))


class Kept:
    """Flows that stay: each size goes on where the one before has stopped, on the same server."""

    def __init__(self, servers: Servers, options: Options) -> None:
        self._servers = servers
        self._step = options.kept_step
        self._sizes = sorted(options.kept)
        self._bench = options.open
        self._open: ExitStack | None = None
        self._kept = 0
        self._rounds = 0

    def run(self, size: int) -> Figures:
        if size == self._sizes[0]:
            self._begin()
        figures: Figures = {}
        if self._rounds == 1 or size <= ONCE:
            self._fill(size)
            figures = _burst(self._crew, flows=self._step)
            self._kept += self._step
        if size == self._sizes[-1] and self._open is not None:
            self._open.close()
        return figures

    def _begin(self) -> None:
        self._rounds += 1
        self._kept = WARM_UP_FLOWS
        self._open = self._bench.enter_context(ExitStack())
        server = self._open.enter_context(self._servers.fresh())
        crew = Crew(WORKLOADS["W1"], (Role.BOTH,), server.url, server.namespace)
        self._crew = self._open.enter_context(crew)
        self._crew.ask_client(do="burst", flows=WARM_UP_FLOWS)

    def _fill(self, size: int) -> None:
        while self._kept < size:
            flows = min(BURST_FLOWS, size - self._kept)
            self._crew.ask_client(do="burst", flows=flows)
            self._kept += flows


def _items(servers: Servers, *, size: int, flows: int) -> Figures:
    workload = workload_of(f"items:{size}:{min(size, ITEMS)}")
    with servers.fresh() as server, Crew(workload, (Role.BOTH,), server.url, server.namespace) as crew:
        crew.ask_client(do="burst", flows=1)
        figures = _burst(crew, flows=flows)
    return {**figures, "items_per_s": size * flows / (figures["seconds"] or 1)}


def _burst(crew: Crew, *, flows: int) -> Figures:
    """What flows cost, by the event."""
    [cpu_s] = crew.cpu_s()
    seconds = crew.ask_client(do="burst", flows=flows)["seconds"]
    [cpu_after_s] = crew.cpu_s()
    looked = crew.ask_client(do="look", flows=min(flows, LOOKED_AT_FLOWS))
    events = looked["events"] * flows
    return {
        "seconds": seconds,
        "flows_per_s": flows / seconds,
        "us_per_event": seconds * 1e6 / events,
        "events_per_flow": looked["events"],
        "commits_per_flow": looked["commits"],
        "engine_cpu_ms_per_flow": (cpu_after_s - cpu_s) * 1000 / flows,
    }


def _plan(servers: Servers, size: int) -> Figures:
    workload = workload_of(f"layers:{size}")
    with servers.fresh() as server, Crew(workload, (Role.CLIENT,), server.url, server.namespace) as crew:
        times_ms = crew.ask_client(do="plan", times=PLANS)["times_ms"]
    return {"plan_ms": sorted(times_ms)[len(times_ms) // 2]}
