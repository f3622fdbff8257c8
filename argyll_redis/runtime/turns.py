"""Turns in the making: commands decided on a flow, as one transaction that a store can apply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from argyll_redis.core.commands import Answer, Start
from argyll_redis.core.decide import Decision, decide
from argyll_redis.core.inputs import Evaluate
from argyll_redis.core.model import JSON, Plan, StepId
from argyll_redis.core.outbox import outbox
from argyll_redis.core.state import Flow
from argyll_redis.core.sub_flows import is_own_child, parent_of
from argyll_redis.errors import FlowConflict
from argyll_redis.runtime.effects import store_ops
from argyll_redis.runtime.logs import Logs
from argyll_redis.runtime.mailbox import Mailbox, Posted
from argyll_redis.store.codec import encode, encode_canonical
from argyll_redis.store.protocol import Ack, NewEvent, Op, Store, Turn, partition_of

ACKNOWLEDGED = Answer(counted=True)
"""For what had no command."""

SENT_PLANS = 10_000
"""Plans remembered as held by a partition; a plan that is sent once more costs only its bytes."""


@dataclass(slots=True, eq=False)
class InFlight:
    """A turn on its way, and what it takes to deal with the reply."""

    box: Mailbox
    posted: list[Posted]
    decision: Decision
    answers: list[tuple[Posted, Answer]]
    turn: Turn
    size: int
    """Bytes of its events and of a plan that it brings."""
    now_ms: int
    """When it was decided, by the server's clock."""


class TurnMaker:
    """Makes the turns of one process; each has a transaction id that no other turn has."""

    def __init__(self, store: Store, logs: Logs, *, client_id: str, evaluate: Evaluate) -> None:
        self._store = store
        self._logs = logs
        self._client_id = client_id
        self._evaluate = evaluate
        self._transactions = 0
        self._sent_plans: set[tuple[int, str]] = set()

    def make(self, box: Mailbox, flow: Flow, posted: list[Posted], *, now_ms: int) -> InFlight:
        """Decides what was posted on a flow. It is never earlier than the flow's last event, nor than when
        an entry among it was added: a due entry that was moved is due, even where the node of a cluster
        that has the flow is ahead of the others. Raises nothing but for a bug."""
        now_ms = max(now_ms, flow.at_of(flow.version))
        for each in posted:
            if each.entry and each.entry.added_ms > now_ms:
                now_ms = each.entry.added_ms
        commands = [each.command for each in posted if each.command is not None]
        decision = decide(flow, commands, now_ms=now_ms, evaluate=self._evaluate)
        answers = iter(decision.answers)
        answered = [(each, ACKNOWLEDGED if each.command is None else next(answers)) for each in posted]
        turn = self._turn_of(flow, decision, posted)
        return InFlight(box, posted, decision, answered, turn, turn.size, now_ms)

    def _turn_of(self, flow: Flow, decision: Decision, posted: list[Posted]) -> Turn:
        partition = partition_of(flow.id, self._store.partitions)
        self._transactions += 1
        effects = outbox(decision.draft, decision.events, left=decision.left, controls=decision.controls)
        # First, as what is decided beside it may settle what one of them adds.
        ops: list[Op] = [op for each in posted for op in each.ops]
        ops += store_ops(effects, self._plan_bytes(partition, decision))
        for each in posted:
            if each.entry:
                ops.append(Ack(each.entry.stream, each.entry.id))
        return Turn(
            partition=partition,
            flow=flow.id,
            version=flow.version,
            last_tx=flow.last_tx,
            tx=f"{self._client_id}.{self._transactions}",
            events=[
                NewEvent(each.event.type, each.cause, each.by, encode(each.event.stored()))
                for each in decision.events
            ],
            ops=ops,
        )

    def _plan_bytes(self, partition: int, decision: Decision) -> Callable[[str], bytes]:
        """Gives a plan's bytes the first time a partition needs them, and none after that."""

        def of(hash: str) -> bytes:
            if (partition, hash) in self._sent_plans:
                return b""
            return self._logs.plans.bytes_of(hash) or self._bytes_again(decision.draft.plan, hash)

        return of

    def _bytes_again(self, plan: Plan, hash: str) -> bytes:
        """The bytes of a plan that has left the book since its start was asked for."""
        self._logs.plans.add(plan)
        return self._logs.plans.bytes_of(hash)

    def plan_is_there(self, partition: int, hash: str) -> None:
        """Remembers that a partition holds a plan."""
        if len(self._sent_plans) >= SENT_PLANS:
            self._sent_plans.clear()
        self._sent_plans.add((partition, hash))

    def plan_is_missing(self, partition: int, hash: str) -> None:
        """Remembers that a partition does not hold a plan."""
        self._sent_plans.discard((partition, hash))


def answer_starts(flow: Flow, posted: list[Posted]) -> list[Posted]:
    """Answers starts of a flow that exists: a success when it was started with the same."""
    others: list[Posted] = []
    for each in posted:
        if not isinstance(each.command, Start):
            others.append(each)
        elif is_same_child(flow, each.command) or is_same_start(flow, each.command.plan.goals, each.command):
            each.succeed(Answer(counted=False, reason="the flow was started with the same already"))
        else:
            each.fail(
                FlowConflict(
                    f'flow "{flow.id}" exists and was started with something else; choose another id'
                )
            )
    return others


def is_same_child(flow: Flow, start: Start) -> bool:
    """Whether a flow that exists is the child that a start asks for."""
    parent = parent_of(flow.id)
    return parent is not None and is_own_child(flow, parent) and start.metadata == flow.metadata


class StartTerms(Protocol):
    """What a start says of a flow beside its goals."""

    @property
    def init(self) -> Mapping[str, list[JSON]]: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def metadata(self) -> Mapping[str, JSON]: ...
    @property
    def compensate(self) -> str | None: ...
    @property
    def timeout_ms(self) -> int: ...


def is_same_start(flow: Flow, goals: Sequence[StepId], start: StartTerms) -> bool:
    """Whether a flow was started here with what a start asks for; the plan is not compared, as the
    catalog may have moved on."""
    return (
        not flow.is_imported
        and tuple(flow.plan.goals) == tuple(goals)
        and encode_canonical(flow.init) == encode_canonical(start.init)
        and flow.labels == start.labels
        and encode_canonical(flow.metadata) == encode_canonical(start.metadata)
        and flow.compensate == start.compensate
        and flow.timeout_ms == start.timeout_ms
    )
