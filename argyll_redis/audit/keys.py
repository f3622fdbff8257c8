"""I-25: what the store holds, key by key: nothing unknown, nothing that goes too early, nothing of nobody.

Flows start and expire while keys are read, so that what looks wrong is looked at again before it is said.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence

from argyll_redis.audit.careful import read_each
from argyll_redis.audit.report import Report
from argyll_redis.audit.walk import KEYS_AT_A_TIME, Walk
from argyll_redis.core.sub_flows import is_child
from argyll_redis.store.keys import KeyType, row_of
from argyll_redis.store.mending import StoredKey
from argyll_redis.store.protocol import Store, partition_of, root_of, work_stream

FOREVER = -1
"""The time to live of a key that has none."""
ROWS_AT_A_TIME = 1_000


Plan = tuple[int, str]
"""(partition, hash)."""


class KeyCheck:
    """Looks at every key of a namespace."""

    def __init__(self, store: Store, walk: Walk, report: Report) -> None:
        self._store = store
        self._walk = walk
        self._report = report
        self._indexes: dict[tuple[int, str], None] = {}
        """Those of the page of keys that is looked at."""
        self._met: set[int] = set()
        """Hashes of the names of indexes that were looked at: there may be one for each flow."""
        self._plans: dict[Plan, None] = {}
        self._streams: dict[str, None] = {}
        """Streams of released attempts, by name."""

    async def run(self, users: Mapping[Plan, int]) -> None:
        """Looks at all keys, at the rows of the indexes among them, and at how many flows have the plans:
        `users` says how many were read."""
        async for keys in _pages(self._store):
            heads = [flow for key in keys if (flow := self._look(key))]
            await self._check_heads(heads)
            indexes, self._indexes = self._indexes, {}
            await asyncio.gather(*(self._check_rows(*each) for each in indexes))
        await self._check_queues()
        await self._check_plans(users)

    # -------------------------------------------------------------------- keys

    def _look(self, key: StoredKey) -> str | None:
        """Looks at a key by itself; gives the flow whose head it is."""
        row = row_of(key.name, self._store.namespace)
        if row is None or (row.is_partitioned and place_of(key.name, self._store) is None):
            self._say(f"nobody knows key `{key.name}`")
            return None
        if key.type != row.type:
            self._say(f"key `{key.name}` is a {key.type}, and ought to be a {row.type}")
        if key.ttl_ms != FOREVER and not row.is_mortal:
            self._say(f"key `{key.name}` goes by itself in {key.ttl_ms} ms, and ought to stay")
        if key.ttl_ms == FOREVER and row.is_mortal:
            self._say(f"key `{key.name}` has no time to live, and ought to have one")
        place = place_of(key.name, self._store) if row.is_partitioned else None
        return self._note(*place, key) if place else None

    def _note(self, partition: int, name: str, key: StoredKey) -> str | None:
        kind, _, rest = name.partition(":")
        if kind in ("flow", "head") and partition_of(rest, self._store.partitions) != partition:
            self._say(f"key `{key.name}` is in another partition than that of its flow", rest)
        elif kind == "head":
            return rest
        elif kind == "plan":
            self._plans[partition, rest] = None
        elif kind == "work":
            self._streams[name] = None
        elif key.type == KeyType.ZSET and kind != "due" and hash((partition, name)) not in self._met:
            self._met.add(hash((partition, name)))
            self._indexes[partition, name] = None
        return None

    def _say(self, message: str, flow: str = "") -> None:
        self._report.add("I-25", message, flow=flow)

    async def _check_heads(self, flows: Sequence[str]) -> None:
        """A head is there with its log."""
        flows = [flow for flow in flows if not self._walk.has_met(flow)]
        ends = await read_each(self._store.log_ends, flows, (0, ""))
        alone = [flow for flow, (version, _) in zip(flows, ends, strict=True) if not version]
        heads = await self._heads(alone)
        for flow, head in zip(alone, heads, strict=True):
            if head is not None:
                self._say("the head of the flow is there, and it has no log", flow)

    async def _heads(self, flows: Sequence[str]) -> list[Mapping[str, str] | None]:
        return await read_each(self._store.head_fields, flows, None)

    # ----------------------------------------------------------------- indexes

    async def _check_rows(self, partition: int, index: str) -> None:
        """A row of an index is one of a flow that is there; one of a label, of a flow that has it."""
        cursor = "0"
        while True:
            rows, cursor = await self._store.rows(partition, index, cursor, ROWS_AT_A_TIME)
            flows = [flow for flow, _ in rows]
            for flow in flows:
                if partition_of(flow, self._store.partitions) != partition:
                    self._say(f"index `{index}` has the flow in another partition than its own", flow)
            if not index.startswith("label:"):
                flows = [flow for flow in flows if not self._walk.has_met(flow)]
            for flow, what in await self._wrong_rows(partition, index, flows):
                self._say(f"index `{index}` has the flow, {what}", flow)
            if cursor == "0":
                return

    async def _wrong_rows(self, partition: int, index: str, flows: Sequence[str]) -> list[tuple[str, str]]:
        suspects = await self._suspects(index, flows)
        if index == "expire" and suspects:
            suspects = await self._without_tree(partition, suspects)
        if not suspects:
            return []
        scores = await self._store.scores(partition, [(index, flow) for flow, _ in suspects])
        there = [suspect[0] for suspect, score in zip(suspects, scores, strict=True) if score is not None]
        return await self._suspects(index, there)

    async def _suspects(self, index: str, flows: Sequence[str]) -> list[tuple[str, str]]:
        heads = await self._heads(flows)
        found: list[tuple[str, str]] = []
        for flow, head in zip(flows, heads, strict=True):
            if head is None and self._walk.has_met(flow):
                continue  # it has a log, and has lost its head
            if head is None:
                found.append((flow, "which does not exist"))
            elif index.startswith("label:") and f"#{index}" not in head:
                found.append((flow, "which does not have that label"))
        return found

    async def _without_tree(
        self, partition: int, suspects: Sequence[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """Roots of which no child is left either: an imported child may have no parent here."""
        roots = {flow for flow, _ in suspects}
        cursor = "0"
        while roots:
            rows, cursor = await self._store.rows(partition, "tree", cursor, ROWS_AT_A_TIME)
            roots -= {root_of(flow) for flow, _ in rows if is_child(flow)}
            if cursor == "0":
                break
        return [suspect for suspect in suspects if suspect[0] in roots]

    # ------------------------------------------------------------ queues, plans

    async def _check_queues(self) -> None:
        known = set(map(work_stream, await self._store.queues()))
        for stream in sorted(self._streams.keys() - known):
            self._say(f"stream `{stream}` belongs to no queue: no engine reads it")

    async def _check_plans(self, users: Mapping[Plan, int]) -> None:
        """A plan counts its users, so that it goes with the last of them."""
        plans = sorted({*users, *self._plans})
        wrong: dict[Plan, int] = {}
        for first in range(0, len(plans), KEYS_AT_A_TIME):
            page = plans[first : first + KEYS_AT_A_TIME]
            counts = await self._user_counts(page)
            wrong |= {
                plan: count for plan, count in zip(page, counts, strict=True) if count != users.get(plan, 0)
            }
        if not wrong:
            return
        again = await self._recount(wrong)
        counts = await self._user_counts(list(wrong))
        for (plan, before), count in zip(wrong.items(), counts, strict=True):
            if count == before and again[plan] == users.get(plan, 0) != count:
                place = f"plan {plan[1]} of partition {plan[0]}"
                self._say(f"{place} counts {count} users, and {again[plan]} flows have it")

    async def _user_counts(self, plans: Sequence[Plan]) -> list[int]:
        return await read_each(self._store.plan_users, plans, 0)

    async def _recount(self, plans: Mapping[Plan, int]) -> Counter[Plan]:
        """Counts the users of some plans once more, by the heads."""
        counted: Counter[Plan] = Counter()
        met: set[int] = set()
        async for keys in _pages(self._store):
            places = [place_of(key.name, self._store) for key in keys if "}:head:" in key.name]
            flows = [(place[0], place[1].partition(":")[2]) for place in places if place]
            flows = [each for each in flows if hash(each[1]) not in met]
            met.update(hash(flow) for _, flow in flows)
            heads = await self._heads([flow for _, flow in flows])
            for (partition, _), head in zip(flows, heads, strict=True):
                for plan, uses in plans_in(head or {}):
                    if (partition, plan) in plans:
                        counted[partition, plan] += uses
        return counted


def plans_in(head: Mapping[str, str]) -> list[tuple[str, int]]:
    """The plans that a head counts, each with how often."""
    return [(name[1:], int(uses)) for name, uses in head.items() if name.startswith("@") and uses.isdecimal()]


async def _pages(store: Store) -> AsyncIterator[list[StoredKey]]:
    cursor = "0"
    while True:
        keys, cursor = await store.keys(cursor, KEYS_AT_A_TIME)
        yield keys
        if cursor == "0":
            return


def place_of(key: str, store: Store) -> tuple[int, str] | None:
    """The partition of a key, and its name there; None where the namespace has no such partition."""
    tag, _, name = key.partition("}:")
    number = tag.rpartition(":")[2]
    if not number.isdecimal() or str(int(number)) != number or int(number) >= store.partitions:
        return None
    return int(number), name


async def check_drained(store: Store, report: Report) -> None:
    """Where no flow is open, nothing waits, is pending or is due."""
    queues = await store.queues()
    for partition in range(store.partitions):
        state = await store.pending(partition, queues)
        for stream in state.streams:
            for entry, payload in stream.entries.items():
                who = stream.pending.get(entry)
                where = f"is pending for {who.consumer}" if who else "waits"
                report.add("I-25", f"no flow is open, and `{payload}` {where} in `{stream.stream}`")
            for entry in stream.vanished:
                who = stream.pending[entry].consumer
                report.add("I-25", f"entry {entry} of `{stream.stream}` is gone, and pending for {who}")
        for member in state.due:
            report.add("I-25", f"no flow is open, and `{member}` is due")
