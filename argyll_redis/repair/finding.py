"""What a look finds, and what becomes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from argyll_redis.core.model import JSON
from argyll_redis.runtime.node import Node
from argyll_redis.store.keys import Keys

Mend = Callable[[], Awaitable[bool]]
"""Puts something right; False when the flow has gone on meanwhile, and nothing was done."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a repair may do beside looking."""

    apply: bool = False
    """Whether what is found is put right."""
    heads: bool = False
    """Whether heads that are ahead of their logs are set back, and those without a log removed."""
    dead: bool = False
    """Whether entries that nobody could read are removed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as the logs say."""

    what: str
    """Its kind, one word: see `docs/guide/repair.md`."""
    key: str
    """The Redis key that is wrong."""
    flow: str
    """Whose it is; empty when it is nobody's."""
    detail: str
    """What is wrong, and what a repair makes of it."""
    mend: Mend | None = None
    """None when nothing can be done about it, or when it was not asked for."""

    def shown(self) -> dict[str, JSON]:
        """As an answer shows it."""
        return {"what": self.what, "key": self.key, "flow": self.flow, "detail": self.detail}


@dataclass(slots=True)
class Report:
    """What a repair has found so far, and done."""

    applied: bool
    """Whether what was found is put right."""
    flows: int = 0
    """Logs that were read."""
    repairs: list[Finding] = field(default_factory=list[Finding])
    """What is, or would be, put right."""
    left: list[Finding] = field(default_factory=list[Finding])
    """What stays as it is."""

    async def take(self, finding: Finding) -> bool:
        """Puts a finding right where that is asked for, and keeps it. False when the flow has gone on
        meanwhile: then the finding is forgotten, and another look is needed."""
        if finding.mend is None:
            self.left.append(finding)
            return True
        if self.applied and not await finding.mend():
            return False
        self.repairs.append(finding)
        return True

    def shown(self) -> dict[str, JSON]:
        """As an answer shows it."""
        return {
            "flows": self.flows,
            "repairs": [each.shown() for each in self.repairs],
            "left": [each.shown() for each in self.left],
            "applied": self.applied,
        }


@dataclass(frozen=True, slots=True)
class Place:
    """Where a repair looks, and where it writes down what it finds."""

    node: Node
    keys: Keys
    options: Options
    report: Report
