"""What becomes of a turn that was refused: the flow has gone on, or the server's history is another one.

A refused turn is decided again on the events that came with the refusal. One that finds its own
transaction among them had been committed, and only the reply was lost. A server that knows less than
this process, or something else at the same version, has lost history: unless the flow has expired, it
is left alone, loudly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from argyll_redis.core.decide import evolve
from argyll_redis.core.state import Flow
from argyll_redis.errors import (
    ArgyllError,
    HistoryLost,
    InvariantBroken,
    NamespaceEmptied,
    UnknownEvent,
)
from argyll_redis.runtime.expiry import Expiry
from argyll_redis.runtime.logs import Logs, check_held
from argyll_redis.runtime.mailbox import Desk, Mailbox
from argyll_redis.runtime.patience import until_answered
from argyll_redis.runtime.turns import InFlight
from argyll_redis.store.protocol import Refused

CONFLICT_DELAY_MS = 5
"""Longest delay after a second refusal in a row; it doubles up to `MAX_CONFLICT_DELAY_MS`."""
MAX_CONFLICT_DELAY_MS = 200
REFUSALS_OF_NOTHING = 3
"""How often in a row a flow may be refused that has no log. One that expires meanwhile is, once or twice."""


class TurnDesk(Desk, Protocol):
    """The committer, to whoever deals with turns."""

    def was_committed(self, sent: InFlight, flow: Flow) -> None:
        """Takes in that a refused turn had been committed before, and answers for it."""
        ...

    def tell(self, flow: Flow, before: int) -> None:
        """Tells all listeners that a flow has gone on from a version."""
        ...


class Refusals:
    """Deals with the refused turns of a committer."""

    def __init__(self, desk: TurnDesk, logs: Logs, expiry: Expiry, spread: Callable[[float], float]) -> None:
        self._desk = desk
        self._logs = logs
        self._expiry = expiry
        self._spread = spread

    def take(self, sent: InFlight, reply: Refused) -> None:
        """Takes in what was missed and decides again, unless this transaction is part of it."""
        turn, flow = sent.turn, sent.decision.draft.base
        try:
            if reply.version < turn.version:
                raise HistoryLost(
                    f'flow "{flow.id}" is at version {reply.version} on the server but was known at '
                    f"{turn.version}: the server has lost history; the flow is left alone",
                    others_may_go_on=True,
                )
            missed = self._missed(flow, reply)
        except HistoryLost as error:
            self._desk.spawn(self._lost(sent, error))
        except (InvariantBroken, UnknownEvent) as error:
            self._leave_alone(sent, error)
        else:
            if missed is None or reply.more:
                self._desk.spawn(self._read_on(sent, reply))  # the other turns do not wait for it
            else:
                self._go_on_from(sent, reply)

    def _missed(self, flow: Flow, reply: Refused) -> Flow | None:
        """Folds the events that a refusal brought. None for a refused start: it brings the first
        event alone, which needs its plan, and the log is read."""
        if flow.version == 0:
            return None
        held, *missed = reply.missed
        check_held(flow, held)
        return evolve(flow, self._logs.record(missed))

    def _go_on_from(self, sent: InFlight, reply: Refused) -> None:
        """The flow is caught up: either this very transaction had been committed and only its reply
        was lost, or its commands are decided again."""
        box, turn, flow = sent.box, sent.turn, sent.decision.draft.base
        box.flow = flow
        self._desk.remember(flow)
        if turn.events and any(event.tx == turn.tx for event in reply.missed):
            self._desk.was_committed(sent, flow)
            return
        if flow.version == turn.version and (flow.version or box.refusals >= REFUSALS_OF_NOTHING):
            # Nothing was missed, and deciding again would be refused again, for ever.
            what = f'the head of flow "{flow.id}" does not go with its log, which ends at {flow.version}'
            error = HistoryLost(f"{what}; the flow is left alone")
            if flow.version:
                self._desk.spawn(self._lost(sent, error))
            else:
                self._leave_alone(sent, error)
            return
        box.refusals += 1
        box.put_back(sent.posted)
        if flow.version > turn.version:
            self._desk.tell(flow, turn.version)
        self._retry_later(box)

    def _retry_later(self, box: Mailbox) -> None:
        """Decides again: at once and after a growing, random delay by turns, so that processes that
        collide on a flow come apart. What is decided after a delay rests on a state as old as the
        delay; where others commit all the time, only the one at once after it has a chance."""
        if box.refusals % 2:
            self._desk.make_ready(box)
            return
        limit = min(CONFLICT_DELAY_MS * 2 ** min(box.refusals // 2 - 1, 10), MAX_CONFLICT_DELAY_MS)
        asyncio.get_running_loop().call_later(self._spread(limit) / 1000, self._desk.make_ready, box)

    async def _read_on(self, sent: InFlight, reply: Refused) -> None:
        """Reads what a refusal did not bring, then goes on."""
        flow = sent.decision.draft.base
        try:
            await until_answered(lambda: self._logs.catch_up([flow]), self._spread)
        except NamespaceEmptied as error:
            self._stop(sent, error)
        except (InvariantBroken, UnknownEvent, HistoryLost) as error:
            self._leave_alone(sent, error)
        else:
            self._go_on_from(sent, reply)

    async def _lost(self, sent: InFlight, lost: HistoryLost) -> None:
        """The history that this process knows is not the server's. A flow that has expired is forgotten,
        and its commands are decided on what there is now; any other one is left alone."""
        flow = sent.decision.draft.base
        try:
            has_expired = await until_answered(lambda: self._expiry.has_passed(flow), self._spread)
        except NamespaceEmptied as error:
            self._stop(sent, error)
            return
        if not has_expired or sent.box.refusals >= REFUSALS_OF_NOTHING:
            self._leave_alone(
                sent, lost
            )  # one whose head alone is gone is read, and refused, again and again
            return
        sent.box.refusals += 1
        self._desk.cache.drop(flow.id)
        sent.box.put_back(sent.posted)
        self._desk.go_on(sent.box)

    def _leave_alone(self, sent: InFlight, error: ArgyllError) -> None:
        sent.box.put_back(sent.posted)
        self._desk.leave_alone(sent.box, error)

    def _stop(self, sent: InFlight, error: NamespaceEmptied) -> None:
        sent.box.put_back(sent.posted)
        self._desk.stop(error, boxes=[sent.box])
