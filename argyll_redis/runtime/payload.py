"""What dispatch entries say, as the core's `outbox` writes them."""

from __future__ import annotations

from dataclasses import dataclass

from argyll_redis.core.commands import (
    Cancel,
    CancelChildren,
    Command,
    Deadline,
    Expire,
    Look,
    Lose,
    LoseUndo,
    Retry,
    RetryUndo,
    TimeOut,
)
from argyll_redis.core.model import StepId, Token
from argyll_redis.core.outbox import UNDO
from argyll_redis.core.sub_flows import CHILD
from argyll_redis.errors import InvalidInput
from argyll_redis.store.protocol import CONTROL, Entry


@dataclass(frozen=True, slots=True)
class WorkReference:
    """A released attempt."""

    flow_id: str
    token: Token
    attempt: int
    version: int
    is_undo: bool = False
    """Whether it is one of the item's compensation."""

    def lost(self, by: str) -> Lose | LoseUndo:
        """What is said of it when its engine is lost."""
        return (LoseUndo if self.is_undo else Lose)(by, self.token, self.attempt)


def read_work(entry: Entry) -> WorkReference:
    """Reads an entry of a work stream. Raises `InvalidInput` for one that nobody can read."""
    return read_released(entry.payload)


def read_released(payload: str) -> WorkReference:
    """Reads what an entry of a work stream holds. Raises `InvalidInput`."""
    try:
        flow_id, token, attempt, version = payload.split(" ")
        name, undo, _ = token.partition(UNDO)
        return WorkReference(flow_id, Token(name), int(attempt), int(version), bool(undo))
    except ValueError:
        raise InvalidInput(f"a work entry is `<flow> <token> <attempt> <version>`: {payload!r}") from None


@dataclass(frozen=True, slots=True)
class ChildEnded:
    """The child of a work item has an outcome, at least at a version of its log."""

    step: StepId
    token: Token
    version: int


def read_control(entry: Entry, by: str) -> tuple[str, Command | ChildEnded]:
    """Reads an entry of a control stream. Raises `InvalidInput` for one that nobody can read."""
    match entry.payload.split(" "):
        case [flow_id, "look"] | [flow_id, "linger", _]:
            return flow_id, Look(by)
        case [flow_id, "child", step, token, version] if version.isdigit():
            return flow_id, ChildEnded(StepId(step), Token(token), int(version))
        case [flow_id, "children", step, index] if index.isdigit():
            return flow_id, CancelChildren(by, StepId(step), int(index))
        case [flow_id, "cancel"]:
            return flow_id, Cancel(CHILD + by.partition(":")[2])
        case [flow_id, "time_out"]:
            return flow_id, TimeOut(by)
        case [flow_id, "retry", token, attempt] if attempt.isdigit():
            return flow_id, Retry(by, Token(token), int(attempt))
        case [flow_id, "undo", token, attempt] if attempt.isdigit():
            return flow_id, RetryUndo(by, Token(token), int(attempt))
        case [flow_id, "expire", token, attempt] if attempt.isdigit():
            return flow_id, Expire(by, Token(token), int(attempt))
        case [flow_id, "deadline", step, *name] if name:
            return flow_id, Deadline(by, StepId(step), " ".join(name))
        case _:
            raise InvalidInput(f"no {CONTROL} entry reads like this: {entry.payload!r}")
