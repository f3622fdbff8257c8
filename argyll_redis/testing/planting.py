"""How a known bug is planted: before the network, at the server, or in place of a rule while it lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.memory_types import DispatchStream
from argyll_redis.store.protocol import Store
from argyll_redis.testing.faults import Before, FaultyStore
from argyll_redis.testing.stage import Bug

BUGS: dict[str, Bug] = {}
"""Every known bug by its name; `planted` sees to it that all are here."""


def plant(name: str, what: str, **how: Any) -> None:
    """Adds a bug. `how` are the other fields of `Bug`."""
    if name in BUGS:
        raise ValueError(f"two bugs are called {name}")
    BUGS[name] = Bug(name, what, **how)


def before(kind: type[Before]) -> Callable[[FaultyStore], Store]:
    """A bug that goes wrong between two calls."""
    return lambda store: cast(Store, kind(store))


def at_server(kind: type[MemoryStore]) -> Callable[[MemoryServer], Store]:
    """A bug that goes wrong within one call."""
    return lambda server: kind(server=server)


@contextmanager
def replacing(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    """Replaces a rule or a method for a while. It must be there: a bug that is planted nowhere is not
    found, and that would prove nothing."""
    original = getattr(owner, name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)


def server_of(store: Before) -> MemoryServer:
    """The server behind a store."""
    return cast(MemoryStore, store.store.inner).server


def entries_of(stream: DispatchStream) -> list[tuple[str, str, bool]]:
    """Id and payload of every entry of a stream, and whether it is pending."""
    pending = [(entry, each.payload, True) for entry, each in stream._pending.items()]
    return pending + [(entry, payload, False) for entry, payload in stream._waiting.items()]
