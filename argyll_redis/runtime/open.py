"""Which store a URL means."""

from __future__ import annotations

from argyll_redis.errors import InvalidInput
from argyll_redis.runtime.clock import wall_ms
from argyll_redis.store.keys import Keys
from argyll_redis.store.protocol import Store


def open_store(url: str, namespace: str) -> Store:
    """Makes the store of a URL, not yet connected. `memory://` is shared within this process only.

    Raises `InvalidInput` for a URL or a namespace that cannot be used; the message holds no password.
    """
    scheme = url.partition("://")[0]
    if scheme == "memory":
        from argyll_redis.store.memory import MemoryStore

        return MemoryStore(Keys(namespace).namespace, now_ms=wall_ms)
    if scheme in ("redis", "rediss", "unix"):
        from argyll_redis.store.redis import RedisStore

        return RedisStore(url, namespace)
    if scheme in ("redis+cluster", "redis+sentinel"):
        raise InvalidInput(f"{scheme}:// is not supported yet: use redis://, rediss://, unix:// or memory://")
    raise InvalidInput(
        "the URL has no known scheme: use redis://HOST:PORT/DB, rediss://, unix:///path or memory://"
    )
