"""Payment: takes a second for a charge, and says at the webhook what came of it.

    POST /charges   202 at once, the outcome later; no card that is called "empty" is charged
    POST /refunds   the undo of a charge
    GET  /charges   what was charged, by receipt

The webhook is posted to until it answers: the engine may be away for a moment. To answer twice does no harm,
the first answer counts.
"""

import json
import time
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.request import Request as Call
from urllib.request import urlopen

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SLOW_S = 1.0
TRIES = 60
PAUSE_S = 1.0

charges: dict[str, dict] = {}
"""By token, so that no order is charged twice, however often the charge is asked for."""


async def charge(request: Request) -> Response:
    order = await request.json()
    settling = BackgroundTask(
        settle,
        request.headers["argyll-receipt-token"],
        request.headers["argyll-webhook-url"],
        card=order["card"],
        total=order["total"],
    )
    return Response(status_code=HTTPStatus.ACCEPTED, background=settling)


def settle(token: str, webhook: str, *, card: str, total: int) -> None:
    """Charges, and tells the webhook. A plain function: it runs in a thread, and may wait."""
    time.sleep(SLOW_S)
    if card == "empty":
        tell(webhook, {"status": 402, "detail": "the card was declined"}, "application/problem+json")
        return
    charge = charges.setdefault(token, {"receipt": f"receipt-{len(charges) + 1}", "total": total})
    tell(webhook, {"receipt": charge["receipt"]}, "application/json")


def tell(webhook: str, body: dict, kind: str) -> None:
    call = Call(webhook, json.dumps(body).encode(), {"Content-Type": kind})
    for _ in range(TRIES):
        try:
            urlopen(call, timeout=10).close()
            return
        except HTTPError as refusal:
            if refusal.code < 500:
                return  # nobody waits for it
        except OSError:
            pass
        time.sleep(PAUSE_S)


async def refund(request: Request) -> Response:
    charges.pop(request.headers["argyll-receipt-token"], None)
    return JSONResponse({})


async def show(request: Request) -> Response:
    return JSONResponse({each["receipt"]: each["total"] for each in charges.values()})


service = Starlette(
    routes=[
        Route("/charges", charge, methods=["POST"]),
        Route("/refunds", refund, methods=["POST"]),
        Route("/charges", show),
    ]
)
