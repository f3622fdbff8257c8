"""Looking at a server between two calls: what its logs say, and whether it has what they ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from argyll_redis.core.decide import evolve
from argyll_redis.core.events import Recorded
from argyll_redis.core.model import Plan
from argyll_redis.core.outbox import outstanding
from argyll_redis.core.state import Flow
from argyll_redis.core.sub_flows import child_id, waiting_children
from argyll_redis.runtime.logs import Logs
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_partition import Log, Partition
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import work_stream


class Observer:
    """Folds every log as far as it goes, a little more at each look."""

    def __init__(self, server: MemoryServer) -> None:
        self.flows: dict[str, Flow] = {}
        self.events: dict[str, list[Recorded]] = {}
        self._server = server
        self._logs = Logs(MemoryStore(server=server))
        self._plans: dict[str, Plan] = {}
        self._pictures: dict[tuple[str, int], object] = {}

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

    def forget(self, flow_id: str) -> None:
        """Forgets a flow: what its log told is not in it any more."""
        del self.flows[flow_id], self.events[flow_id]
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
            references: set[tuple[str, str]] | None = None
            for flow_id in partition.logs:
                flow = self.flows[flow_id]
                if flow.is_deactivated:
                    continue
                references = references if references is not None else _references(partition)
                found += _lacks(flow, references, now_ms)
                found += self._lacks_of_children(flow, references)
        return found

    def _lacks_of_children(self, flow: Flow, references: set[tuple[str, str]]) -> Iterator[str]:
        """What a flow that waits for children lacks: a child, or the word of one that has ended."""
        for item in waiting_children(flow):
            child = self.flows.get(child_id(flow.id, item.step, item.token))
            word = f"{flow.id} child {item.step} {item.token} "
            if child is None:
                yield f"the child of {flow.id} {item.step} {item.token}"
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


def _references(partition: Partition) -> set[tuple[str, str]]:
    """All live references of a partition as (stream, payload)."""
    found = {(name, payload) for name, stream in partition.streams.items() for payload, _ in stream.entries()}
    for member in partition.due:
        stream, _, payload = member.partition(" ")
        found.add((stream, payload))
    return found


def _lacks(flow: Flow, references: set[tuple[str, str]], now_ms: int) -> Iterator[str]:
    ought = outstanding(flow, now_ms)
    for queue, payload in sorted(ought.work):
        if (work_stream(queue), payload) not in references:
            yield f"work {payload}"
    for member in sorted(ought.due):
        stream, _, payload = member.partition(" ")
        if (stream, payload) not in references:
            yield f"due {member}"
