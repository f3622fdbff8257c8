"""The registered steps: what may be registered, and the catalog as a fold of its own events.

`register` and `unregister` decide: catalog in, events out, or a refusal. `apply` folds. A catalog is
frozen and shared; a change copies its maps, and replaces the edges of a step completely.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from argyll_redis.core.graph import Cycle, Named, depth_first, providers_first
from argyll_redis.core.limits import MAX_REGISTERED_STEPS
from argyll_redis.core.model import JSON, AttributeType, Step, StepId
from argyll_redis.core.parse import parse_step
from argyll_redis.core.reader import CompileScript, did_you_mean
from argyll_redis.core.schemas import CATALOG_SCHEMA, up_to_date
from argyll_redis.core.values import check, shown, type_matches, type_name
from argyll_redis.errors import (
    InvalidCatalog,
    InvalidInput,
    InvalidStep,
    Problem,
    StepConflict,
    UnknownEvent,
    UnknownStep,
)

Index = Mapping[str, tuple[StepId, ...]]
"""Attribute name to step ids, sorted."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A step as it was given and as it was understood."""

    definition: Mapping[str, JSON]
    step: Step


@dataclass(frozen=True, slots=True)
class Catalog:
    """All registered steps at one version of the catalog's log."""

    steps: Mapping[StepId, Registered] = field(default_factory=dict[StepId, Registered])
    """In id order only where it is shown; look up by id."""
    version: int = 0
    last_updated_at: int = 0
    """`at` of the last event, ms; 0 before the first."""
    providers: Index = field(default_factory=dict[str, tuple[StepId, ...]])
    """Who declares an attribute as an output."""
    users: Index = field(default_factory=dict[str, tuple[StepId, ...]])
    """Who declares an attribute in any role."""

    def step(self, id: StepId) -> Step:
        """The step of an id that is known to be registered."""
        return self.steps[id].step

    def declared_type(self, name: str) -> AttributeType | None:
        """The one type that steps declare for an attribute; None when none does, or any."""
        types = (_declared(self.step(id), name) for id in self.users.get(name, ()))
        return next((declared for declared in types if declared), None)


# --------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class StepRegistered:
    """A step was registered under an id that was free."""

    type: ClassVar[str] = "step_registered"
    registered: Registered

    def data(self) -> dict[str, JSON]:
        return _registered_data(self.registered)

    @classmethod
    def from_data(cls, data: Mapping[str, JSON]) -> StepRegistered:
        return cls(_registered_from_data(data))


@dataclass(frozen=True, slots=True)
class StepUpdated:
    """The definition of a registered step was replaced by another."""

    type: ClassVar[str] = "step_updated"
    registered: Registered

    def data(self) -> dict[str, JSON]:
        return _registered_data(self.registered)

    @classmethod
    def from_data(cls, data: Mapping[str, JSON]) -> StepUpdated:
        return cls(_registered_from_data(data))


@dataclass(frozen=True, slots=True)
class StepUnregistered:
    """A step was removed."""

    type: ClassVar[str] = "step_unregistered"
    id: StepId

    def data(self) -> dict[str, JSON]:
        return {"step": self.id}

    @classmethod
    def from_data(cls, data: Mapping[str, JSON]) -> StepUnregistered:
        return cls(data["step"])


CatalogEvent = StepRegistered | StepUpdated | StepUnregistered
_READ: Mapping[str, Callable[[Mapping[str, JSON]], CatalogEvent]] = {
    StepRegistered.type: StepRegistered.from_data,
    StepUpdated.type: StepUpdated.from_data,
    StepUnregistered.type: StepUnregistered.from_data,
}


def catalog_event(type: str, data: Mapping[str, JSON]) -> CatalogEvent:
    """Reads an event of the catalog's log. Raises `UnknownEvent` for a type or a schema that it does not
    know."""
    if type not in _READ:
        raise UnknownEvent(f"the catalog's log holds an event of the unknown type `{type}`")
    return _READ[type](up_to_date(type, data, CATALOG_SCHEMA))


def _registered_data(registered: Registered) -> dict[str, JSON]:
    return {"step": registered.step.id, "definition": dict(registered.definition)}


def _registered_from_data(data: Mapping[str, JSON]) -> Registered:
    return Registered(data["definition"], parse_step(data["definition"]))


# ----------------------------------------------------------------------- fold


def apply(catalog: Catalog, event: CatalogEvent, *, at_ms: int = 0) -> Catalog:
    """The catalog after one more event."""
    return apply_all(catalog, [(event, at_ms)])


def apply_all(catalog: Catalog, events: Sequence[tuple[CatalogEvent, int]]) -> Catalog:
    """The catalog after more events, each with its `at` in ms; copies the maps once for all."""
    steps, providers, users = dict(catalog.steps), dict(catalog.providers), dict(catalog.users)
    last_ms = catalog.last_updated_at
    for event, at_ms in events:
        last_ms = max(last_ms, at_ms)
        id = event.id if isinstance(event, StepUnregistered) else event.registered.step.id
        if id in steps:
            _unlink(steps.pop(id).step, providers, users)
        if not isinstance(event, StepUnregistered):
            steps[id] = event.registered
            _link(event.registered.step, providers, users)
    return Catalog(steps, catalog.version + len(events), last_ms, providers, users)


def _link(step: Step, providers: dict[str, tuple[StepId, ...]], users: dict[str, tuple[StepId, ...]]) -> None:
    for name in step.attributes:
        _add(users, name, step.id)
    for output in step.outputs:
        _add(providers, output.name, step.id)


def _unlink(
    step: Step, providers: dict[str, tuple[StepId, ...]], users: dict[str, tuple[StepId, ...]]
) -> None:
    for name in step.attributes:
        _remove(users, name, step.id)
    for output in step.outputs:
        _remove(providers, output.name, step.id)


def _add(index: dict[str, tuple[StepId, ...]], name: str, id: StepId) -> None:
    ids = index.get(name, ())
    place = bisect_left(ids, id)
    index[name] = (*ids[:place], id, *ids[place:])


def _remove(index: dict[str, tuple[StepId, ...]], name: str, id: StepId) -> None:
    left = tuple(each for each in index[name] if each != id)
    if left:
        index[name] = left
    else:
        del index[name]


# -------------------------------------------------------------------- deciding


def register(
    catalog: Catalog,
    definitions: Sequence[JSON],
    *,
    update: bool = False,
    compile_script: CompileScript | None = None,
) -> list[CatalogEvent]:
    """Decides the registration of steps as one transaction, checked as a set.

    A definition equal to the registered one, as given, gives no event. Another one of the same id
    raises `StepConflict`, with `update` it replaces the old. Raises `InvalidStep` for what is wrong
    with single definitions, `InvalidCatalog` when the steps do not go together.
    """
    events: list[CatalogEvent] = []
    conflicts: list[StepId] = []
    for registered in _distinct(_parse_all(definitions, compile_script)):
        id = registered.step.id
        known = catalog.steps.get(id)
        if known is None:
            events.append(StepRegistered(registered))
        elif known.definition != registered.definition:
            events.append(StepUpdated(registered))
            conflicts.append(id)
    if conflicts and not update:
        raise StepConflict(_conflict(conflicts))
    _check(apply_all(catalog, [(event, 0) for event in events]), _changed(events))
    return events


def unregister(catalog: Catalog, ids: Iterable[str]) -> list[CatalogEvent]:
    """Decides the removal of steps, used by others or not. Raises `UnknownStep`."""
    events: list[CatalogEvent] = []
    for id in dict.fromkeys(ids):
        if id not in catalog.steps:
            mend = did_you_mean(id, catalog.steps)
            raise UnknownStep(f"no step `{shown(id)}` is registered" + (f" ({mend})" if mend else ""))
        events.append(StepUnregistered(StepId(id)))
    return events


def _parse_all(definitions: Sequence[JSON], compile_script: CompileScript | None) -> list[Registered]:
    """Parses each definition; the problems of all are raised together."""
    if len(definitions) > MAX_REGISTERED_STEPS:
        what = f"{len(definitions):,} steps at once"
        raise InvalidStep(problems=[Problem("", what, f"use at most {MAX_REGISTERED_STEPS:,}")])
    found: list[Registered] = []
    refused: list[tuple[int, InvalidStep]] = []
    for index, definition in enumerate(definitions):
        try:
            step = parse_step(definition, compile_script)
            found.append(Registered(check(definition), step))  # a copy, as it will be read from the log
        except InvalidStep as error:
            refused.append((index, error))
    if len(definitions) == 1 and refused:
        raise refused[0][1]
    if refused:
        raise InvalidStep(
            f"{len(refused)} of {len(definitions)} steps are not valid", problems=_placed(refused)
        )
    return found


def _placed(refused: Iterable[tuple[int, InvalidStep]]) -> list[Problem]:
    return [
        Problem(f"[{index}]" + (f".{problem.path}" if problem.path else ""), problem.what, problem.mend)
        for index, error in refused
        for problem in error.problems
    ]


def _distinct(given: Iterable[Registered]) -> list[Registered]:
    """Each step once; the same id with two definitions is refused."""
    found: dict[StepId, Registered] = {}
    twice: dict[StepId, None] = {}
    for registered in given:
        other = found.setdefault(registered.step.id, registered)
        if other.definition != registered.definition:
            twice[registered.step.id] = None
    if twice:
        problems = [Problem(id, "is given twice, differently", "leave one of them out") for id in twice]
        raise InvalidCatalog("the steps do not go together", problems=problems)
    return list(found.values())


def _conflict(ids: Sequence[StepId]) -> str:
    listed = ", ".join(f"`{id}`" for id in ids[:10]) + (", ..." if len(ids) > 10 else "")
    many = "steps of these ids are" if len(ids) > 1 else "a step of this id is"
    return f"{listed}: {many} registered with another definition (update instead)"


def _changed(events: Iterable[CatalogEvent]) -> list[StepId]:
    return [event.registered.step.id for event in events if not isinstance(event, StepUnregistered)]


# -------------------------------------------------------------- going together


def check_set(steps: Iterable[Step]) -> None:
    """Checks that steps go together. Raises `InvalidCatalog` with type conflicts and cycles."""
    events: list[tuple[CatalogEvent, int]] = [(StepRegistered(Registered({}, step)), 0) for step in steps]
    catalog = apply_all(Catalog(), events)
    _check(catalog, sorted(catalog.steps))


def _check(catalog: Catalog, changed: Sequence[StepId]) -> None:
    """Checks what changed steps have to do with: what was there before went together."""
    problems = [
        *_type_conflicts(catalog, changed),
        *_attribute_cycle(catalog, changed),
        *_goal_cycle(catalog, changed),
    ]
    if problems:
        raise InvalidCatalog("the steps do not go together", problems=problems)


def _declared(step: Step, name: str) -> AttributeType | None:
    """The type that a step declares; `any` goes with every type, as none does."""
    declared = step.attributes[name].type
    return None if declared is AttributeType.ANY else declared


def _type_conflicts(catalog: Catalog, changed: Iterable[StepId]) -> list[Problem]:
    """One attribute name has one declared type over all steps."""
    problems: list[Problem] = []
    for name in sorted({name for id in changed for name in catalog.step(id).attributes}):
        by_type: dict[AttributeType, StepId] = {}
        for id in catalog.users[name]:
            declared = _declared(catalog.step(id), name)
            if declared is not None:
                by_type.setdefault(declared, id)
        if len(by_type) > 1:
            listed = " and ".join(f"{declared} in `{id}`" for declared, id in sorted(by_type.items()))
            what = f"attribute type conflict: `{name}` is {listed}"
            problems.append(Problem("", what, "declare one type for it everywhere"))
    return problems


def _attribute_cycle(catalog: Catalog, changed: Iterable[StepId]) -> list[Problem]:
    try:
        providers_first(changed, catalog.step, catalog.providers)
    except Cycle as cycle:
        return [Problem("", f"a cycle through attributes: {_told(cycle)}", "break it at one of them")]
    return []


def _told(cycle: Cycle) -> str:
    """`a` needs `x` of `b`, `b` needs `y` of `a`: from the first step in the cycle by id."""
    nodes = list(cycle.nodes)
    start = nodes.index(min(str(node) for node in nodes if not isinstance(node, Named)))
    nodes = nodes[start:] + nodes[:start]
    nodes.append(nodes[0])
    return ", ".join(
        f"`{nodes[place]}` needs `{named.attribute}` of `{nodes[place + 2]}`"
        for place, named in enumerate(nodes[1:-1])
        if isinstance(named, Named)
    )


def _goal_cycle(catalog: Catalog, changed: Iterable[StepId]) -> list[Problem]:
    """A flow step can't be, through goals of goals, its own goal."""

    def goals(id: StepId) -> Iterable[StepId]:
        return catalog.step(id).goals if id in catalog.steps else ()

    try:
        depth_first(changed, goals)
    except Cycle as cycle:
        told = " -> ".join(f"`{id}`" for id in (*cycle.nodes, cycle.nodes[0]))
        return [Problem("", f"a cycle through sub-flow goals: {told}", "break it at one of them")]
    return []


def check_initial(catalog: Catalog, init: Mapping[str, Sequence[JSON]]) -> None:
    """Checks initial values against the types that steps declare. Raises `InvalidInput`."""
    problems: list[Problem] = []
    for name, values in sorted(init.items()):
        declared = catalog.declared_type(name)
        problems.extend(
            Problem(
                f"init.{name}[{index}]", f"is of type {type_name(value)}", f"use a value of type {declared}"
            )
            for index, value in enumerate(values)
            if not type_matches(declared, value)
        )
    if problems:
        raise InvalidInput(problems=problems)
