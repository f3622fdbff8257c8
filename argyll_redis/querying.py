"""The query for flows: filters, a sort by start time, and pages that stay as they are."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from argyll_redis.core.limits import MAX_ID_CHARS
from argyll_redis.core.model import JSON
from argyll_redis.core.parse_request import parse_labels
from argyll_redis.core.reader import did_you_mean
from argyll_redis.core.state import FlowStatus
from argyll_redis.errors import InvalidInput, Problem
from argyll_redis.reading import INDEXES, MAX_LISTED
from argyll_redis.store.codec import decode, encode
from argyll_redis.store.protocol import Head
from argyll_redis.views import rfc3339

if TYPE_CHECKING:
    from argyll_redis.runtime.node import Node

MAX_WALKED = 10_000
"""Rows of an index that a query looks at; `total` is capped there, too."""
DEFAULT_LIMIT = 100
MAX_CURSOR_CHARS = 2_048
"""Of a cursor that is given: ours are shorter."""
HEADS_AT_A_TIME = 1_000
"""Heads that are read together."""

Row = tuple[int, str]
"""Start time (ms) and id of a flow: what a query sorts by."""
Found = tuple[Row, Head]


class Sort(StrEnum):
    """In which order flows are given, by their start."""

    RECENT_DESC = "recent_desc"
    RECENT_ASC = "recent_asc"


@dataclass(frozen=True, slots=True)
class Query:
    """A query, read and checked."""

    id_prefix: str
    labels: Mapping[str, str]
    statuses: frozenset[str]
    limit: int
    sort: Sort
    after: Row | None
    """The last row of the page before."""
    mark: str
    """Stands for namespace, filters and sort: a cursor goes with them alone."""


class Querying:
    """Listing and finding flows; mixed into `Argyll`."""

    if TYPE_CHECKING:
        namespace: str

        async def node(self) -> Node: ...

    async def query(
        self,
        *,
        id_prefix: str | None = None,
        labels: Mapping[str, str] | None = None,
        statuses: Sequence[str] | None = None,
        limit: int = DEFAULT_LIMIT,
        sort: str = Sort.RECENT_DESC,
        cursor: str | None = None,
    ) -> dict[str, JSON]:
        """Finds root flows: `{flows, count, total, has_more, next_cursor}`, rows as `flows` gives them.

        `limit` is 1 to 1,000, 0 stands for 100. `cursor` is the `next_cursor` of the page before, of the
        same query. At most 10,000 rows are looked at, and `total` counts matches among these. Raises
        `InvalidInput` with all that is wrong.
        """
        query = _read(self.namespace, id_prefix, labels, statuses, limit, sort, cursor)
        node = await self.node()
        indexes = await _smallest(node, query)
        walked = await _walk(node, indexes, newest=query.sort is Sort.RECENT_DESC, limit=MAX_WALKED)
        rows = [row for row in walked if row[1].startswith(query.id_prefix)]
        heads: dict[Row, Head] = {}
        if not _serves_alone(indexes, query):
            heads = await _matches(node, rows, query)
            rows = list(heads)
        begin = _place(rows, query)
        page = rows[begin : begin + query.limit]
        has_more = begin + len(page) < len(rows)
        found = [(row, heads[row]) for row in page] if heads else await _existing(node, page)
        return {
            "flows": [_listed(row, head) for row, head in found],
            "count": len(found),
            "total": len(rows),
            "has_more": has_more,
            "next_cursor": _cursor(page[-1], query) if has_more else None,
        }

    async def flows(self, *, limit: int = MAX_LISTED) -> list[dict[str, JSON]]:
        """Root flows, newest first: `{id, status, timestamp, labels, error}`."""
        if not 1 <= limit <= MAX_LISTED:
            raise InvalidInput(f"limit is {limit}, use 1 to {MAX_LISTED}")
        node = await self.node()
        rows = await _walk(node, INDEXES, newest=True, limit=limit)
        return [_listed(row, head) for row, head in await _existing(node, rows)]


def _listed(row: Row, head: Head) -> dict[str, JSON]:
    """A flow as lists have it: `{id, status, timestamp, labels, error}`."""
    at, flow_id = row
    shape: dict[str, JSON] = {
        "id": flow_id,
        "status": head.fields.get("status", ""),
        "timestamp": rfc3339(at),
        "labels": _labels(head),
    }
    if "error" in head.fields:
        shape["error"] = head.fields["error"]
    return shape


# --------------------------------------------------------------------- reading


def _read(
    namespace: str, id_prefix: Any, labels: Any, statuses: Any, limit: Any, sort: Any, cursor: Any
) -> Query:
    problems: list[Problem] = []
    prefix = _prefix(id_prefix, problems)
    try:
        wanted = parse_labels(labels)
    except InvalidInput as error:
        problems.extend(error.problems)
        wanted = {}
    named = _statuses(statuses, problems)
    order = _choice("sort", sort or Sort.RECENT_DESC, Sort, problems)
    most = _limit(limit, problems)
    mark = _digest([namespace, prefix, wanted, sorted(named), str(order)])
    after = _after(cursor, mark, problems)
    if problems:
        raise InvalidInput(problems=problems)
    return Query(prefix, wanted, named, most, Sort(order), after, mark)


def _prefix(given: Any, problems: list[Problem]) -> str:
    if given is None:
        return ""
    if not isinstance(given, str):
        problems.append(Problem("id_prefix", "is not text", "put it in quotes"))
        return ""
    if len(given) > MAX_ID_CHARS:
        what = f"is {len(given):,} characters long"
        problems.append(Problem("id_prefix", what, f"use at most {MAX_ID_CHARS}"))
        return ""
    return given.lower()


def _statuses(given: Any, problems: list[Problem]) -> frozenset[str]:
    if given is None:
        return frozenset()
    if isinstance(given, str) or not isinstance(given, Iterable):
        mend = f"use a list of {', '.join(FlowStatus)}"
        problems.append(Problem("statuses", "is not a list", mend))
        return frozenset()
    return frozenset(
        _choice(f"statuses[{index}]", each, FlowStatus, problems) for index, each in enumerate(given)
    )


def _choice(path: str, given: Any, kind: type[StrEnum], problems: list[Problem]) -> str:
    known = [str(each) for each in kind]
    if isinstance(given, str) and given in known:
        return str(given)
    near = did_you_mean(given, known) if isinstance(given, str) else ""
    problems.append(Problem(path, f"is not one of {', '.join(known)}", near))
    return known[0]


def _limit(given: Any, problems: list[Problem]) -> int:
    if given is None or (type(given) is int and given == 0):
        return DEFAULT_LIMIT
    if type(given) is not int or not 0 < given <= MAX_LISTED:
        what = "is not a whole number" if type(given) is not int else f"{given} is out of range"
        problems.append(Problem("limit", what, f"use 1 to {MAX_LISTED:,}, or leave it out for 100"))
        return DEFAULT_LIMIT
    return given


# --------------------------------------------------------------------- cursors


def _digest(parts: Sequence[JSON]) -> str:
    """Tells queries apart; what is text only in Python, as a lone surrogate, counts as well."""
    return blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=9).hexdigest()


def _cursor(row: Row, query: Query) -> str:
    at, flow_id = row
    text = encode([at, flow_id, _digest([query.mark, at, flow_id])])
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _after(given: Any, mark: str, problems: list[Problem]) -> Row | None:
    """The row that a cursor stands for."""
    if given is None or given == "":
        return None
    try:
        if not isinstance(given, str) or len(given) > MAX_CURSOR_CHARS:
            raise ValueError
        text = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True)
        at, flow_id, digest = decode(text)
        if digest != _digest([mark, at, flow_id]):
            raise ValueError
    except (ValueError, TypeError):
        what = "is not one that this query gave"
        mend = "use next_cursor as it was given, with the same filters and sort"
        problems.append(Problem("cursor", what, mend))
        return None
    return at, flow_id


def _place(rows: Sequence[Row], query: Query) -> int:
    """How many rows come before the page that is asked for."""
    if query.after is None:
        return 0
    after = query.after
    is_past = (lambda row: row < after) if query.sort is Sort.RECENT_DESC else (lambda row: row > after)
    return next((place for place, row in enumerate(rows) if is_past(row)), len(rows))


# --------------------------------------------------------------------- walking


async def _smallest(node: Node, query: Query) -> Sequence[str]:
    """The fewest indexes that have every match among them: those of a label, of the statuses, or all."""
    choices: list[Sequence[str]] = [(f"label:{key}={value}",) for key, value in query.labels.items()]
    if query.statuses:
        choices.append(_of_statuses(query.statuses))
    if len(choices) < 2:
        return choices[0] if choices else INDEXES
    names = list(dict.fromkeys(name for choice in choices for name in choice))
    sizes = dict(zip(names, await node.store.sizes(names), strict=True))
    return min(choices, key=lambda choice: sum(sizes[name] for name in choice))


def _of_statuses(statuses: frozenset[str]) -> Sequence[str]:
    """The indexes of statuses. Those that were imported while active are in `done` alone."""
    done = [f"done:{status}" for status in sorted(statuses)]
    return ["open", *done] if FlowStatus.ACTIVE in statuses else done


def _serves_alone(indexes: Sequence[str], query: Query) -> bool:
    """Whether all flows of the indexes have the labels and the status that are asked for. In `open` there
    are flows that are over, too, until they are deactivated."""
    if query.labels:
        return not query.statuses and len(query.labels) == 1
    return not query.statuses or "open" not in indexes


async def _walk(node: Node, indexes: Sequence[str], *, newest: bool, limit: int) -> list[Row]:
    """The first rows of some indexes together; a flow that is in two of them comes once."""
    found = await asyncio.gather(*(node.store.index(name, newest=newest, limit=limit) for name in indexes))
    return sorted({(at, flow_id) for rows in found for flow_id, at in rows}, reverse=newest)[:limit]


async def _existing(node: Node, rows: Sequence[Row]) -> list[Found]:
    """The heads of flows; one that has expired meanwhile is left out."""
    heads = await node.store.heads([flow_id for _, flow_id in rows]) if rows else []
    return [(row, head) for row, head in zip(rows, heads, strict=True) if head is not None]


async def _matches(node: Node, rows: Sequence[Row], query: Query) -> dict[Row, Head]:
    """Those that match, in the order given."""
    found: dict[Row, Head] = {}
    for start in range(0, len(rows), HEADS_AT_A_TIME):
        page = await _existing(node, rows[start : start + HEADS_AT_A_TIME])
        found.update((row, head) for row, head in page if _is_match(head, query))
    return found


def _is_match(head: Head, query: Query) -> bool:
    if query.statuses and head.fields.get("status", "") not in query.statuses:
        return False
    if not query.labels:
        return True
    return query.labels.items() <= _labels(head).items()


def _labels(head: Head) -> dict[str, str]:
    """The labels of a flow. None where they cannot be read: one flow must not keep the others from a list."""
    try:
        found = decode(head.fields.get("labels", "{}").encode("utf-8", "replace"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
