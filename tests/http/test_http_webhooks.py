"""Webhooks: outcomes from elsewhere, taken by any process, counted once."""

from __future__ import annotations

import pytest
from http_words import api_of, client_of, refused

from argyll_redis import ACCEPTED, Argyll, FlowHandle, Retry, StepContext
from argyll_redis.http.webhook import PROBLEM, UNKNOWN
from tests.api.api_apps import Apps, event, items_of, token_of, version_of

pytestmark = pytest.mark.anyio
AS_PROBLEM = {"content-type": f"{PROBLEM}; charset=utf-8"}


async def waiting(apps: Apps) -> tuple[Argyll, FlowHandle, str]:
    """An engine, a flow that waits for somebody, and the path of its webhook."""
    app = apps()

    @app.step(outputs="approved", retry=Retry(max_retries=2, initial_ms=1, backoff="fixed"))
    async def approve(order: str, ctx: StepContext) -> object:
        return ACCEPTED

    await apps.run(app)
    flow = await app.start([approve], {"order": "o"}, id="order-1")
    return app, flow, f"/webhook/order-1/approve/{await token_of(flow, 'approve')}"


async def test_an_object_is_a_success_and_counts_once_whoever_takes_it(apps: Apps) -> None:
    _, flow, path = await waiting(apps)
    async with client_of(api_of(apps())) as http:
        first = await http.post(path, json={"approved": True, "undeclared": 1})
        again = await http.post(path, json={"approved": False})
    assert (first.status_code, first.json()) == (200, {"message": "the outcome is recorded"})
    assert (again.status_code, again.json()) == (200, {"message": "the outcome was known already"})
    assert await flow.result() == {"approved": True}
    succeeded = await event(flow, "work_succeeded")
    assert (succeeded["by"].partition(":")[0], succeeded["cause"]) == ("webhook", 0)


@pytest.mark.parametrize("status", [429, 500, 503, 599])
async def test_a_problem_that_may_pass_is_tried_again(status: int, memory: Apps) -> None:
    app, flow, path = await waiting(memory)
    async with client_of(api_of(app)) as http:
        answer = await http.post(
            path, json={"status": status, "title": "t", "detail": "busy"}, headers=AS_PROBLEM
        )
        assert answer.status_code == 200
        await event(flow, "work_accepted", attempt=2)
        assert (await event(flow, "work_not_completed"))["data"]["error"] == "busy"
        await http.post(path, json={"approved": 1})
    assert await flow.result() == {"approved": 1}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"status": 400, "title": "no", "detail": "not this time"}, "not this time"),
        ({"status": 404, "title": "gone"}, "gone"),
        ({"status": 422, "detail": "  ", "title": 5}, "failed with status 422"),
        ({"title": "no status"}, "no status"),
        ({}, "failed"),
    ],
)
async def test_any_other_problem_is_a_failure_for_good(
    body: dict[str, object], error: str, memory: Apps
) -> None:
    app, flow, path = await waiting(memory)
    async with client_of(api_of(app)) as http:
        answer = await http.post(path, json=body, headers=AS_PROBLEM)
    assert answer.status_code == 200
    assert [item["error"] for item in await items_of(flow, "approve")] == [error]
    assert (await flow.state())["status"] == "failed"


async def test_an_attempt_that_is_not_the_current_one_puts_nothing_off(memory: Apps) -> None:
    app, flow, path = await waiting(memory)
    async with client_of(api_of(app)) as http:
        old = await http.post(path, json={"status": 503}, headers={**AS_PROBLEM, "Argyll-Attempt": "9"})
        assert (old.status_code, old.json()["message"]) == (200, "the outcome was known already")
        current = await http.post(path, json={"status": 503}, headers={**AS_PROBLEM, "Argyll-Attempt": "1"})
    assert current.json()["message"] == "the outcome is recorded"
    await event(flow, "work_retry_scheduled", attempt=2)


async def test_what_is_unknown_is_answered_alike_and_nothing_is_written(memory: Apps) -> None:
    app, flow, path = await waiting(memory)
    imported = [line async for line in app.export_flow(flow.id)]
    other = memory(namespace="other")
    _, _, step, token = path.split("/")[1:]
    before = await version_of(flow)
    wrong = [
        f"/webhook/nobody/{step}/{token}",
        f"/webhook/Order%201/{step}/{token}",
        f"/webhook/order-1/other/{token}",
        f"/webhook/order-1/{step}/{token[:-1]}",
        f"/webhook/order-1/{step}/{'0' * 32}",
        f"/webhook/order-1/{token}/{step}",
        f"/webhook/{token}/{step}/order-1",
        f"/webhook/order-1/{step}/%00",
        f"/webhook/order-1/{step}/{'x' * 5_000}",
    ]
    async with client_of(api_of(app)) as http:
        for each in wrong:
            for headers in ({}, AS_PROBLEM):
                assert refused(await http.post(each, json={"approved": 1}, headers=headers), 400) == UNKNOWN
    assert await version_of(flow) == before
    assert (len(imported), other.namespace) == (before + 1, "other")


async def test_an_imported_flow_is_as_good_as_unknown(memory: Apps) -> None:
    from argyll_redis.store.memory import MemoryServer, MemoryStore

    app, flow, path = await waiting(memory)
    lines = [line async for line in app.export_flow(flow.id)]
    server = MemoryServer(partitions=2)
    async with Argyll(make_store=lambda: MemoryStore(server=server)) as elsewhere:
        await elsewhere.import_flow(lines)
        async with client_of(api_of(elsewhere)) as http:
            assert refused(await http.post(path, json={"approved": 1}), 400) == UNKNOWN


@pytest.mark.parametrize(
    ("content", "headers", "words"),
    [
        (b"", {}, "body"),
        (b"[1]", {}, "body: is not a JSON object"),
        (b'"x"', AS_PROBLEM, "body: is not a JSON object"),
        (b'{"a": NaN}', {}, "not a JSON number"),
        (b'{"a": 1, "a": 2}', {}, "occurs twice"),
        (b'{"a": "\\ud800"}', {}, "lone surrogate"),
        (b"\xff", {}, "not valid UTF-8"),
        (b'{"status": "503"}', AS_PROBLEM, "status: is not an HTTP status"),
        (b'{"status": 99}', AS_PROBLEM, "status: is not an HTTP status"),
        (b'{"status": true}', AS_PROBLEM, "status: is not an HTTP status"),
        (b"{}", {"Argyll-Attempt": "0"}, "is not the number of an attempt"),
        (b"{}", {"Argyll-Attempt": "-1"}, "is not the number of an attempt"),
        (b"{}", {"Argyll-Attempt": "1.0"}, "is not the number of an attempt"),
        (b"{}", {"Argyll-Attempt": "9" * 40}, "is not the number of an attempt"),
    ],
)
async def test_what_is_malformed_changes_nothing(
    content: bytes, headers: dict[str, str], words: str, memory: Apps
) -> None:
    app, flow, path = await waiting(memory)
    before = await version_of(flow)
    async with client_of(api_of(app)) as http:
        assert words in refused(await http.post(path, content=content, headers=headers), 400)
    assert await version_of(flow) == before


async def test_a_caller_that_adds_parameters_is_understood(memory: Apps) -> None:
    app, flow, path = await waiting(memory)
    async with client_of(api_of(app)) as http:
        assert (await http.post(f"{path}?source=mail", json={"approved": 1})).status_code == 200
    assert await flow.result() == {"approved": 1}
