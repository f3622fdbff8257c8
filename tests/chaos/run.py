"""Two engines, flows of mixed shape, one engine killed and later the other while a third starts.

In the end every flow has an outcome and is deactivated, the audit finds nothing, and every queue is
empty.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from argyll_redis import Argyll
from tests.chaos.shapes import SHAPES, build

ROOT = Path(__file__).parent.parent.parent
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    statuses: dict[str, int]
    open_flows: int
    violations: list[dict[str, object]]
    waiting: int
    """Entries left in any queue: waiting, in flight or due."""
    lost_attempts: int
    seconds: float

    @property
    def is_clean(self) -> bool:
        return not self.open_flows and not self.violations and not self.waiting


def start_engine(url: str, namespace: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.chaos.engine", url, namespace], cwd=ROOT)


async def run(url: str, namespace: str, *, flows: int) -> Outcome:
    """Runs it all; the engines end with it."""
    started_s = asyncio.get_running_loop().time()
    engines = [start_engine(url, namespace) for _ in range(2)]
    app = build(url, namespace)
    try:
        requests = [
            {"goals": SHAPES[number % len(SHAPES)], "init": {"a": number}, "id": f"mixed-{number}"}
            for number in range(flows)
        ]
        refused = [each for each in await app.start_many(requests) if isinstance(each, Exception)]
        assert refused == []
        await _until_done(app, flows // 4)
        engines[0].kill()
        engines.append(start_engine(url, namespace))
        await _until_done(app, flows // 2)
        engines[1].kill()
        await _until_done(app, flows)
        return await _look(app, asyncio.get_running_loop().time() - started_s)
    finally:
        for engine in engines:
            engine.kill()
            engine.wait()
        await app.close()


async def _until_done(app: Argyll, count: int) -> None:
    """Waits until so many flows are deactivated."""
    node = await app.node()
    while True:
        done = [await node.store.index(f"done:{status}", limit=10**6) for status in ("completed", "failed")]
        still_open = {flow for flow, _ in await node.store.index("open", limit=10**6)}
        if len({flow for rows in done for flow, _ in rows} - still_open) >= count:
            return
        await asyncio.sleep(POLL_S)


async def _look(app: Argyll, seconds: float) -> Outcome:
    node = await app.node()
    statuses: Counter[str] = Counter()
    for status in ("completed", "failed"):
        statuses[status] = len(await node.store.index(f"done:{status}", limit=10**6))
    await _until_queues_are_empty(app)
    audit = await app.audit()
    waiting = sum(
        queue["depth"] + queue["in_flight"] + queue["due"] for queue in (await app.queue_stats())["queues"]
    )
    return Outcome(
        statuses=dict(statuses),
        open_flows=len(await node.store.index("open", limit=10**6)),
        violations=audit["violations"],
        waiting=waiting,
        lost_attempts=await _count_lost(app),
        seconds=seconds,
    )


async def _until_queues_are_empty(app: Argyll, tries: int = 100) -> None:
    """Waits for entries that decide to nothing: stale due entries, entries of the engines killed."""
    for _ in range(tries):
        stats = (await app.queue_stats())["queues"]
        if not any(queue["depth"] + queue["in_flight"] + queue["due"] for queue in stats):
            return
        await asyncio.sleep(POLL_S)


async def _count_lost(app: Argyll) -> int:
    """How many attempts were lost with an engine, over all flows."""
    node = await app.node()
    ids = [
        f
        for status in ("completed", "failed")
        for f, _ in await node.store.index(f"done:{status}", limit=10**6)
    ]
    lost = 0
    for start in range(0, len(ids), 100):
        pages = await node.store.load([(flow, 0, 500) for flow in ids[start : start + 100]])
        lost += sum(
            event.type == "work_started" and b'"reason":"lost"' in event.data
            for page in pages
            for event in page
        )
    return lost
