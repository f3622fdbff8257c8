"""Logs as an audit reads them: many in a round trip, each whole and as old as its head.

A namespace goes on while it is read. A log is read before its head, so that the head of a sound one is
never behind; what was appended after the head was read is left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from argyll_redis.audit.careful import read_each
from argyll_redis.core.audit import Audited, Violation, audit_and_fold
from argyll_redis.core.decide import evolve
from argyll_redis.core.events import Recorded
from argyll_redis.core.model import Plan
from argyll_redis.core.state import Flow
from argyll_redis.errors import CallRefused, HistoryLost, StoreUnavailable
from argyll_redis.runtime.logs import PAGE_EVENTS, Logs
from argyll_redis.store.protocol import Store, StoredEvent

Head = Mapping[str, str]
"""All that a head holds, by the names there: `v`, `tx`, `.status` and so on."""

FLOWS_AT_A_TIME = 100
"""Logs read together: their first pages are held at a time, and of longer ones one log."""


@dataclass(slots=True)
class ReadLog:
    """A flow's log and its head, of one moment."""

    id: str
    head: Head | None = None
    """None when the flow is not there, or has lost its head."""
    events: list[Recorded] = field(default_factory=list[Recorded])
    faults: list[Violation] = field(default_factory=list[Violation])
    """What reading it has shown."""

    @property
    def is_there(self) -> bool:
        return self.head is not None or bool(self.faults)

    def audited(self) -> Audited:
        """What is wrong with the log by itself and beside its head, and the state that it makes."""
        if not self.events and (self.faults or self.head is None):
            return Audited(self.faults, Flow(self.id))
        head = self.head if self.head is not None else self._imagined()
        violations, flow = self._audited(head)
        return Audited([*self.faults, *violations], flow)

    def _imagined(self) -> Head:
        """A head that goes with the log, so that nothing more is said of the one that is lost."""
        flow, last = _folded(self), self.events[-1]
        sealed = {"sealed": "1"} if flow.is_deactivated or flow.is_imported else {}
        return {"v": str(last.version), "tx": last.tx, ".status": str(flow.status), **sealed}

    def _audited(self, head: Head) -> Audited:
        return audit_and_fold(
            self.id,
            self.events,
            head_version=version_of(head),
            head_tx=head.get("tx", ""),
            status=head.get(".status", ""),
            sealed="sealed" in head,
        )


def _folded(log: ReadLog) -> Flow:
    try:
        return evolve(Flow(log.id), log.events)
    except Exception:  # a log may hold anything: its audit says what
        return Flow(log.id)


def version_of(head: Head) -> int:
    """The version that a head tells; -1 when it tells none, which no log ends at."""
    told = head.get("v", "")
    return int(told) if told.isdecimal() else -1


def refuse_silence(error: Exception) -> None:
    """Raises an error that is about the server and not about a log."""
    if isinstance(error, StoreUnavailable) and not isinstance(error, HistoryLost | CallRefused):
        raise error


class LogReader:
    """Reads logs that may hold anything: one that cannot be read holds up no other."""

    def __init__(self, store: Store, logs: Logs) -> None:
        self._store = store
        self._logs = logs

    async def read(self, flow_ids: Sequence[str]) -> AsyncIterator[ReadLog]:
        """Gives the logs of flows in their order; those that are not there have no head."""
        for first in range(0, len(flow_ids), FLOWS_AT_A_TIME):
            page = flow_ids[first : first + FLOWS_AT_A_TIME]
            begins = await read_each(self._store.load, [(id, 0, PAGE_EVENTS) for id in page], [])
            heads = await self._heads(page)
            plans = await self._plans(page, begins)
            for id, begin, head in zip(page, begins, heads, strict=True):
                yield await self._whole(id, begin, head, plans)

    async def _plans(self, ids: Sequence[str], begins: Sequence[list[StoredEvent]]) -> Mapping[str, Plan]:
        """The plans of all; none when one of them cannot be had, and each log says for itself whether it
        can."""
        try:
            return await self._logs.plans_of(ids, begins)
        except Exception as error:  # a log may hold anything
            refuse_silence(error)
            return {}

    async def _whole(
        self, id: str, begin: list[StoredEvent], head: Head | None, plans: Mapping[str, Plan]
    ) -> ReadLog:
        if head is None:
            return await self._without_head(id, plans)
        stored = await self._rest(id, begin)
        last = stored[-1].version if stored else 0
        if last > version_of(head):
            [later] = await self._heads([id])
            if later is None:
                return ReadLog(id)  # it has expired meanwhile
            if version_of(later) < last:
                return await self._recorded(id, stored, head, plans)
        elif last < version_of(head):
            stored += await self._rest(id, await self._page(id, last))
            if (not stored or stored[-1].version < version_of(head)) and not await self._is_there(id):
                return ReadLog(id)
        stored = [each for each in stored if each.version <= version_of(head)]
        return await self._recorded(id, stored, head, plans)

    async def _without_head(self, id: str, plans: Mapping[str, Plan]) -> ReadLog:
        """A flow goes with its head, so that a log that is still there has lost it; unless it was started
        just now."""
        stored = await self._rest(id, await self._page(id, 0))
        [head] = await self._heads([id])
        if head is not None:
            return await self._whole(id, stored, head, plans)
        if not stored or not await self._page(id, 0):
            return ReadLog(id)
        log = await self._recorded(id, stored, None, plans)
        log.faults.append(Violation("I-01", 0, "the log has no head"))
        return log

    async def _rest(self, id: str, begin: list[StoredEvent]) -> list[StoredEvent]:
        """The end of a log, that begins with a page."""
        stored, page = list(begin), begin
        while len(page) >= PAGE_EVENTS:
            page = await self._page(id, stored[-1].version)
            stored += page
        return stored

    async def _page(self, id: str, after: int) -> list[StoredEvent]:
        [page] = await read_each(self._store.load, [(id, after, PAGE_EVENTS)], [])
        return page

    async def _is_there(self, id: str) -> bool:
        """Whether a flow has not expired meanwhile: it goes whole."""
        [head] = await self._heads([id])
        return head is not None or bool(await self._page(id, 0))

    async def _heads(self, flow_ids: Sequence[str]) -> list[Head | None]:
        return await read_each(self._store.head_fields, flow_ids, None)

    async def _recorded(
        self, id: str, stored: list[StoredEvent], head: Head | None, plans: Mapping[str, Plan]
    ) -> ReadLog:
        try:
            known = plans or await self._logs.plans_of([id], [stored[:1]])
            return ReadLog(id, head, self._logs.record(stored, known))
        except Exception as error:  # a log may hold anything
            refuse_silence(error)
            if not await self._is_there(id):
                return ReadLog(id)
            text = str(error) or type(error).__name__
            fault = Violation("I-03", version_of(head or {}), f"the log cannot be read: {text}")
            return ReadLog(id, head, faults=[fault])
