"""Fraud: says how risky an order is, and keeps the list of orders that a person has to look at.

    POST /scores    a number from 0 to 100
    POST /reviews   puts an order on the list: 202, the outcome comes to the webhook later
    GET  /reviews   the list: for each flow, where its answer is to be posted

The list shows webhooks, and whoever knows a webhook can answer at it. So this list is for reviewers alone.
"""

from http import HTTPStatus

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

reviews: dict[str, dict] = {}
"""By flow."""


async def score(request: Request) -> Response:
    total = (await request.json())["total"]
    return JSONResponse({"risk": min(100, total // 10)})


async def ask(request: Request) -> Response:
    webhook = request.headers["argyll-webhook-url"]
    reviews[request.headers["argyll-flow-id"]] = {"webhook": webhook, **(await request.json())}
    return Response(status_code=HTTPStatus.ACCEPTED)


async def show(request: Request) -> Response:
    return JSONResponse(reviews)


service = Starlette(
    routes=[
        Route("/scores", score, methods=["POST"]),
        Route("/reviews", ask, methods=["POST"]),
        Route("/reviews", show),
    ]
)
