"""What the contract has and this version's engine can't run yet: refused when a step is registered.

Such steps parse, plan and are stored like all others, so a row is deleted here when its feature
comes, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from argyll_redis.core.model import Attribute, Collect, Step, StepType
from argyll_redis.errors import Problem

Find = Callable[[Step], Iterator[str]]
"""Yields the paths at which a step uses a feature."""


def _attributes(uses: Callable[[Attribute], bool], field: str) -> Find:
    def find(step: Step) -> Iterator[str]:
        for attribute in step.attributes.values():
            if uses(attribute):
                yield f"attributes.{attribute.name}.{attribute.role}.{field}"

    return find


def _fields(uses: Callable[[Step], bool], field: str) -> Find:
    def find(step: Step) -> Iterator[str]:
        if uses(step):
            yield field

    return find


def _transforms(attribute: Attribute) -> bool:
    return attribute.mapping is not None and attribute.mapping.script is not None


NOT_YET: tuple[tuple[Find, str, str], ...] = (
    (_fields(lambda step: step.type is StepType.SYNC, "type"), "sync steps are", "use python or script"),
    (_fields(lambda step: step.type is StepType.ASYNC, "type"), "async steps are", "use python or script"),
    (_fields(lambda step: step.type is StepType.FLOW, "type"), "flow steps are", "use python or script"),
    (
        _attributes(lambda each: each.collect is not Collect.FIRST, "collect"),
        "collect policies other than first are",
        "use first",
    ),
    (_attributes(lambda each: each.match is not None, "match"), "match gates are", "use a predicate"),
    (_attributes(lambda each: each.deadline_ms > 0, "deadline"), "deadlines are", "leave it out"),
    (
        _attributes(_transforms, "mapping.script"),
        "mapping scripts are",
        "use a mapping name, and transform the value in a step",
    ),
    (_fields(lambda step: step.memoizable, "memoizable"), "memoizable steps are", "leave it out"),
    (
        _fields(lambda step: step.python is not None and step.python.undo is not None, "python.undo"),
        "undo functions are",
        "leave it out",
    ),
)
"""How a feature is found, what it is called, and what to do instead."""


def not_yet(step: Step) -> list[Problem]:
    """Lists what of a step this version can't run."""
    return [
        Problem(path, f"{what} not supported yet", mend)
        for find, what, mend in NOT_YET
        for path in find(step)
    ]
