"""One workload, measured: recorded once, then run and replayed in turn, so that a busy neighbour
meets both alike; then the medians."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bench.crew import Crew
from bench.recorder import Recorder, Recording
from bench.replay import WINDOWS, Replay, replay
from bench.server import Held, Longest, Place, Server, Servers, Spent
from bench.worker import Role
from bench.workloads import Workload

WARM_UP_FLOWS = 20
"""Run before the clock starts: connections, scripts and streams are there, as in any process at work."""
ALONE_FLOWS = 200
"""Timed one at a time, at most."""
LOOKED_AT_FLOWS = 50
"""Whose logs are read afterwards for their commits and events, at most."""

Tell = Callable[[str], None]
"""Told what is going on, for people who wait."""


class Layout(StrEnum):
    """Who does what."""

    ONE = "one process"
    """The engine process also starts the flows and waits for their results."""
    TWO = "two processes"
    """One engine process; another one starts the flows and waits for their results."""

    @property
    def roles(self) -> tuple[Role, ...]:
        return (Role.BOTH,) if self is Layout.ONE else (Role.ENGINE, Role.CLIENT)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and how often."""

    workload: Workload
    layouts: Sequence[Layout]
    flows: int
    runs: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a workload. Figures of the server are None in memory."""

    seconds: float
    commits: float
    """A flow."""
    events: float
    """A flow."""
    engine_cpu_s: float
    client_cpu_s: float | None
    """None in one process, where it is part of the engine's."""
    spent: Spent | None
    held: Held | None
    longest: Longest | None
    alone_ms: Sequence[float] = ()
    calls_s: float | None = None
    """What the run's calls of a service take without an engine; None when it makes none."""


@dataclass(frozen=True, slots=True)
class Measured:
    """All runs of a workload."""

    plan: Plan
    runs: dict[Layout, list[Run]]
    replays: list[list[Replay]]
    """For each run, a replay with each of `WINDOWS`; none in memory."""
    recording: Recording | None


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


def measure(servers: Servers, plan: Plan, tell: Tell) -> Measured:
    """Measures a workload in each layout."""
    recording = None if servers.in_memory else _record(servers, plan, tell)
    runs: dict[Layout, list[Run]] = {layout: [] for layout in plan.layouts}
    replays: list[list[Replay]] = []
    for number in range(1, plan.runs + 1):
        place = f"{plan.workload.name} run {number} of {plan.runs}"
        for layout in plan.layouts:
            tell(f"{place}, {layout}")
            with servers.fresh() as server:
                runs[layout].append(_run(server, plan, layout))
        if recording is not None:
            tell(f"{place}, its bytes from a dumb socket")
            replays.append([_replay(servers, recording, window) for window in WINDOWS])
    return Measured(plan, runs, replays, recording)


def profile(servers: Servers, plan: Plan, tell: Tell) -> Profile:
    """Runs a workload in one process and looks where its time goes; these runs count for nothing else."""
    found: list[dict[str, Any]] = []
    commits = 0.0
    for number in range(1, plan.runs + 1):
        tell(f"{plan.workload.name} profile {number} of {plan.runs}")
        with servers.fresh() as server, _crew(server, plan, Layout.ONE) as crew:
            found.append(crew.ask_client(do="profile", flows=plan.flows))
            commits += crew.ask_client(do="look", flows=LOOKED_AT_FLOWS)["commits"] * plan.flows
    parts = {part for each in found for part in each["looks"]}
    return Profile(
        workload=plan.workload,
        flows=plan.flows * plan.runs,
        turns=commits,
        seconds=sum(each["seconds"] for each in found),
        cpu_s=sum(each["cpu_s"] for each in found),
        gc_s=sum(each["gc_s"] for each in found),
        looks={part: sum(each["looks"].get(part, 0) for each in found) for part in parts},
    )


def _crew(server: Place, plan: Plan, layout: Layout) -> Crew:
    return Crew(plan.workload, layout.roles, server.url, server.namespace)


def _record(servers: Servers, plan: Plan, tell: Tell) -> Recording:
    """Runs once in one process through a recorder; nothing of it is timed."""
    tell(f"{plan.workload.name}, recording")
    with servers.fresh() as server, Recorder(server.url) as recorder:
        assert isinstance(server, Server)
        with Crew(plan.workload, Layout.ONE.roles, recorder.url, server.namespace) as crew:
            server.pin_entry_ids()
            crew.ask_client(do="burst", flows=plan.flows)
        return recorder.recording(server.namespace)


def _replay(servers: Servers, recording: Recording, window: int) -> Replay:
    with servers.fresh(recording.namespace) as server:
        assert isinstance(server, Server)
        return replay(server, recording, window=window)


def _run(server: Place, plan: Plan, layout: Layout) -> Run:
    with _crew(server, plan, layout) as crew:
        crew.ask_client(do="burst", flows=min(WARM_UP_FLOWS, plan.flows))
        held = server.held()
        with server.noting_slow_calls() as longest:
            spent, cpu_s = server.spent(), crew.cpu_s()
            seconds = crew.ask_client(do="burst", flows=plan.flows)["seconds"]
            cpu_after_s, spent_after = crew.cpu_s(), server.spent()
        held_after = server.held()
        looked = crew.ask_client(do="look", flows=min(LOOKED_AT_FLOWS, plan.flows))
        alone_ms: Sequence[float] = ()
        if plan.workload.is_timed_alone:
            alone_ms = crew.ask_client(do="alone", flows=min(ALONE_FLOWS, plan.flows))["times_ms"]
        calls_s = crew.ask_client(do="calls", flows=plan.flows)["seconds"] if plan.workload.calls else None
    worked_s = [cpu_after_s[role] - cpu_s[role] for role in layout.roles]
    return Run(
        seconds=seconds,
        commits=looked["commits"],
        events=looked["events"],
        engine_cpu_s=worked_s[0],
        client_cpu_s=worked_s[1] if layout is Layout.TWO else None,
        spent=spent_after - spent if spent and spent_after else None,
        held=held_after - held if held and held_after else None,
        longest=longest[0] if longest else None,
        alone_ms=alone_ms,
        calls_s=calls_s,
    )
