"""The sweep: what open flows ought to have pending and lack is restored, whatever took it away.

The log is the truth and every queue a cache of it; this is what makes the sentence true.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from argyll_redis.core.commands import Cancel, Look, Lose
from argyll_redis.core.decide import decide
from argyll_redis.core.inputs import Evaluate
from argyll_redis.core.model import Token
from argyll_redis.core.outbox import References, outstanding
from argyll_redis.core.state import Flow
from argyll_redis.core.sub_flows import CHILD
from argyll_redis.errors import CallRefused, HistoryLost, InvariantBroken, UnknownEvent
from argyll_redis.runtime.clock import ServerClock
from argyll_redis.runtime.committer import Committer
from argyll_redis.runtime.logs import Logs
from argyll_redis.runtime.mailbox import Posted
from argyll_redis.runtime.payload import read_released
from argyll_redis.runtime.sweep_children import ABSENT, CANCEL, WORD, Family, lacking, read_family
from argyll_redis.store.protocol import CONTROL, Dispatch, Due, Head, Store, work_stream

log = logging.getLogger(__name__)

INDEXES = ("open", "children")
"""Which have every open flow among them: roots, and their children."""
SWEEP_HEADS = 100
"""Heads of open flows looked at in one round."""
SILENT_LEASES = 1.5
"""An open flow silent for so many leases is looked at by the sweep."""


@dataclass(slots=True)
class Suspect:
    """A flow that lacked something at a version."""

    version: int
    lacks: frozenset[str]


class DueAgain(Posted):
    """A due entry that is added again, unless the flow has come to no longer need it."""

    __slots__ = ("member",)

    def __init__(self, member: str, delay_ms: int) -> None:
        super().__init__(None, ops=[Due(member, delay_ms)])
        self.member = member

    def arrive(self, flow: Flow) -> bool:
        return self.member not in outstanding(flow, 0).due


class Sweep:
    """Finds open flows that lack what they ought to have pending, and restores it.

    What is missing in two passes at the same version is restored: an attempt counts as lost, a due
    entry is added again, and what a look would bring is decided. A first pass alone may have fallen
    between two commits.
    """

    def __init__(
        self,
        engine_id: str,
        *,
        store: Store,
        committer: Committer,
        logs: Logs,
        clock: ServerClock,
        evaluate: Evaluate,
    ) -> None:
        self.restored = 0
        """Entries that flows ought to have had, and lacked."""
        self.orphans = 0
        """Children that nobody waited for, and that nobody had cancelled."""
        self._by = f"timer:{engine_id}"
        self._store = store
        self._committer = committer
        self._logs = logs
        self._clock = clock
        self._evaluate = evaluate
        self._cursor = "0"
        self._turn = 0
        self._suspects: dict[str, Suspect] = {}

    async def round(self, partitions: Sequence[int], lease_ms: int) -> None:
        """Looks at a page of the open flows, roots or children, of one partition."""
        if not partitions:
            return
        partition, flow_ids = await self._page(partitions)
        if not flow_ids:
            partition, flow_ids = await self._page(partitions)  # there may be no children, or nothing else
        heads = await self._heads(flow_ids) if flow_ids else []
        before_ms = self._clock.now_ms() - round(SILENT_LEASES * lease_ms)
        silent = [
            flow_id
            for flow_id, head in zip(flow_ids, heads, strict=True)
            if head is not None and head.at <= before_ms and not self._is_left_alone(flow_id)
        ]
        for gone in set(flow_ids) - set(silent):
            self._suspects.pop(gone, None)
        if silent:
            await self._look_at(partition, silent)

    async def _page(self, partitions: Sequence[int]) -> tuple[int, list[str]]:
        """A partition, and the next of its open flows."""
        place, which = divmod(self._turn, len(INDEXES))
        partition = partitions[place % len(partitions)]
        try:
            flow_ids, self._cursor = await self._store.walk(
                partition, INDEXES[which], self._cursor, SWEEP_HEADS
            )
        except CallRefused:  # what is in the place of one index keeps nobody from the others
            self._cursor, self._turn = "0", self._turn + 1
            raise
        if self._cursor == "0":
            self._turn += 1
        return partition, flow_ids

    async def _heads(self, flow_ids: Sequence[str]) -> list[Head | None]:
        """Reads heads; what is in the place of one of them holds up no other flow."""
        try:
            return await self._store.heads(flow_ids)
        except CallRefused as error:
            if len(flow_ids) == 1:
                self._committer.distrust(flow_ids[0], HistoryLost(f"what is kept of it is no head: {error}"))
                return [None]
            return [head for flow_id in flow_ids for head in await self._heads([flow_id])]

    def _is_left_alone(self, flow_id: str) -> bool:
        return flow_id in self._committer.quarantined

    async def _look_at(self, partition: int, flow_ids: Sequence[str]) -> None:
        flows = self._with_logs(await self._read(flow_ids))
        family = await read_family(flows, store=self._store, read=self._read)
        references = await self._store.references(partition)
        for flow in flows:
            try:
                self._judge(flow, references, family)
            except InvariantBroken as error:
                self._committer.distrust(flow.id, error)
            except Exception as error:  # a log may hold anything, and be folded none the less
                broken = InvariantBroken(f"nobody can make sense of what its log holds ({error!r:.500})")
                self._committer.distrust(flow.id, broken)

    def _with_logs(self, flows: Sequence[Flow]) -> list[Flow]:
        """Leaves out open flows that are nowhere but in their heads."""
        for flow in flows:
            if flow.version == 0:
                self._committer.distrust(flow.id, HistoryLost("it has a head, and its log is gone"))
        return [flow for flow in flows if flow.version]

    async def _read(self, flow_ids: Sequence[str]) -> list[Flow]:
        """Reads flows; one that cannot be read holds up no other."""
        flows = [Flow(flow_id) for flow_id in flow_ids]
        try:
            await self._logs.catch_up(flows)
        except (InvariantBroken, UnknownEvent, HistoryLost) as error:
            if len(flows) == 1:
                self._committer.distrust(flow_ids[0], error)
                return []
            return [flow for flow_id in flow_ids for flow in await self._read([flow_id])]
        return flows

    def _judge(self, flow: Flow, references: frozenset[tuple[str, str]], family: Family) -> None:
        ought, lacks = self.lacks(flow, references, family)
        suspect = self._suspects.pop(flow.id, None)
        if not lacks:
            return
        if suspect is None or suspect.version != flow.version:
            self._suspects[flow.id] = Suspect(flow.version, lacks)
            return
        for lack in sorted(lacks & suspect.lacks):
            self.restored += lack != CANCEL
            self.orphans += lack == CANCEL
            log.warning('flow "%s" lacked %s: restored', flow.id, lack)
            self._committer.post(flow.id, self.restoration(ought, lack))

    def lacks(
        self, flow: Flow, references: frozenset[tuple[str, str]], family: Family
    ) -> tuple[References, frozenset[str]]:
        """What a flow ought to have pending, and what it lacks of that and of its family, by these words:
        `work <payload>`, `due <member>`, `look`, and those of `sweep_children`."""
        ought = outstanding(flow, self._clock.now_ms())
        return ought, self._lacking(flow, ought, references).union(lacking(flow, family, references))

    def _lacking(
        self, flow: Flow, ought: References, references: frozenset[tuple[str, str]]
    ) -> frozenset[str]:
        """What a flow ought to have pending and has not: `work <payload>`, `due <member>` or `look`."""
        lacks = {f"work {payload}" for queue, payload in ought.work if not _has(references, queue, payload)}
        for member in ought.due:
            stream, _, payload = member.partition(" ")
            if (stream, payload) not in references:
                lacks.add(f"due {member}")
        has_control = any(s == CONTROL and p.split(" ", 1)[0] == flow.id for s, p in references)
        if not lacks and not has_control and self._look_brings_something(flow):
            lacks.add("look")
        return frozenset(lacks)

    def _look_brings_something(self, flow: Flow) -> bool:
        look = Look(self._by)
        return bool(decide(flow, [look], now_ms=self._clock.now_ms(), evaluate=self._evaluate).events)

    def restoration(self, ought: References, lack: str) -> Posted:
        """What restores what a flow lacks, decided on its newest state."""
        kind, _, rest = lack.partition(" ")
        if kind == "work":
            return Posted(read_released(rest).lost(self._by))
        if kind == "due":
            return DueAgain(rest, max(0, ought.due[rest] - self._clock.now_ms()))
        if kind == ABSENT:
            _, token, attempt = rest.split(" ")
            return Posted(Lose(self._by, Token(token), int(attempt), is_child_absent=True))
        if kind == WORD:
            return Posted(None, ops=[Dispatch(CONTROL, rest)])
        if kind == CANCEL:
            return Posted(Cancel(CHILD + self._by.partition(":")[2]))
        return Posted(Look(self._by))


def _has(references: frozenset[tuple[str, str]], queue: str, payload: str) -> bool:
    return (work_stream(queue), payload) in references
