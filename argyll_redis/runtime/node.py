"""What every process that works with a namespace has: a store, logs, a committer, a catalog, a follower.

A node alone starts flows, completes work and reads; with an engine beside it, it also runs work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from argyll_redis.core.model import Step, StepType
from argyll_redis.core.state import Flow
from argyll_redis.errors import StoreUnavailable
from argyll_redis.runtime.catalogs import CatalogBook
from argyll_redis.runtime.clock import ServerClock, monotonic_ms, spread_ms
from argyll_redis.runtime.committer import Committer
from argyll_redis.runtime.engine import Engine
from argyll_redis.runtime.engine_config import EngineConfig
from argyll_redis.runtime.follower import Follower
from argyll_redis.runtime.heads import Heads
from argyll_redis.runtime.keeper import Keeper
from argyll_redis.runtime.logs import Logs
from argyll_redis.runtime.memo import MEMO_TTL_MS, Memo
from argyll_redis.runtime.renewer import Renewer
from argyll_redis.scripting import Evaluator
from argyll_redis.steps.job import Handler
from argyll_redis.store.protocol import Store

log = logging.getLogger(__name__)

CLOSE_LIMIT_S = 5
"""How long a process that ends waits for a server that is away."""


class Node:
    """The parts of one process, wired together."""

    def __init__(
        self,
        store: Store,
        client_id: str,
        *,
        monotonic: Callable[[], int] = monotonic_ms,
        spread: Callable[[float], float] = spread_ms,
        evaluator: Evaluator | None = None,
        memo_ttl_ms: int = MEMO_TTL_MS,
        retention_ms: int = 0,
    ) -> None:
        """`retention_ms` is how long a tree is kept after its last flow was deactivated; 0 is for ever."""
        self.store = store
        self.client_id = client_id
        self.clock = ServerClock(monotonic)
        self.evaluator = evaluator or Evaluator()
        self.logs = Logs(store)
        self.catalog = CatalogBook(store, client_id, spread)
        self.follower = Follower(store, spread)
        self.heads = Heads(store)
        self.committer = Committer(
            store,
            self.logs,
            client_id=client_id,
            clock=self.clock,
            evaluate=self.evaluator,
            spread=spread,
            retention_ms=retention_ms,
        )
        self.committer.listeners.append(self.follower.committed)
        self.memo = Memo(store, memo_ttl_ms)
        self.committer.on_report = self.memo.committed
        self._spread = spread
        self._retention_ms = retention_ms
        self._loading: dict[str, asyncio.Task[Flow]] = {}

    async def open(self) -> None:
        """Connects, creates the namespace at first use, and learns the server's time."""
        await self.store.open()
        self.clock.read(await self.store.now_ms())

    async def peek(self) -> None:
        """Learns the server's time and writes nothing: for who only looks. The namespace has to exist."""
        await self.store.peek()
        self.clock.read(await self.store.now_ms())

    async def close(self) -> None:
        """Commits what was posted, as long as that takes no longer than `CLOSE_LIMIT_S`, and disconnects."""
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await self.committer.close()
                await self.memo.close()
        except TimeoutError:
            log.error("what was asked for and not committed within %d s is dropped", CLOSE_LIMIT_S)
            self.committer.abort()
        try:
            self.committer.shut()
            await self.follower.close()
            await self.catalog.close()
        finally:
            await self.store.close()

    async def load(self, flow_id: str) -> Flow:
        """The newest state of a flow, on a fold of its own. Version 0 when it does not exist."""
        return await self.logs.read(flow_id)

    async def load_together(self, flow_id: str) -> Flow:
        """The state of a flow that is over, read once for all that ask at a time; only to be read."""
        loading = self._loading.get(flow_id)
        if loading is None:
            loading = self._loading[flow_id] = asyncio.get_running_loop().create_task(self.load(flow_id))
            loading.add_done_callback(lambda _: self._loading.pop(flow_id, None))
        return await asyncio.shield(loading)

    async def run_engine(
        self,
        config: EngineConfig,
        handlers: Mapping[StepType, Handler],
        *,
        can_do: Callable[[Step], bool],
        can_undo: Callable[[Step], bool] = lambda _: True,
        until: Callable[[], Awaitable[object]],
        on_ready: Callable[[Engine, Keeper], None] | None = None,
    ) -> None:
        """Is an engine until `until` returns, then drains.

        Raises what made it stop: `NamespaceEmptied` when the server was emptied, for one.
        """
        await self.store.add_queues(config.queues)
        engine = Engine(
            config,
            store=self.store,
            committer=self.committer,
            clock=self.clock,
            handlers=handlers,
            can_do=can_do,
            can_undo=can_undo,
            memo=self.memo,
            spread=self._spread,
        )
        keeper = Keeper(
            engine,
            store=self.store,
            committer=self.committer,
            logs=self.logs,
            clock=self.clock,
            evaluate=self.evaluator,
            spread=self._spread,
            retention_ms=self._retention_ms,
        )
        renewer = Renewer(engine, self.store, self.clock)
        self.committer.sender.fetcher = engine.intake
        self.committer.on_due = keeper.wake_at
        self.committer.breaker.on_close = engine.go_on
        if on_ready is not None:
            on_ready(engine, keeper)
        await _serve(self, engine, keeper, renewer, until)


async def _serve(
    node: Node, engine: Engine, keeper: Keeper, renewer: Renewer, until: Callable[[], Awaitable[object]]
) -> None:
    """Runs the loops of an engine; whichever of them fails stops it."""
    loop = asyncio.get_running_loop()
    readers = [loop.create_task(engine.intake.read_work()), loop.create_task(engine.intake.read_control())]
    keeping = [loop.create_task(keeper.run()), loop.create_task(renewer.run())]
    stopping = loop.create_task(_until_stopped(node, until))
    everything = [*readers, *keeping, stopping]
    try:
        await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done() and not stopping.exception():
            engine.take_no_more()  # before they are cancelled: a client may swallow that, and they read on
            for task in readers:
                task.cancel()
            await asyncio.wait(readers)
            await _drain(node, engine, keeper, renewer)
    except asyncio.CancelledError:
        engine.abort()
        raise
    finally:
        node.committer.sender.fetcher = None
        node.committer.on_due = None
        node.committer.breaker.on_close = None
        engine.abort()
        keeper.stop()
        for task in everything:
            task.cancel()
        results = await asyncio.gather(*everything, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result


async def _drain(node: Node, engine: Engine, keeper: Keeper, renewer: Renewer) -> None:
    """Lets an engine end in order, within its grace and one more for the server: what is not committed
    by then is taken over by others."""
    await engine.drain()
    try:
        async with asyncio.timeout(engine.config.grace_ms / 1000):
            await node.committer.close()
            await keeper.stopped()
            await engine.leave_group(renewer.streams)
    except (TimeoutError, StoreUnavailable) as error:
        log.error("the engine ends without its last words, others will take over: %s", error or "no reply")


async def _until_stopped(node: Node, until: Callable[[], Awaitable[object]]) -> None:
    """Waits for the end that was asked for, or for the committer to give up."""
    asked = asyncio.ensure_future(until())
    gave_up = asyncio.ensure_future(node.committer.gave_up.wait())
    try:
        await asyncio.wait([asked, gave_up], return_when=asyncio.FIRST_COMPLETED)
        if node.committer.fatal is not None:
            raise node.committer.fatal
        await asked
    finally:
        for task in (asked, gave_up):
            task.cancel()
