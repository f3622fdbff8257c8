"""Stock: reserves articles, gives them back, packs them.

    POST /reservations   takes what one line of an order asks for off the shelf; 409 when there is too little
    POST /releases       the undo of a reservation: puts it back
    POST /parcels        packs what was reserved
    POST /wrappings      wraps a parcel as a gift
    GET  /articles       what is on the shelf

Every call comes at least once, under a token that is the same each time. What was done for a token is not
done again: the second answer is the first one.
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PRICES = {"teapot": 40, "cup": 8, "samovar": 900}

shelf = {"teapot": 5, "cup": 24, "samovar": 3}
reservations: dict[str, dict] = {}
"""By token. A service of yours keeps this in its database, in the transaction that changes the shelf."""


async def reserve(request: Request) -> Response:
    token = request.headers["argyll-receipt-token"]
    line = (await request.json())["line"]
    article, count = line["article"], line["count"]
    if token not in reservations:
        if shelf.get(article, 0) < count:
            detail = f"{shelf.get(article, 0)} of {article} in stock, {count} wanted"
            return JSONResponse({"detail": detail}, 409, media_type="application/problem+json")
        shelf[article] -= count
        reservations[token] = {"article": article, "count": count, "price": PRICES[article]}
    return JSONResponse({"reserved": reservations[token]})


async def release(request: Request) -> Response:
    # An undo comes under the token of the call that it undoes.
    reservation = reservations.pop(request.headers["argyll-receipt-token"], None)
    if reservation is not None:
        shelf[reservation["article"]] += reservation["count"]
    return JSONResponse({})


async def pack(request: Request) -> Response:
    line = (await request.json())["line"]["reserved"]
    return JSONResponse({"parcel": f"{line['count']} x {line['article']}"})


async def wrap(request: Request) -> Response:
    return JSONResponse({"wrapping": "gift paper"})


async def show(request: Request) -> Response:
    return JSONResponse(shelf)


service = Starlette(
    routes=[
        Route("/reservations", reserve, methods=["POST"]),
        Route("/releases", release, methods=["POST"]),
        Route("/parcels", pack, methods=["POST"]),
        Route("/wrappings", wrap, methods=["POST"]),
        Route("/articles", show),
    ]
)
