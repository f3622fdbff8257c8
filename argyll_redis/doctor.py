"""The doctor: is the server fit, and does the namespace lack anything that its flows need?

It looks and says, and changes nothing: a namespace that does not exist is not created. Each finding
has a level (`ok`, `warning`, `fault`), what was found, and how to mend it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from argyll_redis.config import AppConfig
from argyll_redis.core.explain_work import span
from argyll_redis.core.model import JSON
from argyll_redis.doctor_engines import look_at_engines
from argyll_redis.doctor_keys import look_at_keys
from argyll_redis.doctor_pending import look_at_pending
from argyll_redis.errors import CallRefused, NamespaceEmptied, StoreUnfit
from argyll_redis.runtime.clock import monotonic_ms, new_id, wall_ms
from argyll_redis.runtime.node import Node
from argyll_redis.store.copies import Copies
from argyll_redis.store.fitness import Level, Remark, examine, examine_settings
from argyll_redis.store.keys import LAYOUT
from argyll_redis.store.permissions import asked_for
from argyll_redis.store.protocol import Store

MAX_SKEW_MS = 1_000
"""By how much two clocks may differ before it is said."""
SETTINGS = ("appendfsync", "min-replicas-to-write")
"""Of the server, that its `INFO` does not tell."""


class Doctor:
    """The looking part of an app; mixed into `Argyll`."""

    if TYPE_CHECKING:
        namespace: str
        config: AppConfig

        def make_store(self) -> Store: ...

    async def doctor(self) -> dict[str, JSON]:
        """Looks at the server and at the namespace: `{findings: [{level, what, mend}]}`.

        Raises `StoreUnavailable` when the server cannot be reached; one that cannot be used is a fault.
        """
        store = self.make_store()
        try:
            found = [remark async for remark in _examined(store, self.namespace, self.config.copies)]
        finally:
            await store.close()
        return {
            "findings": [{"level": str(each.level), "what": each.what, "mend": each.mend} for each in found]
        }


async def _examined(store: Store, namespace: str, copies: Copies) -> AsyncIterator[Remark]:
    """The server first; the namespace only on a server that can be used."""
    is_fit = True
    try:
        async for remark in _server(store, copies):
            is_fit = is_fit and remark.level is not Level.FAULT
            yield remark
        if is_fit:
            async for remark in _namespace(store, namespace):
                yield remark
    except (StoreUnfit, NamespaceEmptied) as error:
        yield _fault(str(error), "mend that, then look again")


def _fault(text: str, otherwise: str) -> Remark:
    """A fault from the text of an error, which ends with its mend in brackets where it knows one."""
    what, _, mend = text.removesuffix(")").partition(" (")
    return Remark(Level.FAULT, what, mend) if text.endswith(")") else Remark(Level.FAULT, text, otherwise)


# ---------------------------------------------------------------------- server


async def _server(store: Store, copies: Copies) -> AsyncIterator[Remark]:
    info = await store.info()
    for remark in examine(info):
        yield remark
    if info.get("server") == "memory":
        return
    if info:
        for remark in examine_settings(info, await store.settings(SETTINGS), copies):
            yield remark
    for remark in await _rights(store):
        yield remark
    yield await _clocks(store)


async def _rights(store: Store) -> list[Remark]:
    """Whether scripts run, and what the user may not do."""
    wrong = await store.can_run_scripts()
    if wrong:
        return [_fault(f"it runs no scripts: {wrong}", "allow EVAL to the user")]
    lacking = await store.missing_rights()
    if lacking:
        return [_fault(asked_for(lacking, store.namespace), "allow that to the user")]
    remarks = [Remark(Level.OK, "it runs scripts")]
    to_look = await store.missing_rights(to_look=True)
    if to_look:
        found = _fault(asked_for(to_look, store.namespace), "allow that to the user")
        what = f"{found.what} that an audit, a repair and this look need"
        return [*remarks, Remark(Level.WARNING, what, found.mend)]
    return remarks


async def _clocks(store: Store) -> Remark:
    """How the clock of this machine differs from the server's, as far as the way there and back allows."""
    began_ms = monotonic_ms()
    server_ms = await store.now_ms()
    way_ms = monotonic_ms() - began_ms
    ahead_ms = wall_ms() - way_ms // 2 - server_ms
    if abs(ahead_ms) <= MAX_SKEW_MS + way_ms:
        return Remark(Level.OK, f"its clock goes as the one here does; a call takes {way_ms} ms")
    what = f"its clock is {span(abs(ahead_ms))} {'behind' if ahead_ms > 0 else 'ahead of'} the one here"
    return Remark(
        Level.WARNING, f"{what}; what is due goes by the server's", "let both follow one time server"
    )


# ------------------------------------------------------------------- namespace


async def _namespace(store: Store, namespace: str) -> AsyncIterator[Remark]:
    found = await store.peek()
    if found is None:
        yield Remark(Level.OK, f"namespace {namespace} does not exist yet: its first use creates it")
        return
    if found.layout != LAYOUT:
        what = f"namespace {namespace} has layout {found.layout}, and this version knows {LAYOUT}"
        yield Remark(Level.FAULT, what, "use the version of argyll that made it, or a newer one")
        return
    for remark in await _ids(store, found.is_ready):
        yield remark
        if remark.level is Level.FAULT:
            return
    node = Node(store, new_id())
    await node.peek()
    try:
        yield Remark(
            Level.OK, f"namespace {namespace} has layout {found.layout} and {found.partitions} partitions"
        )
        try:
            async for remark in _work(node):
                yield remark
        except CallRefused as error:
            yield _fault(str(error), "see below which key it is")
        async for remark in look_at_keys(store):
            yield remark
    finally:
        await node.close()


async def _work(node: Node) -> AsyncIterator[Remark]:
    """Who works there, and what is pending. Raises `CallRefused` where a key has another type than it
    should have."""
    engines, stats = await node.store.engines(), await node.store.queue_stats()
    async for remark in look_at_engines(node, engines, stats):
        yield remark
    async for remark in look_at_pending(node.store, engines, stats):
        yield remark


async def _ids(store: Store, is_ready: bool) -> list[Remark]:
    """Whether every partition has the id of the namespace; a creation that has stopped gives them later."""
    if not is_ready:
        what = "the namespace is not created to its end: its next use goes on with that"
        return [Remark(Level.WARNING, what, "use it, or look why its creation stopped")]
    lost = await store.lost_ids()
    if not lost:
        return []
    named = ", ".join(map(str, lost[:10])) + (" and more" if len(lost) > 10 else "")
    what = f"the id of {len(lost)} of {store.partitions} partitions is missing, or another's ({named})"
    mend = "a part of the namespace was emptied: restore a backup, or see `argyll repair --ids`"
    return [Remark(Level.FAULT, what, mend)]
