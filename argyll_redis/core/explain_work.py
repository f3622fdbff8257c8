"""What to say of a step's work items: who runs, who waits for what, and what it took.

Items are counted from 1 here, as people count; where a step has one item it is not named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from argyll_redis.core.history import Fact, History
from argyll_redis.core.model import StepId
from argyll_redis.core.state import StepRun, WorkItem, WorkStatus
from argyll_redis.core.sub_flows import child_of

MAX_NAMED = 5
"""Things of one kind that are named; of more only the number is told."""


NO_ENGINE = "no engine is alive, so nothing runs until one is started"


class Clause(NamedTuple):
    """One sentence, and the version of the event that it rests on."""

    text: str
    version: int


class Asked(NamedTuple):
    """What an explanation is made from."""

    history: History
    step: StepId
    """The one that was asked about: "it"."""
    now_ms: int
    handlers: Collection[str] | None
    queues: Collection[str] | None

    @property
    def has_engine(self) -> bool:
        """Whether an engine is alive, as far as that is known."""
        return self.queues is None or bool(self.queues)

    def ago(self, version: int) -> str:
        """How long ago the event of a version was appended."""
        return span(self.now_ms - self.history.flow.at_of(version))

    def between(self, first: int, second: int) -> str:
        """How long after one event another one came."""
        return span(self.history.flow.at_of(second) - self.history.flow.at_of(first))

    def subject(self, step: StepId) -> str:
        return "it" if step == self.step else f"`{step}`"

    def of(self, step: StepId, index: int) -> str:
        """Names a work item behind "attempt 2": its number where there are several, its step where
        that is not the one asked about."""
        number = f" of item {index + 1}" if self.history.flow.steps[step].size > 1 else ""
        return number + ("" if step == self.step else f" of `{step}`")


def span(ms: int) -> str:
    """A duration as people say it."""
    seconds = max(0, ms) // 1000
    if seconds < 1:
        return f"{max(0, ms)} ms"
    if seconds < 60:
        return f"{ms / 1000:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds // 60 % 60} min"
    return f"{seconds // 86_400} d {seconds // 3600 % 24} h"


def counted(count: int, noun: str) -> str:
    """ "1 work item", "3 work items"."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count} {either(count, noun, plural)}"


def either(count: int, one: str, many: str) -> str:
    """The word that agrees with a count."""
    return one if count == 1 else many


def listed(names: Iterable[str]) -> str:
    """ "`a`, `b` and `c`"; of many, the first few and how many more."""
    quoted = [f"`{name}`" for name in names]
    if len(quoted) > MAX_NAMED:
        quoted = [*quoted[:MAX_NAMED], f"{len(quoted) - MAX_NAMED} more"]
    return " and ".join(part for part in (", ".join(quoted[:-1]), quoted[-1]) if part)


def first_few(clauses: Iterable[Clause], limit: int = MAX_NAMED) -> Iterator[Clause]:
    """The first few of many clauses of one kind, and how many more there are."""
    more, last = 0, 0
    for count, clause in enumerate(clauses):
        if count < limit:
            yield clause
        else:
            more, last = more + 1, clause.version
    if more:
        yield Clause(f"and {more} more like this", last)


# ------------------------------------------------------------------ under way


def under_way(asked: Asked, step: StepId) -> Iterator[Clause]:
    """What an active step is doing, or waits for."""
    run = asked.history.flow.steps[step]
    items = list(asked.history.items(step))
    if asked.has_engine:
        yield from nowhere(asked, run)
    yield from first_few(_out(asked, item) for item in items if item.status is WorkStatus.ACTIVE)
    yield from first_few(_retry(asked, run, item) for item in items if item.is_waiting)
    yield from _not_begun(asked, run)


def pressing(asked: Asked) -> tuple[int, Clause] | None:
    """What keeps an active step most, and how much, 0 being the most: that nobody can run it, a retry, an
    attempt without an outcome, items without a slot. None when nothing does."""
    run = asked.history.flow.steps[asked.step]
    items = list(asked.history.items(asked.step))
    kept = (
        nowhere(asked, run),
        (_retry(asked, run, item) for item in items if item.is_waiting),
        (_out(asked, item) for item in items if item.status is WorkStatus.ACTIVE),
        _not_begun(asked, run),
    )
    for much, clauses in enumerate(kept):
        for clause in clauses:
            return much, clause
    return None


def nowhere(asked: Asked, run: StepRun) -> Iterator[Clause]:
    """That no live engine can run what is left of a step's items."""
    is_over = asked.history.flow.is_over
    if (run.active > run.accepted) if is_over else has_work_for_engines(run):
        yield from unable(asked, run)


def unable(asked: Asked, run: StepRun) -> Iterator[Clause]:
    """That no live engine can run a step's items: none has its function, or none takes from its queue."""
    python = asked.history.flow.plan.steps[run.id].python
    version = max((item.started_version for item in run.items.values()), default=0) or run.started_version
    return no_engine_for(asked, run, python.handler if python else "", version)


def no_engine_for(asked: Asked, run: StepRun, function: str | None, version: int) -> Iterator[Clause]:
    """That no live engine has a function of a step, or takes from its queue; of a step that is no python
    step, that none can run its type."""
    definition = asked.history.flow.plan.steps[run.id]
    python = definition.python
    of = "" if run.id == asked.step else f" of `{run.id}`"
    if python is None:
        if definition.handler and asked.handlers is not None and definition.handler not in asked.handlers:
            yield Clause(f"no live engine can run steps of type {definition.type}", version)
    elif asked.handlers is not None and function not in asked.handlers:
        whose = f"the handler{of}" if of else "this handler"
        yield Clause(f"no live engine has {whose} (`{function}`)", version)
    elif asked.queues is not None and python.queue not in asked.queues:
        whose = f"the queue{of}" if of else "its queue"
        yield Clause(f"no live engine serves {whose} (`{python.queue}`)", version)


def has_work_for_engines(run: StepRun) -> bool:
    """Whether an item of an active step has an outcome to come that only an engine can bring."""
    return run.active > run.accepted or run.over + run.active < run.size


def _out(asked: Asked, item: WorkItem) -> Clause:
    named = f"attempt {item.attempt}{asked.of(item.step, item.index)}"
    if not item.accepted_version:
        ago = asked.ago(item.started_version)
        return Clause(f"{named} was released {ago} ago and has no outcome yet", item.started_version)
    child, ago = child_of(asked.history.flow, item), asked.ago(item.accepted_version)
    if child is not None:
        text = f"{named} waits for its child flow `{child}`, started {ago} ago"
    else:
        text = f"{named} was accepted {ago} ago; its outcome comes from outside"
    if item.timeout_ms:
        left_ms = asked.history.flow.at_of(item.accepted_version) + item.timeout_ms - asked.now_ms
        text += f", within {span(left_ms)}" if left_ms > 0 else ", and its time is over"
    return Clause(text, item.accepted_version)


def _retry(asked: Asked, run: StepRun, item: WorkItem) -> Clause:
    named = f"retry {item.retries}{asked.of(run.id, item.index)}"
    wait_ms = asked.history.flow.at_of(item.due_version) + item.due_delay_ms - asked.now_ms
    slots = asked.history.flow.plan.steps[run.id].work.parallelism
    if wait_ms > 0:
        text = f"{named} is due in {span(wait_ms)}"
    elif run.active >= slots:
        text = f"{named} has been due for {span(-wait_ms)} and waits for a slot (parallelism {slots})"
    else:
        then = " and is about to start" if asked.has_engine else ""
        text = f"{named} has been due for {span(-wait_ms)}{then}"
    return Clause(f"{text}, as attempt {item.attempt} was not completed: {item.error}", item.due_version)


def _not_begun(asked: Asked, run: StepRun) -> Iterator[Clause]:
    """The items that never started."""
    count = untouched(run)
    if not count:
        return
    slots = asked.history.flow.plan.steps[run.id].work.parallelism
    named = counted(count, "work item") + ("" if run.id == asked.step else f" of `{run.id}`")
    if asked.history.flow.is_over:
        text = f"{named} will not be started, as the flow is over"
        yield Clause(text, asked.history.flow.ended_version)
    elif run.active >= slots:
        verb = either(count, "waits", "wait")
        version = max(item.started_version for item in run.items.values())
        yield Clause(f"{named} {verb} for a slot: {run.active} running, parallelism {slots}", version)
    else:
        verb = f"{either(count, 'is', 'are')} about to start"
        if not asked.has_engine:
            verb = f"{either(count, 'has', 'have')} not started"
        yield Clause(f"{named} {verb}", run.started_version)


def untouched(run: StepRun) -> int:
    """How many items of a step were never started, settled or skipped."""
    return run.size - sum(not item.is_untouched for item in run.items.values())


# ----------------------------------------------------------------- what it took


def what_it_took(asked: Asked, step: StepId) -> Iterator[Clause]:
    """Takeovers, retries, reused and ignored outcomes of a step's items."""
    history = asked.history
    yield from first_few(_takeover(asked, step, fact) for fact in history.losses.get(step, ()))
    yield from _retries(asked, step)
    reused, ignored = history.reuses.get(step), history.ignored.get(step)
    if reused:
        were = either(len(reused), "was", "were")
        text = f"{counted(len(reused), 'outcome')} {were} taken from earlier successes with the same inputs"
        yield Clause(text, reused[-1].version)
    if ignored:
        were = either(len(ignored), "was", "were")
        text = f"{counted(len(ignored), 'outcome')} {were} ignored: {ignored[-1].error}"
        yield Clause(text, ignored[-1].version)


def failed_children(asked: Asked, step: StepId) -> Iterator[Clause]:
    """Where to look further when a flow step has failed: the children of the items that failed."""
    flow = asked.history.flow
    for item in asked.history.items(step):
        child = child_of(flow, item)
        if child is not None and item.status is WorkStatus.FAILED:
            named = f"the child flow{asked.of(step, item.index)}"
            yield Clause(f"{named} is `{child}`", item.ended_version)


def _takeover(asked: Asked, step: StepId, fact: Fact) -> Clause:
    named = f"attempt {fact.attempt}{asked.of(step, fact.item)}"
    text = f"{named} was started because the engine of attempt {fact.attempt - 1} was lost"
    return Clause(text, fact.version)


def _retries(asked: Asked, step: StepId) -> Iterator[Clause]:
    """How many retries were started, and what the last of them was for."""
    items = asked.history.items(step)
    count = dropped = 0
    for item in items:
        is_unstarted = item.due_attempt > item.attempt
        count += item.retries - is_unstarted
        dropped += is_unstarted and not item.is_waiting
    fallen = asked.history.fallen.get(step, [])
    if fallen and (count or dropped):
        last = fallen[-1]
        made = f"{counted(count, 'retry')} {either(count, 'was', 'were')} made; " if count else ""
        named = f"attempt {last.attempt}{asked.of(step, last.item)}"
        yield Clause(f"{made}{named} was not completed: {last.error}", last.version)
