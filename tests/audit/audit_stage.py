"""A small sound namespace in memory, and what somebody may do to it by hand."""

from __future__ import annotations

import asyncio
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

from argyll_redis import ACCEPTED, Argyll
from argyll_redis.audit import Journals, Report, audit_namespace
from argyll_redis.core.commands import Report as Reported
from argyll_redis.core.commands import Succeeded
from argyll_redis.core.events import Event
from argyll_redis.core.model import StepId, Token
from argyll_redis.core.state import Flow, token_of
from argyll_redis.runtime.logs import hash_of
from argyll_redis.store.codec import decode, encode
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_partition import Log, Partition, Plan
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.memory_types import DispatchStream
from argyll_redis.store.protocol import StoredEvent, partition_of

PARTITIONS = 2
DONE, OPEN, FAMILY, SQUARE, AGAIN = "done", "open", "family", "square", "again"
"""A flow that has ended; one that goes on, with a time limit; one with a child; one whose work is remembered,
and one that was spared it."""
WORK, OUTSIDE, WEBHOOK, TIMER = "work:e1", "operator:c1", "webhook:c1", "timer:e1"


def steps_of(app: Argyll) -> None:
    """Declares the steps of all flows here: they are completed from outside."""

    @app.step(outputs="customer")
    async def lookup(customer_id: str) -> Any:
        return ACCEPTED

    @app.step(outputs="receipt")
    async def charge(order: int, customer: dict[str, Any]) -> Any:
        return ACCEPTED

    @app.step(outputs="receipts", for_each="orders")
    async def charge_each(orders: int) -> Any:
        return ACCEPTED

    @app.step(outputs="y", memoizable=True)
    async def square(x: int) -> Any:
        return ACCEPTED


SUB_FLOW = {
    "id": "settle",
    "type": "flow",
    "flow": {"goals": ["lookup"]},
    "attributes": {
        "customer_id": {"role": "required"},
        "settled": {"role": "output", "output": {"mapping": {"name": "customer"}}},
    },
}


class Stage:
    """A namespace, and a hand in it."""

    def __init__(self) -> None:
        self.server = MemoryServer(partitions=PARTITIONS)
        self.app = Argyll(make_store=lambda: MemoryStore(server=self.server))
        self.journals: dict[str, list[Path]] = {"calls": [], "answers": []}
        self.is_drained = False
        steps_of(self.app)

    async def set(self) -> None:
        """Starts and completes the flows."""
        app = self.app
        await app.register_steps([SUB_FLOW])
        await self._start_family()
        order = {"order": 17, "customer_id": "c1"}
        await app.start(["charge"], order, id=DONE, labels={"tenant": "acme"})
        await self.complete(DONE, "lookup", customer={"name": "Ann"})
        await self.complete(DONE, "charge", receipt="r1")
        await app.start(["charge"], order, id=OPEN, timeout_ms=3_600_000)
        await app.start(["square"], {"x": 3}, id=SQUARE)
        await self.complete(SQUARE, "square", y=9)
        await app.start(["square"], {"x": 3}, id=AGAIN)
        await self.report(AGAIN, "square", Succeeded({"y": 9}, 0, memo=True))

    async def _start_family(self) -> None:
        """Starts a flow with a child, whose work is accepted: only an engine starts children."""
        stop = asyncio.Event()
        engine = asyncio.create_task(self.app.run(until=stop.wait))
        flow = await self.app.start(["settle"], {"customer_id": "c1"}, id=FAMILY)
        async for event in flow.events():
            if event["type"] == "work_accepted":
                break
        async for event in self.app.flow(self.child()).events():
            if event["type"] == "work_accepted":
                break
        stop.set()
        await engine

    def child(self) -> str:
        """The id of the child flow."""
        [child] = [name for home in self.server.namespace.partitions for name in home.logs if ":" in name]
        return child

    async def audit(self, flow_id: str | None = None) -> Report:
        journals = Journals(**self.journals)
        try:
            return await audit_namespace(
                self.app, flow_id=flow_id, journals=journals, is_drained=self.is_drained
            )
        finally:
            journals.close()

    # ------------------------------------------------------------------ as it should be

    async def flow(self, flow_id: str) -> Flow:
        return await self.app.load(flow_id)

    async def token(self, flow_id: str, step: str, item: int = 0) -> Token:
        return token_of((await self.flow(flow_id)).seed, StepId(step), item)

    async def complete(self, flow_id: str, step: str, **outputs: Any) -> None:
        assert await self.app.complete(flow_id, step, await self.token(flow_id, step), outputs)

    async def report(self, flow_id: str, step: str, outcome: Succeeded) -> None:
        """Says what an engine would say of the first attempt of a step's first work item."""
        token, node = await self.token(flow_id, step), await self.app.node()
        [released] = [
            each.version for each in await self.app.log(flow_id) if each.event.type == "work_started"
        ]
        await node.committer.ask(flow_id, Reported(WORK, token, outcome, 1, released))

    def success(self, **outputs: Any) -> Succeeded:
        return Succeeded(outputs, 1)

    # ----------------------------------------------------------------------- by hand

    def home(self, flow_id: str) -> Partition:
        return self.server.namespace.partitions[partition_of(flow_id, PARTITIONS)]

    def log(self, flow_id: str) -> Log:
        return self.home(flow_id).logs[flow_id]

    def forge(self, flow_id: str, *events: tuple[Event, int], by: str = WORK) -> None:
        """Appends a transaction that nobody has decided, of (event, cause)."""
        log, count = self.log(flow_id), len(events)
        at = log.events[-1].at
        log.tx = "forged"
        for place, (event, cause) in enumerate(events, 1):
            version, data = log.version + 1, encode(event.data())
            log.events.append(StoredEvent(version, event.type, at, cause, by, "forged", place, count, data))

    def change(self, flow_id: str, version: int, **fields: Any) -> None:
        """Changes an event: what is recorded with it, or fields of its data."""
        log = self.log(flow_id)
        stored = log.events[version - 1]
        own = {name: value for name, value in fields.items() if name in StoredEvent._fields}
        data: Any = decode(stored.data)
        data |= {name: value for name, value in fields.items() if name not in own}
        log.events[version - 1] = stored._replace(data=encode(data), **own)

    def version(self, flow_id: str, type: str) -> int:
        """The version of the last event of a type."""
        return max(each.version for each in self.log(flow_id).events if each.type == type)

    def copy(self, flow_id: str, name: str) -> None:
        """Puts a copy of a flow that has ended beside it, with its rows."""
        home, log = self.home(name), deepcopy(self.log(flow_id))
        home.logs[name] = log
        for index in list(log.indexes):
            home.add_to_index(name, log, index)
        home.expire.add(name, log.events[-1].at)
        for hash in log.plans:
            home.plans.setdefault(hash, Plan(self.home(flow_id).plans[hash].data)).users += 1

    def replan(self, flow_id: str, **fields: Any) -> None:
        """Gives a flow another plan than it was started with: fields of its JSON."""
        log, home = self.log(flow_id), self.home(flow_id)
        [hash] = log.plans
        plan: Any = decode(home.plans[hash].data)
        data = encode(plan | fields)
        other = home.plans[hash_of(data)] = Plan(data)
        other.users, log.plans = 1, Counter({hash_of(data): 1})
        home.plans[hash].users -= 1
        if not home.plans[hash].users:
            del home.plans[hash]
        self.change(flow_id, 1, plan=hash_of(data))

    def lose_entries(self) -> None:
        """Empties every dispatch stream, and keeps what is due."""
        for home in self.server.namespace.partitions:
            for name in home.streams:
                home.streams[name] = DispatchStream()
                home.streams[name].has_group = True

    def add_entry(self, flow_id: str, stream: str, payload: str) -> None:
        self.home(flow_id).add_entry(stream, payload, self.server.now_ms())

    def journal(self, kind: str, directory: Path, *lines: dict[str, Any]) -> None:
        """Adds a journal of calls or answers."""
        path = directory / f"{kind}-{len(self.journals[kind])}.jsonl"
        path.write_bytes(b"".join(encode(line) + b"\n" for line in lines))
        self.journals[kind].append(path)
