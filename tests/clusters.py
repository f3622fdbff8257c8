"""Redis Clusters of real servers for tests, on free ports of the loopback: they die with the tests."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import redis

BINARY = "redis-server"
SLOTS = 16_384
READY_LIMIT_S = 30
CALM_MS = 30_000
"""Node timeout of a cluster that no test disturbs: a busy machine must not bring it down."""


class Node:
    """One server of a cluster; it can be stopped and started again on its data."""

    def __init__(self, directory: Path, port: int, bus_port: int, node_timeout_ms: int) -> None:
        self.port = port
        self.bus_port = bus_port
        self._arguments = [
            *("--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", "no", "--cluster-enabled", "yes"),
            *("--cluster-config-file", f"nodes-{port}.conf", "--cluster-port", str(bus_port)),
            *("--cluster-node-timeout", str(node_timeout_ms), "--appenddirname", f"aof-{port}"),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis(port=port, retry=None, protocol=2, socket_timeout=5)

    def start(self, die_with_parent: str) -> None:
        command = [sys.executable, "-c", die_with_parent, str(os.getpid()), BINARY, *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self.answers, f"{BINARY} on port {self.port} answers")

    def kill(self) -> None:
        """Ends it at once, as a machine that goes down."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def id(self) -> str:
        return self.client.execute_command("CLUSTER MYID").decode()

    def call(self, *words: object) -> Any:
        return self.client.execute_command(*words)

    def info(self) -> dict[str, str]:
        text = self.client.execute_command("CLUSTER INFO")
        return text if isinstance(text, dict) else {}

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False


class Cluster:
    """Masters that share the slots evenly, and one replica for each where asked for."""

    def __init__(
        self, die_with_parent: str, *, masters: int, has_replicas: bool, node_timeout_ms: int
    ) -> None:
        self._die_with_parent = die_with_parent
        self._directory = Path(tempfile.mkdtemp(prefix="argyll-cluster-"))
        ports = free_ports(2 * masters * (1 + has_replicas))
        pairs = list(zip(ports[::2], ports[1::2], strict=True))
        nodes = [Node(self._directory, port, bus, node_timeout_ms) for port, bus in pairs]
        self.masters, self.replicas = nodes[:masters], nodes[masters:]
        atexit.register(self.close)
        for node in nodes:
            node.start(die_with_parent)
        self._join()

    @property
    def nodes(self) -> list[Node]:
        return [*self.masters, *self.replicas]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.masters)

    @cached_property
    def client(self) -> redis.RedisCluster:
        """A plain client, which asks all nodes a lot when it is made: one serves all tests."""
        return redis.RedisCluster(host="127.0.0.1", port=self.masters[0].port, protocol=2)

    def owner(self, slot: int) -> Node:
        """The node that serves a slot, by what that node says."""
        return next(node for node in self.nodes if node.answers() and _owns(node, slot))

    def has_owner(self, slot: int) -> bool:
        """Whether a node that runs serves a slot, and the cluster is whole."""
        running = [node for node in self.nodes if node.answers()]
        return any(_owns(node, slot) for node in running) and self.is_ready()

    def move(self, slot: int, *, keys_a_call: int = 2) -> None:
        """Moves a slot to another master, key by key, as `redis-cli --cluster reshard` does."""
        source = self.owner(slot)
        target = next(node for node in self.masters if node is not source and node.answers())
        target.call("CLUSTER SETSLOT", slot, "IMPORTING", source.id)
        source.call("CLUSTER SETSLOT", slot, "MIGRATING", target.id)
        while keys := source.call("CLUSTER GETKEYSINSLOT", slot, keys_a_call):
            source.call("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys)
        for node in (target, source, *(each for each in self.masters if each not in (source, target))):
            if node.answers():
                node.call("CLUSTER SETSLOT", slot, "NODE", target.id)

    def start(self, node: Node) -> None:
        node.start(self._die_with_parent)

    def is_ready(self) -> bool:
        """Whether all nodes that run agree that all slots are served."""
        return all(node.info().get("cluster_state") == "ok" for node in self.nodes if node.answers())

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
            node.client.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _join(self) -> None:
        first = self.masters[0]
        for number, node in enumerate(self.masters):
            begin, end = (SLOTS * each // len(self.masters) for each in (number, number + 1))
            node.call("CLUSTER ADDSLOTSRANGE", begin, end - 1)
            node.call("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            node.call("CLUSTER MEET", "127.0.0.1", first.port, first.bus_port)
        count = str(len(self.nodes))
        until(lambda: all(node.info().get("cluster_known_nodes") == count for node in self.nodes), "all met")
        for replica, master in zip(self.replicas, self.masters, strict=bool(self.replicas)):
            replica.call("CLUSTER REPLICATE", master.id)
        until(self.is_ready, "the cluster is ready")
        until(lambda: all(_is_linked(replica) for replica in self.replicas), "all replicas follow")


def _owns(node: Node, slot: int) -> bool:
    for first, last, master, *_ in raw(node, "CLUSTER SLOTS"):
        if first <= slot <= last:
            return int(master[1]) == node.port
    return False


def raw(node: Node, *words: object) -> Any:
    """What travels as the reply of a node."""
    plain = redis.Redis(connection_pool=node.client.connection_pool)
    plain.response_callbacks.clear()
    return plain.execute_command(*words)


def _is_linked(replica: Node) -> bool:
    return replica.client.info("replication").get("master_link_status") == "up"


def free_ports(count: int) -> Sequence[int]:
    """Ports of the loopback that nobody has at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def until(is_so: Callable[[], bool], what: str) -> None:
    """Waits for a fact."""
    deadline = time.monotonic() + READY_LIMIT_S
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"it did not come to this: {what}")
        time.sleep(0.02)


@cache
def shared_cluster(die_with_parent: str) -> Cluster:
    """Three masters that all tests of a session share; none of them disturbs it."""
    return Cluster(die_with_parent, masters=3, has_replicas=False, node_timeout_ms=CALM_MS)
