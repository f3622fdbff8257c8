"""What is run: random steps, flows, engines and faults, all from one seed.

Seeds differ in kind, not in numbers alone: each leaves out some of what could happen, because what
happens all the time hides what happens else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from argyll_redis.core.catalog import Catalog, apply_all, register
from argyll_redis.core.model import JSON, Plan, RetryDefaults, Step, StepId
from argyll_redis.core.plan import make_plan
from argyll_redis.runtime.cache import CACHED_FLOWS
from argyll_redis.testing.faults import Fault, Rates
from argyll_redis.testing.limits import draw_limits
from argyll_redis.testing.scenario_children import draw_flow_steps, draw_items
from argyll_redis.testing.scenario_engines import QUEUES, EngineSpec, draw_engines, late
from argyll_redis.testing.scenario_inputs import draw_inputs

LEASES_MS = (800, 2_000)
PREDICATES = (
    "return {name} ~= nil",
    'return type({name}) ~= "number" or {name} % 3 ~= 0',
    'return type({name}) == "number"',
    "return {name} % 2 == 0",
)
"""The last one raises for all but numbers."""
POLICIES = ("fail_fast", "finish", "tolerate")
BACKOFFS = ("fixed", "linear", "exponential")
LONGEST_LEASES, LONG_WORK_LEASES = 2.0, 6.0
"""The longest work that does not time out, in leases: of most runs, and of some."""
DISASTERS = ((0.08, "failover"), (0.14, "full"), (0.16, "emptied"))
"""What may befall the server of a run, and which share of all runs has it or one before it."""
FAULTS_LEASES = (3, 4, 4, 5, 7)
"""For how long faults strike; here and below, what stands twice is drawn twice as often."""
FLOWS = (1, 1, 1, 2, 2, 2, 3, 3, 4, 5)
STEPS = (2, 2, 3, 3, 4, 5, 6)
"""Sizes: many small runs find more in the same time than a few large ones."""


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """A flow to be started, and what people do to it."""

    id: str
    plan: Plan
    seed: str
    init: Mapping[str, list[JSON]]
    labels: Mapping[str, str]
    start_ms: int
    timeout_ms: int
    linger_ms: int
    cancel_ms: int | None
    """When somebody cancels it; None: nobody does."""
    starts: int
    """How often it is started with the same: more than once, from different clients."""
    compensate: str | None = None


@dataclass(frozen=True, slots=True)
class Habits:
    """How steps behave and what befalls them, as probabilities of one call."""

    quick: float
    """Takes no time; the others take part of a lease, or up to two."""
    fails: float
    """Not completed."""
    breaks: float
    """Fails for good."""
    accepts: float
    """The outcome comes later, from outside; of steps that may."""
    crashes: float
    """The engine dies in the middle of it."""
    pauses: float
    longest: float = LONGEST_LEASES
    """The longest a call takes, in leases."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that a seed decides beforehand."""

    lease_ms: int
    faults_ms: int
    """For how long faults strike."""
    rates: Rates
    habits: Habits
    definitions: tuple[dict[str, JSON], ...]
    """Of the steps, as they are registered."""
    registers: bool
    """Whether clients register the steps themselves, each when it starts."""
    flows: tuple[FlowSpec, ...]
    engines: tuple[EngineSpec, ...]
    clients: int
    duplicates: int
    """Entries that are delivered twice, at most."""
    delays: int
    """Entries that are taken back and delivered later, at most."""
    leaps: int
    """How often the server's clock leaps forward."""
    cached_flows: int
    """Flows that a process keeps in memory."""
    limits: Mapping[str, int]
    """Those that are narrower than usual."""
    wipes: int
    """How often all entries that wait, run or are due are forgotten."""
    failovers: int = 0
    """How often the server loses what it has taken in lately, as a replica that was behind."""
    fulls: int = 0
    """How often the server refuses to write for a while."""
    empties: int = 0
    """Whether the server is emptied: then everybody stops, and nothing else is looked at."""
    clocks_drift: bool = False

    @property
    def loses_entries(self) -> bool:
        """Whether entries vanish that a flow ought to have, so that the sweep has to restore them."""
        return self.delays > 0 or self.wipes > 0 or self.failovers > 0


def draw_scenario(seed: int) -> Scenario:
    """Draws what a seed stands for."""
    draw = Random(f"scenario {seed}")
    lease_ms = draw.randint(*LEASES_MS)
    faults_ms = draw.choice(FAULTS_LEASES) * lease_ms
    is_calm = draw.random() < 0.1
    is_big = draw.random() < 0.015
    disaster = "" if is_calm or is_big else _draw_disaster(seed)
    loses = not is_calm and not disaster and draw.random() < 0.2
    definitions = _draw_definitions(draw, lease_ms, is_big=is_big)
    if disaster == "full":
        _make_wide(draw, definitions)
    draw_inputs(seed, definitions, lease_ms)
    if not is_big:
        definitions += draw_flow_steps(seed, definitions, lambda draw: _draw_work(draw, lease_ms))
    draw_undos(seed, definitions)
    events = register(Catalog(), definitions)
    catalog = apply_all(Catalog(), [(event, 0) for event in events])
    flows = 1 if is_big else draw.choice(FLOWS)
    undo = Random(f"undo flows {seed}")
    engines = draw_engines(draw, sorted(catalog.steps), lease_ms, faults_ms, disaster, loses=loses)
    return Scenario(
        lease_ms=lease_ms,
        faults_ms=faults_ms,
        rates=Rates() if is_calm else draw_rates(draw),
        habits=_draw_habits(draw, is_calm=is_calm, is_big=is_big),
        definitions=tuple(definitions),
        registers=draw.random() < 0.2,
        flows=tuple(
            _draw_flow(
                draw, catalog, number, faults_ms, _ITEMS[is_big, disaster == "full"], draw_items(seed), undo
            )
            for number in range(flows)
        ),
        engines=late(seed, engines, faults_ms),
        clients=draw.randint(1, 2),
        duplicates=0 if is_calm or disaster or draw.random() < 0.6 else draw.randint(1, 4),
        delays=draw.randint(0, 3) if loses else 0,
        wipes=1 if loses and draw.random() < 0.3 else 0,
        leaps=0 if is_calm or draw.random() < 0.9 else 1,
        cached_flows=draw.choice((1, 2)) if draw.random() < 0.15 else CACHED_FLOWS,
        limits=draw_limits(draw),
        failovers=int(disaster == "failover"),
        fulls=int(disaster == "full"),
        empties=int(disaster == "emptied"),
        clocks_drift=draw.random() < 0.3,
    )


def _draw_disaster(seed: int) -> str:
    """What befalls the server of a seed, beside smaller things; mostly nothing."""
    draw = Random(f"disaster {seed}").random()
    return next((name for limit, name in DISASTERS if draw < limit), "")


def draw_rates(draw: Random) -> Rates:
    """Each kind of fault is rare, frequent, or does not strike at all."""
    base = {
        Fault.DELAY: 0.1,
        Fault.STALL: 0.01,
        Fault.REFUSE: 0.01,
        Fault.LOSE: 0.015,
        Fault.LATE: 0.01,
        Fault.CRASH_BEFORE: 0.003,
        Fault.CRASH_AFTER: 0.004,
        Fault.PAUSE_BEFORE: 0.003,
        Fault.PAUSE_AFTER: 0.004,
    }
    return Rates({fault: rate * draw.choice((0.0, 0.7, 1.0, 2.0)) for fault, rate in base.items()})


def _draw_habits(draw: Random, *, is_calm: bool, is_big: bool) -> Habits:
    return Habits(
        quick=0.98 if is_big else draw.choice((0.2, 0.6, 0.9)),
        fails=draw.choice((0.0, 0.1, 0.25)),
        breaks=draw.choice((0.0, 0.02, 0.08)),
        accepts=draw.choice((0.3, 0.7)),
        crashes=0.0 if is_calm else draw.choice((0.0, 0.02, 0.05)),
        pauses=0.0 if is_calm else draw.choice((0.0, 0.03, 0.08)),
        longest=draw.choice((LONGEST_LEASES, LONGEST_LEASES, LONGEST_LEASES, LONG_WORK_LEASES)),
    )


# ---------------------------------------------------------------------- steps


@dataclass(frozen=True, slots=True)
class _Given:
    """An attribute that steps may use: its name, and whether it is a list."""

    name: str
    is_list: bool


def _draw_definitions(draw: Random, lease_ms: int, *, is_big: bool) -> list[dict[str, Any]]:
    given = [_Given("a", is_list=False), _Given("l", is_list=True)]
    definitions: list[dict[str, Any]] = []
    for number in range(draw.choice(STEPS)):
        id = f"s{number}"
        known = given
        output = _Given(f"o{number}", is_list=False)
        if number and draw.random() < 0.15:  # another provider of what a step before provides
            place = draw.randint(2, len(given) - 1)
            output, known = given[place], given[:place]
        inputs = draw.sample(known, min(len(known), draw.randint(1, 3)))
        if given[-1] not in inputs and known is given and draw.random() < 0.6:
            inputs[0] = given[-1]  # rather a chain than a heap
        definition, is_list = _draw_step(draw, id, inputs, output, lease_ms)
        definitions.append(definition)
        if is_big:
            _make_big(draw, definition, is_first=not number)
            is_list = is_list or not number
        if output.name == f"o{number}":
            given = [*given, _Given(output.name, is_list)]
    return definitions


_ITEMS = {(False, False): (0, 4), (True, False): (100, 150), (False, True): (6, 12)}
"""How many elements the lists have from which work items are made: as usual, in a big run, in a wide one."""


def _make_wide(draw: Random, definitions: list[dict[str, Any]]) -> None:
    """Lets more work items be released than engines have slots."""
    definitions[0]["attributes"] |= {"l": {"role": "required", "required": {"for_each": True}}}
    for definition in definitions:
        definition["work_config"]["parallelism"] = draw.randint(5, 9)


def _make_big(draw: Random, definition: dict[str, Any], *, is_first: bool) -> None:
    """Lets a step start more work items than one turn may."""
    definition["work_config"]["parallelism"] = draw.randint(90, 130)
    if is_first:
        definition["attributes"] |= {"l": {"role": "required", "required": {"for_each": True}}}


def _draw_step(
    draw: Random, id: str, inputs: list[_Given], output: _Given, lease_ms: int
) -> tuple[dict[str, Any], bool]:
    """Draws a step; tells whether what it provides is a list, as its function will make it."""
    attributes: dict[str, Any] = {}
    has_items = False
    for place, each in enumerate(inputs):
        role = "required" if place == 0 or draw.random() < 0.7 else "optional"
        spec: dict[str, Any] = {}
        if each.is_list and draw.random() < (0.1 if has_items else 0.6):
            spec["for_each"] = has_items = True
        attributes[each.name] = {"role": role, role: spec}
    gives_list = draw.random() < 0.3
    attributes[output.name] = {"role": "output"}
    definition: dict[str, Any] = {
        "id": id,
        "type": "python",
        "python": {"handler": "list" if gives_list else "number", "queue": draw.choice(("default", *QUEUES))},
        "attributes": attributes,
        "work_config": _draw_work(draw, lease_ms),
    }
    if draw.random() < 0.25:
        script = draw.choice(PREDICATES).format(name=inputs[0].name)
        definition["predicate"] = {"language": "lua", "script": script}
    return definition, gives_list or has_items


def _draw_work(draw: Random, lease_ms: int) -> dict[str, Any]:
    work: dict[str, Any] = {
        "parallelism": draw.randint(1, 3),
        "max_retries": draw.randint(1, 4),
        "init_backoff": draw.randint(20, 600),
        "max_backoff": 1_000,
        "backoff_type": draw.choice(BACKOFFS),
        "on_failure": draw.choice(POLICIES),
    }
    if draw.random() < 0.2:
        work["max_attempts"] = draw.randint(1, 4)
    if draw.random() < 0.3:
        work["jitter"] = 0.5
    if draw.random() < 0.4:
        work["timeout"] = round(draw.uniform(0.3, 3) * lease_ms)
    return work


def draw_undos(seed: int, definitions: list[dict[str, Any]]) -> None:
    """Lets some steps of some seeds know how to undo."""
    draw = Random(f"undo {seed}")
    share = draw.choice((0.0, 0.3, 0.9))
    for definition in definitions:
        if "python" in definition and draw.random() < share:
            definition["python"]["undo"] = "undo"


def makes_list(step: Step) -> bool:
    """Whether a step's function gives lists."""
    return step.python is not None and step.python.handler == "list"


# ----------------------------------------------------------------------- flows


def _draw_flow(
    draw: Random,
    catalog: Catalog,
    number: int,
    faults_ms: int,
    lengths: tuple[int, int],
    items: dict[str, list[JSON]],
    undo: Random,
) -> FlowSpec:
    ids = sorted(catalog.steps)
    goals = list(dict.fromkeys([ids[-1], *draw.sample(ids, draw.randint(0, 1))]))
    init: dict[str, list[JSON]] = {
        "a": [draw.randint(0, 9)],
        "l": [[draw.randint(0, 9) for _ in range(draw.randint(*lengths))]],
    }
    init |= items if any(step.startswith("t") for step in ids) else {}
    is_timed = draw.random() < 0.15
    plan = make_plan(catalog, [StepId(goal) for goal in goals], init, RetryDefaults())
    return FlowSpec(
        id=f"f{number}",
        plan=plan,
        seed=f"{draw.getrandbits(128):032x}",
        init=init,
        labels={"tenant": draw.choice("xy")} if draw.random() < 0.3 else {},
        start_ms=round(draw.random() * 0.4 * faults_ms),
        timeout_ms=round(draw.uniform(0.2, 1.5) * faults_ms) if is_timed else 0,
        linger_ms=draw.randint(200, 3_000),
        cancel_ms=round(draw.random() * faults_ms) if draw.random() < 0.12 else None,
        starts=2 if draw.random() < 0.15 else 1,
        compensate="flow" if not plan.children and undo.random() < 0.3 else None,
    )
