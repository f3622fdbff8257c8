"""The routes of flows: started, listed, found, shown, explained and ended."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import Response

from argyll_redis.http.answers import json_answer
from argyll_redis.http.bodies import parse_object
from argyll_redis.http.requests import named_as_given, read_query, read_start
from argyll_redis.http.route import Call
from argyll_redis.http.stream import stream_events, wants_stream


async def start_flow(call: Call) -> Response:
    """Starts a flow."""
    [started] = await call.app.start_many([read_start(parse_object(call.body))])
    if isinstance(started, Exception):
        raise named_as_given(started)
    answer = {"message": f"flow {started.id} is started", "flow_id": started.id}
    return json_answer(answer, HTTPStatus.CREATED)


async def list_flows(call: Call) -> Response:
    """The newest flows."""
    return json_answer(await call.app.flows())


async def query_flows(call: Call) -> Response:
    """Finds flows."""
    return json_answer(await call.app.query(**read_query(parse_object(call.body))))


async def show_flow(call: Call) -> Response:
    """A flow's state."""
    return json_answer(await call.app.state(call.path["flow"], at=call.query.get("at")))


async def show_status(call: Call) -> Response:
    """A flow's status, from the index."""
    return json_answer(await call.app.status(call.path["flow"]))


async def list_events(call: Call) -> Response:
    """A flow's events, or a stream of them."""
    after = call.query.get("after", 0)
    if wants_stream(call.request):
        return await stream_events(call, after)
    events = await call.app.events(call.path["flow"], after=after)
    return json_answer({"events": events, "count": len(events)})


async def cancel_flow(call: Call) -> Response:
    """Ends a flow."""
    flow = call.path["flow"]
    did = await call.app.cancel(flow)
    message = f"flow {flow} is cancelled" if did else f"flow {flow} was over already"
    return json_answer({"message": message, "flow_id": flow})


async def explain_step(call: Call) -> Response:
    """Why a step of a flow is as it is."""
    return json_answer(await call.app.why(call.path["flow"], call.path["step"]))
