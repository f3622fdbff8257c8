"""The moving part of an app: flows out as documents, in again elsewhere, and once more from the beginning."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from argyll_redis.archive import Line, header, lines_of, read_log
from argyll_redis.core.audit import audit_log
from argyll_redis.core.decide import evolve
from argyll_redis.core.events import Recorded
from argyll_redis.core.model import JSON
from argyll_redis.core.parse_request import read_flow_id
from argyll_redis.core.state import Flow
from argyll_redis.core.sub_flows import PARENT_METADATA
from argyll_redis.errors import FlowConflict, HistoryLost, InvalidInput, Problem, UnknownFlow
from argyll_redis.runtime.effects import kept_beside
from argyll_redis.steps.context import Values
from argyll_redis.store.protocol import ImportedLog, partition_of
from argyll_redis.views import making_sense_of

if TYPE_CHECKING:
    from argyll_redis.handle import FlowHandle
    from argyll_redis.runtime.node import Node


class Moving:
    """What takes a flow somewhere else; mixed into `Argyll`."""

    if TYPE_CHECKING:

        async def node(self) -> Node: ...

        async def load(self, flow_id: str, *, at: int | None = None) -> Flow: ...

        async def start_many(self, requests: Iterable[Mapping[str, Any]]) -> list[FlowHandle | Exception]: ...

    async def export_flow(self, flow_id: str) -> AsyncGenerator[dict[str, JSON], None]:
        """Gives a flow's log as a document, an object a line: a header, then every event so far in
        full, without the seed. Raises `UnknownFlow`."""
        node = await self.node()
        flow = Flow(read_flow_id(flow_id))
        [head] = await node.store.heads([flow.id])
        if head is None:
            raise UnknownFlow(f'no flow "{flow_id}" exists')
        yield header(flow.id, head.version)
        while flow.version < head.version:
            page = await node.logs.events(flow.id, flow.version)
            if not page:
                raise HistoryLost(f'the log of flow "{flow.id}" ends before its version {head.version}')
            for line in lines_of(flow, page[: head.version - flow.version]):
                yield line

    async def import_flow(self, lines: Iterable[Line]) -> dict[str, JSON]:
        """Takes in what `export_flow` gave, as lines of JSON or as objects: `{message, flow_id}`. The
        flow is sealed: it is read, explained and audited, and never runs.

        Everything is checked before anything is written: the log must be one that an audit finds
        nothing wrong with. Raises `InvalidInput` with what is wrong first, `FlowConflict` when the flow
        exists.
        """
        node = await self.node()
        flow_id, stored, events = read_log(lines, lambda event: node.logs.record([event])[0])
        flow = _folded(flow_id, events)
        fields, indexes = kept_beside(flow)
        partition = partition_of(flow_id, node.store.partitions)
        log = ImportedLog(partition, flow_id, stored, fields, indexes)
        if not await node.store.import_log(log):
            raise FlowConflict(f'flow "{flow_id}" exists already; an import never changes a flow')
        return {"message": f"flow {flow_id} is imported", "flow_id": flow_id}

    async def restart(self, flow_id: str, *, id: str | None = None) -> FlowHandle:
        """Starts the goals of a flow again, with its values, labels, metadata and terms, as a new flow
        on the steps that are registered now; a child's as a flow of its own, that nobody waits for.
        Raises what `start` raises, and `UnknownFlow`."""
        flow = await self.load(flow_id)
        with making_sense_of(flow_id):
            request = {
                "goals": list(flow.plan.goals),
                "init": {name: Values(*values) for name, values in flow.init.items()},
                "id": id,
                "labels": dict(flow.labels),
                "metadata": {
                    name: flow.metadata[name] for name in flow.metadata if name not in PARENT_METADATA
                },
                "compensate": flow.compensate,
                "timeout_ms": flow.timeout_ms or None,
            }
        [started] = await self.start_many([request])
        if isinstance(started, Exception):
            raise started
        return started


def _folded(flow_id: str, events: list[Recorded]) -> Flow:
    """The flow that a log makes. Raises `InvalidInput` with what an audit finds first."""
    try:
        flow = evolve(Flow(flow_id), events)
    except Exception:  # a log may hold anything: the audit says in words what is wrong with it
        flow = Flow(flow_id)
    last = events[-1]
    found = audit_log(
        flow_id, events, head_version=last.version, head_tx=last.tx, status=str(flow.status), sealed=None
    )
    if not found:
        return flow
    first, more = found[0], len(found) - 1
    what = f"is no log of a flow: {first.message} (invariant {first.invariant}, event {first.version})"
    raise InvalidInput(problems=[Problem(f"flow {flow_id}", what + (f"; {more:,} more" if more else ""))])
