"""Guards: what flows cost in commits, events, round trips and bytes, counted on a real server.

Counts are the same on any machine, so that a regression fails here whoever runs it; no time is measured.
Each limit stands beside what it was when the limit was set. Flows one at a time are counted exactly. Of
flows started at once the number of calls depends on what happens to be ready together, so those limits are
twice what was counted; those of bytes are a tenth above, as servers differ. Whoever makes something cheaper
lowers the limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from argyll_redis import Argyll
from bench.recorder import Recorder
from bench.server import name_of
from bench.tasks import alone, burst, engine
from bench.workloads import WORKLOADS, Workload
from tests.servers import TestServer

WARM_UP_FLOWS = 5
ALONE_FLOWS = 10
ROUNDS = 3
"""Of an idle keeper that are watched."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Limits of one workload, a flow."""

    workload: str
    flows: int
    """Started at once."""
    commits: float
    events: float
    calls: float
    """Of scripts, for many flows at once."""
    bytes: float
    """Of all keys by `MEMORY USAGE`, the feed left out."""
    commits_alone: float
    calls_alone: float
    """Of commit.lua, for one flow at a time."""


GUARDS = [
    # counted: 2, 8, 0.06, 5,250; alone 2 and 2
    Guard("W0", 100, commits=2, events=8, calls=0.12, bytes=5_800, commits_alone=2, calls_alone=2),
    # counted: 6, 28, 0.20, 10,680; alone 6 and 6
    Guard("W1", 100, commits=6, events=28, calls=0.4, bytes=11_800, commits_alone=6, calls_alone=6),
    # counted: 6.2 to 6.4, 216, 3.6 to 4.4, 48,600; alone 4 and 4
    Guard("W2", 10, commits=8, events=216, calls=8, bytes=53_500, commits_alone=4.5, calls_alone=4.5),
    # counted: 3.1 to 3.3, 58, 0.62 to 0.76, 16,550; alone 3 and 3
    Guard("W3", 50, commits=4, events=58, calls=1.5, bytes=18_200, commits_alone=3.2, calls_alone=3.2),
]
IDLE_CALLS_A_ROUND = 5
"""Of all scripts, by an engine with nothing to do, for each call of its keeper. Counted: 2.7."""

GUARD = pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.workload)


class Counts:
    """What a server and a process have counted so far."""

    def __init__(self, server: TestServer, app: Argyll) -> None:
        self._server = server
        self._app = app

    async def calls(self) -> int:
        """Of scripts, by the server."""
        stats = await asyncio.to_thread(self._server.client.info, "commandstats")
        return sum(stats[name]["calls"] for name in ("cmdstat_eval", "cmdstat_evalsha") if name in stats)

    async def bytes(self) -> int:
        """Of the namespace's keys without feeds, which are trimmed."""
        client = self._server.client

        def added_up() -> int:
            keys = [key for key in self._server.all_keys() if not key.endswith(":feed")]
            return sum(client.memory_usage(key, samples=0) or 0 for key in keys)

        return await asyncio.to_thread(added_up)

    async def own(self) -> tuple[int, int, int]:
        """Commits, events and commit calls, by the process."""
        counters = (await self._app.node()).committer.counters
        return counters.commits, counters.events, counters.calls


@asynccontextmanager
async def at_work(server: TestServer, workload: Workload) -> AsyncIterator[tuple[Argyll, Counts]]:
    """An engine that has done a few flows: scripts are loaded, streams are there."""
    async with workload.app(server.url, server.namespace) as app, engine(app):
        await burst(app, workload, WARM_UP_FLOWS)
        yield app, Counts(server, app)


@pytest.mark.anyio
@GUARD
async def test_flows_at_once_cost_no_more_than_they_did(guard: Guard, real_server: TestServer) -> None:
    """Commits, events, calls and bytes of a flow among many."""
    workload, flows = WORKLOADS[guard.workload], guard.flows
    async with at_work(real_server, workload) as (app, counts):
        own, calls, held = await counts.own(), await counts.calls(), await counts.bytes()
        await burst(app, workload, flows)
        own_after, calls_after = await counts.own(), await counts.calls()
        commits, events, _ = ((after - before) / flows for before, after in zip(own, own_after, strict=True))
        assert commits <= guard.commits
        assert events == guard.events
        assert (calls_after - calls) / flows <= guard.calls
        assert (await counts.bytes() - held) / flows <= guard.bytes


@pytest.mark.anyio
@GUARD
async def test_one_flow_at_a_time_costs_no_more_than_it_did(guard: Guard, real_server: TestServer) -> None:
    """A commit is a call of its own then."""
    workload = WORKLOADS[guard.workload]
    async with at_work(real_server, workload) as (app, counts):
        own = await counts.own()
        await alone(app, workload, ALONE_FLOWS)
        own_after = await counts.own()
    commits, _, calls = ((after - before) / ALONE_FLOWS for before, after in zip(own, own_after, strict=True))
    assert commits <= guard.commits_alone
    assert calls <= guard.calls_alone


@pytest.mark.anyio
async def test_an_idle_engine_says_little(real_server: TestServer) -> None:
    """Calls of scripts, counted by the rounds of its keeper, whatever the time they take."""
    workload = WORKLOADS["W0"]
    with Recorder(real_server.url) as recorder:
        async with workload.app(recorder.url, real_server.namespace) as app, engine(app):
            await burst(app, workload, WARM_UP_FLOWS)
            first = await rounds_are(recorder, 2, since=0)  # what follows the last flow is in the first one
            last = await rounds_are(recorder, ROUNDS, since=first)
    assert (last - first) / ROUNDS <= IDLE_CALLS_A_ROUND


async def rounds_are(recorder: Recorder, count: int, *, since: int) -> int:
    """Waits until the keeper has made so many calls after a place; gives the place of the last one."""
    while True:
        calls = [name_of(call) for call in recorder.calls]
        places = [place for place, name in enumerate(calls) if name == "keep.lua" and place > since]
        if len(places) >= count:
            return places[count - 1]
        await asyncio.sleep(0.05)
