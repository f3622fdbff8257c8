"""Starting flows: requests read, planned on the newest catalog, committed many at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from argyll_redis.core.catalog import Catalog, check_initial
from argyll_redis.core.commands import Start
from argyll_redis.core.limits import MAX_DURATION_MS
from argyll_redis.core.model import JSON, Plan, StepId
from argyll_redis.core.parse_request import (
    parse_goals,
    parse_init,
    parse_labels,
    parse_metadata,
    sanitize_flow_id,
)
from argyll_redis.core.plan import make_plan, preview
from argyll_redis.core.reader import did_you_mean
from argyll_redis.errors import ArgyllError, FlowConflict, InvalidInput, MissingInputs, Problem
from argyll_redis.handle import FlowHandle
from argyll_redis.runtime.clock import new_id, new_seed
from argyll_redis.runtime.committer import is_same_start
from argyll_redis.runtime.node import Node
from argyll_redis.steps.context import Values

if TYPE_CHECKING:
    from argyll_redis.app import Argyll

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
    labels: dict[str, str]
    metadata: dict[str, JSON]
    compensate: str | None
    timeout_ms: int


def read_request(given: Mapping[str, Any], id_of: Callable[[Any], str]) -> Request:
    """Reads a start. Raises `NoGoals` or `InvalidInput` naming what is wrong."""
    unknown = [name for name in given if name not in FIELDS]
    if unknown:
        raise InvalidInput(
            problems=[
                Problem(name, "is not a field of a start", did_you_mean(name, FIELDS)) for name in unknown
            ]
        )
    goals = given.get("goals") or ()
    named = [goals] if isinstance(goals, str) or callable(goals) else goals
    id = given.get("id")
    return Request(
        id=new_id() if id is None else sanitize_flow_id(id),
        is_named=id is not None,
        goals=parse_goals([id_of(goal) for goal in named]),
        init=parse_init({name: _values(value) for name, value in (given.get("init") or {}).items()}),
        labels=parse_labels(given.get("labels") or {}),
        metadata=parse_metadata(given.get("metadata") or {}),
        compensate=_compensate(given.get("compensate")),
        timeout_ms=_timeout_ms(given.get("timeout_ms")),
    )


def _values(value: Any) -> list[JSON]:
    """The values that one entry of `init` gives: one, or those of `Values`."""
    return list(value.values) if isinstance(value, Values) else [value]


def _compensate(given: Any) -> str | None:
    if given is None:
        return None
    what = 'is not supported yet, and the only value will be "flow"'
    raise InvalidInput(problems=[Problem("compensate", what, "leave it out")])


def _timeout_ms(given: Any) -> int:
    if given is None or given == 0:
        return 0
    if isinstance(given, bool) or not isinstance(given, int) or not 0 < given <= MAX_DURATION_MS:
        what = f"is {given!r}"
        raise InvalidInput(
            problems=[Problem("timeout_ms", what, f"use a whole number of ms, 1 to {MAX_DURATION_MS}")]
        )
    return given


class Starter:
    """Plans and starts flows of one app."""

    def __init__(self, app: Argyll) -> None:
        self._app = app
        self._planned: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()

    async def start_many(self, given: Sequence[Mapping[str, Any]]) -> list[FlowHandle | Exception]:
        node = await self._app.node()
        catalog = await node.catalog.refresh()
        return list(await asyncio.gather(*(self._start(node, catalog, each) for each in given)))

    async def _start(self, node: Node, catalog: Catalog, given: Mapping[str, Any]) -> FlowHandle | Exception:
        try:
            request = read_request(given, self._app.id_of)
            try:
                plan = self.plan(catalog, request.goals, request.init)
                _check_ready(catalog, plan, request)
            except ArgyllError:
                if request.is_named and await self._exists(node, request):
                    return FlowHandle(self._app, request.id)
                raise
            await node.committer.ask(request.id, self._command(node, catalog, plan, request))
        except Exception as error:
            return error
        return FlowHandle(self._app, request.id)

    def plan(self, catalog: Catalog, goals: Sequence[StepId], init: Mapping[str, list[JSON]]) -> Plan:
        """Plans, or takes the plan of an equal start: only the names of initial values matter, as
        long as no gate looks at them."""
        key = (catalog.version, tuple(goals), tuple(sorted(init)))
        plan = self._planned.get(key)
        if plan is None:
            plan = make_plan(catalog, goals, init, self._app.config.retry)
            self._planned[key] = plan
            if len(self._planned) > PLANNED:
                self._planned.popitem(last=False)
        return plan

    async def preview(self, goals: Sequence[Any], init: Mapping[str, Any] | None = None) -> Plan:
        """Plans without starting, and shows more of what is missing."""
        node = await self._app.node()
        catalog = await node.catalog.refresh()
        request = read_request({"goals": goals, "init": init}, self._app.id_of)
        return preview(catalog, request.goals, request.init, self._app.config.retry)

    def _command(self, node: Node, catalog: Catalog, plan: Plan, request: Request) -> Start:
        return Start(
            by=self._app.by("start"),
            plan=plan,
            plan_hash=node.logs.plans.add(plan),
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
        if is_same_start(flow, request):
            return True
        raise FlowConflict(
            f'flow "{request.id}" exists and was started with something else; choose another id'
        )


def _check_ready(catalog: Catalog, plan: Plan, request: Request) -> None:
    check_initial(catalog, request.init)
    missing = [name for name in plan.required if not request.init.get(name)]
    if missing:
        raise MissingInputs(missing)
