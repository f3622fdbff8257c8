"""What workers of the bench do through the public API: right results count, wrong ones are refused."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from bench.measures.recovery import recovery_times_ms
from bench.service import serving
from bench.tasks import (
    Supply,
    WrongResult,
    alone,
    burst,
    complete,
    engine,
    item_times_ms,
    look,
    lost,
    lost_in,
    plan,
    register,
    waiting_tokens,
)
from bench.workloads import WORKLOADS, Workload, workload_of

SHAPES = ("waiting", "items:7:3")


@pytest.fixture
def namespace() -> str:
    """One of the test's own: the steps of another workload would join its plans."""
    return f"bench-{uuid4().hex[:8]}"


@pytest.mark.anyio
@pytest.mark.parametrize("name", [*WORKLOADS, *SHAPES])
async def test_a_workload_comes_to_its_result(name: str, namespace: str) -> None:
    """Started at once or one at a time, each flow gives what its workload says."""
    workload = workload_of(name)
    async with serving() as service_url, workload.app("memory://", namespace) as app:
        await register(app, workload, service_url)
        async with engine(app):
            seconds, flows = await burst(app, workload, 3)
            times_ms = await alone(app, workload, 2)
    assert (len(set(flows)), len(times_ms)) == (3, 2)
    assert min(seconds, *times_ms) > 0


@pytest.mark.anyio
async def test_a_flow_of_w1_is_six_commits(namespace: str) -> None:
    """Its start, and one for each of its five steps."""
    async with WORKLOADS["W1"].app("memory://", namespace) as app, engine(app):
        _, flows = await burst(app, WORKLOADS["W1"], 4)
        commits, events = await look(app, flows)
    assert commits == 6
    assert events > commits


@pytest.mark.anyio
async def test_a_wrong_result_is_no_figure(namespace: str) -> None:
    """What came to something else is refused, however fast it was."""
    workload = replace(WORKLOADS["W0"], result={"a": 2})
    async with workload.app("memory://", namespace) as app, engine(app):
        with pytest.raises(WrongResult, match=r"came to \{'a': 1\}"):
            await burst(app, workload, 1)


@pytest.mark.anyio
async def test_each_item_of_a_flow_has_its_time(namespace: str) -> None:
    """As many as there are items, and the steps before and after them."""
    workload = workload_of("items:7:3")
    async with workload.app("memory://", namespace) as app, engine(app):
        _, [flow] = await burst(app, workload, 1)
        times_ms = await item_times_ms(app, flow)
    assert len(times_ms) == 1 + 7 + 1


@pytest.mark.anyio
async def test_items_wait_for_an_outcome_from_outside_and_get_it(namespace: str) -> None:
    """Their completions are answered one by one, and the flow then comes to its result."""
    workload: Workload = workload_of("outside:5")
    async with workload.app("memory://", namespace) as app, engine(app):
        flow = await app.start(**workload.request())
        tokens = await waiting_tokens(app, flow.id, 5)
        _, times_ms = await complete(app, flow.id, "each", tokens, "done")
        with pytest.raises(WrongResult, match="did not count"):
            await complete(app, flow.id, "each", tokens[:1], "done")
        assert await flow.result() == workload.result
    assert len(times_ms) == 5


@pytest.mark.anyio
async def test_a_supply_starts_a_flow_for_each_that_ends(namespace: str) -> None:
    """Until it is ended; nothing is lost where nobody dies."""
    async with WORKLOADS["W1"].app("memory://", namespace) as app, engine(app):
        supply = Supply(app, WORKLOADS["W1"], 2)
        while len(supply.flows) < 4:
            await app.queue_stats()
        await supply.end()
        assert await lost(app, supply.flows) == []


@pytest.mark.anyio
@pytest.mark.parametrize("size", [10, 35, 100])
async def test_a_plan_in_layers_has_every_step(size: int, namespace: str) -> None:
    """All of them lead to the goal, so the plan has as many as were asked for."""
    workload = workload_of(f"layers:{size}")
    async with workload.app("memory://", namespace) as app:
        await register(app, workload, "")
        assert len(await plan(app, workload, 2)) == 2


def test_a_lost_item_is_found_with_both_of_its_starts() -> None:
    """Whatever the flow's other items do."""
    log = [
        {"type": "work_started", "at": at, "data": {"token": token, "reason": reason}}
        for at, token, reason in ((1, "a", "first"), (2, "b", "first"), (9, "a", "lost"), (12, "b", "retry"))
    ]
    assert list(lost_in(log)) == [(1, 9)]


def test_a_recovery_is_counted_from_the_kill_that_caused_it() -> None:
    """A late one is late, also when the next engine has been killed by then."""
    lost = [(990, 1_500), (1_005, 1_600), (980, 9_100), (8_900, 9_400)]
    assert recovery_times_ms(lost, [1_000, 9_000]) == [500, 600, 8_100, 400]
