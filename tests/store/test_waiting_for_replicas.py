"""Commits that wait for copies: nothing is answered or begun that only one server knows.

A replica is cut off by having it follow a port where nobody listens: stopping it would not do, as what it
has not read waits in the buffers of its socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import pytest
import redis
from own_redis import OwnRedis, own_processes
from store_words import Flow, until

from argyll_redis.errors import NamespaceEmptied, StoreUnavailable, StoreUnfit
from argyll_redis.store.copies import Copies, Copying, refuse_unable
from argyll_redis.store.protocol import Dispatch, Fetch, Refused
from argyll_redis.store.redis import RedisStore

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(120)]

T = TypeVar("T")

PATIENT = Copies(1, limit_ms=10_000)
"""For what has its copy soon, on a busy machine, too."""
SHORT = Copies(1, limit_ms=100)
"""For what gets no copy."""


@pytest.fixture
def pair() -> Iterator[tuple[OwnRedis, OwnRedis]]:
    """A master, and a replica that has all of it."""
    with own_processes() as make:
        master, replica = make("--repl-diskless-sync-delay", "0").start(), make().start()
        replica.follow(master)
        yield master, replica


@asynccontextmanager
async def opened(master: OwnRedis, copies: Copies = PATIENT) -> AsyncIterator[RedisStore]:
    store = RedisStore(master.url, "t", partitions=2, copies=copies)
    try:
        await store.open()
        await store.add_queues(["a"])
        yield store
    finally:
        await store.close()


async def persistently(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks again until there is an answer, as an engine does."""
    while True:
        try:
            return await ask()
        except StoreUnavailable:
            continue


async def test_a_commit_that_has_its_copy_is_answered(pair: tuple[OwnRedis, OwnRedis]) -> None:
    master, replica = pair
    async with opened(master) as store:
        flow = Flow(store)
        await flow.commit()
        with replica.client() as client:
            assert client.xlen(store._keys.of(flow.partition, f"flow:{flow.id}")) == 1


async def test_a_commit_without_a_copy_is_not_answered_and_counts_when_it_is_sent_again(
    pair: tuple[OwnRedis, OwnRedis],
) -> None:
    """Sent again it finds its own transaction, and even that is answered only when there is a copy."""
    master, replica = pair
    async with opened(master, SHORT) as store:
        flow = Flow(store)
        replica.cut_off()
        turn = flow.turn()
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"not copied .* to 1 replica within 100 ms"):
                await store.commit([turn])
        replica.follow(master)
        reply = await persistently(lambda: store.commit([turn]))
        (refused,) = reply.turns
        assert isinstance(refused, Refused)
        assert [each.tx for each in refused.missed] == [turn.tx]


async def test_what_belongs_to_no_partition_waits_by_the_id_that_the_namespace_has(
    pair: tuple[OwnRedis, OwnRedis],
) -> None:
    """On a cluster the catalog may be on a node that has no partition."""
    master, replica = pair
    async with opened(master, SHORT) as store:
        meta = store._keys.meta

        async def ask() -> bytes:
            return await store._commands.call(("HGET", meta, "ready"), copied=meta)

        assert await persistently(ask) == b"1"
        replica.cut_off()
        with pytest.raises(StoreUnavailable, match="not copied"):
            await ask()


async def test_what_was_fetched_without_a_copy_stays_pending_and_no_more_is_taken(
    pair: tuple[OwnRedis, OwnRedis],
) -> None:
    """The entry is found by a renewal, once there is a copy of its delivery."""
    master, replica = pair
    async with opened(master, SHORT) as store:
        flow = Flow(store)
        work = [Dispatch("work:a", f"w{n}") for n in range(3)]
        await persistently(lambda: store.commit([flow.turn(*work)]))
        replica.cut_off()
        fetch = Fetch("e1", 1, [flow.ref()])
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.fetch(fetch)
        with pytest.raises(StoreUnavailable):
            await store.block("e1", [(flow.partition, "work:a")], 10)
        streams = [(flow.partition, "work:a")]
        assert store.renew("e1", [], streams).unnamed == ()
        with master.client() as client:
            assert client.xpending(store._keys.of(flow.partition, "work:a"), "engines")["pending"] == 1
        replica.follow(master)
        found: list[str] = []

        async def is_found() -> bool:
            found[:] = [each.payload for each in store.renew("e1", [], streams).unnamed]
            return bool(found)

        await until(is_found)
        assert found == ["w0"]


async def test_a_commit_takes_nothing_along_while_copies_are_behind(pair: tuple[OwnRedis, OwnRedis]) -> None:
    master, replica = pair
    async with opened(master, SHORT) as store:
        flow = Flow(store)
        work = [Dispatch("work:a", f"w{n}") for n in range(3)]
        replica.cut_off()
        turn = flow.turn(*work)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.commit([turn], Fetch("e1", 1, [flow.ref()]))
        with master.client() as client:
            assert client.xpending(store._keys.of(flow.partition, "work:a"), "engines")["pending"] == 1


async def test_what_waits_for_work_gets_it_only_with_its_copy(pair: tuple[OwnRedis, OwnRedis]) -> None:
    """Another process has committed the work and its replica is away: who waits for it does not get it."""
    master, replica = pair
    async with opened(master, SHORT) as store, opened(master, Copies()) as careless:
        flow = Flow(careless)
        streams = [(flow.partition, "work:a")]
        reading = asyncio.create_task(store.block("e1", streams, 2_000))
        with master.client() as client:
            await until(is_blocked(client))
        replica.cut_off()
        await flow.commit(Dispatch("work:a", "w"))
        with pytest.raises(StoreUnavailable, match="not copied"):
            await reading


async def test_a_wait_for_control_entries_needs_no_copies(pair: tuple[OwnRedis, OwnRedis]) -> None:
    """What they lead to is a commit, which waits for its own."""
    master, replica = pair
    async with opened(master, SHORT) as store, opened(master, Copies()) as careless:
        replica.cut_off()
        flow = Flow(careless)
        await flow.commit(Dispatch("control", "look"))
        entries = await store.block("e1", [(flow.partition, "control")], 2_000)
        assert [each.payload for each in entries] == ["look"]


async def test_what_is_read_of_a_log_has_its_copy(pair: tuple[OwnRedis, OwnRedis]) -> None:
    """Or a start that is asked for again elsewhere would be answered by what may be lost."""
    master, replica = pair
    async with opened(master, SHORT) as store, opened(master, Copies()) as careless:
        replica.cut_off()
        await Flow(careless).commit()
        with pytest.raises(StoreUnavailable, match="not copied"):
            await store.load([("order-1", 0, 10)])
        replica.follow(master)
        (events,) = await persistently(lambda: store.load([("order-1", 0, 10)]))
        assert [each.version for each in events] == [1]


async def test_the_wait_travels_with_the_call(pair: tuple[OwnRedis, OwnRedis]) -> None:
    """Three commands, one round trip: nothing is sent after the first reply."""
    master, _ = pair
    async with opened(master) as store:
        written: list[bytes] = []
        flow = Flow(store)
        await flow.commit()
        (connection,) = store._commands._idle
        send = connection.send_packed_command

        async def noted(command: list[bytes], check_health: bool = True) -> None:
            written.extend(command)
            await send(command, check_health)

        connection.send_packed_command = noted
        await flow.commit()
        assert len(written) == 1
        assert [written[0].count(word) for word in (b"EVALSHA", b"EVAL\r", b"WAIT")] == [1, 1, 1]


async def test_an_emptied_server_is_not_written_to_by_those_who_wait(pair: tuple[OwnRedis, OwnRedis]) -> None:
    master, _ = pair
    async with opened(master) as store:
        flow = Flow(store)
        await flow.commit()
        with master.client() as client:
            client.flushall()
            with pytest.raises(NamespaceEmptied):
                await flow.commit()
            assert client.keys() == []


# ------------------------------------------------------------------------ the disk


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"-ERR unknown command 'WAITAOF'\r\n", "no WAITAOF .use Redis 7.2 or later, or Valkey"),
        (b"-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n", "appendonly"),
        (b"-NOPERM User x has no permissions to run the 'waitaof' command\r\n", "allow WAIT and WAITAOF"),
    ],
)
def test_a_server_that_cannot_wait_for_its_disk_is_refused(reply: bytes, words: str) -> None:
    with pytest.raises(StoreUnfit, match=words):
        refuse_unable([redis.ResponseError(reply[5:-2].decode())])


async def test_a_server_that_cannot_wait_for_its_disk_is_refused_when_it_is_opened(
    pair: tuple[OwnRedis, OwnRedis],
) -> None:
    """Redis has the command from 7.2 on; this server has no append-only file either."""
    master, _ = pair
    with master.client() as client:
        has_it = b"waitaof" in client.command_list()
    words = "no append-only file" if has_it else "no WAITAOF"
    with pytest.raises(StoreUnfit, match=words):
        async with opened(master, Copies(on_disk=True)):
            pass


@pytest.mark.parametrize(
    ("copies", "replies", "is_enough"),
    [
        (Copies(1), (1, 1), True),
        (Copies(2), (1, 1), False),
        (Copies(1), (0, 1), False),
        (Copies(on_disk=True), (1, [1, 0]), True),
        (Copies(on_disk=True), (1, [0, 0]), False),
        (Copies(1, on_disk=True), (1, [1, 0]), False),
        (Copies(1, on_disk=True), (1, [1, 1]), True),
        (Copies(1), (1, redis.ResponseError("WAIT cannot be used with replica instances.")), False),
    ],
)
def test_copies_are_there_when_all_that_were_asked_for_are(
    copies: Copies, replies: tuple[Any, Any], is_enough: bool
) -> None:
    """The first reply is that of the small write before the wait."""
    copying = Copying(copies)
    with suppress(StoreUnavailable):
        copying.check(*replies)
    assert copying.is_behind is not is_enough


def is_blocked(client: redis.Redis) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return client.info("clients")["blocked_clients"] > 0

    return asked
