"""What befalls the server itself: entries delivered twice, taken back for a while or all forgotten, a clock
that leaps forward, a replica that takes its place, no room to write, everything gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from argyll_redis.store.memory_partition import Partition
from argyll_redis.store.protocol import CONTROL
from argyll_redis.testing.failover import Replica
from argyll_redis.testing.stage import Stage
from argyll_redis.testing.virtual import MS

Deed = Callable[[Stage, Random], bool]
"""Does something to the server; False when there was nothing to do it to."""
TRIES = 20
TRY_MS = 60
"""A deed for which there is no entry is tried again so many times, so far apart."""


def do_mischief(stage: Stage) -> None:
    """Plans what will befall entries while faults strike."""
    scenario = stage.scenario
    planned: list[tuple[str, int, Deed]] = [
        ("an entry is doubled", scenario.duplicates, _double),
        ("an entry is taken back", scenario.delays, _delay),
        ("all entries are forgotten", scenario.wipes, _wipe),
        ("the clock leaps", scenario.leaps, _leap),
        ("the server fails over", scenario.failovers, _fail_over),
        ("the server is full", scenario.fulls, _fill),
        ("the server is emptied", scenario.empties, _empty),
    ]
    for name, count, deed in planned:
        for number in range(1, count + 1):
            if stage.fates.strikes(f"{name} {number}"):
                draw = stage.fates.draw(f"{name} {number}")
                stage.loop.create_task(_do(stage, draw, deed))


async def _do(stage: Stage, draw: Random, deed: Deed) -> None:
    await asyncio.sleep(draw.random() * stage.scenario.faults_ms / MS)
    for _ in range(TRIES):
        if stage.is_calm or deed(stage, draw):
            return
        await asyncio.sleep(TRY_MS / MS)


def _entries(stage: Stage) -> list[tuple[Partition, str, str]]:
    """Every entry that waits or runs: where, in which stream, and its payload."""
    return [
        (partition, name, payload)
        for partition in stage.server.namespace.partitions
        for name, stream in partition.streams.items()
        for payload, _ in stream.entries()
    ]


def _double(stage: Stage, draw: Random) -> bool:
    """Adds a copy of an entry."""
    entries = _entries(stage)
    if not entries:
        return False
    partition, stream, payload = draw.choice(entries)
    if stream != CONTROL:
        _, token, attempt, _ = payload.split(" ")
        stage.journal.doubled.add((token, int(attempt)))
    stage.journal.disturbances += 1
    stage.note("server", f"doubles {stream} {payload}")
    partition.add_entry(stream, payload, stage.now_ms())
    return True


def _delay(stage: Stage, draw: Random) -> bool:
    """Takes an entry that waits back, and adds it later."""
    for partition, name, _ in _entries(stage):
        stream = partition.streams[name]
        for entry, payload in stream.read("mischief", 1, stage.now_ms()):
            stream.remove(entry)
            _withhold(stage, draw, partition, name, payload)
            return True
    return False


def _withhold(stage: Stage, draw: Random, partition: Partition, name: str, payload: str) -> None:
    later_ms = draw.uniform(0.2, 4) * stage.scenario.lease_ms
    stage.journal.disturbances += 1
    stage.journal.withheld += 1
    stage.note("server", f"takes {name} {payload} back for {later_ms:.0f} ms")

    def give() -> None:
        stage.journal.withheld -= 1
        partition.add_entry(name, payload, stage.now_ms())

    stage.loop.call_later(later_ms / MS, give)


def _leap(stage: Stage, draw: Random) -> bool:
    """Lets the server's clock leap forward."""
    leap_ms = round(draw.uniform(0.5, 3) * stage.scenario.lease_ms)
    stage.journal.disturbances += 1
    stage.note("server", f"leaps {leap_ms} ms")
    stage.leapt_ms += leap_ms
    return True


def _fail_over(stage: Stage, draw: Random) -> bool:
    """Falls behind, then loses what it has taken in meanwhile."""
    replica = Replica(stage.server)
    behind_ms = draw.choice((5, 50, 300, stage.scenario.lease_ms)) * draw.uniform(0.2, 1)

    def take_over() -> None:
        if not stage.is_calm:
            stage.note("server", f"fails over: {replica.take_over()} events are lost")
            stage.journal.fail_over(stage.loop.now_ms())

    stage.loop.call_later(behind_ms / MS, take_over)
    return True


def _fill(stage: Stage, draw: Random) -> bool:
    """Refuses to write for a while."""
    if stage.network.is_full:
        return False
    stage.journal.disturbances += 1
    stage.journal.begun_while_full.clear()
    stage.note("server", "is full")
    stage.network.is_full = True

    def empty() -> None:
        stage.note("server", "has room again")
        stage.network.is_full = False

    stage.loop.call_later(draw.uniform(0.3, 3) * stage.scenario.lease_ms / MS, empty)
    return True


def _empty(stage: Stage, draw: Random) -> bool:
    """Forgets that there ever was anything, as after FLUSHALL."""
    del draw
    stage.journal.emptied_ms = stage.loop.now_ms()
    stage.journal.must_stop = [process for process in stage.ready if not process.is_dead]
    stage.note("server", "is emptied")
    stage.server.clear()
    return True


def _wipe(stage: Stage, draw: Random) -> bool:
    """Forgets everything but the logs."""
    del draw
    stage.journal.disturbances += 1
    stage.note("server", "forgets all entries")
    stage.server.lose_dispatch()
    return True
