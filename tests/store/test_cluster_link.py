"""Connections to a cluster's nodes: a command goes where its key is, wherever that is by now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from cluster_nodes import Nodes, played

from argyll_redis.errors import InvalidInput, StoreUnavailable, StoreUnfit
from argyll_redis.store.cluster_link import HOPS, ClusterBlockingLink, ClusterConnector, ClusterLink
from argyll_redis.store.cluster_slots import SLOTS, SlotMap, slot_of, slot_of_key

pytestmark = pytest.mark.anyio

LOW, HIGH = "{b}", "{a}"
"""Keys of a slot in the lower half, and in the upper half."""


def test_the_keys_of_these_tests_are_where_they_are_said_to_be() -> None:
    assert slot_of_key(LOW) < SLOTS // 2 <= slot_of_key(HIGH)


@asynccontextmanager
async def linked(nodes: Nodes, *seeds: int) -> AsyncIterator[ClusterLink]:
    connector = nodes.connector(*(seeds or (0,)))
    link = ClusterLink(connector, SlotMap(connector.seeds), limit=2)
    try:
        yield link
    finally:
        await link.close()


# ---------------------------------------------------------------------------- slots


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "{x}:1"), "{x}"),
        (("SET", b"{x}:1", b"v", "PX", 5), "{x}"),
        (("EVALSHA", "0" * 40, 2, "{x}:id", "{x}:nothing", "{y}"), "{x}"),
        (("EVAL", "return 1", 1, "{x}:id"), "{x}"),
        (("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "BLOCK", 9, "STREAMS", b"{x}:control", ">"), "{x}"),
        (("XREAD", "COUNT", 1, "STREAMS", "{x}:feed", "0-0"), "{x}"),
        (("XINFO", "GROUPS", "{x}:control"), "{x}"),
    ],
)
def test_a_command_goes_by_its_first_key(command: tuple[str | bytes | int, ...], key: str) -> None:
    assert slot_of(command) == slot_of_key(key)


@pytest.mark.parametrize("command", [("TIME",), ("INFO",), ("EVAL", "return 1", 0), ("SCAN", "0")])
def test_a_command_without_a_key_goes_anywhere(command: tuple[str | int, ...]) -> None:
    assert slot_of(command) is None


def test_all_keys_of_a_partition_are_in_one_slot() -> None:
    names = ("id", "flow:order-1", "head:{order}", "work:a", "due", "nothing")
    assert len({slot_of_key(f"{{shop:3}}:{name}") for name in names}) == 1


@pytest.mark.parametrize("host", [b"", b"?", None])
def test_a_node_that_does_not_name_its_host_is_where_it_was_asked(host: bytes | None) -> None:
    slots = SlotMap([("h", 1)])
    slots.take([[0, SLOTS - 1, [host, 7_000]]], ("h", 1))
    assert slots.owner(5) == ("h", 7_000)


# ----------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis+cluster://h", "h:6379"),
        ("redis+cluster://u:p@h:7000,[::1]:7001", "h:7000,[::1]:7001"),
        ("rediss+cluster://h:7000/0?ssl_cert_reqs=none", "h:7000"),
    ],
)
def test_a_url_names_nodes_of_a_cluster(url: str, address: str) -> None:
    connector = ClusterConnector(url)
    connector.connection()
    connector.blocking_connection()
    assert connector.address == address


@pytest.mark.parametrize(
    "url", ["redis://h", "redis+cluster://h/1", "redis+cluster://h?db=2", "redis+cluster://h,"]
)
def test_a_url_that_is_none_of_a_cluster_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        ClusterConnector(url)


# ----------------------------------------------------------------------- where it goes


async def test_each_command_goes_to_the_node_of_its_key() -> None:
    async with played(lambda number, command: None) as nodes, linked(nodes) as link:
        await link.call(("GET", HIGH))
        await link.call(("GET", LOW))
        assert (nodes.heard("GET"), nodes.heard("CLUSTER")) == ([1, 0], [0])


async def test_commands_of_several_nodes_are_answered_in_their_order() -> None:
    def answer(number: int, command: list[bytes]) -> bytes | None:
        return b"$%d\r\n%s\r\n" % (len(command[1]), command[1]) if command[0] == b"ECHO" else None

    keys = [HIGH, LOW, f"{HIGH}2", f"{LOW}2", HIGH]
    async with played(answer) as nodes, linked(nodes) as link:
        replies = await link.pipeline([("ECHO", key) for key in keys])
        assert [reply.decode() for reply in replies] == keys
        assert sorted(nodes.heard("ECHO")) == [0, 0, 1, 1, 1]


async def test_a_command_is_sent_on_to_where_a_slot_has_moved_and_the_map_is_asked_for_again() -> None:
    def answer(number: int, command: list[bytes]) -> bytes | None:
        return nodes.to("MOVED", 1, LOW) if (number, command[0]) == (0, b"GET") else None

    async with played(answer) as nodes, linked(nodes) as link:
        assert await link.call(("GET", LOW)) == b"OK"
        assert nodes.heard("GET") == [0, 1]
        nodes.owners = [(0, SLOTS - 1, 1)]
        assert await link.call(("GET", LOW)) == b"OK"
        assert (nodes.heard("GET"), len(nodes.heard("CLUSTER"))) == ([0, 1, 1], 2)


async def test_one_command_of_several_is_sent_on_alone() -> None:
    def answer(number: int, command: list[bytes]) -> bytes | None:
        return nodes.to("MOVED", 1, LOW) if (number, command[-1]) == (0, LOW.encode()) else None

    async with played(answer) as nodes, linked(nodes) as link:
        assert await link.pipeline([("GET", LOW), ("GET", f"{LOW}2")]) == [b"OK", b"OK"]
        assert nodes.heard("GET") == [0, 0, 1]


async def test_a_slot_on_its_way_is_asked_for_with_permission_and_the_map_stays() -> None:
    def answer(number: int, command: list[bytes]) -> bytes | None:
        return nodes.to("ASK", 1, LOW) if (number, command[0]) == (0, b"GET") else None

    async with played(answer) as nodes, linked(nodes) as link:
        assert await link.call(("GET", LOW)) == b"OK"
        assert await link.call(("GET", LOW)) == b"OK"
        assert nodes.said == [
            (0, "CLUSTER"), *[(0, "GET"), (1, "ASKING"), (1, "GET")] * 2,
        ]  # fmt: skip


async def test_nodes_that_send_a_command_round_and_round_do_not_go_on_for_ever() -> None:
    def answer(number: int, command: list[bytes]) -> bytes | None:
        return nodes.to("MOVED", 1 - number, LOW) if command[0] == b"GET" else None

    async with played(answer) as nodes, linked(nodes) as link:
        with pytest.raises(StoreUnavailable, match="do not agree"):
            await link.call(("GET", LOW))
        assert len(nodes.heard("GET")) == HOPS


# ------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize("code", ["TRYAGAIN x", "CLUSTERDOWN x", "LOADING x", "MASTERDOWN x"])
async def test_a_cluster_that_cannot_answer_now_is_unavailable(code: str) -> None:
    def answer(number: int, command: list[bytes]) -> bytes | None:
        return f"-{code}\r\n".encode() if command[0] == b"GET" else None

    async with played(answer) as nodes, linked(nodes) as link:
        with pytest.raises(StoreUnavailable) as raised:
            await link.call(("GET", LOW))
        assert type(raised.value) is StoreUnavailable


async def test_the_next_seed_is_asked_when_one_is_away() -> None:
    async with played(lambda number, command: None) as nodes:
        await nodes.end(0)
        nodes.owners = [(0, SLOTS - 1, 1)]
        async with linked(nodes, 0, 1) as link:
            assert await link.call(("GET", LOW)) == b"OK"


async def test_a_node_that_went_down_is_looked_for_at_the_others() -> None:
    async with played(lambda number, command: None) as nodes, linked(nodes, 0) as link:
        assert await link.call(("GET", LOW)) == b"OK"
        await nodes.end(0)
        with pytest.raises(StoreUnavailable, match="cannot reach redis at"):
            await link.call(("GET", LOW))
        nodes.owners = [(0, SLOTS - 1, 1)]
        assert await link.call(("GET", LOW)) == b"OK"


async def test_a_slot_that_nobody_serves_is_named() -> None:
    async with played(lambda number, command: None) as nodes, linked(nodes) as link:
        nodes.owners = [(SLOTS // 2, SLOTS - 1, 1)]
        with pytest.raises(StoreUnavailable, match=f"serves slot {slot_of_key(LOW)} "):
            await link.call(("GET", LOW))


async def test_a_server_that_is_no_node_of_a_cluster_is_called_so() -> None:
    def answer(number: int, command: list[bytes]) -> bytes | None:
        return b"-ERR This instance has cluster support disabled\r\n" if command[0] == b"CLUSTER" else None

    async with played(answer, 1) as nodes, linked(nodes) as link:
        with pytest.raises(StoreUnfit, match=r"is not a node of a cluster \(use redis://\)"):
            await link.call(("GET", LOW))


async def test_a_cluster_that_is_not_made_yet_is_called_so() -> None:
    async with played(lambda number, command: None, 1) as nodes, linked(nodes) as link:
        nodes.owners = []
        with pytest.raises(StoreUnavailable, match="is it made yet"):
            await link.call(("GET", LOW))


async def test_many_calls_ask_for_the_map_once() -> None:
    async with played(lambda number, command: None) as nodes, linked(nodes) as link:
        await asyncio.gather(*(link.call(("GET", LOW)) for _ in range(5)))
        assert nodes.heard("CLUSTER") == [0]


# --------------------------------------------------------------------- from a thread


@pytest.mark.parametrize(("code", "heard"), [("MOVED", []), ("ASK", [1])])
async def test_a_thread_follows_a_slot_as_well(code: str, heard: list[int]) -> None:
    def answer(number: int, command: list[bytes]) -> bytes | None:
        return nodes.to(code, 1, LOW) if (number, command[0]) == (0, b"GET") else None

    async with played(answer) as nodes:
        connector = nodes.connector(0)
        link = ClusterBlockingLink(connector, SlotMap(connector.seeds))
        assert await asyncio.to_thread(link.call, ("GET", LOW)) == b"OK"
        assert (nodes.heard("GET"), nodes.heard("ASKING")) == ([0, 1], heard)
        link.close()


async def test_a_thread_asks_the_next_seed_when_one_is_away() -> None:
    async with played(lambda number, command: None) as nodes:
        await nodes.end(0)
        nodes.owners = [(0, SLOTS - 1, 1)]
        connector = nodes.connector(0, 1)
        link = ClusterBlockingLink(connector, SlotMap(connector.seeds))
        assert await asyncio.to_thread(link.call, ("GET", LOW)) == b"OK"
        link.close()
