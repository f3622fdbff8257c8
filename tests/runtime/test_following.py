"""Who waits for an outcome is woken by it alone, looks at a head together with others, and is told of an
error as the others are."""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter

import pytest

from argyll_redis import Argyll
from argyll_redis.errors import StoreUnavailable
from argyll_redis.runtime.follower import LOOK, Follower, Following
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from tests.runtime.nodes import CountedStore

pytestmark = pytest.mark.anyio

FLOWS = 50


def following(*, to_outcome: bool) -> Following:
    return Follower(MemoryStore(server=MemoryServer())).follow("f", to_outcome=to_outcome)


def is_woken(one: Following) -> bool:
    return one._changed.is_set()


@pytest.mark.parametrize("status", ["", "active"])
@pytest.mark.parametrize("to_outcome", [True, False])
async def test_a_flow_that_goes_on_wakes_only_who_follows_all_of_it(status: str, to_outcome: bool) -> None:
    one = following(to_outcome=to_outcome)
    one.hear(status)
    assert is_woken(one) is not to_outcome


@pytest.mark.parametrize("status", ["completed", "failed", LOOK])
async def test_an_outcome_and_what_may_have_been_missed_wake_whoever_follows(status: str) -> None:
    one = following(to_outcome=True)
    one.hear(status)
    assert is_woken(one)


async def test_an_error_that_many_are_told_of_does_not_grow_with_each() -> None:
    """It is one object, to which each that raises it would add where."""
    error, lengths = StoreUnavailable("gone"), []
    for _ in range(3):
        one = following(to_outcome=True)
        one.fail(error)
        with pytest.raises(StoreUnavailable) as raised:
            await one.wait()
        lengths.append(len(traceback.extract_tb(raised.value.__traceback__)))
    assert lengths == [lengths[0]] * 3


async def test_flows_that_are_waited_for_together_are_looked_at_together() -> None:
    """One read of heads for all of them, however many there are."""
    calls: Counter[str] = Counter()
    server = MemoryServer()
    app = Argyll(make_store=lambda: CountedStore(MemoryStore(server=server), calls))  # type: ignore[arg-type,return-value]

    @app.step(outputs="b")
    async def double(a: int) -> int:
        return 2 * a

    async def story() -> None:
        started = await app.start_many(
            [{"goals": ["double"], "init": {"a": number}} for number in range(FLOWS)]
        )
        before = calls["heads"]
        results = await asyncio.gather(
            *(each.result() for each in started if not isinstance(each, Exception))
        )
        assert results == [{"b": 2 * number} for number in range(FLOWS)]
        assert calls["heads"] - before <= 2

    async with app:
        await app.run(until=story)
