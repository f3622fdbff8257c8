"""W8: what an engine costs that has nothing to do."""

from __future__ import annotations

import time
from collections.abc import Iterable

from bench.crew import Crew
from bench.options import Options
from bench.rows import Figures, Probe
from bench.server import Server, Servers
from bench.worker import Role
from bench.workloads import WORKLOADS

BURST_FLOWS = 2_000
"""Started at once, until there are as many as shall be kept."""
SETTLE_S = 3.0
"""Before the clock starts: what follows the last flow is over by then."""
OWN_TRIPS = 1
"""Of the bench itself: the question how many there were."""


def probes(servers: Servers, options: Options) -> Iterable[Probe]:
    """One."""
    about = {
        "workload": "W8",
        "layout": "one engine",
        "flows": options.idle_flows,
        "note": f"over {options.idle_s:g} s",
        **servers.about(),
    }
    return [Probe(about, Idle(servers, options).run)]


class Idle:
    """An engine, and flows that are over."""

    def __init__(self, servers: Servers, options: Options) -> None:
        self._servers = servers
        self._options = options

    def run(self) -> Figures:
        with self._servers.fresh() as server:
            assert isinstance(server, Server)
            # The engine that is measured is a new one; the one that ran the flows is gone.
            with Crew(WORKLOADS["W0"], (Role.BOTH,), server.url, server.namespace) as crew:
                self._fill(crew)
            with Crew(WORKLOADS["W0"], (Role.ENGINE,), server.url, server.namespace) as crew:
                time.sleep(SETTLE_S)
                return self._idle(server, crew)

    def _fill(self, crew: Crew) -> None:
        left = self._options.idle_flows
        while left > 0:
            crew.ask_client(do="burst", flows=min(BURST_FLOWS, left))
            left -= BURST_FLOWS

    def _idle(self, server: Server, crew: Crew) -> Figures:
        [cpu_s], spent, trips, began_s = crew.cpu_s(), server.spent(), server.round_trips(), time.monotonic()
        time.sleep(self._options.idle_s)
        seconds, trips_after = time.monotonic() - began_s, server.round_trips()
        [cpu_after_s], added = crew.cpu_s(), server.spent() - spent
        return {
            "engine_cpu_percent": (cpu_after_s - cpu_s) * 100 / seconds,
            "server_cpu_percent": added.cpu_s * 100 / seconds,
            "commands_per_s": added.commands / seconds,
            "round_trips_per_s": (trips_after - trips - OWN_TRIPS) / seconds,
        }
