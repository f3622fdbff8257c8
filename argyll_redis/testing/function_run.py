"""One run of a user's flow under the faults of one seed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from argyll_redis.app import Argyll
from argyll_redis.core.model import JSON, Plan
from argyll_redis.core.parse import parse_step
from argyll_redis.runtime.cache import CACHED_FLOWS
from argyll_redis.runtime.node import Node
from argyll_redis.store.memory import MemoryStore
from argyll_redis.testing.fates import Fates
from argyll_redis.testing.flow_view import FlowView, Seen
from argyll_redis.testing.functions import Callers, CallFault, CallRates, FunctionCrew
from argyll_redis.testing.idle import Idleness
from argyll_redis.testing.in_memory import (
    CALM,
    LIMIT_MS,
    LOOKS_GROW,
    connected,
    fixed_draws,
    in_own_thread,
)
from argyll_redis.testing.observer import Observer
from argyll_redis.testing.scenario import LEASES_MS, EngineSpec, FlowSpec, Scenario, draw_rates
from argyll_redis.testing.simulator import LOOK_MS, Run
from argyll_redis.testing.stage import EVALUATOR, NO_BUG, Stage
from argyll_redis.testing.standins import StandIn
from argyll_redis.testing.virtual import MS, VirtualLoop

FLOW = "flow-1"
LIMIT_CALLBACKS = 2_000_000
"""Callbacks after which a run is said to have no end: some ten seconds."""
FAULTS_LEASES = (4, 8)
"""For how long faults strike."""
LINGER_LEASES = 10
"""How long an outcome from outside is waited for after the flow's own, at most."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is simulated."""

    app: Argyll
    definitions: Sequence[JSON]
    plan: Plan
    init: Mapping[str, list[JSON]]
    stand_ins: Mapping[str, StandIn]
    world: Callable[[], Any] | None
    check: Callable[[FlowView], object] | None
    compensate: str | None


@dataclass(slots=True)
class Played:
    """What a run came to."""

    violations: list[str]
    trace: list[str]
    status: str = "never started"
    faults: int = 0
    flow: str = ""
    repeated: set[str] = field(default_factory=set[str])
    """Steps of which a work item was called more than once."""


def play_seed(subject: Subject, seed: int, fates: Fates) -> Played:
    """Runs a seed to its end, checks everything, and gives what it came to."""
    return in_own_thread(lambda: _play(subject, seed, fates))


def _play(subject: Subject, seed: int, fates: Fates) -> Played:
    loop = VirtualLoop(limit_ms=LIMIT_MS, limit_callbacks=LIMIT_CALLBACKS)
    try:
        return _play_in(loop, subject, seed, fates)
    finally:
        loop.close()


def _play_in(loop: VirtualLoop, subject: Subject, seed: int, fates: Fates) -> Played:
    stage = _stage(loop, subject, fates)
    observer = Observer(stage.server, stage.plan_book())
    outside = Callers(stage, observer)
    declared, stand_ins = subject.app.declared, subject.stand_ins
    crew = FunctionCrew(stage, outside, declared, stand_ins, fates=fates, rates=_draw_call_rates(fates))
    run = FunctionRun(stage, observer, outside, crew)
    node = Node(
        MemoryStore(server=stage.server),
        "app",
        monotonic=loop.now_ms,
        spread=lambda limit_ms: limit_ms / 2,
        evaluator=EVALUATOR,
    )
    world = subject.world() if subject.world else None
    with connected(subject.app, loop, node), fixed_draws(Random(f"ids {seed}")):
        loop.run_until_complete(node.open())
        run.play()
        loop.run_until_complete(node.close())
    return _judge(subject, run, crew, world)


def _judge(subject: Subject, run: FunctionRun, crew: FunctionCrew, world: Any) -> Played:
    """Lets the user's check speak, and sums up."""
    stage, observer = run.stage, run.observer
    stage_faults = stage.network.disturbances + stage.journal.disturbances
    played = Played(stage.violations, stage.trace, faults=stage_faults, repeated=_repeated(crew))
    observer.look()
    if FLOW not in observer.flows:
        return played
    calls = crew.calls_of(FLOW)
    events = list(observer.events[FLOW])
    seen = Seen(observer.fold(FLOW), events, calls, stage.now_ms(), subject.app.id_of, world)
    view = FlowView(seen)
    played.status, played.flow = view.status, view.text()
    if subject.check is not None:
        try:
            subject.check(view)
        except AssertionError as error:
            stage.violations.append(f"check: {str(error) or 'an assertion does not hold'}")
        except Exception as error:
            stage.violations.append(f"check raised {type(error).__name__}: {error}")
    return played


def _repeated(crew: FunctionCrew) -> set[str]:
    counts = Counter((call.step, call.token) for call in crew.calls)
    return {step for (step, _), count in counts.items() if count > 1}


class FunctionRun(Run):
    """A run that may last: the clock jumps over the time in which nothing happens, once all is calm."""

    def __init__(self, stage: Stage, observer: Observer, outside: Callers, crew: FunctionCrew) -> None:
        super().__init__(stage, observer, outside, crew)
        self._idleness = Idleness(stage, crew, outside)

    def _is_done(self) -> bool:
        return bool(self.observer.flows) and self.observer.is_quiet()

    async def _until_quiet(self) -> bool:
        """Waits until nothing is left to do; False when the flow waits for somebody who never comes."""
        self.stage.loop.skip_to_s = self._idleness.skip_to_s
        look_s = LOOK_MS / MS
        while not self._is_quiet():
            if self._idleness.is_for_ever and self._object_to_waiting():
                return False
            await asyncio.sleep(look_s)
            look_s *= LOOKS_GROW
        self.stage.loop.skip_to_s = None
        return True

    def _object_to_waiting(self) -> bool:
        """Says which flows wait for somebody who never comes; False when none does."""
        self.observer.look()
        left = [flow for flow in self.observer.flows.values() if not flow.is_over]
        for flow in left:
            waits = ", ".join(str(run.id) for run in flow.steps.values() if run.accepted) or "nothing"
            self.stage.object(f"{flow.id} does not end: it waits for the outcome of {waits} from outside")
        return bool(left)


# ------------------------------------------------------------------------------ draws


def _stage(loop: VirtualLoop, subject: Subject, fates: Fates) -> Stage:
    scenario = _draw_scenario(subject, fates)
    return Stage(loop, scenario, NO_BUG, fates)


def _draw_scenario(subject: Subject, fates: Fates) -> Scenario:
    draw = fates.draw("scenario")
    lease_ms = draw.randint(*LEASES_MS)
    faults_ms = draw.randint(*FAULTS_LEASES) * lease_ms
    linger_ms = min(subject.app.config.linger_ms, LINGER_LEASES * lease_ms)
    flow = FlowSpec(
        id=FLOW,
        plan=subject.plan,
        seed=f"{draw.getrandbits(128):032x}",
        init=subject.init,
        labels={},
        start_ms=round(draw.random() * 0.2 * faults_ms),
        timeout_ms=0,
        linger_ms=linger_ms,
        cancel_ms=None,
        compensate=subject.compensate,
        starts=2 if draw.random() < 0.15 else 1,
    )
    queues = sorted({parse_step(each).queue for each in subject.definitions} - {"builtin"})
    return Scenario(
        lease_ms=lease_ms,
        faults_ms=faults_ms,
        rates=draw_rates(draw),
        habits=CALM,
        definitions=tuple(subject.definitions),
        registers=False,
        flows=(flow,),
        engines=tuple(_draw_engines(draw, fates, ("builtin", *queues), lease_ms, faults_ms)),
        clients=draw.randint(1, 2),
        duplicates=0,
        delays=0,
        leaps=0,
        cached_flows=CACHED_FLOWS,
        limits={},
        wipes=0,
    )


def _draw_engines(
    draw: Random, fates: Fates, queues: tuple[str, ...], lease_ms: int, faults_ms: int
) -> Iterator[EngineSpec]:
    """Two or three engines; each may be asked to stop, and another one takes its place."""
    for place in range(draw.randint(2, 3)):
        drain_ms = round(draw.random() * faults_ms)
        drains = draw.random() < 0.3 and fates.strikes(f"e{place} is asked to stop")
        yield EngineSpec(
            queues=queues,
            concurrency=draw.randint(1, 4),
            lease_ms=lease_ms,
            grace_ms=round(draw.choice((0.2, 3.0)) * lease_ms),
            lacks=frozenset(),
            unknown=None,
            drain_ms=drain_ms if drains else None,
        )


def _draw_call_rates(fates: Fates) -> CallRates:
    """Each kind of fault is rare, frequent, or does not strike at all."""
    draw = fates.draw("call rates")
    return CallRates({fault: draw.choice((0.0, 0.1, 0.3)) for fault in CallFault}, draw.choice((0.3, 0.7)))
