"""What waits to be decided on one flow.

All commands of a flow in this process queue up here and are decided together; at most one turn of a
flow is in flight. The flow in the cache is changed only by whoever deals with its mailbox.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from argyll_redis.core.commands import Answer, Command, Start
from argyll_redis.core.state import Flow
from argyll_redis.errors import ArgyllError
from argyll_redis.runtime.cache import FlowCache
from argyll_redis.store.protocol import Entry, Op


class Posted:
    """A command on its way, with the entry that its turn acknowledges. Subclasses hear what becomes of it."""

    __slots__ = ("command", "entry", "ops")

    def __init__(self, command: Command | None, entry: Entry | None = None, ops: Sequence[Op] = ()) -> None:
        self.command = command
        """None only acknowledges the entry and applies the operations."""
        self.entry = entry
        self.ops = ops

    @property
    def needs_version(self) -> int:
        """The version that the flow must have reached before this is looked at."""
        return 0

    @property
    def may_be_anew(self) -> bool:
        """Whether it may be for another flow of the id than the one that is known, which may have expired."""
        return isinstance(self.command, Start)

    @property
    def next_flow(self) -> str | None:
        """The flow of what is to travel right behind it in the same call; None for nothing."""
        return None

    def next_posted(self) -> Posted:
        """Takes what travels right behind it, if that flow has nothing else on its way: else it is left
        to `succeed`."""
        raise NotImplementedError

    def arrive(self, flow: Flow) -> bool:
        """Is shown the flow's committed state before it is decided on; True when that was all."""
        del flow
        return False

    def sent(self) -> None:
        """The call that carries it is about to be sent, possibly once more."""

    def succeed(self, answer: Answer) -> None:
        """Its turn is committed."""

    def fail(self, error: BaseException) -> None:
        """It will not be committed by this process."""


class Asked(Posted):
    """A command whose answer somebody waits for."""

    __slots__ = ("answer",)

    def __init__(self, command: Command, entry: Entry | None = None) -> None:
        super().__init__(command, entry)
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def succeed(self, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(slots=True, eq=False)
class Mailbox:
    """The commands that wait for one flow, and whether the flow is being dealt with."""

    flow_id: str
    waiting: deque[Posted] = field(default_factory=deque[Posted])
    is_busy: bool = False
    """Whether it waits in the ready queue, is being read, or has a turn in flight."""
    flow: Flow | None = None
    """The flow as it was just read, whatever the cache has room for."""
    read_for: int = -1
    """The highest version that was needed when the log was last read: what is still missing of that
    does not exist. What was posted while the read was under way may need another."""
    refusals: int = 0
    """Turns refused in a row."""

    @property
    def needs_version(self) -> int:
        needs = 0
        for posted in self.waiting:
            needs = max(needs, posted.needs_version)
        return needs

    @property
    def may_be_anew(self) -> bool:
        return any(posted.may_be_anew for posted in self.waiting)

    def take(self, limit: int) -> list[Posted]:
        return [self.waiting.popleft() for _ in range(min(limit, len(self.waiting)))]

    def put_back(self, posted: list[Posted]) -> None:
        """Puts commands of a refused turn back in front, in order."""
        self.waiting.extendleft(reversed(posted))


class Desk(Protocol):
    """The committer, to whoever deals with its mailboxes: where each of them goes next."""

    cache: FlowCache

    def remember(self, flow: Flow, added_bytes: int = 0) -> None:
        """Keeps a flow in the cache, unless it is left alone."""
        ...

    def make_ready(self, box: Mailbox) -> None:
        """Has it decided on as soon as a call can carry it."""
        ...

    def go_on(self, box: Mailbox) -> None:
        """Has it decided on when anything waits in it; else its flow is free."""
        ...

    def leave_alone(self, box: Mailbox, error: ArgyllError) -> None:
        """Leaves its flow alone from now on; whatever waits in it is told why."""
        ...

    def stop(self, fatal: ArgyllError, *, boxes: Sequence[Mailbox] = ()) -> None:
        """Commits nothing any more; everybody who waits is told, in these mailboxes too."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Goes on with it beside what else is done; an error in it is a bug, and stops all."""
        ...
