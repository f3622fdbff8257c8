"""Whether each event of a flow and of its steps may stand where it stands: I-08 to I-14."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from argyll_redis.core import events as e
from argyll_redis.core.audit_inputs import (
    check_count,
    check_deadline_passed,
    check_deadline_started,
    check_inputs,
)
from argyll_redis.core.audit_past import Findings, Past, not_planned
from argyll_redis.core.audit_undo import check_nothing_left
from argyll_redis.core.collect import output_values, result_of
from argyll_redis.core.decide import CANCELLED, TIMED_OUT
from argyll_redis.core.model import OnFailure, Role, Step, StepId, Token
from argyll_redis.core.rules import CLOSED, PREDICATE, UNWANTED
from argyll_redis.core.sources import is_same
from argyll_redis.core.state import STEP_OVER, RootCause, StepRun, StepStatus, WorkStatus

_TOKEN = re.compile("[0-9a-f]{32}")
"""A token or a seed: 128 bits."""

# ----------------------------------------------------------------------- steps


def check_step_started(past: Past, event: e.StepStarted) -> Findings:
    """A step starts once, while the flow is active, when it is wanted and has its inputs."""
    run = past.run(event.step)
    if run is None:
        yield not_planned(event.step)
        return
    if run.started_version:
        yield "I-08", f"step `{event.step}` is started for the second time"
    if past.flow.is_over:
        yield "I-13", f"step `{event.step}` is started after the flow's outcome"
    if not past.is_wanted(event.step):
        yield "I-09", f"step `{event.step}` is started, and nobody wants what it provides"
    past.moved[event.step] = past.settled[event.step] = None
    step = past.definition(event.step)
    yield from check_inputs(past, step, event.inputs)
    yield from check_count(past, step, event)
    yield from _check_tokens(past, event)


def _check_tokens(past: Past, event: e.StepStarted) -> Findings:
    """What an imported log lists is a token an item, each of them new. Elsewhere tokens derive."""
    tokens: list[Token] = event.tokens or []
    if past.flow.is_imported and len(tokens) != event.items:
        yield "I-07", f"step `{event.step}` lists {len(tokens)} tokens for {event.items} work items"
    if len(set(tokens)) != len(tokens) or not past.flow.tokens.keys().isdisjoint(tokens):
        yield "I-07", f"step `{event.step}` lists a token twice, or one of another step"
    if not all(_TOKEN.fullmatch(token) for token in tokens):
        yield "I-07", f"step `{event.step}` lists a token that is not 32 hexadecimal digits"


def check_step_completed(past: Past, event: e.StepCompleted) -> Findings:
    """A step completes when all its items are over, none failed unless it tolerates that, and all
    that they provide is set."""
    yield from _check_end(past, event.step, may_be_pending=False)
    run = past.run(event.step)
    if run is None:
        return
    if run.over != run.size:
        yield "I-10", f"step `{event.step}` completes with {run.size - run.over} work items that are not over"
    step = past.definition(event.step)
    if run.failed and step.work.on_failure is not OnFailure.TOLERATE:
        yield "I-10", f"step `{event.step}` completes, and {run.failed} of its work items have failed"
    provided = past.provided.pop(event.step, {})
    missing = [
        each.name for each in step.outputs if each.name not in provided and _gives(run, step, each.name)
    ]
    if missing:
        yield "I-11", f"step `{event.step}` completes without setting {', '.join(missing)}"


def _gives(run: StepRun, step: Step, output: str) -> bool:
    """Whether a step has to provide an output: one with `for_each` always does, be its list empty."""
    if step.for_each:
        return True
    item = run.items.get(0)
    return item is not None and item.status is WorkStatus.SUCCEEDED and output in (item.outputs or {})


def check_step_failed(past: Past, event: e.StepFailed) -> Findings:
    """A step fails when an item has failed for good, or, before its start, when its inputs can't come
    or can't be used."""
    yield from _check_end(past, event.step, may_be_pending=True)
    run = past.run(event.step)
    if run is None:
        return
    step = past.definition(event.step)
    if run.status is StepStatus.ACTIVE:
        if not run.failed:
            yield "I-10", f"step `{event.step}` fails, and none of its work items has failed"
        elif step.work.on_failure is OnFailure.TOLERATE:
            yield "I-10", f"step `{event.step}` fails, and it tolerates failed work items"
        elif step.work.on_failure is OnFailure.FINISH and run.over != run.size:
            yield "I-10", f"step `{event.step}` fails before all its work items are over"
    if past.run(StepId(event.root_cause["step"])) is None:
        yield "I-08", f"step `{event.step}` fails because of a step that is not in the plan"
    if event.inputs is not None:
        yield from check_inputs(past, step, event.inputs)
    yield from _check_unsatisfied(past, step, event.unsatisfied or [])


def check_step_skipped(past: Past, event: e.StepSkipped) -> Findings:
    """A step is skipped when its predicate is false, a gate is closed, or nobody wants it any more."""
    yield from _check_end(past, event.step, may_be_pending=True)
    run = past.run(event.step)
    if run is None:
        return
    if run.status is not StepStatus.PENDING:
        yield "I-08", f"step `{event.step}` is skipped while it is {run.status}"
    step = past.definition(event.step)
    if event.reason == PREDICATE:
        if step.predicate is None:
            yield "I-09", f"step `{event.step}` is skipped by a predicate that it does not have"
        yield from check_inputs(past, step, event.inputs or {})
    elif event.reason == CLOSED:
        if not any(each.match for each in step.inputs if each.name in (event.unsatisfied or ())):
            yield "I-09", f"step `{event.step}` is skipped by a gate that it does not have"
    elif event.reason != UNWANTED:
        yield "I-09", f'step `{event.step}` is skipped for a reason that does not exist: "{event.reason}"'
    elif past.is_wanted(event.step) and not _has_gates(past):
        yield "I-09", f"step `{event.step}` is skipped as unwanted while it is wanted"


def _has_gates(past: Past) -> bool:
    return any(each.match for step in past.flow.plan.steps.values() for each in step.inputs)


def _check_unsatisfied(past: Past, step: Step, names: Sequence[str]) -> Findings:
    """An input that is said to be unsatisfied is one that can no longer be met."""
    for name in names:
        attribute = step.attributes.get(name)
        if attribute is None or attribute.role is not Role.REQUIRED:
            yield "I-09", f"step `{step.id}` lacks `{name}`, which is no required input of it"
        elif attribute.match is None and not past.is_impossible(attribute):
            yield "I-09", f"step `{step.id}` is given up for `{name}`, which can still appear"


def _check_end(past: Past, step: StepId, *, may_be_pending: bool) -> Findings:
    """A step of the plan ends once, and one that waits stays as it is after the flow's outcome."""
    run = past.run(step)
    if run is None:
        yield not_planned(step)
        return
    past.settled[step] = None
    past.has_ended_goal |= step in past.flow.plan.goals
    if run.status in STEP_OVER:
        yield "I-08", f"step `{step}` has {run.status} already"
    elif run.status is StepStatus.PENDING and not may_be_pending:
        yield "I-08", f"step `{step}` completes without having started"
    elif run.status is StepStatus.PENDING and past.flow.is_over:
        yield "I-13", f"step `{step}` was waiting at the flow's outcome, and has an end after it"


def check_attribute_set(past: Past, event: e.AttributeSet) -> Findings:
    """An attribute is set once by each step that declares it, when that step completes."""
    run = past.run(event.step)
    if run is None:
        yield not_planned(event.step)
        return
    step = past.definition(event.step)
    attribute = step.attributes.get(event.name)
    if attribute is None or attribute.role is not Role.OUTPUT:
        yield "I-11", f"step `{event.step}` sets `{event.name}`, which is no output of it"
        return
    if run.status is not StepStatus.ACTIVE:
        yield "I-11", f"step `{event.step}` sets `{event.name}` while it is {run.status}"
    provided = past.provided.setdefault(event.step, {})
    if event.name in provided:
        yield "I-11", f"step `{event.step}` sets `{event.name}` twice"
    provided[event.name] = None
    if not _gives(run, step, event.name):
        yield "I-11", f"step `{event.step}` sets `{event.name}`, which its work item did not give"
    elif past.flow.is_imported and not is_same(event.value, output_values(past.flow, step.id, event.name)):
        yield "I-11", f"step `{event.step}` sets `{event.name}` to what its work items did not give"


# ----------------------------------------------------------------------- flows


def check_flow_started(past: Past, event: e.FlowStarted) -> Findings:
    """A flow starts once, with a seed that makes tokens."""
    past.has_ended_goal = True
    if event.seed and not _TOKEN.fullmatch(event.seed):  # an imported log has none
        yield "I-07", "the seed is not 32 hexadecimal digits"


def _goal_runs(past: Past) -> list[StepRun]:
    """The runs of the goals that were not left out as satisfied."""
    plan = past.flow.plan
    return [past.flow.steps[goal] for goal in plan.goals if goal in plan.steps]


def check_flow_completed(past: Past, event: e.FlowCompleted) -> Findings:
    """A flow completes once, when every goal is done."""
    if past.flow.is_over:
        yield "I-12", f"the flow completes, and it has {past.flow.status} already"
    if past.flow.is_imported and not is_same(event.result, result_of(past.flow)):
        yield "I-12", "the flow completes with a result that its goals did not give"
    for run in _goal_runs(past):
        if run.status not in (StepStatus.COMPLETED, StepStatus.SKIPPED):
            yield "I-12", f"the flow completes, and goal `{run.id}` is {run.status}"
    if _is_every_goal_closed(past):
        yield "I-12", "the flow completes, and every goal was closed off by its gate"


def check_flow_failed(past: Past, event: e.FlowFailed) -> Findings:
    """A flow fails once, when a goal has failed, all were closed off, or it was ended from outside."""
    if past.flow.is_over:
        yield "I-12", f"the flow fails, and it has {past.flow.status} already"
    has_failed = any(run.status is StepStatus.FAILED for run in _goal_runs(past))
    is_ended = event.error in (CANCELLED, TIMED_OUT) and event.root_cause is None
    if not (has_failed or is_ended or _is_every_goal_closed(past)):
        yield "I-12", "the flow fails, and no goal has failed"
    root: Mapping[str, str] = event.root_cause or {}
    if has_failed and not is_ended and (root.get("step"), root.get("error")) not in _roots(past):
        yield "I-12", "the flow fails for another root cause than its goals"
    if event.error == TIMED_OUT and is_ended and not past.flow.timeout_ms:
        yield "I-12", "the flow timed out, and it has no timeout"


def _roots(past: Past) -> list[RootCause | None]:
    """What the goals that failed have fallen with."""
    return [run.root_cause for run in _goal_runs(past) if run.status is StepStatus.FAILED]


def _is_every_goal_closed(past: Past) -> bool:
    runs = _goal_runs(past)
    return len(runs) == len(past.flow.plan.goals) and all(run.reason == CLOSED for run in runs)


def check_flow_deactivated(past: Past, event: e.FlowDeactivated) -> Findings:
    """A flow is deactivated once, after its outcome, when none of its items can still act."""
    flow = past.flow
    if flow.is_deactivated:
        yield "I-14", "the flow is deactivated for the second time"
    if not flow.is_over:
        yield "I-14", "the flow is deactivated before its outcome"
    elif event.status != flow.status:
        yield "I-14", f"the flow has {flow.status}, and is deactivated as {event.status}"
    if flow.active or flow.waiting:
        yield "I-14", f"the flow is deactivated while {flow.active + flow.waiting} work items can still act"
    yield from check_nothing_left(past)


# ---------------------------------------------------------------- transactions


def check_transaction(past: Past) -> Findings:
    """At the end of a transaction all that had to follow has followed: nothing of this is ever left
    for another look."""
    flow = past.flow
    for step, names in past.provided.items():
        yield "I-11", f"step `{step}` has set {', '.join(names)} and is not completed"
    past.provided.clear()
    for step in past.moved:
        yield from _check_left_open(past, past.flow.steps[step])
    if not flow.is_over:
        yield from _check_settled(past)
    runs = _goal_runs(past)
    if past.has_ended_goal and not flow.is_over:
        if any(run.status is StepStatus.FAILED for run in runs):
            yield "I-12", "a goal has failed, and the flow has not"
        elif all(run.status in STEP_OVER for run in runs):
            yield "I-12", "every goal is done, and the flow is not over"
    can_act = flow.active or flow.waiting or flow.undos
    if flow.is_over and not flow.is_deactivated and not can_act:
        yield "I-14", "the flow is over and nothing of it can act, and it is not deactivated"


def _check_settled(past: Past) -> Findings:
    """No pending step is left that can't get its inputs, or whose outputs nobody wants."""
    plan, first = past.flow.plan, past.event(1)
    steps = plan.steps if first and first.tx == past.recorded.tx else past.settled
    names = {each.name for id in steps for each in (*plan.steps[id].inputs, *plan.steps[id].outputs)}
    for name in sorted(names):
        use = plan.attributes[name]
        for id in _pending(past, use.consumers):
            attribute = past.definition(id).attributes[name]
            is_needed = attribute.role is Role.REQUIRED and attribute.match is None
            if is_needed and past.is_impossible(attribute):
                yield "I-10", f"step `{id}` can no longer get `{name}`, and has not failed"
        for id in _pending(past, use.providers):
            if not past.is_wanted(id):
                yield "I-09", f"nobody wants what step `{id}` provides, and it is not skipped"


def _pending(past: Past, steps: Sequence[StepId]) -> list[StepId]:
    return [id for id in steps if past.flow.steps[id].status is StepStatus.PENDING]


def _check_left_open(past: Past, run: StepRun) -> Findings:
    if run.status is not StepStatus.ACTIVE:
        return
    policy = past.definition(run.id).work.on_failure
    if run.over == run.size:
        yield "I-10", f"all work items of step `{run.id}` are over, and it is not"
    elif run.failed and policy is OnFailure.FAIL_FAST:
        yield "I-10", f"a work item of step `{run.id}` has failed, and the step has not"


FLOW_CHECKS: Mapping[type[e.Event], Callable[[Past, Any], Findings]] = {
    e.FlowStarted: check_flow_started,
    e.FlowCompleted: check_flow_completed,
    e.FlowFailed: check_flow_failed,
    e.FlowDeactivated: check_flow_deactivated,
    e.StepStarted: check_step_started,
    e.StepCompleted: check_step_completed,
    e.StepFailed: check_step_failed,
    e.StepSkipped: check_step_skipped,
    e.DeadlineStarted: check_deadline_started,
    e.DeadlinePassed: check_deadline_passed,
    e.AttributeSet: check_attribute_set,
}
