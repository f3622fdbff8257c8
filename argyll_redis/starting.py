"""Starting flows: requests read, planned on the newest catalog, committed many at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from argyll_redis.core.catalog import Catalog, check_initial
from argyll_redis.core.commands import Start
from argyll_redis.core.inputs import initial_gates
from argyll_redis.core.limits import MAX_DURATION_MS, MAX_EVENT_BYTES
from argyll_redis.core.model import JSON, Attribute, Plan, Step, StepId
from argyll_redis.core.owed import THE_WHOLE_FLOW
from argyll_redis.core.parse_request import (
    parse_goals,
    parse_init,
    parse_labels,
    parse_metadata,
    sanitize_flow_id,
)
from argyll_redis.core.plan import make_plan, preview
from argyll_redis.core.reader import did_you_mean
from argyll_redis.errors import (
    ArgyllError,
    FlowConflict,
    InvalidInput,
    MissingInputs,
    Problem,
    UnknownGoal,
)
from argyll_redis.handle import FlowHandle
from argyll_redis.runtime.clock import new_id, new_seed
from argyll_redis.runtime.node import Node
from argyll_redis.runtime.turns import is_same_start
from argyll_redis.steps.context import Values
from argyll_redis.store.codec import encode

if TYPE_CHECKING:
    from argyll_redis.app import Argyll

Goals = str | Callable[..., Any] | Sequence[str | Callable[..., Any]]
"""Functions declared as steps, and step ids: one of them or several."""
FIELDS = ("goals", "init", "id", "labels", "metadata", "compensate", "timeout_ms")
PLANNED = 256
"""Plans kept for starts that ask for the same."""


@dataclass(frozen=True, slots=True)
class Request:
    """A start as it was asked for, read and checked."""

    id: str
    is_named: bool
    """Whether the caller chose the id."""
    goals: tuple[StepId, ...]
    init: dict[str, list[JSON]]
    singles: frozenset[str]
    """Names in `init` that were given one value, not a list of them."""
    labels: dict[str, str]
    metadata: dict[str, JSON]
    compensate: str | None
    timeout_ms: int


def read_request(given: Mapping[str, Any], id_of: Callable[[Any], str]) -> Request:
    """Reads a start. Raises `NoGoals` or `InvalidInput` naming what is wrong."""
    if not isinstance(given, Mapping):
        raise InvalidInput(f"a start is a mapping with {', '.join(FIELDS)}; {given!r:.40} is none")
    unknown = [name for name in given if name not in FIELDS]
    if unknown:
        raise InvalidInput(
            problems=[
                Problem(name, "is not a field of a start", did_you_mean(name, FIELDS)) for name in unknown
            ]
        )
    id, init = given.get("id"), given.get("init")
    request = Request(
        id=new_id() if id is None else sanitize_flow_id(id),
        is_named=id is not None,
        goals=parse_goals([id_of(goal) for goal in _goals(given.get("goals"))]),
        init=_init(init),
        singles=_singles(init),
        labels=parse_labels(given.get("labels")),
        metadata=parse_metadata(given.get("metadata")),
        compensate=_compensate(given.get("compensate")),
        timeout_ms=_timeout_ms(given.get("timeout_ms")),
    )
    _check_size(request)
    return request


def _goals(given: Any) -> Iterable[Any]:
    """One goal or several."""
    if isinstance(given, str) or callable(given):
        return [given]
    if given is not None and not isinstance(given, Iterable):
        raise InvalidInput(problems=[Problem("goals", "is not a list", "list functions or step ids")])
    return given or ()


def _values(given: Any) -> Any:
    """Name to list of values: one value an entry of `init`, or those of `Values`."""
    if not isinstance(given, Mapping):
        return given
    return {
        name: list(value.values) if isinstance(value, Values) else [value] for name, value in given.items()
    }


def _init(given: Any) -> dict[str, list[JSON]]:
    try:
        return parse_init(_values(given))
    except InvalidInput as error:
        raise _of_singles(error, _singles(given)) from None


def _singles(given: Any) -> frozenset[str]:
    """The names that have one value, not a list of them."""
    if not isinstance(given, Mapping):
        return frozenset()
    pairs = cast("Mapping[object, object]", given).items()
    return frozenset(name for name, value in pairs if isinstance(name, str) and not isinstance(value, Values))


def _of_singles(error: InvalidInput, singles: Collection[str]) -> InvalidInput:
    """What is wrong with initial values, named as they were given: a value that is in no list has no
    place in one."""

    def given(path: str) -> str:
        for name in singles:
            if path.startswith(f"init.{name}[0]"):
                return f"init.{name}" + path.removeprefix(f"init.{name}[0]")
        return path

    return InvalidInput(problems=[Problem(given(each.path), each.what, each.mend) for each in error.problems])


def check_types(catalog: Catalog, request: Request) -> None:
    """Checks initial values against the types that steps declare. Raises `InvalidInput`."""
    try:
        check_initial(catalog, request.init)
    except InvalidInput as error:
        raise _of_singles(error, request.singles) from None


def missing_inputs(plan: Plan, names: Iterable[str], given: Iterable[str]) -> MissingInputs:
    """The refusal of a start that lacks initial values. Of those given that no step of the plan uses it
    says what they may be slips of."""
    lacking = sorted(names)
    unused = (name for name in sorted(given) if name not in plan.attributes)
    slips = [(name, did_you_mean(name, lacking)) for name in unused]
    return MissingInputs(lacking, hints=[f"nothing uses `{name}`, {mend}" for name, mend in slips if mend])


def _check_size(request: Request) -> None:
    """Refuses what no event can hold."""
    size = len(encode(request.init)) + len(encode(request.metadata))
    if size > MAX_EVENT_BYTES:
        what = f"{size:,} bytes with the metadata, more than the {MAX_EVENT_BYTES:,} that an event may have"
        raise InvalidInput(problems=[Problem("init", what, "keep large data elsewhere, give its place")])


def _compensate(given: Any) -> str | None:
    if given is None or given == THE_WHOLE_FLOW:
        return given
    mend = f'use "{THE_WHOLE_FLOW}", or leave it out'
    raise InvalidInput(problems=[Problem("compensate", f"is {given!r:.60}", mend)])


def _timeout_ms(given: Any) -> int:
    if given is None or given == 0:
        return 0
    if isinstance(given, bool) or not isinstance(given, int) or not 0 < given <= MAX_DURATION_MS:
        what = f"is {given!r}"
        raise InvalidInput(
            problems=[Problem("timeout_ms", what, f"use a whole number of ms, 1 to {MAX_DURATION_MS}")]
        )
    return given


class Planned(NamedTuple):
    """A plan, and the hash of its bytes."""

    plan: Plan
    hash: str


class Gates:
    """The match gates of steps, as a planner asks for them: on initial values alone."""

    def __init__(self, node: Node) -> None:
        self.were_asked = False
        self._is_open = initial_gates(node.evaluator)

    def is_open(self, step: Step, attribute: Attribute, values: Sequence[JSON]) -> bool:
        self.were_asked = True
        return self._is_open(step, attribute, values)


class Starter:
    """Plans and starts flows of one app."""

    def __init__(self, app: Argyll) -> None:
        self._app = app
        self._planned: OrderedDict[tuple[Any, ...], Planned] = OrderedDict()
        self._planned_for: Node | None = None

    async def start_many(self, given: Sequence[Mapping[str, Any]]) -> list[FlowHandle | Exception]:
        node = await self._app.node()
        catalog = await node.catalog.refresh()
        return list(await asyncio.gather(*(self._start(node, catalog, each) for each in given)))

    async def _start(self, node: Node, catalog: Catalog, given: Mapping[str, Any]) -> FlowHandle | Exception:
        try:
            request = read_request(given, self._app.id_of)
            try:
                planned = self._plan(node, catalog, request)
                self._check_ready(node, catalog, planned.plan, request)
            except ArgyllError:
                if request.is_named and await self._exists(node, request):
                    return FlowHandle(self._app, request.id)
                raise
            await node.committer.ask(request.id, self._command(catalog, planned, request))
        except UnknownGoal as error:
            return self._placed(error)
        except Exception as error:
            return error
        return FlowHandle(self._app, request.id)

    def _plan(self, node: Node, catalog: Catalog, request: Request) -> Planned:
        """Plans, or takes the plan of an equal start: only the names of initial values matter, as
        long as no gate looks at them. A plan for which one did is not kept."""
        key = (catalog.version, request.goals, tuple(sorted(request.init)), self._app.config.retry)
        if node is not self._planned_for:
            self._planned.clear()  # another connection, and perhaps another namespace
            self._planned_for = node
        planned = self._planned.get(key)
        if planned is None:
            gates = Gates(node)
            plan = make_plan(
                catalog, request.goals, request.init, self._app.config.retry, gate_open=gates.is_open
            )
            planned = Planned(plan, node.logs.plans.add(plan))
            if not gates.were_asked:
                self._planned[key] = planned
            if len(self._planned) > PLANNED:
                self._planned.popitem(last=False)
        return planned

    async def preview(self, goals: Sequence[Any], init: Mapping[str, Any] | None = None) -> Plan:
        """Plans without starting, and shows more of what is missing."""
        node = await self._app.node()
        catalog = await node.catalog.refresh()
        request = read_request({"goals": goals, "init": init}, self._app.id_of)
        try:
            return self._preview(node, catalog, request)
        except UnknownGoal as error:
            raise self._placed(error) from None

    def _placed(self, error: UnknownGoal) -> UnknownGoal:
        """Says where the goal was looked for: the namespace that was meant may be another."""
        return UnknownGoal(f"{error}; the namespace is `{self._app.namespace}`")

    def _preview(self, node: Node, catalog: Catalog, request: Request) -> Plan:
        retry, gates = self._app.config.retry, Gates(node)
        return preview(catalog, request.goals, request.init, retry, gate_open=gates.is_open)

    def _command(self, catalog: Catalog, planned: Planned, request: Request) -> Start:
        return Start(
            by=self._app.by("start"),
            plan=planned.plan,
            plan_hash=planned.hash,
            seed=new_seed(),
            init=request.init,
            labels=request.labels,
            metadata=request.metadata,
            compensate=request.compensate,
            timeout_ms=request.timeout_ms,
            linger_ms=self._app.config.linger_ms,
            catalog_version=catalog.version,
        )

    async def _exists(self, node: Node, request: Request) -> bool:
        """Whether a flow that cannot be planned any more was started with the same before: an
        existing flow is looked for before a planning error is answered."""
        flow = await node.load(request.id)
        if flow.version == 0:
            return False
        if is_same_start(flow, request.goals, request):
            return True
        raise FlowConflict(
            f'flow "{request.id}" exists and was started with something else; choose another id'
        )

    def _check_ready(self, node: Node, catalog: Catalog, plan: Plan, request: Request) -> None:
        """Refuses initial values of other types than declared, and missing ones. Those are named as a
        preview does: the leaves, not what steps would make of them."""
        check_types(catalog, request)
        if request.compensate and plan.children:
            steps = ", ".join(f"`{id}`" for id in sorted(plan.children))
            what = f'is "{THE_WHOLE_FLOW}", and what the flows of flow steps have done is not undone'
            mend = f"leave it out, or choose goals that do without {steps}"
            raise InvalidInput(problems=[Problem("compensate", what, mend)])
        if plan.required:
            leaves = self._preview(node, catalog, request).required
            raise missing_inputs(plan, leaves or plan.required, request.init)
