"""The doctor: is the server fit, and does the namespace lack anything that its flows need?

It looks and says, and changes nothing: a namespace that does not exist is not created. Each finding
has a level (`ok`, `warning`, `fault`), what was found, and how to mend it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING

from argyll_redis.core.explain_work import MAX_NAMED, counted, has_work_for_engines, listed, span
from argyll_redis.core.model import JSON, Step, handler_of
from argyll_redis.core.state import StepStatus
from argyll_redis.errors import ArgyllError, NamespaceEmptied, StoreUnfit
from argyll_redis.runtime.clock import monotonic_ms, new_id, wall_ms
from argyll_redis.runtime.node import Node
from argyll_redis.store.fitness import Level, Remark, examine
from argyll_redis.store.keys import LAYOUT
from argyll_redis.store.protocol import EngineInfo, QueueStat, Store

MAX_OPEN = 1_000
"""Open flows that are counted."""
MAX_LOOKED_INTO = 100
"""Open flows, the oldest, whose logs are read."""
MAX_SKEW_MS = 1_000
"""By how much two clocks may differ before it is said."""
RUN_ENGINE = "run `argyll engine`"
HTTP_MEND = (
    "install argyll-redis[http] where engines run; for async steps run `argyll engine` with --http, or with "
    "--webhook-base-url"
)


class Doctor:
    """The looking part of an app; mixed into `Argyll`."""

    if TYPE_CHECKING:
        namespace: str

        def make_store(self) -> Store: ...

    async def doctor(self) -> dict[str, JSON]:
        """Looks at the server and at the namespace: `{findings: [{level, what, mend}]}`.

        Raises `StoreUnavailable` when the server cannot be reached; one that cannot be used is a fault.
        """
        store = self.make_store()
        try:
            found = [remark async for remark in _examined(store, self.namespace)]
        finally:
            await store.close()
        return {
            "findings": [{"level": str(each.level), "what": each.what, "mend": each.mend} for each in found]
        }


async def _examined(store: Store, namespace: str) -> AsyncIterator[Remark]:
    """The server first; the namespace only on a server that can be used."""
    is_fit = True
    try:
        async for remark in _server(store):
            is_fit = is_fit and remark.level is not Level.FAULT
            yield remark
        if is_fit:
            async for remark in _namespace(store, namespace):
                yield remark
    except (StoreUnfit, NamespaceEmptied) as error:
        yield _fault(str(error), "mend that, then look again")


def _fault(text: str, otherwise: str) -> Remark:
    """A fault from the text of an error, which ends with its mend in brackets where it knows one."""
    what, _, mend = text.removesuffix(")").partition(" (")
    return Remark(Level.FAULT, what, mend) if text.endswith(")") else Remark(Level.FAULT, text, otherwise)


# ---------------------------------------------------------------------- server


async def _server(store: Store) -> AsyncIterator[Remark]:
    info = await store.info()
    for remark in examine(info):
        yield remark
    if info.get("server") == "memory":
        return
    wrong = await store.can_run_scripts()
    if wrong:
        yield _fault(f"it runs no scripts: {wrong}", "allow EVAL to the user")
    else:
        yield Remark(Level.OK, "it runs scripts")
    yield await _clocks(store)


async def _clocks(store: Store) -> Remark:
    """How the clock of this machine differs from the server's, as far as the way there and back allows."""
    began_ms = monotonic_ms()
    server_ms = await store.now_ms()
    way_ms = monotonic_ms() - began_ms
    ahead_ms = wall_ms() - way_ms // 2 - server_ms
    if abs(ahead_ms) <= MAX_SKEW_MS + way_ms:
        return Remark(Level.OK, f"its clock goes as the one here does; a call takes {way_ms} ms")
    what = f"its clock is {span(abs(ahead_ms))} {'behind' if ahead_ms > 0 else 'ahead of'} the one here"
    return Remark(
        Level.WARNING, f"{what}; what is due goes by the server's", "let both follow one time server"
    )


# ------------------------------------------------------------------- namespace


async def _namespace(store: Store, namespace: str) -> AsyncIterator[Remark]:
    found = await store.peek()
    if found is None:
        yield Remark(Level.OK, f"namespace {namespace} does not exist yet: its first use creates it")
        return
    if found.layout != LAYOUT:
        what = f"namespace {namespace} has layout {found.layout}, and this version knows {LAYOUT}"
        yield Remark(Level.FAULT, what, "use the version of argyll that made it, or a newer one")
        return
    node = Node(store, new_id())
    await node.open()
    try:
        yield Remark(
            Level.OK, f"namespace {namespace} has layout {found.layout} and {found.partitions} partitions"
        )
        async for remark in _lacking(node):
            yield remark
    finally:
        await node.close()


async def _lacking(node: Node) -> AsyncIterator[Remark]:
    """What flows of the namespace need and do not have."""
    engines = await node.store.engines()
    yield _engines(engines, len(await node.store.index("open", limit=MAX_OPEN)))
    if engines:
        for remark in _unserved(engines, await node.store.queue_stats()):
            yield remark
        catalog = await node.catalog.refresh()
        steps = [(id, catalog.step(id).python) for id in sorted(catalog.steps)]
        for remark in _without_handler(engines, {id: work.handler for id, work in steps if work}.items()):
            yield remark
        for remark in _without_type(engines, map(catalog.step, sorted(catalog.steps))):
            yield remark
        async for remark in _stranded(node, engines):
            yield remark
    dead = await node.store.dead()
    if dead.entries:
        what = f"{counted(dead.entries, 'entry')} that nobody could read {_are(dead.entries)} in `dead`"
        yield Remark(
            Level.WARNING,
            f"{what}; the newest: {dead.last_reason}",
            "look at them with XRANGE, then delete the streams `{ns:p}:dead`",
        )
    else:
        yield Remark(Level.OK, "no entry was put aside as unreadable")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _engines(engines: Iterable[EngineInfo], open_flows: int) -> Remark:
    ids = [engine.id for engine in engines]
    if ids:
        return Remark(Level.OK, f"{counted(len(ids), 'engine')} {_are(len(ids))} alive: {listed(ids)}")
    if not open_flows:
        return Remark(Level.OK, "no engine is alive, and no flow needs one")
    count = f"{MAX_OPEN:,} flows or more" if open_flows == MAX_OPEN else counted(open_flows, "flow")
    return Remark(Level.WARNING, f"{count} {_are(open_flows)} open, and no engine is alive", RUN_ENGINE)


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
