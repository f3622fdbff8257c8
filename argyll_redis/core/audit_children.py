"""I-24: whether a flow and its children agree, as far as their logs show.

No script is evaluated: an output that a mapping has made is not compared with what the child gave.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from argyll_redis.core import events as e
from argyll_redis.core.audit_past import Findings
from argyll_redis.core.collect import item_inputs, result_of
from argyll_redis.core.events import Recorded
from argyll_redis.core.model import JSON, Role, Step, StepType
from argyll_redis.core.sources import is_same
from argyll_redis.core.state import Flow, FlowStatus, WorkItem
from argyll_redis.core.sub_flows import CHILD, Parent, child_of, is_own_child

Told = tuple[int, str, str]
"""(version, invariant, message)."""


class Kinship:
    """A flow and what its log says of its children."""

    def __init__(self, parent: Flow, events: Sequence[Recorded]) -> None:
        self.parent = parent
        self._words = _words(events)

    def children(self) -> Iterator[tuple[WorkItem, str]]:
        """The items that may have a child, each with the child's id, in the order of steps and items."""
        for id, step in self.parent.plan.steps.items():
            if step.type is StepType.FLOW:
                for _, item in sorted(self.parent.steps[id].items.items()):
                    child = child_of(self.parent, item)
                    if child is not None:
                        yield item, child

    def has_word_of(self, item: WorkItem) -> bool:
        """Whether the child of an item has said what it came to."""
        return item.token in self._words

    def check(self, item: WorkItem, id: str, child: Flow | None) -> Iterator[Told]:
        """Compares the flow with the child of an item, read after it; None when there is none. Once the
        flow is deactivated, or where it was imported, its children may be gone."""
        parent, word = self.parent, self._words.get(item.token)
        version = word.version if word else item.accepted_version or item.started_version
        if child is not None and child.version:
            found = list(_check_start(parent, item, child))
            if word is not None:
                found += _check_word(parent.plan.steps[item.step], word.event, child)
            yield from ((version, *each) for each in found)
        elif (word or item.is_accepted) and not parent.is_deactivated and not parent.is_imported:
            yield version, "I-24", f"work item {item.token} was accepted, and its child {id} does not exist"


class Word(NamedTuple):
    """What a child has said to its parent."""

    version: int
    event: e.WorkSucceeded | e.WorkFailed


def _words(events: Sequence[Recorded]) -> dict[str, Word]:
    """What children have said, by token."""
    words: dict[str, Word] = {}
    for recorded in events:
        match recorded.event:
            case e.WorkSucceeded() | e.WorkFailed() as event:
                if recorded.by.startswith(CHILD) and recorded.cause == 0:
                    words[event.token] = Word(recorded.version, event)
            case _:
                pass
    return words


def _check_start(parent: Flow, item: WorkItem, child: Flow) -> Findings:
    """A child is started with the plan and the inputs that its item has for it, and says whose it is."""
    step = parent.plan.steps[item.step]
    if child.is_imported:
        return
    if not is_own_child(child, Parent(parent.id, item.step, item.token)):
        yield "I-24", f"child {child.id} does not say that it belongs to work item {item.token}"
    if child.plan != parent.plan.children.get(item.step):
        yield "I-24", f"child {child.id} has another plan than its parent made for it"
    inputs = item_inputs(step, parent.steps[step.id].inputs, item.index)
    known = {name: [value] for name, value in inputs.items()}
    metas = {each.inner for each in step.metas}
    given = {name: values for name, values in child.init.items() if name not in metas}
    if not is_same(given, known):
        yield "I-24", f"child {child.id} was started with other values than its work item has"


def _check_word(step: Step, event: e.WorkSucceeded | e.WorkFailed, child: Flow) -> Findings:
    """An item succeeds by its child with what the child gave, and fails by it as the child failed, or
    when that was not enough."""
    if not child.is_over:
        yield "I-24", f"child {child.id} has told its parent of an outcome that it does not have"
    elif isinstance(event, e.WorkSucceeded):
        if child.status is not FlowStatus.COMPLETED:
            yield "I-24", f"child {child.id} has failed, and its work item succeeded"
        elif not is_same(_plain(step, event.outputs), _given(step, event.outputs, result_of(child))):
            yield "I-24", f"child {child.id} gave other outputs than its work item has"


def _plain(step: Step, outputs: Mapping[str, JSON]) -> dict[str, JSON]:
    """Outputs that no script has made."""
    return {name: value for name, value in outputs.items() if not _is_mapped(step, name)}


def _given(step: Step, outputs: Mapping[str, JSON], result: Mapping[str, JSON]) -> dict[str, JSON]:
    inner = {each.name: each.inner for each in step.outputs}
    return {name: result.get(inner[name]) for name in _plain(step, outputs)}


def _is_mapped(step: Step, name: str) -> bool:
    attribute = step.attributes[name]
    return attribute.role is not Role.OUTPUT or attribute.has_script
