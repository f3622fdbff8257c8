"""When an item is tried again: the delay before each retry."""

from __future__ import annotations

from hashlib import blake2b

from argyll_redis.core.limits import MAX_DURATION_MS, MAX_RETRY_AFTER_MS
from argyll_redis.core.model import Backoff, Token, WorkConfig

MAX_EXPONENT = MAX_DURATION_MS.bit_length()
"""Beyond it every delay is at its cap; clamped before it is used, as 2**n grows without bound."""


def delay_ms(work: WorkConfig, *, retry: int, token: Token, attempt: int, asked_ms: int | None = None) -> int:
    """Gives the delay before a retry, in ms, at least 1 when it is computed.

    `retry` counts from 0. A delay that was asked for is taken as it is, up to a day. A computed one
    is spread by `jitter` downwards: to a part between `1 - jitter` and 1, which follows from the
    token and the attempt, so that a replay agrees and no two items agree.
    """
    if asked_ms is not None:
        return max(0, min(asked_ms, MAX_RETRY_AFTER_MS))
    base = work.init_backoff_ms
    if work.backoff is Backoff.LINEAR:
        base *= retry + 1
    elif work.backoff is Backoff.EXPONENTIAL:
        base *= 2 ** min(retry, MAX_EXPONENT)
    delay = min(base, work.max_backoff_ms)
    if work.jitter:
        digest = blake2b(f"{token}:{attempt}".encode(), digest_size=8).digest()
        part = int.from_bytes(digest) / 2**64
        delay = round(delay * (1 - work.jitter * part))
    return max(1, delay)


def retries_left(work: WorkConfig, retries: int) -> bool:
    """Whether another retry is within the budget, after so many."""
    return work.max_retries < 0 or retries < work.max_retries


def spent(work: WorkConfig, *, attempt: int, retries: int) -> str | None:
    """Says which budget is used up after an attempt that was not completed; None while there is another."""
    if work.max_attempts and attempt >= work.max_attempts:
        return f"after {attempt} attempts"
    return None if retries_left(work, retries) else f"after {retries} retries"
