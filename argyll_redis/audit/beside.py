"""I-18: whether what the store keeps beside a log is what the log says.

Head, index rows and the use of a plan are written in the commits that append the events, so that they
always agree; and they are all that lists show.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from argyll_redis.audit.careful import read_each
from argyll_redis.audit.logs import Head, ReadLog, version_of
from argyll_redis.core.audit import Violation
from argyll_redis.core.state import Flow
from argyll_redis.core.sub_flows import is_child
from argyll_redis.runtime.beside import beside
from argyll_redis.store.protocol import Store, partition_of

OF_THE_LOG = frozenset({"v", "tx", ".status", "sealed"})
"""Fields of a head that the audit of a log has looked at."""
KNOWN = frozenset({"at", "t0", ".labels", ".error"})
"""Others that are known here. A newer version may keep more, which nobody misses."""
OF_A_ROOT = ("open", "done:active", "done:completed", "done:failed")
OF_A_CHILD = ("children", "tree")
"""Indexes in which a flow may stand without its labels."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Which index rows a flow must have, and which it must not, at a version."""

    flow: str
    version: int
    tx: str
    rows: Mapping[str, int]
    """The score in each index; in `expire` the least that it may be."""
    absent: tuple[str, ...]


def check_head(log: ReadLog, flow: Flow) -> Iterator[Violation]:
    """Compares the rest of a head, which was read with the log, with what it must be."""
    assert log.head is not None
    for what in _wrong_in_head(log.head, beside(flow).fields):
        yield Violation("I-18", version_of(log.head), what)


def _wrong_in_head(head: Head, ought: Mapping[str, str]) -> Iterator[str]:
    for name in sorted((ought.keys() | head.keys()) - OF_THE_LOG):
        told, known = ought.get(name), head.get(name)
        if told == known or (told is None and name[0] not in "#@" and name not in KNOWN):
            continue
        if name.startswith("#"):
            yield f"the head says that the flow is {'not ' if known is None else ''}in index `{name[1:]}`"
        elif name.startswith("@"):
            yield f"the head counts plan {name[1:]} {known or 0} times, and it is used {told or 0} times"
        else:
            yield f"the head says {name.lstrip('.')} {_shown(known)}, and the log {_shown(told)}"


def _shown(value: str | None) -> str:
    return "nothing" if value is None else value


def standing_of(log: ReadLog, flow: Flow, *, has_open_child: bool = False) -> Standing:
    """The index rows that a flow must have. A tree with an open flow may have lost its row in `expire`: it
    is added again when that flow is deactivated."""
    rows = dict(beside(flow).rows)
    if has_open_child:
        rows.pop("expire", None)
    elif flow.is_imported and "expire" in rows:
        rows["expire"] = 0  # its events have the times of another server, the row that of this one
    others = OF_A_CHILD if is_child(flow.id) else OF_A_ROOT
    absent = tuple(name for name in others if name not in rows)
    return Standing(flow.id, flow.version, flow.last_tx, rows, absent)


async def check_rows(
    store: Store, standings: Iterable[Standing]
) -> tuple[list[tuple[str, Violation]], list[str]]:
    """Compares rows with what they must be: what is wrong, by flow, and the flows that have gone on
    meanwhile, of which nothing can be said. Two round trips for all, at most."""
    by_partition: dict[int, list[Standing]] = {}
    for each in standings:
        by_partition.setdefault(partition_of(each.flow, store.partitions), []).append(each)
    parts = await asyncio.gather(*(_suspects(store, *part) for part in by_partition.items()))
    suspects = [suspect for part in parts for suspect in part]
    # A flow whose head has not gone on was the same when its rows were read.
    heads = await read_each(store.head_fields, [each.flow for each, _ in suspects], None)
    wrong: list[tuple[str, Violation]] = []
    moved: list[str] = []
    for (each, messages), head in zip(suspects, heads, strict=True):
        if head is None:
            continue  # it has expired
        if (version_of(head), head.get("tx")) != (each.version, each.tx):
            moved.append(each.flow)
        else:
            wrong += [(each.flow, Violation("I-18", each.version, message)) for message in messages]
    return wrong, moved


async def _suspects(
    store: Store, partition: int, standings: Sequence[Standing]
) -> list[tuple[Standing, list[str]]]:
    """Those whose rows are not what they must be, each with what is wrong."""
    asked = [(index, each.flow) for each in standings for index in (*each.rows, *each.absent)]
    scores = iter(await read_each(lambda rows: store.scores(partition, rows), asked, None))
    suspects: list[tuple[Standing, list[str]]] = []
    for each in standings:
        messages = list(_wrong_rows(each, scores))
        if messages:
            suspects.append((each, messages))
    return suspects


def _wrong_rows(standing: Standing, scores: Iterator[int | None]) -> Iterator[str]:
    """What is wrong with the rows of a flow, whose scores come next."""
    for index, ought in standing.rows.items():
        score = next(scores)
        if score is None:
            yield f"the flow is not in index `{index}`"
        elif score < ought or (score > ought and index != "expire"):
            yield f"the flow is in index `{index}` at {score}, and ought to be at {ought}"
    for index in standing.absent:
        if next(scores) is not None:
            yield f"the flow is in index `{index}`, and its log does not say so"
