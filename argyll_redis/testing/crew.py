"""The engines of a simulated run: whole ones, each in a process that may die, and the work they are given."""

from __future__ import annotations

import asyncio
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from random import Random

from argyll_redis.core.commands import Accepted, Broken, Outcome, Succeeded, Unfinished
from argyll_redis.core.model import JSON, Step, StepType
from argyll_redis.core.outbox import UNDO
from argyll_redis.errors import NamespaceEmptied, StoreUnavailable
from argyll_redis.runtime.engine import Engine
from argyll_redis.runtime.engine_config import EngineConfig
from argyll_redis.runtime.keeper import Keeper
from argyll_redis.runtime.node import Node
from argyll_redis.steps.job import Handler, Job
from argyll_redis.testing.outside import Client, Outside
from argyll_redis.testing.scenario import EngineSpec, makes_list
from argyll_redis.testing.stage import EPOCH_MS, Call, Stage
from argyll_redis.testing.virtual import MS, Process

CALLS_A_SLOT_WHILE_FULL = 2
"""Calls that an engine may begin for each of its slots before it knows that nothing can be written."""


@dataclass(eq=False, slots=True)
class Running:
    """An engine's process from its start to its end."""

    place: int
    spec: EngineSpec
    process: Process
    node: Node
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    engine: Engine | None = None
    keeper: Keeper | None = None
    busy: int = 0
    """Calls that it makes at the moment."""

    def take(self, engine: Engine, keeper: Keeper) -> None:
        self.engine, self.keeper = engine, keeper

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing in hand, nothing on its way, and no slot taken but the one that waits."""
        engine = self.engine
        return (
            engine is not None
            and not len(engine.hand)
            and engine.intake.free_slots >= self.spec.concurrency - 1
            and self.node.committer.is_idle
        )


class Crew:
    """Engines, each replaced by a new one when it dies or is asked to stop."""

    def __init__(self, stage: Stage, outside: Outside) -> None:
        self.running: dict[int, Running] = {}
        """By place; a place may be empty for a while."""
        self.restored = 0
        """What sweeps have restored."""
        self.orphans = 0
        """Children that sweeps have cancelled, as nobody had."""
        self._stage = stage
        self._outside = outside
        self._generations: dict[int, int] = {}
        self._is_closing = False
        outside.engines = self._clients

    def _clients(self) -> list[Client]:
        """The processes of engines that run and are not asked to stop."""
        return [
            Client(running.process, running.node, is_open=True)
            for _, running in sorted(self.running.items())
            if running.engine is not None and running.spec.unknown is None and not running.stop.is_set()
        ]

    def start(self) -> None:
        for place, spec in enumerate(self._stage.scenario.engines):
            if spec.begin_ms:
                self._stage.loop.call_later(spec.begin_ms / MS, self._begin, place)
            else:
                self._begin(place)
            if spec.drain_ms is not None:
                self._stage.loop.call_later(spec.drain_ms / MS, self._drain, place)

    def _begin(self, place: int) -> None:
        stage = self._stage
        if self._is_closing or stage.journal.emptied_ms >= 0:
            return  # after the server was emptied nobody begins anew: that is for people to decide
        generation = self._generations[place] = self._generations.get(place, 0) + 1
        process = stage.loop.process(f"e{place}.{generation}")
        spec = stage.scenario.engines[place]
        running = self.running[place] = Running(place, spec, process, stage.node(process, spec.unknown))
        task = process.spawn(self._run(running))
        task.add_done_callback(partial(self._ended, running), context=Context())

    async def _run(self, running: Running) -> None:
        spec, node = running.spec, running.node
        config = EngineConfig(
            id=running.process.name,
            queues=spec.queues,
            handlers=self._functions(),
            concurrency=spec.concurrency,
            lease_ms=spec.lease_ms,
            grace_ms=spec.grace_ms,
            renew_in_thread=False,
        )
        await node.open()
        await node.run_engine(
            config,
            self._handlers(running),
            can_do=lambda step: step.id not in spec.lacks,
            can_undo=lambda step: step.id not in spec.lacks,
            until=running.stop.wait,
            on_ready=partial(self._ready, running),
        )
        await node.close()

    def _ready(self, running: Running, engine: Engine, keeper: Keeper) -> None:
        running.take(engine, keeper)
        self._stage.ready.append(running.process)

    def _handlers(self, running: Running) -> dict[StepType, Handler]:
        """What an engine can do."""
        return {StepType.PYTHON: partial(self._call, running)}

    def _functions(self) -> tuple[str, ...]:
        """The names of the functions that engines say they have."""
        return ()

    def _drain(self, place: int) -> None:
        if place in self.running and not self._stage.is_calm:
            self._stage.note(self.running[place].process.name, "is asked to stop")
            if (
                self.running[place].spec.grace_ms
                < self._stage.scenario.habits.longest * self._stage.scenario.lease_ms
            ):
                self._stage.journal.disturbances += 1  # else it waits for all that it has begun
            self.running[place].stop.set()

    def _ended(self, running: Running, task: asyncio.Task[None]) -> None:
        stage = self._stage
        name = running.process.name
        if running.keeper is not None:
            self.restored += running.keeper.restored
            self.orphans += running.keeper.orphans
        if running.process.is_dead:
            stage.note(name, "is gone")
        elif task.cancelled() and not stage.is_over:
            stage.object(f"engine {name} was cancelled by nobody")
        elif task.cancelled():
            return
        elif error := task.exception():
            if isinstance(error, NamespaceEmptied) and stage.journal.emptied_ms >= 0:
                pass
            elif not isinstance(error, StoreUnavailable) or not stage.is_disturbed:
                stage.object(f"engine {name} failed: {error!r}")
            stage.note(name, f"fails: {error}")
        else:
            stage.note(name, "stopped")
            if self._is_closing or not stage.is_disturbed:
                self._check_drained(running)  # else its grace may have ended before a call that was stalled
        running.process.kill()
        if self.running.get(running.place) is running:
            del self.running[running.place]
        delay_s = stage.fates.draw(f"after {name}").uniform(0.05, 2.0) * stage.scenario.lease_ms / MS
        stage.loop.call_later(delay_s, self._begin, running.place)

    def _check_drained(self, running: Running) -> None:
        engine = running.engine
        assert engine is not None
        name, slots = running.process.name, engine.intake.free_slots
        if slots != running.spec.concurrency:
            self._stage.object(f"slots: engine {name} ended with {slots} of {running.spec.concurrency} free")
        if len(engine.hand):
            self._stage.object(f"hand: engine {name} ended with {len(engine.hand)} entries in hand")

    @property
    def is_idle(self) -> bool:
        return len(self.running) == len(self._stage.scenario.engines) and all(
            running.is_idle for running in self.running.values()
        )

    def renew(self) -> None:
        """Asks all engines to stop; new ones take their places."""
        for running in self.running.values():
            running.stop.set()

    def close(self) -> None:
        """Asks all engines to stop; nobody takes their place."""
        self._is_closing = True
        for running in self.running.values():
            running.stop.set()

    # --------------------------------------------------------------------- work

    async def _call(self, running: Running, job: Job) -> Outcome:
        """Is called as a step: an engine makes no more calls at a time than it has slots."""
        running.busy += 1
        if running.busy > running.spec.concurrency:
            self._stage.object(f"slots: {running.process.name} makes {running.busy} calls at a time")
        try:
            return await self._work(running, job)
        finally:
            running.busy -= 1

    async def _work(self, running: Running, job: Job) -> Outcome:
        """Works for a while, then comes to something, if the engine lives."""
        stage = self._stage
        habits, who = stage.scenario.habits, running.process.name
        undo = UNDO if job.undo else ""
        item = f"{job.flow_id} {job.step.id} {job.token[:6]}{undo}/{job.attempt}"
        draw = stage.fates.draw(f"call {item}")
        call = Call(job.token + undo, job.attempt, stage.now_ms(), running.process.born_ms)
        stage.journal.calls.setdefault(job.flow_id, []).append(call)
        if stage.network.is_full:
            self._object_to_calls(running)
        stage.note(who, f"calls {item}")
        outcome = self._draw_outcome(job, draw)
        length_ms = self._draw_length_ms(draw)
        fate, when, strikes = draw.random(), draw.random(), stage.fates.strikes
        if not stage.is_calm and fate < habits.crashes and strikes(f"{item}: its engine dies"):
            await asyncio.sleep(when * length_ms / MS)
            await self._crash(running, item)
        if (
            not stage.is_calm
            and fate > 1 - habits.pauses
            and stage.fates.strikes(f"{item}: its engine halts")
        ):
            await asyncio.sleep(when * length_ms / MS)
            stage.note(who, f"pauses in {item}")
            stage.journal.disturbances += 1
            stage.network.pause(running.process, draw)
            await asyncio.sleep(0)
        timeout_ms = job.step.work.timeout_ms
        if timeout_ms and length_ms > timeout_ms:
            await asyncio.sleep(timeout_ms / MS)
            job.context.cancel()
            outcome = Unfinished(f"timed out after {timeout_ms} ms")
        elif length_ms:
            await asyncio.sleep(length_ms / MS)
        if job.undo is None and length_ms > stage.scenario.lease_ms:
            self._object_to_zombie(running, job)
        stage.note(who, f"{item} comes to {type(outcome).__name__}")
        return outcome

    def _object_to_zombie(self, running: Running, job: Job) -> None:
        """F05, F28: an engine whose attempt was taken over stops it, within a lease after it could know."""
        stage = self._stage
        is_doubled = (job.token, job.attempt) in stage.journal.doubled
        if is_doubled or stage.scenario.fulls or stage.journal.has_failed_over:
            return  # another entry was taken over, or nobody could renew, or it is not taken over any more
        since_ms = max(stage.lost_ms(job), EPOCH_MS + running.process.resumed_ms + stage.leapt_ms)
        if stage.lost_ms(job) and stage.now_ms() - since_ms > running.spec.lease_ms:
            what = f"attempt {job.attempt} of {job.flow_id} {job.token[:6]}"
            stage.object(f"F28: {running.process.name} goes on with {what}, which was taken over")

    def _object_to_calls(self, running: Running) -> None:
        """F36: while nothing can be written an engine begins little, as it cannot record the outcomes."""
        name, begun = running.process.name, self._stage.journal.begun_while_full
        begun[name] += 1
        if begun[name] == CALLS_A_SLOT_WHILE_FULL * running.spec.concurrency + 1:
            self._stage.object(f"F36: {name} begins work of which it can record nothing")

    async def _crash(self, running: Running, item: str) -> None:
        if not self._stage.is_calm:
            self._stage.note(running.process.name, f"crashes in {item}")
            self._stage.journal.disturbances += 1
            running.process.kill()
            raise asyncio.CancelledError

    def _draw_length_ms(self, draw: Random) -> float:
        scenario = self._stage.scenario
        drawn = draw.random()
        if drawn < scenario.habits.quick:
            return 0
        return (0.1 + draw.random() ** 2 * (scenario.habits.longest - 0.1)) * scenario.lease_ms

    def _draw_outcome(self, job: Job, draw: Random) -> Outcome:
        habits = self._stage.scenario.habits
        drawn = draw.random()
        if drawn < habits.breaks:
            return Broken("broken")
        if drawn < habits.breaks + habits.fails:
            return Unfinished("not yet", draw.randint(0, 300) if draw.random() < 0.2 else None)
        if job.undo is not None:
            return Succeeded({})
        if job.step.id in self._outside.served and draw.random() < habits.accepts:
            self._outside.will_complete(job)
            return Accepted()
        return Succeeded(outputs_of(job.step, draw))


def outputs_of(step: Step, draw: Random) -> dict[str, JSON]:
    """What a call of a step gives; now and then it leaves something out."""
    if draw.random() < 0.01:
        return {}
    value: JSON = draw.randint(0, 9)
    if makes_list(step):
        value = [draw.randint(0, 9) for _ in range(draw.randint(0, 3))]
    return {output.inner: value for output in step.outputs}
