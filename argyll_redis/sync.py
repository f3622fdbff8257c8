"""The sync facade: `app.sync` for scripts and notebooks, which have no event loop.

One loop in a thread of its own serves all calls, so that what was started in one is followed in the
next.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from argyll_redis.core.model import JSON

if TYPE_CHECKING:
    from argyll_redis.app import Argyll
    from argyll_redis.handle import FlowHandle

T = TypeVar("T")


class SyncFlow:
    """A flow whose methods block."""

    def __init__(self, sync: SyncApp, handle: FlowHandle) -> None:
        self._sync = sync
        self._handle = handle
        self.id = handle.id

    def result(self, timeout_ms: int | None = None) -> dict[str, JSON]:
        """Waits for the outcome; see `FlowHandle.result`."""
        return self._sync.call(self._handle.result, timeout_ms)

    def events(self, after: int = 0, *, follow: bool = True) -> Iterator[dict[str, JSON]]:
        """Gives events as they come; see `FlowHandle.events`."""
        events = self._handle.events(after, follow=follow)

        async def next_event() -> dict[str, JSON] | None:
            return await anext(events, None)

        while (event := self._sync.call(next_event)) is not None:
            yield event

    def state(self, *, at: int | None = None) -> dict[str, JSON]:
        """The flow's state; see `FlowHandle.state`."""
        return self._sync.call(partial(self._handle.state, at=at))

    def cancel(self) -> None:
        """Ends the flow as failed, with "cancelled"."""
        self._sync.call(self._handle.cancel)


class SyncApp:
    """The methods of an app, blocking."""

    def __init__(self, app: Argyll) -> None:
        self._app = app
        self._context: AbstractContextManager[BlockingPortal] | None = None
        self._portal: BlockingPortal | None = None

    def call(self, method: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        """Runs any async method of the app and gives what it returns."""
        if self._portal is None:
            self._context = start_blocking_portal()
            self._portal = self._context.__enter__()
            atexit.register(self.close)
        return self._portal.call(method, *arguments)

    def start(self, goals: Sequence[Any], init: Mapping[str, Any] | None = None, **options: Any) -> SyncFlow:
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

    def retry_later(self, flow: str, step: str, token: str, error: str = "not completed") -> bool:
        """Says that a work item is not completed; see `Argyll.retry_later`."""
        return self.call(self._app.retry_later, flow, step, token, error)

    def cancel(self, flow: str) -> bool:
        """Ends a flow as failed; see `Argyll.cancel`."""
        return self.call(self._app.cancel, flow)

    def close(self) -> None:
        """Disconnects and ends the thread. The next call begins anew."""
        portal, context = self._portal, self._context
        self._portal = self._context = None
        if portal is not None and context is not None:
            portal.call(self._app.close)
            context.__exit__(None, None, None)
            atexit.unregister(self.close)
