"""What to say of the compensation of a step's items: what was undone, is being undone, could not be."""

from __future__ import annotations

from collections.abc import Iterator

from argyll_redis.core.explain_work import Asked, Clause, counted, either, first_few, no_engine_for, span
from argyll_redis.core.owed import undoes_all
from argyll_redis.core.state import StepRun, StepStatus, WorkItem, WorkStatus


def undoing(asked: Asked, run: StepRun) -> Iterator[Clause]:
    """Where the undoing of a step's items stands, and why there is any."""
    items = [item for item in asked.history.items(run.id) if item.undo is not None]
    if not items and not run.owed:
        return
    yield _reason(asked, run, items)
    undone = asked.history.undone.get(run.id, ())
    if undone:
        were = either(len(undone), "was", "were")
        yield Clause(f"{counted(len(undone), 'work item')} {were} undone", undone[-1].version)
    yield from first_few(
        Clause(f"item {fact.item + 1} could not be undone: {fact.error}", fact.version)
        for fact in asked.history.not_undone.get(run.id, ())
    )
    yield from _nobody(asked, run)
    running = [item for item in items if item.status is WorkStatus.COMPENSATING]
    yield from first_few(_running(asked, run, item) for item in running)
    if run.owed:
        yield _owed(asked, run)


def _reason(asked: Asked, run: StepRun, items: list[WorkItem]) -> Clause:
    flow = asked.history.flow
    if run.status is StepStatus.FAILED:
        return Clause("as it failed, what its work items had done is undone", run.ended_version)
    if undoes_all(flow):
        return Clause("as the flow failed, all that its steps had done is undone", flow.ended_version)
    late = [item.late.version for item in run.items.values() if item.late is not None]
    text = "what succeeded after it had failed is undone"
    return Clause(text, max(late, default=run.started_version))


def _nobody(asked: Asked, run: StepRun) -> Iterator[Clause]:
    """That no live engine can undo: none has the function, or none takes from the step's queue."""
    if run.has_undos and asked.has_engine:
        python = asked.history.flow.plan.steps[run.id].python
        yield from no_engine_for(asked, run, python.undo if python else "", _last_version(run))


def _last_version(run: StepRun) -> int:
    """Of the attempt to undo that was released last; of the step's end, where there is none."""
    versions = (item.undo.version for item in run.items.values() if item.undo)
    return max(versions, default=run.ended_version or run.started_version)


def _running(asked: Asked, run: StepRun, item: WorkItem) -> Clause:
    undo = item.undo
    assert undo is not None
    which = f" of item {item.index + 1}" if run.size > 1 else ""
    if not undo.is_waiting:
        text = f"attempt {undo.attempt} to undo{which} was released {asked.ago(undo.version)} ago"
        return Clause(f"{text} and has no outcome yet", undo.version)
    wait_ms = asked.history.flow.at_of(undo.due_version) + undo.due_delay_ms - asked.now_ms
    due = f"is due in {span(wait_ms)}" if wait_ms > 0 else f"has been due for {span(-wait_ms)}"
    text = (
        f"attempt {undo.due_attempt} to undo{which} {due}, as the one before was not completed: {undo.error}"
    )
    return Clause(text, undo.due_version)


def _owed(asked: Asked, run: StepRun) -> Clause:
    flow = asked.history.flow
    count = len(run.owed)
    text = f"{counted(count, 'work item')} {either(count, 'waits', 'wait')} to be undone"
    if undoes_all(flow):
        return Clause(f"{text}: one after the other, once nothing is active any more", flow.ended_version)
    slots = flow.plan.steps[run.id].work.parallelism
    return Clause(f"{text}: {run.undoing} on their way, parallelism {slots}", _last_version(run))
