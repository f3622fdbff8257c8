"""Steps over HTTP, against a server that misbehaves in every way there is: each comes to one outcome."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import zlib
from typing import Any

import pytest
from bad_server import Answer, Asked, bad_server, reply
from step_words import BASE_URL, TOKEN, handler_of, http_step, job_of, outcome_of

from argyll_redis.core.commands import Accepted, Broken, Succeeded, Unfinished
from argyll_redis.core.limits import MAX_BODY_BYTES, MAX_ERROR_CHARS, MAX_REDIRECTS, MAX_RETRY_AFTER_MS
from argyll_redis.steps.http_address import AllowList
from argyll_redis.steps.http_client import AiohttpClient

pytestmark = pytest.mark.anyio

FOUND = b'{"found": 1}'


async def come_to(answer: Answer | bytes, *, type: str = "sync", **http: Any) -> Any:
    """What a call comes to that is answered like this."""
    async with bad_server(answer) as server:
        return await outcome_of(job_of(http_step(f"{server.url}/", type=type, **http)))


def sends(*parts: bytes, close: bool = True, pause: bool = False) -> Answer:
    """Sends these parts, and ends the connection."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            if pause:
                await asyncio.sleep(0)
        if close:
            writer.close()
        else:
            await asyncio.Event().wait()

    return answer


# ------------------------------------------------------------------------ success


async def test_a_json_object_is_the_outputs_that_the_step_declares() -> None:
    assert await come_to(reply(200, b'{"found": [1, 2], "more": 3}')) == Succeeded({"found": [1, 2]})


@pytest.mark.parametrize(
    "answer",
    [reply(200), reply(200, b" \n"), b"HTTP/1.1 204 No Content\r\n\r\n", reply(202, b"{}")],
    ids=["empty", "blank", "204", "no-outputs"],
)
async def test_an_empty_success_has_no_outputs(answer: bytes) -> None:
    assert await come_to(answer) == Succeeded({})


async def test_the_content_type_of_a_success_does_not_matter() -> None:
    assert await come_to(reply(200, FOUND, type="text/html")) == Succeeded({"found": 1})


async def test_chunks_of_one_byte_are_put_together() -> None:
    chunks = [b"1\r\n" + bytes([byte]) + b"\r\n" for byte in FOUND]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert await come_to(sends(head, *chunks, b"0\r\n\r\n", pause=True)) == Succeeded({"found": 1})


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "GZIP"])
async def test_a_compressed_body_is_inflated(coding: str) -> None:
    body = zlib.compress(FOUND) if coding == "deflate" else gzip.compress(FOUND)
    assert await come_to(reply(200, body, Content_Encoding=coding)) == Succeeded({"found": 1})


async def test_a_body_of_several_gzip_files_is_one_body() -> None:
    body = gzip.compress(FOUND[:5]) + gzip.compress(FOUND[5:])
    assert await come_to(reply(200, body, Content_Encoding="gzip")) == Succeeded({"found": 1})


async def test_a_body_as_large_as_the_limit_is_read() -> None:
    body = b'{"found": "' + b"x" * (MAX_BODY_BYTES - 13) + b'"}'
    assert len(body) == MAX_BODY_BYTES
    outcome = await come_to(reply(200, body))
    assert len(outcome.outputs["found"]) == MAX_BODY_BYTES - 13


# ----------------------------------------------------------------- not completed


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (sends(b""), "closed the connection without an answer"),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Le"), "closed the connection without an answer"),
        (sends(b"+PONG\r\n\r\n"), "is not HTTP"),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", FOUND), "cut short"),
        (sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"), "cut short"),
        (reply(200, gzip.compress(FOUND)[:-9], Content_Encoding="gzip"), "cut short"),
    ],
    ids=["nothing", "mid-headers", "no-http", "cut", "cut-chunk", "cut-gzip"],
)
async def test_what_carries_a_call_may_fail_at_any_byte(answer: Any, error: str) -> None:
    outcome = await come_to(answer)
    assert isinstance(outcome, Unfinished)
    assert error in outcome.error


@pytest.mark.contract("outcomes", "A connection that is reset is tried again.")
async def test_a_connection_that_is_reset_is_not_completed() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.write(b"HTTP/1.1 200")
        await writer.drain()
        writer.transport.abort()

    assert isinstance(await come_to(answer), Unfinished)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
async def test_a_service_that_hangs_up_was_called_once(method: str) -> None:
    """Also by methods that other clients send again by themselves: one attempt is one call."""
    async with bad_server(sends()) as server:
        outcome = await outcome_of(job_of(http_step(f"{server.url}/", method=method)))
        assert (type(outcome), len(server.asked)) == (Unfinished, 1)


async def test_a_refused_connection_is_not_completed_and_names_the_server() -> None:
    async with bad_server(b"") as server:
        pass
    outcome = await outcome_of(job_of(http_step(f"{server.url}/s3cret")))
    assert outcome == Unfinished(f"cannot connect to 127.0.0.1:{server.port}: Connection refused")


async def test_a_name_that_has_no_address_is_not_completed() -> None:
    async def look(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    outcome = await outcome_of(job_of(http_step("http://shop.test/")), look=look)
    assert outcome == Unfinished("cannot find the address of shop.test")


@pytest.mark.parametrize("status", [500, 502, 503, 429])
async def test_a_service_that_cannot_now_is_asked_again(status: int) -> None:
    assert await come_to(reply(status, b"busy")) == Unfinished(f"status {status}: busy")


@pytest.mark.contract("outcomes", "`Retry-After` is read as a time or as a date, a day at most.")
@pytest.mark.parametrize(
    ("headers", "after_ms"),
    [
        ({"Retry-After": "7"}, 7_000),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "999999999999999999"}, MAX_RETRY_AFTER_MS),
        ({"Retry-After": "86401"}, MAX_RETRY_AFTER_MS),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:57 GMT"}, 20_000),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:57 GMT", "Date": "Sun, 06 Nov 1994 08:49:52 GMT"}, 5_000),
        ({"Retry-After": "Sun, 06 Nov 1994 08:00:00 GMT"}, 0),
        ({"Retry-After": "Sun, 06 Nov 2094 08:00:00 GMT"}, MAX_RETRY_AFTER_MS),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "²"}, None),
        ({}, None),
    ],
)
async def test_a_retry_after_is_a_time_or_a_date(headers: dict[str, str], after_ms: int | None) -> None:
    outcome = await come_to(reply(503, b"", **headers))
    assert outcome.after_ms == after_ms


async def test_a_service_that_sends_a_byte_now_and_then_is_out_of_time() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    assert await come_to(answer, timeout=100) == Unfinished("timed out after 100 ms")


@pytest.mark.parametrize(("http_ms", "work_ms", "first"), [(50, 5_000, 50), (5_000, 50, 50), (50, 0, 50)])
async def test_the_shorter_of_both_timeouts_ends_a_call(http_ms: int, work_ms: int, first: int) -> None:
    async with bad_server(sends(close=False)) as server:
        definition = http_step(server.url, timeout=http_ms, work_config={"timeout": work_ms})
        assert await outcome_of(job_of(definition)) == Unfinished(f"timed out after {first} ms")


# --------------------------------------------------------------------- failed


@pytest.mark.parametrize("status", [400, 401, 404, 408, 425, 451])
async def test_a_service_that_refuses_is_not_asked_again(status: int) -> None:
    assert await come_to(reply(status, b"no\nway")) == Broken(f"status {status}: no way")


@pytest.mark.parametrize("status", [300, 304, 305])
async def test_a_redirect_that_leads_nowhere_fails(status: int) -> None:
    assert await come_to(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()) == Broken(
        f"status {status}"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[1]",
        b"7",
        b"null",
        b"<html>",
        b'{"found": NaN}',
        b'{"found": 1, "found": 2}',
        b'{"found": 18446744073709551616}',
        b'{"found": "\xff"}',
        b'{"found": "\\ud800"}',
        b'{"found": ' + b"[" * 70 + b"]" * 70 + b"}",
        b'{"found": ' + b"[" * 100_000 + b"}",
    ],
    ids=[
        "cut",
        "array",
        "number",
        "null",
        "html",
        "nan",
        "twice",
        "big",
        "utf-8",
        "surrogate",
        "deep",
        "deeper",
    ],
)
async def test_a_success_that_is_no_plain_json_object_fails(body: bytes) -> None:
    outcome = await come_to(reply(200, body))
    assert isinstance(outcome, Broken)
    assert outcome.error.startswith("status 200, but the answer is no")


async def test_a_body_over_the_limit_fails_before_it_is_read_to_its_end() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b" " * 65_536 + b"\r\n")
            await writer.drain()

    assert await come_to(answer) == Broken("the answer has more than 1,048,576 bytes")


@pytest.mark.contract("outcomes", "Answers are limited in size after they are inflated.")
async def test_a_gzip_bomb_is_inflated_up_to_the_limit_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[int] = []
    make = zlib.decompressobj

    class Watched:
        def __init__(self, bits: int) -> None:
            self._stream = make(bits)

        def decompress(self, data: bytes, limit: int) -> bytes:
            found = self._stream.decompress(data, limit)
            asked_for.append(len(found))
            return found

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    bomb = gzip.compress(b" " * 50_000_000)
    outcome = await come_to(reply(200, bomb, Content_Encoding="gzip"))
    assert outcome == Broken("the answer has more than 1,048,576 bytes")
    assert sum(asked_for) == MAX_BODY_BYTES + 1


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip"])
async def test_a_body_that_cannot_be_inflated_fails(coding: str) -> None:
    outcome = await come_to(reply(200, b"no gzip at all", Content_Encoding=coding))
    assert outcome == Broken("the answer is compressed in a way that cannot be read")


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        ({"detail": "no such order", "title": "Not found"}, "no such order"),
        ({"title": "Not found", "detail": " "}, "Not found"),
        ({"detail": 7, "title": "Not found"}, "Not found"),
        ({"status": 404}, 'status 404: {"status": 404}'),
        ([], "status 404: []"),
    ],
)
async def test_the_error_is_what_a_problem_says(problem: Any, error: str) -> None:
    body = json.dumps(problem).encode()
    assert await come_to(reply(404, body, type="application/problem+json; charset=utf-8")) == Broken(error)


async def test_the_error_of_a_service_that_is_busy_is_what_its_problem_says() -> None:
    answer = reply(503, b'{"detail": "closed till 8"}', type="application/problem+json", Retry_After="1")
    assert await come_to(answer) == Unfinished("closed till 8", 1_000)


async def test_control_characters_of_an_error_are_escaped() -> None:
    body = json.dumps({"detail": "a\x1b[31mred\r\nx\u202e"}).encode()
    outcome = await come_to(reply(400, body, type="application/problem+json"))
    assert outcome == Broken("a\\x1b[31mred\\r\\nx\\u202e")


async def test_a_long_error_is_cut() -> None:
    detail = await come_to(
        reply(400, json.dumps({"detail": "\0" * 9_999}).encode(), type="application/problem+json")
    )
    plain = await come_to(reply(400, b"x" * 9_999))
    assert (len(detail.error), plain.error) == (MAX_ERROR_CHARS, "status 400: " + "x" * 300 + "...")


async def test_the_body_of_a_refusal_may_be_cut_short_or_huge() -> None:
    cut = await come_to(sends(b"HTTP/1.1 404 X\r\nContent-Length: 50\r\n\r\nno order"))
    huge = await come_to(reply(500, b"y" * (MAX_BODY_BYTES + 1)))
    assert (cut, isinstance(huge, Unfinished)) == (Broken("status 404: no order"), True)


# ----------------------------------------------------------------------- the call


async def test_inputs_go_as_the_body_and_headers_name_the_attempt() -> None:
    async with bad_server(reply(200, FOUND)) as server:
        await outcome_of(job_of(http_step(f"{server.url}/a"), {"x": "ü", "n": [1]}, attempt=3))
    [asked] = server.asked
    assert (asked.method, asked.path, json.loads(asked.body)) == ("POST", "/a", {"x": "ü", "n": [1]})
    sent = {name: value for name, value in asked.headers.items() if name.startswith("argyll-")}
    assert sent == {
        "argyll-flow-id": "f1",
        "argyll-step-id": "ask",
        "argyll-receipt-token": TOKEN,
        "argyll-attempt": "3",
    }
    assert asked.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "body"), [("GET", b""), ("POST", b'{"x":1}'), ("PUT", b'{"x":1}'), ("DELETE", b'{"x":1}')]
)
async def test_all_methods_but_get_have_a_body(method: str, body: bytes) -> None:
    async with bad_server(reply(200, FOUND)) as server:
        outcome = await outcome_of(job_of(http_step(f"{server.url}/", method=method), {"x": 1}))
    assert (server.asked[0].method, server.asked[0].body) == (method, body)
    assert outcome == Succeeded({"found": 1})


async def test_a_large_body_goes_whole() -> None:
    async with bad_server(reply(200, FOUND)) as server:
        await outcome_of(job_of(http_step(f"{server.url}/"), {"x": "y" * 1_500_000}))
    assert len(json.loads(server.asked[0].body)["x"]) == 1_500_000


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("17", "/order/17/items?q=17"),
        (17, "/order/17/items?q=17"),
        (True, "/order/true/items?q=true"),
        ("a/b?c#d&e", "/order/a%2Fb%3Fc%23d%26e/items?q=a%2Fb%3Fc%23d%26e"),
        ("%2e%2E", "/order/%252e%252E/items?q=%252e%252E"),
        ("x\r\nHost: evil", "/order/x%0D%0AHost%3A%20evil/items?q=x%0D%0AHost%3A%20evil"),
        ("ü 語", "/order/%C3%BC%20%E8%AA%9E/items?q=%C3%BC%20%E8%AA%9E"),
        ("@evil.test", "/order/%40evil.test/items?q=%40evil.test"),
        ("{id}", "/order/%7Bid%7D/items?q=%7Bid%7D"),
    ],
)
async def test_a_parameter_stays_in_its_place(value: Any, path: str) -> None:
    async with bad_server(reply(200, FOUND)) as server:
        endpoint = f"{server.url}/order/{{id}}/items?q={{id}}"
        await outcome_of(job_of(http_step(endpoint, method="GET", inputs={"id": "required"}), {"id": value}))
    assert [asked.path for asked in server.asked] == [path]


@pytest.mark.parametrize("value", ["", ".", "..", "../admin", "a/../..", "a\\..\\b", "x/."])
async def test_a_parameter_that_leads_out_of_its_place_fails_before_any_call(value: str) -> None:
    async with bad_server(reply(200, FOUND)) as server:
        definition = http_step(f"{server.url}/order/{{id}}", inputs={"id": "required"})
        outcome = await outcome_of(job_of(definition, {"id": value}))
    assert isinstance(outcome, Broken)
    assert (server.asked, "`id`" in outcome.error) == ([], True)


async def test_the_dots_of_a_query_are_its_own() -> None:
    async with bad_server(reply(200, FOUND)) as server:
        definition = http_step(f"{server.url}/?q={{q}}", inputs={"q": "required"})
        await outcome_of(job_of(definition, {"q": "../x"}))
    assert server.asked[0].path == "/?q=..%2Fx"


async def test_a_url_that_its_inputs_make_too_long_fails() -> None:
    definition = http_step("http://127.0.0.1:1/?q={q}", inputs={"q": "required"})
    outcome = await outcome_of(job_of(definition, {"q": "x" * 20_000}))
    assert isinstance(outcome, Broken)
    assert "20,0" in outcome.error


async def test_no_cookie_is_kept() -> None:
    answer = reply(200, FOUND, Set_Cookie="a=b")
    async with bad_server(answer) as server, AiohttpClient(AllowList()) as client:
        for _ in range(2):
            await handler_of(client)(job_of(http_step(f"{server.url}/")))
    assert [asked.headers.get("cookie") for asked in server.asked] == [None, None]


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await come_to(reply(200, FOUND)) == Succeeded({"found": 1})


async def test_calls_share_connections() -> None:
    async with bad_server(reply(200, FOUND)) as server, AiohttpClient(AllowList()) as client:
        for _ in range(5):
            await handler_of(client)(job_of(http_step(f"{server.url}/")))
    assert (len(server.asked), server.connections) == (5, 1)


# ------------------------------------------------------------------------- async


async def test_an_async_call_is_accepted_whatever_its_body_says() -> None:
    for answer in (
        reply(202),
        reply(200, b"<html>"),
        sends(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n", close=False),
    ):
        assert await come_to(answer, type="async") == Accepted()


async def test_an_async_call_says_where_its_outcome_goes() -> None:
    async with bad_server(reply(202)) as server:
        await outcome_of(job_of(http_step(f"{server.url}/", type="async")))
    assert server.asked[0].headers["argyll-webhook-url"] == f"{BASE_URL}/webhook/f1/ask/{TOKEN}"


async def test_a_webhook_url_never_comes_into_an_error() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(400, asked.headers["argyll-webhook-url"].encode()))

    assert await come_to(answer, type="async") == Broken("status 400: [webhook]")


@pytest.mark.parametrize(("status", "kind"), [(503, Unfinished), (404, Broken)])
async def test_a_refused_async_call_is_judged_as_a_sync_one(status: int, kind: type) -> None:
    assert isinstance(await come_to(reply(status), type="async"), kind)


# -------------------------------------------------------------------------- undo


@pytest.mark.parametrize("type", ["sync", "async"])
async def test_what_was_done_is_undone_by_a_post_of_inputs_and_outputs(type: str) -> None:
    async with bad_server(reply(200, b'{"ignored": 1}')) as server:
        definition = http_step(
            f"{server.url}/", type=type, method="PUT", inputs={"x": "required"},
            compensate=f"{server.url}/undo/{{x}}/{{found}}",
        )  # fmt: skip
        outcome = await outcome_of(job_of(definition, {"x": 1}, undo={"found": "a/b"}))
    [asked] = server.asked
    assert (asked.method, asked.path) == ("POST", "/undo/1/a%2Fb")
    assert json.loads(asked.body) == {"input": {"x": 1}, "output": {"found": "a/b"}}
    assert outcome == Succeeded({})


@pytest.mark.parametrize(("status", "kind"), [(503, Unfinished), (404, Broken)])
async def test_a_refused_undo_is_judged_as_a_sync_call(status: int, kind: type) -> None:
    async with bad_server(reply(status)) as server:
        definition = http_step(server.url, type="async", compensate=f"{server.url}/undo")
        assert isinstance(await outcome_of(job_of(definition, undo={})), kind)


async def test_an_undo_whose_url_lacks_a_value_fails_and_names_it() -> None:
    definition = http_step("http://127.0.0.1:1/", compensate="http://127.0.0.1:1/{found}")
    outcome = await outcome_of(job_of(definition, undo={}))
    assert outcome == Broken("the URL of the call needs `found`, which has no value")


# ---------------------------------------------------------------------- redirects


def redirects(status: int, location: str) -> Answer:
    """Redirects from every path but `/new`, which answers."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.path == "/new":
            writer.write(reply(200, FOUND))
        else:
            port = writer.get_extra_info("sockname")[1]
            writer.write(reply(status, b"", Location=location.replace("PORT", str(port))))

    return answer


@pytest.mark.parametrize(
    ("status", "method", "body"),
    [(301, "POST", b'{"x":1}'), (302, "POST", b'{"x":1}'), (303, "GET", b""), (307, "POST", b'{"x":1}'),
     (308, "POST", b'{"x":1}')],
)  # fmt: skip
async def test_a_redirect_within_the_host_is_followed(status: int, method: str, body: bytes) -> None:
    async with bad_server(redirects(status, "/new")) as server:
        outcome = await outcome_of(job_of(http_step(f"{server.url}/old"), {"x": 1}))
    assert outcome == Succeeded({"found": 1})
    assert [(asked.method, asked.path, asked.body) for asked in server.asked[1:]] == [(method, "/new", body)]
    assert server.asked[1].headers["argyll-receipt-token"] == TOKEN


@pytest.mark.contract("outcomes", "Redirects are not followed to another host.")
@pytest.mark.parametrize(
    "location",
    [
        "http://localhost:PORT/new",
        "//evil.test/new",
        "http://127.0.0.1:6379/",
        "https://127.0.0.1:PORT/new",
        "http://127.0.0.1@evil.test/",
        "http://user:word@127.0.0.1:PORT/new",
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "http://[::1/",
        "http://127.0.0.1:99999/",
    ],
)
async def test_a_redirect_to_elsewhere_fails(location: str) -> None:
    async with bad_server(redirects(307, location)) as server:
        outcome = await outcome_of(job_of(http_step(f"{server.url}/old")))
    assert isinstance(outcome, Broken)
    assert "status 307 redirects to" in outcome.error
    assert len(server.asked) == 1


async def test_a_redirect_without_end_fails() -> None:
    async with bad_server(redirects(302, "/old")) as server:
        outcome = await outcome_of(job_of(http_step(f"{server.url}/old")))
    assert outcome == Broken(f"the service redirects more than {MAX_REDIRECTS} times")
    assert len(server.asked) == MAX_REDIRECTS + 1


# -------------------------------------------------------------------------- probe


@pytest.mark.parametrize(
    ("answer", "error"),
    [(reply(204), None), (reply(503, b"down"), "status 503: down"), (reply(404), "status 404")],
)
async def test_a_probe_says_what_is_wrong_with_a_service(answer: bytes, error: str | None) -> None:
    async with bad_server(answer) as server, AiohttpClient(AllowList()) as client:
        assert await handler_of(client).probe(f"{server.url}/s3cret") == error
    assert server.asked[0].method == "GET"


async def test_a_probe_of_a_closed_address_says_so() -> None:
    async with AiohttpClient(AllowList()) as client:
        assert "link-local" in (await handler_of(client).probe("http://169.254.169.254/") or "")
