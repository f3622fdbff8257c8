"""What the plans of a flow and of its children, and of theirs, have in common.

A child's plan is made when its root's is, from the same catalog, and is part of it. The values that a
child will start with are not known then, only their names. Within a child none of the flow steps that
it is a child of provides anything: a flow step would else run within itself without end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from argyll_redis.core.catalog import Catalog
from argyll_redis.core.limits import MAX_CHILD_DEPTH, MAX_PLAN_STEPS
from argyll_redis.core.model import JSON, Plan, RetryDefaults, Step, StepId
from argyll_redis.errors import InvalidInput, Problem

UNKNOWN_VALUES: Sequence[JSON] = (None,)
"""Stands for the value of a name that a child will be given."""

Key = tuple[tuple[StepId, ...], frozenset[str], frozenset[StepId]]
"""What a child's plan hangs on: goals, names of initial values, and the flow steps that it is within."""


@dataclass(slots=True)
class Family:
    """A plan in the making, with those of its children."""

    defaults: RetryDefaults
    is_preview: bool = False
    size: int = 0
    """Steps of all its plans so far."""
    made: dict[Key, Plan] = field(default_factory=dict[Key, Plan])

    def count(self, steps: int) -> None:
        """Counts the steps of one more plan. Raises `InvalidInput` for too many in all."""
        self.size += steps
        if self.size > MAX_PLAN_STEPS:
            what = f"the plan has {self.size:,} steps" + ("" if self.size == steps else " with its sub-flows")
            raise InvalidInput(problems=[Problem("goals", what, f"at most {MAX_PLAN_STEPS:,}")])

    def planned(self, step: Step, names: Iterable[str], ancestors: Sequence[StepId]) -> Plan | None:
        """The plan of a flow step's children, when an equal one was made. Raises `InvalidInput` for
        one that is too deep, or one too many."""
        if len(ancestors) > MAX_CHILD_DEPTH:
            what = f"is {len(ancestors)} sub-flows deep, within {' > '.join(ancestors[:-1])}"
            problem = Problem(f"flow step `{step.id}`", what, f"at most {MAX_CHILD_DEPTH}")
            raise InvalidInput(problems=[problem])
        plan = self.made.get(_key(step, names, ancestors))
        if plan is not None:
            self.count(size_of(plan))
        return plan

    def keep(self, step: Step, names: Iterable[str], ancestors: Sequence[StepId], plan: Plan) -> Plan:
        """Takes a plan that was just made, and gives it."""
        self.made[_key(step, names, ancestors)] = plan
        return plan


def _key(step: Step, names: Iterable[str], ancestors: Sequence[StepId]) -> Key:
    return (step.goals, frozenset(names), frozenset(ancestors))


def size_of(plan: Plan) -> int:
    """Steps of a plan and of those of its children."""
    return len(plan.steps) + sum(map(size_of, plan.children.values()))


def without_providers(catalog: Catalog, steps: Iterable[StepId]) -> Catalog:
    """A catalog in which some steps provide nothing."""
    names = {output.name for id in steps for output in catalog.step(id).outputs}
    if not names:
        return catalog
    gone = frozenset(steps)
    providers: Mapping[str, tuple[StepId, ...]] = {
        **catalog.providers,
        **{name: tuple(id for id in catalog.providers.get(name, ()) if id not in gone) for name in names},
    }
    return replace(catalog, providers=providers)
