"""What both stores refuse before they write anything, so that they refuse the same.

A script that fails midway is not rolled back, and a wrong argument is a bug of the caller: it is
answered by a `ValueError` that names it, for the whole call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from argyll_redis.core.limits import MAX_IMPORT_EVENTS
from argyll_redis.store.mending import (
    CountUsers,
    DropConsumer,
    DropDead,
    DropDue,
    DropEntry,
    DropField,
    DropHead,
    DropRow,
    PutField,
    PutRow,
    Repair,
)
from argyll_redis.store.protocol import (
    Ack,
    Dispatch,
    Due,
    Fetch,
    ImportedLog,
    Index,
    Keep,
    NewEvent,
    SetHead,
    Settle,
    StreamRef,
    Turn,
    Unindex,
    UsePlan,
    partition_of,
)

HEAD_NAMES = frozenset({"version", "tx", "at", "started_at", "sealed"})
"""What a head holds of itself; `SetHead` cannot set these."""

MAX_EXPIRED = 1_000
"""Flows that one call removes at most."""

_ENTRY_ID = re.compile(r"[0-9]{1,18}-[0-9]{1,18}")
_STREAM = re.compile(r"control|work:[^ ]+")
_MEMBER = re.compile(r"(?:control|work:[^ ]+) .+", re.DOTALL)
_INDEX = re.compile(r"open|children|done:.+|label:[^=]+=.*", re.DOTALL)
_TX = re.compile(r"[^\s:]+")
_QUEUE = re.compile(r"[^ ]+")

_WITHOUT_FLOW = frozenset({Ack, Dispatch, Due, Settle})
"""Operations that touch nothing of the flow itself."""


def check_turns(turns: Sequence[Turn], partitions: int) -> None:
    """Refuses a call whose turns are not what the protocol describes."""
    flows: set[str] = set()
    for turn in turns:
        if turn.flow in flows:
            raise ValueError(f"two turns of flow {turn.flow!r} in one call")
        flows.add(turn.flow)
        _check_turn(turn, partitions)


def check_expire(partition: int, partitions: int, *, keep_ms: int, limit: int) -> None:
    """Refuses a removal that cannot be meant."""
    check_partition(partition, partitions)
    _refuse(keep_ms < 0, f"keep_ms {keep_ms} is negative")
    _refuse(not 1 <= limit <= MAX_EXPIRED, f"limit {limit} is not 1 to {MAX_EXPIRED}")


def check_reap(partition: int, partitions: int, min_idle_ms: int) -> None:
    """Refuses to forget consumers where that cannot be meant."""
    check_partition(partition, partitions)
    _refuse(min_idle_ms < 0, f"min_idle_ms {min_idle_ms} is negative")


def check_append(version: int, last_tx: str, tx: str, events: Sequence[NewEvent] = ()) -> None:
    """Refuses a compare-and-set that cannot be meant."""
    if version < 0:
        raise ValueError(f"version {version} is negative")
    if (version == 0) != (last_tx == ""):
        raise ValueError(f"last_tx {last_tx!r} does not go with version {version}")
    if _TX.fullmatch(tx) is None:
        raise ValueError(f"tx {tx!r} is empty or has a blank or a colon")
    for event in events:
        if not event.type or event.cause < 0:
            raise ValueError(f"event {event.type!r} with cause {event.cause}")


def check_import(log: ImportedLog, partitions: int) -> None:
    """Refuses a log that cannot have been one."""
    _refuse(not log.flow, "the log has no flow")
    if log.partition != partition_of(log.flow, partitions):
        raise ValueError(f"flow {log.flow!r} does not live in partition {log.partition}")
    count = len(log.events)
    _refuse(
        not 1 <= count <= MAX_IMPORT_EVENTS, f"a log of {count} events is not one of 1 to {MAX_IMPORT_EVENTS}"
    )
    last_at = 0
    for version, event in enumerate(log.events, 1):
        check_append(version - 1, "before" if version > 1 else "", event.tx)
        _refuse(event.version != version, f"event {event.version} stands where {version} should")
        _refuse(not event.type or event.cause < 0, f"event {event.type!r} with cause {event.cause}")
        _refuse(event.at < last_at, f"event {version} is older than the one before")
        last_at = event.at
    for name in log.fields:
        _check_set_head(SetHead(name, ""))
    for index in log.indexes:
        check_index(index)


def check_fetch(fetch: Fetch, partitions: int) -> None:
    """Refuses a fetch with negative limits or unknown places."""
    _refuse(not fetch.consumer, "the fetch has no consumer")
    _refuse(fetch.slots < 0 or fetch.control < 0, "a fetch has no negative limits")
    for ref in fetch.streams:
        _check_ref(ref, partitions)


def check_keep(keep: Keep, partitions: int) -> None:
    """Refuses a round of keeping that takes over for nobody or from nowhere."""
    _refuse(keep.engine is None and bool(keep.takeover), "a takeover needs an engine")
    check_alive(keep.alive_ms)
    _refuse(keep.due_limit < 0, f"due_limit {keep.due_limit} is negative")
    _refuse(keep.min_idle_ms < 0, f"min_idle_ms {keep.min_idle_ms} is negative")
    _refuse(keep.takeover_limit < 1, f"takeover_limit {keep.takeover_limit} is less than 1")
    for ref, cursor in keep.takeover:
        _check_ref(ref, partitions)
        check_entry(cursor)


def check_alive(alive_ms: int) -> None:
    """Refuses a time to live that is none."""
    _refuse(alive_ms < 1, f"alive_ms {alive_ms} is less than 1")


def check_place(partition: int, stream: str, partitions: int) -> None:
    """Refuses a stream that cannot be."""
    check_partition(partition, partitions)
    _check_stream(stream)


def check_partition(partition: int, partitions: int) -> None:
    """Refuses a partition that the namespace does not have."""
    if not 0 <= partition < partitions:
        raise ValueError(f"partition {partition} is not one of {partitions}")


def check_entry(entry: str) -> None:
    """Refuses what is not the id of a stream's entry."""
    if _ENTRY_ID.fullmatch(entry) is None:
        raise ValueError(f"{entry!r} is not the id of an entry")


def check_index(index: str) -> None:
    """Refuses the name of an index that cannot be."""
    _refuse(_INDEX.fullmatch(index) is None, f"{index!r} is not the name of an index")


def check_row(index: str) -> None:
    """Refuses the name of a set that cannot be: an index of flows, `expire`, `tree` or `due`."""
    if index not in ("expire", "tree", "due"):
        check_index(index)


def check_repair(repair: Repair, partitions: int) -> None:
    """Refuses a repair that cannot be meant."""
    check_partition(repair.partition, partitions)
    if repair.flow and repair.partition != partition_of(repair.flow, partitions):
        raise ValueError(f"flow {repair.flow!r} does not live in partition {repair.partition}")
    _refuse(repair.version < 0, f"version {repair.version} is negative")
    if (repair.version == 0) != (repair.tx == ""):
        raise ValueError(f"tx {repair.tx!r} does not go with version {repair.version}")
    for op in repair.ops:
        kind = type(op)
        _refuse(not repair.flow and kind in _OF_A_FLOW, f"{kind.__name__} without a flow")
        _refuse(kind is DropHead and repair.version > 0, "a head whose log is there stays")
        _refuse(kind is PutField and repair.version == 0, "no head is made for a log that is not there")
        if (check := _REPAIR_CHECKS.get(kind)) is not None:
            check(op)


def is_queue(name: str) -> bool:
    """Whether a queue may have this name."""
    return _QUEUE.fullmatch(name) is not None


def check_queues(queues: Sequence[str]) -> None:
    """Refuses queue names that are empty or have blanks."""
    for queue in queues:
        if not is_queue(queue):
            raise ValueError(f"queue name {queue!r} is empty or has a blank")


def _refuse(is_wrong: bool, what: str) -> None:
    if is_wrong:
        raise ValueError(what)


def _check_ref(ref: StreamRef, partitions: int) -> None:
    check_place(ref.partition, ref.stream, partitions)
    if ref.readers < 1:
        raise ValueError(f"{ref.stream!r} is shared by {ref.readers} readers")
    if ref.held < 0:
        raise ValueError(f"{ref.held} entries of {ref.stream!r} are held")


def _check_turn(turn: Turn, partitions: int) -> None:
    if not turn.flow:
        raise ValueError("a turn has no flow")
    if turn.partition != partition_of(turn.flow, partitions):
        raise ValueError(f"flow {turn.flow!r} does not live in partition {turn.partition}")
    check_append(turn.version, turn.last_tx, turn.tx, turn.events)
    is_without_flow = turn.version == 0 and not turn.events
    for op in turn.ops:
        kind = type(op)
        if is_without_flow and kind not in _WITHOUT_FLOW:
            raise ValueError(f"{kind.__name__} without a flow")
        if (check := _OP_CHECKS.get(kind)) is not None:
            check(op)


def _check_ack(op: Ack) -> None:
    _check_stream(op.stream)
    check_entry(op.entry)


def _check_dispatch(op: Dispatch) -> None:
    _check_stream(op.stream)


def _check_due(op: Due) -> None:
    _check_member(op.member)
    if op.delay_ms < 0:
        raise ValueError(f"delay_ms {op.delay_ms} is negative")


def _check_settle(op: Settle) -> None:
    _check_member(op.member)


def _check_set_head(op: SetHead) -> None:
    _refuse(not op.name or op.name in HEAD_NAMES, f"{op.name!r} is not a field that can be set")


def _check_use_plan(op: UsePlan) -> None:
    _refuse(not op.hash, "a plan has no hash")


def _check_indexed(op: Index | Unindex) -> None:
    check_index(op.index)


def _check_stream(stream: str) -> None:
    if _STREAM.fullmatch(stream) is None:
        raise ValueError(f"{stream!r} is neither control nor work:<queue>")


def _check_member(member: str) -> None:
    if _MEMBER.fullmatch(member) is None:
        raise ValueError(f"due member {member!r} is not '<stream> <payload>'")


def _check_field(op: PutField | DropField) -> None:
    _refuse(not op.name, "a field has no name")


def _check_put_row(op: PutRow) -> None:
    check_row(op.index)
    _refuse(op.index == "due" or op.score < 0, f"{op.index!r} has no row of score {op.score}")


def _check_drop_row(op: DropRow) -> None:
    check_row(op.index)
    _refuse(op.index == "due", "a due member is no row of a flow")


def _check_count(op: CountUsers) -> None:
    _refuse(not op.hash, "a plan has no hash")
    _refuse(op.was < 0 or op.users < 0, f"a plan has no {min(op.was, op.users)} users")


def _check_drop_entry(op: DropEntry) -> None:
    _check_stream(op.stream)
    check_entry(op.entry)


def _check_drop_due(op: DropDue) -> None:
    _refuse(not op.member, "a due member has no name")


def _check_drop_consumer(op: DropConsumer) -> None:
    _check_stream(op.stream)
    _refuse(not op.consumer, "a consumer has no name")


def _check_drop_dead(op: DropDead) -> None:
    check_entry(op.entry)


_OF_A_FLOW = frozenset({PutField, DropField, DropHead, PutRow, DropRow})
"""Operations of a repair that concern the flow itself."""

_REPAIR_CHECKS: Mapping[type, Callable[[Any], None]] = {
    PutField: _check_field,
    DropField: _check_field,
    PutRow: _check_put_row,
    DropRow: _check_drop_row,
    CountUsers: _check_count,
    DropEntry: _check_drop_entry,
    DropDue: _check_drop_due,
    DropConsumer: _check_drop_consumer,
    DropDead: _check_drop_dead,
}

_OP_CHECKS: Mapping[type, Callable[[Any], None]] = {
    Ack: _check_ack,
    Dispatch: _check_dispatch,
    Due: _check_due,
    Settle: _check_settle,
    SetHead: _check_set_head,
    UsePlan: _check_use_plan,
    Index: _check_indexed,
    Unindex: _check_indexed,
}
