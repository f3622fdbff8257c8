"""Heads that are asked for at the same moment are read together, and fail one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from argyll_redis.errors import CallRefused, StoreUnavailable
from argyll_redis.runtime.heads import HEADS_A_READ, Heads
from argyll_redis.store.protocol import Head, Store

pytestmark = pytest.mark.anyio


class Reads:
    """A store that has a head for every flow, and notes what it is asked for."""

    def __init__(self, *, broken: str = "", error: Exception | None = None) -> None:
        self.asked: list[list[str]] = []
        self._broken = broken
        self._error = error

    async def heads(self, flow_ids: Sequence[str]) -> list[Head | None]:
        self.asked.append(list(flow_ids))
        await asyncio.sleep(0)
        if self._error is not None and self._broken in flow_ids:
            raise self._error
        return [cast(Head, f"head of {flow_id}") for flow_id in flow_ids]


def heads_of(reads: Reads) -> Heads:
    return Heads(cast(Store, reads))


async def read_all(heads: Heads, flow_ids: Sequence[str]) -> list[Any]:
    return await asyncio.gather(*(heads.read(flow_id) for flow_id in flow_ids), return_exceptions=True)


async def test_all_that_are_asked_for_at_once_are_one_read() -> None:
    """Whoever asks for the same one shares it."""
    reads = Reads()
    assert await read_all(heads_of(reads), ["f1", "f2", "f1"]) == ["head of f1", "head of f2", "head of f1"]
    assert reads.asked == [["f1", "f2"]]


async def test_a_read_has_a_bound() -> None:
    reads = Reads()
    flow_ids = [f"f{number}" for number in range(HEADS_A_READ + 1)]
    assert [f"head of {flow_id}" for flow_id in flow_ids] == await read_all(heads_of(reads), flow_ids)
    assert [len(asked) for asked in reads.asked] == [HEADS_A_READ, 1]


async def test_each_moment_is_a_read_of_its_own() -> None:
    """What is asked for later is read anew: the flow may have gone on."""
    reads = Reads()
    heads = heads_of(reads)
    await heads.read("f1")
    await heads.read("f1")
    assert reads.asked == [["f1"], ["f1"]]


async def test_what_is_in_the_place_of_one_head_is_no_matter_of_the_others() -> None:
    refused = CallRefused("WRONGTYPE")
    heads = heads_of(Reads(broken="f2", error=refused))
    assert ["head of f1", refused, "head of f3"] == await read_all(heads, ["f1", "f2", "f3"])


async def test_a_server_that_is_away_is_said_to_all_who_asked() -> None:
    away = StoreUnavailable("away")
    heads = heads_of(Reads(broken="f2", error=away))
    assert [away, away] == await read_all(heads, ["f1", "f2"])


async def test_who_gives_up_leaves_the_others_their_answer() -> None:
    heads = heads_of(Reads())
    one, other = (asyncio.ensure_future(heads.read("f1")) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    assert await other == "head of f1"
    with pytest.raises(asyncio.CancelledError):
        await one
