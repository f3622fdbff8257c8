"""The effects that a turn asks for, as operations of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from argyll_redis.core import outbox as o
from argyll_redis.core.state import Flow, FlowStatus
from argyll_redis.core.sub_flows import is_child
from argyll_redis.store.codec import encode
from argyll_redis.store.protocol import (
    CONTROL,
    Dispatch,
    Due,
    Index,
    Op,
    Seal,
    SetHead,
    Settle,
    Unindex,
    UsePlan,
    work_stream,
)

MAX_LISTED_ERROR_CHARS = 1_000
"""Of a flow's error that lists show; its log has it whole."""


def store_ops(effects: Iterable[o.Effect], plan_bytes: Callable[[str], bytes]) -> list[Op]:
    """Translates effects; `plan_bytes` gives a plan's bytes where the store may not have them."""
    ops: list[Op] = []
    for effect in effects:
        match effect:
            case o.Release():
                ops.append(Dispatch(work_stream(effect.queue), effect.payload))
            case o.Control():
                ops.append(Dispatch(CONTROL, effect.payload))
            case o.Timer():
                ops.append(Due(effect.member, effect.delay_ms))
            case o.Settled():
                ops.append(Settle(effect.member))
            case o.PlanUse():
                ops.append(UsePlan(effect.hash, plan_bytes(effect.hash)))
            case o.Status():
                ops.extend(_tell(effect))
            case o.Closed():
                ops.extend((Unindex("children" if effect.is_child else "open"), Seal()))
    return ops


def kept_beside(flow: Flow) -> tuple[dict[str, str], list[str]]:
    """What is kept beside the log of a flow that is imported: the fields of its head, and its indexes.

    It is in `done` whatever its status: nothing will be added to it. A child is in no index.
    """
    told = [*_tell(o.Status(FlowStatus.ACTIVE, labels=flow.labels))]
    told += _tell(o.Status(flow.status, error=flow.error)) if flow.is_over else []
    fields = {op.name: op.value for op in told if isinstance(op, SetHead)}
    indexes = [op.index for op in told if isinstance(op, Index) and op.index.startswith("label:")]
    return fields, [] if is_child(flow.id) else [f"done:{flow.status}", *indexes]


def _tell(effect: o.Status) -> list[Op]:
    """Keeps the head and the indexes: what lists show without reading a log. A child is in no list."""
    ops: list[Op] = [SetHead("status", str(effect.status))]
    if effect.status == FlowStatus.ACTIVE:
        ops.append(Index("children" if effect.is_child else "open"))
        if effect.labels:
            ops.append(SetHead("labels", encode(effect.labels).decode()))
            if not effect.is_child:
                ops.extend(Index(f"label:{key}={value}") for key, value in sorted(effect.labels.items()))
        return ops
    if not effect.is_child:
        ops.append(Index(f"done:{effect.status}"))
    if effect.error:
        ops.append(SetHead("error", effect.error[:MAX_LISTED_ERROR_CHARS]))
    return ops
