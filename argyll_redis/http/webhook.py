"""The webhook: where steps that answer later say what came of their work.

No key is needed: the token is one, of 128 bits that nobody can guess. What is unknown, be it the flow, the
step or the token, is answered alike, so that nobody learns what exists.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import Response

from argyll_redis.core.commands import Broken, Outcome, Succeeded, Unfinished
from argyll_redis.core.limits import MAX_INTEGER
from argyll_redis.core.model import JSON
from argyll_redis.core.values import shown
from argyll_redis.errors import FlowImported, InvalidInput, Problem, UnknownToken
from argyll_redis.http.answers import Refused, json_answer
from argyll_redis.http.bodies import parse_object
from argyll_redis.http.route import Call

PROBLEM = "application/problem+json"
ATTEMPT = "Argyll-Attempt"
UNKNOWN = "no work item has this address: flow, step or token is unknown"
RETRIED = (HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600))
"""Statuses of a problem that mean: not completed, try again."""


async def take_outcome(call: Call) -> Response:
    """Takes the outcome of a work item."""
    attempt = _attempt(call.request.headers.get(ATTEMPT))
    outcome = _outcome(call.request.headers.get("content-type", ""), parse_object(call.body))
    try:
        counted = await call.app.receive(
            call.path["flow"], call.path["step"], call.path["token"], outcome, attempt=attempt
        )
    except (UnknownToken, FlowImported):
        raise Refused(HTTPStatus.BAD_REQUEST, UNKNOWN) from None
    return json_answer({"message": "the outcome is recorded" if counted else "the outcome was known already"})


def _outcome(content_type: str, body: dict[str, JSON]) -> Outcome:
    if content_type.partition(";")[0].strip().lower() != PROBLEM:
        return Succeeded(body)
    status = body.get("status")
    if status is not None and (type(status) is not int or not 100 <= status < 600):
        raise InvalidInput(problems=[Problem("status", "is not an HTTP status", "use 100 to 599")])
    error = _error(body, status)
    return Unfinished(error) if status in RETRIED else Broken(error)


def _error(body: dict[str, JSON], status: int | None) -> str:
    """What a problem says: its detail, else its title."""
    for name in ("detail", "title"):
        text = body.get(name)
        if isinstance(text, str) and text.strip():
            return text
    return f"failed with status {status}" if status else "failed"


def _attempt(given: str | None) -> int | None:
    if given is None:
        return None
    text = given.strip()
    if text.isascii() and text.isdigit() and len(text) < len(str(MAX_INTEGER)) and int(text) > 0:
        return int(text)
    mend = "use the number that came with the call, or leave it out"
    raise InvalidInput(problems=[Problem(ATTEMPT, f'"{shown(given)}" is not the number of an attempt', mend)])
