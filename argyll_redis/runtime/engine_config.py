"""What an engine is told to be: what it serves, how much at a time, and how long it may be silent."""

from __future__ import annotations

from dataclasses import dataclass

from argyll_redis.core.model import StepType, handler_of
from argyll_redis.store.protocol import EngineInfo


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How an engine works. Times are ms."""

    id: str
    queues: tuple[str, ...] = ("builtin",)
    """Those it serves, `builtin` among them."""
    handlers: tuple[str, ...] = ()
    """Names of the python functions it has."""
    types: tuple[StepType, ...] = ()
    """Those it can do that not every engine can."""
    concurrency: int = 100
    lease_ms: int = 10_000
    grace_ms: int = 30_000
    """How long a drain waits for running work."""
    webhook_base_url: str = ""
    """What comes before `/webhook/...`; empty when outcomes cannot be posted anywhere."""
    renew_in_thread: bool = True
    """False only under a virtual clock, where no thread may wait."""

    @property
    def info(self) -> EngineInfo:
        handlers = (*self.handlers, *map(handler_of, self.types))
        return EngineInfo(self.id, self.queues, handlers, self.lease_ms)
