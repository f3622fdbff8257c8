"""I-20: whether every open flow has pending what it needs to go on.

What a flow ought to have follows from its log. A namespace goes on while it is looked at, so that a flow
that lacks something is looked at again: only what it lacks twice at one version is lacking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from argyll_redis.audit.logs import LogReader
from argyll_redis.audit.walk import GRACE_MS
from argyll_redis.core.audit import Violation
from argyll_redis.core.decide import evolve
from argyll_redis.core.state import Flow
from argyll_redis.core.sub_flows import parent_of
from argyll_redis.runtime.node import Node
from argyll_redis.runtime.sweep import Sweep
from argyll_redis.runtime.sweep_children import ABSENT, CANCEL, WORD, Family, read_family
from argyll_redis.store.mending import PartitionState

FLOWS_AT_A_TIME = 1_000
"""Open flows for which the queues of a partition are read once."""
MAX_LATE_MS = 1_000
"""By how much a due entry may be later than its time: one that was restored is counted from then on."""
LATE = "late"
"""In front of a due entry that is; what else may be lacking is said in the words of a sweep."""
NAME = "audit"
"""In place of an engine's."""

References = Mapping[str, Set[tuple[str, str]]]
"""(stream, payload) by the flow that they are for."""


class Lacking(NamedTuple):
    """What a flow lacked at a version."""

    version: int
    lacks: frozenset[str]


class Liveness:
    """Looks at open flows beside the queues."""

    def __init__(self, node: Node, reader: LogReader) -> None:
        self._store = node.store
        self._clock = node.clock
        self._reader = reader
        self._sweep = Sweep(
            NAME,
            store=node.store,
            committer=node.committer,
            logs=node.logs,
            clock=node.clock,
            evaluate=node.evaluator,
        )
        """Knows what flows lack; here it restores nothing."""

    async def check(self, partition: int, flow_ids: Sequence[str]) -> list[tuple[str, Violation]]:
        """Says what open flows of a partition lack."""
        wrong: list[tuple[str, Violation]] = []
        for first in range(0, len(flow_ids), FLOWS_AT_A_TIME):
            before = await self._look(partition, flow_ids[first : first + FLOWS_AT_A_TIME])
            after = await self._look(partition, list(before)) if before else {}
            for flow_id, found in after.items():
                version, lacks = before[flow_id]
                if found.version == version:
                    wrong += [(flow_id, _violation(lack, version)) for lack in sorted(found.lacks & lacks)]
        return wrong

    async def _look(self, partition: int, flow_ids: Sequence[str]) -> dict[str, Lacking]:
        """Flows first, queues after: what a flow has pending stays there until the flow goes on."""
        flows = await self._read(flow_ids)
        family = await read_family(flows, store=self._store, read=self._read)
        state = await self._store.pending(partition, await self._store.queues())
        references = live(state)
        self._clock.read(await self._store.now_ms())
        found: dict[str, Lacking] = {}
        for flow in flows:
            lacks = frozenset(self._lacks(flow, references, family, state.due))
            if lacks:
                found[flow.id] = Lacking(flow.version, lacks)
        return found

    async def _read(self, flow_ids: Sequence[str]) -> list[Flow]:
        """Folds logs; those that cannot be folded are left out, as their own audit says what is wrong."""
        flows: list[Flow] = []
        async for log in self._reader.read(flow_ids):
            if log.events:
                try:
                    flows.append(evolve(Flow(log.id), log.events))
                except Exception:  # a log may hold anything
                    continue
        return flows

    def _lacks(
        self, flow: Flow, references: References, family: Family, due: Mapping[str, int]
    ) -> Iterator[str]:
        if flow.is_imported:
            return
        parent = parent_of(flow.id)
        about = (flow.id, *([parent.flow] if parent else []))
        own = frozenset(reference for name in about for reference in references.get(name, ()))
        try:
            ought, lacks = self._sweep.lacks(flow, own, family)
        except Exception:  # a log may hold anything: its own audit says what is wrong with it
            return
        for member, at_ms in ought.due.items():
            if due.get(member, 0) > at_ms + MAX_LATE_MS:
                yield f"{LATE} {member}"
        is_fresh = flow.at_of(flow.version) > self._clock.now_ms() - GRACE_MS
        for lack in lacks:
            kind = lack.partition(" ")[0]
            if kind != ABSENT and not (kind == CANCEL and is_fresh):  # who is absent is I-24's affair
                yield lack


def live(state: PartitionState) -> References:
    """What somebody will get of a partition: due members, and the entries of streams that are not lost to
    all readers."""
    references: dict[str, set[tuple[str, str]]] = {}
    for stream in state.streams:
        for entry, payload in stream.entries.items():
            if entry not in stream.stranded:
                references.setdefault(payload.partition(" ")[0], set()).add((stream.stream, payload))
    for member in state.due:
        name, _, payload = member.partition(" ")
        references.setdefault(payload.partition(" ")[0], set()).add((name, payload))
    return references


def _violation(lack: str, version: int) -> Violation:
    kind, _, rest = lack.partition(" ")
    match kind:
        case "work":
            _, token, attempt, released = rest.split(" ")
            said = f"attempt {attempt} of {token} was released, and no queue has its entry"
            return Violation("I-20", int(released), said)
        case "due":
            said = f"the due entry `{rest}` is missing"
        case _ if kind == LATE:
            said = f"the due entry `{rest}` is due too late"
        case "look":
            said = "a look would move the flow on, and nothing will bring one"
        case _ if kind == WORD:
            said = f"a child has ended, and the word of it is missing: `{rest}`"
        case _:
            said = "nobody waits for this child any more, and nothing will cancel it"
    return Violation("I-20", version, said)
