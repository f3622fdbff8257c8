"""From commands to committed events: mailboxes, turns, batches of turns, one call at a time and more.

Commands of one flow are decided together in one turn. Turns of many flows that are ready together
travel in one call, while earlier calls are in flight; so batches grow with load by themselves, with
no timer. A turn is decided as late as possible, when its call is about to be sent.

A refused turn is decided again on the events that came with the refusal. A call without a reply is
sent again with the same transaction ids; a refusal that shows this very transaction means that it
had been committed. A flow whose history is not the server's is left alone, loudly.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from argyll_redis.core.commands import Answer, Command, Look, Report, Start
from argyll_redis.core.decide import evolve
from argyll_redis.core.inputs import Evaluate
from argyll_redis.core.model import Plan
from argyll_redis.core.outbox import has_come_due
from argyll_redis.core.state import Flow
from argyll_redis.core.turn import MAX_COMMANDS_A_TURN
from argyll_redis.errors import (
    ArgyllError,
    HistoryLost,
    InvariantBroken,
    NamespaceEmptied,
    StoreUnavailable,
    UnknownEvent,
)
from argyll_redis.runtime.cache import FlowCache
from argyll_redis.runtime.clock import ServerClock, spread_ms
from argyll_redis.runtime.expiry import Expiry
from argyll_redis.runtime.logs import Logs
from argyll_redis.runtime.mailbox import Asked, Mailbox, Posted
from argyll_redis.runtime.turns import InFlight, TurnMaker, answer_starts
from argyll_redis.store.protocol import (
    CommitReply,
    Committed,
    Due,
    Entry,
    Fetch,
    PlanMissing,
    Refused,
    Store,
    TurnReply,
)

log = logging.getLogger(__name__)

CALLS_IN_FLIGHT = 4
"""Commit calls on their way at a time; more would make batches smaller, fewer would wait for replies."""
TURNS_A_CALL = 50
"""Turns in one call: about 1 ms of the server's time at about 20 us each."""
EVENTS_A_CALL = 500
"""Events in one call; a turn that alone has more travels alone."""
BYTES_A_CALL = 256 * 1024
"""Bytes of events in one call, but for the last turn: Redis copies about a GB in a second."""
BACKOFF_MS = 50
"""Longest delay before the first repeated call; it doubles up to `MAX_BACKOFF_MS`."""
MAX_BACKOFF_MS = 2_000
CONFLICT_DELAY_MS = 5
"""Longest delay after a second refusal in a row; it doubles up to `MAX_CONFLICT_DELAY_MS`."""
MAX_CONFLICT_DELAY_MS = 200
ASK_LIMIT_S = 30
"""How long somebody waits for an answer while the server is away; long enough for a restart."""


class Fetcher(Protocol):
    """An engine, as the committer sees it: it may take entries home with every call."""

    def reserve(self, partitions: Sequence[int]) -> Fetch | None:
        """Reserves the free slots for one call that commits to these partitions; None when nothing
        is to be fetched."""
        ...

    def deliver(self, entries: Sequence[Entry], fetch: Fetch) -> None:
        """Takes what was fetched and gives back the rest of the reservation."""
        ...


OnReport = Callable[[Flow, Report], None]
"""Told of an outcome that this process has committed and that counted."""
Listener = Callable[[Flow, int], None]
"""Told of a flow and the version it had before, after each commit of this process."""


@dataclass(slots=True)
class Counters:
    """What was done so far; for tests, benchmarks and metrics."""

    calls: int = 0
    turns: int = 0
    commits: int = 0
    events: int = 0
    refusals: int = 0
    ignored: int = 0
    unknown: int = 0
    """Commands that named a flow or a token that does not exist."""
    resent: int = 0
    by_error: dict[str, int] = field(default_factory=dict[str, int])


class Committer:
    """Decides and commits everything that this process has to say about flows."""

    def __init__(
        self,
        store: Store,
        logs: Logs,
        *,
        client_id: str,
        clock: ServerClock,
        evaluate: Evaluate,
        spread: Callable[[float], float] = spread_ms,
        retention_ms: int = 0,
    ) -> None:
        self.cache = FlowCache()
        self.counters = Counters()
        self.fetcher: Fetcher | None = None
        self.listeners: list[Listener] = []
        self.on_report: OnReport | None = None
        self.quarantined: dict[str, ArgyllError] = {}
        """Flows that are left alone, and why."""
        self.fatal: ArgyllError | None = None
        """Why nothing is committed any more."""
        self.gave_up = asyncio.Event()
        """Set with `fatal`."""
        self.on_due: Callable[[int], None] | None = None
        """Told when a due entry that was committed here is due (ms, server clock)."""
        self._store = store
        self._logs = logs
        self._clock = clock
        self._spread = spread
        self._expiry = Expiry(retention_ms, store=store, clock=clock)
        self._boxes: dict[str, Mailbox] = {}
        self._ready: deque[Mailbox] = deque()
        self._calls = 0
        self._is_pump_due = False
        self._idle = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._timer_by = f"timer:{client_id}"
        self._turns = TurnMaker(store, logs, client_id=client_id, evaluate=evaluate)

    # -------------------------------------------------------------- from outside

    def post(self, flow_id: str, posted: Posted) -> None:
        """Takes a command for a flow; it is decided as soon as a call can carry it."""
        if self.fatal is not None or flow_id in self.quarantined:
            posted.fail(self.fatal or self.quarantined[flow_id])
            return
        box = self._boxes.get(flow_id)
        if box is None:
            box = self._boxes[flow_id] = Mailbox(flow_id)
        box.waiting.append(posted)
        if not box.is_busy:
            self._make_ready(box)

    async def ask(self, flow_id: str, command: Command, entry: Entry | None = None) -> Answer:
        """Posts a command and waits for its answer, given after its commit.

        Raises `StoreUnavailable` when there is none in time; the command may still be committed later,
        so whoever asked asks the same again.
        """
        asked = Asked(command, entry)
        self.post(flow_id, asked)
        try:
            async with asyncio.timeout(ASK_LIMIT_S):
                return await asked.answer
        except TimeoutError:
            raise StoreUnavailable(
                f"no answer within {ASK_LIMIT_S} s: Redis is away, or this process is too busy; it may "
                "still be done (ask the same again)"
            ) from None
        finally:
            self._withdraw(flow_id, asked)

    def _withdraw(self, flow_id: str, asked: Asked) -> None:
        """Takes back a command that nobody waits for any more, unless it is on its way."""
        box = self._boxes.get(flow_id)
        if box is not None and asked in box.waiting:
            box.waiting.remove(asked)

    def hash_of(self, plan: Plan) -> str:
        """The hash by which a flow is started with a plan."""
        return self._logs.plans.name(plan)

    async def close(self) -> None:
        """Waits until everything that was posted is committed, or nothing is committed any more."""
        while self._boxes and self.fatal is None:
            self._idle.clear()
            await self._idle.wait()
        self.abort()

    def shut(self) -> None:
        """Refuses whatever is posted from now on: the store is about to be closed."""
        self.fatal = self.fatal or StoreUnavailable("the app was closed (it connects again when it is used)")

    def abort(self) -> None:
        """Drops everything at once, as if the process had died."""
        for task in list(self._tasks):
            task.cancel()

    @property
    def is_idle(self) -> bool:
        return not self._boxes

    # -------------------------------------------------------------------- pump

    def _make_ready(self, box: Mailbox) -> None:
        box.is_busy = True
        self._ready.append(box)
        self._wake()

    def _wake(self) -> None:
        if not self._is_pump_due and self._calls < CALLS_IN_FLIGHT:
            self._is_pump_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Sends what is ready, in calls as large as allowed, while calls may be sent."""
        self._is_pump_due = False
        try:
            self._send_ready()
        except Exception as error:
            self._stop(_as_bug(error), error)

    def _send_ready(self) -> None:
        while self._ready and self._calls < CALLS_IN_FLIGHT and self.fatal is None:
            cold: list[Mailbox] = []
            batch: list[InFlight] = []
            events = size = 0
            while (
                self._ready and len(batch) < TURNS_A_CALL and events < EVENTS_A_CALL and size < BYTES_A_CALL
            ):
                box = self._ready.popleft()
                if self._is_cold(box):
                    cold.append(box)
                    continue
                made = self._decide(box)
                for each in (made, *self._behind(made)) if made is not None else ():
                    batch.append(each)
                    events += len(each.turn.events)
                    size += each.size
            if cold:
                self._spawn(self._warm(cold))
            if batch:
                self._calls += 1
                self._spawn(self._send(batch))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()):
            self._stop(InvariantBroken(f"the committer failed: {error!r}"), error)

    def _stop(self, fatal: ArgyllError, error: BaseException | None = None) -> None:
        """Commits nothing any more; everybody who waits is told."""
        if self.fatal is None:
            log.critical("nothing more is committed: %s", fatal, exc_info=error)
            self.fatal = fatal
            self.gave_up.set()
        for box in self._boxes.values():
            for posted in box.waiting:
                posted.fail(fatal)
        self._boxes.clear()
        self._ready.clear()
        self._idle.set()

    # ------------------------------------------------------------------- decide

    def _is_cold(self, box: Mailbox) -> bool:
        """Whether a flow must be read before anything can be decided on it."""
        if not box.waiting or box.needs_version <= box.read_for:
            return False
        flow = self.cache.get(box.flow_id)
        if flow is None:
            return box.needs_version > 0 or not isinstance(box.waiting[0].command, Start)
        is_behind = flow.version < box.needs_version
        if not self._expiry.is_possible(flow) or not (is_behind or box.may_be_anew):
            return is_behind
        self.cache.drop(flow.id)  # read anew: the server may have another flow of this id, or none
        return True

    async def _warm(self, boxes: list[Mailbox]) -> None:
        """Reads the logs of flows that are not in the cache, all in one read."""
        flows = [self.cache.get(box.flow_id) or Flow(box.flow_id) for box in boxes]
        needs = [box.needs_version for box in boxes]
        delay = BACKOFF_MS
        while True:
            try:
                read_bytes = await self._logs.catch_up(flows)
            except NamespaceEmptied as error:
                self._stop(error)
                return
            except StoreUnavailable as error:
                if isinstance(error, HistoryLost):
                    break
                await asyncio.sleep(self._spread(delay) / 1000)
                delay = min(delay * 2, MAX_BACKOFF_MS)
            except (InvariantBroken, UnknownEvent):
                break
            else:
                for flow, box, read_for in zip(flows, boxes, needs, strict=True):
                    self._was_read(box, flow, read_for, read_bytes[flow.id])
                return
        await self._warm_alone(boxes)

    async def _warm_alone(self, boxes: list[Mailbox]) -> None:
        """Reads flows one by one, when one of them cannot be read: that one is left alone."""
        for box in boxes:
            flow, read_for = Flow(box.flow_id), box.needs_version
            try:
                read_bytes = await self._logs.catch_up([flow])
            except (InvariantBroken, UnknownEvent, HistoryLost) as error:
                self._quarantine(box, error)
            except StoreUnavailable:
                self._make_ready(box)
            else:
                self._was_read(box, flow, read_for, read_bytes[flow.id])

    def _was_read(self, box: Mailbox, flow: Flow, read_for: int, read_bytes: int) -> None:
        box.flow, box.read_for = flow, read_for
        if flow.version:
            self.cache.put(flow, read_bytes)
        self._make_ready(box)

    def _decide(self, box: Mailbox) -> InFlight | None:
        flow = self.cache.get(box.flow_id) or box.flow or Flow(box.flow_id)
        box.flow, box.read_for = None, -1
        posted = [each for each in box.take(MAX_COMMANDS_A_TURN) if not each.arrive(flow)]
        posted = answer_starts(flow, posted) if flow.version else self._first_start(box, posted)
        if not posted:
            self._go_on(box)
            return None
        try:
            return self._turns.make(box, flow, posted, now_ms=self._clock.now_ms())
        except Exception as error:
            if flow.version == 0:
                for each in posted:
                    each.fail(_as_bug(error))  # a start that failed leaves its id to a better one
                self._go_on(box)
            else:
                box.put_back(posted)
                self._quarantine(box, _as_bug(error))
            return None

    def _behind(self, made: InFlight) -> Iterator[InFlight]:
        """Turns that travel right behind one, of flows that are known and have nothing on their way."""
        for posted in made.posted:
            flow_id = posted.next_flow
            if flow_id is None or flow_id in self._boxes or flow_id in self.quarantined:
                continue
            if self.cache.get(flow_id) is None:
                continue
            box = self._boxes[flow_id] = Mailbox(flow_id, is_busy=True)
            box.waiting.append(posted.next_posted())
            behind = self._decide(box)
            if behind is not None:
                yield behind

    def _first_start(self, box: Mailbox, posted: list[Posted]) -> list[Posted]:
        """Leaves all starts but the first to the next turn, which answers them by what this one commits."""
        others = [each for each in posted if isinstance(each.command, Start)][1:]
        box.put_back(others)
        return [each for each in posted if each not in others]

    # --------------------------------------------------------------------- send

    async def _send(self, batch: list[InFlight]) -> None:
        for sent in batch:
            for posted in sent.posted:
                posted.sent()
        partitions = list(dict.fromkeys(sent.turn.partition for sent in batch))
        fetch = self.fetcher.reserve(partitions) if self.fetcher else None
        try:
            reply = await self._call(batch, fetch)
        finally:
            self._calls -= 1
        if reply is None:
            return
        self._clock.read(reply.now_ms)
        for sent, answer in zip(batch, reply.turns, strict=True):
            self._take_reply(sent, answer)
        if self._ready:
            self._wake()

    async def _call(self, batch: list[InFlight], fetch: Fetch | None) -> CommitReply | None:
        """Commits a batch, however often it takes; None when nothing is committed any more."""
        turns = [sent.turn for sent in batch]
        delay = BACKOFF_MS
        while True:
            self.counters.calls += 1
            try:
                reply = await self._store.commit(turns, fetch)
            except NamespaceEmptied as error:
                self._give_back(fetch)
                for sent in batch:
                    sent.box.put_back(sent.posted)
                self._stop(error)
                return None
            except StoreUnavailable as error:
                self._give_back(fetch)
                fetch = None
                self.counters.resent += 1
                kind = type(error).__name__
                self.counters.by_error[kind] = self.counters.by_error.get(kind, 0) + 1
                log.warning("a commit is sent again: %s", error)
                await asyncio.sleep(self._spread(delay) / 1000)
                delay = min(delay * 2, MAX_BACKOFF_MS)
            else:
                if fetch is not None and self.fetcher is not None:
                    self.fetcher.deliver(reply.entries, fetch)
                return reply

    def _give_back(self, fetch: Fetch | None) -> None:
        if fetch is not None and self.fetcher is not None:
            self.fetcher.deliver((), fetch)

    # -------------------------------------------------------------------- reply

    def _take_reply(self, sent: InFlight, reply: TurnReply) -> None:
        self.counters.turns += 1
        match reply:
            case Committed():
                self._committed(sent, reply.at)
            case PlanMissing():
                self._turns.plan_is_missing(sent.turn.partition, reply.hash)
                sent.box.put_back(sent.posted)
                self._make_ready(sent.box)
            case Refused():
                self._refused(sent, reply)

    def _committed(self, sent: InFlight, at: int) -> None:
        before = sent.turn.version
        flow = sent.decision.keep(at=at, tx=sent.turn.tx)
        if sent.turn.events:
            self.counters.commits += 1
            self.counters.events += len(sent.turn.events)
            if self.on_due is not None:
                for op in sent.turn.ops:
                    if isinstance(op, Due):
                        self.on_due(at + op.delay_ms)
            if before == 0:
                self._turns.plan_is_there(sent.turn.partition, flow.plan_hash)
        if flow.version:
            self.cache.put(flow, sent.size)
        self._answer(sent, flow, before)

    def _answer(self, sent: InFlight, flow: Flow, before: int) -> None:
        for posted, answer in sent.answers:
            self.counters.ignored += not answer.counted
            self.counters.unknown += answer.unknown
            posted.succeed(answer)
            if answer.counted and self.on_report is not None and isinstance(posted.command, Report):
                self.on_report(flow, posted.command)
        sent.box.refusals = 0
        if has_come_due(flow, after_ms=sent.now_ms, until_ms=flow.at_of(before + 1)):
            sent.box.waiting.append(Posted(Look(self._timer_by)))
        self._go_on(sent.box)
        if flow.version > before:
            self._tell(flow, before)

    def _go_on(self, box: Mailbox) -> None:
        if box.waiting:
            self._make_ready(box)
        else:
            self._release(box)

    def _release(self, box: Mailbox) -> None:
        box.is_busy = False
        if self._boxes.get(box.flow_id) is box:
            del self._boxes[box.flow_id]
        if not self._boxes:
            self._idle.set()

    def _refused(self, sent: InFlight, reply: Refused) -> None:
        """Takes in what was missed and decides again, unless this transaction is part of it."""
        self.counters.refusals += 1
        turn, flow = sent.turn, sent.decision.draft.base
        if reply.version < turn.version:
            self._regressed(sent, reply)
            return
        try:
            missed = self._missed(flow, reply)
        except HistoryLost as error:
            self._spawn(self._lost(sent, error))
            return
        except (InvariantBroken, UnknownEvent) as error:
            self._leave_alone(sent, error)
            return
        if missed is None or reply.more:
            self._spawn(self._read_on(sent, reply))  # the other turns of the call do not wait for it
        else:
            self._go_on_from(sent, reply)

    def _missed(self, flow: Flow, reply: Refused) -> Flow | None:
        """Folds the events that a refusal brought. None for a refused start: it brings the first
        event alone, which needs its plan, and the log is read."""
        if flow.version == 0:
            return None
        held, *missed = reply.missed
        if held.version != flow.version or held.tx != flow.last_tx:
            raise HistoryLost(
                f'the history of flow "{flow.id}" is not the one that was known at version '
                f"{flow.version}: the server has lost or forked it"
            )
        return evolve(flow, self._logs.record(missed))

    def _go_on_from(self, sent: InFlight, reply: Refused) -> None:
        """The flow is caught up: either this very transaction had been committed and only its reply
        was lost, or its commands are decided again."""
        box, turn, flow = sent.box, sent.turn, sent.decision.draft.base
        box.flow = flow
        self.cache.put(flow)
        if turn.events and any(event.tx == turn.tx for event in reply.missed):
            self.counters.commits += 1
            self._answer(sent, flow, turn.version)
            return
        box.refusals += 1
        box.put_back(sent.posted)
        if flow.version > turn.version:
            self._tell(flow, turn.version)
        self._retry_later(box)

    def _leave_alone(self, sent: InFlight, error: ArgyllError) -> None:
        sent.box.put_back(sent.posted)
        self._quarantine(sent.box, error)

    def _tell(self, flow: Flow, before: int) -> None:
        for listener in self.listeners:
            listener(flow, before)

    async def _read_on(self, sent: InFlight, reply: Refused) -> None:
        """Reads what a refusal did not bring, then goes on."""
        flow = sent.decision.draft.base
        delay = BACKOFF_MS
        while True:
            try:
                await self._logs.catch_up([flow])
            except NamespaceEmptied as error:
                sent.box.put_back(sent.posted)
                self._stop(error)
                return
            except (InvariantBroken, UnknownEvent, HistoryLost) as error:
                self._leave_alone(sent, error)
                return
            except StoreUnavailable:
                await asyncio.sleep(self._spread(delay) / 1000)
                delay = min(delay * 2, MAX_BACKOFF_MS)
            else:
                self._go_on_from(sent, reply)
                return

    def _retry_later(self, box: Mailbox) -> None:
        """Decides again: at once and after a growing, random delay by turns, so that processes that
        collide on a flow come apart. What is decided after a delay rests on a state as old as the
        delay; where others commit all the time, only the one at once after it has a chance."""
        if box.refusals % 2:
            self._make_ready(box)
            return
        limit = min(CONFLICT_DELAY_MS * 2 ** min(box.refusals // 2 - 1, 10), MAX_CONFLICT_DELAY_MS)
        asyncio.get_running_loop().call_later(self._spread(limit) / 1000, self._make_ready, box)

    def _regressed(self, sent: InFlight, reply: Refused) -> None:
        """The server knows less than this process."""
        lost = HistoryLost(
            f'flow "{sent.box.flow_id}" is at version {reply.version} on the server but was known at '
            f"{sent.turn.version}: the server has lost history; the flow is left alone"
        )
        self._spawn(self._lost(sent, lost))

    async def _lost(self, sent: InFlight, lost: HistoryLost) -> None:
        """The history that this process knows is not the server's. A flow that has expired is forgotten,
        and its commands are decided on what there is now; any other one is left alone."""
        flow = sent.decision.draft.base
        delay = BACKOFF_MS
        while True:
            try:
                has_expired = await self._expiry.has_passed(flow)
                break
            except NamespaceEmptied as error:
                sent.box.put_back(sent.posted)
                self._stop(error)
                return
            except StoreUnavailable:
                await asyncio.sleep(self._spread(delay) / 1000)
                delay = min(delay * 2, MAX_BACKOFF_MS)
        if not has_expired:
            self._leave_alone(sent, lost)
            return
        self.cache.drop(flow.id)
        sent.box.put_back(sent.posted)
        self._go_on(sent.box)

    def _quarantine(self, box: Mailbox, error: ArgyllError) -> None:
        """Leaves a flow alone from now on, loudly; nothing of it is acknowledged."""
        log.error('flow "%s" is left alone: %s', box.flow_id, error, exc_info=error)
        self.quarantined[box.flow_id] = error
        self.cache.drop(box.flow_id)
        for posted in box.waiting:
            posted.fail(error)
        box.waiting.clear()
        self._release(box)


def _as_bug(error: Exception) -> ArgyllError:
    """What is raised where nothing should be, as an error of this package."""
    return error if isinstance(error, ArgyllError) else InvariantBroken(f"this is a bug: {error!r}")
