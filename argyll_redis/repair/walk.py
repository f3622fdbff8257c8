"""A namespace's keys in pages, sorted into what they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator

from argyll_redis.store.keys import Keys, row_of
from argyll_redis.store.mending import StoredKey
from argyll_redis.store.protocol import Store

KEYS_AT_A_TIME = 1_000
"""Keys that a page is asked to have, those of others on the server included."""


async def pages_of(store: Store) -> AsyncIterator[list[StoredKey]]:
    """All keys of the namespace; one that is there all the while comes at least once."""
    cursor = "0"
    while True:
        page, cursor = await store.keys(cursor, KEYS_AT_A_TIME)
        yield page
        if cursor == "0":
            return


async def foreign_keys(store: Store) -> list[str]:
    """The keys of another type than they should have."""
    found: set[str] = set()
    async for page in pages_of(store):
        rows = ((key, row_of(key.name, store.namespace)) for key in page)
        found.update(key.name for key, row in rows if row is not None and row.type.value != key.type)
    return sorted(found)


def placed(keys: Keys, page: Iterable[StoredKey]) -> Iterator[tuple[int, str]]:
    """The keys that are a partition's, as (partition, name behind the tag)."""
    begin = f"{{{keys.namespace}:"
    for key in page:
        tag, _, name = key.name.partition("}:")
        number = tag.removeprefix(begin)
        if name and key.name.startswith(begin) and number.isdigit():
            yield int(number), name


def flows_of(keys: Keys, page: Iterable[StoredKey], kind: str = "flow") -> list[str]:
    """The flows whose logs (or heads) are among the keys."""
    names = (name.partition(":") for _, name in placed(keys, page))
    return [flow_id for found, _, flow_id in names if found == kind and flow_id]
