"""Every flow of a namespace, each with its children, a page at a time.

Roots are found by their keys, not by the indexes, which may be what is wrong. Children are found by what
their parents say, and then by their keys: one that nobody has named is the child of no work item.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from argyll_redis.audit.logs import FLOWS_AT_A_TIME, LogReader, ReadLog
from argyll_redis.core.audit import Violation
from argyll_redis.core.audit_children import Kinship
from argyll_redis.core.state import Flow, WorkItem
from argyll_redis.store.keys import row_of
from argyll_redis.store.protocol import Store

LOG = "{ns:p}:flow:<id>"
"""The row of the table of keys in which logs are."""
KEYS_AT_A_TIME = 1_000
GRACE_MS = 30_000
"""How long a child may be missing, or go on though nobody waits for it: an engine may be about to start it,
after its plan had to be sent again, or to cancel it; and a sweep does so when that engine is lost."""


@dataclass(slots=True)
class Looked:
    """A flow that was audited."""

    log: ReadLog
    flow: Flow
    """As far as its log can be folded."""
    violations: list[Violation]
    has_open_child: bool = False
    """Whether a flow below it, however deep, is not deactivated."""

    @property
    def id(self) -> str:
        return self.log.id

    @property
    def is_open(self) -> bool:
        """Whether it can still go on."""
        return not (self.flow.is_deactivated or self.flow.is_imported)


class Walk:
    """Reads flows and audits their logs; each flow once."""

    def __init__(self, store: Store, reader: LogReader) -> None:
        self._store = store
        self._reader = reader
        self._met: set[int] = set()
        """Hashes of the ids of the flows that were read: ids would take ten times as much."""

    def has_met(self, flow_id: str) -> bool:
        """Whether a flow was read."""
        return hash(flow_id) in self._met

    async def ids(self, *, children: bool) -> AsyncIterator[list[str]]:
        """The ids of the roots, or of the children, that have a log and were not read yet."""
        page: list[str] = []
        async for name in self._logs():
            flow_id = name.partition("}:flow:")[2]
            if (":" in flow_id) == children and not self.has_met(flow_id):
                page.append(flow_id)
                if len(page) >= FLOWS_AT_A_TIME:
                    yield page
                    page = []
        if page:
            yield page

    async def _logs(self) -> AsyncIterator[str]:
        cursor = "0"
        while True:
            keys, cursor = await self._store.keys(cursor, KEYS_AT_A_TIME)
            for key in keys:
                row = row_of(key.name, self._store.namespace)
                if row is not None and row.pattern == LOG:
                    yield key.name
            if cursor == "0":
                return

    async def families(self, flow_ids: Sequence[str]) -> AsyncIterator[Looked]:
        """Audits flows and all that is below them. A flow comes after what is below it."""
        fresh = [flow_id for flow_id in dict.fromkeys(flow_ids) if not self.has_met(flow_id)]
        async for log in self._reader.read(fresh):
            if not log.is_there:
                continue  # it is not there, or not any more
            self._met.add(hash(log.id))
            violations, flow = log.audited()
            looked = Looked(log, flow, violations)
            async for below in self._below(looked):
                yield below
            yield looked

    async def _below(self, looked: Looked) -> AsyncIterator[Looked]:
        """The families of a flow's children; says of the flow what is wrong between it and them."""
        kinship = kinship_of(looked)
        if kinship is None:
            return
        items = _children_of(looked, kinship)
        while page := dict(_by_id(islice(items, FLOWS_AT_A_TIME))):
            missing = dict(page)
            async for below in self.families(list(page)):
                looked.has_open_child |= below.is_open or below.has_open_child
                yield below
                item = missing.pop(below.id, None)
                if item is not None and not below.log.faults:
                    _agree(looked, kinship, item, below.flow)
            missing = {flow_id: item for flow_id, item in missing.items() if not self.has_met(flow_id)}
            for flow_id, item in missing.items():
                if await self._is_overdue(looked, item):
                    _agree(looked, kinship, item, Flow(flow_id))

    async def _is_overdue(self, looked: Looked, item: WorkItem) -> bool:
        """Whether a child has been missing for long, of a flow that has not gone on since it was read: once
        that is over, its children may expire."""
        began_ms = looked.flow.at_of(item.accepted_version or item.started_version)
        if await self._store.now_ms() - began_ms <= GRACE_MS:
            return False
        [head] = await self._store.head_fields([looked.id])
        return head is not None and head == looked.log.head


def _by_id(items: Iterator[tuple[WorkItem, str]]) -> Iterator[tuple[str, WorkItem]]:
    return ((flow_id, item) for item, flow_id in items)


def _children_of(looked: Looked, kinship: Kinship) -> Iterator[tuple[WorkItem, str]]:
    try:
        yield from kinship.children()
    except Exception as error:  # a log may hold anything
        looked.violations.append(
            Violation("I-03", looked.flow.version, f"its children cannot be told: {error}")
        )


def _agree(looked: Looked, kinship: Kinship, item: WorkItem, child: Flow) -> None:
    """Adds what is wrong between a flow and a child, which was read after it."""
    try:
        found = list(kinship.check(item, child.id, child))
    except Exception as error:  # a log may hold anything
        found = [(looked.flow.version, "I-03", f"it cannot be held against child {child.id}: {error}")]
    looked.violations += [Violation(invariant, version, text) for version, invariant, text in found]


def kinship_of(looked: Looked) -> Kinship | None:
    """A flow that may have children; None for another one, and for a log that cannot be folded."""
    if not looked.flow.version or not looked.flow.plan.children:
        return None
    try:
        return Kinship(looked.flow, looked.log.events)
    except Exception:  # a log may hold anything: its own audit says what
        return None
