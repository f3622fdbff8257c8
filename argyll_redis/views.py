"""What the outside sees: flows, events and plans as plain JSON, in the shapes of the HTTP API.

Everything is shown in full: what the log holds by reference is looked up. The seed, from which tokens
derive, is never shown. Times are RFC 3339 in UTC; what is not set is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from argyll_redis.core.collect import item_inputs
from argyll_redis.core.events import Recorded
from argyll_redis.core.model import JSON, StepId
from argyll_redis.core.plan import plan_to_json
from argyll_redis.core.schemas import with_schema
from argyll_redis.core.state import WORK_OVER, Draft, Flow, StepRun, StepStatus, WorkItem, WorkStatus
from argyll_redis.core.sub_flows import child_of
from argyll_redis.errors import ArgyllError, InvariantBroken

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def making_sense_of(flow_id: str) -> Iterator[None]:
    """What is told of a flow, while this is entered, rests on its log, and a log may hold anything: whatever
    goes wrong is raised as `InvariantBroken`, which names the flow."""
    try:
        yield
    except ArgyllError:
        raise
    except Exception as error:
        what = f'nobody can make sense of what the log of flow "{flow_id}" holds'
        raise InvariantBroken(f"{what} ({error!r:.500})") from error


def rests_on_a_log(
    method: Callable[Concatenate[Any, str, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Any, str, P], Coroutine[Any, Any, T]]:
    """A method that is asked of a flow by its id, and makes sense of its log throughout."""

    @wraps(method)
    async def told(self: Any, flow_id: str, *args: P.args, **kwargs: P.kwargs) -> T:
        with making_sense_of(flow_id):
            return await method(self, flow_id, *args, **kwargs)

    return told


def rfc3339(ms: int) -> str | None:
    """A unix time in ms as text; None for 0, which stands for unset."""
    if not ms:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _set_only(shape: dict[str, JSON]) -> dict[str, JSON]:
    return {name: value for name, value in shape.items() if value is not None}


def flow_state(flow: Flow) -> dict[str, JSON]:
    """A flow at its version. Raises `InvariantBroken` for one that nobody can make sense of."""
    with making_sense_of(flow.id):
        return _set_only(_state(flow))


def _state(flow: Flow) -> dict[str, JSON]:
    return {
        "id": flow.id,
        "status": str(flow.status),
        "created_at": rfc3339(flow.at_of(1)),
        "completed_at": rfc3339(flow.at_of(flow.ended_version)),
        "deactivated_at": rfc3339(flow.at_of(flow.deactivated_version)),
        "last_updated": rfc3339(flow.at_of(flow.version)),
        "plan": plan_to_json(flow.plan),
        "metadata": dict(flow.metadata),
        "labels": dict(flow.labels),
        "attributes": _attributes(flow),
        "executions": {id: _execution(flow, run) for id, run in flow.steps.items()},
        "error": flow.error,
    }


def _attributes(flow: Flow) -> dict[str, JSON]:
    return {
        name: [
            _set_only(
                {"value": value.value, "step": value.step, "set_at": rfc3339(flow.at_of(value.version))}
            )
            for value in values
        ]
        for name, values in sorted(flow.attributes.items())
    }


def _execution(flow: Flow, run: StepRun) -> dict[str, JSON]:
    started, ended = flow.at_of(run.started_version), flow.at_of(run.ended_version)
    has_outputs = run.status is StepStatus.COMPLETED
    return _set_only(
        {
            "status": str(run.status),
            "started_at": rfc3339(started),
            "completed_at": rfc3339(ended),
            "inputs": dict(run.inputs) if run.started_version or run.inputs else None,
            "outputs": _outputs(flow, run.id) if has_outputs else None,
            "error": run.error,
            "duration": ended - started if started and ended else None,
            "unsatisfied": list(run.unsatisfied) or None,
            "work_items": _work_items(flow, run),
        }
    )


def _outputs(flow: Flow, step: StepId) -> dict[str, JSON]:
    """What a step has provided; that its items were undone since takes nothing back."""
    return {
        output.name: value.value
        for output in flow.plan.steps[step].outputs
        for value in flow.values(output.name)
        if value.step == step
    }


def _work_items(flow: Flow, run: StepRun) -> dict[str, JSON]:
    return {
        token: _work_item(flow, run, run.items.get(index) or WorkItem(run.id, index, token))
        for index in range(run.size)
        for token in [flow.token(run.id, index)]
    }


def _work_item(flow: Flow, run: StepRun, item: WorkItem) -> dict[str, JSON]:
    step = flow.plan.steps[run.id]
    inputs = item_inputs(step, run.inputs, item.index)
    own = {
        attribute.inner: inputs[attribute.inner] for attribute in step.for_each if attribute.inner in inputs
    }
    return _set_only(
        {
            "status": str(item.status),
            "started_at": rfc3339(flow.at_of(item.first_version)),
            "completed_at": rfc3339(flow.at_of(item.ended_version)) if item.status in WORK_OVER else None,
            "inputs": own,
            "outputs": dict(item.outputs) if item.outputs is not None else None,
            "error": _error(item),
            "retry_count": item.retries,
            "next_retry_at": rfc3339(_next_retry_ms(flow, item)),
            "child": child_of(flow, item),
        }
    )


def _error(item: WorkItem) -> str | None:
    """Why an item did not succeed; of one that is not undone yet, or could not be, why that is so."""
    if item.undo is not None and item.undo.error and item.status is not WorkStatus.COMPENSATED:
        return item.undo.error
    return item.error if item.outputs is None else None


def _next_retry_ms(flow: Flow, item: WorkItem) -> int:
    """When the call that is waited for is due again, that of the work or of its compensation."""
    if item.is_waiting:
        return flow.at_of(item.due_version) + item.due_delay_ms
    if item.undo is not None and item.undo.is_waiting:
        return flow.at_of(item.undo.due_version) + item.undo.due_delay_ms
    return 0


def show_events(flow: Flow, events: Iterable[Recorded]) -> Iterator[dict[str, JSON]]:
    """Folds events into a flow and shows each in full on the state that it left."""
    for recorded in events:
        draft = Draft(flow)
        draft.version = recorded.version
        with making_sense_of(flow.id):
            recorded.event.apply(draft, recorded.version)
            data = with_schema(recorded.event.expand(draft), recorded.event.schema)
        yield {
            "id": f"{recorded.version}-0",
            "type": recorded.event.type,
            "at": recorded.at,
            "cause": recorded.cause,
            "by": recorded.by,
            "data": data,
        }
        with making_sense_of(flow.id):
            draft.merge(first=recorded.version, at=recorded.at, tx=recorded.tx)
