"""The sync facade: `app.sync` for scripts and notebooks, which have no event loop.

One loop in a thread of its own serves all calls, so that what was started in one is followed in the
next.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from argyll_redis.core.model import JSON

if TYPE_CHECKING:
    from argyll_redis.app import Argyll
    from argyll_redis.handle import FlowHandle
    from argyll_redis.starting import Goals

T = TypeVar("T")


class SyncFlow:
    """A flow whose methods block."""

    def __init__(self, sync: SyncApp, handle: FlowHandle) -> None:
        self._sync = sync
        self._handle = handle
        self.id = handle.id

    def __repr__(self) -> str:
        return f"SyncFlow({self.id!r})"

    def result(self, timeout_ms: int | None = None) -> dict[str, JSON]:
        """Waits for the outcome; see `FlowHandle.result`."""
        return self._sync.call(self._handle.result, timeout_ms)

    def outcome(self, timeout_ms: int | None = None) -> dict[str, JSON]:
        """Waits for the outcome; see `FlowHandle.outcome`."""
        return self._sync.call(self._handle.outcome, timeout_ms)

    def events(self, after: int = 0, *, follow: bool = True) -> Generator[dict[str, JSON], None, None]:
        """Gives events as they come; see `FlowHandle.events`."""
        events = self._handle.events(after, follow=follow)

        async def next_event() -> dict[str, JSON] | None:
            return await anext(events, None)

        try:
            while (event := self._sync.call(next_event)) is not None:
                yield event
        finally:
            if self._sync.is_open:  # else the loop has ended, and all that ran in it
                self._sync.call(events.aclose)

    def state(self, *, at: int | None = None) -> dict[str, JSON]:
        """The flow's state; see `FlowHandle.state`."""
        return self._sync.call(partial(self._handle.state, at=at))

    def cancel(self) -> bool:
        """Ends the flow as failed, with "cancelled"; see `FlowHandle.cancel`."""
        return self._sync.call(self._handle.cancel)


class SyncApp:
    """The methods of an app, blocking. They may be called from several threads at a time."""

    def __init__(self, app: Argyll) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._context: AbstractContextManager[BlockingPortal] | None = None
        self._portal: BlockingPortal | None = None

    def call(self, method: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Runs any async method of the app and gives what it returns. Whoever stops waiting, as with
        Ctrl-C, cancels it."""
        future = self._begun().start_task_soon(method, *arguments)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @property
    def is_open(self) -> bool:
        """Whether the thread runs: from the first call until `close`."""
        return self._portal is not None

    def _begun(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None:
                context = self._context = start_blocking_portal()
                self._portal = context.__enter__()
                atexit.register(self.close)
            return self._portal

    def start(self, goals: Goals, init: Mapping[str, Any] | None = None, **options: Any) -> SyncFlow:
        """Starts a flow; see `Argyll.start`."""
        return SyncFlow(self, self.call(partial(self._app.start, goals, init, **options)))

    def start_many(self, requests: Iterable[Mapping[str, Any]]) -> list[SyncFlow | Exception]:
        """Starts many flows; see `Argyll.start_many`."""
        started = self.call(self._app.start_many, list(requests))
        return [each if isinstance(each, Exception) else SyncFlow(self, each) for each in started]

    def flow(self, id: str) -> SyncFlow:
        """A flow that exists, by id."""
        return SyncFlow(self, self._app.flow(id))

    def complete(self, flow: str, step: str, token: str, outputs: Mapping[str, JSON] | None = None) -> bool:
        """Completes a work item from outside; see `Argyll.complete`."""
        return self.call(self._app.complete, flow, step, token, outputs)

    def fail(self, flow: str, step: str, token: str, error: str) -> bool:
        """Fails a work item for good; see `Argyll.fail`."""
        return self.call(self._app.fail, flow, step, token, error)

    def retry_later(
        self, flow: str, step: str, token: str, error: str = "not completed", *, after_ms: int | None = None
    ) -> bool:
        """Says that a work item is not completed; see `Argyll.retry_later`."""
        return self.call(partial(self._app.retry_later, flow, step, token, error, after_ms=after_ms))

    def cancel(self, flow: str) -> bool:
        """Ends a flow as failed; see `Argyll.cancel`."""
        return self.call(self._app.cancel, flow)

    def close(self) -> None:
        """Disconnects and ends the thread. The next call begins anew."""
        with self._lock:
            portal, context = self._portal, self._context
            self._portal = self._context = None
        if portal is not None and context is not None:
            atexit.unregister(self.close)
            try:
                portal.call(self._app.close)
            finally:
                context.__exit__(None, None, None)
