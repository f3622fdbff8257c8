"""What an engine posts into mailboxes: entries whose flow must be read first, and what is said of entries."""

from __future__ import annotations

from typing import Protocol

from argyll_redis.core.commands import Answer, Command
from argyll_redis.core.state import Flow
from argyll_redis.runtime.intake import Intake
from argyll_redis.runtime.mailbox import Posted
from argyll_redis.runtime.work import Hand, InHand


class Beginner(Protocol):
    """The engine, as what it has posted sees it."""

    hand: Hand
    intake: Intake

    def begin(self, held: InHand, flow: Flow) -> None:
        """Runs an attempt that is still the current one."""
        ...

    def leave(self, held: InHand, error: BaseException) -> None:
        """Leaves an entry of a flow that this process must not touch."""
        ...


class Arrival(Posted):
    """An entry whose flow this process does not know well enough: it is begun once the flow is read."""

    __slots__ = ("engine", "held")

    def __init__(self, engine: Beginner, held: InHand) -> None:
        super().__init__(None)
        self.engine = engine
        self.held = held

    @property
    def needs_version(self) -> int:
        return self.held.work.version if self.held.work else 0

    @property
    def may_be_anew(self) -> bool:
        return True

    def arrive(self, flow: Flow) -> bool:
        self.engine.begin(self.held, flow)
        return True

    def fail(self, error: BaseException) -> None:
        self.engine.leave(self.held, error)


class Settling(Posted):
    """What is said of an entry in hand, in the turn that acknowledges it."""

    __slots__ = ("engine", "held")

    def __init__(self, engine: Beginner, held: InHand, command: Command | None) -> None:
        super().__init__(command, held.entry)
        self.engine = engine
        self.held = held

    def sent(self) -> None:
        self.engine.intake.free_slot(self.held)

    def succeed(self, answer: Answer) -> None:
        self.engine.hand.drop(self.held)

    def fail(self, error: BaseException) -> None:
        self.engine.leave(self.held, error)
