"""Garbage on a real server: fields, members, entries and whole keys that no version of ours has written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import redis

from argyll_redis import Argyll
from argyll_redis.runtime.embedded import EmbeddedServer
from argyll_redis.store.redis import RedisStore
from tests.fuzz.cases import Wrong
from tests.fuzz.draw import Draw
from tests.fuzz.flows import STARTS, app_on, filled
from tests.fuzz.logs import LIMIT_S, look_at, run_beside

NAMESPACE = "fuzz"
ENGINE_PERCENT = 10
FLOWS = tuple(start["id"] for start in STARTS if start["id"] != "chain")


class Server:
    """Cases of what somebody with access to the server may do to it, by mistake or not."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._embedded = EmbeddedServer()
        found = self._embedded.__enter__()
        if found.pid is None:
            raise RuntimeError("no redis-server or valkey-server on PATH")
        self._url = found.url
        self._client = redis.Redis.from_url(found.url, protocol=2)
        self._said: Any = None
        self._runner.run(filled(self._make_store))
        self._kept = {key: self._client.dump(key) for key in self._client.keys("*")}

    def close(self) -> None:
        self._runner.close()
        self._client.close()
        self._embedded.__exit__()

    def shown(self) -> str:
        return repr(self._said)

    def run(self, draw: Draw) -> None:
        self._mend()
        self._said = [draw.one(_HURTS)(draw, self._client) for _ in range(1 + draw.number(3))]
        try:
            self._runner.run(self._case(draw))
        except TimeoutError:
            raise Wrong(f"not over within {LIMIT_S} s") from None

    def _make_store(self) -> RedisStore:
        return RedisStore(self._url, NAMESPACE, partitions=1)

    def _mend(self) -> None:
        """Puts everything back as it was."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.flushall()
        for key, dumped in self._kept.items():
            pipeline.restore(key, 0, dumped)
        pipeline.execute()

    async def _case(self, draw: Draw) -> None:
        app: Argyll = app_on(self._make_store)
        try:
            async with asyncio.timeout(LIMIT_S):
                if draw.chance(ENGINE_PERCENT):
                    await run_beside(app, FLOWS)
                else:
                    await look_at(app, draw.one(FLOWS), draw)
        finally:
            await app.close()


# ------------------------------------------------------------------------ hurt

Hurt = Callable[[Draw, Any], Any]


def _key(name: str) -> str:
    return f"{{{NAMESPACE}:0}}:{name}"


def _bytes(draw: Draw) -> bytes:
    if draw.chance(30):
        return bytes(draw.number(256) for _ in range(draw.number(12)))
    return draw.text().encode("utf-8", "surrogatepass")


def _hurt_head(draw: Draw, client: Any) -> Any:
    key, field = _key(f"head:{draw.one(FLOWS)}"), draw.one(("v", "tx", "at", "t0", "sealed", ".status", "x"))
    if draw.chance(30):
        client.hdel(key, field)
        return key, field
    value = _bytes(draw)
    client.hset(key, field, value)
    return key, field, value


def _hurt_log(draw: Draw, client: Any) -> Any:
    """Writes a log anew with one entry that has other fields."""
    key = _key(f"flow:{draw.one(FLOWS)}")
    entries = client.xrange(key)
    client.delete(key)
    place = draw.number(len(entries))
    for number, (id, fields) in enumerate(entries):
        if number == place:
            fields = dict(fields)
            match draw.number(3):
                case 0:
                    fields[draw.one(list(fields))] = _bytes(draw)
                case 1:
                    fields.pop(draw.one(list(fields)))
                case _:
                    fields[_bytes(draw)] = _bytes(draw)
            hurt = (key, id, fields)
        client.xadd(key, fields or {b"x": b""}, id=id)
    return hurt


def _add_entry(draw: Draw, client: Any) -> Any:
    key = _key(draw.one(("control", "work:default", "work:builtin", "work:slow", "dead")))
    field, value = draw.one((b"r", b"r", b"", _bytes(draw))), _bytes(draw)
    client.xadd(key, {field: value})
    return key, field, value


def _add_member(draw: Draw, client: Any) -> Any:
    key = _key(draw.one(("due", "due", "due", "open", "children", "done:completed", "expire")))
    member = draw.one((b"", b"control ", b"work:default ", b"work:nowhere ", b"work: ")) + _bytes(draw)
    client.zadd(key, {member: draw.one((0, 1, -1, 2**53, 1.5))})
    return key, member


def _add_hint(draw: Draw, client: Any) -> Any:
    value = _bytes(draw)
    client.xadd(_key("feed"), {b"r": value})
    return "feed", value


def _hurt_plan(draw: Draw, client: Any) -> Any:
    key = draw.one(sorted(client.keys(_key("plan:*"))))
    value = _bytes(draw)
    client.hset(key, draw.one(("b", "n", "x")), value)
    return key, value


def _hurt_engine(draw: Draw, client: Any) -> Any:
    """An engine that says of itself what no engine says."""
    id = _bytes(draw) or b"x"
    client.zadd(f"{{{NAMESPACE}}}:engines", {id: 1})
    fields = {name: _bytes(draw) for name in ("queues", "handlers", "lease_ms", "state") if draw.chance(90)}
    if fields:
        client.hset(f"{{{NAMESPACE}}}:engine:".encode() + id, mapping=fields)
    return "engine", id, fields


def _drop_key(draw: Draw, client: Any) -> Any:
    """Deletes a key, or puts one of another type in its place; not those by which a namespace is known."""
    known = (b"meta", b"}:id")
    key = draw.one(sorted(key for key in client.keys("*") if not key.endswith(known)))
    client.delete(key)
    if draw.chance(50):
        client.set(key, _bytes(draw))
        return "another type", key
    return "gone", key


def _add_queue(draw: Draw, client: Any) -> Any:
    name = _bytes(draw)
    client.sadd(f"{{{NAMESPACE}}}:queues", name)
    return "queue", name


_HURTS: tuple[Hurt, ...] = (
    _hurt_head,
    _hurt_head,
    _hurt_log,
    _hurt_log,
    _add_entry,
    _add_entry,
    _add_member,
    _add_member,
    _add_hint,
    _hurt_plan,
    _hurt_engine,
    _drop_key,
    _add_queue,
)
