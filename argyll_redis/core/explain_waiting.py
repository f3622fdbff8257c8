"""What an active flow waits for, in one line: for whoever has waited in vain, and looks no further.

From the state alone, which is at hand where a flow was waited for; `explain` says more, from the log.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from argyll_redis.core.explain_work import NO_ENGINE, Asked, counted, either, pressing
from argyll_redis.core.history import History
from argyll_redis.core.state import Flow, StepStatus
from argyll_redis.core.sub_flows import child_of, waiting_children


class Waiting(NamedTuple):
    """What a flow waits for."""

    text: str
    """Empty when it waits for nothing: it is over, or about to go on."""
    child: str | None = None
    """The child flow of which the text speaks."""


def waiting_for(
    flow: Flow,
    *,
    now_ms: int,
    handlers: Collection[str] | None = None,
    queues: Collection[str] | None = None,
) -> Waiting:
    """Says the most pressing thing that an active flow waits for, by the server's clock; `handlers` and
    `queues` are as in `explain`."""
    if flow.is_over or flow.version == 0:
        return Waiting("")
    if queues is not None and not queues:
        return Waiting(NO_ENGINE)
    history = History.without_facts(flow)
    active = [id for id, run in flow.steps.items() if run.status is StepStatus.ACTIVE]
    asks = (Asked(history, id, now_ms, handlers, queues) for id in active)
    found = [(*kept, asked.step) for asked in asks if (kept := pressing(asked)) is not None]
    if not found:
        return Waiting("")
    _, clause, step = min(found, key=lambda each: each[0])
    more = len(active) - 1
    rest = f" ({counted(more, 'more step')} {either(more, 'is', 'are')} active)" if more else ""
    children = (child_of(flow, item) for item in waiting_children(flow) if item.step == step)
    child = next((id for id in children if id is not None and f"`{id}`" in clause.text), None)
    return Waiting(f"step `{step}`: {clause.text}{rest}", child)
