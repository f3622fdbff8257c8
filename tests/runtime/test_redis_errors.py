"""Whatever error the server answers to whatever call: the engine lives, waits between its calls, and goes on.

Time is virtual, but for the scripts that a real server forgets again and again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import redis.exceptions as redis_errors

from argyll_redis.errors import CallRefused, NamespaceEmptied, StoreUnavailable, StoreUnfit
from argyll_redis.store.answers import ANSWERS, Treatment, exception_for
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import CommitReply, Entry, Fetch, Keep, KeepReply, RenewReply, Turn
from tests.runtime.nodes import chain, fan_out, fleet
from tests.runtime.test_lost_replies import INIT, World, play
from tests.servers import StoreFactory, TestServer

CALLS = ("commit", "fetch", "block", "keep", "renew")
TROUBLE_S = 20
CALLS_A_SECOND = 75
"""Of all kinds, at most, while every call is refused at once. Delays are a tenth of their limits here, so
they are ten a second for a round of keeping, each of two reads and each of four commits; a lease is
renewed twice a second."""
FLOWS = [f"f{number}" for number in range(10)]

OUTLIVED = [
    code
    for code, answer in ANSWERS.items()
    if answer.treatment not in (Treatment.RELOAD, Treatment.REGROUP, Treatment.EMPTIED, Treatment.BUG)
]


class Answering(MemoryStore):
    """A store whose server answers some calls with an error, and counts them."""

    def __init__(self, server: MemoryServer) -> None:
        super().__init__(server=server)
        self.error: Exception | None = None
        self.to: frozenset[str] = frozenset()
        self.refusals: Counter[str] = Counter()

    def _answer(self, call: str) -> None:
        if self.error is not None and call in self.to:
            self.refusals[call] += 1
            raise self.error

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        self._answer("commit")
        return await super().commit(turns, fetch)

    async def fetch(self, fetch: Fetch) -> tuple[Entry, ...]:
        self._answer("fetch")
        return await super().fetch(fetch)

    async def block(
        self, consumer: str, streams: Sequence[tuple[int, str]], block_ms: int
    ) -> tuple[Entry, ...]:
        self._answer("block")
        return await super().block(consumer, streams, block_ms)

    async def keep(self, keep: Keep) -> KeepReply:
        self._answer("keep")
        return await super().keep(keep)

    def renew(self, *given: Any, **named: Any) -> RenewReply:
        self._answer("renew")
        return super().renew(*given, **named)


def in_trouble(error: Exception, calls: Sequence[str]) -> tuple[Counter[str], set[str], set[int]]:
    """An engine has work while its server answers calls with an error for some time: how often each was
    refused, how the flows ended, and the attempts that were called."""

    async def scene(world: World) -> tuple[Counter[str], set[str], set[int]]:
        store = Answering(world.server)
        async with world.fleet(chain(3)) as those:
            await world.add_engine(those, store)
            await those.start(FLOWS, ["s2"], INIT)
            store.error, store.to = error, frozenset(calls)
            await asyncio.sleep(TROUBLE_S)
            store.error = None
            refusals = Counter(store.refusals)
            ended = {(await those.finished(flow)).status for flow in FLOWS}
            return refusals, ended, set(world.calls)

    return play(scene)


@pytest.mark.parametrize("code", OUTLIVED)
def test_an_error_of_the_table_is_outlived_without_a_hot_loop(code: str) -> None:
    """Every call is answered with it for a while; then all goes on, and nothing was called twice."""
    error = exception_for(redis_errors.ResponseError(f"{code} it is"))
    assert isinstance(error, StoreUnavailable)
    refusals, ended, attempts = in_trouble(error, CALLS)
    assert 0 < refusals.total() <= CALLS_A_SECOND * TROUBLE_S
    assert (ended, attempts) == ({"completed"}, {1})


@pytest.mark.parametrize("error", [StoreUnavailable, StoreUnfit, CallRefused])
@pytest.mark.parametrize("call", [call for call in CALLS if call != "commit"])
def test_one_call_that_is_refused_does_not_end_an_engine(error: type[StoreUnavailable], call: str) -> None:
    refusals, ended, _ = in_trouble(error("x"), [call])
    assert refusals.total() <= CALLS_A_SECOND * TROUBLE_S
    assert ended == {"completed"}


def test_an_emptied_namespace_ends_the_engine_at_once() -> None:
    """It says why, and nothing is written to it any more."""

    async def scene(world: World) -> tuple[str, Counter[str]]:
        store = Answering(world.server)
        async with world.fleet(chain(1)) as those:
            await world.add_engine(those, store)
            store.error, store.to = NamespaceEmptied(), frozenset(CALLS)
            [running] = those._running
            try:
                await running
            except NamespaceEmptied as error:
                those._running.clear()
                return str(error), store.refusals
        raise AssertionError("it went on")

    text, refusals = play(scene)
    assert text.startswith("The namespace was emptied")
    assert refusals.total() <= len(CALLS)


@pytest.mark.anyio
@pytest.mark.real
async def test_scripts_that_the_server_forgets_are_sent_again(real_server: TestServer) -> None:
    """Somebody flushes them all the time while flows run."""
    factory = StoreFactory(real_server.kind)
    factory.server = real_server
    async with fleet(factory, fan_out(4)) as those:
        engine = await those.add_engine(concurrency=8)
        await those.start(FLOWS, ["join"], {"count": [20]})
        flushes = 0

        async def flush() -> None:
            nonlocal flushes
            while True:
                real_server.client.script_flush()
                flushes += 1
                await asyncio.sleep(0.002)

        flushing = asyncio.create_task(flush())
        ended = {(await those.finished(flow)).status for flow in FLOWS}
        flushing.cancel()
        begun = engine.counters.begun
    await factory.close()
    assert (ended, begun, flushes > 10) == ({"completed"}, len(FLOWS) * 22, True)
