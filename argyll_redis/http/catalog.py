"""The routes of the catalog: steps, its state and its events, and plans."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import Response

from argyll_redis.core.model import JSON
from argyll_redis.core.plan_json import plan_to_json
from argyll_redis.core.values import shown
from argyll_redis.errors import InvalidStep, Problem
from argyll_redis.http.answers import json_answer
from argyll_redis.http.bodies import parse_object
from argyll_redis.http.requests import read_plan
from argyll_redis.http.route import Call


async def list_steps(call: Call) -> Response:
    """All steps."""
    steps = await call.app.steps()
    return json_answer({"steps": steps, "count": len(steps)})


async def register_step(call: Call) -> Response:
    """Registers a step."""
    [step] = await call.app.register_steps([parse_object(call.body)])
    message = f"step {step['id']} is registered"
    return json_answer({"message": message, "step": step}, HTTPStatus.CREATED)


async def show_step(call: Call) -> Response:
    """One step."""
    return json_answer(await call.app.get_step(call.path["step"]))


async def update_step(call: Call) -> Response:
    """Replaces the definition of a step."""
    definition = parse_object(call.body)
    _refuse_other_id(definition.get("id"), call.path["step"])
    [step] = await call.app.update_steps([definition])
    return json_answer({"message": f"step {step['id']} is updated", "step": step})


def _refuse_other_id(given: JSON, id: str) -> None:
    if isinstance(given, str) and given.lower() != id.lower():
        what = f'is "{shown(given)}", and the path says "{shown(id)}"'
        raise InvalidStep(problems=[Problem("id", what, "use the same id in both")])


async def delete_step(call: Call) -> Response:
    """Removes a step."""
    id = call.path["step"].lower()
    await call.app.unregister_step(id)
    return json_answer({"message": f"step {id} is removed"})


async def show_catalog(call: Call) -> Response:
    """The catalog's state."""
    return json_answer(await call.app.catalog_state())


async def list_catalog_events(call: Call) -> Response:
    """The catalog's events."""
    events = await call.app.catalog_events(after=call.query.get("after", 0))
    return json_answer({"events": events, "count": len(events)})


async def preview_plan(call: Call) -> Response:
    """Plans without starting."""
    goals, init = read_plan(parse_object(call.body))
    return json_answer(plan_to_json(await call.app.plan(goals, init)))
