"""Every queue is deleted while flows wait in them."""

from __future__ import annotations

from typing import Any

from tests.chaos.engines import EngineOptions
from tests.chaos.ground import NAMESPACE, Asked, Ground
from tests.chaos.judge import left
from tests.chaos.report import Report
from tests.chaos.shapes import SHAPES, Shape, mixed

PROMISE = "all dispatch streams and due sets deleted with flows open: all finish, from their logs"

FLOWS_A_S = 250
REST_MS = 3_000
"""Work that lasts, so that flows are open, and their work in every state, when the queues go."""
LIMIT_S = 60
RESTING = Shape("rest", ("rest_more",), lambda a: {"rested_more": a}, share=12, init={"rest_ms": REST_MS})


async def run(report: Report, asked: Asked) -> None:
    """Runs the gate."""
    async with Ground(report, asked, options=EngineOptions(concurrency=100)) as ground:
        await ground.start(mixed(asked.flows, (RESTING, *SHAPES)), per_s=FLOWS_A_S)
        before = await left(ground.redis.client, NAMESPACE)
        deleted = await delete_queues(ground.redis.client)
        report.faults["queues deleted"] = deleted
        report.figure("open flows when the queues went", before.open_flows)
        report.figure("entries in them", before.entries)
        report.require(before.open_flows >= asked.flows // 2, "most flows were over before the queues went")
        await ground.finish(limit_s=2 * LIMIT_S)
    report.limit(report.figures.get("last fault to drained, s", 0.0), LIMIT_S, "all flows")


async def delete_queues(client: Any) -> int:
    """Deletes all work and control streams and due sets; gives how many there were."""
    keys: list[bytes] = []
    for kind in ("work:*", "control", "due"):
        keys += [key async for key in client.scan_iter(f"{{{NAMESPACE}:*:{kind}", count=1_000)]
    return await client.delete(*keys) if keys else 0
