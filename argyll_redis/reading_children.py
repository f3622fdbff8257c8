"""What can be asked of a flow's children: why a step that waits for one waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from argyll_redis.core.decide import evolve
from argyll_redis.core.events import Recorded
from argyll_redis.core.explain import Clause, explain
from argyll_redis.core.limits import MAX_CHILD_DEPTH
from argyll_redis.core.model import StepId
from argyll_redis.core.state import STEP_OVER, Flow
from argyll_redis.core.sub_flows import child_of, waiting_children
from argyll_redis.errors import UnknownFlow

MAX_EXPLAINED = 3
"""Children of one flow that are explained."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What an explanation needs beside a log."""

    log: Callable[[str], Awaitable[Sequence[Recorded]]]
    now_ms: int
    handlers: Collection[str] | None
    queues: Collection[str] | None


async def why_children(
    asking: Asking, flow_id: str, events: Sequence[Recorded], clauses: Sequence[Clause], *, depth: int = 0
) -> list[Clause]:
    """What the children wait for that clauses speak of, down to the innermost. Each sentence cites the
    event by which the parent began to wait."""
    flow = evolve(Flow(flow_id), events)
    found: list[Clause] = []
    for item in waiting_children(flow):
        child = child_of(flow, item)
        named = child is not None and any(f"`{child}`" in clause.text for clause in clauses)
        if child is None or not named or depth == MAX_CHILD_DEPTH:
            continue
        if len(found) >= MAX_EXPLAINED:
            break
        try:
            log = await asking.log(child)
        except UnknownFlow:
            found.append(Clause(f"child flow `{child}` does not exist yet", item.accepted_version))
            continue
        texts = await _why_child(asking, child, log, depth)
        found += [Clause(text, item.accepted_version) for text in texts]
    return found


async def _why_child(asking: Asking, child: str, log: Sequence[Recorded], depth: int) -> list[str]:
    """What a child waits for: the last thing to say of the first of its goals that is not done."""
    flow = evolve(Flow(child), log)
    if flow.is_over:
        return [f"child flow `{child}` has {flow.status}; its parent is about to be told"]
    goal = next((id for id in flow.plan.goals if not _is_done(flow, id)), None)
    if goal is None:
        return []
    explained = explain(
        child, log, goal, now_ms=asking.now_ms, handlers=asking.handlers, queues=asking.queues
    )
    deeper = await why_children(asking, child, log, explained.clauses, depth=depth + 1)
    own = f"in child flow `{child}` goal `{goal}` is {explained.status}: {explained.clauses[-1].text}"
    return [own, *(clause.text for clause in deeper)]


def _is_done(flow: Flow, goal: StepId) -> bool:
    return goal not in flow.steps or flow.steps[goal].status in STEP_OVER
