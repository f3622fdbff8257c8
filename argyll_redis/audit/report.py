"""What an audit has found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from argyll_redis.core.audit import Violation
from argyll_redis.core.model import JSON

MAX_FOUND = 10_000
"""Violations that a report lists; more are only counted."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something in a namespace, or between it and a journal, that no rule allows."""

    invariant: str
    """A key of `core.audit.INVARIANTS`."""
    flow: str
    """Whose; empty when it is about no flow."""
    version: int
    """Of the event that shows it; 0 when no event does."""
    message: str


@dataclass(slots=True)
class Report:
    """What an audit has looked at, and what is wrong."""

    flows: int = 0
    """Those that were read, children among them."""
    events: int = 0
    violations: list[Found] = field(default_factory=list[Found])
    """In the order of flows and versions, once the audit is over."""
    more: int = 0
    """Violations beyond those that are listed."""
    unchecked: dict[str, str] = field(default_factory=dict[str, str])
    """Invariants of which nothing could be said, each with the reason."""

    @property
    def count(self) -> int:
        """How many violations there are."""
        return len(self.violations) + self.more

    def add(self, invariant: str, message: str, *, flow: str = "", version: int = 0) -> None:
        """Takes in a violation."""
        if len(self.violations) < MAX_FOUND:
            self.violations.append(Found(invariant, flow, version, message))
        else:
            self.more += 1

    def add_all(self, flow: str, violations: Iterable[Violation]) -> None:
        """Takes in what is wrong with a flow."""
        for each in violations:
            self.add(each.invariant, each.message, flow=flow, version=each.version)

    def close(self) -> None:
        """Puts the violations in order: flows are not read in any."""
        self.violations.sort(key=lambda each: (each.flow, each.version, each.invariant, each.message))

    def as_json(self) -> dict[str, JSON]:
        """`{flows, violations: [{invariant, flow, version, message}]}`."""
        violations: list[JSON] = [
            {
                "invariant": each.invariant,
                "flow": each.flow,
                "version": each.version,
                "message": each.message,
            }
            for each in self.violations
        ]
        return {"flows": self.flows, "violations": violations}
