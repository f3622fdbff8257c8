"""Looking at a server between two calls: what its logs say, and whether it has what they ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from argyll_redis.core.decide import evolve
from argyll_redis.core.events import Recorded
from argyll_redis.core.model import Plan
from argyll_redis.core.outbox import outstanding
from argyll_redis.core.state import Flow
from argyll_redis.core.sub_flows import child_id, waiting_children
from argyll_redis.runtime.logs import Logs, PlanBook
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_partition import Log, Partition
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import work_stream

Reference = tuple[str, str]
"""A stream, and the payload of an entry in it."""


class _Ought(NamedTuple):
    """What a flow ought to have pending at a version, whenever that is asked."""

    version: int
    work: list[Reference]
    due: list[tuple[str, Reference, int]]
    """Each member, the entry that it becomes, and when, by the server's clock."""
    children: list[tuple[str, str, str]]
    """Each child that is waited for, in words and by its id, and how the word of its end begins."""


class Observer:
    """Folds every log as far as it goes, a little more at each look."""

    def __init__(self, server: MemoryServer, plans: PlanBook) -> None:
        self.flows: dict[str, Flow] = {}
        self.events: dict[str, list[Recorded]] = {}
        self._server = server
        self._logs = Logs(MemoryStore(server=server))
        self._logs.plans = plans
        self._plans: dict[str, Plan] = {}
        self._pictures: dict[tuple[str, int], object] = {}
        self._ought: dict[str, _Ought] = {}

    @property
    def partitions(self) -> Sequence[Partition]:
        return self._server.namespace.partitions

    def look(self) -> None:
        """Takes in what the logs hold by now."""
        for partition in self.partitions:
            for flow_id, log in partition.logs.items():
                events = self.events.setdefault(flow_id, [])
                if events and not _is_beginning(events, log):
                    self.forget(flow_id)  # the server lost what it had
                    events = self.events[flow_id] = []
                if len(events) < log.version:
                    self._read_plans(partition)
                    events += self._logs.record(log.events[len(events) :], self._plans)
                    flow = self.flows.setdefault(flow_id, Flow(flow_id))
                    evolve(flow, events[flow.version :])

    def count(self) -> int:
        """How many events all logs hold by now."""
        return sum(log.version for partition in self.partitions for log in partition.logs.values())

    def forget(self, flow_id: str) -> None:
        """Forgets a flow: what its log told is not in it any more."""
        del self.flows[flow_id], self.events[flow_id]
        self._ought.pop(flow_id, None)
        self._pictures = {key: value for key, value in self._pictures.items() if key[0] != flow_id}

    def drop_lost(self) -> None:
        """Forgets the flows that have no log any more."""
        there = {flow_id for flow_id, _ in self.logs()}
        for flow_id in [each for each in self.flows if each not in there]:
            self.forget(flow_id)

    def fold(self, flow_id: str) -> Flow:
        """A flow at the version of the last look, on a fold of its own: it stays as it is."""
        return evolve(Flow(flow_id), self.events[flow_id])

    def has(self, flow_id: str, version: int, tx: str) -> bool:
        """Whether a flow has ever been at a version by a transaction."""
        events = self.events.get(flow_id, [])
        return version == 0 or (len(events) >= version and events[version - 1].tx == tx)

    def picture(self, flow_id: str, version: int) -> object:
        """A flow as its log tells it at a version, to be compared: several processes may know it."""
        key = flow_id, version
        if key not in self._pictures:
            known = self.flows[flow_id]
            if version != known.version:
                known = evolve(Flow(flow_id), self.events[flow_id][:version])
            self._pictures[key] = known.picture()
        return self._pictures[key]

    def _read_plans(self, partition: Partition) -> None:
        for hash, plan in partition.plans.items():
            if hash not in self._plans:
                self._plans[hash] = self._logs.plans.parse(hash, plan.data)

    def logs(self) -> Iterator[tuple[str, Log]]:
        """Every flow's log."""
        for partition in self.partitions:
            yield from partition.logs.items()

    def lacking(self) -> list[str]:
        """What flows ought to have pending and have not, by what the server holds at this moment."""
        self.look()
        now_ms = self._server.now_ms()
        found: list[str] = []
        for partition in self.partitions:
            references: set[Reference] | None = None
            for flow_id in partition.logs:
                flow = self.flows[flow_id]
                if flow.is_deactivated:
                    continue
                references = references if references is not None else _references(partition)
                found += self._lacks(self._ought_of(flow), references, now_ms)
        return found

    def _ought_of(self, flow: Flow) -> _Ought:
        """What a flow ought to have, worked out once for each version that is looked at."""
        ought = self._ought.get(flow.id)
        if ought is None or ought.version != flow.version:
            ought = self._ought[flow.id] = _ought(flow)
        return ought

    def _lacks(self, ought: _Ought, references: set[Reference], now_ms: int) -> Iterator[str]:
        """What is not there: work, what is due later, a child, or the word of a child that has ended."""
        for reference in ought.work:
            if reference not in references:
                yield f"work {reference[1]}"
        for member, reference, at_ms in ought.due:
            if at_ms > now_ms and reference not in references:
                yield f"due {member}"
        for what, id, word in ought.children:
            child = self.flows.get(id)
            if child is None:
                yield f"the child of {what}"
            elif child.is_over and not any(payload.startswith(word) for _, payload in references):
                yield word

    def is_quiet(self) -> bool:
        """Whether every flow is deactivated and no entry waits, runs or is due."""
        for partition in self.partitions:
            if partition.due or any(map(len, partition.streams.values())):
                return False
            if not all(log.sealed for log in partition.logs.values()):
                return False
        return True


def _is_beginning(events: Sequence[Recorded], log: Log) -> bool:
    """Whether a log begins with events that were read of it before."""
    return len(events) <= log.version and log.events[len(events) - 1].tx == events[-1].tx


def _references(partition: Partition) -> set[Reference]:
    """All live references of a partition as (stream, payload)."""
    found = {(name, payload) for name, stream in partition.streams.items() for payload, _ in stream.entries()}
    found.update(map(_becomes, partition.due))
    return found


def _becomes(member: str) -> Reference:
    """The entry that a due member becomes."""
    stream, _, payload = member.partition(" ")
    return stream, payload


def _ought(flow: Flow) -> _Ought:
    ought = outstanding(flow, 0)  # all that is due, as its time is compared at each look
    return _Ought(
        flow.version,
        [(work_stream(queue), payload) for queue, payload in sorted(ought.work)],
        [(member, _becomes(member), ought.due[member]) for member in sorted(ought.due)],
        [
            (
                f"{flow.id} {item.step} {item.token}",
                child_id(flow.id, item.step, item.token),
                f"{flow.id} child {item.step} {item.token} ",
            )
            for item in waiting_children(flow)
        ],
    )
