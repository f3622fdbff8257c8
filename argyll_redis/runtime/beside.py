"""What is kept beside a flow's log, worked out from the log alone: the fields of its head and its rows in
indexes. What a commit writes turn by turn must come to the same, which is what an audit checks and what
a repair restores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from argyll_redis.core.state import Flow
from argyll_redis.core.sub_flows import is_child
from argyll_redis.runtime.effects import kept_beside

LONG_ROWS = ("expire", "tree")
"""Rows of flows whose log is closed, which no list shows: they say when a tree goes."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What a head and the indexes ought to say of a flow."""

    fields: Mapping[str, str]
    """Of its head, by their own names there."""
    rows: Mapping[str, int]
    """Its score by index. That in `expire` is the least that it may be, and it has none there while a flow
    of its tree is open."""


def beside(flow: Flow) -> Beside:
    """Says what is kept beside a log that was folded to its end."""
    told, indexes = kept_beside(flow)
    is_root, is_sealed = not is_child(flow.id), flow.is_deactivated or flow.is_imported
    started_at, at = flow.at_of(1), flow.at_of(flow.version)
    lasting = [
        index for index in indexes if flow.is_over or flow.is_imported or not index.startswith("done:")
    ]
    fields = {"v": str(flow.version), "tx": flow.last_tx, "at": str(at), "t0": str(started_at)}
    fields |= {f".{name}": value for name, value in told.items()}
    fields |= {f"#{index}": "" for index in lasting}
    if is_sealed:
        fields["sealed"] = "1"
    if not flow.is_imported:
        fields[f"@{flow.plan_hash}"] = "1"
    rows = dict.fromkeys(lasting, started_at)
    if is_sealed:
        rows |= {"expire": at} if is_root else {"tree": 0}
    else:
        rows |= {"open": started_at} if is_root else {"children": 0}
    return Beside(fields, rows)
