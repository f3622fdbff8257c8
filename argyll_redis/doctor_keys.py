"""What the doctor says of the keys of a namespace: unknown ones, wrong ones, those of flows that are gone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from argyll_redis.core.explain_work import listed
from argyll_redis.core.text import printable
from argyll_redis.errors import CallRefused
from argyll_redis.repair.walk import flows_of, pages_of
from argyll_redis.store.fitness import Level, Remark
from argyll_redis.store.keys import Keys, row_of
from argyll_redis.store.mending import StoredKey
from argyll_redis.store.protocol import Store

MAX_KEYS = 100_000
"""Keys that are looked at: a doctor shall not take longer than a visit."""
MAX_NAMED = 5
"""Keys of one kind that are named."""


@dataclass(slots=True)
class Noted:
    """What is wrong with keys: how many of a kind, and the first few."""

    keys: int = 0
    count: dict[str, int] = field(default_factory=dict[str, int])
    names: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def note(self, kind: str, name: str) -> None:
        """Counts a key, and keeps its name when it is among the first of its kind."""
        self.count[kind] = self.count.get(kind, 0) + 1
        named = self.names.setdefault(kind, [])
        if len(named) < MAX_NAMED:
            named.append(name)


UNKNOWN, FOREIGN, MORTAL = "unknown", "foreign", "mortal"
NO_LOG, NO_HEAD = "no log", "no head"

MENDS = {
    UNKNOWN: (
        "keys that no part of a namespace has",
        "find out who writes them; delete them, or give that its own namespace",
    ),
    FOREIGN: ("keys of another type than they should have", "find out who wrote them; delete them"),
    MORTAL: (
        "keys that the server will remove, for they have a time to live",
        "PERSIST them, and find out who sets it",
    ),
    NO_LOG: ("flows of which the log is gone", "restore a backup, or see `argyll repair --heads`"),
    NO_HEAD: ("flows of which the head is gone", "`argyll repair --apply` makes it of the log"),
}
"""What is said of each kind, and the mend."""


async def look_at_keys(store: Store) -> AsyncIterator[Remark]:
    """Looks at every key by its name, type and time to live, up to a limit."""
    noted, keys = Noted(), Keys(store.namespace)
    is_whole = True
    async for page in pages_of(store):
        await _look_at_page(store, keys, noted, page)
        if noted.keys > MAX_KEYS:
            is_whole = False
            break
    for kind in MENDS:
        if kind in noted.count:
            yield _remark(noted, kind)
    if not noted.count:
        more = "" if is_whole else ", and there are more"
        yield Remark(Level.OK, f"keys that are as they should be: {noted.keys:,}{more}")


async def _look_at_page(store: Store, keys: Keys, noted: Noted, page: Sequence[StoredKey]) -> None:
    noted.keys += len(page)
    for kind, name in _wrong(page, store.namespace):
        noted.note(kind, name)
    logs, heads = flows_of(keys, page), flows_of(keys, page, "head")
    # A flow that comes or goes meanwhile has both or none by the second look.
    for kind, flow_ids in ((NO_HEAD, logs), (NO_LOG, heads)):
        suspects = await _halves(store, flow_ids, kind)
        for flow_id in await _halves(store, suspects, kind):
            noted.note(kind, flow_id)


async def _halves(store: Store, flow_ids: Sequence[str], kind: str) -> list[str]:
    """The flows of which only one of log and head is there."""
    try:
        heads = await store.heads(flow_ids)
        ends = await store.log_ends(flow_ids)
    except CallRefused:  # one of them is of another type, which is said as such
        if len(flow_ids) == 1:
            return []
        return [found for flow_id in flow_ids for found in await _halves(store, [flow_id], kind)]
    return [
        flow_id
        for flow_id, head, end in zip(flow_ids, heads, ends, strict=True)
        if ((head is None and end[0] > 0) if kind == NO_HEAD else (head is not None and end[0] == 0))
    ]


def _wrong(page: Iterable[StoredKey], namespace: str) -> Iterator[tuple[str, str]]:
    for key in page:
        row = row_of(key.name, namespace)
        if row is None:
            yield UNKNOWN, key.name
        elif row.type.value != key.type:
            yield FOREIGN, key.name
        elif key.ttl_ms >= 0 and not row.is_mortal:
            yield MORTAL, key.name


def _remark(noted: Noted, kind: str) -> Remark:
    count, named = noted.count[kind], noted.names[kind]
    more = f" and {count - len(named)} more" if count > len(named) else ""
    said, mend = MENDS[kind]
    is_fault = kind in (FOREIGN, MORTAL)
    return Remark(
        Level.FAULT if is_fault else Level.WARNING,
        f"{said} ({count:,}): {listed(map(printable, named))}{more}",
        mend,
    )
