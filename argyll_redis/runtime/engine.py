"""An engine: takes released attempts, runs them, and posts what they came to.

It decides nothing. A delivered attempt that the flow's state still knows as the current one is run;
any other is acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from argyll_redis.core.collect import item_inputs
from argyll_redis.core.commands import (
    Abandon,
    Accepted,
    Answer,
    Broken,
    Command,
    Outcome,
    Report,
    ReportUndo,
    Succeeded,
    TimeOut,
)
from argyll_redis.core.model import JSON, Attribute, Step, StepType, Token, handler_of
from argyll_redis.core.state import Flow, StepStatus, WorkItem, WorkStatus
from argyll_redis.errors import HistoryLost, InvalidInput, StoreUnavailable, UnknownEvent
from argyll_redis.runtime.children import Children
from argyll_redis.runtime.clock import ServerClock, spread_ms
from argyll_redis.runtime.committer import Committer
from argyll_redis.runtime.intake import Intake
from argyll_redis.runtime.mailbox import Posted
from argyll_redis.runtime.memo import Memo
from argyll_redis.runtime.payload import ChildEnded, WorkReference, read_control, read_work
from argyll_redis.runtime.work import Hand, InHand, Key, key_of
from argyll_redis.steps.context import StepContext
from argyll_redis.steps.http_request import webhook_url
from argyll_redis.steps.job import Handler, Job, Undo
from argyll_redis.store.protocol import (
    CONTROL,
    EngineInfo,
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
LEFT_MS = 60_000
"""How long an entry that was let go of is remembered: longer than any call waits for a reply."""
OVER = frozenset({"completed", "failed"})


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How an engine works. Times are ms."""

    id: str
    queues: tuple[str, ...] = ("builtin",)
    """Those it serves, `builtin` among them."""
    handlers: tuple[str, ...] = ()
    """Names of the python functions it has."""
    types: tuple[StepType, ...] = ()
    """Those it can do that not every engine can."""
    concurrency: int = 100
    lease_ms: int = 10_000
    grace_ms: int = 30_000
    """How long a drain waits for running work."""
    webhook_base_url: str = ""
    """What comes before `/webhook/...`; empty when outcomes cannot be posted anywhere."""
    renew_in_thread: bool = True
    """False only under a virtual clock, where no thread may wait."""

    @property
    def info(self) -> EngineInfo:
        handlers = (*self.handlers, *map(handler_of, self.types))
        return EngineInfo(self.id, self.queues, handlers, self.lease_ms)


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


class Left(NamedTuple):
    """An entry that was let go of without an outcome."""

    at_ms: int
    """When, by the monotonic clock."""
    was_called: bool


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
        self._suspects: set[Key] = set()
        """Pending entries that were unknown at the last renewal."""
        self._left: dict[Key, Left] = {}
        """Entries that were let go of: a reply that delivers one of them comes too late."""
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

    def take(self, entry: Entry) -> None:
        """Takes a delivered entry in hand. One that nobody can read is moved to `dead`."""
        if entry in self.hand or key_of(entry) in self._left:
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
        flow = self._committer.cache.get(reference.flow_id)
        # A flow that does not know the token is an earlier one of this id, which has expired.
        if flow is not None and flow.version >= reference.version and flow.find(reference.token):
            self.begin(held, flow)
        else:
            self._committer.post(reference.flow_id, Arrival(self, held))

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
            self.leave(held, HistoryLost(missing))
            return
        if held.work.is_undo:
            self._begin_undo(held, held.work, flow)
            return
        item = _current_item(flow, held.work.token, held.work.attempt)
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
        elif not self.lease_is_sure:
            self._forget(held)
        else:
            self._begin(held, flow, step, item)

    def _begin_undo(self, held: InHand, work: WorkReference, flow: Flow) -> None:
        """Undoes a work item, if this attempt of it is still the current one; whatever the flow's state."""
        item = _current_undo(flow, work.token, work.attempt)
        if item is None:
            self.counters.acknowledged += 1
            self._settle(held, None)
            return
        step = flow.plan.steps[item.step]
        if self._is_draining or not self._can_undo(step):
            self._hand_back(held, step)
        elif not self.lease_is_sure:
            self._forget(held)
        else:
            undo = Undo({each.inner: value for each, value in _given(step, item)})
            self._call(held, flow, step, item, undo)

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
        self._left[key_of(held.entry)] = Left(self._clock.monotonic_ms(), held.is_called)
        self.hand.drop(held)
        self.intake.free_slot(held)

    def _hand_back(self, held: InHand, step: Step) -> None:
        """Gives an attempt back uncounted: at once when this engine drains, later when it has no
        function for it."""
        self.counters.handed_back += 1
        delay_ms = 0 if self._is_draining else HAND_BACK_DELAY_MS
        if delay_ms:
            name = _function_of(held, step)
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
        if isinstance(error, UnknownEvent) and held.is_fresh:
            self.intake.free_slot(held)
            self._spawn(self._release(held, LEAVE_DELAY_MS))
        elif isinstance(error, UnknownEvent | StoreUnavailable) and not isinstance(error, HistoryLost):
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
            await self._run(held, self._job(held, flow, step, item, inputs, None))

    def _call(self, held: InHand, flow: Flow, step: Step, item: WorkItem, undo: Undo | None = None) -> None:
        """Makes the call of an attempt, in a task of its own: of the work, or of its compensation."""
        job = self._job(held, flow, step, item, self._inputs_of(flow, step, item), undo)
        held.task = asyncio.get_running_loop().create_task(self._run(held, job))

    def _job(
        self,
        held: InHand,
        flow: Flow,
        step: Step,
        item: WorkItem,
        inputs: dict[str, JSON],
        undo: Undo | None,
    ) -> Job:
        assert held.work is not None
        timeout_ms, attempt = step.work.timeout_ms, held.work.attempt
        held.context = StepContext(
            flow_id=flow.id,
            step_id=step.id,
            token=item.token,
            attempt=attempt,
            deadline=self._clock.now_ms() + timeout_ms if timeout_ms else None,
        )
        return Job(flow.id, step, item.token, attempt, inputs, held.context, undo)

    def _inputs_of(self, flow: Flow, step: Step, item: WorkItem) -> dict[str, JSON]:
        """What a work item is called with, by inner name, meta inputs included."""
        inputs = item_inputs(step, flow.steps[step.id].inputs, item.index)
        for meta in step.metas:
            value = _meta(meta, flow, item, self.config.webhook_base_url)
            if value is not None:
                inputs[meta.inner] = value
        return inputs

    async def _run(self, held: InHand, job: Job) -> None:
        started_ms = self._clock.monotonic_ms()
        held.is_called = True
        try:
            outcome = await self._handlers[job.step.type](job)
        except asyncio.CancelledError:
            self._forget(held)
            raise
        except Exception as error:
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
        self._look_at_unnamed(reply, asked_ms)

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

    def _look_at_unnamed(self, reply: RenewReply, asked_ms: int) -> None:
        """Takes entries whose delivery or takeover was lost, once they were unknown at two renewals in
        a row: at one alone the reply may still be on its way."""
        self._forget_left(reply, asked_ms)
        suspects, self._suspects = self._suspects, set()
        for entries, take in ((reply.unnamed, self.intake.take_or_return), (reply.taken, self.take_over)):
            for entry in self._unknown(entries):
                if key_of(entry) in suspects:
                    self._left.pop(key_of(entry), None)
                    take(entry)
                self._suspects.add(key_of(entry))

    def let_go(self) -> list[Key]:
        """The entries that it has begun and then given up: pending for it still, and left to whoever
        takes them over. Safe from any thread."""
        return [key for key, left in list(self._left.items()) if left.was_called]

    def _unknown(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that are not in hand. What was begun here and then given up is not among them: it runs
        again only under another attempt, after a takeover."""
        return [
            entry
            for entry in entries
            if entry not in self.hand
            and not ((left := self._left.get(key_of(entry))) is not None and left.was_called)
        ]

    def _forget_left(self, reply: RenewReply, asked_ms: int) -> None:
        """Forgets what was let go of once no reply that delivers it can be on its way any more, and it
        is not pending for this engine."""
        if self._left:
            pending = {key_of(entry) for entry in (*reply.unnamed, *reply.taken)}
            since_ms = asked_ms - LEFT_MS
            self._left = {
                key: left for key, left in self._left.items() if left.at_ms >= since_ms or key in pending
            }

    # ----------------------------------------------------------------- the end

    def take_no_more(self) -> None:
        """Takes nothing new from now on, and hands back what is not begun."""
        self._is_draining = True
        self.intake.close()

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
            unnamed = self._unknown(self._store.renew(self.config.id, leases, streams).unnamed)
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


class Arrival(Posted):
    """An entry whose flow this process does not know well enough: it is begun once the flow is read."""

    __slots__ = ("engine", "held")

    def __init__(self, engine: Engine, held: InHand) -> None:
        super().__init__(None)
        self.engine = engine
        self.held = held

    @property
    def needs_version(self) -> int:
        return self.held.work.version if self.held.work else 0

    @property
    def may_be_anew(self) -> bool:
        return True

    def arrive(self, flow: Flow) -> bool:
        self.engine.begin(self.held, flow)
        return True

    def fail(self, error: BaseException) -> None:
        self.engine.leave(self.held, error)


class Settling(Posted):
    """What is said of an entry in hand, in the turn that acknowledges it."""

    __slots__ = ("engine", "held")

    def __init__(self, engine: Engine, held: InHand, command: Command | None) -> None:
        super().__init__(command, held.entry)
        self.engine = engine
        self.held = held

    def sent(self) -> None:
        self.engine.intake.free_slot(self.held)

    def succeed(self, answer: Answer) -> None:
        self.engine.hand.drop(self.held)

    def fail(self, error: BaseException) -> None:
        self.engine.leave(self.held, error)


def _current_item(flow: Flow, token: str, attempt: int) -> WorkItem | None:
    """The item of a token, when the attempt is the current one and its call is still to be made."""
    found = flow.find(Token(token))
    item = flow.item(*found) if found else None
    if item is None or item.status is not WorkStatus.ACTIVE or item.attempt != attempt or item.is_accepted:
        return None
    return item


def _current_undo(flow: Flow, token: Token, attempt: int) -> WorkItem | None:
    """The item of a token, when the attempt to undo it is the current one and its call is to be made."""
    found = flow.find(token)
    item = flow.item(*found) if found else None
    if item is None or item.undo is None or item.status is not WorkStatus.COMPENSATING:
        return None
    return item if item.undo.attempt == attempt and not item.undo.is_waiting else None


def _given(step: Step, item: WorkItem) -> Iterator[tuple[Attribute, JSON]]:
    """What an item gave that is to be undone, by declared output."""
    outputs = item.undone_outputs
    return ((each, outputs[each.name]) for each in step.outputs if each.name in outputs)


def _function_of(held: InHand, step: Step) -> str:
    """The name of the function that an entry needs."""
    if step.python is None:
        return step.id
    is_undo = held.work is not None and held.work.is_undo
    return (step.python.undo or step.python.handler) if is_undo else step.python.handler


def _meta(meta: Attribute, flow: Flow, item: WorkItem, base_url: str) -> JSON:
    """What a meta input is filled with; None leaves it out."""
    match meta.key:
        case "flow_id":
            return flow.id
        case "step_id":
            return item.step
        case "receipt_token":
            return item.token
        case "attempt":
            return item.attempt
        case "webhook_url":
            return webhook_url(base_url, flow.id, item.step, item.token) if base_url else None
        case key:
            return flow.metadata.get(key or "")
