"""What stands in indexes and belongs to no flow, or not there; and heads of which the log is gone.

Walks indexes and heads by what is there, where `flows` goes by the logs: together they see both what is
missing and what is too much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from argyll_redis.core.sub_flows import is_child
from argyll_redis.repair.finding import Finding, Place
from argyll_redis.repair.flows import Seen, plans_of, row_too_many
from argyll_redis.store.mending import DropHead, DropRow, Repair
from argyll_redis.store.protocol import partition_of, root_of

ROWS_AT_A_TIME = 500
"""Rows of an index, or heads, that are looked at together."""
OPEN_INDEXES = {"open": False, "children": True}
"""Of open flows: whether they have the children."""
ENDED_INDEXES = ("expire", "tree")


def is_index(name: str) -> bool:
    """Whether a key of a partition, without its tag, is an index of flows."""
    return name in OPEN_INDEXES or name in ENDED_INDEXES or name.startswith(("done:", "label:"))


async def look_at_rows(place: Place, seen: Seen, partition: int, index: str) -> None:
    """Takes out of an index what is not to be there."""
    cursor = "0"
    while True:
        page, cursor = await place.node.store.rows(partition, index, cursor, ROWS_AT_A_TIME)
        await _look_at_page(place, seen, index, [flow_id for flow_id, _ in page])
        if cursor == "0":
            return


async def _look_at_page(place: Place, seen: Seen, index: str, flow_ids: Sequence[str]) -> None:
    store = place.node.store
    ends = await store.log_ends(flow_ids)
    heads = await store.head_fields(flow_ids)
    doubtful = {
        flow_id: (end, head)
        for flow_id, end, head in zip(flow_ids, ends, heads, strict=True)
        if not _belongs(seen, flow_id, index, end, head)
    }
    # A commit takes a row out in the same step in which it writes log and head: what is still there, while
    # the log ends where it did, is too much.
    still = await store.log_ends(list(doubtful))
    for (flow_id, (end, head)), now in zip(doubtful.items(), still, strict=True):
        [score] = await store.scores(_partition(place, flow_id), [(index, flow_id)])
        if score is None or end != now:
            continue
        if end[0] == 0 and head is not None:
            continue  # `look_at_heads` says what becomes of all that is left of it
        what = "no flow of this id exists" if end[0] == 0 else "its log says that it is not to be there"
        await place.report.take(row_too_many(place, flow_id, index, end, what))


def _belongs(
    seen: Seen, flow_id: str, index: str, end: tuple[int, str], head: Mapping[str, str] | None
) -> bool:
    """Whether a flow is to be in an index, by its head where that is right."""
    if index == "expire":
        return end[0] > 0 or root_of(flow_id) in seen.parents or flow_id in seen.open_trees
    if end[0] == 0:
        return False
    if ought := seen.wrong.get(flow_id):
        return index in ought.rows
    if head is None:
        return True  # it has begun meanwhile, or could not be read
    if index == "tree":
        return "sealed" in head and is_child(flow_id)
    if index in OPEN_INDEXES:
        return "sealed" not in head and is_child(flow_id) is OPEN_INDEXES[index]
    return f"#{index}" in head


async def look_at_heads(place: Place, seen: Seen, flow_ids: Sequence[str]) -> None:
    """Looks at heads, by their keys, for those whose log is gone."""
    store = place.node.store
    ends = await store.log_ends(flow_ids)
    gone = [flow_id for flow_id, end in zip(flow_ids, ends, strict=True) if end[0] == 0]
    heads = await store.head_fields(gone)
    for flow_id, head in zip(gone, heads, strict=True):
        if head is None or not seen.is_new(f"head:{flow_id}"):
            continue
        await place.report.take(_without_log(place, flow_id, head))
        if not place.options.heads:
            for hash in plans_of(head):
                seen.remains[_partition(place, flow_id), hash] += 1


def _without_log(place: Place, flow_id: str, head: Mapping[str, str]) -> Finding:
    partition = _partition(place, flow_id)
    key = place.keys.of(partition, f"head:{flow_id}")
    detail = f"the log of version {head.get('v', '0')} is gone"
    if not place.options.heads:
        mend = "restore a backup, or stop the engines, and --heads removes what is left of the flow"
        return Finding("head", key, flow_id, f"{detail} ({mend})")
    lasting = [name[1:] for name in sorted(head) if name.startswith("#")]
    indexes = [*lasting, *OPEN_INDEXES, *ENDED_INDEXES]
    repair = Repair(partition, [*map(DropRow, indexes), DropHead()], flow_id)
    return Finding(
        "head", key, flow_id, f"{detail}: what is left of it goes", lambda: place.node.store.repair(repair)
    )


def _partition(place: Place, flow_id: str) -> int:
    return partition_of(flow_id, place.node.store.partitions)
