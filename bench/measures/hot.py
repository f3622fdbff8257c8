"""W5: one flow that everybody works on, so that its log is what they meet at.

Its items are spread over several engines; or their outcomes come from outside, into all engine processes
at once, as webhooks do. Conflicts are turns that were refused because another process had gone on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.crew import Crew
from bench.measures.throughput import of_longest, of_server
from bench.options import Options
from bench.rows import Figures, Probe, percentile
from bench.server import Place, Servers
from bench.tasks import WrongResult
from bench.worker import Role
from bench.workloads import Workload, workload_of


def probes(servers: Servers, options: Options) -> Iterable[Probe]:
    """One for items that engines run, one for items that are completed from outside."""
    engines = max(options.engine_counts)
    items = workload_of(f"items:{options.hot_items}:{options.hot_parallelism}")
    outside = workload_of(f"outside:{options.hot_completions}")
    about = {"workload": "W5", "engines": engines, "flows": 1, **servers.about()}
    for layout, workload, run in (("items", items, _items), ("completions", outside, _completions)):
        hot = Hot(servers, workload, engines)
        yield Probe(
            {**about, "layout": layout, "size": workload.items}, lambda hot=hot, run=run: hot.run(run)
        )


class Hot:
    """A hot flow of one shape."""

    def __init__(self, servers: Servers, workload: Workload, engines: int) -> None:
        self.workload = workload
        self._servers = servers
        self._roles = (*[Role.ENGINE] * engines, Role.CLIENT)

    def run(self, work: Any) -> Figures:
        with (
            self._servers.fresh() as server,
            Crew(self.workload, self._roles, server.url, server.namespace) as crew,
        ):
            return self._measured(server, crew, work)

    def _measured(self, server: Place, crew: Crew, work: Any) -> dict[str, float | None]:
        held = server.held()
        with server.noting_slow_calls() as longest:
            before, spent, cpu_s = crew.counters(), server.spent(), crew.cpu_s()
            seconds, times_ms = work(self.workload, crew)
            after, spent_after, cpu_after_s = crew.counters(), server.spent(), crew.cpu_s()
        commits = after["commits"] - before["commits"]
        items = self.workload.items or 0
        figures: dict[str, float | None] = {
            "seconds": seconds,
            "items_per_s": items / seconds,
            "commits_per_s": commits / seconds,
            "p50_ms": percentile(times_ms, 50),
            "p99_ms": percentile(times_ms, 99),
            "commits_per_flow": commits,
            "conflicts_per_commit": (after["refusals"] - before["refusals"]) / commits,
            "engine_cpu_ms_per_flow": (sum(cpu_after_s[:-1]) - sum(cpu_s[:-1])) * 1000,
            "client_cpu_ms_per_flow": (cpu_after_s[-1] - cpu_s[-1]) * 1000,
        }
        if spent and spent_after and held and (held_after := server.held()):
            figures |= of_server(spent_after - spent, held_after - held, flows=1)
        return figures | (of_longest(longest[0]) if longest else {})


def _items(workload: Workload, crew: Crew) -> tuple[float, list[float]]:
    """From the flow's start to its result, and what each item took from its release to its outcome."""
    seconds = crew.ask_client(do="burst", flows=1)["seconds"]
    return seconds, crew.ask_client(do="items")["times_ms"]


def _completions(workload: Workload, crew: Crew) -> tuple[float, list[float]]:
    """From the first completion to the last answer, and what each answer took; every item waits before."""
    flow = crew.ask_client(do="start")["flow"]
    tokens = crew.ask_client(do="tokens", count=workload.items)["tokens"]
    engines = crew.engines
    for place, engine in enumerate(engines):
        part = tokens[place :: len(engines)]
        engine.tell(do="complete", flow=flow, step="each", tokens=part, output="done")
    answers = [engine.answer() for engine in engines]
    result = crew.ask_client(do="result")["result"]
    if result != workload.result:
        raise WrongResult(f"W5 came to {result}, not to {workload.result}")
    return max(each["seconds"] for each in answers), [ms for each in answers for ms in each["times_ms"]]
