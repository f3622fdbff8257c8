"""For who only looks at a namespace: one that is not there is not created by that."""

from __future__ import annotations

from argyll_redis.errors import InvalidInput, StoreUnfit
from argyll_redis.store.keys import LAYOUT
from argyll_redis.store.protocol import Store


async def find_namespace(store: Store, namespace: str, *, otherwise: str) -> None:
    """Sees that a namespace is there, and as this version knows it; from then on the store reads it.

    Raises `InvalidInput` when there is none, with what follows from that (`otherwise`, with its mend), and
    `StoreUnfit` for one of another layout.
    """
    found = await store.peek()
    if found is None:
        raise InvalidInput(f"namespace {namespace} does not exist there: {otherwise}")
    if found.layout != LAYOUT:
        raise StoreUnfit(
            f"namespace {namespace} has layout {found.layout}, and this version knows {LAYOUT} "
            "(use the version of argyll that made it, or a newer one)"
        )
