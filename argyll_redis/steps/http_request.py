"""What a step call says: its URL with the inputs filled in, its headers, its body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from argyll_redis.core.limits import MAX_FILLED_URL_CHARS
from argyll_redis.core.model import JSON, StepType
from argyll_redis.core.values import shown
from argyll_redis.steps.job import Job
from argyll_redis.store.codec import encode

_PARAM = re.compile(r"\{([^{}]*)\}")
_PARTS = re.compile(r"[/\\]")
_ACCEPT = {
    "Accept": "application/json, application/problem+json",
    "Accept-Encoding": "gzip",
    "User-Agent": "argyll-redis",
}


class Unfillable(Exception):
    """A URL that the inputs of this call do not make one of."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=lambda: dict(_ACCEPT))
    body: bytes | None = None
    needs_body: bool = True
    """Whether the body of a 2xx is read."""


def call_of(job: Job, base_url: str) -> HttpRequest:
    """The request that calls a step, or that undoes what it did. Raises `Unfillable`."""
    http = job.step.http
    assert http is not None
    headers = {
        **_ACCEPT,
        "Argyll-Flow-ID": job.flow_id,
        "Argyll-Step-ID": job.step.id,
        "Argyll-Receipt-Token": job.token,
        "Argyll-Attempt": str(job.attempt),
    }
    if job.undo is not None:
        body = encode({"input": job.inputs, "output": dict(job.undo.outputs)})
        url = filled(http.compensate or "", {**job.inputs, **job.undo.outputs})
        return HttpRequest("POST", url, {**headers, **_JSON}, body)
    is_async = job.step.type is StepType.ASYNC
    if is_async:
        headers["Argyll-Webhook-URL"] = webhook_url(base_url, job.flow_id, job.step.id, job.token)
    url = filled(http.endpoint, job.inputs)
    if http.method == "GET":
        return HttpRequest("GET", url, headers, needs_body=not is_async)
    return HttpRequest(http.method, url, {**headers, **_JSON}, encode(job.inputs), needs_body=not is_async)


_JSON = {"Content-Type": "application/json"}


def webhook_url(base_url: str, flow_id: str, step_id: str, token: str) -> str:
    """Where the outcome of a work item is posted. A secret: whoever has it can complete the work."""
    path = "/".join(quote(part, safe=":") for part in (flow_id, step_id, token))
    return f"{base_url.rstrip('/')}/webhook/{path}"


# ------------------------------------------------------------------------- URLs


def filled(url: str, values: Mapping[str, JSON]) -> str:
    """Fills in the parameters of a URL, escaped so that a value stays within its place: none of it can
    begin another part of the path, a query or another host. Text is itself, all else is its JSON.

    Raises `Unfillable`.
    """
    if "{" not in url:
        return url
    path = url.partition("#")[0].partition("?")[0]
    for part in path.split("/"):
        if "{" in part:
            _refuse_steps(part, values)
    found = _PARAM.sub(lambda param: quote(_text(param[1], values), safe=""), url)
    if len(found) > MAX_FILLED_URL_CHARS:
        what = f"{len(found):,} characters with its inputs, more than {MAX_FILLED_URL_CHARS:,}"
        raise Unfillable(f"the URL of the call has {what} (send large inputs in the body)")
    return found


def _text(name: str, values: Mapping[str, JSON]) -> str:
    if name not in values:
        raise Unfillable(f"the URL of the call needs `{name}`, which has no value")
    value = values[name]
    return value if isinstance(value, str) else encode(value).decode()


def _refuse_steps(part: str, values: Mapping[str, JSON]) -> None:
    """Refuses values with which a part of a path is empty or leads upwards: many servers take escapes
    apart before they look where a path leads."""
    text = _PARAM.sub(lambda param: _text(param[1], values), part)
    if text and not {".", ".."} & set(_PARTS.split(text)):
        return
    names = " and ".join(f"`{shown(name)}`" for name in _PARAM.findall(part))
    what = f"leads out of its place in the path: {shown(text)}" if text else "is empty, so the path has a gap"
    raise Unfillable(f"the URL of the call cannot be made: {names} {what}")
