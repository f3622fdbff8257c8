"""What only the store in memory has: a clock handed in, a server shared in the process, threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_words import ENGINE, Flow, lease_of, payloads, references, renewed, take_over

from argyll_redis.errors import NamespaceEmptied, StoreUnavailable
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.memory_types import IdClock, SortedSet, id_key
from argyll_redis.store.protocol import Ack, Dispatch, Due, Entry, Fetch, Index, Keep, SetHead, Store, UsePlan

pytestmark = pytest.mark.anyio

LONG_MS = 2_000


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> MemoryServer:
    return MemoryServer(partitions=2, now_ms=clock)


@pytest.fixture
async def own_flow(server: MemoryServer) -> Flow:
    """A flow on a server whose clock is handed in."""
    store = MemoryStore(server=server)
    await store.open()
    await store.add_queues(["a"])
    return Flow(store)


# ------------------------------------------------------------------------- clock


async def test_the_time_of_events_never_falls_when_the_clock_does(own_flow: Flow, clock: Clock) -> None:
    first = await own_flow.commit()
    clock.now_ms -= 500
    second = await own_flow.commit(Due("control later", 100))
    assert (first.at, second.at) == (1_000_000, 1_000_000)
    assert (await own_flow.store.keep(Keep())).next_due_ms == 1_000_100
    (head,) = await own_flow.store.heads([own_flow.id])
    assert head is not None
    assert head.at == 1_000_000


async def test_entries_keep_their_order_when_the_clock_falls(own_flow: Flow, clock: Clock) -> None:
    await own_flow.commit(Dispatch("work:a", "r1"), Dispatch("work:a", "r2"))
    clock.now_ms -= 500
    await own_flow.commit(Dispatch("work:a", "r3"))
    entries = await own_flow.fetch()
    assert [entry.id for entry in entries] == ["1000000-0", "1000000-1", "1000000-2"]
    assert payloads(entries) == ["r1", "r2", "r3"]


async def test_an_entry_can_be_acknowledged_before_it_is_delivered(own_flow: Flow, clock: Clock) -> None:
    await own_flow.commit(Dispatch("work:a", "r1"), Dispatch("work:a", "r2"))
    await own_flow.commit(Ack("work:a", f"{clock.now_ms}-0"))
    assert payloads(await own_flow.fetch()) == ["r2"]


async def test_a_plan_counts_each_use(own_flow: Flow, server: MemoryServer) -> None:
    await own_flow.commit(UsePlan("h1", b"plan"))
    await own_flow.commit(UsePlan("h1", b"plan"))
    assert server.namespace.partitions[own_flow.partition].plans["h1"].users == 2


async def test_an_entry_is_due_exactly_at_its_time(own_flow: Flow, clock: Clock) -> None:
    await own_flow.commit(Due("work:a r1", 100))
    clock.now_ms += 99
    assert (await own_flow.store.keep(Keep())).moved == 0
    clock.now_ms += 1
    assert (await own_flow.store.keep(Keep())).moved == 1


async def test_a_renewed_entry_is_idle_from_its_renewal_on(own_flow: Flow, clock: Clock) -> None:
    await own_flow.commit(Dispatch("work:a", "r1"))
    entry = await own_flow.fetch_one("e1")
    clock.now_ms += 80
    await renewed(own_flow, "e1", [lease_of(entry, own_flow)])
    clock.now_ms += 99
    assert (await take_over(own_flow, "e2", min_idle_ms=100)).taken == ()
    clock.now_ms += 1
    assert (entry,) == (await take_over(own_flow, "e2", min_idle_ms=100)).taken


async def test_an_engine_lives_until_its_time_is_over(own_flow: Flow, clock: Clock) -> None:
    await own_flow.store.keep(Keep(ENGINE, alive_ms=100))
    clock.now_ms += 99
    assert await own_flow.store.engines() == (ENGINE,)
    clock.now_ms += 1
    assert await own_flow.store.engines() == ()


async def test_without_a_clock_the_machines_is_read() -> None:
    store = MemoryStore(server=MemoryServer())
    assert await store.now_ms() > 1_700_000_000_000


# --------------------------------------------------------------- who shares what


async def test_stores_of_one_namespace_share_it_and_others_do_not() -> None:
    first, second = MemoryStore("shared-a", partitions=4), MemoryStore("shared-a", partitions=8)
    third = MemoryStore("shared-b")
    for store in (first, second, third):
        await store.open()
    await Flow(first).commit()
    assert (first.partitions, second.partitions, third.partitions) == (4, 4, 16)
    assert [
        head and head.version for store in (second, third) for head in await store.heads(["order-1"])
    ] == [1, None]


async def test_a_closed_store_says_so_and_its_data_stays(own_flow: Flow) -> None:
    await own_flow.commit()
    await own_flow.store.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        await own_flow.store.heads([own_flow.id])
    await own_flow.store.open()
    assert len((await own_flow.store.load([(own_flow.id, 0, 10)]))[0]) == 1


async def test_a_server_has_at_least_one_partition() -> None:
    with pytest.raises(ValueError, match="partition"):
        MemoryServer(partitions=0)


async def test_lost_dispatch_leaves_logs_heads_and_groups(own_flow: Flow, server: MemoryServer) -> None:
    await own_flow.commit(Dispatch("work:a", "r1"), Due("control c1", 0), SetHead("status", "active"))
    await own_flow.fetch()
    server.lose_dispatch()
    assert await references(own_flow) == []
    await own_flow.commit(Dispatch("work:a", "r2"))
    assert payloads(await own_flow.fetch()) == ["r2"]


async def test_a_dump_has_everything_but_times(own_flow: Flow, server: MemoryServer, clock: Clock) -> None:
    await own_flow.commit(Dispatch("work:a", "r1"), Due("control c1", 9), Index("open"), tx="t-1")
    await own_flow.fetch("e1")
    dump = server.dump()
    expected = {
        "flows": {
            "order-1": {
                "events": [(1, "step_started", 0, 0, "start", "t-1", 1, 1, b"{}")],
                "tx": "t-1",
                "sealed": False,
                "fields": {},
            }
        },
        "plans": {},
        "streams": {"work:a": [("r1", "e1")]},
        "due": ["control c1"],
        "indexes": {"open": ["order-1"]},
        "expire": [],
        "tree": [],
        "feed": [("order-1", 1, 1, "")],
        "dead": [],
    }
    partitions = dump["partitions"]
    assert isinstance(partitions, list)
    assert expected == partitions[own_flow.partition]
    assert (dump["catalog"], dump["queues"], dump["engines"]) == ([], ["a"], [])
    assert str(clock.now_ms) not in repr(dump)


# ---------------------------------------------------------------------- waiting


async def test_nothing_is_lost_to_a_block_that_is_cancelled(own_flow: Flow) -> None:
    store, place = own_flow.store, (own_flow.partition, "work:a")
    for n in range(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.block, "e1", [place], LONG_MS)
            await anyio.lowlevel.checkpoint()
            if n % 2:
                await own_flow.commit(Dispatch("work:a", f"r{n}"))
            tasks.cancel_scope.cancel()
        waiting = payloads(await own_flow.fetch("e2"))
        held = payloads((await renewed(own_flow, "e1", [])).unnamed)
        assert [f"r{n}"] * (n % 2) == [p for p in waiting + held if p == f"r{n}"]


async def test_a_move_of_a_due_entry_wakes_who_blocks(own_flow: Flow) -> None:
    await own_flow.commit(Due("work:a r1", 0))
    moving = own_flow.store.keep(Keep())
    assert await blocked_while(own_flow.store, own_flow, moving) == ["r1"]


async def test_what_is_handed_back_wakes_who_blocks(own_flow: Flow) -> None:
    await own_flow.commit(Dispatch("work:a", "r1"))
    entries = await own_flow.fetch("e2")
    releasing = own_flow.store.release("e2", entries)
    assert await blocked_while(own_flow.store, own_flow, releasing) == ["r1"]


async def test_who_blocks_is_told_when_the_namespace_is_emptied(own_flow: Flow, server: MemoryServer) -> None:
    async def empty() -> None:
        server.clear()

    with pytest.raises(NamespaceEmptied):
        await blocked_while(own_flow.store, own_flow, empty())


async def blocked_while(store: Store, flow: Flow, change: Coroutine[Any, Any, object]) -> list[str]:
    """Blocks on the flow's queue while something changes; gives what came."""
    waiting = asyncio.ensure_future(store.block("e1", [(flow.partition, "work:a")], LONG_MS))
    await anyio.lowlevel.checkpoint()
    assert not waiting.done()
    await change
    return payloads(await waiting)


async def test_an_entry_wakes_who_blocks_in_another_thread(own_flow: Flow, server: MemoryServer) -> None:
    found: list[str] = []

    def wait() -> None:
        asyncio.run(wait_elsewhere(server, own_flow.partition, found.extend))

    thread = threading.Thread(target=wait)
    thread.start()
    for n in range(50):
        await own_flow.commit(Dispatch("work:a", f"r{n}"))
    await anyio.to_thread.run_sync(thread.join)
    assert [f"r{n}" for n in range(50)] == found


async def wait_elsewhere(server: MemoryServer, partition: int, found: Callable[[list[str]], None]) -> None:
    """Takes 50 entries by blocking reads alone; each must be woken, or time is up."""
    store = MemoryStore(server=server)
    await store.open()
    count = 0
    with anyio.fail_after(20):
        while count < 50:
            entries = await store.block("e1", [(partition, "work:a")], LONG_MS)
            found(payloads(entries))
            count += len(entries)


async def test_renewals_and_fetches_in_many_threads_never_share_an_entry(
    own_flow: Flow, server: MemoryServer
) -> None:
    await own_flow.commit(*[Dispatch("work:a", f"r{n}") for n in range(400)])

    def take(consumer: str) -> list[Entry]:
        return asyncio.run(take_elsewhere(server, own_flow, consumer))

    with ThreadPoolExecutor(4) as pool:
        taken = [entry.payload for entries in pool.map(take, ["e1", "e2", "e3", "e4"]) for entry in entries]
    assert sorted(f"r{n}" for n in range(400)) == sorted(taken)


async def take_elsewhere(server: MemoryServer, flow: Flow, consumer: str) -> list[Entry]:
    store = MemoryStore(server=server)
    await store.open()
    entries: list[Entry] = []
    while found := await store.fetch(Fetch(consumer, 3, [flow.ref()])):
        entries += found
        reply = store.renew(consumer, [lease_of(entry, flow) for entry in entries], [])
        assert reply.lost == ()
    return entries


# ------------------------------------------------------------------------- types

scores = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 5)))


@given(scores, st.integers(0, 5), st.integers(0, 4))
def test_a_sorted_set_keeps_order_of_score_then_member(
    added: list[tuple[str, int]], through: int, limit: int
) -> None:
    model: dict[str, int] = {}
    tested = SortedSet()
    for n, (member, score) in enumerate(added):
        if n % 4 == 3:
            model.pop(member, None)
            tested.discard(member)
        else:
            model[member] = score
            tested.add(member, score)
    rows = sorted((score, member) for member, score in model.items())
    assert rows == tested.rows(0, 100)
    assert rows[len(rows) - min(limit, len(rows)) :] == tested.last_rows(limit)
    due = [member for score, member in rows if score <= through][:limit]
    assert due == tested.pop_through(through, limit)
    left = [(score, member) for score, member in rows if member not in due]
    assert left == tested.rows(0, 100)
    assert (left[0][0] if left else None) == tested.first_score
    assert len(left) == len(tested)


@given(st.lists(st.integers(0, 10)))
def test_the_ids_of_a_stream_only_rise(times: list[int]) -> None:
    ids = IdClock()
    keys = [id_key(ids.next(now_ms)) for now_ms in times]
    assert sorted(set(keys)) == keys
