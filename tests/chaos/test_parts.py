"""The parts of a run that could be wrong without anybody seeing it: plans, the proxy, journals, reports."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.chaos.engines import is_complaint
from tests.chaos.journals import ANSWERS, CALLS, Journal, lines
from tests.chaos.nemeses import exactly, weighted
from tests.chaos.proxy import Mood, Proxy
from tests.chaos.report import Report, percentile
from tests.chaos.shapes import SHAPES, definitions, mixed

pytestmark = pytest.mark.anyio

REQUEST = b"a request of some bytes"
LONG_S = 60.0


# -------------------------------------------------------------------------- plans


def test_a_plan_has_just_the_faults_that_were_asked_for_in_order_of_time() -> None:
    plan = exactly(random.Random(1), {"kill": 3, "freeze": 2}, over_s=10)
    assert sorted(fault.name for fault in plan) == ["freeze"] * 2 + ["kill"] * 3
    assert plan == sorted(plan, key=lambda fault: fault.at_s)
    assert plan[0].at_s >= 0
    assert plan[-1].at_s <= 10


@pytest.mark.parametrize("make", [exactly, weighted], ids=["exactly", "weighted"])
def test_a_seed_gives_one_plan(make) -> None:
    more = {"count": 9} if make is weighted else {}
    plans = [make(random.Random(seed), {"a": 4, "b": 5}, over_s=9, **more) for seed in (7, 7, 8)]
    assert plans[0] == plans[1]
    assert plans[0] != plans[2]


def test_flows_of_all_shapes_are_taken_in_turn_and_their_goals_are_steps() -> None:
    flows = mixed(2 * sum(shape.share for shape in SHAPES))
    assert {shape.name for _, _, shape in flows} == {shape.name for shape in SHAPES}
    assert len({flow for flow, _, _ in flows}) == len(flows)
    defined = {step["id"] for step in definitions("http://127.0.0.1:1")}
    assert {"charge", "pay", "approve", "guess", "tariff"} <= defined


# -------------------------------------------------------------------------- proxy


class Echo:
    """A server that says what it is told, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1_000):
                self.heard += data
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def between(mood: Mood) -> AsyncIterator[tuple[Echo, Proxy]]:
    """An echo behind a proxy that is in a mood."""
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.port = server.sockets[0].getsockname()[1]
    proxy = Proxy(lambda: asyncio.open_connection("127.0.0.1", echo.port))
    await proxy.open()
    being = asyncio.create_task(proxy.be(mood, LONG_S))
    await asyncio.sleep(0)
    try:
        yield echo, proxy
    finally:
        being.cancel()
        await proxy.close()
        server.close()


async def say(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(REQUEST)
    return reader, writer


async def heard(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end, however that is made."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


@pytest.mark.parametrize("mood", [Mood.WELL, Mood.DELAY, Mood.ONE_BYTE])
async def test_what_passes_arrives_whole(mood: Mood) -> None:
    async with between(mood) as (_, proxy):
        reader, writer = await say(proxy)
        assert await reader.readexactly(len(REQUEST)) == REQUEST
        writer.close()


async def test_a_reply_that_is_swallowed_was_to_a_request_that_arrived() -> None:
    async with between(Mood.SWALLOW) as (echo, proxy):
        reader, writer = await say(proxy)
        assert (await heard(reader), echo.heard) == (b"", REQUEST)
        writer.close()


async def test_what_is_refused_never_arrives() -> None:
    async with between(Mood.REFUSE) as (echo, proxy):
        reader, writer = await say(proxy)
        assert (await heard(reader), echo.heard) == (b"", b"")
        writer.close()


async def test_a_half_open_connection_is_silent_and_stays() -> None:
    """Nobody is told anything; a cut ends it."""
    async with between(Mood.HALF_OPEN) as (echo, proxy):
        reader, writer = await say(proxy)
        reading = asyncio.create_task(heard(reader))
        done, _ = await asyncio.wait([reading], timeout=0.1)
        assert (done, echo.heard) == (set(), b"")
        proxy.cut()
        assert await reading == b""
        writer.close()


# ------------------------------------------------------------- journals and reports


def test_a_half_line_of_a_dying_writer_is_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "calls-1.jsonl")
    journal.note(flow="f", attempt=1)
    journal.close()
    with (tmp_path / "calls-1.jsonl").open("a") as file:
        file.write('{"flow": "g", "att')
    assert list(lines(tmp_path, CALLS)) == [{"flow": "f", "attempt": 1}]
    assert list(lines(tmp_path, ANSWERS)) == []


@pytest.mark.parametrize(("is_timed", "passed"), [(True, False), (False, True)])
def test_times_count_in_long_forms_only(is_timed: bool, passed: bool) -> None:
    report = Report("gate", 1, 1, is_timed=is_timed)
    report.limit(3.0, 2.0, "it")
    assert report.is_passed is passed
    report.require(False, "that does not hold")
    assert report.as_json()["passed"] is False


def test_percentiles_are_values_that_were_there() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [51.0, 100.0, 100.0]
    assert percentile([], 0.5) == 0.0


@pytest.mark.parametrize(
    ("line", "complains"),
    [
        ('{"level":"error","message":"x"}', True),
        ('{"level":"critical","message":"x"}', True),
        ('{"level":"warning","message":"x"}', False),
        ('{"level":"warning","message":"this is a bug: x"}', True),
        ('{"message":"engine started"}', False),
        ("Traceback (most recent call last):", True),
        ('{"level":"err', False),
    ],
)
def test_an_engine_complains_of_what_nothing_outside_may_bring_about(line: str, complains: bool) -> None:
    assert is_complaint(line) is complains
