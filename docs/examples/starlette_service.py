"""A web service with its engine inside: a request starts a flow, and its events are followed live.

    POST /orders               starts the flow of an order, and answers at once
    GET  /orders/{id}          how it stands
    GET  /orders/{id}/events   its events as they come (server-sent events)

The client makes the id of its order before the first try. When an answer is lost it asks again with the
same id and the same order, and gets the same flow: no second order. The same id with another order is
refused with 409. Every refusal of argyll_redis knows its HTTP status, so one exception handler serves all.

The engine runs beside the requests, in the same event loop, from startup to shutdown. At shutdown it takes
nothing new and lets running work end. With a Redis server the service may be started many times: a flow
goes on in any of them, and its events can be followed at any of them.

    python docs/examples/starlette_service.py          starts it, orders something, and stops it
    uvicorn --app-dir docs/examples starlette_service:service      serves until Ctrl-C

It runs in memory; with ARGYLL_REDIS_URL=redis://localhost:6379/0 it runs on that server.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from argyll_redis import Argyll, ArgyllError, InvalidInput, StepContext

try:
    import httpx
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route
except ImportError as error:
    sys.exit(f"{error.name} is missing: this example needs pip install 'argyll-redis[server]' httpx")

app = Argyll(os.environ.get("ARGYLL_REDIS_URL", "memory://"), namespace="example-starlette")

PRICES = {"tea": 30, "cup": 20}


@app.step(outputs="total", permanent=KeyError)
async def price(items: list) -> int:
    return sum(PRICES[item] for item in items)


@app.step(outputs="receipt")
async def charge(total: int, ctx: StepContext) -> str:
    # The token names this work item whatever the attempt: a bank that is given it never charges twice.
    return f"{total} paid, transaction {ctx.token[:8]}"


# ------------------------------------------------------------------------ the service


async def start_order(request: Request) -> Response:
    try:
        order = await request.json()
        id, items = order["id"], order["items"]
    except (ValueError, TypeError, KeyError):
        raise InvalidInput('an order is {"id": ..., "items": [...]}') from None
    if not id:  # with none given an id would be made, and asking again would be another order
        raise InvalidInput("id is empty: the client makes it")
    flow = await app.start(goals=[charge], init={"items": items}, id=id)
    return JSONResponse({"id": flow.id, "events": f"/orders/{flow.id}/events"}, status_code=202)


async def show_order(request: Request) -> Response:
    return JSONResponse(await app.status(request.path_params["id"]))


async def follow_order(request: Request) -> Response:
    id = request.path_params["id"]
    await app.status(id)  # an unknown order is refused here: once a stream has begun it is too late
    seen = request.headers.get("last-event-id", "0").partition("-")[0]  # a browser that comes back says it
    after = int(seen) if seen.isdecimal() else 0

    async def stream() -> AsyncIterator[str]:
        async for event in app.flow(id).events(after):
            yield f"id: {event['id']}\nevent: {event['type']}\ndata: {json.dumps(event['data'])}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"cache-control": "no-cache"})


async def refuse(request: Request, error: Exception) -> Response:
    status = error.http_status if isinstance(error, ArgyllError) else 500
    return JSONResponse({"error": str(error), "status": status}, status_code=status)


@asynccontextmanager
async def engine_beside(service: Starlette) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with app:
        engine = asyncio.create_task(app.run(until=stop.wait))
        yield
        stop.set()
        await engine


service = Starlette(
    routes=[
        Route("/orders", start_order, methods=["POST"]),
        Route("/orders/{id}", show_order),
        Route("/orders/{id}/events", follow_order),
    ],
    exception_handlers={ArgyllError: refuse},
    lifespan=engine_beside,
)


# ------------------------------------------------------------------------- its client


async def story(client: httpx.AsyncClient) -> None:
    order = {"id": f"order-{uuid4().hex[:8]}", "items": ["tea", "cup"]}
    path = f"/orders/{order['id']}"
    print(f"POST /orders: {(await client.post('/orders', json=order)).status_code}")

    ids = await follow(client, path)
    print(f"GET its events again, of which all but two were seen: {ids[-3]}")
    await follow(client, path, seen=ids[-3])
    print(f"GET its status: {(await client.get(path)).json()['status']}")

    again = await client.post("/orders", json=order)
    print(f"POST the same again: {again.status_code}, the same flow: {again.json()['id'] == order['id']}")
    other = await client.post("/orders", json={**order, "items": ["cup"]})
    print(f"POST another order under its id: {other.status_code}, {other.json()['error']}")
    print(f"GET an order that nobody made: {(await client.get('/orders/nobodys')).status_code}")


async def follow(client: httpx.AsyncClient, path: str, *, seen: str = "0") -> list[str]:
    """Prints the events as they come, as a browser's EventSource gets them; gives their ids."""
    ids: list[str] = []
    async with client.stream("GET", f"{path}/events", headers={"last-event-id": seen}) as response:
        async for line in response.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "id":
                ids.append(value)
            elif field == "event":
                print(f"  {ids[-1]:<5} {value}")
    return ids


async def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0))  # a free port; who connects now waits for the service
    host, port = listening.getsockname()
    server = uvicorn.Server(uvicorn.Config(service, log_level="warning", lifespan="on"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=20, trust_env=False) as client:
            await story(client)
    finally:
        server.should_exit = True
        await serving


if __name__ == "__main__":
    asyncio.run(main())
