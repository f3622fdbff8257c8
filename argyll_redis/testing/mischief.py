"""What befalls the server itself: entries delivered twice, taken back for a while or all forgotten, and
a clock that leaps forward."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from argyll_redis.store.memory_partition import Partition
from argyll_redis.store.protocol import CONTROL
from argyll_redis.testing.stage import Stage
from argyll_redis.testing.virtual import MS

TRIES = 20
TRY_MS = 60
"""A deed for which there is no entry is tried again so many times, so far apart."""


def do_mischief(stage: Stage) -> None:
    """Plans what will befall entries while faults strike."""
    scenario = stage.scenario
    deeds = [_double] * scenario.duplicates + [_delay] * scenario.delays
    deeds += [_wipe] * scenario.wipes + [_leap] * scenario.leaps
    for deed in deeds:
        stage.loop.create_task(_do(stage, stage.random.random() * scenario.faults_ms, deed))


async def _do(stage: Stage, delay_ms: float, deed: Callable[[Stage], bool]) -> None:
    await asyncio.sleep(delay_ms / MS)
    for _ in range(TRIES):
        if stage.is_calm or deed(stage):
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


def _double(stage: Stage) -> bool:
    """Adds a copy of an entry."""
    entries = _entries(stage)
    if not entries:
        return False
    partition, stream, payload = stage.random.choice(entries)
    if stream != CONTROL:
        _, token, attempt, _ = payload.split(" ")
        stage.journal.doubled.add((token, int(attempt)))
    stage.journal.disturbances += 1
    stage.note("server", f"doubles {stream} {payload}")
    partition.add_entry(stream, payload, stage.now_ms())
    return True


def _delay(stage: Stage) -> bool:
    """Takes an entry that waits back, and adds it later."""
    for partition, name, _ in _entries(stage):
        stream = partition.streams[name]
        for entry, payload in stream.read("mischief", 1, stage.now_ms()):
            stream.remove(entry)
            _withhold(stage, partition, name, payload)
            return True
    return False


def _withhold(stage: Stage, partition: Partition, name: str, payload: str) -> None:
    later_ms = stage.random.uniform(0.2, 4) * stage.scenario.lease_ms
    stage.journal.disturbances += 1
    stage.journal.withheld += 1
    stage.note("server", f"takes {name} {payload} back for {later_ms:.0f} ms")

    def give() -> None:
        stage.journal.withheld -= 1
        partition.add_entry(name, payload, stage.now_ms())

    stage.loop.call_later(later_ms / MS, give)


def _leap(stage: Stage) -> bool:
    """Lets the server's clock leap forward."""
    leap_ms = round(stage.random.uniform(0.5, 3) * stage.scenario.lease_ms)
    stage.journal.disturbances += 1
    stage.note("server", f"leaps {leap_ms} ms")
    stage.leapt_ms += leap_ms
    return True


def _wipe(stage: Stage) -> bool:
    """Forgets everything but the logs."""
    stage.journal.disturbances += 1
    stage.note("server", "forgets all entries")
    stage.server.lose_dispatch()
    return True
