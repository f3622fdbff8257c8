"""The repairing part of an app: what can be lost is rebuilt from the logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argyll_redis.core.model import JSON
from argyll_redis.core.text import printable
from argyll_redis.errors import CallRefused, NamespaceEmptied, StoreUnfit
from argyll_redis.looking import find_namespace
from argyll_redis.repair.finding import Finding, Options, Place, Report
from argyll_redis.repair.queues import missing_control
from argyll_redis.repair.run import repair_namespace
from argyll_redis.repair.walk import foreign_keys
from argyll_redis.runtime.clock import new_id
from argyll_redis.runtime.node import Node
from argyll_redis.store.keys import Keys
from argyll_redis.store.protocol import Store

MAX_NAMED = 10
"""Keys, or partitions, that a refusal names."""


class Repairing:
    """What puts a namespace right; mixed into `Argyll`."""

    if TYPE_CHECKING:
        namespace: str

        def make_store(self) -> Store: ...

    async def repair(
        self, *, apply: bool = False, heads: bool = False, ids: bool = False, dead: bool = False
    ) -> dict[str, JSON]:
        """Compares everything that can be derived from the logs with what is there, and with `apply` puts it
        right: `{flows, repairs: [{what, key, flow, detail}], left, applied}`; `left` is what stays as it is.

        May run while engines run. `heads` sets heads back that are ahead of their logs, and removes those
        without a log; `ids` gives partitions without an id that of the namespace; `dead` removes entries
        that nobody could read. Raises `InvalidInput` when there is no namespace, `NamespaceEmptied` when
        a part of it is gone and `ids` was not asked for, `StoreUnfit` where a key has another type than it
        should have: what was put right before stays so.
        """
        options = Options(apply=apply, heads=heads, dead=dead)
        node = Node(self.make_store(), new_id())
        report = Report(apply)
        keys = Keys(node.store.namespace)
        try:
            otherwise = "there is no log to rebuild anything from (name another one, or restore a backup)"
            await find_namespace(node.store, self.namespace, otherwise=otherwise)
            await _look_at_ids(node.store, keys, report, is_asked=ids)
            await node.peek()
            place = Place(node, keys, options, report)
            groups = await missing_control(place)
            if apply:
                await node.open()  # which makes such groups
            for finding in groups:
                await report.take(finding)
            await repair_namespace(place)
        except CallRefused as error:
            raise await _with_its_keys(node.store, error) from error
        finally:
            await node.close()
        return report.shown()


async def _with_its_keys(store: Store, error: CallRefused) -> StoreUnfit:
    """Names what is in the way: a server says that a key is of a wrong type, and not which one."""
    keys = await foreign_keys(store)
    if not keys:
        return error
    more = f" and {len(keys) - MAX_NAMED} more" if len(keys) > MAX_NAMED else ""
    named = ", ".join(f"`{printable(key)}`" for key in keys[:MAX_NAMED])
    return StoreUnfit(
        f"keys of another type than they should have: {named}{more} (find out who wrote them, delete them, "
        "then repair again)"
    )


async def _look_at_ids(store: Store, keys: Keys, report: Report, *, is_asked: bool) -> None:
    """Sees that every partition has its id.

    A partition loses its id with all it has, as on a node of a cluster that was emptied. An id that comes
    back by itself would let engines go on as if nothing had happened.
    """
    lost = await store.lost_ids()
    if lost and not is_asked:
        named = ", ".join(map(str, lost[:MAX_NAMED])) + (" and more" if len(lost) > MAX_NAMED else "")
        raise NamespaceEmptied(
            f"{len(lost)} of {store.partitions} partitions have lost their id ({named}), and nobody knows "
            "what else (restore a backup; or, to go on with what is left, --ids)"
        )

    async def restore(partition: int) -> bool:
        await store.restore_ids([partition])
        return True

    for partition in lost:
        detail = "the partition has no id; flows of it that are gone stay gone"
        mend = lambda partition=partition: restore(partition)  # noqa: E731
        await report.take(Finding("id", keys.id(partition), "", detail, mend))
