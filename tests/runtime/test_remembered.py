"""What an engine remembers is held against a server that was away, flow by flow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from argyll_redis.core.commands import Start
from argyll_redis.errors import CallRefused, StoreUnavailable
from argyll_redis.runtime.clock import new_seed
from argyll_redis.runtime.remembered import Remembered
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.protocol import Entry, StoredEvent
from tests.runtime.nodes import chain
from tests.runtime.test_breaker import ALL, Refusing
from tests.runtime.test_history import node_of, picture, put_back
from tests.runtime.test_lost_replies import INIT, LEASE_MS, World, play

WAIT_S = 5 * LEASE_MS / 1000


class Breaks(MemoryStore):
    """A store whose waiting reads fail, as they do when the server dies."""

    is_away = False

    async def block(
        self, consumer: str, streams: Sequence[tuple[int, str]], block_ms: int
    ) -> tuple[Entry, ...]:
        if self.is_away:
            raise StoreUnavailable("gone")
        return await super().block(consumer, streams, block_ms)


def test_a_flow_that_is_over_and_gone_is_missed_once_the_server_was_away() -> None:
    """Nobody has anything more to say of it, so that no turn would have shown it."""

    async def scene(world: World) -> list[list[str]]:
        store = Breaks(server=world.server)
        async with world.fleet(chain(1)) as those:
            await world.add_engine(those, store)
            await those.start(["before"], ["s0"], INIT)
            await those.finished("before")
            behind = picture(world)
            await those.start(["gone"], ["s0"], INIT)
            await those.finished("gone")
            store.is_away = True
            await asyncio.sleep(WAIT_S)
            put_back(world, behind)
            left_alone = [list(those.nodes[0].committer.quarantined)]
            store.is_away = False
            await asyncio.sleep(WAIT_S)
            return [*left_alone, list(those.nodes[0].committer.quarantined)]

    assert play(scene) == [[], ["gone"]]


def test_what_a_server_lost_while_it_took_no_writes_is_missed_too() -> None:
    """Nobody waits in a read then whose connection could break."""

    async def scene(world: World) -> list[str]:
        store = Refusing(world.server)
        async with world.fleet(chain(1)) as those:
            await world.add_engine(those, store)
            behind = picture(world)
            await those.start(["gone"], ["s0"], INIT)
            await those.finished("gone")
            store.refused = ALL
            await asyncio.sleep(WAIT_S)
            put_back(world, behind)
            store.refused = frozenset()
            await asyncio.sleep(WAIT_S)
            return list(those.nodes[0].committer.quarantined)

    assert play(scene) == ["gone"]


def test_flows_that_have_gone_on_are_not_missed() -> None:
    """Other processes have written to them meanwhile; their past is what it was."""

    async def scene(world: World) -> tuple[int, list[str]]:
        async with world.fleet(chain(3)) as those:
            await those.client.store.add_queues(["default"])
            await those.start(["f"], ["s2"], INIT)
            remembered = Remembered(
                store=those.client.store, committer=those.client.committer, clock=those.client.clock
            )
            await world.add_engine(those)
            await those.finished("f")
            return await remembered.check(), list(those.client.committer.quarantined)

    assert play(scene) == (0, [])


def test_a_flow_whose_time_is_over_may_be_gone_and_one_kept_for_ever_may_not() -> None:
    async def scene(world: World) -> list[int]:
        found: list[int] = []
        for retention_ms in (1, 0):
            async with world.fleet(chain(1)) as those:
                nothing = picture(world)
                await world.add_engine(those)
                await those.start(["f"], ["s0"], INIT)
                await those.finished("f")
                await asyncio.sleep(WAIT_S)
                knows = those.nodes[0]
                put_back(world, nothing)
                remembered = Remembered(
                    store=knows.store, committer=knows.committer, clock=knows.clock, retention_ms=retention_ms
                )
                found.append(await remembered.check())
        return found

    assert play(scene) == [0, 1]


def test_a_flow_that_others_ended_and_that_expired_is_not_missed() -> None:
    """This process knows it from before its end, and nobody has told it anything since."""

    async def scene(world: World) -> tuple[str, int]:
        async with world.fleet(chain(1)) as those:
            nothing = picture(world)
            await those.client.store.add_queues(["default"])
            await those.start(["f"], ["s0"], INIT)
            known = those.client.committer.cache.get("f")
            await world.add_engine(those)
            await those.finished("f")
            await asyncio.sleep(WAIT_S)
            put_back(world, nothing)
            remembered = Remembered(
                store=those.client.store,
                committer=those.client.committer,
                clock=those.nodes[0].clock,
                retention_ms=LEASE_MS,
            )
            return known.status if known else "", await remembered.check()

    assert play(scene) == ("active", 0)


def test_a_flow_that_has_the_id_of_one_that_expired_is_not_taken_for_it() -> None:
    async def scene(world: World) -> list[int]:
        found: list[int] = []
        for flow_id, retention_ms in (("f", 1), ("g", 0)):
            async with world.fleet(chain(1)) as those:
                nothing = picture(world)
                await those.start([flow_id], ["s0"], INIT)
                await asyncio.sleep(WAIT_S)
                put_back(world, nothing)
                other = await node_of(world, those, "other")
                plan = await those.plan(["s0"], INIT)
                again = Start("start:other", plan, other.logs.plans.add(plan), new_seed(), INIT)
                await other.committer.ask(flow_id, again)
                remembered = Remembered(
                    store=other.store,
                    committer=those.client.committer,
                    clock=other.clock,
                    retention_ms=retention_ms,
                )
                found.append(await remembered.check())
        return found

    assert play(scene) == [0, 1]


class NoLog(MemoryStore):
    """Has something else in the place of one log."""

    async def load(self, reads: Sequence[tuple[str, int, int]]) -> list[list[StoredEvent]]:
        if any(flow_id == "f" for flow_id, _, _ in reads):
            raise CallRefused("WRONGTYPE")
        return await super().load(reads)


def test_what_is_in_the_place_of_a_log_stands_in_the_way_of_no_other() -> None:
    async def scene(world: World) -> tuple[int, list[str]]:
        async with world.fleet(chain(1)) as those:
            await those.start(["f", "g"], ["s0"], INIT)
            client, store = those.client, NoLog(server=world.server)
            await store.open()
            remembered = Remembered(store=store, committer=client.committer, clock=client.clock)
            return await remembered.check(), list(client.committer.quarantined)

    assert play(scene) == (1, ["f"])
