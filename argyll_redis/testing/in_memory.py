"""An app of a user's on memory and virtual time, with an engine: nothing to install, nothing to wait for.

The app is used as it is, whatever its URL: while it is in memory, its methods work on a server of its
own that is gone afterwards. Time passes only while something is waited for, and then at once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from random import Random
from typing import Any, Self, TypeVar

from argyll_redis import starting
from argyll_redis.app import Argyll
from argyll_redis.connection import Connection
from argyll_redis.core.model import JSON
from argyll_redis.core.parse import parse_step
from argyll_redis.errors import InvalidInput
from argyll_redis.handle import FlowHandle
from argyll_redis.runtime.cache import CACHED_FLOWS
from argyll_redis.runtime.node import Node
from argyll_redis.starting import Goals
from argyll_redis.testing.fates import Fates
from argyll_redis.testing.faults import Rates
from argyll_redis.testing.flow_view import FlowView, Seen
from argyll_redis.testing.functions import Callers, FunctionCrew
from argyll_redis.testing.idle import Idleness
from argyll_redis.testing.observer import Observer
from argyll_redis.testing.scenario import EngineSpec, Habits, Scenario
from argyll_redis.testing.stage import NO_BUG, Stage
from argyll_redis.testing.standins import read_stand_ins
from argyll_redis.testing.virtual import MS, NothingToDo, VirtualLoop

T = TypeVar("T")

LIMIT_MS = 366 * 86_400_000
"""How far the clock goes: a year."""
LIMIT_CALLBACKS = 50_000_000
"""Callbacks after which a test is said to have no end: some minutes of spinning."""
CONCURRENCY = 100
LOOK_MS = 100
"""When a flow that is waited for is first looked at."""
LOOKS_GROW = 4
"""How much longer each pause between two looks is than the one before."""
CALM = Habits(quick=1.0, fails=0.0, breaks=0.0, accepts=0.0, crashes=0.0, pauses=0.0)


class VirtualClock:
    """The clock of an app in memory. It stands still while the test does."""

    def __init__(self, stage: Stage, run: Callable[[Awaitable[None]], None]) -> None:
        self._stage = stage
        self._run = run

    def now_ms(self) -> int:
        """The time that engines and logs go by, unix ms."""
        return self._stage.now_ms()

    def skip(self, ms: int) -> None:
        """Lets so much time pass at once; whatever is due in it happens, at its own time."""
        if ms < 0:
            raise InvalidInput(f"skip({ms}): time only goes forward (use 0 or more ms)")
        self._run(asyncio.sleep(ms / MS))


class InMemory:
    """An app in memory, with an engine that has its functions. Use it as a context manager.

    `replace` names what stands in for steps (see `standins`); `steps` are definitions of further
    steps, those that are registered elsewhere. Within asyncio code, an async test for one, it works the
    same: its event loop is its own, in a thread of its own.
    """

    def __init__(
        self,
        app: Argyll,
        *,
        replace: Mapping[Any, Any] | None = None,
        steps: Sequence[JSON] = (),
    ) -> None:
        """Raises `InvalidInput` for a stand-in that fits no step, `InvalidStep` for a bad definition."""
        self.app = app
        self._steps = list(steps)
        stand_ins = read_stand_ins(replace, app.id_of, inputs_of(app, self._steps))
        self._loop = VirtualLoop(limit_ms=LIMIT_MS, limit_callbacks=LIMIT_CALLBACKS)
        self._stage = _calm_stage(self._loop, app, self._steps)
        self._observer = Observer(self._stage.server, self._stage.plan_book())
        self._outside = Callers(self._stage, self._observer)
        self._crew = FunctionCrew(self._stage, self._outside, app.declared, stand_ins)
        self._draw = Random("in memory")
        self._seen = 0
        self._idleness = Idleness(self._stage, self._crew, self._outside)
        self._loop.skip_to_s = self._idleness.skip_to_s
        self.clock = VirtualClock(self._stage, self.run)

    def __enter__(self) -> Self:
        self._outside.start()
        self._crew.start()
        node = self._stage.node(self._loop.process("app"))
        self._idleness.nodes.append(node)
        try:
            _connect(self.app, self._loop, node)
            self.run(self._open(node))
        except BaseException:
            self.close()
            raise
        return self

    async def _open(self, node: Node) -> None:
        await node.open()
        await self.app.register_declared()
        if self._steps:
            await self.app.register_steps(self._steps)
        while not self._crew.is_idle or not self._outside.is_idle:  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(0.001)

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the engine as if it died, and gives the app back."""
        _disconnect(self.app, self._loop)
        self._stage.is_over = True
        in_own_thread(self._loop.close)

    # -------------------------------------------------------------------------- run

    def run(self, work: Awaitable[T]) -> T:
        """Waits for something under virtual time: `run(app.start(...))`, `run(flow.result())`, or a
        coroutine of your own that does all of it.

        Raises what it raises, `NothingToDo` when nothing is left to happen and it waits all the same,
        and `TookTooLong` when time has come to the end of its year.
        """

        async def wait() -> T:
            return await work

        def play() -> T:
            try:
                return self._loop.run_until_complete(wait())
            except NothingToDo as error:
                raise NothingToDo(error.now_ms, self._waiting()) from None

        with fixed_draws(self._draw):
            done = in_own_thread(play)
        broken, self._seen = self._stage.violations[self._seen :], len(self._stage.violations)
        if broken:
            raise RuntimeError("an engine did what it must not do: " + "; ".join(broken))
        return done

    def play(
        self,
        goals: Goals,
        init: Mapping[str, Any] | None = None,
        *,
        cancel_after_ms: int | None = None,
        **options: Any,
    ) -> FlowView:
        """Starts a flow, waits until nothing more happens to it, and gives what it came to. That is the
        end, or a wait for somebody outside. `options` are those of `Argyll.start`."""
        return self.view(self.run(self._play(goals, init, cancel_after_ms, options)))

    async def _play(
        self,
        goals: Goals,
        init: Mapping[str, Any] | None,
        cancel_after_ms: int | None,
        options: dict[str, Any],
    ) -> FlowHandle:
        flow = await self.app.start(goals, init, **options)
        if cancel_after_ms is not None:
            await asyncio.sleep(cancel_after_ms / MS)
            await self.app.cancel(flow.id)
        await self._settle(flow)
        return flow

    async def _settle(self, flow: FlowHandle) -> None:
        """Waits until a flow is deactivated, or nothing is left to happen."""
        outcome = asyncio.ensure_future(flow.outcome())
        look_ms = LOOK_MS
        try:
            while not outcome.done() and not self._idleness.is_for_ever:
                await asyncio.wait([outcome], timeout=look_ms / MS)
                look_ms *= LOOKS_GROW
        finally:
            outcome.cancel()
        look_ms = 1
        while not self._is_deactivated(flow.id) and not self._idleness.is_for_ever:
            await asyncio.sleep(look_ms / MS)
            look_ms *= LOOKS_GROW

    def _is_deactivated(self, flow_id: str) -> bool:
        self._observer.look()
        return self._observer.flows[flow_id].is_deactivated

    def _waiting(self) -> str:
        """Which flows wait for somebody outside, for an error."""
        self._observer.look()
        views = [self.view(id) for id, flow in self._observer.flows.items() if not flow.is_over]
        waits = [
            f'flow "{view.id}" waits for the outcome of {", ".join(view.waits)}'
            for view in views
            if view.waits
        ]
        return "; ".join(waits)

    def view(self, flow: FlowHandle | str) -> FlowView:
        """A flow as it is now. Raises `InvalidInput` for one that does not exist."""
        id = flow if isinstance(flow, str) else flow.id
        self._observer.look()
        if id not in self._observer.flows:
            raise InvalidInput(f'no flow "{id}" exists in memory')
        calls = self._crew.calls_of(id)
        events = list(self._observer.events[id])
        folded = self._observer.fold(id)
        return FlowView(Seen(folded, events, calls, self._stage.now_ms(), self.app.id_of))


# ----------------------------------------------------------------------------- parts


def inputs_of(app: Argyll, definitions: Sequence[JSON]) -> dict[str, Collection[str]]:
    """The names that the code of each step sees, by step: those of the app and further ones."""
    parsed = [parse_step(each.definition) for each in app.declared.values()]
    parsed += [parse_step(each) for each in definitions]
    return {
        str(step.id): [each.inner for each in (*step.inputs, *step.constants, *step.metas)] for step in parsed
    }


def _calm_stage(loop: VirtualLoop, app: Argyll, steps: Sequence[JSON]) -> Stage:
    """Where one engine runs and nothing goes wrong by itself."""
    queues = {declared.queue for declared in app.declared.values()}
    queues |= {parse_step(each).queue for each in steps}
    engine = EngineSpec(
        queues=("builtin", *sorted(queues - {"builtin"})),
        concurrency=CONCURRENCY,
        lease_ms=app.config.lease_ms,
        grace_ms=app.config.grace_ms,
        lacks=frozenset(),
        unknown=None,
        drain_ms=None,
    )
    scenario = Scenario(
        lease_ms=app.config.lease_ms,
        faults_ms=0,
        rates=Rates(),
        habits=CALM,
        definitions=(),
        registers=False,
        flows=(),
        engines=(engine,),
        clients=1,
        duplicates=0,
        delays=0,
        leaps=0,
        cached_flows=CACHED_FLOWS,
        limits={},
        wipes=0,
    )
    stage = Stage(loop, scenario, NO_BUG, Fates(0))
    stage.is_calm = stage.network.is_calm = True
    return stage


def _connect(app: Argyll, loop: VirtualLoop, node: Node) -> None:
    """Lets an app work through a node in a loop."""
    if any(isinstance(other, VirtualLoop) and not other.is_closed() for other in app._connections):
        raise InvalidInput("the app is in memory already (leave the first `with` before the second)")
    app._connections[loop] = Connection(node=node)  # an app has no other way to be handed its parts


def _disconnect(app: Argyll, loop: VirtualLoop) -> None:
    app._connections.pop(loop, None)


@contextmanager
def connected(app: Argyll, loop: VirtualLoop, node: Node) -> Iterator[None]:
    """Lets an app work through a node in a loop for a while."""
    _connect(app, loop, node)
    try:
        yield
    finally:
        _disconnect(app, loop)


@contextmanager
def fixed_draws(draw: Random) -> Iterator[None]:
    """Lets the ids and seeds of new flows follow from a draw, so that a test is the same every time."""
    before = starting.new_id, starting.new_seed
    starting.new_id = lambda: f"{draw.getrandbits(64):016x}"
    starting.new_seed = lambda: f"{draw.getrandbits(128):032x}"
    try:
        yield
    finally:
        starting.new_id, starting.new_seed = before


@contextmanager
def quiet_engines() -> Iterator[None]:
    """Keeps what engines log about faults off the screen."""
    log = logging.getLogger("argyll_redis")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)


def in_own_thread(play: Callable[[], T]) -> T:
    """Calls something that runs a loop of its own: here, or, where a loop runs already, in a thread that
    is waited for."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return play()
    done: list[T] = []
    failed: list[BaseException] = []

    def call() -> None:
        try:
            done.append(play())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=copy_context().run, args=(call,), name="argyll-virtual-time")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
