"""Jobs as handlers get them."""

from __future__ import annotations

from typing import Any

from argyll_redis.core.model import JSON, Token
from argyll_redis.core.parse import parse_step
from argyll_redis.steps.context import StepContext
from argyll_redis.steps.http import HttpHandler
from argyll_redis.steps.http_address import read_allow_list
from argyll_redis.steps.http_client import AiohttpClient, Look
from argyll_redis.steps.job import Job, Undo

BASE_URL = "http://argyll.test:8080/base"
NOW_MS = 784_111_777_000
"""Sun, 06 Nov 1994 08:49:37 GMT."""
TOKEN = Token("t0ken")


def http_step(
    endpoint: str,
    *,
    type: str = "sync",
    inputs: dict[str, str] | None = None,
    work_config: dict[str, JSON] | None = None,
    **http: JSON,
) -> dict[str, Any]:
    """The definition of a step that has the output `found`, and inputs by their role."""
    attributes: dict[str, Any] = {name: {"role": role} for name, role in (inputs or {}).items()}
    return {
        "id": "ask",
        "type": type,
        "attributes": {**attributes, "found": {"role": "output"}},
        "http": {"endpoint": endpoint, **http},
        "work_config": work_config or {},
    }


def job_of(
    definition: dict[str, Any],
    inputs: dict[str, JSON] | None = None,
    *,
    attempt: int = 1,
    undo: dict[str, JSON] | None = None,
) -> Job:
    """An attempt to carry a definition out, or to undo what gave these outputs."""
    step = parse_step(definition)
    context = StepContext("f1", step.id, TOKEN, attempt)
    undone = None if undo is None else Undo(undo)
    return Job("f1", step, TOKEN, attempt, dict(inputs or {}), context, undone)


def handler_of(client: Any, base_url: str = BASE_URL) -> HttpHandler:
    return HttpHandler(client, webhook_base_url=base_url, now_ms=lambda: NOW_MS)


async def outcome_of(job: Job, *, allow: tuple[str, ...] = (), look: Look | None = None) -> Any:
    """What a call comes to, with a client of its own."""
    async with AiohttpClient(read_allow_list(allow), look=look) as client:
        return await handler_of(client)(job)
