"""One module for each kind of question; each gives the probes that answer it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bench.measures import growth, hot, idle, recovery, scale, throughput
from bench.options import Options
from bench.rows import Probe
from bench.server import Servers
from bench.workloads import WORKLOADS


@dataclass(frozen=True, slots=True)
class Measure:
    """What a name on the command line stands for."""

    name: str
    work: str
    probes: Callable[[Servers, Options], Iterable[Probe]]
    needs_server: bool = True
    """Whether it says nothing without one."""


def _throughput(name: str) -> Measure:
    workload = WORKLOADS[name]
    return Measure(
        name,
        workload.work,
        lambda servers, options: throughput.probes(workload, servers, options),
        needs_server=False,
    )


_ALL = (
    *map(_throughput, WORKLOADS),
    Measure("W5", "a hot flow: 10,000 items, or 1,000 completions from outside, over 4 engines", hot.probes),
    Measure("W6", "1, 2 and 4 engines, steps that wait 5 ms", scale.probes),
    Measure("W7", "an engine killed: how long until its items run again", recovery.probes),
    Measure("W8", "an idle engine, 10,000 finished flows", idle.probes),
    Measure("W9", "cost as it grows: flows kept, items of a flow, steps of a plan", growth.probes),
)

MEASURES: Mapping[str, Measure] = {measure.name: measure for measure in _ALL}
