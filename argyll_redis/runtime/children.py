"""Child flows: started by the engine that has a work item of a flow step, heard of by any.

A flow step calls nobody. Its attempt is begun by starting the child, and accepted in the same call to
the store, child first: an item that waits for a child has one. The commit of the child's outcome adds
the word to the parent; whoever reads it says to the parent what the child came to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from argyll_redis.core.commands import Accepted, Answer, Broken, Command, Outcome, Report, Start, Succeeded
from argyll_redis.core.limits import MAX_EVENT_BYTES
from argyll_redis.core.model import JSON
from argyll_redis.core.state import Flow, WorkItem
from argyll_redis.core.sub_flows import CHILD, Parent, child_id, outcome_of, start_of, unfit_input
from argyll_redis.errors import FlowConflict
from argyll_redis.runtime.committer import Committer
from argyll_redis.runtime.mailbox import Posted
from argyll_redis.runtime.payload import ChildEnded
from argyll_redis.runtime.work import Hand, InHand
from argyll_redis.store.codec import encode

Say = Callable[[InHand, Command | None], Posted]
"""Makes what is said of an entry in hand, to be posted to the entry's flow."""


class Children:
    """The children of the items that one engine begins, and the words that it reads."""

    def __init__(
        self,
        engine_id: str,
        *,
        committer: Committer,
        hand: Hand,
        settling: Say,
        leave: Callable[[InHand, BaseException], None],
    ) -> None:
        self.committer = committer
        self.hand = hand
        self.settling = settling
        self.leave = leave
        self.by = f"{CHILD}{engine_id}"
        self._work_by = f"work:{engine_id}"
        self._start_by = f"start:{engine_id}"

    def begin(self, held: InHand, flow: Flow, item: WorkItem, inputs: Mapping[str, JSON]) -> None:
        """Starts the child of an item, or finds it, and accepts the attempt."""
        assert held.work is not None
        self.hand.report(held)
        parent = Parent(flow.id, item.step, item.token)
        plan = flow.plan.children[item.step]
        unfit = unfit_input(plan, inputs) or _too_large("the inputs", inputs)
        if unfit is not None:
            self.say(held, self._report(held, parent, Broken(unfit), item.attempt))
            return
        hash = self.committer.hash_of(plan)
        start = start_of(flow, item, inputs, plan_hash=hash, by=self._start_by)
        accepted = self._report(held, parent, Accepted(), item.attempt)
        self.committer.post(child_id(*parent), ChildStart(self, held, parent, start, accepted))

    def _report(self, held: InHand, parent: Parent, outcome: Outcome, attempt: int) -> Report:
        version = held.work.version if held.work else 0
        return Report(self._work_by, parent.token, outcome, attempt, version, parent.step)

    def refuse(self, held: InHand, parent: Parent, error: FlowConflict) -> None:
        """Fails an item whose child's id is another flow's."""
        report = Report(self.by, parent.token, Broken(str(error)), step=parent.step)
        self.say(held, report)

    def say(self, held: InHand, command: Command | None) -> None:
        """Posts what is said of an entry to its flow."""
        self.hand.report(held)
        self.committer.post(held.flow_id, self.settling(held, command))

    def hear(self, held: InHand, ended: ChildEnded) -> None:
        """Reads the child of which an entry says that it has ended, and tells its parent."""
        parent = Parent(held.flow_id, ended.step, ended.token)
        self.committer.post(child_id(*parent), ChildWord(self, held, parent, ended.version))

    def word(self, child: Flow, parent: Parent) -> Report | None:
        """What a child has to say to its parent; None while it has no outcome."""
        outcome = outcome_of(child, parent)
        if isinstance(outcome, Succeeded):
            too_large = _too_large("the result of the sub-flow", outcome.outputs)
            outcome = outcome if too_large is None else Broken(too_large)
        return outcome and Report(self.by, parent.token, outcome, step=parent.step)


def _too_large(what: str, values: Mapping[str, JSON]) -> str | None:
    size = len(encode(dict(values)))
    if size <= MAX_EVENT_BYTES:
        return None
    return f"{what} has {size:,} bytes, more than the {MAX_EVENT_BYTES:,} that an event may have"


class ChildStart(Posted):
    """The start of a child, with the acceptance of its item's attempt right behind it."""

    __slots__ = ("accepted", "children", "held", "is_joined", "parent", "word")

    def __init__(
        self, children: Children, held: InHand, parent: Parent, start: Start, accepted: Report
    ) -> None:
        super().__init__(start)
        self.children = children
        self.held = held
        self.parent = parent
        self.accepted = accepted
        self.is_joined = False
        """Whether the acceptance is on its way."""
        self.word: Report | None = None
        """What a child that was found has come to already."""

    @property
    def next_flow(self) -> str | None:
        return None if self.is_joined else self.parent.flow

    def next_posted(self) -> Posted:
        self.is_joined = True
        return self.children.settling(self.held, self.accepted)

    def arrive(self, flow: Flow) -> bool:
        if flow.version:
            self.word = self.children.word(flow, self.parent)
        return False

    def succeed(self, answer: Answer) -> None:
        if not self.is_joined:
            self.is_joined = True
            self.children.say(self.held, self.accepted)
        if self.word is not None:
            self.children.committer.post(self.parent.flow, Posted(self.word))

    def fail(self, error: BaseException) -> None:
        if isinstance(error, FlowConflict):
            self.children.refuse(self.held, self.parent, error)
        elif not self.is_joined:
            self.children.leave(self.held, error)


class ChildWord(Posted):
    """Waits until the child that has ended is known, and says to the parent what it came to."""

    __slots__ = ("_version", "children", "held", "parent")

    def __init__(self, children: Children, held: InHand, parent: Parent, version: int) -> None:
        super().__init__(None)
        self.children = children
        self.held = held
        self.parent = parent
        self._version = version

    @property
    def needs_version(self) -> int:
        return self._version

    def arrive(self, flow: Flow) -> bool:
        if self.children.hand.holds(self.held):
            self.children.say(self.held, self.children.word(flow, self.parent))
        return True

    def fail(self, error: BaseException) -> None:
        self.children.leave(self.held, error)
