"""An audit: all that can be said of a namespace by reading it, and of journals beside it.

Nothing is held but a page of flows at a time, and a few numbers of each flow. A namespace may be in use
meanwhile: what looks wrong is looked at again, and only what is wrong twice at one version is said.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from argyll_redis.audit.answers import INVARIANTS_BY_DO, judge_absent, judge_answers
from argyll_redis.audit.beside import Standing, check_head, check_rows, standing_of
from argyll_redis.audit.journals import ASKED, Journals
from argyll_redis.audit.keys import KeyCheck, check_drained, plans_in
from argyll_redis.audit.liveness import Liveness
from argyll_redis.audit.logs import LogReader
from argyll_redis.audit.memo import MAX_SUCCESSES, Memos
from argyll_redis.audit.report import Report
from argyll_redis.audit.walk import Looked, Walk, kinship_of
from argyll_redis.core.audit import Violation, audit_calls
from argyll_redis.core.sub_flows import child_of, parent_of
from argyll_redis.errors import CallRefused, UnknownFlow
from argyll_redis.reading import INDEXES
from argyll_redis.runtime.node import Node
from argyll_redis.store.protocol import partition_of

LOOKS = 3
"""How often the rows of a flow are compared that goes on meanwhile."""
PAUSE_MS = 1_000
"""Before queues are read again that ought to be empty: an engine may be about to answer what is in them."""
OPEN = ("open", "children")
"""Indexes which have every open flow among them."""
ROWS_AT_A_TIME = 1_000
NO_JOURNAL = "no journal"
"""Why nothing is said of what only those outside have seen."""

OnProgress = Callable[[int, int], None]
"""Is told how many flows were read, and about how many there are."""


class Met(NamedTuple):
    """A flow that was read, in short."""

    id: str
    is_open: bool
    is_known: bool
    """Whether its log can be read, and it was started here."""


class Auditor:
    """One audit."""

    def __init__(
        self,
        node: Node,
        *,
        journals: Journals | None = None,
        is_drained: bool = False,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Where `is_drained`, all work should have ended: an open flow is a violation, and so is an entry."""
        self.report = Report()
        self._store = node.store
        self._journals = None if journals is None or journals.is_empty else journals
        self._is_drained = is_drained
        self._on_progress = on_progress
        self._total = 0
        self._reader = LogReader(node.store, node.logs)
        self._walk = Walk(node.store, self._reader)
        self._liveness = Liveness(node, self._reader)
        self._memos: Memos
        self._seeds: set[int] = set()
        """Hashes of the seeds of the flows that were read."""
        self._users: Counter[tuple[int, str]] = Counter()
        """How many flows were read that have a plan, by (partition, hash)."""
        self._broken: set[int] = set()
        """Hashes of the ids of the flows whose logs are not sound: no more is to be learned from them."""
        self._open = 0
        self._standings: list[Standing] = []
        """Of the flows of this page."""

    # -------------------------------------------------------------------- whole

    async def everything(self) -> Report:
        """Audits the namespace."""
        await self._begin()
        self._total = await self._count(INDEXES)
        async for page in self._walk.ids(children=False):
            await self._families(page)
        async for page in self._walk.ids(children=True):
            await self._strays(page)
        for partition in range(self._store.partitions):
            await self._check_open(partition)
        await KeyCheck(self._store, self._walk, self.report).run(self._users)
        await self._check_queues()
        await self._judge_absent()
        return self._end()

    async def one(self, flow_id: str) -> Report:
        """Audits a flow and all that is below it. Raises `UnknownFlow`."""
        await self._begin()
        open_flows = [met.id for met in await self._families([flow_id]) if met.is_open]
        if not self.report.flows:
            raise UnknownFlow(f'no flow "{flow_id}" exists')
        partition = partition_of(flow_id, self._store.partitions)
        await self._check_live(partition, open_flows)
        self.report.unchecked["I-25"] = "not of one flow"
        return self._end()

    async def _begin(self) -> None:
        self._memos = Memos(await self._store.now_ms())

    def _end(self) -> Report:
        self._add(self._memos.judge())
        unchecked = self.report.unchecked
        if self._memos.is_full:
            unchecked["I-29"] = f"there are more than {MAX_SUCCESSES:,} successes of memoizable steps"
        journals = self._journals
        kinds = journals.kinds if journals is not None else frozenset[str]()
        if journals is None or not journals.steps:
            unchecked["I-22"] = unchecked["I-23"] = NO_JOURNAL
        if not kinds & ASKED:
            unchecked["I-21"] = NO_JOURNAL
        for kind, invariant in INVARIANTS_BY_DO.items():
            if kind not in kinds:
                unchecked[invariant] = NO_JOURNAL
        self.report.close()
        return self.report

    def _add(self, wrong: Iterable[tuple[str, Violation]]) -> None:
        for flow_id, violation in wrong:
            self.report.add_all(flow_id, [violation])

    # -------------------------------------------------------------------- flows

    async def _families(self, flow_ids: list[str]) -> list[Met]:
        """Audits flows, all that is below them, and the rows of all."""
        met: list[Met] = []
        async for looked in self._walk.families(flow_ids):
            self._take(looked)
            met.append(
                Met(
                    looked.id,
                    looked.is_open,
                    is_known=looked.flow.version > 0 and not looked.flow.is_imported,
                )
            )
            if len(self._standings) >= ROWS_AT_A_TIME:
                await self._check_rows()
            await asyncio.sleep(0)  # an engine in this process goes on meanwhile
        await self._check_rows()
        if self._on_progress is not None:
            self._on_progress(self.report.flows, max(self._total, self.report.flows))
        return met

    def _take(self, looked: Looked) -> None:
        """Looks at a flow that was read, in every way that needs its log."""
        log, flow = looked.log, looked.flow
        self.report.flows += 1
        self.report.events += len(log.events)
        self._open += looked.is_open
        partition = partition_of(flow.id, self._store.partitions)
        for plan, uses in plans_in(log.head if log.head is not None else {f"@{flow.plan_hash}": "1"}):
            self._users[partition, plan] += uses
        self.report.add_all(flow.id, looked.violations)
        if looked.violations:
            self._broken.add(hash(flow.id))
        else:
            self.report.add_all(flow.id, check_head(log, flow))
            self._standings.append(standing_of(log, flow, has_open_child=looked.has_open_child))
            self._memos.note(looked)
        if flow.version:
            self.report.add_all(flow.id, self._further(looked))

    def _further(self, looked: Looked) -> Iterable[Violation]:
        """What other flows, journals and the end of all work say of a flow."""
        log, flow, journals = looked.log, looked.flow, self._journals
        if flow.seed:
            seed = hash(str(flow.seed))  # of a broken log it may be anything
            if seed in self._seeds:
                yield Violation("I-07", 1, "the flow has the seed of another flow, and so its tokens")
            self._seeds.add(seed)
        if self._is_drained and looked.is_open:
            yield Violation("I-20", flow.version, "the flow is not deactivated, and all work has ended")
        if journals is not None:
            yield from audit_calls(flow.id, log.events, journals.calls(flow.id), steps=journals.steps)
            yield from judge_answers(flow, log.events, journals.answers(flow.id))

    async def _check_rows(self) -> None:
        """Compares the index rows of this page; of flows that have gone on meanwhile, once more."""
        standings, self._standings = self._standings, []
        for _ in range(LOOKS):
            wrong, moved = await check_rows(self._store, standings)
            self._add(wrong)
            if not moved:
                return
            standings = [
                standing_of(log, audited.flow, has_open_child=True)
                async for log in self._reader.read(moved)
                if log.events and not (audited := log.audited()).violations
            ]

    async def _strays(self, flow_ids: list[str]) -> None:
        """Audits children that no parent has named: who was started meanwhile has one by now."""
        for met in await self._families(flow_ids):
            parent = parent_of(met.id)
            if parent is None or not met.is_known:
                continue
            named: set[str | None] = set()
            async for log in self._reader.read([parent.flow]):
                if log.faults:
                    named.add(met.id)  # nobody can say, and the parent's own audit says why
                above = Looked(log, log.audited().flow, [])
                if kinship_of(above) is not None:
                    found = above.flow.find(parent.token)
                    item = above.flow.item(*found) if found else None
                    named.add(child_of(above.flow, item) if item else None)
            if met.id in named:
                continue
            [head] = await self._store.head_fields([met.id])
            if head is not None:  # a child expires before its parent
                self.report.add("I-24", "the child flow belongs to no work item", flow=met.id, version=1)

    # ------------------------------------------------------------ what is pending

    async def _check_open(self, partition: int) -> None:
        """Looks whether the open flows of a partition have pending what they need."""
        for index in OPEN:
            cursor = "0"
            try:
                while True:
                    rows, cursor = await self._store.rows(partition, index, cursor, ROWS_AT_A_TIME)
                    await self._check_live(partition, dict.fromkeys(flow_id for flow_id, _ in rows))
                    if cursor == "0":
                        break
            except CallRefused as error:  # a key is foreign, and the look at the keys says so
                self.report.unchecked["I-20"] = f"partition {partition}: {error}"

    async def _check_live(self, partition: int, flow_ids: Iterable[str]) -> None:
        """Looks at those that live there and whose logs are sound."""
        sound = [
            flow_id
            for flow_id in flow_ids
            if hash(flow_id) not in self._broken
            and partition_of(flow_id, self._store.partitions) == partition
        ]
        self._add(await self._liveness.check(partition, sound))

    async def _count(self, indexes: Sequence[str]) -> int:
        """How many rows indexes have; none where one of them is no index."""
        try:
            return sum(await self._store.sizes(indexes))
        except CallRefused:
            return 0

    async def _check_queues(self) -> None:
        """Where no flow is open and engines could have answered everything, nothing is left in the
        queues."""
        if self._open or await self._count(OPEN):
            self.report.unchecked["I-25, queues"] = "flows are open"
            return
        if not self._is_drained and not await self._store.engines():
            self.report.unchecked["I-25, queues"] = "no flow is open, and no engine is alive"
            return
        try:
            await self._look_at_queues()
        except CallRefused as error:
            self.report.unchecked["I-25, queues"] = str(error)

    async def _look_at_queues(self) -> None:
        found = Report()
        await check_drained(self._store, found)
        if found.count and not self._is_drained:
            await asyncio.sleep(PAUSE_MS / 1000)
            found = Report()
            await check_drained(self._store, found)
            if await self._count(OPEN):
                return  # somebody has started a flow
        for each in found.violations:
            self.report.add(each.invariant, each.message)

    async def _judge_absent(self) -> None:
        """Looks at the flows of which a journal speaks and that were not read."""
        journals = self._journals
        if journals is None:
            return
        page: list[str] = []
        for flow_id in journals.flows():
            if not self._walk.has_met(flow_id):
                page.append(flow_id)
            if len(page) >= ROWS_AT_A_TIME:
                await self._judge_page(journals, page)
                page = []
        await self._judge_page(journals, page)

    async def _judge_page(self, journals: Journals, flow_ids: list[str]) -> None:
        await self._families(flow_ids)  # those that were started meanwhile
        for flow_id in flow_ids:
            if self._walk.has_met(flow_id):
                continue
            self.report.add_all(flow_id, judge_absent(journals.answers(flow_id)))
            self.report.add_all(flow_id, audit_calls(flow_id, [], journals.calls(flow_id)))
