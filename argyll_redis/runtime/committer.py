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
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from argyll_redis.core.commands import Answer, Command, Look, Report, Start
from argyll_redis.core.inputs import Evaluate
from argyll_redis.core.model import Plan
from argyll_redis.core.outbox import has_come_due
from argyll_redis.core.state import Flow
from argyll_redis.core.turn import MAX_COMMANDS_A_TURN
from argyll_redis.errors import (
    ArgyllError,
    CallRefused,
    InvariantBroken,
    NamespaceEmptied,
    StoreUnavailable,
)
from argyll_redis.runtime.breaker import Breaker
from argyll_redis.runtime.cache import FlowCache
from argyll_redis.runtime.clock import ServerClock, spread_ms
from argyll_redis.runtime.condition import Condition, LeftAlone, condition_of
from argyll_redis.runtime.expiry import Expiry
from argyll_redis.runtime.logs import Logs
from argyll_redis.runtime.mailbox import Asked, Mailbox, Posted
from argyll_redis.runtime.refusals import Refusals
from argyll_redis.runtime.sending import Counters, Sender
from argyll_redis.runtime.turns import InFlight, TurnMaker, answer_starts
from argyll_redis.runtime.warming import Warming
from argyll_redis.store.protocol import (
    Committed,
    Due,
    Entry,
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
ASK_LIMIT_S = 30
"""How long somebody waits for an answer while the server is away; long enough for a restart."""


OnReport = Callable[[Flow, Report], None]
"""Told of an outcome that this process has committed and that counted."""
Listener = Callable[[Flow, int], None]
"""Told of a flow and the version it had before, after each commit of this process."""


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
        self.listeners: list[Listener] = []
        self.on_report: OnReport | None = None
        self.left_alone = LeftAlone()
        self.breaker = Breaker()
        """Open while a commit is refused by a server that takes no writes."""
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
        self.sender = Sender(store, counters=self.counters, breaker=self.breaker, spread=spread)
        self._warming = Warming(self, logs, self._expiry, spread)
        self._refusals = Refusals(self, logs, self._expiry, spread)

    @property
    def quarantined(self) -> Mapping[str, ArgyllError]:
        """Flows that are left alone, and why."""
        return self.left_alone.flows

    @property
    def condition(self) -> Condition:
        """What is wrong with this process, as others are told."""
        return condition_of(self.breaker, self.left_alone)

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
            self.make_ready(box)

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
            why = self.breaker.reason or "Redis is away, or this process is too busy"
            raise StoreUnavailable(
                f"no answer within {ASK_LIMIT_S} s: {why}; it may still be done (ask the same again)"
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

    def remember(self, flow: Flow, added_bytes: int = 0) -> None:
        """Keeps a flow in the cache. One that is left alone stays out: work of it would be begun."""
        if flow.id not in self.left_alone.flows:
            self.cache.put(flow, added_bytes)

    def make_ready(self, box: Mailbox) -> None:
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
            self.stop(_as_bug(error), error)

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
                self.spawn(self._warming.warm(cold))
            if batch:
                self._calls += 1
                self.spawn(self._send(batch))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()):
            self.stop(InvariantBroken(f"the committer failed: {error!r}"), error)

    def stop(
        self, fatal: ArgyllError, error: BaseException | None = None, *, boxes: Sequence[Mailbox] = ()
    ) -> None:
        """Commits nothing any more; everybody who waits is told, in these mailboxes too."""
        if self.fatal is None:
            log.critical("nothing more is committed: %s", fatal, exc_info=error)
            self.fatal = fatal
            self.gave_up.set()
        for box in (*self._boxes.values(), *boxes):
            while box.waiting:
                box.waiting.popleft().fail(fatal)
        self._boxes.clear()
        self._ready.clear()
        self._idle.set()

    # ------------------------------------------------------------------- decide

    def _is_cold(self, box: Mailbox) -> bool:
        """Whether a flow must be read before anything can be decided on it."""
        if not box.waiting or (needs := box.needs_version) <= box.read_for:
            return False
        flow = self.cache.get(box.flow_id)
        if flow is None:
            return needs > 0 or not isinstance(box.waiting[0].command, Start)
        is_behind = flow.version < needs
        if not self._expiry.is_possible(flow) or not (is_behind or box.may_be_anew):
            return is_behind
        self.cache.drop(flow.id)  # read anew: the server may have another flow of this id, or none
        return True

    def _decide(self, box: Mailbox) -> InFlight | None:
        flow = self.cache.get(box.flow_id) or box.flow or Flow(box.flow_id)
        box.flow, box.read_for = None, -1
        posted = [each for each in box.take(MAX_COMMANDS_A_TURN) if not self.show(each, flow)]
        if (wrong := self.quarantined.get(flow.id)) is not None:
            box.put_back(posted)
            self.leave_alone(box, wrong)
            return None
        posted = answer_starts(flow, posted) if flow.version else self._first_start(box, posted)
        if not posted:
            self.go_on(box)
            return None
        try:
            return self._turns.make(box, flow, posted, now_ms=self._clock.now_ms())
        except Exception as error:
            self._give_up(box, posted, error, is_start=flow.version == 0)
            return None

    def show(self, posted: Posted, flow: Flow) -> bool:
        """Shows a flow to what waits for it; True when that was all. A log may hold anything, and what was
        folded none the less may fail here: that is of this flow, and ends no engine."""
        try:
            return posted.arrive(flow)
        except Exception as error:
            self.distrust(flow.id, _as_bug(error))
            posted.fail(_as_bug(error))
            return True

    def _give_up(self, box: Mailbox, posted: list[Posted], error: Exception, *, is_start: bool) -> None:
        """Ends what can be neither decided nor committed: a bug."""
        if is_start:
            for each in posted:
                each.fail(_as_bug(error))  # a start that failed leaves its id to a better one
            self.go_on(box)
        else:
            box.put_back(posted)
            self.leave_alone(box, _as_bug(error))

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
        try:
            await self._commit(batch, fetches=True)
        finally:
            self._calls -= 1
        if self._ready:
            self._wake()

    async def _commit(self, batch: list[InFlight], *, fetches: bool) -> None:
        """Commits a batch. What the server calls wrong is wrong with one of its turns: each is sent alone,
        and the flow of one that is refused alone is left alone."""
        try:
            reply = await self.sender.send([sent.turn for sent in batch], fetches=fetches)
        except NamespaceEmptied as error:
            for sent in batch:
                sent.box.put_back(sent.posted)
            self.stop(error, boxes=[sent.box for sent in batch])
        except (CallRefused, ValueError) as error:
            if len(batch) > 1:
                for sent in batch:
                    await self._commit([sent], fetches=False)
            else:
                self._give_up(batch[0].box, batch[0].posted, error, is_start=batch[0].turn.version == 0)
        else:
            self._clock.read(reply.now_ms)
            for sent, answer in zip(batch, reply.turns, strict=True):
                self._take_reply(sent, answer)

    # -------------------------------------------------------------------- reply

    def _take_reply(self, sent: InFlight, reply: TurnReply) -> None:
        self.counters.turns += 1
        match reply:
            case Committed():
                self._committed(sent, reply.at)
            case PlanMissing():
                self._turns.plan_is_missing(sent.turn.partition, reply.hash)
                sent.box.put_back(sent.posted)
                self.make_ready(sent.box)
            case Refused():
                self.counters.refusals += 1
                self._refusals.take(sent, reply)

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
            self.remember(flow, sent.size)
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
        self.go_on(sent.box)
        if flow.version > before:
            self.tell(flow, before)

    def go_on(self, box: Mailbox) -> None:
        if box.waiting:
            self.make_ready(box)
        else:
            self._release(box)

    def _release(self, box: Mailbox) -> None:
        box.is_busy = False
        if self._boxes.get(box.flow_id) is box:
            del self._boxes[box.flow_id]
        if not self._boxes:
            self._idle.set()

    def was_committed(self, sent: InFlight, flow: Flow) -> None:
        """Takes in that a refused turn had been committed before: only its reply was lost."""
        self.counters.commits += 1
        self._answer(sent, flow, sent.turn.version)

    def tell(self, flow: Flow, before: int) -> None:
        for listener in self.listeners:
            listener(flow, before)

    def leave_alone(self, box: Mailbox, error: ArgyllError) -> None:
        """Leaves a flow alone from now on, loudly; nothing of it is acknowledged."""
        self.distrust(box.flow_id, error)
        for posted in box.waiting:
            posted.fail(error)
        box.waiting.clear()
        self._release(box)

    def distrust(self, flow_id: str, error: ArgyllError) -> None:
        """Notes that a flow is to be left alone, whoever found that out."""
        if flow_id not in self.left_alone.flows:
            log.error('flow "%s" is left alone: %s', flow_id, error, exc_info=error)
        self.left_alone.add(flow_id, error)
        self.cache.drop(flow_id)


def _as_bug(error: Exception) -> ArgyllError:
    """What is raised where nothing should be, as an error of this package."""
    return error if isinstance(error, ArgyllError) else InvariantBroken(f"this is a bug: {error!r}")
