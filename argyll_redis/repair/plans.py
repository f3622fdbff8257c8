"""How many flows use each plan: a plan goes with its last flow, so a count that is too low takes it away
from flows that need it, and one that is too high keeps it for ever.

Starts and retention change counts all the time, so a count is wrong only when two walks over the logs came
to the same, and it was the same before, between and after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from argyll_redis.repair.finding import Finding, Place
from argyll_redis.repair.flows import FLOWS_AT_A_TIME, Plan, Seen, plan_of
from argyll_redis.repair.walk import flows_of, pages_of
from argyll_redis.store.mending import CountUsers, Repair
from argyll_redis.store.protocol import partition_of

PLANS_AT_A_TIME = 500


async def look_at_plans(place: Place, plans: Collection[Plan], seen: Seen) -> None:
    """Compares the counts of plans, those that are there and those that logs name, with what a walk over the
    logs came to; walks once more where they differ."""
    users = seen.users + seen.remains
    known = sorted({*plans, *users})
    first = await _counts(place, known)
    suspects = [plan for plan in known if first[plan] != users[plan]]
    if not suspects:
        return
    before = await _counts(place, suspects)
    again = await _users(place, set(suspects))
    after = await _counts(place, suspects)
    for plan in suspects:
        is_at_rest = (
            first[plan] == before[plan] == after[plan] and users[plan] == again[plan] + seen.remains[plan]
        )
        if is_at_rest:
            await place.report.take(await _finding(place, plan, after[plan], users[plan]))


async def _counts(place: Place, plans: Sequence[Plan]) -> dict[Plan, int]:
    found: dict[Plan, int] = {}
    for first in range(0, len(plans), PLANS_AT_A_TIME):
        page = plans[first : first + PLANS_AT_A_TIME]
        found.update(zip(page, await place.node.store.plan_users(page), strict=True))
    return found


async def _users(place: Place, plans: set[Plan]) -> Counter[Plan]:
    """How many logs name each of these plans."""
    store, seen = place.node.store, Seen()
    found: Counter[Plan] = Counter()
    async for page in pages_of(store):
        flow_ids = list(filter(seen.is_new, flows_of(place.keys, page)))
        for first in range(0, len(flow_ids), FLOWS_AT_A_TIME):
            some = flow_ids[first : first + FLOWS_AT_A_TIME]
            for flow_id, events in zip(some, await store.load([(id, 0, 1) for id in some]), strict=True):
                plan = (partition_of(flow_id, store.partitions), plan_of(events))
                found[plan] += plan in plans
    return found


async def _finding(place: Place, plan: Plan, was: int, users: int) -> Finding:
    partition, hash = plan
    key = place.keys.of(partition, f"plan:{hash}")
    [stored] = await place.node.store.plans([plan])
    if stored is None:
        return Finding("plan", key, "", f"the plan is gone, and {users} flows have it (restore a backup)")
    repair = Repair(partition, [CountUsers(hash, was, users)])
    detail = f"is counted as used by {was} flows, and {users} have it"
    return Finding("plan", key, "", detail, lambda: place.node.store.repair(repair))
