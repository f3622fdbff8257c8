"""What only the store on a cluster has to do: split its calls into one a slot, and lose nothing of what
the parts bring."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import servers
from servers import CLUSTER, TestServer, checked_server
from store_words import until

from argyll_redis.errors import NamespaceEmptied, StoreUnavailable, StoreUnfit
from argyll_redis.store.cluster import ClusterStore
from argyll_redis.store.cluster_clock import NodeClocks
from argyll_redis.store.cluster_fitness import findings_of, worst_of
from argyll_redis.store.cluster_parts import shares
from argyll_redis.store.connect import Command
from argyll_redis.store.fitness import Level, examine
from argyll_redis.store.protocol import (
    CONTROL,
    Committed,
    Dispatch,
    EngineInfo,
    Entry,
    Fetch,
    Keep,
    NewEvent,
    StreamRef,
    Turn,
    partition_of,
)
from argyll_redis.store.redis import RedisStore

pytestmark = [pytest.mark.anyio, pytest.mark.real]

PARTITIONS = 4


@pytest.fixture
def server() -> Any:
    yield from checked_server(CLUSTER)


@pytest.fixture
async def make(server: TestServer) -> AsyncIterator[Callable[[], ClusterStore]]:
    """Makes stores of one namespace, not yet open."""
    made: list[ClusterStore] = []

    def make() -> ClusterStore:
        made.append(ClusterStore("", server.namespace, partitions=PARTITIONS, connector=server.connector))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture
async def store(make: Callable[[], ClusterStore]) -> ClusterStore:
    store = make()
    await store.open()
    await store.add_queues(["a"])
    return store


def flow_in(partition: int) -> str:
    """A flow that lives in a partition."""
    return next(f"f{n}" for n in range(1_000) if partition_of(f"f{n}", PARTITIONS) == partition)


def start(partition: int, *payloads: str, tx: str = "t1") -> Turn:
    """A turn that starts a flow in a partition, and adds work."""
    ops = [Dispatch("work:a", payload) for payload in payloads]
    events = (NewEvent("flow_started", 0, "start", b"{}"),)
    return Turn(partition, flow_in(partition), 0, "", tx, events, ops)


def every(*, slots: int, stream: str = "work:a", control: int = 0) -> Fetch:
    return Fetch("e1", slots, [StreamRef(place, stream) for place in range(PARTITIONS)], control=control)


def payloads(entries: Sequence[Entry]) -> list[str]:
    return sorted(entry.payload for entry in entries)


class Heard:
    """The commands that a store sends, and those that it sends in vain."""

    def __init__(self, store: ClusterStore) -> None:
        self.scripts: Counter[int] = Counter()
        """Script calls by how many of their keys are those of partitions."""
        self.is_away: Callable[[Command], bool] = lambda command: False
        self._send = store._nodes._send
        store._nodes._send = self.send  # type: ignore[method-assign]

    async def send(self, hop: Any, command: Command, wait_ms: int, copied: str) -> Any:
        if command[0] == "EVALSHA":  # an EVAL only follows one
            self.scripts[sum(str(word).endswith("}:id") for word in command)] += 1
        if self.is_away(command):
            raise StoreUnavailable("cut off")
        return await self._send(hop, command, wait_ms, copied)


def names(partition: int) -> Callable[[Command], bool]:
    """Commands of a partition."""
    return lambda command: any(f":{partition}}}:id" in str(word) for word in command)


# ------------------------------------------------------------------------- namespaces


async def test_stores_that_create_a_namespace_at_once_agree_on_it(make: Callable[[], ClusterStore]) -> None:
    stores = [make() for _ in range(6)]
    await asyncio.gather(*(store.open() for store in stores))
    assert len({store._instance for store in stores}) == 1


async def test_a_foreign_key_in_the_way_is_named_and_nothing_created(
    server: TestServer, make: Callable[[], ClusterStore]
) -> None:
    key = server.keys.of(PARTITIONS - 1, "due")
    server.client.set(key, "mine")
    with pytest.raises(StoreUnfit, match="due is a string, not a zset"):
        await make().open()
    assert server.all_keys() == [key]
    server.client.delete(key)


async def test_a_creation_that_stopped_goes_on(server: TestServer, make: Callable[[], ClusterStore]) -> None:
    server.client.hset(server.keys.meta, mapping={"instance": "i0", "layout": 1, "partitions": PARTITIONS})
    server.client.set(server.keys.id(1), "i0")
    await make().open()
    ids = {server.client.get(server.keys.id(place)) for place in range(PARTITIONS)}
    assert (ids, server.client.hget(server.keys.meta, "ready")) == ({b"i0"}, b"1")


@pytest.mark.parametrize("key", ["meta", "id"])
async def test_a_namespace_that_lost_a_key_is_not_opened(
    key: str, server: TestServer, store: ClusterStore, make: Callable[[], ClusterStore]
) -> None:
    server.client.delete(server.keys.meta if key == "meta" else server.keys.id(2))
    before = server.all_keys()
    with pytest.raises(NamespaceEmptied):
        await make().open()
    assert server.all_keys() == before


async def test_a_node_that_is_reached_as_a_single_server_is_refused_with_the_mend() -> None:
    port = servers.shared_cluster().masters[0].port
    store = RedisStore(f"redis://127.0.0.1:{port}", "t")
    with pytest.raises(StoreUnfit, match=r"a node of a cluster \(use redis\+cluster://"):
        await store.open()
    await store.close()


# ---------------------------------------------------------------------------- commits


async def test_turns_of_several_partitions_are_answered_in_their_order(store: ClusterStore) -> None:
    await store.commit([start(2)])
    heard = Heard(store)
    reply = await store.commit([start(place, tx="t2") for place in (3, 2, 0)])
    assert [isinstance(turn, Committed) for turn in reply.turns] == [True, False, True]
    assert heard.scripts == {1: 3}


async def test_turns_of_one_partition_are_one_call_which_fetches_there_alone(store: ClusterStore) -> None:
    await store.commit([start(0, "elsewhere")])
    heard = Heard(store)
    reply = await store.commit([start(1, "r1", "r2")], every(slots=9))
    assert (payloads(reply.entries), heard.scripts) == (["r1", "r2"], {1: 1})


async def test_a_commit_hands_out_no_more_than_its_slots_over_all_its_parts(store: ClusterStore) -> None:
    turns = [start(place, *[f"r{place}-{n}" for n in range(5)]) for place in range(PARTITIONS)]
    reply = await store.commit(turns, every(slots=6))
    assert len(reply.entries) == 6
    assert len(await store.fetch(every(slots=99))) == 14


async def test_a_call_whose_part_fails_is_not_answered_and_can_be_sent_again(store: ClusterStore) -> None:
    heard = Heard(store)
    turns = [start(place) for place in range(PARTITIONS)]
    heard.is_away = names(2)
    with pytest.raises(StoreUnavailable):
        await store.commit(turns)
    heard.is_away = lambda command: False
    reply = await store.commit(turns)
    kinds = [isinstance(turn, Committed) or turn.missed[0].tx for turn in reply.turns]  # type: ignore[union-attr]
    assert kinds == ["t1", "t1", True, "t1"]


async def test_what_the_other_parts_of_a_failed_call_were_handed_comes_late(store: ClusterStore) -> None:
    late: list[Entry] = []
    store.on_late("e1", late.append)
    Heard(store).is_away = names(2)
    with pytest.raises(StoreUnavailable):
        await store.commit([start(place, f"r{place}") for place in range(PARTITIONS)], every(slots=9))
    await until_true(lambda: len(late) == 3)
    assert payloads(late) == ["r0", "r1", "r3"]


async def test_a_call_that_is_refused_whole_writes_nothing_anywhere(store: ClusterStore) -> None:
    bad = Turn(1, flow_in(1), 0, "", "t 1", (NewEvent("flow_started", 0, "start", b"{}"),))
    with pytest.raises(ValueError):
        await store.commit([start(0), bad])
    assert await store.heads([flow_in(0)]) == [None]


# ---------------------------------------------------------------------------- fetches


async def test_a_fetch_gives_all_its_slots_to_the_partition_that_has_work(store: ClusterStore) -> None:
    await store.commit([start(3, *[f"r{n}" for n in range(20)])])
    assert len(await store.fetch(every(slots=10))) == 10


async def test_one_slot_finds_the_one_entry_that_there_is(store: ClusterStore) -> None:
    await store.commit([start(3, "r1")])
    assert payloads(await store.fetch(every(slots=1))) == ["r1"]
    assert await store.fetch(every(slots=1)) == ()


async def test_partitions_that_were_asked_for_control_alone_are_asked_for_work_when_slots_are_left(
    store: ClusterStore,
) -> None:
    await store.commit([start(3, "r1")])
    refs = [StreamRef(place, stream) for place in range(PARTITIONS) for stream in (CONTROL, "work:a")]
    assert payloads(await store.fetch(Fetch("e1", 1, refs, control=9))) == ["r1"]


async def test_a_fetch_hands_out_what_it_got_though_a_node_is_away(store: ClusterStore) -> None:
    await store.commit([start(place, f"r{place}") for place in range(PARTITIONS)])
    heard = Heard(store)
    heard.is_away = names(2)
    assert payloads(await store.fetch(every(slots=9))) == ["r0", "r1", "r3"]
    with pytest.raises(StoreUnavailable):
        await store.fetch(every(slots=9))


@pytest.mark.parametrize(
    ("count", "weights", "expected"),
    [
        (0, [1, 1], [0, 0]),
        (1, [1, 1], [1, 0]),
        (10, [1, 1, 1], [4, 3, 3]),
        (4, [3, 1], [3, 1]),
        (5, [9], [5]),
    ],
)
def test_slots_are_divided_whole(count: int, weights: list[int], expected: list[int]) -> None:
    assert shares(count, weights) == expected


# ----------------------------------------------------------------------- reads that wait

PLACES = [(place, "work:a") for place in range(PARTITIONS)]


async def until_true(fact: Callable[[], bool]) -> None:
    async def is_so() -> bool:
        await asyncio.sleep(0.001)
        return fact()

    await until(is_so)


async def test_a_wait_ends_with_the_first_partition_that_has_something(store: ClusterStore) -> None:
    waiting = asyncio.create_task(store.block("e1", PLACES, 2_000))
    await until_true(lambda: len(store._blocked.waiting()) == PARTITIONS)
    await store.commit([start(2, "r1")])
    assert payloads(await waiting) == ["r1"]
    assert len(store._blocked.waiting()) == PARTITIONS - 1


async def test_what_comes_after_the_wait_is_kept_for_the_next_one(store: ClusterStore) -> None:
    await store.commit([start(2, "r1")])
    assert payloads(await store.block("e1", PLACES, 2_000)) == ["r1"]
    await store.commit([start(0, "r2")])
    await until_true(lambda: len(store._blocked.waiting()) == PARTITIONS - 2)
    assert payloads(await store.block("e1", PLACES, 2_000)) == ["r2"]


async def test_what_comes_after_the_wait_is_handed_to_whoever_takes_what_is_late(store: ClusterStore) -> None:
    late: list[Entry] = []
    store.on_late("e1", late.append)
    await store.commit([start(2, "r1")])
    assert payloads(await store.block("e1", PLACES, 2_000)) == ["r1"]
    await store.commit([start(0, "r2")])
    await until_true(lambda: bool(late))
    assert payloads(late) == ["r2"]


async def test_nothing_is_asked_for_where_a_read_waits_already(store: ClusterStore) -> None:
    await store.commit([start(2, "r1", "r2", "r3")])
    assert payloads(await store.block("e1", PLACES, 2_000)) == ["r1"]
    heard = Heard(store)
    assert payloads(await store.fetch(every(slots=9))) == ["r2", "r3"]
    assert heard.scripts == {1: 1}


async def test_a_wait_that_is_cancelled_ends_its_reads(store: ClusterStore) -> None:
    waiting = asyncio.create_task(store.block("e1", PLACES, 2_000))
    await until_true(lambda: len(store._blocked.waiting()) == PARTITIONS)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert store._blocked.waiting() == []
    await store.commit([start(2, "r1")])
    assert payloads(await store.fetch(every(slots=9))) == ["r1"]


async def test_an_engine_that_retires_reads_no_more(store: ClusterStore) -> None:
    await store.commit([start(2, "r1")])
    (entry,) = await store.block("e1", PLACES, 2_000)
    await store.release("e1", [entry])
    assert await store.retire("e1")
    assert store._blocked.waiting() == []


async def test_an_idle_wait_goes_on_until_its_time_is_over(store: ClusterStore) -> None:
    assert await store.block("e1", PLACES, 30) == ()


# ----------------------------------------------------------------------------- keeping


async def test_a_round_of_keeping_is_one_call_a_partition_and_one_for_the_engines(
    store: ClusterStore,
) -> None:
    heard = Heard(store)
    takeover = [
        (StreamRef(place, stream), "0-0") for place in range(PARTITIONS) for stream in ("work:a", CONTROL)
    ]
    reply = await store.keep(Keep(EngineInfo("e1", ("a",)), takeover=takeover))
    assert heard.scripts == {0: 1, 1: PARTITIONS}
    assert [engine.id for engine in reply.engines] == ["e1"]
    assert len(reply.cursors) == len(takeover)


async def test_what_was_taken_over_is_handed_on_though_a_node_is_away(store: ClusterStore) -> None:
    await store.commit([start(place, f"r{place}") for place in range(PARTITIONS)])
    await store.fetch(every(slots=9))
    takeover = [(StreamRef(place, "work:a"), "0-0") for place in range(PARTITIONS)]
    heard = Heard(store)
    heard.is_away = names(2)
    reply = await store.keep(Keep(EngineInfo("e2", ("a",)), takeover=takeover, min_idle_ms=0))
    assert payloads(reply.taken) == ["r0", "r1", "r3"]
    with pytest.raises(StoreUnavailable):
        await store.keep(Keep(EngineInfo("e2", ("a",)), min_idle_ms=0))


# ---------------------------------------------------------------------------- renewing


async def renewed_in_vain(store: ClusterStore, error: StoreUnavailable) -> list[int]:
    """The partitions that a renewal has asked for, when each is answered with an error."""
    asked: list[int] = []

    def refuse(command: Command) -> Any:
        asked.extend(place for place in range(PARTITIONS) if names(place)(command))
        raise error

    store._renewals.call = refuse  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        store.renew("e1", [], PLACES)
    return asked


async def test_a_partition_whose_slot_moves_holds_up_no_renewal_of_its_node(store: ClusterStore) -> None:
    """Else the leases of its neighbours would run out as long as it moves."""
    moving = StoreUnavailable("the Redis cluster is moving these keys")
    assert await renewed_in_vain(store, moving) == list(range(PARTITIONS))


async def test_a_node_that_does_not_answer_is_asked_once_a_renewal(store: ClusterStore) -> None:
    nodes = {store._owner(place) for place in range(PARTITIONS)}
    assert len(await renewed_in_vain(store, StoreUnavailable("away", address="h:1"))) == len(nodes)


# ------------------------------------------------------------------------ all the nodes


@pytest.mark.parametrize("right", ["xadd", "asking"])
async def test_a_right_that_lacks_at_one_node_alone_is_named(right: str, server: TestServer) -> None:
    """Each node has users of its own, and a script that is refused a command midway leaves half of it."""
    masters, rights = servers.shared_cluster().masters, ("+@all", "resetkeys", f"~{{{server.namespace}*")
    url = servers.shared_cluster().url.replace("://", f"://{server.namespace}:secret@")
    store = ClusterStore(url, server.namespace, partitions=1)
    try:
        for node in masters:
            node.call("ACL", "SETUSER", server.namespace, "on", ">secret", *rights)
        assert await store.missing_rights() == ()
        for node in masters:
            node.call("ACL", "SETUSER", server.namespace, f"-{right}")
            assert await store.missing_rights() == (f"+{right}",)
            node.call("ACL", "SETUSER", server.namespace, f"+{right}")
    finally:
        await store.close()
        for node in masters:
            node.call("ACL", "DELUSER", server.namespace)


FIT = {
    "redis_version": "7.0.15", "role": "master", "maxmemory_policy": "noeviction", "aof_enabled": "1",
    "cluster_enabled": "1", "cluster_masters": "2",
}  # fmt: skip


def test_a_cluster_of_fit_nodes_has_no_findings() -> None:
    assert findings_of({"h:1": FIT, "h:2": FIT}) == []


def test_one_unfit_node_makes_a_cluster_unfit_and_is_named() -> None:
    bad = FIT | {"maxmemory_policy": "allkeys-lru"}
    (finding,) = findings_of({"h:1": FIT, "h:2": bad})
    assert finding.is_fatal
    assert str(finding).startswith("the eviction policy allkeys-lru drops keys, at h:2 (")
    assert worst_of({"h:1": FIT, "h:2": bad})["maxmemory_policy"] == "allkeys-lru"


def test_of_masters_that_are_well_the_one_with_the_fewest_replicas_is_told_of() -> None:
    """Whether commits get their copies is a matter of each master."""
    infos = {"h:1": FIT | {"connected_slaves": "1"}, "h:2": FIT | {"connected_slaves": "0"}}
    for each in (infos, dict(reversed(infos.items()))):
        assert worst_of(each)["connected_slaves"] == "0"


def test_what_is_true_of_several_nodes_is_said_once() -> None:
    without = FIT | {"aof_enabled": "0"}
    (finding,) = findings_of({"h:1": without, "h:2": without})
    assert (finding.is_fatal, "at h:1, h:2" in str(finding)) == (False, True)


def test_clocks_that_are_apart_are_said() -> None:
    infos = {"h:1": FIT | {"server_time_usec": "5000000"}, "h:2": FIT | {"server_time_usec": "7500000"}}
    (finding,) = findings_of(infos)
    assert "2,500 ms apart" in str(finding)
    remarks = [remark for remark in examine(worst_of(infos)) if "2,500 ms apart" in remark.what]
    assert [remark.level for remark in remarks] == [Level.WARNING]


async def test_the_clock_of_the_slowest_node_is_shown() -> None:
    clocks = NodeClocks()
    assert clocks.shown_ms([("h", 1)]) == 0
    clocks.read(("h", 1), 1_000_000)
    clocks.read(("h", 2), 900_000)
    assert 900_000 <= clocks.shown_ms([("h", 1), ("h", 2)]) < 1_000_000
    assert clocks.shown_ms([("h", 1)]) >= 1_000_000


async def test_the_server_tells_of_itself_and_every_node_runs_scripts(store: ClusterStore) -> None:
    assert (await store.info())["cluster_masters"] == "3"
    assert await store.can_run_scripts() == ""
    assert [finding for finding in await store.findings() if finding.is_fatal] == []
