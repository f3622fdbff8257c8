"""Flows from their logs: stored events become recorded ones, and are folded.

Plans are parsed once and shared by all flows that have them. A flow whose log holds something that
this version does not know raises `UnknownEvent` and is left alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

from argyll_redis.core.decide import evolve
from argyll_redis.core.events import Recorded, parse_event
from argyll_redis.core.model import JSON, Plan
from argyll_redis.core.plan import plan_from_json, plan_to_json
from argyll_redis.core.schemas import PLAN_SCHEMA, up_to_date, with_schema
from argyll_redis.core.state import Flow
from argyll_redis.errors import ArgyllError, CallRefused, HistoryLost, InvariantBroken, UnknownEvent
from argyll_redis.store.codec import decode, encode
from argyll_redis.store.protocol import Store, StoredEvent, partition_of

PAGE_EVENTS = 500
"""Events read from one log at a time."""
PLANS = 256
"""Parsed plans kept at a time."""
NO_PLANS: Mapping[str, Plan] = {}


class PlanBook:
    """Plans by the hash of their bytes, parsed once and shared."""

    def __init__(self) -> None:
        self._plans: OrderedDict[str, tuple[Plan, bytes]] = OrderedDict()
        self._names: OrderedDict[int, tuple[Plan, str]] = OrderedDict()
        """Hashes of plans within plans, by identity: working one out costs as much as the plan is long."""

    def get(self, hash: str) -> Plan | None:
        found = self._plans.get(hash)
        if found is None:
            return None
        self._plans.move_to_end(hash)
        return found[0]

    def bytes_of(self, hash: str) -> bytes:
        """The bytes of a plan that is in the book; empty when it is not."""
        found = self._plans.get(hash)
        return found[1] if found else b""

    def add(self, plan: Plan) -> str:
        """Takes a plan that was just made; gives its hash."""
        return self._keep(plan, encode(with_schema(plan_to_json(plan), PLAN_SCHEMA)))

    def name(self, plan: Plan) -> str:
        """The hash of a plan that is used again and again, as those of sub-flows are."""
        known = self._names.get(id(plan))
        if known is not None and known[1] in self._plans:
            self._names.move_to_end(id(plan))
            return known[1]
        self._names[id(plan)] = (plan, self.add(plan))
        while len(self._names) > PLANS:
            self._names.popitem(last=False)
        return self._names[id(plan)][1]

    def parse(self, hash: str, stored: bytes) -> Plan:
        """Takes a plan that a store holds. Raises `HistoryLost` when its bytes are not its own, and
        `UnknownEvent` for one that only a newer version can read."""
        if hash_of(stored) != hash:
            raise HistoryLost(f"plan {hash} does not have the bytes that its name stands for")
        try:
            plan = plan_from_json(up_to_date("plan", decode(stored), PLAN_SCHEMA))
        except ArgyllError:
            raise
        except Exception as error:  # its bytes are what somebody meant them to be
            raise UnknownEvent(f"plan {hash} is none that this version can read ({error!r:.500})") from error
        self._keep(plan, stored)
        return plan

    def _keep(self, plan: Plan, stored: bytes) -> str:
        hash = hash_of(stored)
        self._plans[hash] = (plan, stored)
        while len(self._plans) > PLANS:
            self._plans.popitem(last=False)
        return hash


def hash_of(stored: bytes) -> str:
    """The name of a plan: 128 bits of its bytes."""
    return blake2b(stored, digest_size=16).hexdigest()


def _named_plan(started: StoredEvent) -> str | None:
    """The hash that a start names its plan by. None where there is none: an imported flow holds its plan
    itself, and of what cannot be read `record` says so."""
    try:
        hash = decode(started.data)["plan"]
    except (ValueError, TypeError, LookupError):
        return None
    return hash if isinstance(hash, str) else None


def check_held(flow: Flow, held: StoredEvent | None) -> None:
    """Compares the last event that is known of a flow with what its log has at that version. Raises
    `HistoryLost` when they are not the same."""
    if held is None or held.version != flow.version or held.tx != flow.last_tx:
        raise HistoryLost(
            f'the history of flow "{flow.id}" is not the one that was known at version {flow.version}: '
            "the server has lost or forked it",
            others_may_go_on=True,
        )


class Logs:
    """Reads and folds the logs of a namespace."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.plans = PlanBook()

    async def catch_up(self, flows: Iterable[Flow]) -> dict[str, int]:
        """Folds into each flow what its log holds beyond it: one read for all, more only for logs
        longer than a page. A flow that does not exist stays at version 0. Gives how many bytes were
        read, by flow id.

        Raises `HistoryLost` when the log does not go on from what a flow knows.
        """
        behind = list(flows)
        read_bytes = dict.fromkeys((flow.id for flow in behind), 0)
        while behind:
            pages = await self._pages_beyond(behind)
            plans = await self.plans_of([flow.id for flow in behind], pages)
            for flow, page in zip(behind, pages, strict=True):
                evolve(flow, self.record(page, plans))
                read_bytes[flow.id] += sum(len(event.data) for event in page)
            behind = [flow for flow, page in zip(behind, pages, strict=True) if len(page) == PAGE_EVENTS]
        return read_bytes

    async def _pages_beyond(self, flows: Sequence[Flow]) -> list[list[StoredEvent]]:
        """Reads on from what flows know. The last event known is read again: without a look at its
        transaction a history that was lost and written anew would be taken for its own."""
        known = [min(flow.version, 1) for flow in flows]
        reads = [
            (flow.id, flow.version - held, PAGE_EVENTS + held)
            for flow, held in zip(flows, known, strict=True)
        ]
        pages = await self._load(reads)
        for flow, held, page in zip(flows, known, pages, strict=True):
            if held:
                check_held(flow, page[0] if page else None)
        return [page[held:] for held, page in zip(known, pages, strict=True)]

    async def beyond(self, flow: Flow) -> list[Recorded]:
        """Reads a page of what a flow's log holds beyond it, as `catch_up` does, and folds nothing."""
        [page] = await self._pages_beyond([flow])
        plans = await self.plans_of([flow.id], [page])
        return self.record(page, plans)

    async def check(self, flow: Flow) -> None:
        """Raises `HistoryLost` when the log is not the one that a flow is known by."""
        [page] = await self._load([(flow.id, flow.version - 1, 1)])
        check_held(flow, page[0] if page else None)

    async def read(self, flow_id: str) -> Flow:
        """Folds a log from its beginning. A flow that does not exist is at version 0."""
        flow = Flow(flow_id)
        await self.catch_up([flow])
        return flow

    def fold_prefix(self, flow_id: str, events: Sequence[Recorded]) -> Flow:
        """Folds the beginning of a log that was read already."""
        return evolve(Flow(flow_id), events)

    async def events(self, flow_id: str, after: int = 0, limit: int = PAGE_EVENTS) -> list[Recorded]:
        """Reads a page of a log. Raises `HistoryLost` for one that does not go on, as whoever reads to the
        end of a log would never come there."""
        [page] = await self._load([(flow_id, after, limit)])
        if page and page[-1].version <= after:
            raise HistoryLost(f'the log of flow "{flow_id}" does not go on after version {after}')
        plans = await self.plans_of([flow_id], [page])
        return self.record(page, plans)

    def record(self, stored: Sequence[StoredEvent], plans: Mapping[str, Plan] = NO_PLANS) -> list[Recorded]:
        """Makes events of what a log holds; the plans that starts among them name are given, or in the
        book already."""
        return [self._record_one(each, plans) for each in stored]

    def _record_one(self, stored: StoredEvent, plans: Mapping[str, Plan]) -> Recorded:
        try:
            return self._read_one(stored, plans)
        except ArgyllError:
            raise
        except Exception as error:  # a log may hold anything
            raise HistoryLost(f"event {stored.version} is not what was written ({error!r:.500})") from error

    def _read_one(self, stored: StoredEvent, plans: Mapping[str, Plan]) -> Recorded:
        data = decode(stored.data)
        if not isinstance(data, dict):
            raise UnknownEvent(f"event {stored.version} holds no object")
        plan = None
        if stored.type == "flow_started":
            if isinstance(data.get("plan"), dict):
                data = self._with_plan_kept(data)
            plan = plans.get(data["plan"]) or self.plans.get(data["plan"])
            if plan is None:
                raise InvariantBroken(f"plan {data['plan']} was not read before its flow")
        return Recorded(
            stored.version,
            stored.at,
            stored.cause,
            stored.by,
            stored.tx,
            stored.place,
            stored.count,
            parse_event(stored.type, data, plan=plan),
        )

    def _with_plan_kept(self, data: dict[str, JSON]) -> dict[str, JSON]:
        """The start of an imported flow, which holds its plan itself and has no seed, as all others are:
        with the plan's hash."""
        stored = encode(data["plan"])
        hash = hash_of(stored)
        if self.plans.get(hash) is None:
            self.plans.parse(hash, stored)
        return {**data, "plan": hash, "seed": ""}

    async def plans_of(self, flow_ids: Sequence[str], pages: Sequence[list[StoredEvent]]) -> dict[str, Plan]:
        """The plans that starts among the events name: from the book, else read in one round trip. They
        may be more than the book has room for. The page of a flow that has expired meanwhile is emptied."""
        plans: dict[str, Plan] = {}
        missing: dict[tuple[int, str], list[int]] = {}
        for place, page in enumerate(pages):
            if page and page[0].type == "flow_started":
                hash = _named_plan(page[0])
                if hash is None:
                    continue
                if plan := self.plans.get(hash):
                    plans[hash] = plan
                else:
                    partition = partition_of(flow_ids[place], self._store.partitions)
                    missing.setdefault((partition, hash), []).append(place)
        if not missing:
            return plans
        found = await self._stored_plans(list(missing))
        for (key, places), stored in zip(missing.items(), found, strict=True):
            if stored is not None:
                plans[key[1]] = self.plans.parse(key[1], stored)
                continue
            await self._see_that_they_expired(key[1], [flow_ids[place] for place in places])
            for place in places:
                pages[place].clear()
        return plans

    async def _load(self, reads: Sequence[tuple[str, int, int]]) -> list[list[StoredEvent]]:
        """Reads logs. Raises `HistoryLost` where there is something else in the place of one."""
        try:
            return await self._store.load(reads)
        except CallRefused as error:
            raise HistoryLost(f"what is kept of a flow is no log: {error}") from error

    async def _stored_plans(self, plans: Sequence[tuple[int, str]]) -> list[bytes | None]:
        try:
            return await self._store.plans(plans)
        except CallRefused as error:
            raise HistoryLost(f"what is kept of a plan is none: {error}") from error

    async def _see_that_they_expired(self, hash: str, flow_ids: Sequence[str]) -> None:
        """A plan goes with its last flow. Raises `HistoryLost` when one of these is there without it."""
        try:
            heads = await self._store.heads(flow_ids)
        except CallRefused as error:
            raise HistoryLost(
                f"plan {hash} is gone, and what is kept of a flow is no head: {error}"
            ) from error
        if any(head is not None for head in heads):
            raise HistoryLost(f"plan {hash} is gone while a flow has it")
