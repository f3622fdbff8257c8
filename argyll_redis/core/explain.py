"""Why a step ran, waits, was skipped, failed, or was never planned: in sentences, from its log.

Each sentence rests on an event and cites its version, so that whoever doubts it can look. Nothing
is evaluated: where a script would have to say (a gate), the sentence says no more than the log does.
Written for an operator at night: short, the names of things in backquotes, spans instead of times.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from argyll_redis.core.events import Recorded
from argyll_redis.core.explain_undo import undoing
from argyll_redis.core.explain_work import (
    MAX_NAMED,
    NO_ENGINE,
    Asked,
    Clause,
    counted,
    either,
    failed_children,
    first_few,
    listed,
    span,
    unable,
    under_way,
    untouched,
    what_it_took,
)
from argyll_redis.core.history import History
from argyll_redis.core.inputs import is_undecided, passed_version
from argyll_redis.core.model import JSON, Attribute, Collect, Role, StepId
from argyll_redis.core.rules import ABANDONED, CLOSED, PREDICATE
from argyll_redis.core.state import STEP_OVER, StepRun, StepStatus, Value
from argyll_redis.errors import UnknownFlow

__all__ = ["LEFT_OUT", "Clause", "Explained", "explain"]

LEFT_OUT = "left_out"
"""The status of a step that is not in the flow's plan."""
MAX_STEPS = 8
"""Steps on the way to what a step waits for, or fell with, that are told."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What there is to say of a step."""

    status: str
    """The step's own, or `left_out` when it is not in the plan."""
    clauses: tuple[Clause, ...]
    """What led to it first, what it is about now last."""


def explain(
    flow_id: str,
    events: Sequence[Recorded],
    step: str,
    *,
    now_ms: int,
    handlers: Collection[str] | None = None,
    queues: Collection[str] | None = None,
) -> Explained:
    """Says why a step of a flow is where it is, as of its log and the server's clock.

    `handlers` and `queues` are those of all live engines, None when they are not known; each engine
    serves a queue, so no queues means no engine. Raises `UnknownFlow` for an empty log.
    """
    if not events:
        raise UnknownFlow(f'no flow "{flow_id}" exists')
    asked = Asked(History(flow_id, events), StepId(step), now_ms, handlers, queues)
    run = asked.history.flow.steps.get(asked.step)
    if run is None:
        return Explained(LEFT_OUT, tuple(_left_out(asked)))
    said = (*_planned(asked), *SAYINGS[run.status](asked, run), *undoing(asked, run), *_no_engine(asked, run))
    return Explained(run.status, said)


# ------------------------------------------------------------------------ plan


def _left_out(asked: Asked) -> Iterator[Clause]:
    line = asked.history.flow.plan.why.get(asked.step)
    if line is not None:
        yield Clause(f"it is not in the plan; {line}", 1)
    else:
        text = "it is not in the plan: no goal needs what it provides, or "
        yield Clause(f"{text}no step `{asked.step}` was registered when the flow started", 1)


def _planned(asked: Asked) -> Iterator[Clause]:
    """Why a step is in the plan: the plan's own line."""
    line = asked.history.flow.plan.why.get(asked.step, "is in the plan")
    yield Clause(f"it is a {line}" if line.startswith("goal") else f"it {line}", 1)


def _no_engine(asked: Asked, run: StepRun) -> Iterator[Clause]:
    """That a step which could go on cannot, as nobody is there."""
    flow = asked.history.flow
    is_open = run.status is StepStatus.ACTIVE or (run.status is StepStatus.PENDING and not flow.is_over)
    if (is_open or run.has_undos) and not asked.has_engine:
        yield Clause(NO_ENGINE, flow.version)


# ---------------------------------------------------------------------- inputs


def _came_from(asked: Asked) -> Iterator[Clause]:
    """Which input came from whom."""
    inputs = asked.history.inputs.get(asked.step)
    if inputs is None:
        return
    for attribute in asked.history.flow.plan.steps[asked.step].inputs:
        source = inputs.sources.get(attribute.inner)
        if source is not None and "attribute" in source and not attribute.has_script:
            yield _taken(attribute.name, _values(asked, source))
        else:
            passed = passed_version(asked.history.flow, asked.step, attribute)
            text = _not_taken(attribute, source, by=" by its deadline" if passed else "")
            yield Clause(f"`{attribute.name}` {text}", passed or inputs.version)


def _values(asked: Asked, source: Mapping[str, JSON]) -> list[Value]:
    values = asked.history.flow.values(source["attribute"])
    return [values[place] for place in source.get("indexes", [source.get("index")])]


def _taken(name: str, values: Sequence[Value]) -> Clause:
    """ "`order` was given at the start and provided by `a`"."""
    providers = dict.fromkeys(value.step for value in values if value.step is not None)
    parts = ["given at the start"] if any(value.step is None for value in values) else []
    parts += [f"provided by {listed(providers)}"] if providers else []
    return Clause(f"`{name}` was {' and '.join(parts)}", max(value.version for value in values))


def _not_taken(attribute: Attribute, source: Mapping[str, JSON] | None, *, by: str) -> str:
    if source is not None:
        default = f"was not there{by}, so its default was taken"
        return "went through its mapping" if attribute.has_script else default
    if attribute.role is Role.REQUIRED:
        return "never came, and it runs only without it"
    return f"was not there{by}, so it was left out"


# ------------------------------------------------------------------ by statuses


def _completed(asked: Asked, run: StepRun) -> Iterator[Clause]:
    yield from _came_from(asked)
    yield from what_it_took(asked, run.id)
    yield from first_few(_failed_items(asked, run))
    took = asked.between(run.started_version, run.ended_version)
    yield Clause(f"it completed after {took}{_tally(asked, run)}", run.ended_version)


def _tally(asked: Asked, run: StepRun) -> str:
    """What became of the items of a step that may have several."""
    if not asked.history.flow.plan.steps[run.id].for_each:
        return ""
    if run.size == 0:
        return " without any work item: there was no element to work on"
    if run.succeeded == run.size:
        items = "its work item" if run.size == 1 else f"all {run.size} work items"
        return f": {items} succeeded"
    parts = [(run.succeeded, "succeeded"), (run.failed, "failed"), (run.skipped, "skipped by the predicate")]
    return f": of {counted(run.size, 'work item')}, " + ", ".join(f"{n} {what}" for n, what in parts if n)


def _failed_items(asked: Asked, run: StepRun) -> Iterator[Clause]:
    """Which items of a step with several failed, and why."""
    if run.size > 1:
        of = "" if run.id == asked.step else f" of `{run.id}`"
        for fact in asked.history.failures.get(run.id, ()):
            yield Clause(f"item {fact.item + 1}{of} failed: {fact.error}", fact.version)


def _active(asked: Asked, run: StepRun) -> Iterator[Clause]:
    yield from _came_from(asked)
    yield _started(asked, run)
    yield from _flow_over(asked)
    yield from what_it_took(asked, run.id)
    yield from first_few(_failed_items(asked, run))
    yield from under_way(asked, run.id)


def _started(asked: Asked, run: StepRun) -> Clause:
    items = ""
    if asked.history.flow.plan.steps[run.id].for_each:
        done = [(run.succeeded, "succeeded"), (run.failed, "failed"), (run.skipped, "skipped")]
        so_far = ", ".join(f"{n} {what}" for n, what in done if n)
        items = f" with {counted(run.size, 'work item')}" + (f": {so_far}" if so_far else "")
    text = f"{asked.subject(run.id)} started {asked.ago(run.started_version)} ago{items}"
    versions = [item.ended_version for item in run.items.values()] if items else []
    return Clause(text, max(versions, default=0) or run.started_version)


def _flow_over(asked: Asked) -> Iterator[Clause]:
    flow = asked.history.flow
    if flow.is_over:
        error = f" ({flow.error})" if flow.error else ""
        text = f"the flow has {flow.status}{error}: what still runs is recorded, nothing new starts"
        yield Clause(text, flow.ended_version)


def _pending(asked: Asked, run: StepRun) -> Iterator[Clause]:
    flow = asked.history.flow
    if flow.is_over:
        error = f": {flow.error}" if flow.error else ""
        yield Clause(f"it never started: the flow had {flow.status} before{error}", flow.ended_version)
    else:
        yield from _waits(asked, run.id)


def _skipped(asked: Asked, run: StepRun) -> Iterator[Clause]:
    yield from _came_from(asked)
    if run.reason not in (PREDICATE, CLOSED):
        yield from first_few(_needless(asked, run))
    yield Clause(f"it was skipped: {_skip_reason(run)}", run.ended_version)


def _skip_reason(run: StepRun) -> str:
    if run.reason == PREDICATE:
        return "its predicate was false for these inputs"
    if run.reason == CLOSED:
        gates = either(len(run.unsatisfied), "gate", "gates")
        are = either(len(run.unsatisfied), "is", "are")
        return f"its {gates} on {listed(run.unsatisfied)} {are} closed, no matching value can come"
    return "nobody wants what it provides any more"


BECAME = {
    StepStatus.FAILED: "had failed and needs no",
    StepStatus.SKIPPED: "was skipped and needs no",
}
"""What to say of a step that ended without having started, before what it could have used."""


def _needless(asked: Asked, run: StepRun) -> Iterator[Clause]:
    """Why nobody wants what a step could have provided: its attributes were there, or those who use
    them had started or ended."""
    flow = asked.history.flow
    for output in flow.plan.steps[run.id].outputs:
        values = [value for value in flow.values(output.name) if value.version < run.ended_version]
        if values:
            yield _taken(output.name, values)
        for user in flow.plan.attributes[output.name].consumers:
            used = flow.steps[user]
            version = used.started_version or used.ended_version
            if not values and 0 < version < run.ended_version:
                became = "had started without" if used.started_version else BECAME[used.status]
                yield Clause(f"`{user}` {became} `{output.name}`", version)


# --------------------------------------------------------------------- waiting


def _waits(asked: Asked, step: StepId) -> Iterator[Clause]:
    """What a pending step waits for, and those that it waits for, down to what is under way."""
    flow = asked.history.flow
    todo, seen = [step], {step}
    waiting: list[Clause] = []
    active: list[StepRun] = []
    for id in todo:
        if flow.steps[id].status is StepStatus.ACTIVE:
            active.append(flow.steps[id])
            continue
        unmet = [each for each in flow.plan.steps[id].inputs if _is_open(asked, id, each)]
        for attribute in unmet:
            providers = _open_providers(asked, attribute.name)
            wait = _wait if attribute.role is Role.REQUIRED else _wait_until
            waiting.append(wait(asked, id, attribute, providers))
            todo.extend(provider for provider in providers if provider not in seen)
            seen.update(providers)
        if not unmet:
            waiting.append(_ready(asked, id))
    yield from first_few(waiting, MAX_STEPS)
    for run in active[:MAX_NAMED]:
        yield _started(asked, run)
        yield from under_way(asked, run.id)
    more = active[MAX_NAMED:]
    if more:
        text = f"{counted(len(more), 'more step')} {either(len(more), 'is', 'are')} active before it"
        yield Clause(text, more[-1].started_version)


def _is_open(asked: Asked, step: StepId, attribute: Attribute) -> bool:
    """Whether a required input may still be waited for, or the deadline of an optional one runs."""
    if attribute.role is not Role.REQUIRED:
        has_begun = attribute.name in asked.history.flow.steps[step].deadlines
        return has_begun and is_undecided(asked.history.flow, step, attribute)
    is_simple = attribute.collect is Collect.FIRST and attribute.match is None
    if is_simple and asked.history.flow.values(attribute.name):
        return False
    return bool(_open_providers(asked, attribute.name))


def _open_providers(asked: Asked, name: str) -> list[StepId]:
    flow = asked.history.flow
    return [id for id in flow.plan.attributes[name].providers if flow.steps[id].status not in STEP_OVER]


def _wait(asked: Asked, step: StepId, attribute: Attribute, providers: Sequence[StepId]) -> Clause:
    what = f"`{attribute.name}`"
    if attribute.match is not None:
        what = f"a value of `{attribute.name}` that its gate lets through"
    text = f"{asked.subject(step)} waits for {what} from {listed(providers)}"
    return Clause(text, max(asked.history.flow.steps[id].started_version for id in providers) or 1)


def _wait_until(asked: Asked, step: StepId, attribute: Attribute, providers: Sequence[StepId]) -> Clause:
    flow = asked.history.flow
    deadline = flow.steps[step].deadlines[attribute.name]
    left_ms = flow.at_of(deadline.started_version) + deadline.delay_ms - asked.now_ms
    until = f"in {span(left_ms)}" if left_ms > 0 else f"{span(-left_ms)} ago"
    what = f"the optional `{attribute.name}` from {listed(providers)}, at most until its deadline"
    return Clause(f"{asked.subject(step)} waits for {what} {until}", deadline.started_version)


def _ready(asked: Asked, step: StepId) -> Clause:
    flow = asked.history.flow
    inputs = flow.plan.steps[step].inputs
    versions = [value.version for each in inputs for value in flow.values(each.name)]
    has_gates = any(each.match for other in flow.plan.steps.values() for each in other.inputs)
    then = " and is about to start" if asked.has_engine else ""
    if has_gates:
        then = " and starts once a gate behind it shows that it is needed"
    return Clause(f"{asked.subject(step)} has all that it needs{then}", max(versions, default=1))


# --------------------------------------------------------------------- failing


def _failed(asked: Asked, run: StepRun) -> Iterator[Clause]:
    """From the step that was asked about to the root cause."""
    yield from _came_from(asked)
    path = _path_to_root(asked, run)
    between = len(path) - MAX_STEPS
    for place, (each, attribute) in enumerate(path):
        if between > 0 and place == MAX_STEPS - 1:
            yield Clause(f"and so on, through {counted(between, 'more step')}", each.ended_version)
        if between <= 0 or place < MAX_STEPS - 1 or place == len(path) - 1:
            yield _fell(asked, each, attribute)
    if run.error == ABANDONED:
        yield from _flow_over(asked)
        if asked.has_engine and not asked.history.fallen.get(run.id):
            yield from unable(asked, run)  # what was never called is abandoned; this may be why
    root, _ = path[-1]
    if root.status is StepStatus.FAILED and root.started_version:
        yield from first_few(_failed_items(asked, root))
        yield from first_few(failed_children(asked, root.id))
        yield from what_it_took(asked, root.id)
    if run.started_version:
        yield from _left_behind(asked, run)


def _path_to_root(asked: Asked, run: StepRun) -> list[tuple[StepRun, str]]:
    """The steps from one that failed to the one that the others fell with; each with the attribute
    that it was to provide to the one before."""
    path = [(run, "")]
    seen = {run.id}
    while name := _lack(asked, run):
        guilty = _guilty(asked, name, seen)
        if guilty is None:
            break
        run = guilty
        seen.add(run.id)
        path.append((run, name))
    return path


def _lack(asked: Asked, run: StepRun) -> str:
    """The attribute that a step failed for want of; empty when it failed otherwise."""
    if run.status is not StepStatus.FAILED or not run.unsatisfied:
        return ""
    name = run.unsatisfied[0]
    attribute = asked.history.flow.plan.steps[run.id].attributes[name]
    return "" if attribute.collect is Collect.NONE else name


def _guilty(asked: Asked, name: str, seen: Collection[StepId]) -> StepRun | None:
    """Because of whom an attribute cannot come: the first provider that failed, was skipped, or
    completed without it."""
    flow = asked.history.flow
    runs = [flow.steps[id] for id in flow.plan.attributes[name].providers if id not in seen]
    for status in (StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.COMPLETED):
        for run in runs:
            if run.status is status:
                return run
    return None


def _fell(asked: Asked, run: StepRun, attribute: str) -> Clause:
    subject = asked.subject(run.id)
    if attribute:
        subject += f", which provides `{attribute}`,"
    if run.status is StepStatus.SKIPPED:
        text = f"{subject} was skipped: {_skip_reason(run)}"
    elif run.status is StepStatus.COMPLETED:
        text = f"{subject} completed without it"
    elif _lack(asked, run):
        text = f"{subject} failed: {listed(run.unsatisfied)} can no longer come"
    elif run.started_version:
        after = asked.between(run.started_version, run.ended_version)
        text = f"{subject} failed after {after}: {run.error}"
    else:
        text = f"{subject} failed before it started: {run.error}"
    return Clause(text, run.ended_version)


def _left_behind(asked: Asked, run: StepRun) -> Iterator[Clause]:
    """Items of a failed step that are still out, or that nobody will start."""
    out, never = run.active, untouched(run)
    if out:
        text = (
            f"{counted(out, 'work item')} {either(out, 'has', 'have')} no outcome yet; what comes is recorded"
        )
        yield Clause(text, run.ended_version)
    if never:
        text = f"{counted(never, 'work item')} {either(never, 'was', 'were')} never started"
        yield Clause(text, run.ended_version)


SAYINGS: Mapping[StepStatus, Callable[[Asked, StepRun], Iterator[Clause]]] = {
    StepStatus.PENDING: _pending,
    StepStatus.ACTIVE: _active,
    StepStatus.COMPLETED: _completed,
    StepStatus.FAILED: _failed,
    StepStatus.SKIPPED: _skipped,
}
