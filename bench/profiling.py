"""Where the processor time of an engine goes: runs that count for nothing else, in one process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.crew import Crew
from bench.measures.throughput import LOOKED_AT_FLOWS
from bench.options import Options
from bench.server import Servers
from bench.worker import Role
from bench.workloads import Workload


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the time of the runs went, all of them together."""

    workload: Workload
    flows: int
    turns: float
    seconds: float
    cpu_s: float
    gc_s: float
    looks: dict[str, int]


def profile(workload: Workload, servers: Servers, options: Options, *, runs: int) -> Profile:
    """Runs a workload in one process and looks where its time goes."""
    flows = options.flows or workload.flows
    found: list[dict[str, Any]] = []
    commits = 0.0
    for number in range(1, runs + 1):
        options.tell(f"{workload.name} profile {number} of {runs}")
        with (
            servers.fresh() as server,
            Crew(workload, (Role.BOTH,), server.url, server.namespace) as crew,
        ):
            found.append(crew.ask_client(do="profile", flows=flows))
            looked = crew.ask_client(do="look", flows=min(LOOKED_AT_FLOWS, flows))
            commits += looked["commits"] * flows
    parts = {part for each in found for part in each["looks"]}
    return Profile(
        workload=workload,
        flows=flows * runs,
        turns=commits,
        seconds=sum(each["seconds"] for each in found),
        cpu_s=sum(each["cpu_s"] for each in found),
        gc_s=sum(each["gc_s"] for each in found),
        looks={part: sum(each["looks"].get(part, 0) for each in found) for part in parts},
    )
