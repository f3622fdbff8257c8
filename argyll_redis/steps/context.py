"""What a step's code is told about its call, and the words it can answer and start flows with.

Only what users touch lives here; nothing in it knows of engines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final


class CancelFlag:
    """Turns true once, from any thread, and never back."""

    __slots__ = ("is_set",)

    def __init__(self) -> None:
        self.is_set = False

    def set(self) -> None:
        """Turns it true. A plain assignment: readers in other threads need no lock."""
        self.is_set = True


@dataclass(frozen=True, slots=True)
class StepContext:
    """One call of a step. A parameter with this type, or of the name `ctx`, is given it."""

    flow_id: str
    step_id: str
    token: str
    """The stable name of the work item; with `attempt` it is the idempotency key of the call."""
    attempt: int
    """1 for the first start of the work item, 2 for its second, whatever made it start again."""
    deadline: int | None = None
    """When the call times out, in unix ms; None when it does not."""
    _flag: CancelFlag = field(default_factory=CancelFlag, repr=False, compare=False)

    @property
    def cancelled(self) -> bool:
        """Whether the result is no longer wanted: the flow is over, the call timed out, or its engine
        lost it. Code that runs long looks at it now and then and returns."""
        return self._flag.is_set

    def cancel(self) -> None:
        """Turns `cancelled` true; the engine does this. Safe from any thread."""
        self._flag.set()


class Accepted(Enum):
    """The type of `ACCEPTED`."""

    ACCEPTED = "accepted"

    def __repr__(self) -> str:
        return "ACCEPTED"


ACCEPTED: Final = Accepted.ACCEPTED
"""Returned by a step whose outcome comes later, from elsewhere, by its token."""


class Values:
    """Several values of one attribute, in order, for `init`; a list there is one value."""

    __slots__ = ("values",)

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __eq__(self, other: object) -> bool:
        return self.values == other.values if isinstance(other, Values) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.values)

    def __repr__(self) -> str:
        return f"Values({', '.join(map(repr, self.values))})"
