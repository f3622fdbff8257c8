"""The API over real connections: streams, websockets, other engines' webhooks, and the end of a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from http_words import DOUBLE, KEYS, TRIPLE, Ws, refused, served

from argyll_redis import ACCEPTED, AppConfig, Argyll
from argyll_redis.http.server import HttpServer
from tests.api.api_apps import Apps, deactivated, event, token_of, until

pytestmark = pytest.mark.anyio


async def office(apps: Apps, **options: Any) -> Argyll:
    """An engine with a step that waits for somebody."""
    app = apps(**options)

    @app.step(outputs="approved")
    async def approve(order: str) -> object:
        return ACCEPTED

    await apps.run(app)
    return app


async def messages(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """Id and data of each message of a stream."""
    id = ""
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            id = value
        elif name == "data":
            yield id, json.loads(value)


# ---------------------------------------------------------------------- streams

AS_STREAM = {"accept": "text/event-stream"}


async def test_a_stream_follows_a_flow_to_its_end_and_resumes_where_it_broke(apps: Apps) -> None:
    app = await office(apps)
    flow = await app.start(["approve"], {"order": "o"}, id="f")
    token = await token_of(flow, "approve")
    async with served(apps()) as (_, http):
        seen: list[tuple[str, Any]] = []
        async with http.stream("GET", "/engine/flow/f/events", headers=AS_STREAM) as response:
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            async for id, each in messages(response):
                seen.append((id, each))
                if each["type"] == "work_accepted":
                    break  # the connection breaks
        async with http.stream(
            "GET", "/engine/flow/f/events", headers={**AS_STREAM, "last-event-id": seen[-1][0]}
        ) as response:
            await app.complete("f", "approve", token, {"approved": True})
            seen += [each async for each in messages(response)]
        whole = (await http.get("/engine/flow/f/events")).json()["events"]
        told = await http.get("/engine/flow/f/events", headers={**AS_STREAM, "last-event-id": seen[-1][0]})
        unknown = await http.get("/engine/flow/g/events", headers=AS_STREAM)
        wrong = await http.get("/engine/flow/f/events", headers={**AS_STREAM, "last-event-id": "x"})
    assert seen == [(each["id"], each) for each in whole]
    assert whole[-1]["type"] == "flow_deactivated"
    assert (told.status_code, told.content) == (204, b"")
    refused(unknown, 404)
    assert "Last-Event-ID" in refused(wrong, 400)


async def test_a_stream_that_has_nothing_to_say_shows_that_it_is_there(
    memory: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("argyll_redis.http.stream.ALIVE_S", 0.01)
    app = await office(memory)
    await app.start(["approve"], {"order": "o"}, id="f")
    async with (
        served(app) as (_, http),
        http.stream("GET", "/engine/flow/f/events", headers=AS_STREAM) as response,
    ):
        lines = [line async for line in taken(response.aiter_lines(), ": nothing new")]
    assert lines[0] == "retry: 1000"


async def taken(lines: AsyncIterator[str], last: str) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        if line == last:
            return


async def test_streams_that_are_left_are_not_counted_any_more(memory: Apps) -> None:
    app = await office(memory)
    await app.start(["approve"], {"order": "o"}, id="f")
    async with served(app) as (server, http):
        async with http.stream("GET", "/engine/flow/f/events", headers=AS_STREAM):
            await until(lambda: server.api.metrics.streams == 1)
        await until(lambda: server.api.metrics.streams == 0)


async def test_one_stream_too_many_is_told_to_come_again(
    memory: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("argyll_redis.http.api.MAX_STREAMS", 1)
    app = await office(memory)
    await app.start(["approve"], {"order": "o"}, id="f")
    async with served(app) as (server, http), http.stream("GET", "/engine/flow/f/events", headers=AS_STREAM):
        await until(lambda: server.api.metrics.streams == 1)
        refused(await http.get("/engine/flow/f/events", headers=AS_STREAM), 503)
        ws = await Ws.connect(server)
        assert (ws.status, json.loads(ws.refusal)["status"]) == (503, 503)
        assert (await http.get("/engine/flow/f/events")).status_code == 200
        await ws.close()


# ------------------------------------------------------------------- websockets


async def test_a_subscription_gives_the_state_and_then_every_event_from_there_on(apps: Apps) -> None:
    app = await office(apps)
    flow = await app.start(["approve"], {"order": "o"}, id="f")
    token = await token_of(flow, "approve")
    async with served(apps()) as (server, http):
        ws = await Ws.connect(server)
        answer = await ws.subscribe("s1", ["flow", "f"], include_state=True)
        plain = await ws.subscribe("s2", ["flow", "f"], event_types=["flow_completed"])
        await app.complete("f", "approve", token, {"approved": True})
        seen = await ws.until("flow_deactivated")
        state = (await http.get(f"/engine/flow/f?at={answer['items'][0]['sequence']}")).json()
        whole = (await http.get("/engine/flow/f/events")).json()["events"]
        await ws.close()
    assert (answer["type"], answer["sub_id"]) == ("subscribed", "s1")
    [item] = answer["items"]
    assert (item["id"], item["data"]) == (["flow", "f"], state)
    assert plain == {"type": "subscribed", "sub_id": "s2", "items": []}
    of_first = [each for each in seen if each["sub_id"] == "s1"]
    assert {each["sub_id"] for each in seen} >= {"s1"}
    assert [each["sequence"] for each in of_first] == list(range(item["sequence"] + 1, len(whole) + 1))
    assert set(of_first[0]) == {"type", "data", "id", "sub_id", "timestamp", "sequence"}
    assert [(each["type"], each["data"]) for each in of_first] == [
        (each["type"], each["data"]) for each in whole[item["sequence"] :]
    ]
    assert {each["type"] for each in seen if each["sub_id"] == "s2"} <= {"flow_completed"}


@pytest.mark.contract("http", "A websocket follows all flows.")
async def test_all_flows_are_followed_from_now_on(apps: Apps) -> None:
    app = await office(apps)
    await app.register_steps([DOUBLE, TRIPLE])
    old = await app.start(["approve"], {"order": "o"}, id="old")
    token = await token_of(old, "approve")
    async with served(apps()) as (server, http):
        ws = await Ws.connect(server)
        answer = await ws.subscribe("all", ["flow"], include_state=True)
        rows = (await http.get("/engine/flow")).json()
        await app.start(["triple"], {"a": 2}, id="new")
        seen = await ws.until("flow_deactivated")
        known = await app.position("old")
        await app.complete("old", "approve", token, {"approved": True})
        rest = await ws.until("flow_deactivated")
        new_events = (await http.get("/engine/flow/new/events")).json()["events"]
        old_events = (await http.get(f"/engine/flow/old/events?after={known[0]}")).json()["events"]
        await ws.close()
    assert answer["items"] == [{"id": ["flow"], "data": rows, "sequence": 0}]
    assert told(seen) == [(["flow", "new"], each["id"], each["type"], each["data"]) for each in new_events]
    assert told(rest) == [(["flow", "old"], each["id"], each["type"], each["data"]) for each in old_events]


def told(messages: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(each["id"], f"{each['sequence']}-0", each["type"], each["data"]) for each in messages]


@pytest.mark.contract("http", "A websocket follows the catalog.")
async def test_the_catalog_is_followed_from_its_state_on(apps: Apps) -> None:
    app = apps()
    await app.register_steps([DOUBLE])
    async with served(apps()) as (server, http):
        ws = await Ws.connect(server)
        answer = await ws.subscribe("catalog", ["catalog"], include_state=True)
        state = (await http.get("/engine/catalog")).json()
        await app.register_steps([TRIPLE])
        await app.unregister_step("double")
        seen = await ws.until("step_unregistered")
        await ws.close()
    assert answer["items"] == [{"id": ["catalog"], "data": state, "sequence": 1}]
    assert [(each["id"], each["sequence"], each["type"], each["data"]["step"]) for each in seen] == [
        (["catalog"], 2, "step_registered", "triple"),
        (["catalog"], 3, "step_unregistered", "double"),
    ]


@pytest.mark.contract("http", "What is unsubscribed is heard of no more.")
async def test_an_unsubscribed_flow_is_not_heard_of_any_more(memory: Apps) -> None:
    app = await office(memory)
    flow = await app.start(["approve"], {"order": "o"}, id="f")
    token = await token_of(flow, "approve")
    async with served(app) as (server, _):
        ws = await Ws.connect(server)
        for sub_id in ("s1", "s2"):
            await ws.subscribe(sub_id, ["flow", "f"])
        await ws.send({"type": "unsubscribe", "data": {"sub_id": "s1"}})
        gone = await ws.next()
        await ws.send({"type": "unsubscribe", "sub_id": "s1"})
        again = await ws.next()
        await app.complete("f", "approve", token, {"approved": True})
        seen = await ws.until("flow_deactivated")
        await ws.close()
    assert gone == {"type": "unsubscribed", "sub_id": "s1"}
    assert (again["type"], again["status"], again["sub_id"]) == ("error", 400, "s1")
    assert {each["sub_id"] for each in seen} == {"s2"}


@pytest.mark.parametrize(
    ("message", "status", "words"),
    [
        ("{", 400, "not JSON"),
        ("[]", 400, "is not a JSON object"),
        ({}, 400, "type: `None` is not a type of message"),
        ({"type": "subscribe"}, 400, "data: is not an object"),
        ({"type": "subscribe", "data": {}}, 400, "data.sub_id: is missing"),
        ({"type": "subscribe", "data": {"sub_id": "s"}}, 400, "data.aggregate_ids: is missing"),
        (
            {"type": "subscribe", "data": {"sub_id": "s", "aggregate_ids": [["flow", 1]]}},
            400,
            "aggregate_ids[0]",
        ),
        (
            {"type": "subscribe", "data": {"sub_id": "s", "aggregate_ids": [["steps"]]}},
            400,
            "aggregate_ids[0]",
        ),
        (
            {"type": "subscribe", "data": {"sub_id": "s", "aggregate_ids": [["flow"]] * 101}},
            400,
            "101 entries",
        ),
        ({"type": "subscribe", "data": {"sub_id": "s", "aggregate_ids": [["flow", "gone"]]}}, 404, "gone"),
        (
            {"type": "subscribe", "data": {"sub_id": "s", "aggregate_ids": [["catalog"]], "x": 1}},
            400,
            "data.x",
        ),
        (
            {
                "type": "subscribe",
                "data": {"sub_id": "s", "aggregate_ids": [["flow"]], "event_types": ["flow_start"]},
            },
            400,
            "`flow_start` is not a type of event",
        ),
        ({"type": "unsubscribe", "data": {"sub_id": "s"}}, 400, "is not subscribed"),
    ],
)
async def test_a_message_that_cannot_be_is_answered_and_the_connection_stays(
    message: Any, status: int, words: str, app: Argyll
) -> None:
    async with served(app) as (server, _):
        ws = await Ws.connect(server)
        await ws.send(message)
        answer = await ws.next()
        assert (answer["type"], answer["status"]) == ("error", status)
        assert words in answer["error"]
        assert (await ws.subscribe("s", ["catalog"]))["type"] == "subscribed"
        twice = await ws.subscribe("s", ["catalog"])
        assert "is subscribed already" in twice["error"]
        await ws.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer r-key"}, 101),
        ({"Authorization": "Bearer r-key", "Origin": "http://evil.example"}, 403),
        ({"Authorization": "Bearer r-key", "Host": "evil.example"}, 400),
    ],
)
async def test_a_websocket_needs_a_key_and_the_same_origin(
    headers: dict[str, str], status: int, app: Argyll
) -> None:
    async with served(app, keys=KEYS) as (server, _):
        ws = await Ws.connect(server, **headers)
        assert ws.status == status
        if status != 101:
            assert json.loads(ws.refusal)["status"] == status
        await ws.close()


async def test_a_route_that_is_no_websocket_refuses_one(app: Argyll) -> None:
    async with served(app) as (server, _):
        ws = await Ws.connect(server, "/engine/step")
        assert (ws.status, json.loads(ws.refusal)["status"]) == (404, 404)
        await ws.close()


# --------------------------------------------------------------------- webhooks


async def test_any_process_takes_any_webhook(apps: Apps) -> None:
    """The engine that made the call is another one than the process that serves the API."""
    app = await office(apps)
    flow = await app.start(["approve"], {"order": "o"}, id="f")
    token = await token_of(flow, "approve")
    async with served(apps()) as (_, first), served(apps()) as (_, second):
        path = f"/webhook/f/approve/{token}"
        answers = await asyncio.gather(
            *(each.post(path, json={"approved": n}) for n, each in enumerate((first, second)))
        )
    assert [answer.status_code for answer in answers] == [200, 200]
    assert sorted(answer.json()["message"] for answer in answers) == [
        "the outcome is recorded",
        "the outcome was known already",
    ]
    await deactivated(flow)


async def test_a_service_that_was_called_answers_to_another_process(apps: Apps) -> None:
    """The URL that a step of type async is called with leads to the API, wherever that is."""
    called: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        named = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        await reader.readexactly(int(named["Content-Length"]))
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        called.set_result(named["Argyll-Webhook-URL"])

    service = await asyncio.start_server(answer, "127.0.0.1", 0)
    endpoint = f"http://127.0.0.1:{service.sockets[0].getsockname()[1]}/charge"
    charge = {
        "id": "charge",
        "type": "async",
        "http": {"endpoint": endpoint},
        "attributes": {"order": {"role": "required"}, "receipt": {"role": "output"}},
    }
    async with service, served(apps()) as (server, http):
        caller = apps(config=AppConfig(webhook_base_url=server.url))
        await caller.register_steps([charge])
        await apps.run(caller)
        flow = await caller.start(["charge"], {"order": "o"}, id="f")
        url = await called
        assert url.startswith(f"{server.url}/webhook/f/charge/")
        assert (await http.post(url, json={"receipt": "r"})).status_code == 200
        assert await flow.result() == {"receipt": "r"}


# ------------------------------------------------------------------------- ends


async def test_a_server_that_ends_closes_what_is_open(memory: Apps) -> None:
    app = await office(memory)
    flow = await app.start(["approve"], {"order": "o"}, id="f")
    await event(flow, "work_accepted")
    server = HttpServer(app, "127.0.0.1:0")
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as http:
        async with server.serving():
            ws = await Ws.connect(server)
            await ws.subscribe("s", ["flow", "f"], ["flow"], ["catalog"])
            request = http.build_request("GET", "/engine/flow/f/events", headers=AS_STREAM)
            stream = await http.send(request, stream=True)
            await until(lambda: server.api.metrics.streams == 2)
            server.drain()
            draining = await http.get("/health")
            steps = await http.get("/engine/step")
        rest = [each async for each in messages(stream)]
        with pytest.raises(ConnectionError, match="1001"):
            await ws.until("never")
        with pytest.raises(httpx.ConnectError):
            await http.get("/health")
        await ws.close()
    assert (draining.status_code, steps.status_code) == (503, 200)
    assert rest[-1][1]["type"] == "work_accepted"
    assert server.api.metrics.streams == 0


async def test_what_is_no_http_ends_one_connection_and_nothing_else(app: Argyll) -> None:
    async with served(app) as (server, http):
        for garbage in (b"\x00\xff\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\n\r\n", b"A" * 200_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
            writer.write(garbage)
            assert b" 200 " not in await reader.read(100)
            writer.close()
        assert (await http.get("/health")).status_code == 200


async def test_a_body_that_is_too_large_is_refused_before_it_is_sent(app: Argyll) -> None:
    async with served(app) as (server, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
        head = (
            f"POST /engine/flow HTTP/1.1\r\nHost: {server.address.netloc}\r\nContent-Length: {10**12}\r\n\r\n"
        )
        writer.write(head.encode())
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("head", [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: x\r\nX: "])
async def test_a_head_that_never_ends_is_given_up(
    head: bytes, app: Argyll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("argyll_redis.http.server.HEADER_LIMIT_S", 0.02)
    async with served(app) as (server, http):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
        writer.write(head)
        assert await reader.read() == b""
        writer.close()
        assert (await http.get("/health")).status_code == 200


async def test_what_is_under_way_is_not_given_up(memory: Apps) -> None:
    """Looks that find the same request as the last one leave it alone; an idle connection is closed."""
    app = await office(memory)
    flow = await app.start(["approve"], {"order": "o"}, id="f")
    token = await token_of(flow, "approve")
    async with served(app) as (server, http):
        ws = await Ws.connect(server)
        await ws.subscribe("s", ["flow", "f"])
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
        writer.write(f"GET /health HTTP/1.1\r\nHost: {server.address.netloc}\r\n\r\n".encode())
        await reader.readuntil(b"}\n")
        async with http.stream("GET", "/engine/flow/f/events", headers=AS_STREAM) as response:
            lines = response.aiter_lines()
            await anext(lines)
            open_ones = [each for each in server._server.server_state.connections if hasattr(each, "_look")]
            await until(lambda: sum(each.cycle.response_complete for each in open_ones) == 1)
            for each in open_ones:
                each._look(each.cycle)
            assert await reader.read() == b""
            await app.complete("f", "approve", token, {"approved": True})
            rest = [line async for line in lines if line.startswith("data: ")]
        seen = await ws.until("flow_deactivated")
        writer.close()
        await ws.close()
    assert len(open_ones) == 2
    assert (json.loads(rest[-1][6:])["type"], seen[-1]["type"]) == ("flow_deactivated", "flow_deactivated")
