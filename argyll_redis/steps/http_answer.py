"""What the answer to a step call means: an outcome, by its status and its body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus

from argyll_redis.core.commands import Accepted, Broken, Outcome, Succeeded, Unfinished
from argyll_redis.core.limits import MAX_BODY_BYTES, MAX_ERROR_CHARS, MAX_RETRY_AFTER_MS
from argyll_redis.core.model import JSON
from argyll_redis.core.text import printable
from argyll_redis.errors import InvalidInput
from argyll_redis.store.codec import parse

PROBLEM = "application/problem+json"
MAX_QUOTED_CHARS = 300
"""Of the body of a refused call, in its error."""
MAX_SECONDS_DIGITS = 9
"""Of a `Retry-After`; more are more than a day anyway."""


class BodyFault(StrEnum):
    """What is wrong with a body, whatever it says."""

    CUT = "the answer was cut short"
    TOO_LARGE = f"the answer has more than {MAX_BODY_BYTES:,} bytes"
    NOT_INFLATED = "the answer is compressed in a way that cannot be read"


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Looked up without regard to case."""
    body: bytes = b""
    """Inflated, and as much of it as there is where it has a fault."""
    fault: BodyFault | None = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


def judge(answer: HttpAnswer, *, is_async: bool, now_ms: Callable[[], int]) -> Outcome:
    """Says what an answer means. `now_ms` is a clock (unix ms) for a `Retry-After` that is a date."""
    if answer.is_success:
        return Accepted() if is_async else _judge_success(answer)
    error = error_of(answer)
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= 500:
        return Unfinished(error, retry_after_ms(answer.headers, now_ms))
    return Broken(error)


def _judge_success(answer: HttpAnswer) -> Outcome:
    if answer.fault is BodyFault.CUT:
        return Unfinished(answer.fault)
    if answer.fault is not None:
        return Broken(answer.fault)
    if not answer.body.strip():
        return Succeeded({})
    try:
        outputs = parse(answer.body, spare=1)
    except InvalidInput as error:
        return Broken(one_line(f"status {answer.status}, but the answer is no JSON to use: {error}"))
    if not isinstance(outputs, dict):
        return Broken(f"status {answer.status}, but the answer is not a JSON object")
    return Succeeded(outputs)


# ------------------------------------------------------------------------ errors


def error_of(answer: HttpAnswer) -> str:
    """The error of a refused call: what its problem says, else its status and the start of its body."""
    if answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() == PROBLEM:
        text = _problem_text(answer.body)
        if text:
            return one_line(text)
    start = " ".join(answer.body[: 4 * MAX_QUOTED_CHARS].decode("utf-8", "replace").split())
    quoted = start[:MAX_QUOTED_CHARS] + ("..." if len(start) > MAX_QUOTED_CHARS else "")
    return one_line(f"status {answer.status}" + (f": {quoted}" if quoted else ""))


def _problem_text(body: bytes) -> str:
    try:
        problem: JSON = parse(body, spare=1)
    except InvalidInput:
        return ""
    if not isinstance(problem, dict):
        return ""
    texts = (problem.get(name) for name in ("detail", "title"))
    return next((text.strip() for text in texts if isinstance(text, str) and text.strip()), "")


def one_line(text: str) -> str:
    """A text from outside as an error keeps it: not too long, its control characters as escapes."""
    return printable(text[:MAX_ERROR_CHARS])[:MAX_ERROR_CHARS]


# -------------------------------------------------------------------- Retry-After


def retry_after_ms(headers: Mapping[str, str], now_ms: Callable[[], int]) -> int | None:
    """How long the service asks to be left alone, in ms, a day at most; None when it does not say.

    A date is compared with the service's own clock where the answer has its time.
    """
    given = headers.get("Retry-After", "").strip()
    if given.isascii() and given.isdigit():
        seconds = int(given) if len(given) <= MAX_SECONDS_DIGITS else MAX_RETRY_AFTER_MS
        return min(seconds * 1000, MAX_RETRY_AFTER_MS)
    due_ms = _date_ms(given)
    if due_ms is None:
        return None
    sent_ms = _date_ms(headers.get("Date", ""))
    return max(0, min(due_ms - (now_ms() if sent_ms is None else sent_ms), MAX_RETRY_AFTER_MS))


def _date_ms(text: str) -> int | None:
    """An HTTP date as unix ms; None when it is none."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return round((date - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
