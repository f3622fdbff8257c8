"""A server that comes back with less than it had, or with another history: noticed, told, never gone on with.

A failover to a replica that was behind is a copy of the whole server, taken earlier and put back. Time
is virtual.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from typing import Any

import pytest

from argyll_redis.core.catalog import Catalog, apply_all, catalog_event, register
from argyll_redis.core.commands import Cancel, Look, Lose
from argyll_redis.core.model import RetryDefaults, StepId
from argyll_redis.core.plan import make_plan, plan_to_json
from argyll_redis.errors import CallRefused, HistoryLost, InvariantBroken, UnknownEvent
from argyll_redis.runtime.condition import Condition, condition_of, read_condition
from argyll_redis.runtime.logs import PlanBook, hash_of
from argyll_redis.runtime.node import Node
from argyll_redis.store.codec import encode
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.protocol import CommitReply, Fetch, NewEvent, Turn, partition_of
from tests.runtime.nodes import Fleet, chain
from tests.runtime.test_lost_replies import INIT, LEASE_MS, PARTITIONS, World, deliver_to_ghost, play

WAIT_S = 5 * LEASE_MS / 1000


async def node_of(world: World, those: Fleet, name: str) -> Node:
    """A process without an engine."""
    node = Node(
        MemoryStore(server=world.server), name, monotonic=world.loop.now_ms, spread=lambda limit_ms: limit_ms
    )
    await node.open()
    those.nodes.append(node)
    return node


def picture(world: World) -> Any:
    """All that the server holds, as a replica would have it."""
    room = world.server.room
    return copy.deepcopy(world.server.namespace, {id(room): room})


def put_back(world: World, behind: Any) -> None:
    """Promotes a replica that was behind."""
    for name in behind.__slots__:
        setattr(world.server.namespace, name, getattr(behind, name))
    world.server.room.wake_all()


def partition(world: World, flow_id: str) -> Any:
    return world.server.namespace.partitions[partition_of(flow_id, PARTITIONS)]


@pytest.mark.parametrize("forked", [False, True])
def test_a_process_that_knows_more_than_the_server_leaves_the_flow_alone(forked: bool) -> None:
    """Also when the server has got to the same version in another way; other flows go on."""

    async def scene(world: World) -> tuple[list[str], list[str], str, dict[str, int]]:
        async with world.fleet(chain(2)) as those:
            await those.client.store.add_queues(["default"])
            await those.start(["f"], ["s1"], INIT)
            behind = picture(world)
            knows = await node_of(world, those, "knows")
            await knows.committer.ask("f", Cancel("operator:o"))
            put_back(world, behind)
            if forked:
                other = await node_of(world, those, "other")
                await other.committer.ask("f", Cancel("operator:other"))
            raised: list[str] = []
            for _ in range(2):
                with pytest.raises(HistoryLost) as error:
                    await knows.committer.ask("f", Look("operator:o"))
                raised.append(type(error.value).__name__)
            await those.start(["g"], ["s0"], INIT)
            await knows.committer.ask("g", Cancel("operator:o"))
            told = (await those.client.load("g")).status
            return raised, list(knows.committer.quarantined), told, knows.committer.left_alone.counted()

    assert play(scene) == (
        ["HistoryLost"] * 2,
        ["f"],
        "failed",
        {"history_lost": 1, "unknown_event": 0, "bug": 0},
    )


def test_a_history_that_was_written_anew_is_not_taken_for_the_one_that_was_known() -> None:
    """A process that only reads on from where it was sees that the log is another one."""

    async def scene(world: World) -> tuple[str, int]:
        async with world.fleet(chain(3)) as those:
            await those.client.store.add_queues(["default"])
            await those.start(["f"], ["s2"], INIT)
            behind = picture(world)
            knows = await node_of(world, those, "knows")
            await knows.committer.ask("f", Cancel("operator:o"))
            flow = await knows.load("f")
            put_back(world, behind)
            await world.add_engine(those)
            await those.finished("f")  # longer than the one that is known
            with pytest.raises(HistoryLost, match="lost or forked"):
                await knows.logs.catch_up([flow])
            with pytest.raises(HistoryLost, match="lost or forked"):
                await knows.logs.beyond(flow)
            return flow.status, flow.version

    status, version = play(scene)
    assert (status, version > 3) == ("failed", True)


def test_an_engine_is_handed_work_of_a_history_that_is_not_the_one_it_knows() -> None:
    """It reads on because the work is of a later version, and makes no call."""

    async def scene(world: World) -> tuple[list[int], list[str]]:
        async with world.fleet(chain(3)) as those:
            await those.client.store.add_queues(["default"])
            await those.start(["f"], ["s2"], INIT)
            behind = picture(world)
            await world.add_engine(those)
            knows = those.nodes[0]
            await those.finished("f")
            put_back(world, behind)
            world.calls.clear()
            await asyncio.sleep(WAIT_S)
            return world.calls, list(knows.committer.quarantined)

    assert play(scene) == ([], ["f"])


def test_a_flow_that_is_left_alone_while_a_turn_is_on_its_way_is_not_known_again() -> None:
    """What is in the cache is taken for the truth, and work of it would be begun."""

    class Slow(MemoryStore):
        async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
            reply = await super().commit(turns, fetch)
            await asyncio.sleep(1)
            return reply

    async def scene(world: World) -> list[str]:
        async with world.fleet(chain(3)) as those:
            await those.client.store.add_queues(["default"])
            await those.start(["f", "g"], ["s2"], INIT)
            node = Node(Slow(server=world.server), "slow", monotonic=world.loop.now_ms)
            await node.open()
            those.nodes.append(node)
            asking = [asyncio.create_task(node.committer.ask(id, Cancel("operator:o"))) for id in "fg"]
            while not node.committer.counters.calls:
                await asyncio.sleep(0.1)
            node.committer.distrust("f", InvariantBroken("somebody else found out"))
            await asyncio.gather(*asking, return_exceptions=True)
            return [flow.id for flow in node.committer.cache.flows()]

    assert play(scene) == ["g"]


def test_work_that_an_engine_must_not_touch_is_left_to_one_that_never_knew_more() -> None:
    """It is handed back under its attempt: no attempt is lost, nothing is put aside, and the flow ends."""

    async def scene(world: World) -> tuple[list[int], int, str, list[str]]:
        async with world.fleet(chain(2)) as those:
            await those.client.store.add_queues(["default"])
            await those.start(["f"], ["s1"], INIT)
            behind = picture(world)
            await world.add_engine(those)
            knows = those.nodes[0]
            await those.finished("f")
            put_back(world, behind)
            world.calls.clear()
            await asyncio.sleep(WAIT_S)  # it finds out, and hands the work back again and again
            await world.add_engine(those)
            while not (flow := await those.nodes[1].load("f")).is_deactivated:
                await asyncio.sleep(0.1)
            dead = len(partition(world, "f").dead)
            return world.calls, dead, flow.status, list(knows.committer.quarantined)

    assert play(scene) == ([1, 1], 0, "completed", ["f"])


def test_work_of_a_version_that_the_log_has_lost_is_not_done() -> None:
    """The log alone went back, by whatever hand; the entry is put aside, and the flow is left alone."""

    async def scene(world: World) -> tuple[list[int], list[str], int, Condition]:
        async with world.fleet(chain(1)) as those:
            await those.start(["f"], ["s0"], INIT)
            before = copy.deepcopy(partition(world, "f").logs)
            flow = await those.client.load("f")
            [item] = flow.steps["s0"].items.values()
            await deliver_to_ghost(those, "f")
            await those.client.committer.ask("f", Lose("operator:o", item.token, 1))
            partition(world, "f").logs = before
            await world.add_engine(those)
            await asyncio.sleep(WAIT_S)
            [engine] = [each for each in await those.client.store.engines() if each.id == "e0"]
            dead = len(partition(world, "f").dead)
            told = read_condition(engine.state)
            return world.calls, list(those.nodes[0].committer.quarantined), dead, told

    calls, left_alone, dead, told = play(scene)
    assert (calls, left_alone, dead) == ([], ["f"], 2)
    assert (told.left_alone, list(told.flows), told.refused) == (1, ["f"], "")


def test_a_plan_that_is_not_its_own_stops_its_flows_and_no_other() -> None:
    async def scene(world: World) -> tuple[list[str], str]:
        async with world.fleet([*chain(1), *({**chain(1)[0], "id": "other"},)]) as those:
            await those.start(["f"], ["s0"], INIT)
            for plan in partition(world, "f").plans.values():
                plan.data = b"{}"
            await world.add_engine(those)
            await those.start(["g"], ["other"], INIT)
            ended = await those.finished("g")
            await asyncio.sleep(WAIT_S)
            return list(those.nodes[0].committer.quarantined), ended.status

    assert play(scene) == (["f"], "completed")


class FindsFault(MemoryStore):
    """Calls one flow's turns wrong, as a key of another type in its place would."""

    wrong = "f"

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        if any(turn.flow == self.wrong for turn in turns):
            raise CallRefused("a key is not what it has to be")
        return await super().commit(turns, fetch)


def test_a_turn_that_the_server_finds_fault_with_holds_up_no_other() -> None:
    """Those that travelled with it are sent by themselves; the flow it was for is left alone."""

    async def scene(world: World) -> tuple[list[str], set[str], object, bool]:
        flows = [f"g{number}" for number in range(10)]
        async with world.fleet(chain(2)) as those:
            await world.add_engine(those, FindsFault(server=world.server))
            await those.start(["f", *flows], ["s1"], INIT)
            ended = {(await those.finished(flow)).status for flow in flows}
            committer = those.nodes[0].committer
            await asyncio.sleep(WAIT_S)
            return list(committer.quarantined), ended, committer.fatal, committer.breaker.is_open

    assert play(scene) == (["f"], {"completed"}, None, False)


def test_a_start_that_the_server_finds_fault_with_leaves_its_id_free() -> None:
    async def scene(world: World) -> tuple[list[str], str]:
        async with world.fleet(chain(1)) as those:
            store = FindsFault(server=world.server)
            node = Node(store, "n", monotonic=world.loop.now_ms)
            await node.open()
            those.nodes.append(node)
            those.client, client = node, those.client
            with pytest.raises(CallRefused):
                await those.start(["f"], ["s0"], INIT)
            store.wrong = ""
            await those.start(["f"], ["s0"], INIT)
            those.client = client
            return list(node.committer.quarantined), (await client.load("f")).status

    assert play(scene) == ([], "active")


@pytest.mark.parametrize("change", [{"v": 2}, {"steps": {"s0": {"type": "quantum"}}}, {"steps": None}])
def test_a_plan_that_only_a_later_version_knows_is_left_to_it(change: dict[str, Any]) -> None:
    """Its bytes are its own: nothing is lost, and the flow is no bug."""
    book = PlanBook()
    catalog = apply_all(Catalog(), [(event, 0) for event in register(Catalog(), chain(1))])
    known = plan_to_json(make_plan(catalog, [StepId("s0")], INIT, RetryDefaults()))
    stored = encode({**known, **change})
    with pytest.raises(UnknownEvent, match=r"schema 2|is none that this version can read"):
        book.parse(hash_of(stored), stored)


def test_a_step_of_a_later_schema_is_left_to_those_who_know_it() -> None:
    with pytest.raises(UnknownEvent, match="step_registered"):
        catalog_event("step_registered", {"step": "s", "definition": chain(1)[0], "v": 2})


def test_an_event_of_a_later_schema_is_left_to_those_who_know_it() -> None:
    """It looks like one that is known, and is not read as one: nothing is called, nothing is lost."""

    async def scene(world: World) -> tuple[list[int], dict[str, int], list[Any], str]:
        async with world.fleet(chain(1)) as those:
            await those.start(["f", "g"], ["s0"], INIT)
            [head] = await those.client.store.heads(["f"])
            assert head is not None
            later = NewEvent("step_completed", 0, "operator:later", b'{"step": "s0", "v": 2}')
            await those.client.store.commit(
                [Turn(partition_of("f", PARTITIONS), "f", head.version, head.tx, "later.1", [later])]
            )
            await world.add_engine(those)
            ended = (await those.finished("g")).status
            await asyncio.sleep(WAIT_S)
            committer = those.nodes[0].committer
            dead = list(partition(world, "f").dead)
            return world.calls, committer.left_alone.counted(), dead, ended

    calls, left_alone, dead, ended = play(scene)
    assert (calls, dead, ended) == ([1], [], "completed")
    assert left_alone == {"history_lost": 0, "unknown_event": 1, "bug": 0}


# ------------------------------------------------------------------------ the condition


def test_a_heartbeat_says_what_is_wrong_and_nothing_when_all_is_well() -> None:
    async def scene(world: World) -> list[str]:
        async with world.fleet(chain(1)) as those:
            await world.add_engine(those)
            committer = those.nodes[0].committer
            seen: list[str] = []
            for flow in ["", "a", "b"]:
                if flow:
                    committer.distrust(flow, UnknownEvent(f"new in {flow}"))
                seen.append(condition_of(committer.breaker, committer.left_alone).to_text())
            await asyncio.sleep(WAIT_S)
            [engine] = await those.client.store.engines()
            return [*seen, engine.state]

    nothing, _, both, beaten = play(scene)
    assert (nothing, beaten) == ("", both)
    assert read_condition(both) == Condition("", 2, {"a": "new in a", "b": "new in b"})


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"left_alone": "many"}', '{"flows": 7}', "null"])
def test_what_a_later_version_may_say_of_itself_is_no_error(text: str) -> None:
    assert read_condition(text) == Condition()
