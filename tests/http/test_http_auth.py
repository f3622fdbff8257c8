"""Who may do what: every route with every kind of key; a route that is not in this table fails."""

from __future__ import annotations

import httpx
import pytest
from http_words import DOUBLE, KEY_OF, KEYS, api_of, client_of, refused

from argyll_redis import Argyll, InvalidInput
from argyll_redis.http.keys import Role, read_keys
from argyll_redis.http.routes import ROUTES

pytestmark = pytest.mark.anyio

NEEDS: dict[tuple[str, str], str] = {
    ("GET", "/health"): "",
    ("GET", "/engine/step"): "read",
    ("POST", "/engine/step"): "define",
    ("GET", "/engine/step/{step}"): "read",
    ("PUT", "/engine/step/{step}"): "define",
    ("DELETE", "/engine/step/{step}"): "define",
    ("GET", "/engine"): "read",
    ("GET", "/engine/catalog"): "read",
    ("GET", "/engine/catalog/events"): "read",
    ("POST", "/engine/plan"): "read",
    ("POST", "/engine/flow"): "operate",
    ("GET", "/engine/flow"): "read",
    ("POST", "/engine/flow/query"): "read",
    ("GET", "/engine/flow/{flow}"): "read",
    ("GET", "/engine/flow/{flow}/status"): "read",
    ("GET", "/engine/flow/{flow}/events"): "read",
    ("POST", "/engine/flow/{flow}/cancel"): "operate",
    ("GET", "/engine/flow/{flow}/why/{step}"): "read",
    ("POST", "/webhook/{flow}/{step}/{token}"): "",
    ("GET", "/engine/ws"): "read",
    ("GET", "/engine/health"): "read",
    ("GET", "/engine/health/{step}"): "read",
    ("GET", "/metrics"): "read",
    ("GET", "/openapi.json"): "read",
}
"""The least role that each route needs; none where it is empty."""
RANK = {"": 0, "read": 1, "operate": 2, "define": 3}


def test_the_table_has_every_route_and_no_other() -> None:
    assert {(route.method, route.path) for route in ROUTES} == set(NEEDS)


def allowed(response: httpx.Response) -> bool:
    return response.status_code not in (401, 403)


async def ask(http: httpx.AsyncClient, method: str, path: str, key: str | None) -> httpx.Response:
    path = path.replace("{flow}", "f").replace("{step}", "s").replace("{token}", "t")
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return await http.request(method, path, headers=headers)


@pytest.mark.contract("http", "With keys set, a route needs its role or a higher one.")
@pytest.mark.parametrize(("method", "path"), NEEDS, ids=lambda part: part)
async def test_a_route_needs_its_role_or_a_higher_one(method: str, path: str, app: Argyll) -> None:
    needed = NEEDS[method, path]
    async with client_of(api_of(app, keys=KEYS)) as http:
        for key in (None, "wrong", "", "d-ke", "d-key "):
            answer = await ask(http, method, path, key and key)
            if not needed or key == "d-key ":
                assert allowed(answer)
            else:
                assert "Bearer" in refused(answer, 401)
                assert answer.headers["www-authenticate"].startswith("Bearer")
        for role, key in KEY_OF.items():
            answer = await ask(http, method, path, key)
            assert allowed(answer) == (RANK[role] >= RANK[needed]), role
            if not allowed(answer):
                assert refused(answer, 403) == f"the key has the role {role}, and this needs {needed}"


@pytest.mark.parametrize(("method", "path"), NEEDS, ids=lambda part: part)
async def test_without_keys_everything_is_open(method: str, path: str, http: httpx.AsyncClient) -> None:
    assert allowed(await ask(http, method, path, None))


async def test_a_refused_request_changes_nothing(app: Argyll) -> None:
    async with client_of(api_of(app, keys=KEYS), authorization="Bearer r-key") as http:
        refused(await http.delete("/engine/step/double"), 403)
        refused(await http.post("/engine/flow", json={"goals": ["double"], "init": {"a": [1]}}), 403)
    assert [step["id"] for step in await app.steps()] == ["double", "triple"]
    assert await app.flows() == []


async def test_a_key_that_defines_may_do_everything(app: Argyll) -> None:
    async with client_of(api_of(app, keys=KEYS), authorization="bearer   d-key") as http:
        assert (await http.post("/engine/step", json=DOUBLE)).status_code == 201
        answer = await http.post("/engine/flow", json={"goals": ["double"], "init": {"a": [1]}})
    assert answer.status_code == 201


@pytest.mark.parametrize("scheme", ["Basic ZC1rZXk6", "d-key", "Bearer", "Bearer d-key r-key", "Token d-key"])
async def test_another_scheme_is_no_key(scheme: str, app: Argyll) -> None:
    async with client_of(api_of(app, keys=KEYS), authorization=scheme) as http:
        refused(await http.get("/engine/step"), 401)


# ------------------------------------------------------------------------- keys


def test_keys_are_read_with_their_roles_and_kept_as_hashes() -> None:
    keys = read_keys(" read:a , define:b:c,operate:a,")
    assert [keys.role_of(each) for each in ("a", "b:c", "b", "")] == [Role.OPERATE, Role.DEFINE, None, None]
    assert "b:c" not in f"{keys!r} {vars(keys)}"
    assert bool(keys)


@pytest.mark.parametrize("text", [None, "", " , "])
def test_nothing_gives_no_keys(text: str | None) -> None:
    assert not read_keys(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s3cret", "ARGYLL_API_KEYS, key 1: has no role"),
        ("read:a,reed:s3cret", "key 2: has an unknown role (did you mean `read`?)"),
        ("read:", "key 1: is empty"),
        ("read:s3 cret", "has characters that no header can hold"),
        ("read:s3crét", "has characters that no header can hold"),
        ("read:" + "s3cret" * 100, "is 600 characters long"),
    ],
)
def test_a_key_that_cannot_be_is_refused_without_showing_it(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_keys(text)
    assert words in str(caught.value)
    assert "s3cr" not in str(caught.value)
