"""Completion of flow and step ids, and of files, in the shell: quick, and silent whatever goes wrong.

Only what is there is read: nothing is created, and no engine or catalog is set up for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from argyll_redis.cli.opened import run_async
from argyll_redis.cli.options import DEFAULT_NAMESPACE, DEFAULT_URL

if TYPE_CHECKING:
    from argyll_redis.store.protocol import Store

LIMIT_S = 0.8
"""A completion that takes longer is none."""
MAX_FLOWS = 1_000
"""The newest flows that are looked at."""
MAX_OFFERED = 50

Found = list[tuple[str, str]]
"""Ids, each with what it is."""
Read = Callable[["Store"], Awaitable[Found]]


def complete_flows(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of flows, the newest first."""
    return _offered(ctx, incomplete, _flows)


def complete_steps(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of registered steps, in their order."""
    return _offered(ctx, incomplete, _steps)


def complete_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files, which the shell itself looks for."""
    return [CompletionItem(incomplete, type="file")]


def _offered(ctx: click.Context, incomplete: str, reader: Callable[[], Read]) -> list[CompletionItem]:
    try:
        read = reader()  # what it imports is no part of the time that looking may take
        found = run_async(lambda: _found(ctx, read))
    except Exception:  # whoever presses a key wants no error
        return []
    fitting = [CompletionItem(id, help=what) for id, what in found if id.startswith(incomplete)]
    return fitting[:MAX_OFFERED]


async def _found(ctx: click.Context, read: Read) -> Found:
    import asyncio

    from argyll_redis.runtime.open import open_store

    given = ctx.params
    store = open_store(given.get("url") or DEFAULT_URL, given.get("namespace") or DEFAULT_NAMESPACE)
    try:
        async with asyncio.timeout(LIMIT_S):
            return await read(store) if await store.peek() is not None else []
    finally:
        await store.close()


def _flows() -> Read:
    from argyll_redis.reading import INDEXES

    async def read(store: Store) -> Found:
        found: dict[str, tuple[int, str]] = {}
        for index in INDEXES:
            standing = index.removeprefix("done:").replace("open", "active")
            for flow, at in await store.index(index, limit=MAX_FLOWS):
                found[flow] = (at, standing)
        newest = sorted(found.items(), key=lambda row: (-row[1][0], row[0]))
        return [(flow, standing) for flow, (_, standing) in newest]

    return read


def _steps() -> Read:
    from argyll_redis.core.catalog import Catalog, apply_all, catalog_event
    from argyll_redis.store.codec import decode

    async def read(store: Store) -> Found:
        events = await store.catalog(0)
        catalog = apply_all(Catalog(), [(catalog_event(each.type, decode(each.data)), 0) for each in events])
        return [(id, catalog.step(id).name) for id in sorted(catalog.steps)]

    return read
