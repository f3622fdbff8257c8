"""What is looked at before the route: the host, the origin, and the address to listen on."""

from __future__ import annotations

import socket

import httpx
import pytest
from http_words import BASE, HOST, api_of, client_of, refused

from argyll_redis import Argyll, InvalidInput
from argyll_redis.http.address import Address, bind, read_address
from argyll_redis.http.answers import HEADERS, redacted
from argyll_redis.http.api import Api
from argyll_redis.http.guard import Hosts
from argyll_redis.http.server import HttpServer

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("host", [HOST, "localhost", "LOCALHOST:99", "127.0.0.1", "[::1]:8080", "localhost."])
async def test_the_server_answers_to_its_own_names(host: str, http: httpx.AsyncClient) -> None:
    assert (await http.get("/engine/step", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
        "a b",
        "127.0.0.1:x",
        "x@localhost",
        "localhost/x",
    ],
)
async def test_the_server_answers_to_no_other_name(host: str, http: httpx.AsyncClient) -> None:
    for path in ("/engine/step", "/health", "/nothing"):
        assert "is not a name of this server" in refused(await http.get(path, headers={"host": host}), 400)


@pytest.mark.parametrize("origin", [BASE, "https://127.0.0.1:8080"])
async def test_a_page_of_the_same_origin_may_ask(origin: str, http: httpx.AsyncClient) -> None:
    assert (await http.get("/engine/step", headers={"origin": origin})).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.example", "null", "http://127.0.0.1", "http://localhost:8080", "file://", "", "x"),
        *("http://127.0.0.1:8081", "http://127.0.0.1:8080.evil.example", "http://127.0.0.1:x"),
    ],
)
async def test_a_page_of_another_origin_may_not(origin: str, app: Argyll) -> None:
    async with client_of(api_of(app), origin=origin) as http:
        refused(await http.get("/engine/step"), 403)
        answer = await http.post("/engine/flow", content=b'{"goals": ["double"], "init": {"a": [1]}}')
        refused(answer, 403)
        refused(await http.options("/engine/flow", headers={"access-control-request-method": "POST"}), 403)
    assert await app.flows() == []


async def test_a_server_behind_a_proxy_answers_to_the_names_it_is_given(app: Argyll) -> None:
    address = Address("127.0.0.1", 8080)
    hosts = Hosts(address, base_url="https://hooks.example/in", others=["flows.example"])
    async with client_of(Api(app, hosts=hosts)) as http:
        for name in ("hooks.example", "flows.example", "Flows.Example:443"):
            assert (await http.get("/engine", headers={"host": name})).status_code == 200
        same = {"host": "flows.example", "origin": "https://flows.example"}
        assert (await http.get("/engine", headers=same)).status_code == 200
        refused(await http.get("/engine", headers={"host": "other.example"}), 400)


async def test_a_server_on_every_address_answers_to_numbers_and_its_machines_name(app: Argyll) -> None:
    async with client_of(Api(app, hosts=Hosts(Address("0.0.0.0", 80)))) as http:
        for name in ("10.1.2.3", "[fe80::1]:80", socket.gethostname()):
            assert (await http.get("/engine", headers={"host": name})).status_code == 200
        refused(await http.get("/engine", headers={"host": "rebound.example"}), 400)


async def test_every_answer_has_the_headers_that_browsers_heed(http: httpx.AsyncClient) -> None:
    for method, path in (("GET", "/health"), ("GET", "/x"), ("GET", "/metrics"), ("PUT", "/engine")):
        headers = (await http.request(method, path)).headers
        assert {name: headers.get(name) for name in HEADERS} == dict(HEADERS), path
        assert "access-control-allow-origin" not in headers


def test_a_text_is_shown_without_what_its_urls_give_away() -> None:
    text = "redis://u:s3cret@h:1/0, http://:p@x and /webhook/f/s/0123abc?x, http://a/b@c"
    assert redacted(text) == "redis://...@h:1/0, http://...@x and /webhook/f/s/...?x, http://a/b@c"


# ---------------------------------------------------------------------- address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("[::1]:0", Address("::1", 0)),
        (" localhost:65535 ", Address("localhost", 65535)),
    ],
)
def test_an_address_is_read(text: str, expected: Address) -> None:
    assert read_address(text) == expected


@pytest.mark.parametrize(
    "text", ["", "8080", ":8080", "::1:8080", "host:", "host:x", "host:65536", "host:-1", "h:²"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="--http: "):
        read_address(text)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("10.0.0.1", False), ("no.such.name.invalid", False)],
)  # fmt: skip
def test_an_address_knows_whether_others_reach_it(host: str, is_loopback: bool) -> None:
    assert Address(host, 1).is_loopback == is_loopback


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    taken = bind(Address("127.0.0.1", 0))
    try:
        with pytest.raises(
            InvalidInput, match=r"cannot listen on 127\.0\.0\.1:\d+: address already in use \(use"
        ):
            bind(Address("127.0.0.1", taken.getsockname()[1]))
    finally:
        taken.close()


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
async def test_an_address_that_others_reach_needs_keys(address: str, app: Argyll) -> None:
    with pytest.raises(InvalidInput, match="there are no keys"):
        HttpServer(app, address)
    server = HttpServer(app, "0.0.0.0:0", keys="read:k")
    assert (server.url, server.address.port > 0) == (
        f"http://{socket.gethostname()}:{server.address.port}",
        True,
    )
    server.close()


async def test_packages_that_are_missing_are_named_with_the_command(
    app: Argyll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("argyll_redis.http.server.NEEDED", ("starlette", "no_such_package"))
    with pytest.raises(InvalidInput, match=r"needs no_such_package \(pip install 'argyll-redis\[server\]'\)"):
        HttpServer(app, "127.0.0.1:0")
