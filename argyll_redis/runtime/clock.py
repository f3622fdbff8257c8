"""The only place that reads a clock or draws at random.

Due times and leases go by the server's clock, which is known from its replies: `ServerClock` carries
the last reading on by the monotonic clock, so that a process with a wrong wall clock decides right.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable


def wall_ms() -> int:
    """This machine's wall clock, unix ms. For the store in memory, whose server is this process."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """A clock that never goes back, ms from some point."""
    return time.monotonic_ns() // 1_000_000


def new_seed() -> str:
    """128 unguessable bits as 32 hexadecimal digits."""
    return secrets.token_hex(16)


def new_id() -> str:
    """A name that no other process has: 16 hexadecimal digits."""
    return secrets.token_hex(8)


def spread_ms(limit_ms: float) -> float:
    """A delay between nothing and the limit, so that processes that collided do not do so again."""
    return random.uniform(0, limit_ms)


class ServerClock:
    """The server's clock as this process knows it. Before the first reading it shows 0."""

    def __init__(self, monotonic: Callable[[], int] = monotonic_ms) -> None:
        self._monotonic = monotonic
        self._server_ms = 0
        self._read_ms = monotonic()

    def read(self, server_ms: int) -> None:
        """Takes a reading from a reply. An older one than what the clock shows changes nothing."""
        if server_ms > self.now_ms():
            self._server_ms = server_ms
            self._read_ms = self._monotonic()

    def now_ms(self) -> int:
        """The server's time, unix ms; at most the true one, as replies take time."""
        if not self._server_ms:
            return 0
        return self._server_ms + self._monotonic() - self._read_ms

    def monotonic_ms(self) -> int:
        """For durations."""
        return self._monotonic()
