"""What an operator or a neighbour does to Redis while flows run."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import redis.exceptions as redis_errors

from tests.chaos.gates.queues import delete_queues
from tests.chaos.ground import NAMESPACE, Asked, Ground
from tests.chaos.nemeses import Strike, exactly, strike_all
from tests.chaos.report import Report

PROMISE = "SCRIPT FLUSH, CLIENT KILL and PAUSE, a blocked server, queues deleted and trimmed: all flows end"

FLOWS_A_S = 40
FLOWS_A_ROUND = 150
"""So many flows for one of each fault."""
PAUSE_MS = 2_000
SLEEP_S = 2
FLUSHES, FLUSH_GAP_S = 20, 0.05
TRIMMED = ("were removed from their streams by somebody",)
"""What engines say, rightly, when entries are trimmed away under their hands."""


async def run(report: Report, asked: Asked) -> None:
    """Runs the gate."""
    async with Ground(report, asked) as ground:
        strikes = _Verbs(ground.redis.client, ground.random).strikes()
        rounds = max(1, asked.flows // FLOWS_A_ROUND)
        plan = exactly(ground.random, dict.fromkeys(strikes, rounds), over_s=asked.flows / FLOWS_A_S)
        await ground.load_while(FLOWS_A_S, lambda: strike_all(plan, strikes, report))
        await ground.finish(forgiven=TRIMMED)


class _Verbs:
    """What can be done to a server by its own commands."""

    def __init__(self, client: Any, draw: random.Random) -> None:
        self._client = client
        self._draw = draw

    def strikes(self) -> dict[str, Strike]:
        verbs = {
            "SCRIPT FLUSH": self.flush_scripts,
            "CLIENT KILL": self.kill_clients,
            "CLIENT PAUSE": self.pause,
            "DEBUG SLEEP": self.block,
            "XTRIM": self.trim,
            "DEL": self.delete,
        }
        return {name: _forgiven(verb) for name, verb in verbs.items()}

    async def flush_scripts(self) -> None:
        for _ in range(FLUSHES):
            await self._client.script_flush()
            await asyncio.sleep(FLUSH_GAP_S)

    async def kill_clients(self) -> None:
        await self._client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async def pause(self) -> None:
        whom = self._draw.choice(["ALL", "WRITE"])
        await self._client.execute_command("CLIENT", "PAUSE", PAUSE_MS, whom)

    async def block(self) -> None:
        await self._client.execute_command("DEBUG", "SLEEP", SLEEP_S)

    async def trim(self) -> None:
        async for key in self._client.scan_iter(f"{{{NAMESPACE}:*:work:*", count=1_000):
            await self._client.xtrim(key, maxlen=0, approximate=False)

    async def delete(self) -> None:
        await delete_queues(self._client)


def _forgiven(strike: Strike) -> Strike:
    """A strike whose own connection may be what another one hits."""

    async def struck() -> None:
        with suppress(redis_errors.ConnectionError, redis_errors.TimeoutError):
            await strike()

    return struck
