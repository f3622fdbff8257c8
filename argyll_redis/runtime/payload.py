"""What dispatch entries say, as the core's `outbox` writes them."""

from __future__ import annotations

from dataclasses import dataclass

from argyll_redis.core.commands import Command, Expire, Look, Retry, TimeOut
from argyll_redis.core.model import Token
from argyll_redis.errors import InvalidInput
from argyll_redis.store.protocol import CONTROL, Entry


@dataclass(frozen=True, slots=True)
class WorkReference:
    """A released attempt."""

    flow_id: str
    token: Token
    attempt: int
    version: int


def read_work(entry: Entry) -> WorkReference:
    """Reads an entry of a work stream. Raises `InvalidInput` for one that nobody can read."""
    try:
        flow_id, token, attempt, version = entry.payload.split(" ")
        return WorkReference(flow_id, Token(token), int(attempt), int(version))
    except ValueError:
        raise InvalidInput(
            f"a work entry is `<flow> <token> <attempt> <version>`: {entry.payload!r}"
        ) from None


def read_control(entry: Entry, by: str) -> tuple[str, Command]:
    """Reads an entry of a control stream. Raises `InvalidInput` for one that nobody can read."""
    match entry.payload.split(" "):
        case [flow_id, "look"] | [flow_id, "linger", _]:
            return flow_id, Look(by)
        case [flow_id, "time_out"]:
            return flow_id, TimeOut(by)
        case [flow_id, "retry", token, attempt] if attempt.isdigit():
            return flow_id, Retry(by, Token(token), int(attempt))
        case [flow_id, "expire", token, attempt] if attempt.isdigit():
            return flow_id, Expire(by, Token(token), int(attempt))
        case _:
            raise InvalidInput(f"no {CONTROL} entry reads like this: {entry.payload!r}")
