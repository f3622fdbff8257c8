"""The judge: what must hold when the faults are over, whatever they were.

Every flow that was acknowledged has ended, with the result of its shape; no queue holds anything; no key
is unknown; the audit finds nothing; and the journals of calls and answers agree with the logs.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis.exceptions as redis_errors

from argyll_redis import Argyll
from argyll_redis.audit import Found, Journals, audit_namespace
from argyll_redis.core import events as e
from argyll_redis.core.collect import result_of
from argyll_redis.core.decide import evolve
from argyll_redis.core.events import Recorded
from argyll_redis.core.state import Flow, FlowStatus
from tests.chaos.engines import Engines
from tests.chaos.journals import ANSWERS, CALLS, FORGED, KNEW, lines, paths
from tests.chaos.report import Report, percentile
from tests.chaos.shapes import Shape

POLL_S = 0.1
SHOWN_OPEN = 5
"""Open flows that are looked at when a run does not drain."""
MAX_PENDING_SHOWN = 3
READ_TOGETHER = 100


@dataclass(frozen=True, slots=True)
class Left:
    """What a namespace still has to do."""

    open_flows: int
    children: int
    entries: int
    """Waiting, in flight or due, over all queues."""

    @property
    def is_nothing(self) -> bool:
        return not (self.open_flows or self.children or self.entries)


async def left(client: Any, namespace: str) -> Left:
    """Counts what is left, past every engine and client."""
    partitions = int(await client.hget(f"{{{namespace}}}:meta", "partitions") or 0)
    queues = sorted(each.decode() for each in await client.smembers(f"{{{namespace}}}:queues"))
    pipe = client.pipeline(transaction=False)
    for partition in range(partitions):
        tag = f"{{{namespace}:{partition}}}"
        pipe.zcard(f"{tag}:open").zcard(f"{tag}:children").zcard(f"{tag}:due").xlen(f"{tag}:control")
        for queue in queues:
            pipe.xlen(f"{tag}:work:{queue}")
    counts = await pipe.execute()
    size = 4 + len(queues)
    rows = [counts[start : start + size] for start in range(0, len(counts), size)]
    return Left(sum(row[0] for row in rows), sum(row[1] for row in rows), sum(sum(row[2:]) for row in rows))


async def drained(client: Any, namespace: str, *, limit_s: float) -> float | None:
    """Waits until nothing is left; gives the seconds that took, None when it took too long."""
    began_s = time.monotonic()
    while time.monotonic() - began_s < limit_s:
        try:
            if (await left(client, namespace)).is_nothing:
                return time.monotonic() - began_s
        except (redis_errors.RedisError, OSError):
            pass  # the server is on its way back
        await asyncio.sleep(POLL_S)
    return None


async def what_is_open(app: Argyll, client: Any, namespace: str) -> list[str]:
    """Says of a run that does not drain what it waits for."""
    found = [f"not drained: {await left(client, namespace)}"]
    stats: Any = await app.queue_stats()
    found += [f"queue {row}" for row in stats["queues"] if row["depth"] or row["in_flight"] or row["due"]]
    node = await app.node()
    for flow, _ in await node.store.index("open", limit=SHOWN_OPEN):
        try:
            explained: Any = await app.why_goals(flow)
            for goal in explained["goals"]:
                texts = "; ".join(clause["text"] for clause in goal["why"][-2:])
                found.append(f"flow {flow} is open: goal {goal['step']} is {goal['status']}: {texts}")
        except Exception as error:  # a report of what is wrong must not end the report
            found.append(f"flow {flow} is open, and why it is cannot be said: {error!r}")
    return found


# ------------------------------------------------------------------------- logs


@dataclass(slots=True)
class Logs:
    """What the logs of a namespace say, read once."""

    results: dict[str, dict[str, Any] | None] = field(default_factory=dict[str, dict[str, Any] | None])
    """Of each root flow that is over; None for one that failed."""
    open_flows: list[str] = field(default_factory=list[str])
    flows: int = 0
    events: int = 0
    released: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    """When attempts were started, by (token, attempt), unix ms."""
    lost: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    """Those of them that were started because the one before was lost."""
    given_up: int = 0
    """Items that failed because five engines died of them, one after the other."""
    worked_ms: list[int] = field(default_factory=list[int])
    """When outcomes of calls were committed."""


async def every_flow(client: Any, namespace: str) -> list[str]:
    """All flows there are, children included, by their heads."""
    found = [key.decode() async for key in client.scan_iter(f"{{{namespace}:*:head:*", count=1_000)]
    return sorted(key.partition(":head:")[2] for key in found)


async def read_logs(app: Argyll, flows: Iterable[str]) -> Logs:
    """Reads all logs."""
    node = await app.node()
    logs = Logs()
    for flow in flows:
        events: list[Recorded] = []
        while page := await node.logs.events(flow, len(events)):
            events += page
        logs.flows += 1
        logs.events += len(events)
        for recorded in events:
            _note(logs, recorded)
        if ":" not in flow:
            _note_outcome(logs, flow, events)
    return logs


def _note(logs: Logs, recorded: Recorded) -> None:
    match recorded.event:
        case e.WorkStarted() as event:
            logs.released[event.token, event.attempt] = recorded.at
            if event.reason == "lost":
                logs.lost.add((event.token, event.attempt))
        case e.WorkFailed() as event:
            logs.given_up += event.error.startswith("lost: ")
        case e.WorkSucceeded() | e.WorkNotCompleted():
            logs.worked_ms.append(recorded.at)
        case _:
            pass


def _note_outcome(logs: Logs, flow: str, events: Sequence[Recorded]) -> None:
    state = evolve(Flow(flow), events)
    if not state.is_over:
        logs.open_flows.append(flow)
    else:
        logs.results[flow] = result_of(state) if state.status is FlowStatus.COMPLETED else None


# ---------------------------------------------------------------------- verdict


async def judge(
    report: Report,
    app: Argyll,
    client: Any,
    namespace: str,
    journals: Path,
    *,
    expected: Mapping[str, tuple[int, Shape]],
    engines: Engines,
    asked: Iterable[str] = (),
) -> Logs:
    """Notes everything that does not hold. `expected` has number and shape of each acknowledged flow,
    `asked` the flows that were asked for and may exist."""
    logs = await read_logs(app, await every_flow(client, namespace))
    calls = list(lines(journals, CALLS))
    await audit(report, app, journals, CALLS, ANSWERS, KNEW, is_drained=True)
    report.wrong += [f"flow {flow} has not ended" for flow in logs.open_flows]
    for flow, (number, shape) in expected.items():
        if flow not in logs.results:
            report.require(flow in logs.open_flows, f"flow {flow} was acknowledged and is not there")
        elif logs.results[flow] != shape.expected(number):
            what = f"{shape.name} {flow} came to {logs.results[flow]}, not {shape.expected(number)}"
            report.wrong.append(what)
    strangers = {flow for flow in logs.results if flow not in expected} - set(asked)
    report.require(not strangers, f"flows that nobody asked for: {sorted(strangers)[:3]}")
    report.require(not logs.given_up, f"{logs.given_up} work items have lost five engines in a row")
    _judge_webhooks(report, journals)
    report.figure("calls", len(calls))
    report.figure("lost attempts", f"{len(logs.lost)}, each started again")
    at = {(call["token"], call["attempt"]): call["at"] for call in calls}
    waited_s = [(at[key] - released) / 1_000 for key, released in logs.released.items() if key in at]
    report.figure("released to called, p50 s", percentile(waited_s, 0.5))
    report.figure("released to called, p99 s", percentile(waited_s, 0.99))
    if engines.kills:
        _measure_recovery(report, calls, logs, engines)
    return logs


async def audit(
    report: Report,
    app: Argyll,
    journals: Path,
    *kinds: str,
    is_drained: bool,
    but: Callable[[Found], bool] = lambda _: False,
) -> None:
    """Has the namespace audited, held against the journals of these kinds. What `but` knows of is no
    violation but a consequence of what the gate did."""
    calls = paths(journals, CALLS) if CALLS in kinds else []
    answers = [path for kind in kinds if kind != CALLS for path in paths(journals, kind)]
    held = Journals(calls=calls, answers=answers)
    try:
        found = await audit_namespace(app, journals=held, is_drained=is_drained)
    finally:
        held.close()
    violations = [each for each in found.violations if not but(each)]
    figure = f"{found.flows} flows, {found.events} events, {len(violations) + found.more} violations"
    report.figure("audited", figure)
    report.wrong += [
        f"audit: {each.invariant} {each.flow or 'the namespace'} at {each.version}: {each.message}"
        for each in violations
    ]
    report.require(not found.more, f"audit: {found.more} more violations")


def _judge_webhooks(report: Report, journals: Path) -> None:
    """No webhook was refused but those for nobody, and these all were. That those which were answered are
    in the log is the audit's to say."""
    told: Counter[str] = Counter()
    for line in lines(journals, FORGED):
        told["forged"] += 1
        report.require(line["answer"] != "ok", f"a forged webhook was taken: {line}")
    for line in lines(journals, ANSWERS):
        if line["do"] == "webhook":
            told[line["answer"]] += 1
            report.require(line["answer"] != "refused", f"a webhook was refused: {line}")
    if told:
        report.figure("webhooks", dict(told))


def _measure_recovery(
    report: Report, calls: Sequence[Mapping[str, Any]], logs: Logs, engines: Engines
) -> None:
    """From each kill to when what ran there was begun again: seconds, by the journals. Where an engine was
    frozen meanwhile, it may have been the one that took the work over: that is counted apart."""
    at = {(call["token"], call["attempt"]): call["at"] for call in calls}
    ends = {kill.pid: kill for kill in engines.kills if not kill.was_frozen}
    released_s: list[float] = []
    again_s: list[float] = []
    disturbed_s: list[float] = []
    for call in calls:
        kill = ends.get(call.get("pid", 0))
        later = (call["token"], call["attempt"] + 1)
        if kill is None or later not in logs.lost or later not in at or at[later] < kill.at_ms:
            continue
        is_disturbed = any(began < at[later] and ended > kill.at_ms for began, ended in engines.freezes)
        if not is_disturbed:
            released_s.append((logs.released[later] - kill.at_ms) / 1_000)
        (disturbed_s if is_disturbed else again_s).append((at[later] - kill.at_ms) / 1_000)
    report.figure("items of killed engines begun again", len(again_s) + len(disturbed_s))
    if disturbed_s:
        what = f"{len(disturbed_s)}, worst {max(disturbed_s):.1f} s"
        report.figure("of these while another engine was frozen", what)
    if again_s:
        report.figure("kill to released again, p99 s", percentile(released_s, 0.99))
        report.figure("kill to begun again, p50 s", percentile(again_s, 0.5))
        report.figure("kill to begun again, p99 s", percentile(again_s, 0.99))
        report.figure("kill to begun again, worst s", max(again_s))
