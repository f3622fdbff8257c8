"""Planning: the smallest set of steps that reaches the goals, and why each is in it or left out.

Pure and deterministic: the same catalog, goals and initial values give the same plan, byte for byte.
The rules are in docs/planning.md; they are named here by their numbers. Two passes over what the goals
could depend on, each linear in steps and attributes: providers first, to judge which steps are
satisfiable (rule 2), then from the goals backward, to take those that are needed (rules 3 to 6).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from argyll_redis.core.catalog import Catalog
from argyll_redis.core.graph import Cycle, providers_first, rank
from argyll_redis.core.limits import MAX_GOALS
from argyll_redis.core.model import (
    JSON,
    Attribute,
    Collect,
    Plan,
    RetryDefaults,
    Role,
    Step,
    StepId,
    StepType,
)
from argyll_redis.core.parse import with_defaults
from argyll_redis.core.plan_family import UNKNOWN_VALUES, Family, without_providers
from argyll_redis.core.plan_json import attribute_uses, has_gates, plan_from_json, plan_to_json
from argyll_redis.core.reader import did_you_mean
from argyll_redis.core.sub_flows import guaranteed_inputs
from argyll_redis.errors import InvalidCatalog, InvalidInput, NoGoals, Problem, UnknownGoal

__all__ = ["GateOpen", "make_plan", "plan_from_json", "plan_to_json", "preview"]

Init = Mapping[str, Sequence[JSON]]
GateOpen = Callable[[Step, Attribute, Sequence[JSON]], bool]
"""Says whether the match gate of an input is open for values alone: for `all`, whether every value
matches, for `none`, whether none does, for the others, whether one does. Must not raise."""


def make_plan(
    catalog: Catalog,
    goals: Sequence[str],
    init: Init,
    defaults: RetryDefaults,
    *,
    gate_open: GateOpen | None = None,
) -> Plan:
    """Plans what a flow will run; retry fields that steps left out are filled from `defaults`.

    Required inputs that nobody gives are in the plan's `required`: the caller refuses to start.
    Raises `NoGoals`, `UnknownGoal`, and `InvalidInput` for a plan that is too large, or with a flow
    step that does not give its children what they need. Without `gate_open`, gates let every value
    through.
    """
    return _Planning(catalog, init, gate_open, Family(defaults)).plan(goals)


def preview(
    catalog: Catalog,
    goals: Sequence[str],
    init: Init,
    defaults: RetryDefaults,
    *,
    gate_open: GateOpen | None = None,
) -> Plan:
    """Plans as `make_plan` does, and shows more of what is missing.

    Where no satisfiable step provides a required input, those that lack only initial values are
    taken instead, so that `required` names the leaves. `why` covers every registered step.
    """
    return _Planning(catalog, init, gate_open, Family(defaults, is_preview=True)).plan(goals)


class _Standing(Enum):
    """Where a required input stands before the flow starts."""

    MET = "met"
    MISSING = "missing"
    BLOCKED = "blocked"
    """An initial value exists, and the policy is `none`."""
    CLOSED = "closed"
    """The initial values have closed its match gate."""


@dataclass(slots=True)
class _Judged:
    """What rule 2 found of one step: names of its required inputs by standing."""

    missing: tuple[str, ...]
    blocked: tuple[str, ...]
    closed: tuple[str, ...]

    @property
    def satisfiable(self) -> bool:
        return not (self.missing or self.blocked or self.closed)

    @property
    def mendable(self) -> bool:
        """Whether more initial values could make the step satisfiable."""
        return not (self.blocked or self.closed)


class _Planning:
    """One run of the planner."""

    def __init__(
        self,
        catalog: Catalog,
        init: Init,
        gate_open: GateOpen | None,
        family: Family,
        ancestors: tuple[StepId, ...] = (),
    ) -> None:
        self.catalog = without_providers(catalog, ancestors)
        self.initial = {name: values for name, values in init.items() if values}
        self.gate_open = gate_open
        self.family = family
        self.ancestors = ancestors
        """The flow steps that a child is planned within, outermost first. Its initial values are not
        known, only their names; and none of these steps provides anything within it."""
        self.preview = family.is_preview
        self.judged: dict[StepId, _Judged] = {}
        self.providing: dict[str, list[StepId]] = {}
        """Attribute name to its satisfiable providers."""
        self.why: dict[StepId, str] = {}
        """The steps taken, in the order they were found, and why."""
        self.queue: deque[StepId] = deque()
        """Steps taken whose inputs have not been walked."""
        self.required: set[str] = set()
        self.given: dict[StepId, None] = {}
        """Steps considered that are needless, because initial values are given."""
        self.unfit: dict[StepId, None] = {}
        """Steps considered that are not satisfiable."""
        self.walked: set[tuple[str, str]] = set()
        """Attribute names, each with how its providers were looked at: once is enough."""

    def plan(self, goals: Sequence[str]) -> Plan:
        known = self._known(goals)
        self._judge(known)
        self._walk(known)
        self.family.count(len(self.why))
        steps = {id: with_defaults(self.catalog.step(id), self.family.defaults) for id in sorted(self.why)}
        return Plan(
            goals=known,
            required=tuple(sorted(self.required)),
            steps=steps,
            attributes=attribute_uses(steps.values()),
            excluded=self._excluded(),
            why=dict(sorted({**self._why_left_out(), **self.why}.items())),
            children={id: self._child(step) for id, step in steps.items() if step.type is StepType.FLOW},
            rank=rank(steps),
            has_gates=has_gates(steps.values()),
        )

    def _known(self, goals: Sequence[str]) -> tuple[StepId, ...]:
        """Rule 1: no goals, or an unknown goal, is refused."""
        if not goals:
            raise NoGoals
        known = tuple(StepId(goal) for goal in dict.fromkeys(goals))
        of = f" of flow step `{self.ancestors[-1]}`" if self.ancestors else ""
        if len(known) > MAX_GOALS:
            problem = Problem("goals", f"{len(known):,} goals", f"use at most {MAX_GOALS}")
            raise InvalidInput(problems=[problem])
        for goal in known:
            if goal not in self.catalog.steps:
                mend = did_you_mean(goal, self.catalog.steps) or "register it first"
                raise UnknownGoal(f"the goal `{goal}`{of} is not a registered step ({mend})")
            if goal in self.ancestors:
                raise InvalidCatalog(f"the goal `{goal}`{of} is a flow step that it is within itself")
        return known

    # ------------------------------------------------------------------ rule 2

    def _judge(self, goals: Sequence[StepId]) -> None:
        """Finds the satisfiable steps among all that the goals could depend on.

        Providers are judged before their consumers, so one pass reaches the fixed point.
        """
        try:
            order = providers_first(goals, self.catalog.step, self.catalog.providers)
        except Cycle as cycle:
            raise InvalidCatalog(f"the steps depend on each other in a cycle: {cycle.nodes}") from None
        for id in order:
            step = self.catalog.step(id)
            judged = self.judged[id] = self._judge_step(step)
            if judged.satisfiable:
                for output in step.outputs:
                    self.providing.setdefault(output.name, []).append(id)

    def _judge_step(self, step: Step) -> _Judged:
        names: dict[_Standing, list[str]] = {standing: [] for standing in _Standing}
        for attribute in step.inputs:
            if attribute.role is Role.REQUIRED:
                names[self._standing(step, attribute)].append(attribute.name)
        return _Judged(
            missing=tuple(names[_Standing.MISSING]),
            blocked=tuple(names[_Standing.BLOCKED]),
            closed=tuple(names[_Standing.CLOSED]),
        )

    def _standing(self, step: Step, attribute: Attribute) -> _Standing:
        accepted = self._accepted(step, attribute)
        if attribute.collect is Collect.NONE:
            return self._standing_of_none(attribute, accepted)
        name = attribute.name
        satisfiable = len(self.providing.get(name, ()))
        if attribute.collect is Collect.ALL:
            if name in self.initial and not accepted:
                return _Standing.CLOSED
            every = satisfiable == len(self.catalog.providers.get(name, ()))
            return _Standing.MET if every and (satisfiable or accepted) else _Standing.MISSING
        if accepted or satisfiable:
            return _Standing.MET
        return _Standing.CLOSED if name in self.initial else _Standing.MISSING

    def _standing_of_none(self, attribute: Attribute, accepted: bool) -> _Standing:
        if attribute.name not in self.initial or (attribute.match and accepted):
            return _Standing.MET
        return _Standing.CLOSED if attribute.match else _Standing.BLOCKED

    def _accepted(self, step: Step, attribute: Attribute) -> bool:
        """Whether there are initial values, and the input's match gate, if any, accepts them."""
        values = self.initial.get(attribute.name)
        if values is None:
            return False
        return attribute.match is None or self.gate_open is None or self.gate_open(step, attribute, values)

    def _surely_accepted(self, step: Step, attribute: Attribute) -> bool:
        """As `_accepted`, with a gate taken as undecided where the values are not known."""
        return self._accepted(step, attribute) and (attribute.match is None or not self.ancestors)

    # ------------------------------------------------------------ rules 3 to 6

    def _walk(self, goals: Sequence[StepId]) -> None:
        for goal in goals:
            if self._all_given(goal):
                self.given[goal] = None
            else:
                self._take(goal, "goal" + self._but(goal))
        while self.queue:
            step = self.catalog.step(self.queue.popleft())
            if not self.judged[step.id].closed:
                for attribute in step.inputs:
                    self._walk_input(step, attribute)

    def _all_given(self, goal: StepId) -> bool:
        """Rule 5: a goal whose outputs are all given initially is left out."""
        outputs = self.catalog.step(goal).outputs
        return bool(outputs) and all(output.name in self.initial for output in outputs)

    def _take(self, id: StepId, why: str) -> None:
        if id not in self.why:
            self.why[id] = why
            self.queue.append(id)

    def _walk_input(self, step: Step, attribute: Attribute) -> None:
        """Rule 3: an initial value satisfies `first`; otherwise all satisfiable providers join."""
        name = attribute.name
        if attribute.collect is Collect.FIRST and self._surely_accepted(step, attribute):
            if self._first_look(name, "given"):
                self.given.update(dict.fromkeys(self.catalog.providers.get(name, ())))
            return
        if self._first_look(name, "wanted"):
            for id in self.catalog.providers.get(name, ()):
                if self.judged[id].satisfiable:
                    self._take(id, _provides(step, attribute))
                else:
                    self.unfit[id] = None
        if name in self.judged[step.id].missing:
            self._miss(step, name)

    def _miss(self, step: Step, name: str) -> None:
        """Rule 4: a required input with neither; a preview looks for what is missing behind it."""
        if not self._first_look(name, "missing"):
            return
        mendable = self._mendable(name) if self.preview else []
        if not mendable:
            self.required.add(name)
        for id in mendable:
            needs = _listed(self.judged[id].missing)
            self._take(id, f"could provide `{name}`, which `{step.id}` needs, but needs {needs}")

    def _mendable(self, name: str) -> list[StepId]:
        providers = self.catalog.providers.get(name, ())
        return [id for id in providers if not self.judged[id].satisfiable and self.judged[id].mendable]

    def _first_look(self, name: str, how: str) -> bool:
        seen = (name, how) in self.walked
        self.walked.add((name, how))
        return not seen

    # ------------------------------------------------------------------ children

    def _child(self, step: Step) -> Plan:
        """The plan of a flow step's children: from the same catalog, and what the step surely gives."""
        ancestors = (*self.ancestors, step.id)
        init = dict.fromkeys(guaranteed_inputs(step), UNKNOWN_VALUES)
        known = self.family.planned(step, init, ancestors)
        if known is not None:
            return known
        plan = _Planning(self.catalog, init, None, self.family, ancestors).plan(step.goals)
        if plan.required and not self.preview:
            what = f"its goals need {_listed(plan.required)}, which it does not give them"
            mend = "declare required inputs or consts of these names, or optional inputs with a default"
            raise InvalidInput(problems=[Problem(f"flow step `{step.id}`", what, mend)])
        return self.family.keep(step, init, ancestors, plan)

    # ------------------------------------------------------------------- why not

    def _excluded(self) -> dict[str, dict[StepId, tuple[str, ...]]]:
        given = [id for id in sorted(self.given) if id not in self.why]
        unfit = [id for id in sorted(self.unfit) if id not in self.why]
        missing = {id: self.judged[id].missing for id in unfit}
        blocked = {id: tuple(sorted(self.judged[id].blocked + self.judged[id].closed)) for id in unfit}
        return {
            "satisfied": {id: self._given_outputs(id) for id in given},
            "missing": {id: names for id, names in missing.items() if names},
            "blocked": {id: names for id, names in blocked.items() if names},
        }

    def _given_outputs(self, id: StepId) -> tuple[str, ...]:
        outputs = self.catalog.step(id).outputs
        return tuple(output.name for output in outputs if output.name in self.initial)

    def _why_left_out(self) -> dict[StepId, str]:
        """A line for each step considered but left out; a preview considers every registered step."""
        found = dict(self._unreached()) if self.preview and not self.ancestors else {}
        found.update((id, f"left out: {self._given_reason(id)}") for id in self.given)
        found.update((id, f"left out: {self._unfit_reason(id)}") for id in self.unfit)
        return found

    def _unreached(self) -> Iterator[tuple[StepId, str]]:
        for id in self.catalog.steps:
            provides = bool(self.catalog.step(id).outputs)
            reason = "no goal needs what it provides" if provides else "it is no goal and provides nothing"
            yield id, f"left out: {reason}"

    def _given_reason(self, id: StepId) -> str:
        if self._all_given(id):
            return "its outputs are given initially"
        given = self._given_outputs(id)
        return f"{_listed(given)} {'is' if len(given) == 1 else 'are'} given initially"

    def _unfit_reason(self, id: StepId) -> str:
        judged = self.judged[id]
        if judged.mendable:
            return f"cannot be reached, needs {_listed(judged.missing)}"
        return _hindrance(judged)

    def _but(self, goal: StepId) -> str:
        """What a goal's reason adds when the initial values keep it from running."""
        judged = self.judged[goal]
        return "" if judged.mendable else f", but {_hindrance(judged)}"


def _hindrance(judged: _Judged) -> str:
    if judged.closed:
        return f"the initial values close its gate on {_listed(judged.closed)}"
    return f"it runs only without {_listed(judged.blocked)}, given initially"


def _provides(step: Step, attribute: Attribute) -> str:
    verb = "needs" if attribute.role is Role.REQUIRED else "can use"
    if attribute.collect is Collect.NONE:
        verb = "must not get"
    return f"provides `{attribute.name}`, which `{step.id}` {verb}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
