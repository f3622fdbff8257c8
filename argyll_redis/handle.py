"""A flow as its starter holds it: wait for its result, follow its events, look at it, end it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from argyll_redis.core.collect import result_of
from argyll_redis.core.model import JSON
from argyll_redis.core.parse_request import read_flow_id
from argyll_redis.core.state import Flow, FlowStatus
from argyll_redis.errors import (
    ArgyllError,
    FlowFailed,
    FlowImported,
    HistoryLost,
    NamespaceEmptied,
    StoreUnavailable,
    UnknownFlow,
)
from argyll_redis.progress import progress
from argyll_redis.runtime.follower import Following, check_instance
from argyll_redis.views import flow_state, making_sense_of, show_events

if TYPE_CHECKING:
    from argyll_redis.app import Argyll
    from argyll_redis.runtime.node import Node

log = logging.getLogger(__name__)
T = TypeVar("T")

WATCH_INTERVAL_MS = 100
"""Between two looks at how far a flow is: more often, nobody sees."""
LAST_LOOK_MS = 1_000
"""How long somebody who gives up waiting for a flow looks what it waits for."""
ERROR_DELAY_MS = 1_000
"""Longest delay before somebody who waits looks again after a look that failed."""


class FlowHandle:
    """One flow, by id. Holds no state: whatever is asked is read anew, or followed."""

    def __init__(self, app: Argyll, id: str) -> None:
        self.id = id
        self._app = app

    def __repr__(self) -> str:
        return f"FlowHandle({self.id!r})"

    async def result(self, timeout_ms: int | None = None) -> dict[str, JSON]:
        """Waits for the outcome and gives what the goals provided, by attribute name.

        Raises `FlowFailed` with the root cause, `TimeoutError` when `timeout_ms` passed first (its text
        says what the flow waits for), and `UnknownFlow`.
        """
        flow = await self._outcome(timeout_ms)
        if flow.status is FlowStatus.FAILED:
            root = flow.root_cause
            raise FlowFailed(
                f'flow "{self.id}" failed: {flow.error}',
                flow_id=self.id,
                root_cause={"step": root.step, "error": root.error} if root else {"error": flow.error or ""},
            )
        with making_sense_of(self.id):
            return result_of(flow)

    async def outcome(self, timeout_ms: int | None = None) -> dict[str, JSON]:
        """Waits for the outcome and gives `{id, status, result, error}`; a failed flow has no result,
        a completed one no error.

        Raises `TimeoutError` when `timeout_ms` passed first, and `UnknownFlow`.
        """
        flow = await self._outcome(timeout_ms)
        is_failed = flow.status is FlowStatus.FAILED
        with making_sense_of(self.id):
            result = None if is_failed else result_of(flow)
        return {
            "id": self.id,
            "status": str(flow.status),
            "result": result,
            "error": flow.error or "failed" if is_failed else None,
        }

    async def _outcome(self, timeout_ms: int | None) -> Flow:
        """Waits until the outcome is decided."""
        limit = asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000)
        try:
            async with limit:
                return await self._decided()
        except TimeoutError:
            if not limit.expired():
                raise
            waits = await self._waits_for()
            what = f'flow "{self.id}" has no outcome after {timeout_ms} ms'
            raise TimeoutError(f"{what}: {waits}" if waits else what) from None

    async def _waits_for(self) -> str:
        """What the flow waits for, as one last look shows it; empty where that cannot be had at once."""
        try:
            async with asyncio.timeout(LAST_LOOK_MS / 1000):
                return await self._app.waits_for(self.id)
        except (ArgyllError, TimeoutError):
            return ""

    async def _decided(self) -> Flow:
        """A look at the head first, then the feed says when."""
        node = await self._app.node()
        async with node.follower.follow(read_flow_id(self.id), to_outcome=True) as following:
            flow = await self._look(node)
            while flow is None:
                await following.wait()
                flow = await _patiently(following, partial(self._look, node))
            return flow

    async def _look(self, node: Node) -> Flow | None:
        """The flow, when it is over."""
        known = node.committer.cache.get(self.id)
        if known is not None and known.is_over:
            return known
        head = await node.heads.read(self.id)
        if head is None:
            await check_instance(node.store)
            raise UnknownFlow(f'no flow "{self.id}" exists')
        if head.fields.get("status") != FlowStatus.ACTIVE:
            flow = await node.load_together(self.id)
            return flow if flow.is_over else None  # another server may have answered, that was behind
        if head.sealed:
            raise FlowImported(f'flow "{self.id}" was imported while it was active: it comes to no outcome')
        return None

    async def events(self, after: int = 0, *, follow: bool = True) -> AsyncGenerator[dict[str, JSON], None]:
        """Gives the events after a version, each `{id, type, at, cause, by, data}` in full, and goes
        on as they come until the flow is deactivated; without `follow`, and for an imported flow, until
        the newest.

        Raises `UnknownFlow`.
        """
        node = await self._app.node()
        flow = Flow(read_flow_id(self.id))
        async with node.follower.follow(self.id) as following:
            page = await node.logs.events(self.id)
            if not page:
                raise UnknownFlow(f'no flow "{self.id}" exists')
            while True:
                for shape in show_events(flow, page):
                    if flow.version >= after:
                        yield shape
                if flow.is_deactivated or (not page and (not follow or flow.is_imported)):
                    return
                if not page:
                    await following.wait()
                page = await _patiently(following, partial(node.logs.beyond, flow))

    async def watch(self, *, interval_ms: int = WATCH_INTERVAL_MS) -> AsyncGenerator[dict[str, JSON], None]:
        """Gives how far the flow is (see `progress.progress`), and again whenever it went on, until it is
        deactivated; at most once an interval. An imported flow is given once.

        Raises `UnknownFlow`.
        """
        node = await self._app.node()
        flow = Flow(read_flow_id(self.id))
        async with node.follower.follow(self.id) as following:
            await node.logs.catch_up([flow])
            if flow.version == 0:
                raise UnknownFlow(f'no flow "{self.id}" exists')
            while True:
                with making_sense_of(self.id):
                    shape = progress(flow)
                yield shape
                if flow.is_deactivated or flow.is_imported:
                    return
                await asyncio.sleep(interval_ms / 1000)
                seen = flow.version
                while flow.version == seen:
                    await following.wait()
                    await _patiently(following, partial(node.logs.catch_up, [flow]))

    async def state(self, *, at: int | None = None) -> dict[str, JSON]:
        """The flow's state, as it is or as it was at a version. Raises `UnknownFlow`."""
        return flow_state(await self._app.load(self.id, at=at))

    async def cancel(self) -> bool:
        """Ends the flow as failed, with "cancelled"; False for a flow that is over already."""
        return await self._app.cancel(self.id)


async def _patiently(following: Following, ask: Callable[[], Awaitable[T]]) -> T:
    """Asks again while the server is away: whoever waits for a flow has the time."""
    while True:
        try:
            return await ask()
        except (NamespaceEmptied, HistoryLost):
            raise
        except StoreUnavailable as error:
            if following.error is not None:
                raise following.error.with_traceback(None) from None  # others raise it as well
            log.warning("a look at flow %s is tried again: %s", following.flow_id, error)
            await following.rest(ERROR_DELAY_MS)
