"""Bad input over every route: a clear refusal in one shape, nothing changed, and never a 5xx."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from http_words import DOUBLE, api_of, client_of, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argyll_redis import Argyll
from argyll_redis.core.limits import MAX_BODY_BYTES, MAX_NESTING, MAX_STEP_BYTES
from argyll_redis.http.api import Api
from argyll_redis.http.openapi import document
from argyll_redis.http.route import Route
from argyll_redis.http.routes import ROUTES
from argyll_redis.http.schemas import COMPONENTS
from argyll_redis.store.memory import MemoryServer, MemoryStore

pytestmark = pytest.mark.anyio

WITH_BODY = [route for route in ROUTES if route.body is not None]
HOSTILE = [
    "...", "%2e%2e", "a b", "a\nb", "\x00", "\x7f", "é" * 300, "x" * 20_000, "'; DROP TABLE flows", "{flow}",
    "{{7*7}}", "<script>alert(1)</script>", "\u202etxt", "${jndi:ldap://x}", "-", "*", "%", "%zz", "\\", "😀",
]  # fmt: skip


def nested(levels: int) -> bytes:
    return b'{"x": ' + b"[" * levels + b"]" * levels + b"}"


BODIES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "body"),
    "cut short": (b'{"id": "a"', 400, "not JSON"),
    "two documents": (b"{} {}", 400, "not JSON"),
    "a list": (b"[]", 400, "is not a JSON object"),
    "a text": (b'"x"', 400, "is not a JSON object"),
    "null": (b"null", 400, "is not a JSON object"),
    "no UTF-8": (b'{"id": "\xff"}', 400, "not valid UTF-8"),
    "NaN": (b'{"x": NaN}', 400, "not a JSON number"),
    "infinity": (b'{"x": 1e999}', 400, "not a JSON number"),
    "a number beyond 64 bit": (b'{"x": 18446744073709551616}', 400, "beyond 64 bit"),
    "a very long number": (b'{"x": ' + b"9" * 5_000 + b"}", 400, "beyond 64 bit"),
    "a key twice": (b'{"x": 1, "x": 2}', 400, "occurs twice"),
    "a lone surrogate": (b'{"x": "\\udc00"}', 400, "lone surrogate"),
    "a lone surrogate as a key": (b'{"\\udc00": 1}', 400, "lone surrogate"),
    "too deep": (nested(MAX_NESTING + 10), 400, "levels deep"),
    "far too deep": (nested(100_000), 400, "levels deep"),
    "too large": (b'{"x": "' + b"a" * MAX_BODY_BYTES + b'"}', 413, "larger than"),
}


def path_of(route: Route, text: str = "x") -> str:
    path = route.path
    for name in route.names:
        path = path.replace(f"{{{name}}}", quote(text, safe=""))
    return path


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
@pytest.mark.parametrize("what", BODIES)
async def test_a_body_that_cannot_be_is_refused(
    route: Route, what: str, app: Argyll, http: httpx.AsyncClient
) -> None:
    content, status, words = BODIES[what]
    answer = await http.request(route.method, path_of(route), content=content)
    assert words in refused(answer, status)
    assert [step["id"] for step in await app.steps()] == ["double", "triple"]
    assert await app.flows() == []


WRONG_TYPES: list[Any] = [7, -1, 1.5, True, "x", "", [], [[]], {}, {"a": {}}, [None], "\u0000", {"": 1}]


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
async def test_a_field_of_any_wrong_type_is_refused_or_understood(
    route: Route, http: httpx.AsyncClient
) -> None:
    """Whatever a field holds, the answer is one of those that the route has."""
    properties = schema_of(route.body).get("properties", {"x": {}})
    whole = {"id": "x", "goals": ["double"], "type": "script", "attributes": {}, "init": {"a": [1]}}
    for name in properties:
        for wrong in WRONG_TYPES:
            body = {each: whole[each] for each in whole if each in properties} | {name: wrong}
            answer = await http.request(route.method, path_of(route), json=body)
            assert answer.status_code in (*route.answers, 400), (name, wrong, answer.text)
            if answer.status_code >= 400:
                refused(answer, answer.status_code)


@pytest.mark.parametrize(
    "route", [each for each in WITH_BODY if each.name != "take_outcome"], ids=lambda each: each.name
)
async def test_an_unknown_field_is_refused_with_the_nearest_known_one(
    route: Route, http: httpx.AsyncClient
) -> None:
    properties = list(schema_of(route.body)["properties"])
    body: dict[str, Any] = {"id": "x", "type": "script"} if "type" in properties else {"goals": ["double"]}
    body = {name: value for name, value in body.items() if name in properties}
    name = properties[0]
    answer = await http.request(route.method, path_of(route), json={**body, f"{name}s_": 1})
    assert "is not a known field" in refused(answer, 400)


def schema_of(schema: Any) -> Any:
    return COMPONENTS[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:20])
async def test_hostile_names_in_paths_are_not_found(text: str, http: httpx.AsyncClient) -> None:
    for route in ROUTES:
        if not route.names or route.is_socket:
            continue
        body = {"json": {**DOUBLE, "id": text}} if route.method == "PUT" else {"json": {}}
        answer = await http.request(route.method, path_of(route, text), **(body if route.body else {}))
        assert answer.status_code in (400, 404), (route.name, answer.text)
        refused(answer, answer.status_code)


@pytest.mark.parametrize("route", [each for each in ROUTES if not each.any_query], ids=lambda each: each.name)
async def test_a_parameter_that_a_route_does_not_have_is_refused(
    route: Route, http: httpx.AsyncClient
) -> None:
    if route.is_socket:
        return
    answer = await http.request(route.method, f"{path_of(route)}?nonsense=1", json={} if route.body else None)
    assert "nonsense: is not a parameter of this route" in refused(answer, 400)


async def test_too_many_parameters_are_refused(http: httpx.AsyncClient) -> None:
    refused(await http.get("/engine?" + "&".join(f"a{n}=1" for n in range(500))), 400)


# ------------------------------------------------------------------------ sizes


async def test_a_step_may_be_half_as_large_as_other_bodies(http: httpx.AsyncClient) -> None:
    large = {**DOUBLE, "labels": {"x": "a" * MAX_STEP_BYTES}}
    assert f"larger than {MAX_STEP_BYTES:,} bytes" in refused(
        await http.post("/engine/step", json=large), 413
    )
    refused(await http.put("/engine/step/double", json=large), 413)
    answer = await http.post(
        "/engine/flow", json={"goals": ["double"], "init": {"a": [1], "z": ["a" * MAX_STEP_BYTES]}}
    )
    assert answer.status_code == 201


async def test_a_body_of_unknown_length_is_read_no_further_than_it_may_be(api: Api) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield b"a" * 65_536

    async with client_of(api) as http:
        answer = await http.post("/engine/flow", content=endless())
    refused(answer, 413)
    assert answer.headers["connection"] == "close"
    assert given <= MAX_BODY_BYTES // 65_536 + 2


async def test_a_body_that_never_ends_is_given_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("argyll_redis.http.bodies.BODY_LIMIT_S", 0.01)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with client_of(api) as http:
        assert "took more than" in refused(await http.post("/engine/plan", content=slow()), 408)


@pytest.mark.parametrize("packed", ["gzip", "br", "gzip, identity"])
async def test_a_packed_body_is_not_taken(packed: str, http: httpx.AsyncClient) -> None:
    answer = await http.post("/engine/plan", content=b"{}", headers={"content-encoding": packed})
    assert "packed" in refused(answer, 415)


# ------------------------------------------------------------------- at random

NAMES = st.sampled_from(["a", "b", "c", "double", "triple", "f1", "lua", "x"]) | st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def of_schema(schema: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """What a schema describes, and now and then what it does not."""
    schema = schema_of(schema)
    if depth > 4 or not schema:
        return JSON
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "string":
            return NAMES
        case "integer":
            return st.integers(-2, 5) | st.integers()
        case "number":
            return st.floats(0, 1)
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(mostly(schema.get("items", {}), depth + 1), max_size=3)
        case "object":
            return _object(schema, depth)
        case _:
            return JSON


def mostly(schema: Any, depth: int) -> st.SearchStrategy[Any]:
    return st.integers(0, 19).flatmap(lambda n: JSON if n == 0 else of_schema(schema, depth))


def _object(schema: Any, depth: int) -> st.SearchStrategy[Any]:
    known = {name: mostly(each, depth + 1) for name, each in schema.get("properties", {}).items()}
    if not known:
        more = schema.get("additionalProperties")
        return st.dictionaries(NAMES, mostly(more if isinstance(more, dict) else {}, depth + 1), max_size=3)
    needed = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: each for name, each in known.items() if name in needed},
        optional={name: each for name, each in known.items() if name not in needed},
    )


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, dict[str, str], bytes | None]:
    """A request to any route, as its description has it or nearly so."""
    described = document(ROUTES)
    path = draw(st.sampled_from(sorted(set(described["paths"]) - {"/engine/ws"})))
    method = draw(st.sampled_from(sorted(described["paths"][path])))
    operation = described["paths"][path][method]
    query: dict[str, str] = {}
    for each in operation["parameters"]:
        if each["in"] == "path":
            path = path.replace(f"{{{each['name']}}}", quote(draw(NAMES.filter(bool)), safe=""))
        elif each["in"] == "query" and draw(st.booleans()):
            query[each["name"]] = str(draw(of_schema(each["schema"]))).replace("\ud800", "")
    if "requestBody" not in operation:
        return method, path, query, None
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return method, path, query, dumped(draw(of_schema(schema)))


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.contract("http", "Whatever is asked, the answer is one that the description has.")
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(asked=st.lists(requests(), min_size=1, max_size=4))
def test_whatever_is_asked_the_answer_is_one_that_is_described(asked: list[tuple[Any, ...]]) -> None:
    """No exception leaves the API, nothing is a 5xx, and every refusal has the shape."""

    async def ask() -> None:
        server = MemoryServer(partitions=2)
        async with Argyll(make_store=lambda: MemoryStore(server=server)) as app:
            await app.register_steps([DOUBLE])
            async with client_of(api_of(app)) as http:
                for method, path, query, body in asked:
                    answer = await http.request(method, path, params=query, content=body)
                    assert answer.status_code < 500, (method, path, query, body, answer.text)
                    if answer.status_code >= 400:
                        refused(answer, answer.status_code)

    asyncio.run(ask())
