"""How far a flow is: one small object, for whoever watches it go on.

Beside the state (`views.flow_state`) it says what the state leaves to be worked out: who waits for whom,
how many items are where, when the next retry is due. Its size grows with steps, not with items.
"""

from __future__ import annotations

from itertools import islice

from argyll_redis.core.inputs import is_undecided
from argyll_redis.core.model import JSON, Attribute, Collect, Role, StepId, StepType
from argyll_redis.core.state import STEP_OVER, Flow, StepRun, StepStatus, WorkItem
from argyll_redis.core.sub_flows import child_of, waiting_children
from argyll_redis.views import rfc3339

MAX_CHILDREN = 5
"""Child flows of a step that are named."""


def progress(flow: Flow) -> dict[str, JSON]:
    """A flow at its version: `{id, status, version, imported, goals, created_at, completed_at,
    last_updated, error, steps}`. What is not set is left out, and times are RFC 3339, as in the state.

    A step is `{id, status, handler, queue, needs, waits_for, items, succeeded, failed, skipped, active,
    accepted, waiting, children, retries, lost, next_retry_at, started_at, completed_at, error, reason}`.
    `handler` and `queue` are what an engine must have to run it, where not every one has it; `needs` are
    the steps that provide for it, `waits_for` those of them that it cannot start without and that are not
    over; `accepted` of the `active` items have their outcome from elsewhere, `waiting` ones wait for a
    retry. `undoing` items are to be undone or are being undone, `undone` ones were, `undo_failed` ones
    could not be; each is left out while there are none. `children` are the first few of the child flows
    that a flow step waits for.
    """
    return _set_only(
        {
            "id": flow.id,
            "status": str(flow.status),
            "version": flow.version,
            "imported": flow.is_imported or None,
            "goals": list(flow.plan.goals),
            "created_at": rfc3339(flow.at_of(1)),
            "completed_at": rfc3339(flow.at_of(flow.ended_version)),
            "last_updated": rfc3339(flow.at_of(flow.version)),
            "error": flow.error,
            "steps": [_step(flow, run) for run in flow.steps.values()],
        }
    )


def _set_only(shape: dict[str, JSON]) -> dict[str, JSON]:
    return {name: value for name, value in shape.items() if value is not None}


def _step(flow: Flow, run: StepRun) -> dict[str, JSON]:
    definition = flow.plan.steps[run.id]
    handler = definition.handler or None
    return _set_only(
        {
            "id": run.id,
            "status": str(run.status),
            "handler": handler,
            "queue": handler and definition.queue,
            "needs": _needs(flow, run.id),
            "waits_for": _waits_for(flow, run),
            "items": run.size if run.started_version else None,
            "succeeded": run.succeeded,
            "failed": run.failed,
            "skipped": run.skipped,
            "active": run.active,
            "accepted": run.accepted,
            "waiting": run.waiting,
            "undoing": len(run.owed) + run.undoing + len(run.undo_retrying) or None,
            "undone": run.undone or None,
            "undo_failed": run.undo_failed or None,
            "children": _children(flow, run),
            "retries": sum(item.retries for item in run.items.values()),
            "lost": sum(map(_losses, run.items.values())),
            "next_retry_at": rfc3339(_next_retry_ms(flow, run)),
            "started_at": rfc3339(flow.at_of(run.started_version)),
            "completed_at": rfc3339(flow.at_of(run.ended_version)),
            "error": run.error or _trouble(run),
            "reason": run.reason,
        }
    )


def _losses(item: WorkItem) -> int:
    """How many attempts of an item were started because the engine of the one before was lost: those
    that were neither the first nor a retry."""
    retried = item.retries - (item.due_attempt > 0)
    return max(item.attempt - 1 - retried, 0)


def _children(flow: Flow, run: StepRun) -> list[JSON] | None:
    """The first few of the child flows that a step waits for; None for a step that can have none."""
    if flow.plan.steps[run.id].type is not StepType.FLOW:
        return None
    waiting = (item for item in waiting_children(flow) if item.step == run.id)
    return [child_of(flow, item) for item in islice(waiting, MAX_CHILDREN)]


def _needs(flow: Flow, step: StepId) -> list[JSON]:
    """The planned providers of a step's inputs, in the order of its inputs."""
    inputs = flow.plan.steps[step].inputs
    return list(dict.fromkeys(id for each in inputs for id in flow.plan.attributes[each.name].providers))


def _waits_for(flow: Flow, run: StepRun) -> list[JSON]:
    if run.status is not StepStatus.PENDING or flow.is_over:
        return []
    waits = (each for each in flow.plan.steps[run.id].inputs if _may_wait(flow, run, each))
    providers = (id for each in waits for id in flow.plan.attributes[each.name].providers)
    return [id for id in dict.fromkeys(providers) if flow.steps[id].status not in STEP_OVER]


def _may_wait(flow: Flow, run: StepRun, attribute: Attribute) -> bool:
    """Whether a pending step may still wait for a required input, or for an optional one until its
    deadline; no gate is evaluated."""
    if attribute.role is not Role.REQUIRED:
        return attribute.name in run.deadlines and is_undecided(flow, run.id, attribute)
    is_simple = attribute.collect is Collect.FIRST and attribute.match is None
    return not (is_simple and flow.values(attribute.name))


def _next_retry_ms(flow: Flow, run: StepRun) -> int:
    items = (run.items[index] for index in run.retrying)
    return min((flow.at_of(item.due_version) + item.due_delay_ms for item in items), default=0)


def _trouble(run: StepRun) -> str | None:
    """Why the first of the items that wait for a retry was not completed, or the first failed."""
    if run.retrying:
        return run.items[run.retrying[0]].error
    return run.first_error.error if run.first_error else None
