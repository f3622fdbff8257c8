"""A Redis Cluster of a run's own: three masters, each of which can be killed and comes back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import redis.exceptions as redis_errors
from redis.asyncio.cluster import ClusterNode, RedisCluster

from tests.chaos.processes import GaveUp
from tests.chaos.redis_process import RedisProcess

MASTERS = 3
SLOTS = 16_384
UP_LIMIT_S = 60
NODE_TIMEOUT_MS = 2_000


class ClusterProcess:
    """A cluster; it has what gates use of a `RedisProcess`, and its masters."""

    def __init__(self, directory: Path, *, fsync: str) -> None:
        options = {
            "--cluster-enabled": "yes",
            "--cluster-config-file": "nodes.conf",
            "--cluster-node-timeout": str(NODE_TIMEOUT_MS),
        }
        self.masters = [
            RedisProcess(directory, name=f"master-{number}", fsync=fsync, options=options)
            for number in range(MASTERS)
        ]
        self.client: Any = None

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{each.port}" for each in self.masters)

    async def start(self) -> None:
        """Starts the masters and makes a cluster of them. Raises `GaveUp`."""
        for number, master in enumerate(self.masters):
            await master.start()
            first, last = number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS - 1
            await master.client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for other in self.masters[1:]:
            await self.masters[0].client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port)
        await self.up()
        nodes = [ClusterNode("127.0.0.1", each.port) for each in self.masters]
        self.client = RedisCluster(startup_nodes=nodes, socket_timeout=10)
        await self.client.initialize()

    async def up(self) -> None:
        """Waits until all masters agree that all is well. Raises `GaveUp`."""
        deadline_s = time.monotonic() + UP_LIMIT_S
        while time.monotonic() < deadline_s:
            try:
                told = [await each.client.execute_command("CLUSTER", "INFO") for each in self.masters]
                if all(_is_well(each) for each in told):
                    return
            except (redis_errors.RedisError, OSError):
                pass  # one of them is not there yet
            await asyncio.sleep(0.05)
        raise GaveUp("the masters do not become a cluster")

    async def version(self) -> str:
        return f"{await self.masters[0].version()}, a cluster of {MASTERS}"

    async def close(self) -> None:
        if self.client is not None:
            await self.client.aclose()
        for master in self.masters:
            await master.close()


def _is_well(info: Any) -> bool:
    text = info.decode() if isinstance(info, bytes) else str(info)
    return "cluster_state:ok" in text and f"cluster_known_nodes:{MASTERS}" in text
