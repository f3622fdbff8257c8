"""From the sections of a definition that say how its work is done, to what an engine needs of them.

`http`, `flow`, `python` belong to step types; `work_config` to all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from argyll_redis.core.limits import (
    MAX_DURATION_MS,
    MAX_GOALS,
    MAX_ID_CHARS,
    MAX_PARALLELISM,
    MAX_PERMANENT,
    MAX_QUEUE_CHARS,
    MAX_RETRIES,
    MAX_URL_CHARS,
)
from argyll_redis.core.model import (
    Attribute,
    Backoff,
    HttpWork,
    OnFailure,
    PythonWork,
    RetryDefaults,
    Role,
    StepId,
    WorkConfig,
)
from argyll_redis.core.parse_attribute import inner_names
from argyll_redis.core.reader import Reader, did_you_mean, one_of
from argyll_redis.core.values import shown

METHODS = ("GET", "POST", "PUT", "DELETE")
_QUEUE = re.compile(rf"[A-Za-z0-9_.+-]{{1,{MAX_QUEUE_CHARS}}}")
_STEP_ID = re.compile(rf"(?!-)[a-z0-9_.+-]{{1,{MAX_ID_CHARS}}}(?<!-)")
_PARAM = re.compile(r"\{([^{}]*)\}")
_HTTP = HttpWork(endpoint="")
_PYTHON = PythonWork(handler="")
"""What is left out is as in these."""

STEP_ID_RULE = f"use 1 to {MAX_ID_CHARS} of a-z 0-9 _ . - + without a - at either end"


def step_id(text: object) -> StepId | None:
    """The id that a text stands for, in lower case; None when it can't be one."""
    if not isinstance(text, str):
        return None
    lowered = text.lower()
    return StepId(lowered) if _STEP_ID.fullmatch(lowered) else None


# ----------------------------------------------------------------------- http


def read_http(http: Reader, attributes: Mapping[str, Attribute]) -> HttpWork:
    """Reads where a sync or async step is called."""
    required = inner_names(attributes, [Role.REQUIRED])
    everything = inner_names(attributes, [Role.REQUIRED, Role.OPTIONAL, Role.CONST, Role.META, Role.OUTPUT])
    http.filled("endpoint", mend="use an http or https URL")
    work = HttpWork(
        endpoint=_read_url(http, "endpoint", required, "a required input") or "",
        method=_read_method(http),
        timeout_ms=http.whole("timeout", least=0, most=MAX_DURATION_MS, default=_HTTP.timeout_ms),
        health_check=_read_url(http, "health_check", set(), "anything: a health check has no parameters"),
        compensate=_read_url(http, "compensate", everything, "an input or output"),
    )
    http.finish()
    return work


def _read_method(http: Reader) -> str:
    given = http.text("method", most=MAX_URL_CHARS, default=_HTTP.method)
    if given not in METHODS:
        http.refuse("method", f'"{given[:20]}" is not a method of a step', f"use one of {', '.join(METHODS)}")
    return given


def _read_url(http: Reader, name: str, params: set[str], naming: str) -> str | None:
    """Reads an absolute URL; `params` are the names that its `{param}`s may have."""
    url = http.text(name, most=MAX_URL_CHARS)
    if not url:
        return None
    fault = _url_fault(url)
    if fault:
        http.refuse(name, fault, "use an absolute http or https URL")
    for param in _PARAM.findall(url):
        if param not in params:
            http.refuse(
                name, f"`{{{param}}}` does not name {naming}", did_you_mean(param, params) or one_of(params)
            )
    if "{" in _PARAM.sub("", url) or "}" in _PARAM.sub("", url):
        http.refuse(name, "has a brace without its partner", "write {name}, or %7B and %7D for braces")
    return url


def _url_fault(url: str) -> str:
    """What makes a URL unusable, as a clause; empty when nothing does."""
    if any(character <= " " or character == "\x7f" for character in url):
        return "has blanks or control characters"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises when it is no port
    except ValueError:
        return "is not a URL"
    return _host_fault(parts)


def _host_fault(parts: SplitResult) -> str:
    if parts.scheme not in ("http", "https"):
        return "is not an absolute http or https URL"
    if not parts.hostname:
        return "has no host"
    if "{" in parts.netloc or "}" in parts.netloc:
        return "has a parameter in its host: what a flow holds must not choose the server"
    if "@" in parts.netloc:
        return "holds a user name or password, which events would keep for ever"
    return ""


# --------------------------------------------------------------- flow, python


def read_flow(flow: Reader) -> tuple[StepId, ...]:
    """Reads the goals of a flow step."""
    if not flow.get("goals"):
        flow.refuse("goals", "is missing", "name at least one step id")
    goals: dict[StepId, None] = {}
    for index, goal in enumerate(flow.words("goals", most=MAX_GOALS)):
        id = step_id(goal)
        if id is None:
            flow.refuse(f"goals[{index}]", f"`{shown(goal)}` is not a step id", STEP_ID_RULE)
        else:
            goals[id] = None
    flow.finish()
    return tuple(goals)


def read_python(python: Reader) -> PythonWork:
    """Reads which function a python step calls, and where."""
    python.filled("handler", mend="use the name of a function that an app registers")
    work = PythonWork(
        handler=python.word("handler"),
        queue=_read_queue(python),
        permanent=python.words("permanent", most=MAX_PERMANENT),
        undo=python.word("undo") or None,
    )
    python.finish()
    return work


def _read_queue(python: Reader) -> str:
    queue = python.text("queue", most=MAX_QUEUE_CHARS, default=_PYTHON.queue)
    if not _QUEUE.fullmatch(queue):
        python.refuse("queue", "is not a queue name", f"use 1 to {MAX_QUEUE_CHARS} of A-Z a-z 0-9 _ . - +")
    elif queue == "builtin":
        python.refuse("queue", "`builtin` is for the other step types", "use another name")
    return queue


# --------------------------------------------------------------- work_config

RETRY_FIELDS = {
    "max_retries": "max_retries",
    "init_backoff": "init_backoff_ms",
    "max_backoff": "max_backoff_ms",
    "backoff_type": "backoff",
}
"""Fields of a definition that take an engine's default, and what they are called in `WorkConfig`."""


def read_work_config(config: Reader) -> WorkConfig:
    """Reads how work items are run, retried and judged; retry fields left out are kept as such."""
    standard = RetryDefaults()
    found = WorkConfig(
        parallelism=config.whole("parallelism", least=0, most=MAX_PARALLELISM, default=1),
        max_retries=config.whole("max_retries", least=-1, most=MAX_RETRIES, default=standard.max_retries),
        init_backoff_ms=config.whole(
            "init_backoff", least=0, most=MAX_DURATION_MS, default=standard.init_backoff_ms
        ),
        max_backoff_ms=config.whole(
            "max_backoff", least=0, most=MAX_DURATION_MS, default=standard.max_backoff_ms
        ),
        backoff=config.choice("backoff_type", Backoff) or standard.backoff,
        max_attempts=config.whole("max_attempts", least=0, most=MAX_RETRIES, default=0),
        jitter=config.share("jitter"),
        timeout_ms=config.whole("timeout", least=0, most=MAX_DURATION_MS, default=0),
        on_failure=config.choice("on_failure", OnFailure) or OnFailure.FAIL_FAST,
        left_out=frozenset(field for name, field in RETRY_FIELDS.items() if not config.given.get(name)),
    )
    config.finish()
    return found
