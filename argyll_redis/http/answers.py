"""Answers: JSON out, one shape for everything that is refused, and headers that all answers have."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

from argyll_redis.core.model import JSON
from argyll_redis.errors import ArgyllError

log = logging.getLogger(__name__)

HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""What every answer says to browsers: nothing is run, framed, kept or told to others."""

_CREDENTIALS = re.compile(r"(\w://)[^/@\s\"'`]*@")
_WEBHOOK = re.compile(r"(/webhook/[^/\s]+/[^/\s]+/)[^/\s\"'`?]+")


class Refused(Exception):
    """A request that is refused before it reaches the app."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.headers = dict(headers or {})
        super().__init__(message)


def json_answer(document: JSON, status: int = HTTPStatus.OK) -> Response:
    """A document."""
    return Response(_encoded(document), status, headers=dict(HEADERS), media_type="application/json")


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """`{error, status}`."""
    body = _encoded({"error": redacted(message), "status": int(status)})
    return Response(body, status, headers={**HEADERS, **(headers or {})}, media_type="application/json")


def refusal_of(error: Exception, where: str) -> Response:
    """Answers an exception: the one place that decides a status. What is a bug is logged with its
    trace, under the route's name and not its URL, and answered without any of it."""
    if isinstance(error, Refused):
        return refusal(error.status, str(error), error.headers)
    status = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.SERVICE_UNAVAILABLE:
        log.error("%s failed", where, exc_info=error)
    if isinstance(error, ArgyllError):
        headers = {"retry-after": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        return refusal(status, str(error), headers)
    return refusal(status, "this is a bug of the server: its log has more")


def status_of(error: Exception) -> int:
    """The status of an exception: its class says it, in `errors.py`."""
    return error.http_status if isinstance(error, ArgyllError) else HTTPStatus.INTERNAL_SERVER_ERROR


def redacted(text: str) -> str:
    """A text without what URLs in it may give away: users, passwords, tokens."""
    return _WEBHOOK.sub(r"\1...", _CREDENTIALS.sub(r"\1...@", text))


def _encoded(document: Any) -> bytes:
    try:
        return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # A lone surrogate within an error: what was refused is shown, and must not break the answer.
        return orjson.dumps(_valid(document), option=orjson.OPT_APPEND_NEWLINE)


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_valid(key): _valid(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_valid(item) for item in value]
    return value
