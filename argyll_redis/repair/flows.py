"""Flow by flow: do head and indexes say what the log says?

A look reads the log, what is beside it, and where the log ends. A commit changes all three in one step, so
what was read belongs together when the log still ends where it was read to; else the look is made again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from argyll_redis.core.state import Flow
from argyll_redis.core.sub_flows import is_child
from argyll_redis.errors import ArgyllError, StoreUnavailable
from argyll_redis.errors import HistoryLost as Lost
from argyll_redis.repair.finding import Finding, Place
from argyll_redis.runtime.beside import Beside, beside
from argyll_redis.store.codec import decode
from argyll_redis.store.mending import DropField, DropRow, PutField, PutRow, Repair, RepairOp
from argyll_redis.store.protocol import StoredEvent, partition_of, root_of

FLOWS_AT_A_TIME = 50
"""Logs that are read together."""
LOOKS = 5
"""Looks at a flow that goes on while it is looked at; engines sweep such flows anyway."""
OWN = ("sealed", ".status", ".labels", ".error")
"""Fields of a head that have to be absent where the log says nothing of the kind; of any other field a
newer version may know more."""

Plan = tuple[int, str]
"""(partition, hash)."""
Row = tuple[str, str]
"""(index, flow)."""


@dataclass(slots=True)
class Seen:
    """What later looks need of the flows: never more than a few bytes of each."""

    ids: set[int] = field(default_factory=set[int])
    """Hashes of the ids seen: a walk over keys may bring one twice."""
    users: Counter[Plan] = field(default_factory=Counter[Plan])
    """How many logs name a plan."""
    remains: Counter[Plan] = field(default_factory=Counter[Plan])
    """How many heads name a plan whose logs are gone: retention will count them down."""
    open: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    """Flows that can go on, by partition."""
    queues: set[str] = field(default_factory=set[str])
    """Those that the steps of such flows need."""
    wrong: dict[str, Beside] = field(default_factory=dict[str, Beside])
    """What ought to be beside the logs of flows whose heads are wrong."""
    open_trees: set[str] = field(default_factory=set[str])
    """Roots of which a child is open."""
    unending: dict[str, int] = field(default_factory=dict[str, int])
    """Closed roots that are not in `expire`, and when they were closed."""
    parents: dict[str, int] = field(default_factory=dict[str, int])
    """Roots of which a child is closed, and when the last of them was."""

    def is_new(self, flow_id: str) -> bool:
        """Notes a flow; False when it was seen before."""
        before = len(self.ids)
        self.ids.add(hash(flow_id))
        return len(self.ids) > before


async def look_at_flows(place: Place, seen: Seen, flow_ids: Sequence[str]) -> None:
    """Looks at flows by their logs, and puts right what is beside them."""
    again = [flow_id for flow_id in flow_ids if seen.is_new(flow_id)]
    place.report.flows += len(again)
    for _ in range(LOOKS):
        again = await _look(place, seen, again)
        if not again:
            return
    for flow_id in again:
        key = place.keys.of(_home(place, flow_id), f"head:{flow_id}")
        what = "the flow goes on too fast to be looked at; it is in good hands, or repair it again"
        await place.report.take(Finding("head", key, flow_id, what))


async def _look(place: Place, seen: Seen, flow_ids: Sequence[str]) -> list[str]:
    """One look; gives the flows that have gone on meanwhile."""
    flows = await _read(place, seen, flow_ids)
    if not flows:
        return []
    store, ids = place.node.store, [flow.id for flow in flows]
    wanted = [beside(flow) for flow in flows]
    heads = await store.head_fields(ids)
    scores = await _scores(
        place, [(index, flow.id) for flow, each in zip(flows, wanted, strict=True) for index in each.rows]
    )
    ends = await store.log_ends(ids)
    again: list[str] = []
    for flow, ought, head, end in zip(flows, wanted, heads, ends, strict=True):
        if end[0] == 0:
            continue  # it has expired meanwhile
        if end != (flow.version, flow.last_tx):
            again.append(flow.id)
            continue
        have = {index: scores[index, flow.id] for index in ought.rows}
        found = _findings(place, flow, ought, head, have)
        if not all([await place.report.take(finding) for finding in found]):
            again.append(flow.id)
            continue
        _note(place, seen, flow, ought, is_wrong=bool(found), has_end=have.get("expire") is not None)
    return again


async def _scores(place: Place, rows: Sequence[Row]) -> dict[Row, int | None]:
    """Where flows stand in indexes: one call a partition, all at once."""
    homes: dict[int, list[Row]] = {}
    for row in rows:
        homes.setdefault(_home(place, row[1]), []).append(row)
    found = await asyncio.gather(*(place.node.store.scores(*home) for home in homes.items()))
    return {
        row: score
        for home, scores in zip(homes.values(), found, strict=True)
        for row, score in zip(home, scores, strict=True)
    }


async def _read(place: Place, seen: Seen, flow_ids: Sequence[str]) -> list[Flow]:
    """Folds logs. One that cannot be read is said, and left as it is."""
    flows = [Flow(flow_id) for flow_id in flow_ids]
    try:
        await place.node.logs.catch_up(flows)
    except StoreUnavailable as error:
        if not isinstance(error, Lost):
            raise
        problem: ArgyllError = error
    except ArgyllError as error:
        problem = error
    else:
        return [flow for flow in flows if flow.version]
    if len(flows) > 1:
        return [flow for flow_id in flow_ids for flow in await _read(place, seen, [flow_id])]
    await _leave(place, seen, flow_ids[0], problem)
    return []


async def _leave(place: Place, seen: Seen, flow_id: str, problem: ArgyllError) -> None:
    partition = _home(place, flow_id)
    [events] = await place.node.store.load([(flow_id, 0, 1)])
    [head] = await place.node.store.head_fields([flow_id])
    # Where even the start cannot be read, the head's word makes two walks differ: nothing is counted anew.
    for hash in [plan_of(events)] if plan_of(events) else plans_of(head or {}):
        seen.users[partition, hash] += 1
    key = place.keys.of(partition, f"flow:{flow_id}")
    what = f"the log cannot be read: {problem}; nothing can be made of it (restore a backup)"
    await place.report.take(Finding("log", key, flow_id, what))


def _note(place: Place, seen: Seen, flow: Flow, ought: Beside, *, is_wrong: bool, has_end: bool) -> None:
    partition, root = _home(place, flow.id), root_of(flow.id)
    if not flow.is_imported:
        seen.users[partition, flow.plan_hash] += 1
    if is_wrong:
        seen.wrong[flow.id] = ought
    if "sealed" not in ought.fields:
        seen.open.setdefault(partition, []).append(flow.id)
        seen.queues.update(step.queue for step in flow.plan.steps.values())
        if is_child(flow.id):
            seen.open_trees.add(root)
    elif is_child(flow.id):
        seen.parents[root] = max(seen.parents.get(root, 0), flow.at_of(flow.version))
    elif not has_end:
        seen.unending[flow.id] = flow.at_of(flow.version)


def _findings(
    place: Place,
    flow: Flow,
    ought: Beside,
    head: Mapping[str, str] | None,
    rows: Mapping[str, int | None],
) -> list[Finding]:
    """What is wrong beside a log, given what is there."""
    partition = _home(place, flow.id)
    found: list[Finding] = []
    ops: list[RepairOp] = []
    wrong = list(_wrong_fields(ought, head, ops))
    if wrong:
        key = place.keys.of(partition, f"head:{flow.id}")
        detail = "the head is gone" if head is None else "; ".join(wrong)
        lost = _lost(flow, head)
        if lost and not place.options.heads:
            found.append(Finding("head", key, flow.id, lost))
        else:
            found.append(_mendable(place, flow, "head", key, lost or detail, ops))
    for index, score in ought.rows.items():
        have = rows[index]
        if index == "expire" and (have is None or have >= score):
            continue  # whether one is missing depends on the whole tree
        if have != score:
            key = place.keys.of(partition, index)
            detail = "is not in the index" if have is None else f"stands at {have}, not at {score}"
            found.append(_mendable(place, flow, "index", key, detail, [PutRow(index, score)]))
    return found


def _mendable(place: Place, flow: Flow, what: str, key: str, detail: str, ops: Sequence[RepairOp]) -> Finding:
    repair = Repair(_home(place, flow.id), tuple(ops), flow.id, flow.version, flow.last_tx)
    return Finding(what, key, flow.id, detail, lambda: place.node.store.repair(repair))


def _wrong_fields(ought: Beside, head: Mapping[str, str] | None, ops: list[RepairOp]) -> Iterator[str]:
    """Says which fields of a head are wrong, and adds what puts them right."""
    have = head or {}
    for name, value in ought.fields.items():
        if have.get(name) != value:
            ops.append(PutField(name, value))
            yield f"{name} is {have.get(name, 'absent')!s}, not {value!s}" if value else f"{name} is absent"
    for name in sorted(have.keys() - ought.fields.keys()):
        if name in OWN or name[0] in "#@":
            ops.append(DropField(name))
            yield f"{name} is too much"


def _lost(flow: Flow, head: Mapping[str, str] | None) -> str:
    """What is to be said of a head that knows more than its log: its history was lost or replaced."""
    version, tx = (head or {}).get("v", ""), (head or {}).get("tx", "")
    is_ahead = version.isdigit() and int(version) > flow.version
    if not is_ahead and not (version == str(flow.version) and tx and tx != flow.last_tx):
        return ""
    other = f"version {version}" if is_ahead else "another transaction"
    return (
        f"the head is at {other} and the log ends at version {flow.version}: events are lost, and the log "
        "is the truth (stop the engines, then --heads sets the head back)"
    )


def _home(place: Place, flow_id: str) -> int:
    return partition_of(flow_id, place.node.store.partitions)


async def look_at_ends(place: Place, seen: Seen) -> None:
    """Sees that closed trees are in `expire`, so that retention finds them; one with an open flow is not."""
    roots = dict(seen.unending)
    alone = [root for root in seen.parents if root not in seen.open_trees]
    for first in range(0, len(alone), FLOWS_AT_A_TIME):
        page = alone[first : first + FLOWS_AT_A_TIME]
        for root, end in zip(page, await place.node.store.log_ends(page), strict=True):
            if end[0] == 0:  # children whose root is gone are a tree all the same
                roots[root] = seen.parents[root]
    for root, at in roots.items():
        if root not in seen.open_trees:
            await _look_at_end(place, root, at)


async def _look_at_end(place: Place, root: str, at: int) -> None:
    store, partition = place.node.store, _home(place, root)
    [end] = await store.log_ends([root])
    [score] = await store.scores(partition, [("expire", root)])
    if score is None:
        repair = Repair(partition, [PutRow("expire", at)], root, *end)
        key = place.keys.of(partition, "expire")
        detail = "is closed, and not in the index: it would be kept for ever"
        await place.report.take(Finding("index", key, root, detail, lambda: store.repair(repair)))


def row_too_many(place: Place, flow_id: str, index: str, end: tuple[int, str], detail: str) -> Finding:
    """A row of an index that is not to be there."""
    partition = _home(place, flow_id)
    repair = Repair(partition, [DropRow(index)], flow_id, *end)
    key = place.keys.of(partition, index)
    return Finding("index", key, flow_id, detail, lambda: place.node.store.repair(repair))


def plan_of(events: Sequence[StoredEvent]) -> str:
    """The hash that a start names; empty for an imported flow, which holds its plan itself, and for what
    cannot be read."""
    if not events or events[0].type != "flow_started":
        return ""
    try:
        plan = decode(events[0].data)["plan"]
    except (ValueError, TypeError, LookupError):
        return ""
    return plan if isinstance(plan, str) else ""


def plans_of(head: Mapping[str, str]) -> list[str]:
    """The plans that a head names."""
    return [name[1:] for name in head if name.startswith("@")]
