"""A replica that is behind becomes the master: history is lost, and whoever knows better has to say so."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any

from argyll_redis.audit import Found
from tests.chaos.ground import NAMESPACE, Asked, Ground
from tests.chaos.journals import KNEW, Journal, lines
from tests.chaos.judge import audit, every_flow, left
from tests.chaos.processes import GaveUp
from tests.chaos.redis_process import RedisProcess
from tests.chaos.report import Report
from tests.chaos.shapes import mixed

PROMISE = (
    "a replica promoted while behind: every flow that lost history is said and left alone, the rest ends"
)

FLOWS_A_S = 40
SYNC_LIMIT_S = 30
KNOWN = 20
"""Flows that engines have worked on, and the replica has never heard of, when the master dies."""
KNOWN_LIMIT_S = 30
DRAIN_LIMIT_S = 60
STABLE_S = 12.0
"""What is still open after so long without a change stays open."""

STANDSTILL = ("I-20", "I-24")
"""What the audit says of flows that are left alone: nobody gives back what they lack or ends a child."""
LEFT_ALONE = re.compile(r'flow \\"([^"\\]+)\\" is left alone')

Heads = Mapping[str, int]
"""Versions by flow."""


async def run(report: Report, asked: Asked) -> None:
    """Runs the gate."""
    async with Ground(report, asked, is_proxied=True, is_watched=False) as ground:
        master = ground.redis
        assert isinstance(master, RedisProcess)
        replica = RedisProcess(
            ground.directory,
            name="replica",
            options={"--replicaof": f"127.0.0.1 {master.port}", "--repl-diskless-sync-delay": "0"},
        )
        try:
            await replica.start()
            await _in_step(replica)
            load = asyncio.create_task(ground.start(mixed(asked.flows), per_s=FLOWS_A_S))
            await asyncio.sleep(asked.flows / FLOWS_A_S / 2)
            await replica.client.replicaof("127.0.0.1", 1)
            await _until_known(ground, await _heads(replica.client))
            before = await _heads(master.client)
            master.kill()
            await replica.client.replicaof("NO", "ONE")
            after = await _heads(replica.client)
            ground.redis = replica
            report.faults["promoted while behind"] += 1
            await load
            await _settled(ground)
            await _judge(report, ground, before, after)
        finally:
            await master.close()
            await replica.close()


async def _until_known(ground: Ground, there: Heads) -> None:
    """Waits until engines know of enough that the replica does not. Raises `GaveUp`."""
    deadline_s = time.monotonic() + KNOWN_LIMIT_S
    while time.monotonic() < deadline_s:
        if len({line["flow"] for line in lines(ground.journals, KNEW)} - there.keys()) >= KNOWN:
            return
        await asyncio.sleep(0.1)
    raise GaveUp("the engines did nothing while the replica was cut off")


async def _in_step(replica: RedisProcess) -> None:
    """Waits until the replica has everything. Raises `GaveUp`."""
    deadline_s = time.monotonic() + SYNC_LIMIT_S
    while time.monotonic() < deadline_s:
        if (await replica.client.info("replication")).get("master_link_status") == "up":
            return
        await asyncio.sleep(0.1)
    raise GaveUp("the replica does not follow its master")


async def _heads(client: Any) -> Heads:
    keys = [key async for key in client.scan_iter(f"{{{NAMESPACE}:*:head:*", count=1_000)]
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.hget(key, "v")
    versions = await pipe.execute()
    return {
        key.decode().partition(":head:")[2]: int(version or 0)
        for key, version in zip(keys, versions, strict=True)
    }


async def _settled(ground: Ground) -> None:
    """Waits until nothing is left, or what is left does not change any more."""
    deadline_s = time.monotonic() + DRAIN_LIMIT_S
    last, since_s = None, time.monotonic()
    while time.monotonic() < deadline_s:
        now = await left(ground.redis.client, NAMESPACE)
        if now != last:
            last, since_s = now, time.monotonic()
        if now.is_nothing or time.monotonic() - since_s > STABLE_S:
            return
        await asyncio.sleep(0.2)


async def _judge(report: Report, ground: Ground, before: Heads, after: Heads) -> None:
    """Every engine has said of which flows it knew more than the server; every other flow has ended; all
    logs are whole."""
    regressed = {flow for flow, version in before.items() if after.get(flow, 0) < version}
    known = {line["flow"] for line in lines(ground.journals, KNEW)}
    _journal_alarms(ground)
    said = {line["flow"] for line in lines(ground.journals, KNEW) if line["do"] == "alarm"}
    report.figure("flows that lost history", len(regressed))
    report.figure("of these gone altogether", sum(flow not in after for flow in regressed))
    report.figure("of these known to an engine", len(regressed & known))
    report.figure("said by an engine to have lost it", len(said))
    report.require(bool(regressed), "the replica was not behind: nothing was lost")
    await audit(
        report, ground.app, ground.journals, KNEW, is_drained=False, but=lambda each: _follows(each, said)
    )
    still_open = await _open_flows(ground.redis.client)
    report.figure("flows left alone and open", len(still_open & regressed))
    others = sorted(still_open - regressed)
    report.require(not others, f"{len(others)} flows that lost nothing have not ended: {others[:5]}")
    report.figure("flows", len(await every_flow(ground.redis.client, NAMESPACE)))


def _follows(found: Found, said: set[str]) -> bool:
    """Whether something is so because a flow, or the parent of it, is left alone."""
    return found.invariant in STANDSTILL and found.flow.partition(":")[0] in said


def _journal_alarms(ground: Ground) -> None:
    """Notes which engine has said of which flow that it leaves it alone."""
    journal = Journal(ground.journals / "knew-alarms.jsonl")
    for slot in ground.engines.slots:
        assert slot.child is not None
        for flow in set(LEFT_ALONE.findall(slot.child.said())):
            journal.note(do="alarm", engine=str(slot.child.pid), flow=flow)
    journal.close()


async def _open_flows(client: Any) -> set[str]:
    found: set[str] = set()
    for kind in ("open", "children"):
        async for key in client.scan_iter(f"{{{NAMESPACE}:*:{kind}", count=1_000):
            found |= {member.decode() for member in await client.zrange(key, 0, -1)}
    return found
