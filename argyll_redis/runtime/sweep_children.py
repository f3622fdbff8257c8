"""What a sweep finds between parents and children: a child that is not there, a word that is lost, a child
that nobody waits for.

The first comes of a call that was applied in part, the second of an entry that somebody took away, the
third of an engine that died before it heard that what it had started was over meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from argyll_redis.core.state import Flow, FlowStatus
from argyll_redis.core.sub_flows import (
    Parent,
    asks_for_children,
    cancel_payload,
    child_id,
    is_waited_for,
    parent_of,
    waiting_children,
    word_payload,
)
from argyll_redis.store.protocol import CONTROL, Head, Store

HEADS_A_READ = 1_000
"""Heads of children read in one round trip."""

Read = Callable[[Sequence[str]], Awaitable[Sequence[Flow]]]
"""Reads flows by id; those that cannot be read are left out."""

ABSENT, WORD, CANCEL = "absent", "word", "cancel"
"""What is lacking, in front of what it is lacking for."""


@dataclass(frozen=True, slots=True)
class Family:
    """What is to be known of the parents and children of some flows."""

    heads: Mapping[str, Head | None]
    """Of the children that items wait for."""
    parents: Mapping[str, Flow]
    """Of those of the flows that are children."""


async def read_family(flows: Iterable[Flow], *, store: Store, read: Read) -> Family:
    """Reads what there is to know of the parents and children of flows."""
    flows = list(flows)
    ids = [child_id(*parent) for flow in flows for parent in _waiting(flow)]
    heads: dict[str, Head | None] = {}
    for first in range(0, len(ids), HEADS_A_READ):
        page = ids[first : first + HEADS_A_READ]
        heads.update(zip(page, await store.heads(page), strict=True))
    parents = {parent.flow: None for flow in flows if (parent := parent_of(flow.id))}
    found = await read(list(parents)) if parents else []
    return Family(heads, {parent.id: parent for parent in found})


def _waiting(flow: Flow) -> Iterator[Parent]:
    return (Parent(flow.id, item.step, item.token) for item in waiting_children(flow))


def lacking(flow: Flow, family: Family, references: frozenset[tuple[str, str]]) -> Iterator[str]:
    """What a flow lacks of its children, or lacks as a child: `absent <step> <token> <attempt>`,
    `word <payload>` or `cancel`."""
    waiting = list(waiting_children(flow))
    told = _words(references) if waiting else frozenset[str]()
    for item in waiting:
        parent = Parent(flow.id, item.step, item.token)
        head = family.heads.get(child_id(*parent))
        if head is None:
            yield f"{ABSENT} {item.step} {item.token} {item.attempt}"
        elif _is_over(head) and word_payload(parent, 0).rpartition(" ")[0] not in told:
            yield f"{WORD} {word_payload(parent, head.version)}"
    if _is_orphan(flow, family) and not _will_be_cancelled(flow, references):
        yield CANCEL


def _words(references: frozenset[tuple[str, str]]) -> frozenset[str]:
    """What control entries say, without the version that a word ends with."""
    return frozenset(payload.rpartition(" ")[0] for stream, payload in references if stream == CONTROL)


def _is_orphan(flow: Flow, family: Family) -> bool:
    """Whether a flow is an open child that nobody waits for."""
    parent = parent_of(flow.id)
    known = family.parents.get(parent.flow) if parent else None
    if parent is None or known is None or flow.is_over:
        return False
    return not is_waited_for(known, parent)


def _will_be_cancelled(flow: Flow, references: frozenset[tuple[str, str]]) -> bool:
    """Whether an entry asks for the end of a child, or for that of more children of its parent."""
    parent = parent_of(flow.id)
    return (CONTROL, cancel_payload(flow.id)) in references or any(
        stream == CONTROL and parent is not None and asks_for_children(payload, parent.flow)
        for stream, payload in references
    )


def _is_over(head: Head) -> bool:
    return head.sealed or head.fields.get("status") in (FlowStatus.COMPLETED, FlowStatus.FAILED)
