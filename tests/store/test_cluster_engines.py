"""Apps on a Redis Cluster: flows of all shapes end, while slots move and masters go down."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import servers
from cluster_apps import SHAPES, Journal, apps_on, check, engines_of, expected, start
from clusters import Cluster, until

from argyll_redis.core.commands import Look
from argyll_redis.runtime.mailbox import Mailbox, Posted
from argyll_redis.store.cluster import ClusterStore
from argyll_redis.store.cluster_clock import NodeClocks
from argyll_redis.store.cluster_slots import slot_of_key
from argyll_redis.store.copies import Copies
from argyll_redis.store.keys import Keys
from argyll_redis.store.url import Host

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(120)]

NODE_TIMEOUT_MS = 1_500
PARTITIONS = 4
BEHIND_MS = 60_000
"""By how much a node's clock is behind: longer than any of these tests takes."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three masters with a replica each, to be disturbed."""
    servers.shared_cluster()  # or the reason why there is none
    made = Cluster(servers.DIE_WITH_PARENT, masters=3, has_replicas=True, node_timeout_ms=NODE_TIMEOUT_MS)
    yield made
    made.close()


@pytest.fixture
def namespace() -> str:
    return f"t-{uuid4().hex[:8]}"


async def test_flows_of_all_shapes_end_on_a_cluster(namespace: str) -> None:
    """Two engines, partitions on all nodes: every flow comes to what it must, and the audit finds nothing."""
    cluster, journal = servers.shared_cluster(), Journal()
    async with apps_on(cluster.url, namespace, partitions=PARTITIONS) as apps:
        app = await engines_of(apps, journal)
        flows = await start(app, range(36))
        await check(app, flows)
    assert set(journal.calls.values()) == {1}
    assert journal.undone == 6


async def test_engines_with_one_slot_leave_nothing_behind(namespace: str) -> None:
    """Reads of all partitions wait for one slot: what comes beside the first is handed back or run, soon
    and once."""
    cluster, journal = servers.shared_cluster(), Journal()
    async with apps_on(cluster.url, namespace, partitions=PARTITIONS) as apps:
        app = await engines_of(apps, journal, concurrency=1)
        goals = ("last", "total", "again", "parent")
        flows = [each for each in await start(app, range(24)) if each[0] in goals]
        for goal, n, flow in flows:
            assert await flow.result(timeout_ms=20_000) == {dict(SHAPES)[goal]: expected(goal, n)}
    assert set(journal.calls.values()) == {1}


async def test_a_user_with_the_rights_of_the_guides_can_do_all_that_apps_and_engines_do(
    namespace: str,
) -> None:
    """On every node the rights for one server, and two more; nothing is left to the default user."""
    guide = Path(__file__).parents[2] / "docs" / "guide"
    (rule,) = re.findall(
        r"ACL SETUSER argyll on >PASSWORD (.*?)```", (guide / "secure-redis.md").read_text(), re.DOTALL
    )
    more = "+cluster|slots +asking"
    assert f"`{more}`" in (guide / "cluster.md").read_text()
    cluster, journal = servers.shared_cluster(), Journal()
    words = f"on >secret {rule} {more}".replace("{shop", f"{{{namespace}").split()
    for node in cluster.masters:
        node.call("ACL", "SETUSER", namespace, *words)
    url = cluster.url.replace("://", f"://{namespace}:secret@")
    async with apps_on(url, namespace, partitions=PARTITIONS) as apps:
        app = await engines_of(apps, journal)
        flows = await start(app, range(12))
        for goal, n, flow in flows:
            if goal != "pay":
                assert await flow.result(timeout_ms=20_000) == {dict(SHAPES)[goal]: expected(goal, n)}
    for node in cluster.masters:
        assert [told for told in node.call("ACL", "LOG") if namespace.encode() in told] == []
        node.call("ACL", "DELUSER", namespace)


class SlowClocks(NodeClocks):
    """The clocks of a cluster that has one node more, which is behind the others."""

    def shown_ms(self, nodes: Iterable[Host]) -> int:
        return max(0, super().shown_ms(nodes) - BEHIND_MS)


class BesideASlowNode(ClusterStore):
    """A store on such a cluster, whose flows are all on nodes that are ahead of what it shows."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._clocks = SlowClocks()

    async def now_ms(self) -> int:
        return await super().now_ms() - BEHIND_MS


async def test_a_node_whose_clock_is_behind_makes_nothing_early_and_nothing_late_for_long(
    namespace: str,
) -> None:
    """Retries and deadlines of milliseconds are kept in seconds, not in the time that the clock is behind,
    and the audit finds nothing that came before its time."""
    cluster, journal = servers.shared_cluster(), Journal()
    async with apps_on(cluster.url, namespace, partitions=PARTITIONS, kind=BesideASlowNode) as apps:
        app = await engines_of(apps, journal)
        await check(app, await start(app, range(12)))
    assert set(journal.calls.values()) == {1}


async def test_commits_wait_for_the_copies_on_the_replica_of_their_own_master(
    cluster: Cluster, namespace: str
) -> None:
    """Each part of a call waits on its own node; starts, results and registrations go through."""
    journal = Journal()
    async with apps_on(
        cluster.url, namespace, partitions=PARTITIONS, copies=Copies(replicas=1, limit_ms=10_000)
    ) as apps:
        app = await engines_of(apps, journal)
        await check(app, await start(app, range(12)))


async def test_flows_go_on_while_the_slots_of_their_partitions_move(cluster: Cluster, namespace: str) -> None:
    """Every partition goes to another node, key by key, while flows start and run: nothing is lost, and
    nothing is called twice."""
    journal, keys = Journal(), Keys(namespace)
    async with apps_on(cluster.url, namespace, partitions=PARTITIONS) as apps:
        app = await engines_of(apps, journal)
        flows = await start(app, range(12))
        for partition in range(PARTITIONS):
            slot = slot_of_key(keys.id(partition))
            owner = cluster.owner(slot)
            moving = asyncio.create_task(asyncio.to_thread(cluster.move, slot))
            flows += await start(app, range(12 + 12 * partition, 24 + 12 * partition))
            await moving
            assert cluster.owner(slot) is not owner
        await check(app, flows)
    assert set(journal.calls.values()) == {1}


async def test_flows_go_on_when_a_master_dies_and_its_replica_takes_over(
    cluster: Cluster, namespace: str
) -> None:
    """Engines back off while a part of the cluster is away, and go on with the new master."""
    journal, keys = Journal(), Keys(namespace)
    async with apps_on(cluster.url, namespace, partitions=PARTITIONS) as apps:
        app = await engines_of(apps, journal)
        flows = await start(app, range(12))
        slot = slot_of_key(keys.id(0))
        owner = cluster.owner(slot)
        owner.kill()
        starting = asyncio.create_task(start(app, range(12, 36), tries=1_000))
        await asyncio.to_thread(until, lambda: cluster.has_owner(slot), "a replica took over")
        flows += await starting
        assert cluster.owner(slot) is not owner
        await check(app, flows, limit_ms=60_000)


async def test_nothing_of_a_flow_is_decided_as_if_it_were_before_its_last_event(namespace: str) -> None:
    """Else what came due on a node that is ahead would be looked at again and again, until the clock that
    is shown has come to it."""
    cluster = servers.shared_cluster()
    async with apps_on(cluster.url, namespace, partitions=1, kind=BesideASlowNode) as apps:
        app = await engines_of(apps, Journal(), count=1)
        await check(app, await start(app, [0]))
        node = await app.node()
        flow = await node.load("f0")
        assert node.clock.now_ms() < flow.at_of(flow.version)
        made = node.committer._turns.make(Mailbox("f0"), flow, [Posted(Look("timer:e"))], now_ms=0)
        assert made.now_ms == flow.at_of(flow.version)
