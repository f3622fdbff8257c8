"""One contract for all handlers: a job comes to an outcome, and only cancellation is raised."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from bad_server import Answer, Asked, bad_server, reply
from step_words import BASE_URL, NOW_MS, http_step, job_of

from argyll_redis import ACCEPTED, Argyll, Failed, NotCompleted
from argyll_redis.core.commands import Accepted, Broken, Succeeded, Unfinished
from argyll_redis.core.parse import parse_step
from argyll_redis.scripting import Evaluator
from argyll_redis.steps import http as http_module
from argyll_redis.steps.http import HttpHandler
from argyll_redis.steps.http_address import AllowList
from argyll_redis.steps.http_client import AiohttpClient
from argyll_redis.steps.job import Handler, Job
from argyll_redis.steps.python import PythonHandler
from argyll_redis.steps.script import ScriptHandler

pytestmark = pytest.mark.anyio


@dataclass
class Case:
    """A handler, and jobs by what they come to."""

    handler: Handler
    jobs: Mapping[str, Job]


def python_case() -> Case:
    app = Argyll("memory://")

    async def wait() -> None:
        await asyncio.Event().wait()

    functions: dict[str, Callable[[], Any]] = {
        "succeeds": lambda: 1,
        "gives-nothing": lambda: None,
        "fails": lambda: _raise(Failed("no")),
        "is-not-completed": lambda: _raise(NotCompleted("later", after_ms=7_000)),
        "gives-no-json": lambda: object(),
        "gives-too-much": lambda: "x" * 3_000_000,
        "is-accepted": lambda: ACCEPTED,
        "waits": wait,
    }
    for name, function in functions.items():
        app.step(function, id=name, outputs=() if name == "gives-nothing" else "found")
    handler = PythonHandler(app.declared, 4)
    definition = {"type": "python", "attributes": {"found": {"role": "output"}}}
    jobs = {
        name: job_of({"id": name, **definition, "python": {"handler": name}, **_limit(name)})
        for name in functions
    }
    return Case(handler, jobs)


def script_case() -> Case:
    sources = {
        "succeeds": "return {found = 1}",
        "gives-nothing": "return {}",
        "fails": "error('no')",
        "gives-no-json": "return {found = function() end}",
        "gives-too-much": "local a = 'xxxxxxxxxxxxxxxx'; for i = 1, 17 do a = a .. a end; return {found = a}",
    }
    found = {"found": {"role": "output"}}
    jobs = {
        name: job_of(
            {
                "id": name,
                "type": "script",
                "script": {"language": "lua", "script": source},
                "attributes": found,
            }
        )
        for name, source in sources.items()
    }
    return Case(ScriptHandler(Evaluator(), 4), jobs)


async def services(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """A service for each job, by path."""
    match asked.path:
        case "/succeeds":
            writer.write(reply(200, b'{"found": 1}'))
        case "/gives-nothing":
            writer.write(reply(204))
        case "/fails":
            writer.write(reply(400, b'{"detail": "no"}', type="application/problem+json"))
        case "/is-not-completed":
            writer.write(reply(503, b'{"title": "later"}', type="application/problem+json", Retry_After="7"))
        case "/gives-no-json":
            writer.write(reply(200, b"<found>"))
        case "/gives-too-much":
            writer.write(reply(200, b'{"found": "' + b"x" * 3_000_000 + b'"}'))
        case _:
            await asyncio.Event().wait()


async def accepts(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """As `services`, for calls whose outcome comes later."""
    if asked.path == "/is-accepted":
        writer.write(reply(202))
    else:
        await services(asked, writer)


def http_case(type: str, url: str, client: AiohttpClient) -> Case:
    names = ["fails", "is-not-completed", "waits"]
    names += (
        ["is-accepted"]
        if type == "async"
        else ["succeeds", "gives-nothing", "gives-no-json", "gives-too-much"]
    )
    handler = HttpHandler(client, webhook_base_url=BASE_URL, now_ms=lambda: NOW_MS)
    return Case(
        handler, {name: job_of(http_step(f"{url}/{name}", type=type, **_limit(name))) for name in names}
    )


def _limit(name: str) -> dict[str, Any]:
    return {"work_config": {"timeout": 50}} if name == "waits" else {}


def _raise(error: Exception) -> None:
    raise error


@asynccontextmanager
async def case_of(type: str) -> AsyncIterator[Case]:
    async with AsyncExitStack() as stack:
        if type in ("sync", "async"):
            answer: Answer = services if type == "sync" else accepts
            server = await stack.enter_async_context(bad_server(answer))
            client = await stack.enter_async_context(AiohttpClient(AllowList()))
            yield http_case(type, server.url, client)
        else:
            yield {"python": python_case, "script": script_case}[type]()


ALL = ("python", "script", "sync", "async")
GIVE = ("python", "script", "sync")
"""Types whose call can be a success at once."""
WAIT = ("python", "sync", "async")
"""Types whose calls can wait."""


def types(*names: str) -> pytest.MarkDecorator:
    """Runs a test on the handlers of these types."""
    return pytest.mark.parametrize("type", names)


async def outcome(type: str, name: str) -> Any:
    """What a job of a type comes to."""
    async with case_of(type) as case:
        return await case.handler(case.jobs[name])


@types(*GIVE)
async def test_a_success_has_the_outputs(type: str) -> None:
    assert await outcome(type, "succeeds") == Succeeded({"found": 1})


@types(*GIVE)
async def test_nothing_is_a_success_without_outputs(type: str) -> None:
    assert await outcome(type, "gives-nothing") == Succeeded({})


@types(*ALL)
async def test_a_failure_is_for_good_and_says_why(type: str) -> None:
    found = await outcome(type, "fails")
    assert isinstance(found, Broken)
    assert found.error.endswith("no")


@types(*WAIT)
async def test_what_is_not_completed_says_why_and_for_how_long(type: str) -> None:
    assert await outcome(type, "is-not-completed") == Unfinished("later", 7_000)


@types(*GIVE)
async def test_outputs_that_are_no_json_fail_for_good(type: str) -> None:
    assert isinstance(await outcome(type, "gives-no-json"), Broken)


@types(*GIVE)
async def test_outputs_that_are_too_large_fail_for_good(type: str) -> None:
    assert isinstance(await outcome(type, "gives-too-much"), Broken)


@types("python", "async")
async def test_an_outcome_that_comes_later_is_accepted(type: str) -> None:
    assert await outcome(type, "is-accepted") == Accepted()


@types(*WAIT)
async def test_a_call_that_takes_too_long_is_not_completed_and_told_so(type: str) -> None:
    async with case_of(type) as case:
        job = case.jobs["waits"]
        assert await case.handler(job) == Unfinished("timed out after 50 ms")
    assert job.context.cancelled


@types(*WAIT)
async def test_cancellation_is_raised(type: str) -> None:
    async with case_of(type) as case:
        task = asyncio.ensure_future(case.handler(case.jobs["waits"]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# ------------------------------------------------------------- what can be done


def http_handler(base_url: str) -> HttpHandler:
    return HttpHandler(AiohttpClient(AllowList()), webhook_base_url=base_url, now_ms=lambda: NOW_MS)


def test_without_the_package_no_http_step_is_taken_and_the_mend_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http_module, "find_spec", lambda name: None)
    handler, step = http_handler(BASE_URL), parse_step(http_step("http://a.test/"))
    with caplog.at_level(logging.WARNING):
        assert [handler.has(step), handler.has(step), handler.has_undo(step)] == [False] * 3
    assert handler.types == ()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "pip install 'argyll-redis[http]'" in lines[0]


def test_without_a_webhook_address_no_async_step_is_taken_and_all_else_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    handler = http_handler("")
    sync, later = (parse_step(http_step("http://a.test/", type=type)) for type in ("sync", "async"))
    with caplog.at_level(logging.WARNING):
        assert [handler.has(sync), handler.has(later), handler.has_undo(later)] == [True, False, True]
    assert [str(type) for type in handler.types] == ["sync"]
    assert "webhook" in caplog.text
