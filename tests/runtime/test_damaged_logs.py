"""Logs that are not what was written: the flow they are of is left alone, with a word, and no other is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from argyll_redis.core.commands import Cancel
from argyll_redis.core.model import JSON, Step
from argyll_redis.core.state import Flow, WorkItem
from argyll_redis.errors import HistoryLost, InvariantBroken
from argyll_redis.runtime import engine
from argyll_redis.runtime.jobs import inputs_of
from argyll_redis.runtime.mailbox import Posted
from argyll_redis.runtime.node import Node
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_partition import Log
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import CommitReply, Fetch, Head, Refused, Turn
from argyll_redis.views import flow_state, show_events
from tests.runtime.nodes import Fleet, chain, fleet

pytestmark = pytest.mark.anyio

INIT = {"a0": [1]}


@dataclass(frozen=True)
class Damaged:
    """A fleet with a flow that has begun, and the flow's log."""

    those: Fleet
    server: MemoryServer
    log: Log

    def hurt(self, place: int, data: bytes) -> None:
        """Writes something else into an event."""
        self.log.events[place] = self.log.events[place]._replace(data=data)

    async def another(self, name: str) -> Node:
        """A process that knows nothing yet."""
        node = Node(MemoryStore(server=self.server), name)
        await node.open()
        self.those.nodes.append(node)
        return node


@pytest.fixture
async def damaged() -> AsyncIterator[Damaged]:
    """A flow `f` of two steps that no engine has seen."""
    server = MemoryServer(partitions=1)
    async with fleet(lambda: MemoryStore(server=server), chain(2)) as those:
        await those.start(["f"], ["s1"], INIT)
        yield Damaged(those, server, server.namespace.partitions[0].logs["f"])


@pytest.mark.parametrize("data", [b"", b"{", b'{"step":', b"\xff", b'{"step":"\\ud800"}', b'{"step":NaN}'])
async def test_bytes_that_are_no_event_are_told_as_lost_history(damaged: Damaged, data: bytes) -> None:
    damaged.hurt(1, data)
    with pytest.raises(HistoryLost, match="event 2 is not what was written"):
        await damaged.those.client.load("f")


async def test_a_start_that_cannot_be_read_is_told_as_well(damaged: Damaged) -> None:
    """Its plan is looked for before the event is made."""
    damaged.hurt(0, b'{"plan":')
    with pytest.raises(HistoryLost, match="event 1 is not what was written"):
        await damaged.those.client.load("f")


@pytest.mark.parametrize(
    "data",
    [
        b'{"step":{},"inputs":{},"items":1}',
        b'{"step":"s0","inputs":{},"items":"1"}',
        b'{"step":"nobody","inputs":{},"items":1}',
    ],
)
async def test_an_event_that_cannot_be_folded_is_told_with_its_flow(damaged: Damaged, data: bytes) -> None:
    damaged.hurt(1, data)
    with pytest.raises(InvariantBroken, match=r"^flow f: nobody can make sense of its log"):
        await damaged.those.client.load("f")


async def test_what_is_shown_of_a_flow_nobody_can_make_sense_of_is_told_too(damaged: Damaged) -> None:
    """Not everything that a log holds is looked at when it is folded."""
    client = damaged.those.client
    whole = damaged.log.events[0].data
    damaged.hurt(0, whole.replace(b'"metadata":{}', b'"metadata":5'))
    with pytest.raises(InvariantBroken, match='the log of flow "f"'):
        flow_state(await client.load("f"))
    damaged.hurt(0, whole)
    damaged.hurt(1, b'{"step":"s0","inputs":{"a0":7},"items":1}')
    events = await client.logs.events("f")
    with pytest.raises(InvariantBroken, match='the log of flow "f"'):
        list(show_events(client.logs.fold_prefix("f", []), events))


async def test_a_head_that_does_not_go_with_its_log_is_told_at_once(damaged: Damaged) -> None:
    """Decided again the command would be refused again, for as long as anybody asks."""
    damaged.log.tx = "another"
    node = await damaged.another("late")
    with pytest.raises(HistoryLost, match='the head of flow "f" does not go with its log'):
        await node.committer.ask("f", Cancel("operator:x"))


async def test_a_log_that_is_gone_is_told_at_once(damaged: Damaged) -> None:
    """Its head is there, so nobody can begin it anew either."""
    damaged.log.events, damaged.log.tx = [], "another"
    node = await damaged.another("late")
    with pytest.raises(HistoryLost, match='the head of flow "f" does not go with its log'):
        await node.committer.ask("f", Cancel("operator:x"))


class Headless(MemoryStore):
    """Has lost the heads, and with them what commits are compared with."""

    async def heads(self, flows: Sequence[str]) -> list[Head | None]:
        return [None for _ in flows]

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        reply = await super().commit([])
        return CommitReply(reply.now_ms, tuple(Refused(0, (), False, False) for _ in turns), ())


async def test_a_flow_whose_head_is_gone_is_told(damaged: Damaged) -> None:
    """It looks as if it had expired, and then its log is there after all."""
    await damaged.those.add_engine()
    await damaged.those.finished("f")
    node = Node(Headless(server=damaged.server), "late")
    await node.open()
    damaged.those.nodes.append(node)
    with pytest.raises(HistoryLost, match='flow "f" is at version 0 on the server'):
        await node.committer.ask("f", Cancel("operator:x"))


class Arrives(Posted):
    """Makes no sense of the flow that it is shown."""

    def __init__(self) -> None:
        super().__init__(None, None)
        self.told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def arrive(self, flow: Flow) -> bool:
        raise KeyError(flow.id)

    def fail(self, error: BaseException) -> None:
        self.told.set_exception(error)


async def test_a_flow_that_cannot_be_gone_on_with_stops_no_process(damaged: Damaged) -> None:
    node, posted = damaged.those.client, Arrives()
    node.committer.post("f", posted)
    with pytest.raises(InvariantBroken, match="KeyError"):
        await posted.told
    assert (node.committer.fatal, list(node.committer.quarantined)) == (None, ["f"])


async def test_a_page_that_does_not_go_on_is_told(damaged: Damaged) -> None:
    """Whoever reads to the end of such a log would never come there."""
    damaged.log.events[2] = damaged.log.events[2]._replace(version=1)
    with pytest.raises(HistoryLost, match="does not go on after version 2"):
        await damaged.those.client.logs.events("f", 2)


@pytest.mark.parametrize("data", [b"{", b'{"step":{},"inputs":{},"items":1}'])
async def test_an_engine_leaves_a_damaged_flow_alone_and_runs_the_others(
    damaged: Damaged, data: bytes
) -> None:
    damaged.hurt(1, data)
    engine = await damaged.those.add_engine()
    await damaged.those.start(["g"], ["s1"], INIT)
    flow = await damaged.those.finished("g")
    assert (flow.status, engine.counters.buried) == ("completed", 1)
    [home] = damaged.server.namespace.partitions
    assert [payload.partition(" ")[0] for _, payload, _ in home.dead] == ["f"]


async def test_a_flow_that_is_known_and_cannot_be_begun_ends_no_engine(
    damaged: Damaged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work of a flow that was read before is begun without a look at its log."""

    def inputs(flow: Flow, step: Step, item: WorkItem, webhook_base_url: str) -> dict[str, JSON]:
        if flow.id == "f":
            raise KeyError(step.id)
        return inputs_of(flow, step, item, webhook_base_url)

    monkeypatch.setattr(engine, "inputs_of", inputs)
    node = await damaged.another("e0")
    node.committer.cache.put(await node.load("f"))
    await damaged.those.add_engine(node=node)
    await damaged.those.start(["g"], ["s1"], INIT)
    flow = await damaged.those.finished("g")
    assert (flow.status, list(node.committer.quarantined)) == ("completed", ["f"])


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}", b'{"step":"a"}'])
async def test_a_catalog_that_is_not_what_was_written_is_told_as_lost_history(
    damaged: Damaged, data: bytes
) -> None:
    catalog = damaged.server.namespace.catalog
    catalog.events.append(catalog.events[-1]._replace(version=catalog.version + 1, data=data))
    node = await damaged.another("late")
    with pytest.raises(HistoryLost, match="the catalog"):
        await node.catalog.refresh()
