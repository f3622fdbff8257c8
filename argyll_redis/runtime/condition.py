"""What is wrong with a process that works: flows that it leaves alone, and writes that are refused.

The engine says it with each heartbeat, so that whoever looks at the namespace learns it: to the store
it is text. A flow is left alone by the process that found out; others find out when they come to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from argyll_redis.core.limits import MAX_ERROR_CHARS
from argyll_redis.errors import ArgyllError, HistoryLost, UnknownEvent
from argyll_redis.runtime.breaker import Breaker
from argyll_redis.store.codec import decode, encode

MAX_LEFT_ALONE = 10_000
"""Flows that a process remembers to leave alone; with more the oldest are forgotten, and found out anew."""
MAX_TOLD = 5
"""Flows that a heartbeat names."""
MAX_TOLD_CHARS = 300
"""Of a reason in a heartbeat."""

HISTORY_LOST, UNKNOWN_EVENT, BUG = KINDS = ("history_lost", "unknown_event", "bug")


def kind_of(error: ArgyllError) -> str:
    """Why a flow is left alone, in one word: its history was lost, a newer version has written to it, or
    something happened that never should."""
    if isinstance(error, HistoryLost):
        return HISTORY_LOST
    return UNKNOWN_EVENT if isinstance(error, UnknownEvent) else BUG


class LeftAlone:
    """The flows that this process leaves alone, and why."""

    def __init__(self) -> None:
        self.flows: dict[str, ArgyllError] = {}

    def add(self, flow_id: str, error: ArgyllError) -> None:
        self.flows[flow_id] = error
        if len(self.flows) > MAX_LEFT_ALONE:
            del self.flows[next(iter(self.flows))]

    def counted(self) -> dict[str, int]:
        """How many there are, by kind."""
        kinds = Counter(kind_of(error) for error in self.flows.values())
        return {kind: kinds[kind] for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Condition:
    """How a process is, as a heartbeat tells it."""

    refused: str = ""
    """Why it begins nothing; empty when it does."""
    left_alone: int = 0
    """Flows that it leaves alone."""
    flows: Mapping[str, str] = field(default_factory=dict[str, str])
    """The latest of these, with the reasons."""

    def to_text(self) -> str:
        """What the heartbeat carries; empty when all is well."""
        if not self.refused and not self.left_alone:
            return ""
        told = {"refused": self.refused, "left_alone": self.left_alone, "flows": dict(self.flows)}
        return encode(told).decode()


def condition_of(breaker: Breaker, left_alone: LeftAlone) -> Condition:
    """How this process is."""
    latest = list(left_alone.flows)[-MAX_TOLD:]
    return Condition(
        breaker.reason[:MAX_ERROR_CHARS],
        len(left_alone.flows),
        {flow_id: str(left_alone.flows[flow_id])[:MAX_TOLD_CHARS] for flow_id in latest},
    )


def read_condition(text: str) -> Condition:
    """Reads what a heartbeat carried. What a later version has put there otherwise says nothing."""
    try:
        told: Any = decode(text.encode() or b"{}")
        return Condition(
            str(told.get("refused", "")),
            int(told.get("left_alone", 0)),
            {str(flow_id): str(reason) for flow_id, reason in told.get("flows", {}).items()},
        )
    except (ValueError, TypeError, AttributeError):
        return Condition()
