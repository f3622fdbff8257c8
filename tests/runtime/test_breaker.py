"""While the server refuses writes nothing is begun whose outcome could not be recorded.

In memory under virtual time, where only some calls of one engine are refused; and on real servers that
are out of memory, or lack replicas.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
import redis

from argyll_redis.core.commands import Look, Outcome
from argyll_redis.core.state import Flow
from argyll_redis.errors import CallRefused, StoreUnavailable, StoreUnfit
from argyll_redis.runtime.breaker import Breaker
from argyll_redis.runtime.node import Node
from argyll_redis.steps.job import Job
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import (
    CommitReply,
    EntryKey,
    Fetch,
    Keep,
    KeepReply,
    Lease,
    RenewReply,
    Turn,
)
from tests.runtime.nodes import Fleet, chain, echo, fan_out, fleet
from tests.runtime.test_lost_replies import INIT, LEASE_MS, World, play
from tests.servers import StoreFactory, TestServer

ALL = frozenset({"commit", "keep", "renew"})
FLOWS = [f"f{number}" for number in range(20)]


class Refusing(MemoryStore):
    """A store that refuses some calls, and notes how often and which rounds it has let through."""

    def __init__(self, server: MemoryServer, error: type[StoreUnavailable] = StoreUnfit) -> None:
        super().__init__(server=server)
        self.refused: frozenset[str] = frozenset()
        self.refusals: Counter[str] = Counter()
        self.kept: list[Keep] = []
        """Rounds that went through while commits were refused."""
        self._error = error

    def _refuse(self, call: str) -> None:
        if call in self.refused:
            self.refusals[call] += 1
            raise self._error(f"{call} is refused")

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        self._refuse("commit")
        return await super().commit(turns, fetch)

    async def keep(self, keep: Keep) -> KeepReply:
        self._refuse("keep")
        if "commit" in self.refused:
            self.kept.append(keep)
        return await super().keep(keep)

    def renew(
        self,
        consumer: str,
        leases: Sequence[Lease],
        streams: Sequence[tuple[int, str]],
        *,
        known: Sequence[EntryKey] = (),
    ) -> RenewReply:
        self._refuse("renew")
        return super().renew(consumer, leases, streams, known=known)


async def leases_pass(count: float) -> None:
    await asyncio.sleep(count * LEASE_MS / 1000)


async def all_finished(those: Fleet, flows: Sequence[str]) -> set[str]:
    return {(await those.finished(flow)).status for flow in flows}


@pytest.mark.parametrize("refused", [{"keep"}, ALL])
def test_an_idle_engine_begins_nothing_once_its_keeping_is_refused(refused: set[str]) -> None:
    """It commits nothing, so its keeper is its probe; what is delivered nevertheless waits in hand."""

    async def scene(world: World) -> tuple[list[int], int, list[int], set[str]]:
        async with world.fleet(chain(1)) as those:
            store = Refusing(world.server)
            engine = await world.add_engine(those, store)
            store.refused = frozenset(refused)
            await leases_pass(1)
            await those.start(FLOWS, ["s0"], INIT)
            await leases_pass(3)
            before, in_hand = list(world.calls), len(engine.hand)
            store.refused = frozenset()
            return before, in_hand, world.calls, await all_finished(those, FLOWS)

    before, in_hand, calls, ended = play(scene)
    assert (before, calls, ended) == ([], [1] * len(FLOWS), {"completed"})
    assert in_hand <= 1  # of the read that waited when the breaker opened


def test_a_round_of_keeping_that_the_server_finds_fault_with_stops_no_work() -> None:
    """A foreign key in the place of a stream hinders the keeper, and no commit: that is no server that takes
    no writes, and nobody is told so."""

    async def scene(world: World) -> tuple[bool, set[str], int]:
        async with world.fleet(chain(1)) as those:
            store = Refusing(world.server, CallRefused)
            await world.add_engine(those, store)
            store.refused = frozenset({"keep"})
            await leases_pass(1)
            await those.start(FLOWS, ["s0"], INIT)
            ended = await all_finished(those, FLOWS)
            breaker = those.nodes[0].committer.breaker
            return breaker.is_open, ended, breaker.opened

    assert play(scene) == (False, {"completed"}, 0)


def test_no_call_is_made_while_an_outcome_cannot_be_recorded() -> None:
    """What runs ends and waits to be recorded; no slot that it frees is used."""

    async def scene(world: World) -> tuple[int, list[int], set[str], int]:
        store = Refusing(world.server)

        async def work(job: Job) -> Outcome:
            store.refused = ALL
            return await world.call(job)

        async with world.fleet(chain(3)) as those:
            engine = await world.add_engine(those, store, work, concurrency=2)
            await those.start(FLOWS, ["s2"], INIT)
            await leases_pass(5)
            before = len(world.calls)
            ending = asyncio.create_task(all_finished(those, FLOWS))
            while not ending.done():
                store.refused = frozenset()
                await asyncio.sleep(0.05)
            return before, world.calls, ending.result(), engine.counters.lost

    before, calls, ended, lost = play(scene)
    assert (before <= 2, len(calls), set(calls), ended) == (True, 3 * len(FLOWS), {1}, {"completed"})
    assert lost == 0


def test_engines_that_could_not_renew_keep_their_work_when_writes_go_through_again() -> None:
    """After three leases without renewals every entry has idled; nobody takes over before all could renew."""

    async def scene(world: World) -> tuple[list[int], set[str], int]:
        stores = [Refusing(world.server) for _ in range(3)]

        async def work(job: Job) -> Outcome:
            outcome = await world.call(job)
            await leases_pass(2)
            return outcome

        async with world.fleet(chain(1)) as those:
            engines = [await world.add_engine(those, store, work) for store in stores]
            await those.start(FLOWS, ["s0"], INIT)
            await leases_pass(0.1)
            for store in stores:
                store.refused = ALL
            await leases_pass(3)
            for store in stores:
                store.refused = frozenset()
            ended = await all_finished(those, FLOWS)
            return world.calls, ended, sum(engine.counters.taken_over for engine in engines)

    assert play(scene) == ([1] * len(FLOWS), {"completed"}, 0)


def test_what_is_due_or_idles_is_left_where_it_is_while_commits_alone_are_refused() -> None:
    """The heart beats on, and does not show that writes go through."""

    async def scene(world: World) -> tuple[int, set[int], set[int], bool]:
        store = Refusing(world.server)
        async with world.fleet(chain(1)) as those:
            await world.add_engine(those, store)
            store.refused = frozenset({"commit"})
            await those.start(["f"], ["s0"], INIT)
            await leases_pass(4)
            is_open = those.nodes[0].committer.breaker.is_open
            store.refused = frozenset()
            await those.finished("f")
            kept = store.kept[1:]  # the first may have been on its way
            return len(kept), {keep.due_limit for keep in kept}, {len(k.takeover) for k in kept}, is_open

    rounds, due, takeovers, is_open = play(scene)
    assert (rounds > 3, due, takeovers, is_open) == (True, {0}, {0}, True)


def test_a_refused_call_is_repeated_ever_more_slowly() -> None:
    """Never a hot loop: after delays that grow to a second."""

    async def scene(world: World) -> Counter[str]:
        store = Refusing(world.server)

        async def work(job: Job) -> Outcome:
            store.refused = ALL - {"renew"}
            return await echo(job)

        async with world.fleet(chain(1)) as those:
            await world.add_engine(those, store, work)
            await those.start(["f"], ["s0"], INIT)
            await asyncio.sleep(60)
            counted = Counter(store.refusals)
            store.refused = frozenset()
            await those.finished("f")
            return counted

    counted = play(scene)
    # The delays are a tenth of the longest here, and are random in between elsewhere.
    assert 50 < counted["keep"] <= 60 / 0.1 + 10
    assert 50 < counted["commit"] <= 60 / 0.1 + 10


def test_what_was_held_back_is_handed_back_by_a_drain() -> None:
    """Under the same attempt: nobody has begun it."""

    async def scene(world: World) -> tuple[list[int], int]:
        store = Refusing(world.server)
        async with world.fleet(chain(1)) as those:
            engine = await world.add_engine(those, store, concurrency=1)
            await asyncio.sleep(0.1)  # its read of work waits
            store.refused = frozenset({"keep"})
            while not those.nodes[0].committer.breaker.is_open:
                await asyncio.sleep(0.01)
            await those.start(["f"], ["s0"], INIT)
            await asyncio.sleep(0.1)
            held = len(engine.hand)
            engine.take_no_more()
            await world.add_engine(those)
            await those.finished("f")
            return world.calls, held

    assert play(scene) == ([1], 1)


def test_who_waits_for_an_answer_is_told_why_there_is_none() -> None:
    """A start is not answered before it is committed, and gives up at some time."""

    async def scene(world: World) -> str:
        async with world.fleet(chain(1)) as those:
            store = Refusing(world.server)
            node = Node(store, "n", monotonic=world.loop.now_ms)
            await node.open()
            those.nodes.append(node)
            store.refused = ALL
            with pytest.raises(StoreUnavailable) as raised:
                await node.committer.ask("f", Look("operator:o"))
            store.refused = frozenset()
            return str(raised.value)

    assert play(scene) == (
        "no answer within 30 s: commit is refused; it may still be done (ask the same again)"
    )


# -------------------------------------------------------------------- the breaker alone


def test_a_breaker_is_open_while_anything_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """It says once that it opens, and once that it closes."""
    breaker, told = Breaker(), list[str]()
    breaker.on_close = lambda: told.append("closed")
    with caplog.at_level(logging.WARNING):
        seen: list[tuple[bool, str]] = []
        for call, error in [("a", "oom"), ("b", "oom"), ("a", "noreplicas")]:
            breaker.refuse(call, StoreUnfit(error))
            seen.append((breaker.is_open, breaker.reason))
        for call in ("a", "c", "b", "b"):
            breaker.settle(call)
            seen.append((breaker.is_open, breaker.reason))
    assert seen == [
        (True, "oom"),
        (True, "oom"),
        (True, "noreplicas"),
        (True, "oom"),
        (True, "oom"),
        (False, ""),
        (False, ""),
    ]
    assert (told, breaker.opened, len(caplog.records)) == (["closed"], 1, 2)


# ------------------------------------------------------------------------- real servers


@contextmanager
def set_to(server: TestServer, name: str, value: str) -> Iterator[None]:
    before = server.client.config_get(name)[name]
    server.client.config_set(name, value)
    try:
        yield
    finally:
        server.client.config_set(name, before)


@contextmanager
def unable_to_save(server: TestServer) -> Iterator[None]:
    """A directory is where the snapshot would go."""
    in_the_way = Path(server.client.config_get("dir")["dir"]) / server.client.config_get()["dbfilename"]
    if not in_the_way.parent.is_dir():
        pytest.skip("the server is on another machine")
    with set_to(server, "save", "3600 1"):
        in_the_way.mkdir()
        try:
            save(server, "err")
            yield
        finally:
            in_the_way.rmdir()
            save(server, "ok")
            in_the_way.unlink()


def save(server: TestServer, status: str) -> None:
    """Has a snapshot made, which comes to that."""
    while server.client.info("persistence")["rdb_last_bgsave_status"] != status:
        with suppress(redis.ResponseError):  # one is under way
            server.client.bgsave()


TROUBLES: dict[str, Callable[[TestServer], AbstractContextManager[None]]] = {
    "OOM": lambda server: set_to(server, "maxmemory", "1"),
    "NOREPLICAS": lambda server: set_to(server, "min-replicas-to-write", "1"),
    "MISCONF": unable_to_save,
}


@pytest.mark.anyio
@pytest.mark.real
@pytest.mark.timeout(120)
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_on_a_server_that_refuses_writes_calls_stop_and_go_on_afterwards(
    real_server: TestServer, trouble: str
) -> None:
    """Nothing is lost and nothing is called twice."""
    factory = StoreFactory(real_server.kind)
    factory.server = real_server
    calls: Counter[tuple[str, int]] = Counter()
    begun = asyncio.Event()

    async def work(job: Job) -> Outcome:
        calls[job.token, job.attempt] += 1
        begun.set()
        await asyncio.sleep(0.02)
        return await echo(job)

    flows = [f"f{number}" for number in range(4)]
    async with fleet(factory, fan_out(5)) as those:
        engine = await those.add_engine(work, concurrency=4)
        breaker = those.nodes[0].committer.breaker
        await those.start(flows, ["join"], {"count": [30]})
        await begun.wait()
        with TROUBLES[trouble](real_server):
            while not breaker.is_open or any(
                held.task and not held.task.done() for held in engine.hand.all()
            ):
                await asyncio.sleep(0.01)
            at_most = calls.total()
            for _ in range(3):
                await is_refused_once_more(those.nodes[0])
            during = calls.total()
        ended = [await those.finished(flow) for flow in flows]
    await factory.close()
    assert (during, statuses(ended)) == (at_most, {"completed"})
    assert (calls.total(), max(calls.values())) == (len(flows) * (1 + 30 + 1), 1)
    assert {attempt for _, attempt in calls} == {1}


def statuses(flows: Sequence[Flow]) -> set[str]:
    return {flow.status for flow in flows}


async def is_refused_once_more(node: Node) -> None:
    """Waits until another commit was refused: whatever could be begun would have been."""
    before = node.committer.counters.resent
    while node.committer.counters.resent == before:
        await asyncio.sleep(0.01)


@pytest.mark.anyio
@pytest.mark.real
@pytest.mark.timeout(120)
async def test_an_idle_engine_learns_of_a_server_without_memory_by_itself(real_server: TestServer) -> None:
    """Nothing is committed; the breaker opens within a round, and closes within one."""
    factory = StoreFactory(real_server.kind)
    factory.server = real_server
    async with fleet(factory, chain(1)) as those:
        await those.add_engine()
        breaker = those.nodes[0].committer.breaker
        with set_to(real_server, "maxmemory", "1"):
            while not breaker.is_open:
                await asyncio.sleep(0.01)
            reason = breaker.reason
        while breaker.is_open:
            await asyncio.sleep(0.01)
        calls = those.nodes[0].committer.counters.calls
    await factory.close()
    assert (calls, "out of memory" in reason) == (0, True)
