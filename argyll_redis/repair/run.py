"""Through a whole namespace, from what everything else hangs on to what hangs on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from argyll_redis.repair.finding import Finding, Place
from argyll_redis.repair.flows import FLOWS_AT_A_TIME, Plan, Seen, look_at_ends, look_at_flows
from argyll_redis.repair.lacks import look_at_lacks
from argyll_redis.repair.plans import look_at_plans
from argyll_redis.repair.queues import look_at_dead, look_at_names, look_at_streams, missing_groups
from argyll_redis.repair.rows import is_index, look_at_heads, look_at_rows
from argyll_redis.repair.walk import flows_of, pages_of, placed
from argyll_redis.store.mending import StoredKey


@dataclass(slots=True)
class Names:
    """What a walk over the keys has found beside logs and heads."""

    indexes: set[tuple[int, str]] = field(default_factory=set[tuple[int, str]])
    plans: set[Plan] = field(default_factory=set[Plan])
    queues: set[str] = field(default_factory=set[str])

    def note(self, partition: int, name: str) -> None:
        """Sorts in a key of a partition."""
        kind, _, rest = name.partition(":")
        if is_index(name):
            self.indexes.add((partition, name))
        elif kind == "plan":
            self.plans.add((partition, rest))
        elif kind == "work":
            self.queues.add(rest)


async def repair_namespace(place: Place) -> None:
    """Looks at everything that can be derived from the logs, and puts it right where that is asked for.

    Reads every log once, and in pages: what is kept of each flow is a few bytes, of each open one its id.
    """
    seen, names = Seen(), Names()
    async for page in pages_of(place.node.store):
        await _look_at_page(place, seen, names, page)
    await look_at_ends(place, seen)
    for partition, index in sorted(names.indexes):
        await look_at_rows(place, seen, partition, index)
    await look_at_plans(place, names.plans, seen)
    known = set(await place.node.store.queues())
    queues = sorted(known | names.queues | seen.queues | await _registered(place))
    groups: list[Finding] = []
    for partition in range(place.node.store.partitions):
        state = await place.node.store.pending(partition, queues)
        groups += missing_groups(place, partition, state)
        await look_at_streams(place, partition, state)
        if flow_ids := seen.open.get(partition):
            await look_at_lacks(place, partition, flow_ids, queues)
    for finding in groups:  # only now: what makes one makes that of every partition
        await place.report.take(finding)
    await look_at_names(place, [queue for queue in queues if queue not in known])
    if place.options.dead:
        await look_at_dead(place)


async def _look_at_page(place: Place, seen: Seen, names: Names, page: list[StoredKey]) -> None:
    for partition, name in placed(place.keys, page):
        names.note(partition, name)
    flow_ids = flows_of(place.keys, page)
    for first in range(0, len(flow_ids), FLOWS_AT_A_TIME):
        await look_at_flows(place, seen, flow_ids[first : first + FLOWS_AT_A_TIME])
    await look_at_heads(place, seen, flows_of(place.keys, page, "head"))


async def _registered(place: Place) -> set[str]:
    """The queues of registered steps, and of live engines."""
    catalog = await place.node.catalog.refresh()
    queues = {catalog.step(id).queue for id in catalog.steps}
    return queues.union(*(engine.queues for engine in await place.node.store.engines()))
