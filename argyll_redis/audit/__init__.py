"""The audit: whether a namespace is as it must be, by everything that can be read of it.

`argyll audit` is `audit_namespace`: give it an app, and journals of what was seen outside, if you have them.
What each invariant says is in `core.audit.INVARIANTS`; how journals look, in `audit.journals`.

    journals = Journals(calls=["calls.jsonl"], answers=["answers.jsonl"])
    report = await audit_namespace(app, journals=journals, is_drained=True)
    assert report.count == 0, report.violations
"""

from __future__ import annotations

from typing import Protocol

from argyll_redis.audit.journals import Journals
from argyll_redis.audit.namespace import Auditor, OnProgress
from argyll_redis.audit.report import Found, Report
from argyll_redis.core.audit import INVARIANTS
from argyll_redis.core.parse_request import read_flow_id
from argyll_redis.runtime.node import Node

__all__ = ["INVARIANTS", "Found", "Journals", "Report", "audit_namespace"]


class HasNode(Protocol):
    """What is connected to a namespace: an `Argyll`."""

    async def node(self) -> Node: ...


async def audit_namespace(
    app: HasNode | Node,
    *,
    flow_id: str | None = None,
    journals: Journals | None = None,
    is_drained: bool = False,
    on_progress: OnProgress | None = None,
) -> Report:
    """Audits a namespace, or one flow with its children; changes nothing.

    Journals are read first, and stay open. `is_drained` says that all work should have ended by now: a flow
    that is open is a violation then, and so is an entry in a queue. `on_progress` is told after each page how
    many flows were read, and about how many there are. Raises `UnknownFlow`, and `InvalidInput` for a journal
    that cannot be read.
    """
    if journals is not None:
        await journals.read()
    node = app if isinstance(app, Node) else await app.node()
    auditor = Auditor(node, journals=journals, is_drained=is_drained, on_progress=on_progress)
    return await (auditor.everything() if flow_id is None else auditor.one(read_flow_id(flow_id)))
