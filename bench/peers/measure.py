"""One run of one peer on one workload, as plain figures: the rows are made of them later.

A run has a fresh server, a worker and a client, as a run of ours has. The client measures the seconds,
Linux the processor time of the processes, the server its own and what it holds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from bench.hand import ROOT, Hand, WorkerFailed
from bench.peers import postgres
from bench.peers.catalogue import PEERS, Peer
from bench.peers.cpu import cpu_s
from bench.rows import Figures, Probe, percentile

if TYPE_CHECKING:  # they need what is not there where the programs of the peers run
    from bench.server import Server, Servers
    from bench.workloads import Workload

WARM_UP_FLOWS = 20
"""Run before the clock starts, or a tenth of the flows if that is less. When they have come to their
results, the worker works."""
ANSWER_LIMIT_S = 180
"""Longest wait for a burst of flows, or for all that are timed one at a time; then the run has failed."""
ALONE_FLOWS = 200
"""Timed one at a time, at most."""
KEYS_AT_A_TIME = 1_000
"""Asked for their size in one round trip."""
WORKLOADS = ("W0", "W1", "W2", "W3")
"""Those that peers can do, too."""


class Store(Protocol):
    """Where a peer keeps its flows in one run."""

    @property
    def url(self) -> str: ...
    def cpu_s(self) -> float | None: ...
    def held_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Redis:
    """The bench's own server, as a `Store`."""

    server: Server

    @property
    def url(self) -> str:
        return self.server.url

    def cpu_s(self) -> float:
        return self.server.spent().cpu_s

    def held_bytes(self) -> int:
        """Of all keys. The server's own sum would take in connections, which come and go with a peer's
        processes: too much beside few flows."""
        import redis

        with redis.Redis.from_url(self.server.url) as client:
            keys = list(client.scan_iter(count=KEYS_AT_A_TIME))
            found = 0
            for begin in range(0, len(keys), KEYS_AT_A_TIME):
                pipe = client.pipeline(transaction=False)
                for key in keys[begin : begin + KEYS_AT_A_TIME]:
                    pipe.memory_usage(key, samples=0)
                found += sum(each or 0 for each in pipe.execute())
            return found


@dataclass(frozen=True, slots=True)
class Ready:
    """The peers that can be measured here, and why the others cannot."""

    missing: Mapping[str, str]
    """By name: the reason, and what to do about it."""
    peers: Sequence[Peer]
    cluster: postgres.Cluster | None
    tell: Callable[[str], None]

    def versions(self) -> Mapping[str, str]:
        """Of all that can be measured, and of the database that some of them need."""
        found = {peer.name: peer.version() for peer in self.peers}
        return found | ({"PostgreSQL": self.cluster.version()} if self.cluster else {})

    def probes(self, workload: Workload, servers: Servers, flows: int | None = None) -> list[Probe]:
        """One for each peer; `flows` None for each peer's own size. None for a workload that is only ours."""
        if workload.name not in WORKLOADS:
            return []
        return [self._probe(peer, workload, servers, flows) for peer in self.peers]

    def _probe(self, peer: Peer, workload: Workload, servers: Servers, flows: int | None) -> Probe:
        count = flows or peer.flows[workload.name]
        about: dict[str, Any] = {
            **servers.about(),
            "workload": workload.name,
            "system": peer.name,
            "layout": peer.layout,
            "flows": count,
            "note": f"{peer.package} {peer.version()}",
        }
        if self.cluster and peer.has_postgres:
            about |= {"aof": "at each commit", "rtt_ms": 0}
            about["note"] += f" on PostgreSQL {self.cluster.version()}"
        return Probe(about, partial(self._run, peer, workload, servers, about))

    def _run(self, peer: Peer, workload: Workload, servers: Servers, about: dict[str, Any]) -> Figures:
        """A run that failed, or had a wrong result, counts for nothing, and the row says so: ours and the
        other peers' are not lost with it."""
        try:
            with self._store(peer, servers) as store:
                return run(peer, workload, store, about["flows"])
        except WorkerFailed as error:
            self.tell(f"{workload.name}, {peer.name}: a run counts for nothing: {error}")
            about["note"] += f"; a run counts for nothing: {error}"
            return {}

    @contextmanager
    def _store(self, peer: Peer, servers: Servers) -> Iterator[Store]:
        if peer.has_postgres:
            assert self.cluster is not None
            with self.cluster.fresh() as database:
                yield database
            return
        with servers.fresh() as server:
            yield Redis(server)  # type: ignore[arg-type]  # never one in memory


@contextmanager
def ready(names: Sequence[str], tell: Callable[[str], None]) -> Iterator[Ready]:
    """Opens what the named peers need for all of their runs; who cannot have it is missing."""
    missing = {name: why for name in names if (why := PEERS[name].missing())}
    cluster: postgres.Cluster | None = None
    with ExitStack() as stack:
        wanting = [name for name in names if name not in missing and PEERS[name].has_postgres]
        if wanting:
            tell("making a PostgreSQL")
            try:
                cluster = stack.enter_context(postgres.cluster())
            except WorkerFailed as error:
                missing |= dict.fromkeys(wanting, str(error))
        yield Ready(missing, [PEERS[name] for name in names if name not in missing], cluster, tell)


def shape_of(workload: Workload) -> list[str]:
    """The shape of a workload's flows, as programs are told it."""
    [result] = workload.result.values()
    if workload.items:
        return ["items", str(workload.items), str(result)]
    if workload.name == "W3":
        return ["join", str(workload.steps - 1), str(result)]
    return ["chain", str(workload.steps), str(result)]


def run(peer: Peer, workload: Workload, store: Store, flows: int) -> Figures:
    """Measures once. Raises `bench.hand.WorkerFailed`, also when a flow came to a wrong result."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",  # Celery's, of being root
        "BENCH_PEER_HOME": str(peer.home),
        "BENCH_PEER_URL": store.url,
    }
    with ExitStack() as stack:
        worker: Hand | None = None
        if peer.worker:
            worker = stack.enter_context(Hand(f"the {peer.name} worker", peer.worker_command(), environment))
        client = Hand(
            f"the {peer.name} client",
            peer.client_command(shape_of(workload)),
            environment,
            is_well=worker.look if worker else lambda: None,
            answer_limit_s=ANSWER_LIMIT_S,
        )
        return _figures(workload, store, flows, worker, stack.enter_context(client))


def _figures(workload: Workload, store: Store, flows: int, worker: Hand | None, client: Hand) -> Figures:
    client.ask(do="burst", flows=min(WARM_UP_FLOWS, max(1, flows // 10)))
    engine = worker or client
    held_bytes = store.held_bytes()
    server_s, engine_s, client_s = store.cpu_s(), cpu_s(engine.pid), cpu_s(client.pid)
    seconds = client.ask(do="burst", flows=flows)["seconds"]
    spent_s = [_since(engine_s, cpu_s(engine.pid)), _since(client_s, cpu_s(client.pid))]
    spent_s.append(_since(server_s, store.cpu_s()))
    held_bytes = store.held_bytes() - held_bytes
    engine_ms, client_ms, server_ms = (None if each is None else each / flows * 1000 for each in spent_s)
    alone_ms: Sequence[float] = ()
    if workload.is_timed_alone:
        alone_ms = client.ask(do="alone", flows=min(ALONE_FLOWS, flows))["times_ms"]
    return {
        "seconds": seconds,
        "flows_per_s": flows / seconds,
        "steps_per_s": flows / seconds * workload.steps,
        "items_per_s": flows / seconds * workload.items if workload.items else None,
        "p50_ms": percentile(alone_ms, 50) if alone_ms else None,
        "p99_ms": percentile(alone_ms, 99) if alone_ms else None,
        "bytes_per_flow": held_bytes / flows,
        "server_cpu_ms_per_flow": server_ms,
        "engine_cpu_ms_per_flow": engine_ms,
        "client_cpu_ms_per_flow": client_ms if worker else None,
    }


def _since(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else now - before
