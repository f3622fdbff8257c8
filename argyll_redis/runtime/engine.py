"""An engine: takes released attempts, runs them, and posts what they came to.

It decides nothing. A delivered attempt that the flow's state still knows as the current one is run;
any other is acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from argyll_redis.core.collect import item_inputs
from argyll_redis.core.commands import (
    Abandon,
    Accepted,
    Broken,
    Command,
    Outcome,
    Report,
    ReportUndo,
    Succeeded,
    TimeOut,
)
from argyll_redis.core.model import JSON, Step, StepType
from argyll_redis.core.state import Flow, StepStatus, WorkItem
from argyll_redis.errors import HistoryLost, InvalidInput, StoreUnavailable, UnknownEvent
from argyll_redis.runtime.children import Children
from argyll_redis.runtime.clock import ServerClock, spread_ms
from argyll_redis.runtime.committer import Committer
from argyll_redis.runtime.engine_config import EngineConfig
from argyll_redis.runtime.intake import Intake
from argyll_redis.runtime.jobs import current_item, current_undo, function_of, inputs_of, job_of
from argyll_redis.runtime.let_go import LetGo
from argyll_redis.runtime.mailbox import Posted
from argyll_redis.runtime.memo import Memo
from argyll_redis.runtime.payload import ChildEnded, WorkReference, read_control, read_work
from argyll_redis.runtime.posts import Arrival, Settling
from argyll_redis.runtime.work import Hand, InHand, Key
from argyll_redis.steps.job import Handler, Job
from argyll_redis.store.protocol import (
    CONTROL,
    Entry,
    RenewReply,
    Store,
)

log = logging.getLogger(__name__)

HAND_BACK_DELAY_MS = 1_000
"""Before work that this engine cannot do is offered again."""
LEAVE_TRIES = 5
"""Looks for entries that were delivered while this engine stopped reading."""
LEAVE_DELAY_MS = 5_000
"""Before work of a flow that this version cannot read is offered again."""
OVER = frozenset({"completed", "failed"})


@dataclass(slots=True)
class EngineCounters:
    """What was done so far; for tests, benchmarks and metrics."""

    begun: int = 0
    acknowledged: int = 0
    """Entries that were not current any more."""
    handed_back: int = 0
    taken_over: int = 0
    reused: int = 0
    """Calls that were spared, as a memoizable step had succeeded with the same inputs before."""
    lost: int = 0
    """Leases that were not this engine's any more while it still worked."""
    buried: int = 0
    unhandled: dict[str, int] = field(default_factory=dict[str, int])


class Engine:
    """Runs released attempts of the queues that it serves."""

    def __init__(
        self,
        config: EngineConfig,
        *,
        store: Store,
        committer: Committer,
        clock: ServerClock,
        handlers: Mapping[StepType, Handler],
        can_do: Callable[[Step], bool],
        can_undo: Callable[[Step], bool] = lambda _: True,
        memo: Memo | None = None,
        spread: Callable[[float], float] = spread_ms,
    ) -> None:
        self.config = config
        self.counters = EngineCounters()
        self.hand = Hand()
        self.by = f"work:{config.id}"
        self._timer_by = f"timer:{config.id}"
        self._store = store
        self._committer = committer
        self._clock = clock
        self._handlers = handlers
        self._can_do = can_do
        self._can_undo = can_undo
        self._memo = memo
        self._is_draining = False
        self._renewed_ms = clock.monotonic_ms()
        self._held_back: list[InHand] = []
        """Delivered, and not begun before the server takes writes again and the leases are renewed."""
        self._let_go = LetGo(self.hand, clock)
        self._children = Children(
            config.id,
            committer=committer,
            hand=self.hand,
            settling=lambda held, command: Settling(self, held, command),
            leave=self.leave,
        )
        self._tasks: dict[asyncio.Task[None], None] = {}
        self.intake = Intake(
            config.info, config.concurrency, store=store, hand=self.hand, taker=self, spread=spread
        )

    # ----------------------------------------------------------------- delivery

    @property
    def lease_is_sure(self) -> bool:
        """Whether the last renewal is recent enough to begin work: what is begun without a lease
        may be running elsewhere."""
        return self._clock.monotonic_ms() - self._renewed_ms < self.config.lease_ms

    @property
    def is_stopped(self) -> bool:
        """Whether the server takes no writes: nothing is begun whose outcome could not be recorded."""
        return self._committer.breaker.is_open

    @property
    def may_begin(self) -> bool:
        return self.lease_is_sure and not self.is_stopped

    def take(self, entry: Entry) -> None:
        """Takes a delivered entry in hand. One that nobody can read is moved to `dead`."""
        if entry in self.hand or entry in self._let_go:
            return  # its delivery was lost, or so it seemed, and it was found without it
        try:
            if entry.stream == CONTROL:
                self._take_control(entry)
            else:
                self._take_work(entry)
        except InvalidInput as error:
            self._bury(entry, str(error))

    def _take_control(self, entry: Entry) -> None:
        flow_id, command = read_control(entry, self._timer_by)
        held = InHand(entry, flow_id)
        self.hand.take(held)
        if isinstance(command, ChildEnded):
            self._children.hear(held, command)
        else:
            self._say(held, command)

    def _take_work(self, entry: Entry) -> None:
        reference = read_work(entry)
        held = InHand(entry, reference.flow_id, reference)
        self.intake.use_slot()
        self.hand.take(held)
        self._look_into(held, reference)

    def _look_into(self, held: InHand, reference: WorkReference) -> None:
        """Begins an attempt, now or when its flow has been read."""
        flow, arrival = self._committer.cache.get(reference.flow_id), Arrival(self, held)
        # A flow that does not know the token is an earlier one of this id, which has expired.
        if flow is not None and flow.version >= reference.version and flow.find(reference.token):
            self._committer.show(arrival, flow)
        else:
            self._committer.post(reference.flow_id, arrival)

    def take_over(self, entry: Entry) -> None:
        """Deals with an entry whose engine is lost: work only after a commit that says so."""
        if entry in self.hand:
            return
        self.counters.taken_over += 1
        if entry.stream == CONTROL:
            self.take(entry)
            return
        try:
            reference = read_work(entry)
        except InvalidInput as error:
            self._bury(entry, str(error))
            return
        held = InHand(entry, reference.flow_id)
        self.hand.take(held)
        self._say(held, reference.lost(self.by))

    def begin(self, held: InHand, flow: Flow) -> None:
        """Runs an attempt that is still the current one; anything else is settled without a call."""
        assert held.work is not None
        if not self.hand.holds(held):
            return  # its lease was lost while the flow was read
        if 0 < flow.version < held.work.version:
            missing = f'version {held.work.version} of flow "{flow.id}" is gone: the server has lost history'
            lost = HistoryLost(missing)
            if flow.find(held.work.token):  # else it is of another flow, which had this id before
                self._committer.distrust(flow.id, lost)
            self.leave(held, lost)
            return
        if held.work.is_undo:
            self._begin_undo(held, held.work, flow)
            return
        item = current_item(flow, held.work.token, held.work.attempt)
        if item is None:
            self.counters.acknowledged += 1
            self._settle(held, None)
            return
        run = flow.steps[item.step]
        if flow.is_over or run.status is not StepStatus.ACTIVE:
            self._settle(held, Abandon(self.by, item.token, item.attempt))
            return
        if flow.timeout_ms and flow.at_of(1) + flow.timeout_ms <= self._clock.now_ms():
            # Its time was over before anybody looked: it ends now, and this attempt with it.
            self._committer.post(flow.id, Posted(TimeOut(self._timer_by)))
            self._settle(held, Abandon(self.by, item.token, item.attempt))
            return
        step = flow.plan.steps[item.step]
        if self._is_draining or not (step.type is StepType.FLOW or self._can_do(step)):
            self._hand_back(held, step)
        elif not self.may_begin:
            self._held_back.append(held)
        else:
            self._begin(held, flow, step, item)

    def _begin_undo(self, held: InHand, work: WorkReference, flow: Flow) -> None:
        """Undoes a work item, if this attempt of it is still the current one; whatever the flow's state."""
        item = current_undo(flow, work.token, work.attempt)
        if item is None:
            self.counters.acknowledged += 1
            self._settle(held, None)
            return
        step = flow.plan.steps[item.step]
        if self._is_draining or not self._can_undo(step):
            self._hand_back(held, step)
        elif not self.may_begin:
            self._held_back.append(held)
        else:
            self._call(held, flow, step, item)

    def go_on(self) -> None:
        """Begins what was held back, if it may be begun now; what was lost meanwhile is not in hand any
        more."""
        if self.may_begin or self._is_draining:
            held_back, self._held_back = self._held_back, []
            for held in held_back:
                assert held.work is not None
                self._look_into(held, held.work)
            self.intake.go_on()

    def _settle(self, held: InHand, command: Abandon | None) -> None:
        """Acknowledges an entry that is not run, with what is to be said of it."""
        self.intake.free_slot(held)
        self._say(held, command)

    def _say(self, held: InHand, command: Command | None) -> None:
        """Posts what is said of an entry; the turn that carries it acknowledges the entry."""
        self.hand.report(held)
        self._committer.post(held.flow_id, Settling(self, held, command))

    def _forget(self, held: InHand) -> None:
        """Lets go of an entry: it was handed back, or it is still pending, is not named any more, and
        is left to whoever takes it over."""
        self._let_go.add(held)
        self.hand.drop(held)
        self.intake.free_slot(held)

    def _hand_back(self, held: InHand, step: Step) -> None:
        """Gives an attempt back uncounted: at once when this engine drains, later when it has no
        function for it."""
        self.counters.handed_back += 1
        delay_ms = 0 if self._is_draining else HAND_BACK_DELAY_MS
        if delay_ms:
            name = function_of(held, step)
            if not self.counters.unhandled.get(name):
                what = "function" if step.python else f"way to run {step.type} step"
                log.warning('no %s "%s" here: its work is handed back', what, name)
            self.counters.unhandled[name] = self.counters.unhandled.get(name, 0) + 1
        self._spawn(self._release(held, delay_ms))

    async def _release(self, held: InHand, delay_ms: int) -> None:
        try:
            await self._store.release(self.config.id, [held.entry], delay_ms)
        except StoreUnavailable as error:
            log.warning("an entry is not handed back and will be taken over: %s", error)
        finally:
            self._forget(held)

    def hand_back_unread(self, entry: Entry) -> None:
        """Gives back an entry that was delivered and for which no slot is free."""
        held = InHand(entry, entry.payload.partition(" ")[0])
        self.hand.take(held)
        self._spawn(self._release(held, 0))

    def leave(self, held: InHand, error: BaseException) -> None:
        """Leaves an entry of a flow that this process must not touch: to other engines when they may
        know better, to `dead` when nobody may."""
        is_lost = isinstance(error, HistoryLost)
        is_others = isinstance(error, UnknownEvent) or (is_lost and error.others_may_go_on)
        if is_others and held.is_fresh:
            self.intake.free_slot(held)
            self._spawn(self._release(held, LEAVE_DELAY_MS))
        elif is_others or (isinstance(error, StoreUnavailable) and not is_lost):
            self._forget(held)
        else:
            self._forget(held)
            self._bury(held.entry, str(error))

    def _bury(self, entry: Entry, reason: str) -> None:
        self.counters.buried += 1
        log.error("an entry that nobody can read goes to dead: %s", reason)
        self._spawn(self._bury_entry(entry, reason))

    async def _bury_entry(self, entry: Entry, reason: str) -> None:
        try:
            await self._store.bury(entry, reason)
        except StoreUnavailable as error:
            log.warning("an entry is not buried and will come again: %s", error)

    # ---------------------------------------------------------------------- run

    def _begin(self, held: InHand, flow: Flow, step: Step, item: WorkItem) -> None:
        self.counters.begun += 1
        if step.memoizable and self._memo is not None:
            held.task = asyncio.get_running_loop().create_task(self._recall(held, flow, step, item))
        elif step.type is StepType.FLOW:
            self._children.begin(held, flow, item, self._inputs_of(flow, step, item))
        else:
            self._call(held, flow, step, item)

    async def _recall(self, held: InHand, flow: Flow, step: Step, item: WorkItem) -> None:
        """Reports what the step gave for the same inputs before, or makes the call."""
        assert self._memo is not None
        inputs = self._inputs_of(flow, step, item)
        try:
            outputs = await self._memo.recall(step, item_inputs(step, flow.steps[step.id].inputs, item.index))
        except asyncio.CancelledError:
            self._forget(held)
            raise
        assert held.work is not None
        if outputs is not None:
            self.counters.reused += 1
            outcome = Succeeded(outputs, memo=True)
            self._say(held, Report(self.by, item.token, outcome, item.attempt, held.work.version))
        elif step.type is StepType.FLOW:
            self._children.begin(held, flow, item, inputs)
        else:
            await self._run(held, job_of(held, flow, step, item, inputs, now_ms=self._clock.now_ms()))

    def _call(self, held: InHand, flow: Flow, step: Step, item: WorkItem) -> None:
        """Makes the call of an attempt, in a task of its own: of the work, or of its compensation."""
        inputs = self._inputs_of(flow, step, item)
        job = job_of(held, flow, step, item, inputs, now_ms=self._clock.now_ms())
        held.task = asyncio.get_running_loop().create_task(self._run(held, job))

    def _inputs_of(self, flow: Flow, step: Step, item: WorkItem) -> dict[str, JSON]:
        return inputs_of(flow, step, item, self.config.webhook_base_url)

    async def _run(self, held: InHand, job: Job) -> None:
        started_ms = self._clock.monotonic_ms()
        held.is_called = True
        try:
            outcome = await self._handlers[job.step.type](job)
        except (asyncio.CancelledError, GeneratorExit):
            self._forget(held)
            raise
        except BaseException as error:  # an engine outlives its handlers
            log.exception("the handler of step %s is broken", job.step.id)
            outcome = Broken(f"the handler is broken: {type(error).__name__}: {error}")
        self._report(held, job, outcome, self._clock.monotonic_ms() - started_ms)

    def _report(self, held: InHand, job: Job, outcome: Outcome, ran_ms: int) -> None:
        if isinstance(outcome, Succeeded):
            outcome = outcome._replace(ran_ms=ran_ms)
        elif isinstance(outcome, Accepted):
            outcome = outcome._replace(elapsed_ms=ran_ms)
        assert held.work is not None
        version = held.work.version
        if job.undo is not None:
            self._say(held, ReportUndo(self.by, job.token, outcome, job.attempt, version))
        else:
            self._say(held, Report(self.by, job.token, outcome, job.attempt, version))

    # ------------------------------------------------------------------ renewal

    def renewed(self, reply: RenewReply, asked_ms: int) -> None:
        """Takes in what a renewal said: leases that are lost, flows that are over, and entries that
        were delivered without this engine knowing."""
        self._renewed_ms = asked_ms
        for lease in reply.lost:
            held = self.hand.find(lease)
            if held is not None and not held.is_reported:
                self._lose(held)
        for held in self.hand.all():
            is_undo = held.work is not None and held.work.is_undo
            if held.context is not None and not is_undo and reply.statuses.get(held.flow_id) in OVER:
                held.context.cancel()
        self.go_on()
        delivered, taken = self._let_go.found(reply, asked_ms)
        for entry in delivered:
            self.intake.take_or_return(entry)
        for entry in taken:
            self.take_over(entry)

    def _lose(self, held: InHand) -> None:
        """Stops work whose lease is lost: another engine is about to do it again, or has."""
        self.counters.lost += 1
        log.warning("the lease of entry %s of flow %s is lost", held.entry.id, held.flow_id)
        self._stop(held)

    def _stop(self, held: InHand) -> None:
        """Stops a call, and lets go of its entry: at once where the call has not been made yet, as a
        task that is cancelled before it runs never hears of it."""
        if held.context is not None:
            held.context.cancel()
        if held.task is not None:
            held.task.cancel()
        if not held.is_called:
            self._forget(held)

    def let_go(self) -> list[Key]:
        """The entries that it has begun and then given up: pending for it still, and left to whoever
        takes them over. Safe from any thread."""
        return self._let_go.begun()

    # ----------------------------------------------------------------- the end

    def take_no_more(self) -> None:
        """Takes nothing new from now on, and hands back what is not begun."""
        self._is_draining = True
        self.intake.close()
        self.go_on()

    async def drain(self) -> None:
        """Takes nothing new, hands back what is not begun, and waits for what runs, up to the grace."""
        self.take_no_more()
        running = {held.task: held for held in self.hand.all() if held.task and not held.task.done()}
        if running:
            _, late = await asyncio.wait(running, timeout=self.config.grace_ms / 1000)
            for task, held in running.items():
                if task in late:
                    self._stop(held)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.config.grace_ms / 1000)

    async def leave_group(self, streams: Sequence[tuple[int, str]]) -> None:
        """Hands back what was delivered to a read that was cancelled, and leaves the consumer groups.

        What was begun or taken over may have run: it stays pending, for others to take over.
        """
        for _ in range(LEAVE_TRIES):
            leases = self.hand.leases()
            unnamed = self._let_go.unknown(self._store.renew(self.config.id, leases, streams).unnamed)
            if unnamed:
                await self._store.release(self.config.id, unnamed)
            if await self._store.retire(self.config.id):
                return

    def abort(self) -> None:
        """Stops everything at once, as if the process had died."""
        self.take_no_more()
        for held in self.hand.all():
            if held.task is not None:
                self._stop(held)
        for task in list(self._tasks):
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
