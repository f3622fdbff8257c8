"""W0 to W4: flows of one shape, started at once, then one at a time; each run with its ceiling beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from bench.crew import Crew
from bench.options import Options
from bench.recorder import Recorder, Recording
from bench.replay import WINDOWS, Replay, UnlikeRun, replay
from bench.rows import Figures, Probe, percentile
from bench.server import Held, Longest, Place, Server, Servers, Spent
from bench.worker import Role
from bench.workloads import Workload

WARM_UP_FLOWS = 20
"""Run before the clock starts: connections, scripts and streams are there, as in any process at work."""
ALONE_FLOWS = 200
"""Timed one at a time, at most."""
LOOKED_AT_FLOWS = 50
"""Whose logs are read afterwards for their commits and events, at most."""


def probes(workload: Workload, servers: Servers, options: Options) -> Iterable[Probe]:
    """One for each layout."""
    flows = options.flows or workload.flows
    ceiling = None if servers.in_memory else Ceiling(workload, servers, flows, options)
    for layout in options.layouts:
        measured = Throughput(workload, servers, flows=flows, roles=layout.roles, ceiling=ceiling)
        about = {"workload": workload.name, "layout": layout.value, "flows": flows, **servers.about()}
        yield Probe(about, measured.run)


class Ceiling:
    """How fast the server applies the workload's recorded bytes when the sender does nothing else."""

    def __init__(self, workload: Workload, servers: Servers, flows: int, options: Options) -> None:
        self._workload = workload
        self._servers = servers
        self._flows = flows
        self._options = options

    @cached_property
    def recording(self) -> Recording:
        """Made once, in one process, through a recorder, as far away as the runs are: how many turns a call
        has depends on that. Nothing of it is timed."""
        self._options.tell(f"{self._workload.name}, recording")
        with self._servers.fresh() as server, Recorder(server.url) as recorder:
            assert isinstance(server, Server)
            with Crew(self._workload, (Role.BOTH,), recorder.url, server.namespace) as crew:
                server.pin_entry_ids()
                crew.ask_client(do="burst", flows=self._flows)
            return recorder.recording(server.namespace)

    def reached(self) -> Replay | None:
        """The fastest replay of one with each of `WINDOWS`; None, and it is told, when one did not do what
        the run did."""
        try:
            return min((self._replay(window) for window in WINDOWS), key=lambda each: each.seconds)
        except UnlikeRun as error:
            self._options.tell(f"{self._workload.name}: no ceiling for this run: {error}")
            return None

    def _replay(self, window: int) -> Replay:
        recording = self.recording
        with self._servers.fresh(recording.namespace) as server:
            assert isinstance(server, Server)
            return replay(server, recording, window=window)


class Throughput:
    """A workload in one layout."""

    def __init__(
        self,
        workload: Workload,
        servers: Servers,
        *,
        flows: int,
        roles: Sequence[Role],
        ceiling: Ceiling | None,
    ) -> None:
        self._workload = workload
        self._servers = servers
        self._flows = flows
        self._roles = roles
        self._ceiling = ceiling

    def run(self) -> Figures:
        with self._servers.fresh() as server:
            figures = self._run(server)
        if self._ceiling is not None and (reached := self._ceiling.reached()):
            figures |= self._share(figures["seconds"], reached)
        return figures

    def _run(self, server: Place) -> dict[str, Any]:
        flows, workload = self._flows, self._workload
        with Crew(workload, self._roles, server.url, server.namespace) as crew:
            crew.ask_client(do="burst", flows=min(WARM_UP_FLOWS, flows))
            held = server.held()
            with server.noting_slow_calls() as longest:
                spent, cpu_s = server.spent(), crew.cpu_s()
                seconds = crew.ask_client(do="burst", flows=flows)["seconds"]
                cpu_after_s, spent_after = crew.cpu_s(), server.spent()
            held_after = server.held()
            looked = crew.ask_client(do="look", flows=min(LOOKED_AT_FLOWS, flows))
            figures = self._speed(seconds, looked)
            if workload.is_timed_alone:
                alone_ms = crew.ask_client(do="alone", flows=min(ALONE_FLOWS, flows))["times_ms"]
                figures |= {"p50_ms": percentile(alone_ms, 50), "p99_ms": percentile(alone_ms, 99)}
            if workload.calls:
                calls_s = crew.ask_client(do="calls", flows=flows)["seconds"]
                figures["share_without_calls"] = 1 - calls_s / seconds
        worked_ms = [
            (after - before) * 1000 / flows for before, after in zip(cpu_s, cpu_after_s, strict=True)
        ]
        figures["engine_cpu_ms_per_flow"] = worked_ms[0]
        figures["client_cpu_ms_per_flow"] = worked_ms[1] if len(worked_ms) > 1 else None
        if spent and spent_after and held and held_after:
            figures |= of_server(spent_after - spent, held_after - held, flows=flows)
            figures["server_us_per_commit"] = (
                (spent_after.script_s - spent.script_s) * 1e6 / (flows * looked["commits"])
            )
        if longest:
            figures |= of_longest(longest[0])
        return figures

    def _speed(self, seconds: float, looked: dict[str, float]) -> dict[str, Any]:
        rate, workload = self._flows / seconds, self._workload
        return {
            "seconds": seconds,
            "flows_per_s": rate,
            "steps_per_s": rate * workload.steps,
            "items_per_s": rate * workload.items if workload.items else None,
            "commits_per_s": rate * looked["commits"],
            "commits_per_flow": looked["commits"],
            "events_per_flow": looked["events"],
        }

    def _share(self, seconds: float, reached: Replay) -> dict[str, float]:
        return {
            "ceiling_share": reached.seconds / seconds,
            "ceiling_flows_per_s": self._flows / reached.seconds,
            "ceiling_commits_per_s": reached.turns_per_s,
            "ceiling_server_cpu_ms_per_flow": reached.spent.cpu_s * 1000 / self._flows,
        }


def of_server(spent: Spent, held: Held, *, flows: int) -> dict[str, float]:
    """What flows have cost the server."""
    return {
        "round_trips_per_flow": spent.script_calls / flows,
        "bytes_per_flow": held.memory_bytes / flows,
        "feed_bytes_per_flow": held.feed_bytes / flows,
        "server_cpu_ms_per_flow": spent.cpu_s * 1000 / flows,
    }


def of_longest(longest: Longest) -> dict[str, float]:
    """The longest call."""
    return {"longest_call_ms": longest.ms, "calls_over_1_ms": longest.over_1_ms}
