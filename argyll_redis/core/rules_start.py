"""The rules by which steps and work items start, and the checks that come before.

All that may start is checked before anything does: what the checks fail or skip may end the flow or
make other steps needless, and then nothing has been started in vain.
"""

from __future__ import annotations

from argyll_redis.core.collect import count_items, item_inputs, present_for_each
from argyll_redis.core.events import (
    Event,
    StepSkipped,
    StepStarted,
    WorkFailed,
    WorkSkipped,
    WorkStarted,
    resolve,
)
from argyll_redis.core.inputs import Want, collect_inputs, undecided, waits_for
from argyll_redis.core.limits import MAX_ITEMS
from argyll_redis.core.mapping import map_inputs
from argyll_redis.core.model import JSON, Step, StepId
from argyll_redis.core.rules_over import PREDICATE, asks_items, fail_step, inputs_are_settled, step_is_over
from argyll_redis.core.state import StepRun, StepStatus, WorkItem, token_of
from argyll_redis.core.turn import Turn
from argyll_redis.errors import ScriptError


def check_step(turn: Turn) -> bool:
    """A pending step whose outputs are wanted, whose required inputs are fulfilled, whose gates are
    open and whose optional inputs are decided fails when it can't use an input or when a mapping or
    its predicate raises, is skipped when its predicate is false, and else is fit to start."""
    while turn.ready and not turn.draft.is_over:
        if len(turn.fit) >= turn.room:
            turn.left = True
            turn.ready.clear()
            return False
        name, cause = turn.ready.take(turn.draft.plan.rank)
        step = turn.draft.plan.steps[StepId(name)]
        if _may_start(turn, step, cause) and _check(turn, step, cause):
            return True
    return False


def _may_start(turn: Turn, step: Step, cause: int) -> bool:
    draft = turn.draft
    if draft.step(step.id).status is not StepStatus.PENDING:
        return False
    place = waits_for(draft, step, turn.evaluate, start=draft.base.waits.get(step.id, 0))
    if place is not None:
        draft.base.waits[step.id] = place
        return False
    if undecided(draft, step):
        turn.timing.add(step.id, cause)
        return False
    return turn.want(step.id) is Want.SURELY


def _check(turn: Turn, step: Step, cause: int) -> bool:
    """Whether anything had to be said of a step that may start."""
    recorded = collect_inputs(turn.draft, step, turn.evaluate)
    inputs = resolve(turn.draft, recorded)
    try:
        mapped = map_inputs(step, inputs, turn.evaluate)
    except ScriptError as error:
        fail_step(turn, step.id, str(error), cause=cause, inputs=recorded)
        return True
    for inner, value in mapped.items():
        inputs[inner], recorded[inner] = value, {"value": value}
    wrong, holds = _unusable_input(step, inputs), True
    if wrong is None:
        try:
            holds = _holds(turn, step, inputs)
        except ScriptError as error:
            if not step.for_each:  # else it is left to the items
                wrong = f"the predicate failed: {error}"
    if wrong is not None:
        fail_step(turn, step.id, wrong, cause=cause, inputs=recorded)
    elif not holds:
        step_is_over(turn, step.id, turn.emit(StepSkipped(step.id, PREDICATE, recorded), cause=cause))
    else:
        turn.fit.add(step.id, cause)
        turn.collected[step.id] = recorded, count_items(step, inputs)
    return wrong is not None or not holds


def _unusable_input(step: Step, inputs: dict[str, JSON]) -> str | None:
    if not step.for_each:
        return None
    for attribute in present_for_each(step, inputs):
        if not isinstance(inputs[attribute.inner], list):
            return f'input "{attribute.inner}" is not an array, so its elements cannot be work items'
    size = count_items(step, inputs)
    return f"{size} work items are more than {MAX_ITEMS}" if size > MAX_ITEMS else None


def _holds(turn: Turn, step: Step, inputs: dict[str, JSON]) -> bool:
    return step.predicate is None or turn.evaluate.predicate(step.predicate, inputs)


def check_items(turn: Turn) -> bool:
    """A work item of a step with `for_each` is skipped when the predicate is false for its inputs,
    and fails when that raises; all that may start are looked at before any of them does."""
    if turn.draft.is_over:
        return False
    for id, cause in turn.unchecked.items():
        if _check_items_of(turn, turn.draft.plan.steps[id], turn.draft.step(id), cause):
            turn.changed.add(id, cause)
            return True
    turn.unchecked.clear()
    return False


def _check_items_of(turn: Turn, step: Step, run: StepRun, cause: int) -> bool:
    """Looks at as many items as there are slots; whether one of them was skipped or failed."""
    held = [index for index in turn.held.get(run.id, ()) if _is_untouched(turn, run, index)]
    turn.held[run.id] = held
    room = turn.room + (run.id in turn.paid)
    while len(held) < min(step.work.parallelism - run.active, room):
        index = _next_untouched(turn, run, held[-1] + 1 if held else 0)
        if index is None:
            return False
        said = _check_item(turn, step, run, index)
        if said is not None:
            _count_item(turn, run.id)
            turn.emit(said, cause=cause)
            return True
        held.append(index)
    return False


def _check_item(turn: Turn, step: Step, run: StepRun, index: int) -> Event | None:
    """What has to be said of an item instead of starting it."""
    token = token_of(turn.draft.seed, run.id, index)
    try:
        holds = _holds(turn, step, item_inputs(step, run.inputs, index))
    except ScriptError as error:
        return WorkFailed(run.id, token, 0, f"the predicate failed: {error}")
    return None if holds else WorkSkipped(run.id, token)


# ------------------------------------------------------------------------ starts


def start_step(turn: Turn) -> bool:
    """A fit step starts, if it is still wanted. Its items follow when no other step is fit."""
    if turn.draft.is_over:
        return False
    while turn.fit:
        name, cause = turn.fit.take(turn.draft.plan.rank)
        step = turn.draft.plan.steps[StepId(name)]
        recorded, size = turn.collected.pop(step.id)
        if _is_still_wanted(turn, step.id):
            _start(turn, step, recorded, size, cause=cause)
            return True
    return False


def look_at_fresh(turn: Turn) -> bool:
    """A step that has just started starts its items, or is over when it has none."""
    if turn.draft.is_over:
        return False
    for id, version in turn.fresh.items():
        turn.changed.add(id, version)
    turn.fresh.clear()
    return True


def _is_still_wanted(turn: Turn, id: StepId) -> bool:
    """Whether no start before has made a fit step needless. Without gates such a step was skipped."""
    draft = turn.draft
    if draft.step(id).status is not StepStatus.PENDING:
        return False
    return not draft.plan.has_gates or turn.want(id) is Want.SURELY


def _start(turn: Turn, step: Step, recorded: dict[str, JSON], size: int, *, cause: int) -> None:
    turn.fresh[step.id] = turn.emit(StepStarted(step.id, recorded, size), cause=cause)
    turn.room -= 1
    turn.paid.add(step.id)
    inputs_are_settled(turn, step.id, turn.draft.version)


def start_items(turn: Turn) -> bool:
    """An active step starts items in item order while fewer than its parallelism are active; items
    whose retry is due go before those that never started."""
    if turn.draft.is_over:
        return False
    for id, cause in turn.hungry.items():
        _start_items_of(turn, id, cause)
    turn.hungry.clear()
    return False


def _start_items_of(turn: Turn, id: StepId, cause: int) -> None:
    step = turn.draft.plan.steps[id]
    while (run := turn.draft.step(id)).active < step.work.parallelism:
        item = _first_due(turn, run)
        index = _next_untouched(turn, run, 0) if item is None else item.index
        if index is None:
            return
        if (item is None and not _take_held(turn, step, index)) or not _count_item(turn, id):
            turn.left = True
            return
        token = token_of(turn.draft.seed, id, index)
        if item is None:
            turn.emit(WorkStarted(id, token, 1, "first"), cause=cause)
        else:
            turn.emit(WorkStarted(id, token, item.attempt + 1, "retry"), cause=item.due_version)


def _take_held(turn: Turn, step: Step, index: int) -> bool:
    """Whether an item needs no check of its own, or has passed it and is started now."""
    if not asks_items(step):
        return True
    held = turn.held.get(step.id, [])
    if index not in held:
        return False
    held.remove(index)
    return True


def _count_item(turn: Turn, id: StepId) -> bool:
    """Counts one more item of a step; False when the turn has no room for it. The first item of a
    step that started in this turn was counted then."""
    if id in turn.paid:
        turn.paid.remove(id)
    elif turn.room > 0:
        turn.room -= 1
    else:
        return False
    return True


def _first_due(turn: Turn, run: StepRun) -> WorkItem | None:
    """The first item, in item order, whose retry is due."""
    for index in run.retrying:
        item = turn.draft.item(run.id, index)
        if item is not None and turn.is_due(item):
            return item
    return None


def _next_untouched(turn: Turn, run: StepRun, start: int) -> int | None:
    """The first item, from a place on, that was neither started nor settled."""
    places = range(max(start, run.next_index), run.size)
    return next((index for index in places if _is_untouched(turn, run, index)), None)


def _is_untouched(turn: Turn, run: StepRun, index: int) -> bool:
    item = turn.draft.item(run.id, index)
    return item is None or item.is_untouched
