"""What a store sends its commands through: the connections to one server, or those to the nodes of a cluster.

`connect.py` has the first kind, `cluster_link.py` the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from argyll_redis.store.connect import Command, Reply


class Calls(Protocol):
    """Calls that an event loop waits for; `Link` says what each promises."""

    async def call(self, command: Command, *, wait_ms: int = 0, copied: str = "") -> Reply: ...
    async def pipeline(self, commands: Sequence[Command], *, copied: str = "") -> list[Reply]: ...
    async def attempts(self, commands: Sequence[Command]) -> list[Reply]: ...
    async def refuse_behind(self, id_key: str) -> None: ...
    async def close(self) -> None: ...


class BlockingCalls(Protocol):
    """Calls that block their thread; `BlockingLink` says what each promises."""

    def call(self, command: Command) -> Reply: ...
    def is_copied(self, id_key: str) -> bool: ...
    def close(self) -> None: ...


class Links(NamedTuple):
    """What one store has."""

    address: str
    """Names the place in messages, without its password."""
    commands: Calls
    waits: Calls
    """For commands that wait in Redis."""
    renewals: BlockingCalls
