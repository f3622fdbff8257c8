"""Where the processor time of a process goes: its stack is looked at every so often, and each look counts
for the part of the journey that it finds there.

Looks follow processor time, not the clock, so waiting counts for nothing and a busy machine does not
shift the shares. A look costs a few microseconds; nothing is traced, so small functions are not made
to look expensive. Time within C code counts for the Python function that called it.
"""

from __future__ import annotations

import gc
import signal
import time
from collections import Counter
from collections.abc import Mapping
from types import FrameType
from typing import Any, Self

LOOK_EVERY_S = 0.001
"""Processor time between two looks; the kernel may make it as long as its tick (1 to 10 ms)."""

OTHER = "event loop, and what has no name here"

PARTS: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "start: read the request, plan, make the command": (("argyll_redis/starting.py", ()),),
    "decide: commands to events, rules to a fixed point": (("core/decide.py", ("decide",)),),
    "outbox: events to effects, effects to operations": (
        ("core/outbox.py", ()),
        ("runtime/effects.py", ()),
    ),
    "encode: events to JSON": (("store/codec.py", ("encode",)), ("core/events.py", ("data",))),
    "keep: make the draft the flow's state": (("core/decide.py", ("keep",)), ("runtime/cache.py", ())),
    "pack: turns to arguments, arguments to bytes": (
        ("store/wire.py", ("pack_turns", "pack_fetch", "number")),
        ("store/connect.py", ("call", "pipeline", "attempts")),
        ("store/redis.py", ("_run", "_keys_of", "commit")),
    ),
    "socket: send, wait, receive, parse": (
        ("store/connect.py", ("_exchange", "_replies", "_read", "is_stale")),
        ("asyncio/selector_events.py", ()),
        ("asyncio/streams.py", ()),
        ("asyncio/unix_events.py", ()),
    ),
    "unpack: replies to answers and entries": (
        (
            "store/wire.py",
            ("unpack_turn", "unpack_entry", "unpack_found", "unpack_event", "unpack_head", "unpack_feed"),
        ),
        ("runtime/payload.py", ()),
    ),
    "handler: make the job, its task, call the function": (
        ("runtime/engine.py", ("_begin", "_run", "begin", "_report")),
        ("steps/python.py", ()),
        ("steps/context.py", ()),
    ),
    "deliver: entries in hand, slots, which streams to ask": (
        ("runtime/engine.py", ()),
        ("runtime/work.py", ()),
    ),
    "committer: mailboxes, turns, batches, answers": (
        ("runtime/committer.py", ()),
        ("runtime/turns.py", ()),
        ("runtime/mailbox.py", ()),
    ),
    "wait for results: handles, the feed": (
        ("argyll_redis/handle.py", ()),
        ("runtime/follower.py", ()),
        ("core/collect.py", ("result_of",)),
        ("store/reads.py", ("feed", "heads")),
    ),
    "keeper: heartbeat, due entries, leases, sweep": (
        ("runtime/keeper.py", ()),
        ("runtime/renewer.py", ()),
        ("runtime/sweep.py", ()),
    ),
    "the bench itself": (("bench/tasks.py", ("burst", "_started", "check")),),
}
"""Each part by where it is: the end of a file's path, and functions there (none: all). The innermost
frame that has a part decides, so a part begins where its functions are entered."""


class Profiler:
    """Looks at the main thread while it is entered: `with Profiler() as profiler`."""

    def __init__(self) -> None:
        self._looks: Counter[str] = Counter()
        self._part_of: dict[Any, str | None] = {}
        self._cpu_s = 0.0
        self._gc_s = 0.0
        self._gc_since_s = 0.0

    def __enter__(self) -> Self:
        signal.signal(signal.SIGPROF, self._look)
        gc.callbacks.append(self._collecting)
        self._cpu_s = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, LOOK_EVERY_S, LOOK_EVERY_S)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        self._cpu_s = time.process_time() - self._cpu_s
        gc.callbacks.remove(self._collecting)
        signal.signal(signal.SIGPROF, signal.SIG_IGN)

    def found(self) -> dict[str, Any]:
        """Looks by part, the processor time of all threads, and the part of it spent collecting garbage
        (which counts for whatever part it interrupted)."""
        return {"looks": dict(self._looks), "cpu_s": self._cpu_s, "gc_s": self._gc_s}

    def _look(self, number: int, frame: FrameType | None) -> None:
        del number
        while frame is not None:
            code = frame.f_code
            if code not in self._part_of:
                self._part_of[code] = part_of(code.co_filename, code.co_name)
            if part := self._part_of[code]:
                self._looks[part] += 1
                return
            frame = frame.f_back
        self._looks[OTHER] += 1

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        del info
        now_s = time.thread_time()
        if phase == "start":
            self._gc_since_s = now_s
        else:
            self._gc_s += now_s - self._gc_since_s


def part_of(path: str, function: str) -> str | None:
    """The part that a function begins, or None when that of its caller goes on."""
    for part, places in PARTS.items():
        for place, functions in places:
            if path.endswith(f"/{place}") and (not functions or function in functions):
                return part
    return None
