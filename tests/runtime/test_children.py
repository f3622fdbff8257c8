"""Children and their parents when engines die between any two calls, and when entries are lost.

Time is virtual: nothing here waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from argyll_redis.core.commands import Accepted, Broken, Cancel, Outcome, Report, Start, Succeeded
from argyll_redis.core.model import JSON, StepId
from argyll_redis.core.state import Flow
from argyll_redis.core.sub_flows import Parent, child_id, metadata_for, start_of
from argyll_redis.runtime.clock import new_seed
from argyll_redis.runtime.engine_config import EngineConfig
from argyll_redis.runtime.node import Node
from argyll_redis.runtime.sweep_children import Family, lacking
from argyll_redis.steps.job import Job
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.protocol import CommitReply, Fetch, Turn
from tests.runtime.nodes import Fleet, step
from tests.runtime.test_lost_replies import LEASE_MS, World, play

Scene = Callable[[World, Fleet], Awaitable[Any]]

STEPS: list[dict[str, JSON]] = [
    step("work", ["n"], ["done"]),
    {
        "id": "sub",
        "type": "flow",
        "flow": {"goals": ["work"]},
        "attributes": {
            "n": {"role": "required"},
            "result": {"role": "output", "output": {"mapping": {"name": "done"}}},
        },
    },
]


def act(scene: Scene) -> Any:
    """Plays a scene on a fleet that has the steps."""

    async def whole(world: World) -> Any:
        async with world.fleet(STEPS) as those:
            return await scene(world, those)

    return play(whole)


async def start(those: Fleet) -> None:
    await those.start(["f"], ["sub"], {"n": [7]})


async def child_of(those: Fleet) -> str:
    """The id of the only child."""
    flow = await those.client.load("f")
    return child_id("f", "sub", next(iter(flow.tokens)))


class Doomed(MemoryStore):
    """A store whose process dies within the call that starts a child: some of its turns are applied."""

    def __init__(self, world: World, applies: Callable[[Turn], bool]) -> None:
        super().__init__(server=world.server)
        self.applies = applies
        self.has_died = asyncio.Event()

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        if self.has_died.is_set() or any(":" in turn.flow for turn in turns):
            if not self.has_died.is_set():
                await super().commit([turn for turn in turns if self.applies(turn)])
            self.has_died.set()
            await asyncio.Event().wait()
        return await super().commit(turns, fetch)


async def die(world: World, applies: Callable[[Turn], bool]) -> None:
    """Is an engine until it starts a child, and dies then."""
    store = Doomed(world, applies)
    node = Node(store, "doomed", monotonic=world.loop.now_ms)
    await node.open()
    config = EngineConfig("doomed", ("builtin",), lease_ms=LEASE_MS, renew_in_thread=False)
    running = node.run_engine(config, {}, can_do=lambda _: False, until=asyncio.Event().wait)
    engine = asyncio.create_task(running)
    await store.has_died.wait()
    engine.cancel()
    node.committer.abort()
    await asyncio.wait([engine])


def is_child(turn: Turn) -> bool:
    return ":" in turn.flow


def is_parent(turn: Turn) -> bool:
    return ":" not in turn.flow


def attempts(flow: Flow) -> list[int]:
    return [item.attempt for run in flow.steps.values() for item in run.items.values()]


# ------------------------------------------------------------------- in one call


class Notes(MemoryStore):
    """Notes which flows' turns travel together."""

    def __init__(self, world: World) -> None:
        super().__init__(server=world.server)
        self.calls: list[list[str]] = []

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        self.calls.append([turn.flow.partition(":")[1] or turn.flow for turn in turns if turn.events])
        return await super().commit(turns, fetch)


@pytest.mark.contract("children", "A child's start and its acceptance travel in one call, the child first.")
def test_a_childs_start_and_its_acceptance_travel_in_one_call_child_first() -> None:
    async def scene(world: World, those: Fleet) -> list[list[str]]:
        store = Notes(world)
        await start(those)
        await world.add_engine(those, store)
        await those.finished("f")
        return store.calls

    assert act(scene)[0] == [":", "f"]


# -------------------------------------------------------------------- engines die


@pytest.mark.parametrize(
    ("applies", "attempt"),
    [(is_child, 1), (lambda _: True, 1), (lambda _: False, 2)],
    ids=["before the acceptance", "after it", "before the start"],
)
def test_a_child_is_started_once_whatever_its_engine_did_last(
    applies: Callable[[Turn], bool], attempt: int
) -> None:
    async def scene(world: World, those: Fleet) -> tuple[list[int], list[int]]:
        await start(those)
        await die(world, applies)
        await world.add_engine(those)
        return attempts(await those.finished("f")), world.calls

    assert act(scene) == ([attempt], [1])


def test_an_item_whose_child_was_never_started_is_started_again_by_a_sweep() -> None:
    async def scene(world: World, those: Fleet) -> list[int]:
        await start(those)
        await die(world, is_parent)
        await world.add_engine(those)
        return attempts(await those.finished("f"))

    assert act(scene) == [2]


def test_a_parent_is_told_by_whoever_lives_when_its_child_has_ended() -> None:
    async def scene(world: World, those: Fleet) -> dict[str, list[JSON]]:
        await start(those)
        await die(world, lambda _: True)
        await complete_child(those)
        await world.add_engine(those)
        flow = await those.finished("f")
        return {name: [each.value for each in values] for name, values in flow.attributes.items()}

    assert act(scene) == {"n": [7], "result": [8]}


async def complete_child(those: Fleet) -> None:
    """Completes the only work of the child from outside."""
    child = await child_of(those)
    token = next(iter((await those.client.load(child)).tokens))
    await those.client.committer.ask(child, Report("operator:somebody", token, Succeeded({"done": 8})))


def test_an_engine_that_starts_a_child_which_has_ended_completes_its_parent_at_once() -> None:
    """Though the word was lost."""

    async def scene(world: World, those: Fleet) -> list[int]:
        await start(those)
        await die(world, is_child)
        await complete_child(those)
        world.server.lose_dispatch()
        await world.add_engine(those)
        return attempts(await those.finished("f"))

    assert act(scene) == [2]


@pytest.mark.contract("children", "A word to a parent that was lost is given again.")
def test_a_word_that_was_lost_is_given_again_by_a_sweep() -> None:
    async def scene(world: World, those: Fleet) -> list[int]:
        await start(those)
        await die(world, lambda _: True)
        await complete_child(those)
        world.server.lose_dispatch()
        await world.add_engine(those)
        return attempts(await those.finished("f"))

    assert act(scene) == [1]


def test_a_child_that_nobody_waits_for_is_cancelled_by_a_sweep() -> None:
    """The call that starts it arrives when its item is over, and whoever sent it is dead by then."""

    async def waits(job: Job) -> Outcome:
        return Accepted()

    async def scene(world: World, those: Fleet) -> str | None:
        await start(those)
        flow = await those.client.load("f")
        [item] = flow.steps[StepId("sub")].items.values()
        late = start_of(flow, item, {"n": 7}, plan_hash=_hash_of(those, flow), by="start:doomed")
        ask = those.client.committer.ask
        await ask("f", Report("operator:somebody", item.token, Broken("no")))
        world.server.lose_dispatch()
        await ask(child_id("f", "sub", item.token), late)
        await world.add_engine(those, handler=waits)
        return await error_of(those, child_id("f", "sub", item.token))

    assert act(scene) == "cancelled"


@pytest.mark.parametrize(
    ("payload", "is_lacking"),
    [("f:sub:t cancel", False), ("f children sub 100", False), ("f2 children sub 0", True), ("f look", True)],
)
def test_a_child_that_an_entry_will_cancel_lacks_nothing(payload: str, is_lacking: bool) -> None:
    """Its own, or the one by which its parent goes on with the rest of its children."""

    async def scene(world: World, those: Fleet) -> list[str]:
        await start(those)
        flow = await those.client.load("f")
        [item] = flow.steps[StepId("sub")].items.values()
        ask = those.client.committer.ask
        late = start_of(flow, item, {"n": 7}, plan_hash=_hash_of(those, flow), by="start:doomed")
        await ask("f", Report("operator:somebody", item.token, Broken("no")))
        await ask(child_id("f", "sub", item.token), late)
        child = await those.client.load(child_id("f", "sub", item.token))
        family = Family({}, {"f": await those.client.load("f")})
        named = payload.replace("f:sub:t", child.id)
        return list(lacking(child, family, frozenset({("control", named)})))

    assert act(scene) == (["cancel"] if is_lacking else [])


async def error_of(those: Fleet, flow_id: str) -> str | None:
    """Waits for the outcome of a flow; gives its error."""
    async with those.client.follower.follow(flow_id) as following:
        while not (flow := await those.client.load(flow_id)).is_over:
            await following.wait()
    return flow.error


def _hash_of(those: Fleet, flow: Flow) -> str:
    return those.client.committer.hash_of(flow.plan.children[StepId("sub")])


@pytest.mark.contract("children", "A child is cancelled though no engine lived when its parent was.")
def test_a_child_is_cancelled_when_its_parent_was_while_no_engine_lived() -> None:
    async def scene(world: World, those: Fleet) -> str | None:
        await start(those)
        await die(world, lambda _: True)
        await those.client.committer.ask("f", Cancel("operator:somebody"))
        await world.add_engine(those)
        return (await those.finished(await child_of(those))).error

    assert act(scene) == "cancelled"


# ---------------------------------------------------------------------- strangers


def test_another_flow_under_a_childs_id_fails_the_item() -> None:
    async def scene(world: World, those: Fleet) -> str | None:
        await start(those)
        child = await child_of(those)
        plan = await those.plan(["work"], {"n": [1]})
        hash = those.client.logs.plans.add(plan)
        other = Parent("elsewhere", *child.split(":")[1:])  # type: ignore[arg-type]
        begun = Start("start:x", plan, hash, new_seed(), {"n": [1]}, metadata=metadata_for(other))
        await those.client.committer.ask(child, begun)
        await world.add_engine(those)
        return (await those.finished("f")).error

    assert "exists and was started with something else" in act(scene)
