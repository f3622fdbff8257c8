"""What must be true when a simulated run is over: the log, the queues, and what was seen meanwhile agree.

Names such as I-22 are those of `core.audit`; the others are this file's own words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from argyll_redis.core import events as e
from argyll_redis.core.audit import audit_calls, audit_log
from argyll_redis.core.audit_children import Kinship
from argyll_redis.core.collect import output_values
from argyll_redis.core.commands import Broken, Succeeded
from argyll_redis.core.decide import CANCELLED
from argyll_redis.core.events import Recorded
from argyll_redis.core.events_undo import CompFailed, CompStarted, CompSucceeded
from argyll_redis.core.mapping import judge
from argyll_redis.core.model import Token
from argyll_redis.core.outbox import UNDO
from argyll_redis.core.state import Flow, WorkItem
from argyll_redis.core.sub_flows import is_child
from argyll_redis.errors import HistoryLost
from argyll_redis.runtime.node import Node
from argyll_redis.store.codec import decode
from argyll_redis.store.memory_partition import Partition
from argyll_redis.store.protocol import CONTROL, root_of, work_stream
from argyll_redis.testing.observer import Observer
from argyll_redis.testing.stage import EVALUATOR, Acked, Call, Journal, Stage

ENOUGH = 20
"""Violations after which a run is not waited for any longer."""


def judge_logs(stage: Stage, observer: Observer) -> Iterator[str]:
    """Every log keeps the invariants, agrees with its head, and with what was seen from outside."""
    observer.look()
    journal = stage.journal
    logs = dict(observer.logs())
    for flow_id in sorted(journal.promised - logs.keys()):
        yield f"start: {flow_id} was answered as started and has no log"
    for flow_id, log in logs.items():
        events = observer.events[flow_id]
        if not log.sealed:
            yield f"liveness: {flow_id} is not deactivated"
        for found in audit_log(
            flow_id,
            events,
            head_version=log.version,
            head_tx=log.tx,
            status=log.fields.get("status", ""),
            sealed=log.sealed,
        ):
            yield f"{found.invariant}: {flow_id} at {found.version}: {found.message}"
        yield from _judge_calls(flow_id, events, journal)
        if not journal.has_failed_over:
            yield from _judge_outcomes(flow_id, events, journal)
        yield from _judge_lists(flow_id, observer.flows[flow_id])
        yield from _judge_undone(flow_id, observer.flows[flow_id], events)
    yield from _judge_acked(observer, journal)
    yield from _judge_children(observer, journal)
    if not stage.is_disturbed:
        yield from _judge_undisturbed(observer)


def _judge_calls(flow_id: str, events: Sequence[Recorded], journal: Journal) -> Iterator[str]:
    """Each call is of an attempt that was released before; an attempt is called at most once, unless
    an entry of it was delivered twice on purpose."""
    released = {
        (event.token + (UNDO if isinstance(event, CompStarted) else ""), event.attempt): recorded.at
        for recorded, event in _releases(events)
    }
    calls = _remembered(journal.calls.get(flow_id, []), released, journal)
    once = [call for call in calls if (call.token, call.attempt) not in journal.doubled]
    again = {(call.token, call.attempt): None for call in calls if call not in once}
    pairs = [(call.token, call.attempt) for call in once]
    for found in audit_calls(flow_id, events, [*pairs, *again]):
        yield f"{found.invariant}: {flow_id} at {found.version}: {found.message}"
    for call in calls:
        at = released.get((call.token, call.attempt))
        if at is not None and call.at_ms < at and call.born_ms > journal.failed_over_ms:
            yield f"I-22: {flow_id}: attempt {call.attempt} of {call.token} was called before its release"


def _judge_outcomes(flow_id: str, events: Sequence[Recorded], journal: Journal) -> Iterator[str]:
    """F02: what a call came to is recorded once, whatever became of the reply: what an engine has reported
    with success is not ignored as well."""
    counted: set[tuple[str, str, int]] = set()
    for recorded in events:
        event: Any = recorded.event
        if isinstance(event, e.WorkSucceeded | e.WorkNotCompleted):
            counted.add((recorded.by, event.token, event.attempt))
        elif isinstance(event, e.WorkIgnored) and (recorded.by, event.token, event.attempt) in counted:
            is_once = (event.token, event.attempt) not in journal.doubled
            if recorded.by.startswith("work:") and is_once:
                yield f"F02: {flow_id} at {recorded.version}: what {recorded.by} reported is recorded twice"


def _judge_lists(flow_id: str, flow: Flow) -> Iterator[str]:
    """I-10: what a completed step provides is what its work items gave, in item order; those that were
    undone give nothing any more."""
    for name, values in flow.attributes.items():
        for value in values:
            if value.step is None or any(item.undo for item in flow.steps[value.step].items.values()):
                continue
            ought = output_values(flow, value.step, name)
            if value.value != ought:
                yield f"I-10: {flow_id}: {value.step} provides {value.value} as {name}, its items {ought}"


def _remembered(
    calls: Sequence[Call], released: Mapping[tuple[str, int], int], journal: Journal
) -> list[Call]:
    """The calls that the server can know of. What a process that is older than a failover has called may
    be lost with its release, or be delivered once more."""
    kept: dict[tuple[str, int], Call] = {}
    for call in calls:
        if call.born_ms <= journal.failed_over_ms and (call.token, call.attempt) in released:
            kept[call.token, call.attempt] = call
    return [
        *kept.values(),
        *(c for c in calls if c.born_ms > journal.failed_over_ms and (c.token, c.attempt) not in kept),
    ]


def _releases(events: Sequence[Recorded]) -> Iterator[tuple[Recorded, e.WorkStarted | CompStarted]]:
    """Each release of an attempt, of work and of its compensation."""
    for recorded in events:
        if isinstance(recorded.event, e.WorkStarted | CompStarted):
            yield recorded, recorded.event


def _judge_undone(flow_id: str, flow: Flow, events: Sequence[Recorded]) -> Iterator[str]:
    """I-17: each success of a failed step that knows how to undo is undone once, or given up once, and so
    is one that came too late; in a failed flow that undoes everything, every success."""
    undoes_all = flow.compensate == "flow" and flow.status == "failed"
    ended: Counter[str] = Counter()
    ought: set[str] = set()
    for recorded in events:
        event: Any = recorded.event
        if isinstance(event, CompSucceeded | CompFailed):
            ended[event.token] += 1
        is_late = isinstance(event, e.WorkIgnored) and event.outputs is not None
        if is_late or isinstance(event, e.WorkSucceeded):
            is_useless = is_late or undoes_all or flow.steps[event.step].status == "failed"
            if is_useless and flow.plan.steps[event.step].can_undo:
                ought.add(event.token)
    if flow.is_deactivated and ended != Counter(ought):
        yield f"I-17: {flow_id}: {sorted(ended.elements())} were undone, and {sorted(ought)} had to be"


def _judge_acked(observer: Observer, journal: Journal) -> Iterator[str]:
    """What was answered to somebody outside is in the log."""
    for acked in journal.acked:
        flow = observer.flows[acked.flow]
        found = flow.find(Token(acked.token))
        item = flow.item(*found) if found else None
        if item is None or not _is_recorded(flow, item, acked):
            yield f"I-21: {acked.flow}: the success of {acked.token} was answered and is not in the log"
    for flow_id in sorted(journal.cancelled):
        if observer.flows[flow_id].error != CANCELLED:
            yield f"I-21: the cancel of {flow_id} was answered and is not in the log"


def _is_recorded(flow: Flow, item: WorkItem, acked: Acked) -> bool:
    """Whether an item is what a success came to, once its outputs were mapped."""
    outcome = judge(flow.plan.steps[item.step], Succeeded(acked.outputs), EVALUATOR)
    if isinstance(outcome, Broken):
        return item.error == outcome.error
    return item.outputs is not None and dict(item.outputs) == outcome.outputs


def _judge_children(observer: Observer, journal: Journal) -> Iterator[str]:
    """Flows and their children agree, and there is no child of nobody."""
    known: set[str] = set()
    for flow_id, flow in observer.flows.items():
        kinship = Kinship(flow, observer.events[flow_id])
        for item, child in kinship.children():
            known.add(child)
            if journal.has_failed_over and kinship.has_word_of(item):
                continue  # the child may have lost what it said, and have come to something else since
            for version, name, message in kinship.check(item, child, observer.flows.get(child)):
                yield f"{name}: {flow_id} at {version}: {message}"
    for flow_id in observer.flows if not journal.has_failed_over else ():  # a child may be all that is left
        if is_child(flow_id) and flow_id not in known:
            yield f"I-24: {flow_id} is the child of no work item"


def _judge_undisturbed(observer: Observer) -> Iterator[str]:
    """Where nothing went wrong, no attempt was lost."""
    for flow_id, events in observer.events.items():
        for recorded, event in _releases(events):
            if event.reason == "lost":
                yield f"I-23: {flow_id} at {recorded.version}: an attempt was lost, and nothing went wrong"


# ---------------------------------------------------------------------- server


def judge_server(stage: Stage, observer: Observer) -> Iterator[str]:
    """I-25: the server holds the logs, their indexes, and nothing else."""
    names = {CONTROL, *(work_stream(queue) for queue in stage.server.namespace.queues)}
    for partition in observer.partitions:
        for name, stream in partition.streams.items():
            if name not in names:
                yield f"I-25: stream {name} belongs to no queue"
            for payload, consumer in stream.entries():
                where = f"is pending for {consumer}" if consumer else "waits"
                yield f"I-25: {name} {payload} {where}"
        for member in partition.due:
            yield f"I-25: {member} is due"
        for stream, payload, reason in partition.dead:
            if not stage.journal.has_failed_over or "lost" not in reason:
                yield f"dead: {stream} {payload}: {reason}"
        yield from _judge_indexes(partition, observer)


def _judge_indexes(partition: Partition, observer: Observer) -> Iterator[str]:
    """I-01 and I-25: each flow is in the indexes that its log asks for, and in no other."""
    ought: dict[str, set[str]] = {}
    users: Counter[str] = Counter()
    for flow_id in partition.logs:
        flow = observer.flows[flow_id]
        if is_child(flow_id):
            names = ["tree"] if flow.is_deactivated else ["children"]
            if flow.is_deactivated and root_of(flow_id) not in partition.logs:
                ought.setdefault("expire", set()).add(root_of(flow_id))  # it has lost its root
        else:
            names = ["expire"] if flow.is_deactivated else ["open"]
            names += [f"done:{flow.status}"] if flow.is_over else []
            names += [f"label:{key}={value}" for key, value in flow.labels.items()]
        for name in names:
            ought.setdefault(name, set()).add(flow_id)
        users[flow.plan_hash] += 1
    found = {name: set(index) for name, index in partition.indexes.items()}
    if partition.expire:
        found["expire"] = set(partition.expire)
    if partition.tree:
        found["tree"] = set(partition.tree)
    if found != ought:
        yield f"I-25: the indexes are {_shown(found)}, and ought to be {_shown(ought)}"
    counts = {hash: plan.users for hash, plan in partition.plans.items()}
    if counts != users:
        yield f"I-25: plans have {counts} users, and ought to have {dict(users)}"


def _shown(index: Mapping[str, set[str]]) -> dict[str, list[str]]:
    return {name: sorted(ids) for name, ids in sorted(index.items())}


def judge_catalog(stage: Stage) -> Iterator[str]:
    """Whoever registers, and however often: each step is in the catalog's log once."""
    if stage.journal.has_failed_over:
        return
    found = sorted(decode(event.data)["step"] for event in stage.server.namespace.catalog.events)
    ought = sorted(str(each["id"]) for each in stage.scenario.definitions)
    if found and found != ought:
        yield f"catalog: it registers {found}"


# ------------------------------------------------------------------------ nodes


def judge_node(
    name: str, node: Node, observer: Observer, *, unknown: str | None = None, may_have_lost: bool = False
) -> Iterator[str]:
    """A process that lives has given up nothing but flows with an event that it does not know, or whose
    history the server has lost, and knows every other flow as its log tells it (I-18, I-30)."""
    committer = node.committer
    if committer.fatal is not None:
        yield f"committer: {name} gave up: {committer.fatal}"
    for flow_id, reason in committer.quarantined.items():
        is_lost = may_have_lost and isinstance(reason, HistoryLost)
        if not is_lost and (unknown is None or f'"new_{unknown}"' not in str(reason)):
            yield f"quarantine: {name} leaves {flow_id} alone: {reason}"
    for cached in committer.cache.flows():
        flow_id, version = cached.id, cached.version
        if flow_id in committer.quarantined:
            continue
        if not observer.has(flow_id, version, cached.last_tx):
            yield f"I-30: {name} knows {flow_id} at {version} by a history that is not the server's"
        elif cached.picture() != observer.picture(flow_id, version):
            yield f"I-18: {name} knows {flow_id} at {version} otherwise than its log tells it"
