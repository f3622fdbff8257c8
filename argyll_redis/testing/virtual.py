"""Virtual time: an event loop whose clock jumps to the next timer, and processes that live in it.

An hour of waiting passes at once, and whatever runs runs in the same order every time: the loop has
one thread, no sockets, and no clock but its own. Code in it may wait for timers and for other code
in it, for nothing else.

Everything that a `Process` does runs under its name: its tasks, its timers and what wakes them. So it
can be paused like a stopped process, whose timers ring only when it goes on, and killed like one
that is gone, of which nothing runs any more.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")

LIMIT_MS = 3_600_000
"""How far the clock of a run goes unless told otherwise: an hour."""
LIMIT_CALLBACKS = 2_000_000
"""Callbacks of one run unless told otherwise; a loop that spins reaches it within seconds."""
MS = 1_000
"""Ms in a second: an event loop counts seconds, everything else here ms."""
TASKS_KEPT = 64
"""Tasks of a process after which those that are done are forgotten."""


class NothingToDo(RuntimeError):
    """Nothing is ready and no timer is set: everybody waits for somebody, or for a thread or a socket."""

    def __init__(self, now_ms: int, who: str = "") -> None:
        self.now_ms = now_ms
        waits = f" ({who})" if who else ""
        super().__init__(f"at {now_ms} ms nothing is ready and no timer is set: a deadlock{waits}")


class TookTooLong(RuntimeError):
    """A run has come to its limit of virtual time or of callbacks."""


WAITS_AT_SERVER: ContextVar[bool] = ContextVar("waits_at_server", default=False)
"""Whether what runs is a wait at a server, which ends when there is something to tell."""
_PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class Process:
    """All that runs under one name; made by `VirtualLoop.process`."""

    def __init__(self, name: str, loop: VirtualLoop) -> None:
        self.name = name
        self.born_ms = loop.now_ms()
        self.resumed_ms = self.born_ms
        """Since when it has not been paused."""
        self.is_paused = False
        self.is_dead = False
        self._loop = loop
        self._held: list[asyncio.Handle] = []
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._prune_at = TASKS_KEPT
        self._context = Context()
        self._context.run(_PROCESS.set, self)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begins a task of this process, from anywhere."""
        return self._loop.create_task(work, context=self._context.copy())

    def pause(self, ms: float) -> None:
        """Stops it for a while: nothing of it runs, and its timers ring late. Once at a time."""
        if self.is_dead or self.is_paused:
            return
        self.is_paused = True
        self._loop.hold(self, self._held)
        self._loop.call_later(ms / MS, self._resume, context=Context())

    def _resume(self) -> None:
        if self.is_paused:
            self.is_paused = False
            self.resumed_ms = self._loop.now_ms()
            self._loop.let_go(self._held)
            self._held = []

    def kill(self) -> None:
        """Ends it at once: every task is cancelled, and what is still begun in it as well."""
        if self.is_dead:
            return
        self.is_dead = True
        self._resume()
        tasks, self._tasks = list(self._tasks), {}
        for task in tasks:
            task.cancel()

    def own(self, task: asyncio.Task[Any]) -> None:
        """Takes a task that was begun in it."""
        if self.is_dead:
            task.cancel()
            return
        self._tasks[task] = None
        if len(self._tasks) >= self._prune_at:
            self._tasks = {each: None for each in self._tasks if not each.done()}
            self._prune_at = max(TASKS_KEPT, 2 * len(self._tasks))


class _Handle(asyncio.Handle):
    """A callback, made without asking whether asyncio debugs, and with nothing that only asyncio's own
    loop asks for: a run makes many."""

    __slots__ = ()

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._cancelled = False

    def cancel(self) -> None:
        """Forgets the callback; its place in the queue is dropped when its turn has come."""
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]


class _TimerHandle(asyncio.TimerHandle):
    """A callback at a time, made likewise."""

    __slots__ = ()

    def __init__(
        self, when: float, callback: Callable[..., Any], args: tuple[Any, ...], context: Context
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._cancelled = False
        self._when = when

    def cancel(self) -> None:
        """Forgets the callback; the timer is dropped when its time has come."""
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop with virtual time.

    It schedules by itself, because the loop that asyncio brings can hold nothing back for a process
    that is paused.
    """

    def __init__(self, *, limit_ms: int = LIMIT_MS, limit_callbacks: int = LIMIT_CALLBACKS) -> None:
        super().__init__()
        self.callbacks = 0
        """Callbacks run so far."""
        self.complaints: list[str] = []
        """What asyncio had to say of errors that nobody dealt with."""
        self.skip_to_s: Callable[[float | None], float | None] | None = None
        """Says how far the clock may jump over timers of processes, which then ring late. It is given when
        the next other timer rings."""
        self._own_thread = threading.get_ident()
        self._now_s = 0.0
        self._now_ms = 0
        self._limit_s = limit_ms / MS
        self._limit_callbacks = limit_callbacks
        self._queue: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timers_made = 0
        self._paused = 0
        self.get_debug = bool  # type: ignore[assignment] - every future asks, and gets False at once
        self.set_exception_handler(_complain)

    def process(self, name: str) -> Process:
        """Makes a process of this loop."""
        return Process(name, self)

    def time(self) -> float:
        return self._now_s

    def now_ms(self) -> int:
        """The virtual time, ms from the beginning of the run."""
        return self._now_ms

    # ---------------------------------------------------------------- schedule

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(callback, args, copy_context() if context is None else context)
        if self._paused:
            self._put(handle)
        else:
            self._queue.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = _TimerHandle(when, callback, args, copy_context() if context is None else context)
        self._timers_made += 1
        heappush(self._timers, (when, self._timers_made, handle))
        return handle

    def run_forever(self) -> None:
        """Runs in whichever thread it is called in."""
        self._own_thread = threading.get_ident()
        super().run_forever()

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Calls a function at once, in this thread: `asyncio.to_thread` is as good as a plain call."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    def call_soon_threadsafe(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if threading.get_ident() != self._own_thread:
            raise RuntimeError("virtual time knows no threads: nothing could tell when one is done")
        return self.call_soon(callback, *args, context=context)

    def create_task(self, coro: Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:  # type: ignore[override]
        task = asyncio.Task(coro, loop=self, **options)
        context: Context | None = options.get("context")
        process = _PROCESS.get() if context is None else context.get(_PROCESS)
        if process is not None:
            process.own(task)
        return task

    def hold(self, process: Process, held: list[asyncio.Handle]) -> None:
        """Takes what is ready of a process out of the queue; what becomes ready goes there, too."""
        self._paused += 1
        held.extend(handle for handle in self._queue if _process_of(handle) is process)
        self._queue = deque(handle for handle in self._queue if _process_of(handle) is not process)

    def let_go(self, held: list[asyncio.Handle]) -> None:
        """Puts what was held back into the queue."""
        self._paused -= 1
        self._queue.extend(held)

    def _put(self, handle: asyncio.Handle) -> None:
        if self._paused:
            process = _process_of(handle)
            if process is not None and process.is_paused:
                process._held.append(handle)  # the two are one mechanism
                return
        self._queue.append(handle)

    # -------------------------------------------------------------------- run

    def _run_once(self) -> None:
        """One round: rings the timers that are due, then runs what is ready. Overrides asyncio's own."""
        if not self._queue:
            self._skip()
        timers = self._timers
        while timers and timers[0][0] <= self._now_s:
            handle = heappop(timers)[2]
            if not handle._cancelled:  # type: ignore[attr-defined] - here and below, as asyncio's own loop does
                self._put(handle)
        due = len(self._queue)
        self.callbacks += due
        if self.callbacks > self._limit_callbacks:
            raise TookTooLong(f"{self.callbacks} callbacks by {self.now_ms()} ms")
        for _ in range(due):
            if not self._queue:
                break  # what was left belongs to a process that was paused in this round
            handle: Any = self._queue.popleft()
            if handle._cancelled:
                continue
            try:  # here, as a call for each callback would show
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                message = f"Exception in callback {handle._callback!r}"
                self.call_exception_handler({"message": message, "exception": error})

    def _skip(self) -> None:
        """Lets the clock jump to the next timer."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heappop(timers)
        if not timers:
            raise NothingToDo(self.now_ms())
        self._now_s = max(self._now_s, timers[0][0])
        if self.skip_to_s is not None:
            target_s = self.skip_to_s(self._next_own_s())
            if target_s is not None and target_s > self._now_s:
                self._now_s = target_s
        self._now_ms = int(self._now_s * MS + 0.001)  # a sum of parts of seconds may lack a little
        if self._now_s > self._limit_s:
            raise TookTooLong(f"the virtual time is {self.now_ms()} ms")

    def _next_own_s(self) -> float | None:
        """When the next timer rings that is set neither by a process nor by a wait at a server."""
        own = (when for when, _, handle in self._timers if not handle.cancelled() and _is_own(handle))
        return min(own, default=None)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Does nothing: a cancelled timer is dropped when its time has come."""

    def _write_to_self(self) -> None:
        """Does nothing: there is nothing to wake from."""

    def close(self) -> None:
        """Cancels whatever is left, lets it end, and closes."""
        if self.is_closed():
            return
        self._limit_s, self._limit_callbacks = float("inf"), self.callbacks + LIMIT_CALLBACKS
        while left := sorted(asyncio.all_tasks(self), key=lambda task: task.get_name()):
            for task in left:
                task.cancel()
            self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._queue.clear()
        self._timers.clear()
        super().close()


def _is_own(handle: asyncio.Handle) -> bool:
    context = handle._context  # type: ignore[attr-defined]
    return context.get(_PROCESS) is None and not context.get(WAITS_AT_SERVER, False)


def _process_of(handle: asyncio.Handle) -> Process | None:
    return handle._context.get(_PROCESS)  # type: ignore[attr-defined]


def _complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    assert isinstance(loop, VirtualLoop)
    error = context.get("exception")
    loop.complaints.append(f"{context.get('message')}: {error!r}" if error else str(context.get("message")))


def run_virtual(
    main: Callable[[VirtualLoop], Coroutine[Any, Any, T]],
    *,
    limit_ms: int = LIMIT_MS,
    limit_callbacks: int = LIMIT_CALLBACKS,
) -> T:
    """Runs a coroutine to its end under virtual time.

    Raises what it raises, `NothingToDo` for a deadlock, and `TookTooLong` at a limit.
    """
    loop = VirtualLoop(limit_ms=limit_ms, limit_callbacks=limit_callbacks)
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.close()
