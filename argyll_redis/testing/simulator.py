"""The fault simulator: whole engines on virtual time, faults from a seed, everything checked at the end.

`simulate_one(seed)` runs engines and clients against a server in memory. For a while, calls are
refused, lost, delayed and done late, processes are paused and killed, entries are delivered twice;
then everything is calm, and every flow must come to its end with nothing left in any queue. The
same seed gives the same run, wherever it runs:

    python -m argyll_redis.testing.simulator --seed 57 --trace
    python -m argyll_redis.testing.simulator --seeds 1000 --from 0
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from zlib import crc32

from argyll_redis.testing import verdict
from argyll_redis.testing.crew import Crew
from argyll_redis.testing.limits import narrowed
from argyll_redis.testing.mischief import do_mischief
from argyll_redis.testing.observer import Observer
from argyll_redis.testing.outside import Outside
from argyll_redis.testing.planted import BUGS
from argyll_redis.testing.scenario import draw_scenario
from argyll_redis.testing.stage import NO_BUG, Bug, Stage
from argyll_redis.testing.virtual import MS, NothingToDo, TookTooLong, VirtualLoop

LOOK_MS = 200
"""How often the run is looked at from outside."""
QUIET_MS = 600_000
"""How long everything may take to come to its end once all is calm."""
DRAIN_MS = 20_000
"""How long the engines may take to stop when nothing is left to do."""
LIMIT_MS = 900_000
LIMIT_CALLBACKS = 1_000_000
MODULE = "argyll_redis.testing.simulator"


@dataclass(slots=True)
class Report:
    """What a seed came to."""

    seed: int
    planted: str
    violations: list[str]
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
        return f"python -m {MODULE} --seed {self.seed} --trace{planted}"

    def text(self, *, with_trace: bool = False) -> str:
        """The report for people."""
        head = (
            f"seed {self.seed}: {len(self.violations)} violations, {self.flows} flows, {self.calls} calls, "
            f"{self.faults} faults, {self.virtual_ms} virtual ms"
        )
        lines = [head, *(f"  {each}" for each in self.violations)]
        if with_trace:
            lines += ["trace:", *(f"  {each}" for each in self.trace)]
        if self.violations:
            lines.append(f"replay: {self.command}")
        return "\n".join(lines)


def simulate_one(seed: int, *, planted: str | None = None) -> Report:
    """Runs one seed to its end and checks everything. `planted` names a bug of `BUGS` to plant."""
    bug = BUGS[planted] if planted else NO_BUG
    loop = VirtualLoop(limit_ms=LIMIT_MS, limit_callbacks=LIMIT_CALLBACKS)
    stage = Stage(loop, seed, draw_scenario(seed), bug)
    observer = Observer(stage.server)
    outside = Outside(stage, observer)
    run = Run(stage, observer, outside, Crew(stage, outside))
    with _quiet_logs(), bug.patch(), narrowed(stage.scenario.limits):
        try:
            run.play()
        finally:
            loop.close()
    return _report(run, seed, bug)


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
        if await self._until_quiet(stage.loop.now_ms() + QUIET_MS):
            self._judge_living()
            await self._close()
        self._judge()
        stage.is_over = True

    def _is_done(self) -> bool:
        """Whether faults could strike nothing any more."""
        return False

    async def _look(self) -> None:
        """Waits a little, then looks whether every open flow has what it needs."""
        await asyncio.sleep(LOOK_MS / MS)
        if not self.stage.scenario.loses_entries:
            for lack in self.observer.lacking():
                if lack not in self._lacks:
                    self._lacks.add(lack)
                    self.stage.object(f"I-20: nothing stands for {lack}")

    async def _until_quiet(self, deadline_ms: int) -> bool:
        """Waits until nothing is left to do; False when that takes too long."""
        while not self._is_quiet():
            if self.stage.loop.now_ms() > deadline_ms or len(self.stage.violations) > verdict.ENOUGH:
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

    def _judge_living(self) -> None:
        """Judges the processes while they live."""
        self.observer.look()
        for running in self._crew.running.values():
            name, unknown = running.process.name, running.spec.unknown
            self._take(verdict.judge_node(name, running.node, self.observer, unknown))
        for client in self._outside.clients.values():
            self._take(verdict.judge_node(client.process.name, client.node, self.observer))

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


def _report(run: Run, seed: int, bug: Bug) -> Report:
    stage, digest = run.stage, 0
    for flow_id, log in run.observer.logs():
        for event in log.events:
            digest = crc32(repr((flow_id, event)).encode(), digest)
    return Report(
        seed=seed,
        planted=bug.name,
        violations=stage.violations,
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


# ------------------------------------------------------------------ command line


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs seeds and prints the reports of those that fail; 1 when any did."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description="Runs engines under faults.")
    parser.add_argument("--seed", type=int, help="run this one seed and print its report")
    parser.add_argument("--trace", action="store_true", help="print all that happened in it")
    parser.add_argument("--seeds", type=int, default=1_000, help="how many seeds to run")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them")
    parser.add_argument("--planted", choices=sorted(BUGS), help="plant a known bug")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        report = simulate_one(options.seed, planted=options.planted)
        print(report.text(with_trace=options.trace))
        return 1 if report.violations else 0
    failed = 0
    for seed in range(options.first, options.first + options.seeds):
        report = simulate_one(seed, planted=options.planted)
        if report.violations:
            failed += 1
            print(report.text())
    print(f"{options.seeds} seeds, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
