"""The routes that say how things are: the server, the steps, figures, and the API itself."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import Response

from argyll_redis import __version__
from argyll_redis.errors import ArgyllError, StoreUnavailable
from argyll_redis.http.answers import HEADERS, json_answer
from argyll_redis.http.route import Call

SERVICE = "argyll"


async def show_health(call: Call) -> Response:
    """Whether this process can work, found out now. Whoever asks needs no key, so no address and no flow
    is named."""
    wrong, left_alone = "", 0
    try:
        await call.app.check_ready()
        left_alone = sum((await call.app.left_alone()).values())
    except StoreUnavailable as error:
        wrong = _first_line(type(error))
    is_draining = call.api.is_draining
    details = {
        "redis": wrong or "ok",
        "engine": "draining" if is_draining else "ok",
        "flows_left_alone": str(left_alone),
        "namespace": call.app.namespace,
        "version": __version__,
    }
    is_well = not wrong and not is_draining
    answer = {"service": SERVICE, "status": "healthy" if is_well else "unhealthy", "details": details}
    return json_answer(answer, HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE)


def _first_line(kind: type[ArgyllError]) -> str:
    return (kind.__doc__ or "").partition("\n")[0].rstrip(".")


async def list_step_health(call: Call) -> Response:
    """How all steps are."""
    return json_answer(await call.app.step_health())


async def show_step_health(call: Call) -> Response:
    """How one step is."""
    return json_answer(await call.app.health_of(call.path["step"]))


async def show_metrics(call: Call) -> Response:
    """Figures for Prometheus."""
    text, media_type = await call.api.metrics.text()
    return Response(text, headers={**HEADERS, "content-type": media_type})


async def show_openapi(call: Call) -> Response:
    """The description of the API."""
    from argyll_redis.http.openapi import document

    return json_answer(document(call.api.routes))
