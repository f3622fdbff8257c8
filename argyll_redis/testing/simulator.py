"""The fault simulator: whole engines on virtual time, faults from a seed, everything checked at the end.

`simulate_one(seed)` runs engines and clients against a server in memory. For a while, calls are
refused, lost, delayed and done late, processes are paused and killed, entries are delivered twice;
then everything is calm, and every flow must come to its end with nothing left in any queue. The
same seed gives the same run, wherever it runs:

    python -m argyll_redis.testing.simulator --seed 57 --trace
    python -m argyll_redis.testing.simulator --seeds 5000 --jobs 2
    python -m argyll_redis.testing.simulator --planted all

A seed that fails is tried again with less, until what is left is what it takes.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import shlex
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from zlib import crc32

from argyll_redis.runtime.mailbox import Posted
from argyll_redis.store.protocol import root_of
from argyll_redis.testing import verdict
from argyll_redis.testing.crew import Crew
from argyll_redis.testing.fates import Fates
from argyll_redis.testing.limits import narrowed
from argyll_redis.testing.mischief import do_mischief
from argyll_redis.testing.observer import Observer
from argyll_redis.testing.outside import Outside
from argyll_redis.testing.planted import BUGS
from argyll_redis.testing.scenario import draw_scenario
from argyll_redis.testing.scenario_fates import under
from argyll_redis.testing.shrinking import needed
from argyll_redis.testing.stage import NO_BUG, Bug, Stage
from argyll_redis.testing.virtual import MS, NothingToDo, TookTooLong, VirtualLoop

LOOK_MS = 250
"""How often the run is looked at from outside."""
QUIET_MS = 600_000
"""How long nothing may happen in any flow, once all is calm, before all has come to its end."""
DRAIN_MS = 20_000
"""How long the engines may take to stop when nothing is left to do."""
STOP_MS = 20_000
"""How long engines may take to stop when the server was emptied: some may be paused for a while."""
LOST_MS = 60_000
"""How long somebody waits for a flow that the server has lost before asking anew."""
LIMIT_MS = 2_000_000
LIMIT_CALLBACKS = 1_000_000
MODULE = "argyll_redis.testing.simulator"
BETWEEN = ";"
"""Between the names of faults in a command."""


@dataclass(slots=True)
class Report:
    """What a seed came to."""

    seed: int
    planted: str
    violations: list[str]
    struck: tuple[str, ...] = ()
    """All that the seed drew and that struck, by name; flows are among it."""
    only: tuple[str, ...] | None = None
    """What alone was let strike; None: whatever was drawn."""
    trace: list[str] = field(default_factory=list[str])
    """What happened, a short line each: virtual ms, who, what."""
    digest: int = 0
    """A checksum of all logs: two runs that are alike have the same."""
    flows: int = 0
    calls: int = 0
    faults: int = 0
    virtual_ms: int = 0

    @property
    def command(self) -> str:
        """The command that shows this run again."""
        planted = f" --planted {self.planted}" if self.planted else ""
        only = "" if self.only is None else f" --only {shlex.quote(BETWEEN.join(self.only))}"
        return f"python -m {MODULE} --seed {self.seed} --trace{planted}{only}"

    def text(self, *, with_trace: bool = False) -> str:
        """The report for people."""
        head = (
            f"seed {self.seed}: {len(self.violations)} violations, {self.flows} flows, {self.calls} calls, "
            f"{self.faults} faults, {self.virtual_ms} virtual ms"
        )
        lines = [head, *(f"  {each}" for each in self.violations)]
        if self.only is not None:
            lines += ["what it takes:", *(f"  {each}" for each in self.only or ("nothing",))]
        if with_trace:
            lines += ["trace:", *(f"  {each}" for each in self.trace)]
        if self.violations:
            lines.append(f"replay: {self.command}")
        return "\n".join(lines)


def simulate_one(seed: int, *, planted: str | None = None, only: Collection[str] | None = None) -> Report:
    """Runs one seed to its end and checks everything. `planted` names a bug of `BUGS` to plant; where
    `only` is given, of all that the seed has drawn only this strikes."""
    bug = BUGS[planted] if planted else NO_BUG
    fates = Fates(seed, only)
    loop = VirtualLoop(limit_ms=LIMIT_MS, limit_callbacks=LIMIT_CALLBACKS)
    stage = Stage(loop, under(draw_scenario(seed), fates), bug, fates)
    observer = Observer(stage.server, stage.plan_book())
    outside = Outside(stage, observer)
    run = Run(stage, observer, outside, Crew(stage, outside))
    with _quiet_logs(), _uncollected(), bug.patch(), narrowed(stage.scenario.limits):
        try:
            run.play()
        finally:
            loop.close()
    return _report(run, seed, bug, only)


def shrink(report: Report) -> Report:
    """Runs a seed that fails once more, under as little of what struck as it takes to fail."""
    if not report.violations:
        raise ValueError(f"seed {report.seed} does not fail: there is nothing to leave out")

    def again(faults: Collection[str]) -> Report:
        return simulate_one(report.seed, planted=report.planted or None, only=faults)

    return again(needed(report.struck, lambda faults: bool(again(faults).violations)))


def run_seeds(seeds: Iterable[int], *, planted: str | None = None) -> list[Report]:
    """Runs seeds one after the other; gives the reports of those that failed."""
    reports = (simulate_one(seed, planted=planted) for seed in seeds)
    return [report for report in reports if report.violations]


class Run:
    """One run of one seed."""

    def __init__(self, stage: Stage, observer: Observer, outside: Outside, crew: Crew) -> None:
        self.stage = stage
        self.observer = observer
        self._outside = outside
        self._crew = crew
        self._lacks: set[str] = set()

    def play(self) -> None:
        """Runs to the end and judges; whatever ends it before is a violation."""
        try:
            self.stage.loop.run_until_complete(self._run())
        except (NothingToDo, TookTooLong) as error:
            self.stage.object(f"the run came to no end: {error}")
        except Exception as error:
            self.stage.object(f"the run failed: {error!r}")

    async def _run(self) -> None:
        stage = self.stage
        self._outside.start()
        self._crew.start()
        do_mischief(stage)
        while stage.loop.now_ms() < stage.scenario.faults_ms and not self._is_done():
            await self._look()
        stage.calm()
        if stage.journal.emptied_ms >= 0:
            await self._until_stopped()
        else:
            if stage.journal.has_failed_over:
                await self._begin_anew()
            if await self._until_quiet():
                self._judge_living()
                await self._close()
            self._judge()
        stage.is_over = True

    def _is_done(self) -> bool:
        """Whether faults could strike nothing any more: everything was asked for, and has ended, or there
        is nothing left."""
        if self.stage.journal.emptied_ms >= 0:
            return True
        return self._outside.is_idle and self.observer.is_quiet()

    async def _until_stopped(self) -> None:
        """F35: after the server was emptied, every engine that was at work must stop by itself."""
        self._outside.give_up()
        deadline_ms = self.stage.loop.now_ms() + STOP_MS
        while left := [process.name for process in self.stage.journal.must_stop if not process.is_dead]:
            if self.stage.loop.now_ms() > deadline_ms:
                self.stage.object(f"F35: the server was emptied, and {', '.join(left)} go on")
                return
            await asyncio.sleep(LOOK_MS / MS)

    async def _begin_anew(self) -> None:
        """After a failover: what each process knew must be what the server holds, or it must have left the
        flow alone and said so. What some engine has left alone may stay open: whether to go on from what
        the server holds is for an operator to decide. Here one does, and fresh processes end everything."""
        self._outside.complete_again()
        enough_ms = self.stage.loop.now_ms() + LOST_MS
        deadline_ms = self.stage.loop.now_ms() + QUIET_MS
        while not (self._is_quiet() or self._is_left_alone()):
            if self.stage.loop.now_ms() > deadline_ms:
                left = ", ".join(self._unattended()) or "nobody"
                self.stage.object(f"F31: after a failover {left} neither ended nor was left alone")
                break
            if self._crew.is_idle and not self._unattended() and self.stage.loop.now_ms() > enough_ms:
                break  # somebody waits for a flow that is gone: nothing tells of that
            await self._look()
        await self._compare()
        self._judge_living(may_have_lost=True)
        self._outside.renew()
        before = list(self._crew.running.values())
        self._crew.renew()
        self._outside.complete_again()
        deadline_ms = self.stage.loop.now_ms() + QUIET_MS
        while any(each in self._crew.running.values() for each in before):
            if self.stage.loop.now_ms() > deadline_ms:
                self.stage.object("drain: after a failover an engine does not stop")
                break
            await asyncio.sleep(LOOK_MS / MS)
        self.observer.drop_lost()

    def _is_left_alone(self) -> bool:
        """Whether of whatever is open some living engine has said that it leaves it alone: entries that it
        has may be what the flow waits for."""
        return self._outside.is_idle and self._crew.is_idle and not self._unattended()

    def _unattended(self) -> list[str]:
        """The open flows of whose tree no living process has left anything alone: a parent waits for its
        child, and a flow for an outcome that a client refuses to bring."""
        nodes = [running.node for running in self._crew.running.values()]
        nodes += [client.node for client in self._outside.clients.values() if not client.process.is_dead]
        left = {root_of(flow_id) for node in nodes for flow_id in node.committer.quarantined}
        return [
            flow_id
            for flow_id, log in self.observer.logs()
            if not log.sealed and root_of(flow_id) not in left
        ]

    async def _compare(self) -> None:
        """Lets every process compare every flow that it knows with the server's."""
        nodes = [running.node for running in self._crew.running.values() if running.engine is not None]
        nodes += [client.node for client in self._outside.clients.values() if not client.process.is_dead]
        for node in nodes:
            for flow in node.committer.cache.flows():
                node.committer.post(flow.id, Posted(None))
        deadline_ms = self.stage.loop.now_ms() + DRAIN_MS
        while not all(node.committer.is_idle for node in nodes):
            if self.stage.loop.now_ms() > deadline_ms:
                self.stage.object("F31: after a failover a process learns nothing of its flows")
                return
            await asyncio.sleep(LOOK_MS / MS)

    async def _look(self) -> None:
        """Waits a little, then looks whether every open flow has what it needs."""
        await asyncio.sleep(LOOK_MS / MS)
        if not self.stage.scenario.loses_entries:
            for lack in self.observer.lacking():
                if lack not in self._lacks:
                    self._lacks.add(lack)
                    self.stage.object(f"I-20: nothing stands for {lack}")

    async def _until_quiet(self) -> bool:
        """Waits until nothing is left to do; False when nothing happens any more, and something is."""
        known, since_ms = -1, 0
        while not self._is_quiet():
            if (happened := self.observer.count()) != known:  # hundreds of items in turn take long
                known, since_ms = happened, self.stage.loop.now_ms()
            is_stuck = self.stage.loop.now_ms() > since_ms + QUIET_MS
            if is_stuck or len(self.stage.violations) > verdict.ENOUGH:
                self._object_to_unrest()
                return False
            await self._look()
        return True

    def _is_quiet(self) -> bool:
        """Whether nobody has anything to do any more."""
        return (
            not self.stage.journal.withheld
            and self._outside.is_idle
            and self.observer.is_quiet()
            and self._crew.is_idle
        )

    def _object_to_unrest(self) -> None:
        """Says who is not done."""
        stage = self.stage
        if not self._outside.is_idle:
            stage.object("liveness: somebody outside still waits for an answer")
        for running in self._crew.running.values():
            if running.engine is not None and not running.is_idle:
                stage.object(
                    f"liveness: engine {running.process.name} has {len(running.engine.hand)} entries in hand "
                    f"and {running.engine.intake.free_slots} of {running.spec.concurrency} slots free"
                )

    def _judge_living(self, *, may_have_lost: bool = False) -> None:
        """Judges the processes while they live."""
        self.observer.look()
        self.observer.drop_lost()
        judge = partial(verdict.judge_node, observer=self.observer, may_have_lost=may_have_lost)
        for running in self._crew.running.values():
            self._take(judge(running.process.name, running.node, unknown=running.spec.unknown))
        for client in self._outside.clients.values():
            if not client.process.is_dead:
                self._take(judge(client.process.name, client.node))

    async def _close(self) -> None:
        """Asks the engines to stop, and waits until they have."""
        self._crew.close()
        deadline_ms = self.stage.loop.now_ms() + DRAIN_MS
        while self._crew.running:
            if self.stage.loop.now_ms() > deadline_ms:
                self.stage.object(f"drain: {len(self._crew.running)} engines do not stop")
                return
            await asyncio.sleep(LOOK_MS / MS)

    def _judge(self) -> None:
        stage = self.stage
        self._take(verdict.judge_logs(stage, self.observer))
        self._take(verdict.judge_server(stage, self.observer))
        self._take(verdict.judge_catalog(stage))
        if self._crew.restored and not stage.scenario.loses_entries:
            stage.object(f"I-20: the sweep had to restore {self._crew.restored} entries")
        if self._crew.orphans and not stage.is_disturbed:
            stage.object(f"I-24: nobody cancelled {self._crew.orphans} children, and nothing went wrong")
        self._take(f"unhandled: {each}" for each in stage.loop.complaints)

    def _take(self, found: Iterator[str]) -> None:
        for violation in found:
            self.stage.object(violation)


def _report(run: Run, seed: int, bug: Bug, only: Collection[str] | None) -> Report:
    stage, digest = run.stage, 0
    for flow_id, log in run.observer.logs():
        for event in log.events:
            digest = crc32(repr((flow_id, event)).encode(), digest)
    return Report(
        seed=seed,
        planted=bug.name,
        violations=stage.violations,
        struck=tuple(dict.fromkeys(stage.fates.struck)),
        only=None if only is None else tuple(only),
        trace=stage.trace,
        digest=digest,
        flows=len(run.observer.flows),
        calls=sum(map(len, stage.journal.calls.values())),
        faults=stage.network.disturbances + stage.journal.disturbances,
        virtual_ms=stage.loop.now_ms(),
    )


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """Keeps what engines log about faults off the screen; what matters is in the report."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leaves the garbage of a run to its end: it is small, and looking for it all the time is not cheap."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


if __name__ == "__main__":
    from argyll_redis.testing.simulator_command import main

    sys.exit(main())
