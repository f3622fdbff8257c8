"""Which store a URL means."""

from __future__ import annotations

from argyll_redis.errors import InvalidInput
from argyll_redis.runtime.clock import wall_ms
from argyll_redis.store.copies import Copies
from argyll_redis.store.keys import Keys
from argyll_redis.store.protocol import Store
from argyll_redis.store.url import SCHEMES


def open_store(url: str, namespace: str, *, copies: Copies | None = None) -> Store:
    """Makes the store of a URL, not yet connected. `memory://` is shared within this process only.

    `copies` is what a commit waits for. Raises `InvalidInput` for a URL or a namespace that cannot be
    used; the message holds no password.
    """
    scheme = url.partition("://")[0]
    if scheme == "memory":
        if copies:
            raise InvalidInput("memory:// has no copies to wait for (use a Redis, or do not wait)")
        from argyll_redis.store.memory import MemoryStore

        return MemoryStore(Keys(namespace).namespace, now_ms=wall_ms)
    if scheme in ("redis+cluster", "rediss+cluster"):
        from argyll_redis.store.cluster import ClusterStore

        return ClusterStore(url, namespace, copies=copies)
    if scheme in SCHEMES:
        from argyll_redis.store.redis import RedisStore

        return RedisStore(url, namespace, copies=copies)
    raise InvalidInput(
        "the URL has no known scheme: use redis://HOST:PORT/DB, rediss://, unix:///path, "
        "redis+sentinel://HOST:PORT/SERVICE, redis+cluster://HOST:PORT or memory://"
    )
