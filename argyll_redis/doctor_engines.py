"""What the doctor says of engines: who is alive, how they are, and what nobody of them serves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator

from argyll_redis.core.explain_work import MAX_NAMED, counted, has_work_for_engines, listed
from argyll_redis.core.model import Step, handler_of
from argyll_redis.core.state import StepStatus
from argyll_redis.errors import ArgyllError
from argyll_redis.runtime.condition import read_condition
from argyll_redis.runtime.node import Node
from argyll_redis.store.fitness import Level, Remark
from argyll_redis.store.protocol import EngineInfo, QueueStat

MAX_OPEN = 1_000
"""Open flows that are counted."""
MAX_LOOKED_INTO = 100
"""Open flows, the oldest, whose logs are read."""
RUN_ENGINE = "run `argyll engine`"
HTTP_MEND = (
    "install argyll-redis[http] where engines run; for async steps run `argyll engine` with --http, or with "
    "--webhook-base-url"
)


def are(count: int) -> str:
    return "is" if count == 1 else "are"


async def look_at_engines(
    node: Node, engines: tuple[EngineInfo, ...], stats: list[QueueStat]
) -> AsyncIterator[Remark]:
    """What flows of the namespace need of engines and do not have."""
    yield _alive(engines, len(await node.store.index("open", limit=MAX_OPEN)))
    if not engines:
        return
    for remark in _conditions(engines):
        yield remark
    for remark in _unserved(engines, stats):
        yield remark
    catalog = await node.catalog.refresh()
    steps = [(id, catalog.step(id).python) for id in sorted(catalog.steps)]
    for remark in _without_handler(engines, {id: work.handler for id, work in steps if work}.items()):
        yield remark
    for remark in _without_type(engines, map(catalog.step, sorted(catalog.steps))):
        yield remark
    async for remark in _stranded(node, engines):
        yield remark


def _alive(engines: Iterable[EngineInfo], open_flows: int) -> Remark:
    ids = [engine.id for engine in engines]
    if ids:
        return Remark(Level.OK, f"{counted(len(ids), 'engine')} {are(len(ids))} alive: {listed(ids)}")
    if not open_flows:
        return Remark(Level.OK, "no engine is alive, and no flow needs one")
    count = f"{MAX_OPEN:,} flows or more" if open_flows == MAX_OPEN else counted(open_flows, "flow")
    return Remark(Level.WARNING, f"{count} {are(open_flows)} open, and no engine is alive", RUN_ENGINE)


def _conditions(engines: Iterable[EngineInfo]) -> Iterator[Remark]:
    """What engines say of themselves: one that begins nothing stands still, and a flow that is left alone
    does so for good."""
    for engine in engines:
        condition = read_condition(engine.state)
        if condition.refused:
            what = f"engine `{engine.id}` begins nothing: {condition.refused}"
            yield Remark(Level.FAULT, what, "mend the server; engines go on by themselves")
        if condition.left_alone:
            told = "; ".join(f"`{flow_id}`: {reason}" for flow_id, reason in condition.flows.items())
            count = counted(condition.left_alone, "flow")
            yield Remark(
                Level.WARNING,
                f"engine `{engine.id}` leaves {count} alone: {told}",
                "see what `argyll audit FLOW` says; `argyll repair` names what can be mended; then start "
                "the engine anew",
            )


def _unserved(engines: Iterable[EngineInfo], queues: Iterable[QueueStat]) -> Iterator[Remark]:
    """Queues in which something waits that no live engine takes from."""
    served = {"control", *(queue for engine in engines for queue in engine.queues)}
    unserved = [each for each in queues if each.queue not in served]
    waiting = [(each, each.depth + each.in_flight + each.due) for each in unserved]
    for each, count in waiting:
        if count:
            what = f"{counted(count, 'entry')} {'waits' if count == 1 else 'wait'} in queue `{each.queue}`"
            yield Remark(
                Level.WARNING,
                f"{what}, which no live engine serves",
                f"{RUN_ENGINE} with the app that has it, or with --queue {each.queue}",
            )
    if not any(count for _, count in waiting):
        yield Remark(Level.OK, "no work waits in a queue that no live engine serves")


def _without_handler(engines: Iterable[EngineInfo], needed: Iterable[tuple[str, str]]) -> Iterator[Remark]:
    """Steps whose function is nowhere."""
    known = {handler for engine in engines for handler in engine.handlers}
    steps = [id for id, handler in needed if handler not in known]
    if steps:
        more = f" and {len(steps) - MAX_NAMED} more" if len(steps) > MAX_NAMED else ""
        named = listed(steps[:MAX_NAMED]) + more
        yield Remark(
            Level.WARNING,
            f"no live engine has the handler of {'step' if len(steps) == 1 else 'steps'} {named}",
            f"{RUN_ENGINE} with --app of the app that declares {'it' if len(steps) == 1 else 'them'}",
        )
    else:
        yield Remark(Level.OK, "every registered python step has its handler in a live engine")


def _without_type(engines: Iterable[EngineInfo], steps: Iterable[Step]) -> Iterator[Remark]:
    """Types of registered steps that no live engine can run."""
    known = {handler for engine in engines for handler in engine.handlers}
    lacking = {step.type for step in steps if step.python is None and step.handler}
    for type in sorted(type for type in lacking if handler_of(type) not in known):
        yield Remark(Level.WARNING, f"no live engine can run steps of type {type}", HTTP_MEND)


async def _stranded(node: Node, engines: Iterable[EngineInfo]) -> AsyncIterator[Remark]:
    """Open flows that wait for a function that is nowhere. What their plans hold counts, which the catalog
    may know nothing of any more."""
    known = {handler for engine in engines for handler in engine.handlers}
    stranded: dict[str, list[str]] = {}
    for flow_id, _ in await node.store.index("open", newest=False, limit=MAX_LOOKED_INTO):
        for handler in await _waited_for(node, flow_id):
            if handler not in known:
                stranded.setdefault(handler, []).append(flow_id)
    for handler, flows in sorted(stranded.items()):
        verb = "waits" if len(flows) == 1 else "wait"
        yield Remark(
            Level.WARNING,
            f"{counted(len(flows), 'open flow')} {verb} for handler `{handler}`, which no live engine has: "
            + listed(flows),
            f"{RUN_ENGINE} with --app of an app that has a function of that name",
        )


async def _waited_for(node: Node, flow_id: str) -> set[str]:
    """The handlers that active steps of a flow need; none of a log that cannot be read, which is for the
    audit to say."""
    try:
        flow = await node.load(flow_id)
    except ArgyllError:
        return set()
    active = (run for run in flow.steps.values() if run.status is StepStatus.ACTIVE)
    works = (flow.plan.steps[run.id].python for run in active if has_work_for_engines(run))
    return {work.handler for work in works if work}
