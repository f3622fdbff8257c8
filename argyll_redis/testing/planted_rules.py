"""Bugs of rules: one that is left out, or one that forgets something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from zlib import crc32

from argyll_redis.core import collect, decide, events, outbox, rules_children, rules_start
from argyll_redis.core.collect import for_each_inputs, provides
from argyll_redis.core.commands import Outcome, Report, Unfinished
from argyll_redis.core.model import JSON, StepId
from argyll_redis.core.state import StepRun, View, WorkItem
from argyll_redis.core.turn import Turn
from argyll_redis.runtime.engine import Engine
from argyll_redis.runtime.follower import Follower
from argyll_redis.runtime.logs import Logs
from argyll_redis.runtime.refusals import Refusals
from argyll_redis.runtime.sweep import Sweep
from argyll_redis.runtime.work import InHand
from argyll_redis.store.protocol import StoredEvent
from argyll_redis.testing.planting import plant, replacing

Refusal = Callable[[Turn, WorkItem, Outcome, Report], str | None]


def _nothing(*_: object, **__: object) -> None:
    pass


async def _do_nothing(*_: object) -> None:
    pass


def _no_timers(*_: object) -> dict[str, int]:
    return {}


# ------------------------------------------------------------ which outcome counts


def _refusing_by(make: Callable[[Refusal], Refusal]) -> AbstractContextManager[None]:
    """Replaces the rule by which an outcome does not count."""
    return replacing(decide, "_refusal", make(decide._refusal))


def _without_state(original: Refusal) -> Refusal:
    def refusal(turn: Turn, item: WorkItem, outcome: Outcome, command: Report) -> str | None:
        return original(turn, item, outcome, command) if turn.draft.is_deactivated else None

    return refusal


def _without_fence(original: Refusal) -> Refusal:
    def refusal(turn: Turn, item: WorkItem, outcome: Outcome, command: Report) -> str | None:
        return original(turn, item, outcome, replace(command, attempt=None))

    return refusal


def _without_fence_for_unfinished(original: Refusal) -> Refusal:
    def refusal(turn: Turn, item: WorkItem, outcome: Outcome, command: Report) -> str | None:
        if isinstance(outcome, Unfinished):
            command = replace(command, attempt=None)
        return original(turn, item, outcome, command)

    return refusal


plant("M5", "a completion counts whatever the work item's state", patch=lambda: _refusing_by(_without_state))
plant("M6", "an outcome counts whatever attempt it is of", patch=lambda: _refusing_by(_without_fence))
plant(
    "M26",
    "a failure that may be tried again counts whatever attempt it is of",
    patch=lambda: _refusing_by(_without_fence_for_unfinished),
    from_seed=30,
)


# ------------------------------------------------------------------ engines, keepers


def _keep_slot(engine: Engine, held: InHand) -> None:
    engine.hand.drop(held)


def _let_go_of_nothing(engine: Engine) -> list[object]:
    del engine
    return []


plant(
    "M8",
    "what is taken over runs under the attempt of its dead engine",
    patch=lambda: replacing(Engine, "take_over", Engine.take),
)
plant("M10", "nothing restores lost entries", patch=lambda: replacing(Sweep, "round", _do_nothing))
plant(
    "M11", "an entry that is let go of keeps its slot", patch=lambda: replacing(Engine, "_forget", _keep_slot)
)
plant(
    "M27",
    "what an engine has let go of is renewed with the rest",
    patch=lambda: replacing(Engine, "let_go", _let_go_of_nothing),
    from_seed=550,
)
plant(
    "M29",
    "who follows a flow is not told of what others commit",
    patch=lambda: replacing(Follower, "_tell", _nothing),
)


# --------------------------------------------------------------------- lost replies


def _take_for_new(original: Callable[..., None]) -> Callable[..., None]:
    def go_on_from(refusals: Refusals, sent: Any, reply: Any) -> None:
        others = tuple(event._replace(tx="") for event in reply.missed)
        original(refusals, sent, reply._replace(missed=others))

    return go_on_from


plant(
    "M30",
    "a transaction whose reply was lost is decided once more",
    patch=lambda: replacing(Refusals, "_go_on_from", _take_for_new(Refusals._go_on_from)),
)


# ---------------------------------------------------------------- flows of other flows


plant(
    "M13",
    "children go on when nobody waits for them any more",
    patch=lambda: replacing(rules_children, "child_is_needless", _nothing),
    from_seed=300,
)


# ----------------------------------------------------------------------- due entries


plant(
    "M14",
    "a deadline starts without a due entry",
    patch=lambda: replacing(outbox, "_deadline_timers", _no_timers),
)
plant(
    "M31",
    "a retry is scheduled without a due entry",
    patch=lambda: replacing(outbox, "_item_timer", _nothing),
)
plant(
    "M32",
    "a flow's own time is over and nobody looks",
    patch=lambda: replacing(outbox, "_flow_timers", _no_timers),
)


# --------------------------------------------------------------------- work items


def _any_untouched(original: Callable[[Turn, StepRun, int], int | None]) -> Any:
    """Takes items in the order in which a set of their names has them."""

    def next_untouched(turn: Turn, run: StepRun, start: int) -> int | None:
        found: list[int] = []
        while (index := original(turn, run, start)) is not None:
            found.append(index)
            start = index + 1
        return min(found, key=lambda each: crc32(f"{run.id} {each}".encode()), default=None)

    return next_untouched


def _in_order_of_end(view: View, step_id: StepId, attribute: str) -> JSON:
    """What a step provides, its items as they came."""
    step, run = view.plan.steps[step_id], view.step(step_id)
    if not step.for_each:
        return collect.output_values(view, step_id, attribute)
    items = [item for index in range(run.size) if (item := view.item(step_id, index))]
    items.sort(key=lambda item: (item.ended_version, item.index))
    return [
        {**for_each_inputs(step, run.inputs, item.index), attribute: (item.outputs or {})[attribute]}
        for item in items
        if provides(item, attribute)
    ]


def _without_parallelism(original: Callable[..., Any]) -> Any:
    def start_items_of(turn: Turn, id: StepId, cause: int) -> None:
        original(turn, id, cause)
        if (index := rules_start._next_untouched(turn, turn.draft.step(id), 0)) is not None:
            token = turn.draft.token(id, index)
            if not rules_start.asks_items(turn.draft.plan.steps[id]):
                turn.emit(events.WorkStarted(id, token, 1, "first"), cause=cause)

    return start_items_of


plant(
    "M15",
    "what succeeds after its step has failed is not undone",
    patch=lambda: replacing(events, "item_has_ended", _nothing),
    from_seed=30,
)
plant(
    "M33",
    "work items start in the order of a set",
    patch=lambda: replacing(rules_start, "_next_untouched", _any_untouched(rules_start._next_untouched)),
)
plant(
    "M34",
    "lists are in the order in which their work items ended",
    patch=lambda: replacing(events, "output_values", _in_order_of_end),
)
plant(
    "M35",
    "one work item more than its parallelism runs",
    patch=lambda: replacing(
        rules_start, "_start_items_of", _without_parallelism(rules_start._start_items_of)
    ),
)


# --------------------------------------------------------------------- other versions


def _skip_unknown(original: Callable[..., Any]) -> Any:
    def record(logs: Logs, stored: Sequence[StoredEvent], *given: Any) -> Any:
        return original(logs, [event for event in stored if not event.type.startswith("new_")], *given)

    return record


plant(
    "M36",
    "an event of a type that is not known is skipped",
    patch=lambda: replacing(Logs, "record", _skip_unknown(Logs.record)),
    from_seed=80,
)
