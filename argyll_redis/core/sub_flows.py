"""Sub-flows: how a child flow is named, what it starts with, and what its outcome means to its parent.

A flow step has a flow of its own for each of its work items. The id of that child names the item that
it belongs to, so there is one child an item, whatever becomes of the engines that start it: starting
it again finds it. Everything here is a function of what is known; nothing is started.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import NamedTuple

from argyll_redis.core.collect import result_of
from argyll_redis.core.commands import Broken, Start, Succeeded
from argyll_redis.core.limits import MAX_ERROR_CHARS
from argyll_redis.core.model import JSON, Attribute, Collect, Plan, Role, Step, StepId, StepType, Token
from argyll_redis.core.state import Flow, FlowStatus, StepStatus, View, WorkItem, WorkStatus
from argyll_redis.core.values import type_matches

PARENT_FLOW, PARENT_STEP, PARENT_TOKEN = "parent_flow_id", "parent_step_id", "parent_token"
PARENT_METADATA = frozenset({PARENT_FLOW, PARENT_STEP, PARENT_TOKEN})
"""What a child's metadata says of the work item that it belongs to."""
CHILD = "child:"
"""How the origin of what passes between a parent and its child begins."""


class Parent(NamedTuple):
    """The work item that a child flow belongs to."""

    flow: str
    step: StepId
    token: Token


def child_id(flow: str, step: str, token: str) -> str:
    """Names the child of a work item. No flow that somebody names can have such an id: a colon in it
    is dropped."""
    return f"{flow}:{step}:{token}"


def is_child(flow_id: str) -> bool:
    """Whether a flow of this id is a child."""
    return ":" in flow_id


def parent_of(flow_id: str) -> Parent | None:
    """The work item that a flow is the child of; None for a root."""
    rest, _, token = flow_id.rpartition(":")
    flow, _, step = rest.rpartition(":")
    return Parent(flow, StepId(step), Token(token)) if flow else None


def child_of(flow: View, item: WorkItem) -> str | None:
    """The id of an item's child, once it may have one; None for an item of another type of step."""
    if flow.plan.steps[item.step].type is not StepType.FLOW or not item.attempt:
        return None
    return child_id(flow.id, item.step, item.token)


def metadata_for(parent: Parent) -> dict[str, JSON]:
    """The metadata of the child of a work item."""
    return {PARENT_FLOW: parent.flow, PARENT_STEP: parent.step, PARENT_TOKEN: parent.token}


def is_own_child(child: Flow, parent: Parent) -> bool:
    """Whether a flow was started here as the child of a work item, whatever it was started with: a
    later attempt of the item may have other meta inputs."""
    return not child.is_imported and dict(child.metadata) == metadata_for(parent)


# -------------------------------------------------------------------- starting


def guaranteed_inputs(step: Step) -> dict[str, Attribute]:
    """The inputs that a flow step surely gives its child, by inner name: what the child's plan may
    rest on. An optional input without a default, a meta input, and one whose policy is to have no
    value may be missing."""
    sure = [each for each in step.inputs if _is_sure(each)]
    return {each.inner: each for each in (*sure, *step.constants)}


def _is_sure(attribute: Attribute) -> bool:
    if attribute.role is Role.OPTIONAL:
        return attribute.default is not None
    return attribute.collect is not Collect.NONE


def start_of(flow: Flow, item: WorkItem, inputs: Mapping[str, JSON], *, plan_hash: str, by: str) -> Start:
    """The start of an item's child: each input is an initial value under its inner name.

    Its seed follows from the parent's, which is as secret, so that nothing is left to chance.
    """
    key = bytes.fromhex(flow.seed)
    return Start(
        by=by,
        plan=flow.plan.children[item.step],
        plan_hash=plan_hash,
        seed=blake2b(f"child\0{item.token}".encode(), digest_size=16, key=key).hexdigest(),
        init={name: [value] for name, value in inputs.items()},
        metadata=metadata_for(Parent(flow.id, item.step, item.token)),
        linger_ms=flow.linger_ms,
        catalog_version=flow.catalog_version,
    )


def unfit_input(plan: Plan, inputs: Mapping[str, JSON]) -> str | None:
    """Why a child cannot be started with these inputs: one is not of the type that a step of its plan
    declares; None when it can."""
    for name, value in inputs.items():
        for step in plan.steps.values():
            declared = step.attributes.get(name)
            if declared is not None and declared.type and not type_matches(declared.type, value):
                return (
                    f'input "{name}" is not of the type {declared.type}, which step "{step.id}" of the '
                    "sub-flow declares"
                )
    return None


# --------------------------------------------------------------------- outcome


def outcome_of(child: Flow, parent: Parent) -> Succeeded | Broken | None:
    """What a child's outcome means to the work item that it belongs to; None while it has none."""
    if child.version and not is_own_child(child, parent):
        return Broken(f'flow "{child.id}" exists, and was not started by this step')
    if not child.version or not child.is_over:
        return None
    if child.status is FlowStatus.COMPLETED:
        return Succeeded(result_of(child))
    return Broken(f"the sub-flow failed: {child.error or 'failed'}"[:MAX_ERROR_CHARS])


def missing_output(step: Step, outputs: Mapping[str, JSON]) -> str | None:
    """Why the result of a child is not enough: each declared output of its step has to be there."""
    for attribute in step.outputs:
        if attribute.name not in outputs:
            return (
                f'a mapped output is missing: the sub-flow gave no "{attribute.inner}", so there is no '
                f'"{attribute.name}"'
            )
    return None


# ------------------------------------------------------------------ all children


def waiting_children(flow: View) -> Iterator[WorkItem]:
    """The items whose outcome their child will give, in the order of steps and items."""
    for id, step in flow.plan.steps.items():
        if step.type is StepType.FLOW:
            run = flow.step(id)
            if run.accepted:
                yield from (item for item in flow.items(run) if item.is_accepted)


def is_waited_for(flow: Flow, parent: Parent) -> bool:
    """Whether a work item still waits for what its child comes to: else the child is cancelled."""
    found = flow.find(parent.token)
    if flow.is_over or found is None or found[0] != parent.step:
        return False
    item = flow.item(*found)
    is_active = item is not None and item.status is WorkStatus.ACTIVE
    return is_active and flow.step(parent.step).status is StepStatus.ACTIVE


# ----------------------------------------------------------------- control entries


def word_payload(parent: Parent, version: int) -> str:
    """Says to a parent that the child of a work item has ended, by the event of a version of its log."""
    return f"{parent.flow} child {parent.step} {parent.token} {version}"


def cancel_payload(child: str) -> str:
    """Asks for the end of a child that nobody waits for."""
    return f"{child} cancel"


def children_payload(flow: str, step: StepId, index: int) -> str:
    """Asks for the end of the children of a flow that nobody waits for, from an item of a step on."""
    return f"{_children_word(flow)}{step} {index}"


def asks_for_children(payload: str, flow: str) -> bool:
    """Whether an entry asks for the end of children of a flow."""
    return payload.startswith(_children_word(flow))


def _children_word(flow: str) -> str:
    return f"{flow} children "
