"""Which work items are owed an undoing, kept up by the events that make it so.

Folding and deciding share these few lines, so that the order in which things happen does not matter:
an item that succeeds after its step has failed is owed as one that succeeded before.
"""

from __future__ import annotations

from bisect import bisect_left

from argyll_redis.core.state import Draft, FlowStatus, StepRun, StepStatus, View, WorkItem, WorkStatus

THE_WHOLE_FLOW = "flow"
"""The value of `compensate` of a flow that undoes all that it has done when it fails."""


def undoes_all(view: View) -> bool:
    """Whether a flow undoes all that its steps have done."""
    return view.compensate == THE_WHOLE_FLOW and view.status is FlowStatus.FAILED


def is_owed_at_once(run: StepRun, item: WorkItem) -> bool:
    """Whether an item that is owed is undone whatever else of the flow goes on: its step has failed,
    or it has succeeded after it had failed."""
    return run.status is StepStatus.FAILED or item.status is WorkStatus.FAILED


def _is_owed(draft: Draft, run: StepRun, item: WorkItem) -> bool:
    """Whether an item of a step that knows how is to be undone, and is not begun with."""
    if item.status is WorkStatus.SUCCEEDED:
        return run.status is StepStatus.FAILED or undoes_all(draft)
    return item.status is WorkStatus.FAILED and item.late is not None


def item_has_ended(draft: Draft, run: StepRun, item: WorkItem) -> None:
    """Notes that an item is to be undone, if it is so: it succeeded, and its step has failed, or a
    flow that undoes everything has; or it succeeded after it had failed. The step has to know how."""
    if _is_owed(draft, run, item) and draft.plan.steps[run.id].can_undo:
        run.owed = with_index(without_index(run.owed, item.index), item.index)
        undos_have_changed(draft, run)


def step_has_ended(draft: Draft, run: StepRun) -> None:
    """Notes what is to be undone of a step that has failed, or whose flow has: all its items at once."""
    if draft.plan.steps[run.id].can_undo:
        run.owed = tuple(item.index for item in draft.items(run) if _is_owed(draft, run, item))
        undos_have_changed(draft, run)


def flow_has_failed(draft: Draft) -> None:
    """Notes what is to be undone of a flow that undoes everything."""
    if undoes_all(draft):
        for id, step in draft.plan.steps.items():
            if step.can_undo and draft.step(id).started_version:
                step_has_ended(draft, draft.edit_step(id))


def undos_have_changed(draft: Draft, run: StepRun) -> None:
    """Keeps the flow's list of the steps that have something to undo."""
    if run.has_undos != (run.id in draft.undos):
        others = tuple(id for id in draft.undos if id != run.id)
        draft.undos = (*others, run.id) if run.has_undos else others


def with_index(indexes: tuple[int, ...], index: int) -> tuple[int, ...]:
    """Indexes in item order, with one more."""
    place = bisect_left(indexes, index)
    return (*indexes[:place], index, *indexes[place:])


def without_index(indexes: tuple[int, ...], index: int) -> tuple[int, ...]:
    """Indexes in item order, without one of them."""
    place = bisect_left(indexes, index)
    if place < len(indexes) and indexes[place] == index:
        return indexes[:place] + indexes[place + 1 :]
    return indexes
