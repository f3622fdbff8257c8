"""Health, figures, and the refusals that belong to no route."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import httpx
import pytest
from http_words import DOUBLE, TRIPLE, api_of, client_of, refused

from argyll_redis import Argyll, errors, health
from argyll_redis.core.catalog import Catalog, Registered, StepRegistered, apply
from argyll_redis.core.model import RetryDefaults, StepId
from argyll_redis.core.parse import parse_step
from argyll_redis.health import Look, plan_error
from argyll_redis.http.api import Api
from argyll_redis.http.route import Answer, Call, Route
from argyll_redis.store.memory import MemoryServer, MemoryStore
from tests.api.api_apps import Apps

pytestmark = pytest.mark.anyio


# ----------------------------------------------------------------------- health


async def test_health_is_asked_of_redis_each_time(apps: Apps) -> None:
    app = apps()
    api = api_of(app)
    async with client_of(api) as http:
        well = await http.get("/health?probe=1")
        api.is_draining = True
        draining = await http.get("/health")
    assert (well.status_code, set(well.json())) == (200, {"service", "status", "details"})
    assert (well.json()["service"], well.json()["status"]) == ("argyll", "healthy")
    assert (draining.status_code, draining.json()["status"]) == (503, "unhealthy")
    assert draining.json()["details"]["engine"] == "draining"


@pytest.mark.contract("http", "Health is 503 when the namespace was emptied.")
async def test_health_says_that_the_namespace_was_emptied(memory: Apps) -> None:
    server = MemoryServer(partitions=2)
    async with Argyll(make_store=lambda: MemoryStore(server=server)) as app, client_of(api_of(app)) as http:
        assert (await http.get("/health")).status_code == 200
        server.clear()
        gone = await http.get("/health")
    assert (gone.status_code, gone.json()["details"]["redis"]) == (
        503,
        "The namespace was emptied or replaced while in use; nothing more is written to it",
    )


@pytest.mark.contract("http", "Health is 503 when Redis is away, and does not say where it is.")
async def test_health_says_that_redis_is_away_and_not_where_it_is() -> None:
    app = Argyll("redis://:s3cret@127.0.0.1:1/0")
    async with client_of(api_of(app)) as http:
        away = await http.get("/health")
        steps = await http.get("/engine/step")
        figures = await http.get("/metrics")
    assert (away.status_code, away.json()["details"]["redis"]) == (503, "Redis cannot be reached")
    assert "127.0.0.1:1" not in away.text
    assert "cannot reach redis" in refused(steps, 503)
    assert steps.headers["retry-after"] == "1"
    assert (figures.status_code, "argyll_redis_up 0.0" in figures.text) == (200, True)
    assert "s3cret" not in away.text + steps.text


async def test_health_figures_and_heartbeat_say_what_keeps_a_process_from_working() -> None:
    """Refused writes are no health; a flow that is left alone is named to the namespace, not to everybody."""
    server = MemoryServer(partitions=2)
    async with Argyll(make_store=lambda: MemoryStore(server=server)) as app, client_of(api_of(app)) as http:
        committer = (await app.node()).committer
        committer.breaker.refuse("call", errors.StoreUnfit("Redis is out of memory"))
        committer.distrust("secret-order", errors.HistoryLost())
        refused_then, figures = await http.get("/health"), await http.get("/metrics")
        committer.breaker.settle("call")
        well = await http.get("/health")
    assert (refused_then.status_code, well.status_code) == (503, 200)
    assert refused_then.json()["details"]["redis"] == "Redis cannot be used as it is"
    assert well.json()["details"]["flows_left_alone"] == "1"
    assert "secret-order" not in refused_then.text + well.text + figures.text
    assert "argyll_writes_refused 1.0" in figures.text
    assert 'argyll_flows_left_alone{reason="history_lost"} 1.0' in figures.text
    assert 'argyll_flows_left_alone{reason="bug"} 0.0' in figures.text


# ------------------------------------------------------------------ step health


async def test_steps_that_are_registered_are_looked_at_soon(
    memory: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine looks when its process hears of them, not when its next look is due."""
    monkeypatch.setattr(health, "LOOK_MS", 3_600_000)
    monkeypatch.setattr(health, "SETTLE_MS", 1)
    app = memory()
    await memory.run(app)
    await app.register_steps([DOUBLE])
    while (await app.health_of("double"))["status"] == "unknown":
        await asyncio.sleep(0.001)
    await app.register_steps([TRIPLE])
    while (await app.health_of("triple"))["status"] == "unknown":
        await asyncio.sleep(0.001)
    assert [(await app.health_of(id))["status"] for id in ("double", "triple")] == ["healthy"] * 2


async def test_steps_are_as_healthy_as_live_engines_say(apps: Apps) -> None:
    app, other = apps(), apps()

    @app.step(outputs="x")
    def here() -> int:
        return 1

    @other.step(outputs="y", queue="far")
    def nowhere() -> int:
        return 1

    await other.register_declared()
    await app.register_steps(
        [
            {
                "id": "calc",
                "type": "script",
                "attributes": {},
                "script": {"language": "lua", "script": "return {}"},
            },
        ]
    )
    async with client_of(api_of(other)) as http:
        before = (await http.get("/engine/health")).json()
        running = await apps.run(app)
        engine = (await running.engine()).config.id

        async def look() -> dict[str, Any]:
            return (await http.get("/engine/health")).json()["health"]

        while (await look())["calc"]["status"] == "unknown":
            pass
        found = await look()
        one = (await http.get("/engine/health/CALC")).json()
        missing = await http.get("/engine/health/clac")
    well = {"status": "healthy", "engines": {engine: {"status": "healthy"}}}
    lost = {"status": "unhealthy", "error": "no live engine has this handler", "engines": {}}
    assert before == {"health": {"calc": {"status": "unknown", "engines": {}}, "nowhere": lost}, "count": 2}
    assert found == {"calc": well, "here": well, "nowhere": lost}
    assert one == well
    assert "did you mean `calc`?" in refused(missing, 404)


async def test_services_are_asked_each_url_once_and_their_word_is_merged(app: Argyll) -> None:
    """What looks at services is tried alone, with a probe that gives what a test wants to hear."""
    node = await app.node()
    catalog = Catalog()
    for name, url in (
        ("a", "http://up/"),
        ("b", "http://up/"),
        ("c", "http://down/"),
        ("d", None),
        ("e", "http://x/"),
    ):
        http = {"endpoint": "http://s/", **({"health_check": url} if url else {})}
        definition = {"id": name, "type": "sync", "attributes": {}, "http": http}
        catalog = apply(catalog, StepRegistered(Registered(definition, parse_step(definition))))
    asked: list[str] = []

    async def probe(url: str) -> str | None:
        asked.append(url)
        if url == "http://x/":
            raise OSError("http://user:s3cret@x/")
        return None if url == "http://up/" else "status 503"

    found = await Look(node, "e1", RetryDefaults(), probe)._probed(catalog)
    assert sorted(asked) == ["http://down/", "http://up/", "http://x/"]
    assert found == {
        "a": {"status": "healthy"},
        "b": {"status": "healthy"},
        "c": {"status": "unhealthy", "error": "status 503"},
        "d": {"status": "unknown"},
        "e": {"status": "unhealthy", "error": "OSError"},
    }
    unasked = await Look(node, "e1", RetryDefaults(), None)._probed(catalog)
    assert {each["status"] for each in unasked.values()} == {"unknown"}


def test_a_flow_step_is_as_healthy_as_its_plan() -> None:
    def step(id: str, **rest: Any) -> dict[str, Any]:
        return {"id": id, "type": "script", "script": {"language": "lua", "script": "return {}"}, **rest}

    needs = step("needs", attributes={"a": {"role": "required"}})
    sub = {"type": "flow", "flow": {"goals": ["needs"]}}
    definitions = [
        needs,
        {**sub, "id": "has", "attributes": {"a": {"role": "required"}}},
        {**sub, "id": "lacks", "attributes": {"b": {"role": "required"}}},
        {**sub, "id": "gone", "flow": {"goals": ["nothing"]}, "attributes": {}},
    ]
    catalog = Catalog()
    for each in definitions:
        catalog = apply(catalog, StepRegistered(Registered(each, parse_step(each))))

    def error(id: str) -> str | None:
        return plan_error(catalog, catalog.step(StepId(id)), RetryDefaults())

    assert error("has") is None
    assert error("lacks") == "its goals need values that it does not have for sure: a"
    assert "nothing" in (error("gone") or "")


# ---------------------------------------------------------------------- figures


async def test_figures_count_requests_by_route_and_name_no_id(app: Argyll) -> None:
    async with client_of(api_of(app)) as http:
        for path in ("/engine/step/double", "/engine/step/s3cret", "/nothing/s3cret"):
            await http.get(path)
        text = (await http.get("/metrics")).text
    assert 'argyll_http_requests_total{route="show_step",status="200"} 1.0' in text
    assert 'argyll_http_requests_total{route="show_step",status="404"} 1.0' in text
    assert 'argyll_http_requests_total{route="(elsewhere)",status="404"} 1.0' in text
    assert 'argyll_queue_depth{queue="control"} 0.0' in text
    assert "argyll_redis_up 1.0" in text
    assert "argyll_commit_commits_total" in text
    assert "s3cret" not in text


# ----------------------------------------------------------------------- errors


def kinds() -> list[type[errors.ArgyllError]]:
    return [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, errors.ArgyllError)
    ]


@pytest.mark.contract("http", "Every refusal has one shape, and the status of its kind.")
@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
async def test_every_exception_is_answered_with_its_status(
    kind: type[errors.ArgyllError], app: Argyll
) -> None:
    async def fail(call: Call) -> None:
        raise kind(("a",)) if kind is errors.MissingInputs else kind()  # type: ignore[call-arg, arg-type]

    route = Route("GET", "/fail", "fail", None, fail, "Fails.", {200: Answer("Never.")})
    async with client_of(Api(app, hosts=api_of(app)._hosts, routes=[route])) as http:
        error = refused(await http.get("/fail"), kind.http_status)
    assert error
    assert kind.http_status in (400, 404, 409, 500, 503)


@pytest.mark.contract("http", "An answer never holds a stack trace.")
async def test_a_bug_is_answered_without_any_of_it_and_logged(
    app: Argyll, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(call: Call) -> None:
        raise ZeroDivisionError("s3cret")

    route = Route("GET", "/fail/{step}", "fail", None, fail, "Fails.", {200: Answer("Never.")})
    async with client_of(Api(app, hosts=api_of(app)._hosts, routes=[route])) as http:
        error = refused(await http.get("/fail/t0ken"), 500)
    assert error == "this is a bug of the server: its log has more"
    assert [record.getMessage() for record in caplog.records] == ["GET fail failed"]


@pytest.mark.parametrize(
    "path", ["/", "//", "/engine/", "/engine/step/a/b", "/ENGINE", "/engine/flow//status", "/%2e"]
)
async def test_a_route_that_is_not_there_is_not_found(path: str, http: httpx.AsyncClient) -> None:
    assert "no such route" in refused(await http.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/engine", "GET"),
        ("DELETE", "/engine/flow", "GET, POST"),
        ("PATCH", "/engine/step/a", "DELETE, GET, PUT"),
        ("GET", "/webhook/a/b/c", "POST"),
        ("OPTIONS", "/health", "GET"),
        ("TRACE", "/engine", "GET"),
    ],
)
async def test_a_method_that_a_route_does_not_have_is_refused(
    method: str, path: str, allow: str, http: httpx.AsyncClient
) -> None:
    answer = await http.request(method, path)
    assert f"(use {allow})" in refused(answer, 405)
    assert answer.headers["allow"] == allow


async def test_a_head_is_answered_as_a_get(http: httpx.AsyncClient) -> None:
    assert (await http.head("/health")).status_code == 200


async def test_one_request_too_many_is_told_to_come_again(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("argyll_redis.http.api.MAX_REQUESTS", 0)
    answer = await http.get("/health")
    assert "come again" in refused(answer, 503)
    assert answer.headers["retry-after"] == "1"


async def test_a_websocket_is_nothing_else(http: httpx.AsyncClient) -> None:
    answer = await http.get("/engine/ws")
    assert refused(answer, 426) == "this is a websocket"
