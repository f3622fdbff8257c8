"""Carrier: gives parcels a label, by two tariffs, and is overloaded now and then.

POST /labels/{tariff}   {"tracking": ...}; one call in three is told to come back: 503, Retry-After
GET  /labels            the parcels that have one
"""

from http import HTTPStatus
from itertools import count

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

calls = count()
labels: dict[str, dict] = {}
"""By token."""


async def label(request: Request) -> Response:
    if next(calls) % 3 == 0:
        return Response("too much to do", HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"})
    tariff = request.path_params["tariff"]
    asked = await request.json()
    made = labels.setdefault(
        request.headers["argyll-receipt-token"],
        {"tracking": f"{tariff}-{len(labels) + 1}", "parcel": f"{asked['parcel']}, {asked['wrapping']}"},
    )
    return JSONResponse({"tracking": made["tracking"]})


async def show(request: Request) -> Response:
    return JSONResponse(sorted(each["parcel"] for each in labels.values()))


service = Starlette(
    routes=[
        Route("/labels/{tariff}", label, methods=["POST"]),
        Route("/labels", show),
    ]
)
