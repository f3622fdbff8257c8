"""W6: how much more several engines do than one, when steps wait for somebody else.

Two numbers of slots: few, so that an engine waits most of its time and a second one must give as much
again; and the default, so that processors are the limit and the figure says what they allow.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.crew import Crew
from bench.options import Options
from bench.rows import Figures, Probe
from bench.server import Servers
from bench.worker import Role
from bench.workloads import WAIT_MS, workload_of

FLOWS_A_SLOT = 40
"""Started at once: enough that the beginning and the end of a run are a small part of it."""
MAX_FLOWS = 1_000
WARM_UP_FLOWS = 20
WAITING = workload_of("waiting")


def probes(servers: Servers, options: Options) -> Iterable[Probe]:
    """One for each number of engines and of slots."""
    for slots in options.scale_slots:
        for engines in options.engine_counts:
            flows = options.flows or min(MAX_FLOWS, FLOWS_A_SLOT * slots * engines)
            about = {
                "workload": "W6",
                "layout": f"{slots} slots an engine",
                "engines": engines,
                "flows": flows,
                "note": f"a chain of 5 steps that wait {WAIT_MS} ms each",
                **servers.about(),
            }
            scale = Scale(servers, engines=engines, slots=slots, flows=flows)
            yield Probe(about, scale.run)


class Scale:
    """So many engines."""

    def __init__(self, servers: Servers, *, engines: int, slots: int, flows: int) -> None:
        self._servers = servers
        self._roles = (*[Role.ENGINE] * engines, Role.CLIENT)
        self._slots = slots
        self._flows = flows

    def run(self) -> Figures:
        flows = self._flows
        with (
            self._servers.fresh() as server,
            Crew(WAITING, self._roles, server.url, server.namespace, concurrency=self._slots) as crew,
        ):
            crew.ask_client(do="burst", flows=WARM_UP_FLOWS)
            before, cpu_s = crew.counters(), crew.cpu_s()
            seconds = crew.ask_client(do="burst", flows=flows)["seconds"]
            after, cpu_after_s = crew.counters(), crew.cpu_s()
        commits = after["commits"] - before["commits"]
        return {
            "seconds": seconds,
            "flows_per_s": flows / seconds,
            "steps_per_s": flows * WAITING.steps / seconds,
            "commits_per_flow": commits / flows,
            "conflicts_per_commit": (after["refusals"] - before["refusals"]) / commits,
            "engine_cpu_ms_per_flow": (sum(cpu_after_s[:-1]) - sum(cpu_s[:-1])) * 1000 / flows,
            "client_cpu_ms_per_flow": (cpu_after_s[-1] - cpu_s[-1]) * 1000 / flows,
        }
