"""The breaker: while the server refuses writes, nothing is begun whose outcome could not be recorded.

A server that is out of memory, cannot save or lacks its replicas still hands out entries. An engine
that went on would make call after call and forget what they came to. So whoever is refused says so
here, and sends the same again and again: each such call is the probe that shows when writes go
through. An idle engine commits nothing; its keeper's round, once a second, is its probe.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable

from argyll_redis.errors import StoreUnfit

log = logging.getLogger(__name__)


class Breaker:
    """Open while any call of this process is refused for a reason that stops claiming."""

    def __init__(self) -> None:
        self.opened = 0
        """How often it has opened so far."""
        self.on_close: Callable[[], None] | None = None
        """Told when writes go through again."""
        self._refused: dict[Hashable, str] = {}
        """What is being refused, and with which words; the oldest first."""

    @property
    def is_open(self) -> bool:
        return bool(self._refused)

    @property
    def reason(self) -> str:
        """Why nothing is begun; empty while it is closed."""
        return next(iter(self._refused.values()), "")

    def refuse(self, call: Hashable, error: StoreUnfit) -> None:
        """Notes that a call was refused; it will be sent again."""
        if not self._refused:
            self.opened += 1
            log.warning("nothing is begun until Redis takes writes again: %s", error)
        self._refused[call] = str(error)

    def settle(self, call: Hashable) -> None:
        """Notes that a call has gone through, or is not sent any more."""
        if self._refused.pop(call, None) is None or self._refused:
            return
        log.warning("Redis takes writes again: work is begun as before")
        if self.on_close is not None:
            self.on_close()
