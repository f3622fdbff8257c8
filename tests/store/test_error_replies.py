"""Whatever error the server answers to a call of the store, the caller gets one that it can outlive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio.to_thread
import pytest
from test_redis_connect import played

from argyll_redis.errors import NamespaceEmptied, StoreUnavailable
from argyll_redis.store.answers import ANSWERS
from argyll_redis.store.protocol import Entry, Fetch, Keep, StreamRef, Turn, partition_of
from argyll_redis.store.redis import RedisStore

pytestmark = pytest.mark.anyio

TURN = Turn(partition_of("f", 2), "f", 0, "", "tx.1")
CALLS: dict[str, Callable[[RedisStore], Awaitable[Any]]] = {
    "commit": lambda store: store.commit([TURN]),
    "fetch": lambda store: store.fetch(Fetch("e1", 1, [StreamRef(0, "work:a")])),
    "block": lambda store: store.block("e1", [(0, "work:a")], 1),
    "keep": lambda store: store.keep(Keep()),
    "renew": lambda store: anyio.to_thread.run_sync(store.renew, "e1", [], [(0, "work:a")]),
    "release": lambda store: store.release("e1", [Entry(0, "work:a", "1-0", "x")]),
    "load": lambda store: store.load([("f", 0, 1)]),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", [code for code in ANSWERS if code != "BADARG"])
async def test_an_error_reply_is_one_of_the_environment(call: str, code: str) -> None:
    """Also the answers that the store deals with itself, when they come again and again."""
    async with played(lambda _: f"-{code} 0 some:1\r\n".encode()) as url:
        store = RedisStore(url, "t", partitions=2)
        store._ids = [store._keys.id(partition) for partition in range(2)]
        try:
            with pytest.raises(StoreUnavailable) as raised:
                await CALLS[call](store)
        finally:
            await store.close()
    assert isinstance(raised.value, NamespaceEmptied) == (code == "EMPTIED")


async def test_what_cannot_be_counted_is_not_said_to_be_nothing() -> None:
    """A stream that is not there counts as empty; one that the server cannot look at now does not."""

    def busy(command: list[bytes]) -> bytes:
        replies = {
            b"SMEMBERS": b"*0\r\n",
            b"ZSCAN": b"*2\r\n$1\r\n0\r\n*0\r\n",
            b"TIME": b"*2\r\n:1\r\n:0\r\n",
        }
        return replies.get(command[0], b"-CLUSTERDOWN the cluster is down\r\n")

    async with played(busy) as url:
        store = RedisStore(url, "t", partitions=2)
        with pytest.raises(StoreUnavailable, match="cluster is down"):
            await store.queue_stats()
        await store.close()
