"""Bodies: read with a bound and within a time, then parsed strictly."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import cast

from starlette.requests import ClientDisconnect, Request

from argyll_redis.core.model import JSON
from argyll_redis.errors import InvalidInput, Problem
from argyll_redis.http.answers import Refused
from argyll_redis.store.codec import parse

BODY_LIMIT_S = 15
"""How long a body may take to arrive as a whole."""
CLOSE = {"connection": "close"}
"""What is still on its way is not read: the connection can't be used again."""
SPARE_LEVELS = 3
"""Levels of nesting that a request has above the values within it."""


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Reads a body of at most so many bytes. Raises `Refused`: 413, 408, or 415 for a packed one."""
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a packed body is not taken (send it as it is)", CLOSE
        )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limit_bytes:
        raise _too_large(limit_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit_bytes:
                    raise _too_large(limit_bytes)
    except TimeoutError:
        raise Refused(
            HTTPStatus.REQUEST_TIMEOUT, f"the body took more than {BODY_LIMIT_S} s to arrive", CLOSE
        ) from None
    except ClientDisconnect:
        raise Refused(HTTPStatus.BAD_REQUEST, "the body was cut short", CLOSE) from None
    return bytes(body)


def parse_body(body: bytes) -> JSON:
    """Reads a document strictly. Raises `InvalidInput` that names the place and the mend."""
    try:
        return parse(body, spare=SPARE_LEVELS)
    except InvalidInput as error:
        raise _within("body", error) from None


def parse_object(body: bytes) -> dict[str, JSON]:
    """Reads an object strictly. Raises `InvalidInput`."""
    document = parse_body(body)
    if not isinstance(document, dict):
        raise InvalidInput(problems=[Problem("body", "is not a JSON object", "send {...}")])
    return cast("dict[str, JSON]", document)


def _within(place: str, error: InvalidInput) -> InvalidInput:
    return InvalidInput(
        problems=[
            Problem(f"{place}, {each.path}" if each.path else place, each.what, each.mend)
            for each in error.problems
        ]
    )


def _too_large(limit_bytes: int) -> Refused:
    message = f"the body is larger than {limit_bytes:,} bytes"
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, CLOSE)
