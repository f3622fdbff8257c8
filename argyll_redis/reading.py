"""The reading part of an app: lists, states, events, why, audit, queues. Nothing here changes anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from os import PathLike
from typing import TYPE_CHECKING, Any

from argyll_redis.core.events import Recorded
from argyll_redis.core.explain import Clause, explain
from argyll_redis.core.explain_waiting import waiting_for
from argyll_redis.core.limits import MAX_CHILD_DEPTH
from argyll_redis.core.model import JSON, Plan, StepId
from argyll_redis.core.parse_request import read_flow_id
from argyll_redis.core.reader import did_you_mean
from argyll_redis.core.state import Flow, FlowStatus, StepStatus
from argyll_redis.core.sub_flows import child_of
from argyll_redis.core.values import shown
from argyll_redis.errors import InvalidInput, UnknownFlow, UnknownStep
from argyll_redis.looking import find_namespace
from argyll_redis.reading_children import Asking, why_children
from argyll_redis.runtime.clock import new_id
from argyll_redis.runtime.node import Node
from argyll_redis.store.protocol import EngineInfo, Store
from argyll_redis.views import flow_state, rests_on_a_log, rfc3339, show_events

if TYPE_CHECKING:
    from argyll_redis.audit import Report
    from argyll_redis.starting import Starter


INDEXES = ("open", *(f"done:{status}" for status in FlowStatus))
"""Which have every root flow among them. In `done:active` are those that were imported while active."""
MAX_LISTED = 1_000
"""Flows in one list."""


class Reading:
    """What can be asked of a namespace; mixed into `Argyll`."""

    if TYPE_CHECKING:
        namespace: str
        _starter: Starter

        async def node(self) -> Node: ...
        def make_store(self) -> Store: ...

    async def load(self, flow_id: str, *, at: int | None = None) -> Flow:
        """Folds a flow from its log, up to a version. Raises `UnknownFlow`, `InvalidInput`."""
        node = await self.node()
        if at is not None:
            return await self._load_prefix(node, flow_id, at)
        flow = await node.load(read_flow_id(flow_id))
        if flow.version == 0:
            raise UnknownFlow(f'no flow "{flow_id}" exists')
        return flow

    async def _load_prefix(self, node: Node, flow_id: str, at: int) -> Flow:
        if type(at) is not int or at < 1:
            raise InvalidInput(f"at is {at!r}: versions begin with 1")
        events = await self.log(flow_id, upto=at)
        if len(events) < at:
            raise InvalidInput(f'at is {at}: flow "{flow_id}" is at version {len(events)}')
        return node.logs.fold_prefix(flow_id, events)

    async def log(self, flow_id: str, *, upto: int | None = None) -> list[Recorded]:
        """All events of a flow, or those up to a version. Raises `UnknownFlow`."""
        node = await self.node()
        events: list[Recorded] = []
        while upto is None or len(events) < upto:
            page = await node.logs.events(read_flow_id(flow_id), len(events))
            events.extend(page)
            if not page:
                break
        if not events:
            raise UnknownFlow(f'no flow "{flow_id}" exists')
        return events[:upto]

    async def events(self, flow_id: str, *, after: int = 0) -> list[dict[str, JSON]]:
        """The events after a version, each `{id, type, at, cause, by, data}` in full. Raises
        `UnknownFlow`."""
        node = await self.node()
        flow = Flow(read_flow_id(flow_id))
        found: list[dict[str, JSON]] = []
        while page := await node.logs.events(flow.id, flow.version):
            found.extend(shape for shape in show_events(flow, page) if flow.version >= after)
        if flow.version == 0:
            raise UnknownFlow(f'no flow "{flow_id}" exists')
        return found

    async def position(self, flow_id: str) -> tuple[int, bool]:
        """A flow's version, and whether its log is closed: nothing comes after it. Raises
        `UnknownFlow`."""
        node = await self.node()
        [head] = await node.store.heads([read_flow_id(flow_id)])
        if head is None:
            raise UnknownFlow(f'no flow "{flow_id}" exists')
        return head.version, head.sealed

    async def plan(self, goals: Sequence[Any], init: Mapping[str, Any] | None = None) -> Plan:
        """Plans without starting; `required` then names the true missing leaves."""
        return await self._starter.preview(goals, init)

    async def state(self, flow_id: str, *, at: int | None = None) -> dict[str, JSON]:
        """A flow's state, as it is or as it was at a version. Raises `UnknownFlow`."""
        return flow_state(await self.load(flow_id, at=at))

    async def status(self, flow_id: str) -> dict[str, JSON]:
        """`{id, status}` from the index. Raises `UnknownFlow`."""
        node = await self.node()
        [head] = await node.store.heads([read_flow_id(flow_id)])
        if head is None:
            raise UnknownFlow(f'no flow "{flow_id}" exists')
        return {"id": flow_id, "status": head.fields.get("status", "")}

    @rests_on_a_log
    async def why(self, flow_id: str, step: str) -> dict[str, JSON]:
        """Says why a step ran, waits, was skipped, failed or was never planned:
        `{flow_id, step, status, why: [{text, version}]}`. Raises `UnknownFlow`, `UnknownStep`."""
        events = await self.log(flow_id)
        node = await self.node()
        catalog = await node.catalog.refresh()
        begun = node.logs.fold_prefix(flow_id, events[:1])
        if step not in {*begun.plan.steps, *begun.plan.why, *catalog.steps}:
            raise UnknownStep(
                f'no step "{shown(step)}" is registered, nor is it in the plan of flow "{flow_id}"'
            )
        return await self._explained(begun, events, step, await self._asking(node, begun))

    @rests_on_a_log
    async def why_goals(self, flow_id: str) -> dict[str, JSON]:
        """Says of each goal of a flow what `why` says of a step: `{flow_id, goals}`, with one object a goal,
        in their order. Raises `UnknownFlow`."""
        events = await self.log(flow_id)
        node = await self.node()
        begun = node.logs.fold_prefix(flow_id, events[:1])
        asking = await self._asking(node, begun)
        goals = [await self._explained(begun, events, goal, asking) for goal in begun.plan.goals]
        return {"flow_id": flow_id, "goals": goals}

    async def _asking(self, node: Node, flow: Flow) -> Asking:
        """What an explanation goes by. Of an imported flow nothing is run here, whoever is alive."""
        now_ms = await node.store.now_ms()
        if flow.is_imported:
            return Asking(self.log, now_ms, None, None)
        engines = await node.store.engines()
        handlers = {handler for engine in engines for handler in engine.handlers}
        queues = {queue for engine in engines for queue in engine.queues}
        return Asking(self.log, now_ms, handlers, queues)

    async def _explained(
        self, begun: Flow, events: Sequence[Recorded], step: str, asking: Asking
    ) -> dict[str, JSON]:
        explained = explain(
            begun.id, events, step, now_ms=asking.now_ms, handlers=asking.handlers, queues=asking.queues
        )
        clauses = [*explained.clauses, *await why_children(asking, begun.id, events, explained.clauses)]
        if begun.is_imported and explained.status in (StepStatus.PENDING, StepStatus.ACTIVE):
            clauses.append(Clause("the flow was imported: it is read, and nothing of it goes on here", 1))
        return {
            "flow_id": begun.id,
            "step": step,
            "status": str(explained.status),
            "why": [{"text": clause.text, "version": clause.version} for clause in clauses],
        }

    @rests_on_a_log
    async def waits_for(self, flow_id: str) -> str:
        """What an active flow waits for, in one line: the most pressing thing, down to the child flow that
        it is about; empty when the flow is over. Raises `UnknownFlow`."""
        node = await self.node()
        flow = await self.load(flow_id)
        asking = await self._asking(node, flow)
        texts: list[str] = []
        for _ in range(MAX_CHILD_DEPTH):
            waiting = waiting_for(flow, now_ms=asking.now_ms, handlers=asking.handlers, queues=asking.queues)
            texts.append(waiting.text)
            if waiting.child is None:
                break
            flow = await node.load(waiting.child)
        return "; in it ".join(text for text in texts if text)

    @rests_on_a_log
    async def waiting(self, flow_id: str, step: str) -> list[dict[str, JSON]]:
        """The work items of a step whose outcome comes from outside, and from no child flow, in item
        order: `{token, item, attempt, accepted_at}`, items counted from 1. Raises `UnknownFlow`,
        `UnknownStep`."""
        flow = await self.load(flow_id)
        run = flow.steps.get(StepId(step)) or flow.steps.get(StepId(step.lower()))
        if run is None:
            mend = did_you_mean(step, flow.steps)
            raise UnknownStep(
                f'no step "{shown(step)}" is in flow "{flow_id}"' + (f" ({mend})" if mend else "")
            )
        items = (run.items[index] for index in sorted(run.items))
        return [
            {
                "token": item.token,
                "item": item.index + 1,
                "attempt": item.attempt,
                "accepted_at": rfc3339(flow.at_of(item.accepted_version)),
            }
            for item in items
            if item.is_accepted and child_of(flow, item) is None
        ]

    async def engines(self) -> tuple[EngineInfo, ...]:
        """The live engines, by id."""
        return await (await self.node()).store.engines()

    async def audit(
        self,
        flow_id: str | None = None,
        *,
        calls: Iterable[str | PathLike[str]] = (),
        answers: Iterable[str | PathLike[str]] = (),
        is_drained: bool = False,
    ) -> dict[str, JSON]:
        """Checks every invariant that can be checked, over one flow with its children or over all:
        `{flows, violations: [{invariant, flow, version, message}]}`. Changes nothing, and creates nothing.

        `calls` and `answers` are files: journals of what called services and clients saw. `is_drained` says
        that all work should have ended. Raises `UnknownFlow`, and `InvalidInput` for a journal, and where
        there is no namespace.
        """
        report = await self.audit_report(flow_id, calls=calls, answers=answers, is_drained=is_drained)
        return report.as_json()

    async def audit_report(
        self,
        flow_id: str | None = None,
        *,
        calls: Iterable[str | PathLike[str]] = (),
        answers: Iterable[str | PathLike[str]] = (),
        is_drained: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Report:
        """Does as `audit`, and says how much was looked at, and what could not be checked."""
        from argyll_redis.audit import Journals, audit_namespace  # nothing else needs them

        node = Node(self.make_store(), new_id())  # of its own: the app's would create what is not there
        try:
            with closing(Journals(calls=calls, answers=answers)) as journals:
                otherwise = "there is nothing to audit (name another one)"
                await find_namespace(node.store, self.namespace, otherwise=otherwise)
                await node.peek()
                return await audit_namespace(
                    node, flow_id=flow_id, journals=journals, is_drained=is_drained, on_progress=on_progress
                )
        finally:
            await node.close()

    async def queue_stats(self) -> dict[str, JSON]:
        """`{queues: [{queue, depth, in_flight, due, oldest, engines}]}`, `oldest` in ms."""
        node = await self.node()
        stats, engines = await asyncio.gather(node.store.queue_stats(), node.store.engines())
        return {
            "queues": [
                {
                    "queue": stat.queue,
                    "depth": stat.depth,
                    "in_flight": stat.in_flight,
                    "due": stat.due,
                    "oldest": stat.oldest_ms,
                    "engines": sum(stat.queue in (*engine.queues, "control") for engine in engines),
                }
                for stat in stats
            ]
        }
