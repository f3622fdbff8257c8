"""From an attempt in hand to the job that a handler gets: is it still current, and what is it called with."""

from __future__ import annotations

from argyll_redis.core.collect import item_inputs
from argyll_redis.core.model import JSON, Attribute, Step, Token
from argyll_redis.core.state import Flow, WorkItem, WorkStatus
from argyll_redis.runtime.work import InHand
from argyll_redis.steps.context import StepContext
from argyll_redis.steps.http_request import webhook_url
from argyll_redis.steps.job import Job, Undo


def current_item(flow: Flow, token: str, attempt: int) -> WorkItem | None:
    """The item of a token, when the attempt is the current one and its call is still to be made."""
    found = flow.find(Token(token))
    item = flow.item(*found) if found else None
    if item is None or item.status is not WorkStatus.ACTIVE or item.attempt != attempt or item.is_accepted:
        return None
    return item


def current_undo(flow: Flow, token: Token, attempt: int) -> WorkItem | None:
    """The item of a token, when the attempt to undo it is the current one and its call is to be made."""
    found = flow.find(token)
    item = flow.item(*found) if found else None
    if item is None or item.undo is None or item.status is not WorkStatus.COMPENSATING:
        return None
    return item if item.undo.attempt == attempt and not item.undo.is_waiting else None


def undo_of(step: Step, item: WorkItem) -> Undo:
    """What is undone of an item: what it gave, by the inner names of the outputs that are declared."""
    outputs = item.undone_outputs
    return Undo({each.inner: outputs[each.name] for each in step.outputs if each.name in outputs})


def function_of(held: InHand, step: Step) -> str:
    """The name of the function that an entry needs."""
    if step.python is None:
        return step.id
    is_undo = held.work is not None and held.work.is_undo
    return (step.python.undo or step.python.handler) if is_undo else step.python.handler


def inputs_of(flow: Flow, step: Step, item: WorkItem, webhook_base_url: str) -> dict[str, JSON]:
    """What a work item is called with, by inner name, meta inputs included."""
    inputs = item_inputs(step, flow.steps[step.id].inputs, item.index)
    for meta in step.metas:
        value = _meta(meta, flow, item, webhook_base_url)
        if value is not None:
            inputs[meta.inner] = value
    return inputs


def _meta(meta: Attribute, flow: Flow, item: WorkItem, base_url: str) -> JSON:
    """What a meta input is filled with; None leaves it out."""
    match meta.key:
        case "flow_id":
            return flow.id
        case "step_id":
            return item.step
        case "receipt_token":
            return item.token
        case "attempt":
            return item.attempt
        case "webhook_url":
            return webhook_url(base_url, flow.id, item.step, item.token) if base_url else None
        case key:
            return flow.metadata.get(key or "")


def job_of(
    held: InHand, flow: Flow, step: Step, item: WorkItem, inputs: dict[str, JSON], *, now_ms: int
) -> Job:
    """The job of an attempt that begins now, with its context, by which it learns that it is to stop."""
    assert held.work is not None
    timeout_ms = step.work.timeout_ms
    held.context = StepContext(
        flow_id=flow.id,
        step_id=step.id,
        token=item.token,
        attempt=held.work.attempt,
        deadline=now_ms + timeout_ms if timeout_ms else None,
    )
    undo = undo_of(step, item) if held.work.is_undo else None
    return Job(flow.id, step, item.token, held.work.attempt, inputs, held.context, undo)
