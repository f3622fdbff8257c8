"""Streams, groups, names of queues, and what stands in them that nobody will ever take or need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from argyll_redis.repair.finding import Finding, Place
from argyll_redis.runtime.retention import REAP_IDLE_MS
from argyll_redis.store.keys import GROUP
from argyll_redis.store.mending import (
    DropConsumer,
    DropDead,
    DropDue,
    DropEntry,
    PartitionState,
    Repair,
    RepairOp,
    StreamState,
)
from argyll_redis.store.protocol import CONTROL

DEAD_ENTRIES = 1_000
"""Of the entries that nobody could read, so many a partition are removed in one repair."""


async def look_at_names(place: Place, unknown: Iterable[str]) -> None:
    """Records the names of queues that somebody needs and that nobody would look after."""
    for queue in unknown:
        detail = f"the name of queue {queue} is not recorded: nobody would look after it"
        await place.report.take(
            Finding("queue", place.keys.queues, "", detail, lambda queue=queue: _add(place, queue))
        )


async def _add(place: Place, *queues: str) -> bool:
    await place.node.store.add_queues(queues)
    return True


async def missing_control(place: Place) -> list[Finding]:
    """Finds the partitions whose `control` has no group."""
    states = [await place.node.store.pending(number, ()) for number in range(place.node.store.partitions)]
    return [
        _no_group(place, partition, stream.stream)
        for partition, state in enumerate(states)
        for stream in state.streams
        if not stream.has_group
    ]


def missing_groups(place: Place, partition: int, state: PartitionState) -> list[Finding]:
    """Finds the queues that have no group in a partition."""
    return [
        _no_group(place, partition, stream.stream, stream.stream.partition(":")[2])
        for stream in state.streams
        if not stream.has_group and stream.stream != CONTROL
    ]


def _no_group(place: Place, partition: int, stream: str, *queues: str) -> Finding:
    detail = f"the stream or its group `{GROUP}` is gone: nobody could take from it"
    return Finding("group", place.keys.of(partition, stream), "", detail, lambda: _add(place, *queues))


async def look_at_streams(place: Place, partition: int, state: PartitionState) -> None:
    """Looks at the streams of a partition and at its due entries."""
    for stream in state.streams:
        await _look_at_stream(place, partition, stream)
    await _look_at_orphans(place, partition, state)
    alive = {engine.id for engine in await place.node.store.engines()}
    for stream in state.streams:
        for consumer in stream.consumers:
            is_dead = consumer.name not in alive and consumer.idle_ms > REAP_IDLE_MS
            if is_dead and not consumer.pending:
                detail = f"engine {consumer.name} is not alive and left its name in the group"
                op = DropConsumer(stream.stream, consumer.name)
                await place.report.take(_of_stream(place, partition, stream.stream, "consumer", detail, op))


async def _look_at_stream(place: Place, partition: int, state: StreamState) -> None:
    for entry in sorted(state.stranded):
        payload = state.entries[entry]
        detail = f"entry {entry} (`{payload}`) was delivered, and no consumer has it: nobody could take it"
        op = DropEntry(state.stream, entry, only_stranded=1)
        await place.report.take(_of_stream(place, partition, state.stream, "entry", detail, op))


def _of_stream(place: Place, partition: int, stream: str, what: str, detail: str, op: RepairOp) -> Finding:
    repair = Repair(partition, [op])
    key = place.keys.of(partition, stream)
    return Finding(what, key, "", detail, lambda: place.node.store.repair(repair))


# --------------------------------------------------------------------- orphans


async def _look_at_orphans(place: Place, partition: int, state: PartitionState) -> None:
    """Finds entries and due members that name a flow which does not exist. An entry is added in the commit
    that needs its flow, so a log that is not there by now was there before, or never."""
    named = list(_named(state))
    flow_ids = sorted({flow_id for _, flow_id, _, _ in named})
    ends = dict(zip(flow_ids, await place.node.store.log_ends(flow_ids), strict=True))
    for key, flow_id, payload, op in named:
        if ends[flow_id][0] == 0:
            repair = Repair(partition, [op], flow_id)
            detail = f"`{payload}` names a flow that does not exist"
            await place.report.take(
                Finding(
                    "orphan",
                    place.keys.of(partition, key),
                    flow_id,
                    detail,
                    lambda repair=repair: place.node.store.repair(repair),
                )
            )


def _named(state: PartitionState) -> Iterator[tuple[str, str, str, RepairOp]]:
    """What names a flow: the key, the flow, the text and what would remove it."""
    for stream in state.streams:
        for entry, payload in stream.entries.items():
            flow_id = payload.partition(" ")[0]
            if flow_id and entry not in stream.stranded:
                yield stream.stream, flow_id, payload, DropEntry(stream.stream, entry)
    for member in state.due:
        flow_id = member.partition(" ")[2].partition(" ")[0]
        if flow_id:
            yield "due", flow_id, member, DropDue(member)


def living(state: PartitionState) -> frozenset[tuple[str, str]]:
    """The references of a partition, as (stream, payload), that somebody will get."""
    found = {
        (stream.stream, payload)
        for stream in state.streams
        for entry, payload in stream.entries.items()
        if entry not in stream.stranded
    }
    for member in state.due:
        stream, _, payload = member.partition(" ")
        found.add((stream, payload))
    return frozenset(found)


# ------------------------------------------------------------------------ dead


async def look_at_dead(place: Place) -> None:
    """Removes what nobody could read, where that is asked for: what it was for is restored by now."""
    for entry in await place.node.store.dead_entries(DEAD_ENTRIES):
        detail = f"`{entry.payload}` of {entry.stream} could not be read: {entry.reason}"
        await place.report.take(
            _of_stream(place, entry.partition, "dead", "dead", detail, DropDead(entry.id))
        )
