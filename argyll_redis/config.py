"""How an app plans and works: its settings, checked together when they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any
from urllib.parse import urlsplit

from argyll_redis.core.limits import MAX_DURATION_MS, MAX_RETRIES
from argyll_redis.core.model import Backoff, RetryDefaults
from argyll_redis.errors import InvalidInput, Problem
from argyll_redis.steps.http_address import read_allow_list
from argyll_redis.store.copies import COPY_LIMIT_MS, Copies

MIN_LEASE_MS = 100
"""A shorter lease runs out between two renewals of a busy process."""
MAX_LEASE_MS = 3_600_000
"""A longer one leaves work of a dead engine alone for more than an hour."""
MAX_REPLICAS = 100
"""More than anybody has: a wait for more would be a slip."""
MAX_WAIT_MS = 10_000
"""A call that waits for longer holds up those behind it for too long."""


@dataclass(frozen=True, slots=True)
class AppConfig:
    """How an app plans and works. Times are ms."""

    retry: RetryDefaults = field(default_factory=RetryDefaults)
    """What retry fields that steps leave out become in the plans made here."""
    linger_ms: int = 3_600_000
    """How long an outcome from outside is waited for after the flow's own."""
    lease_ms: int = 10_000
    grace_ms: int = 30_000
    """How long a drain waits for running work."""
    memo_ttl_ms: int = 24 * 3_600_000
    """How long what a memoizable step gave is reused."""
    retention_ms: int = 7 * 24 * 3_600_000
    """How long a flow is kept after it and all its children were deactivated; 0 keeps it for ever."""
    webhook_base_url: str = ""
    """Where steps of type async post their outcomes: what comes before `/webhook/...`; empty when this
    process is given none."""
    http_allow: tuple[str, ...] = ()
    """Host names, addresses and networks (`10.0.0.0/8`) that step calls may go to; empty allows all but
    those that are closed to every call, such as link-local ones."""
    wait_replicas: int = 0
    """How many replicas of Redis must have a commit before it is answered, and before work begins."""
    wait_aof: bool = False
    """Whether it must be in the append-only file, on the disk, of the server and of those replicas."""
    wait_limit_ms: int = COPY_LIMIT_MS
    """How long one call waits for that; what is not there then is not answered, and sent again."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, all of them together, with `InvalidInput`."""
        retry = self.retry
        problems = [
            Problem(name, f"{value!r} is out of range", f"use {least:,} to {most:,}")
            for name, value, least, most in (
                ("lease_ms", self.lease_ms, MIN_LEASE_MS, MAX_LEASE_MS),
                ("linger_ms", self.linger_ms, 0, MAX_DURATION_MS),
                ("grace_ms", self.grace_ms, 0, MAX_DURATION_MS),
                ("memo_ttl_ms", self.memo_ttl_ms, 1, MAX_DURATION_MS),
                ("retention_ms", self.retention_ms, 0, MAX_DURATION_MS),
                ("wait_replicas", self.wait_replicas, 0, MAX_REPLICAS),
                ("wait_limit_ms", self.wait_limit_ms, 1, MAX_WAIT_MS),
                ("max_retries", retry.max_retries, -1, MAX_RETRIES),
                ("init_backoff_ms", retry.init_backoff_ms, 1, MAX_DURATION_MS),
                ("max_backoff_ms", retry.max_backoff_ms, 1, MAX_DURATION_MS),
            )
            if not least <= value <= most
        ]
        if retry.init_backoff_ms > retry.max_backoff_ms:
            what = f"is {retry.init_backoff_ms:,}, more than max_backoff_ms {retry.max_backoff_ms:,}"
            problems.append(Problem("init_backoff_ms", what, "make it smaller, or max_backoff_ms larger"))
        if self.webhook_base_url and not _is_base_url(self.webhook_base_url):
            mend = "use http://HOST:PORT or https://HOST, with a path if need be"
            problems.append(Problem("webhook_base_url", "is not the beginning of a URL", mend))
        try:
            read_allow_list(self.http_allow)
        except ValueError as error:
            problems.append(Problem("http_allow", str(error), "use names such as api.test, or 10.0.0.0/8"))
        if problems:
            raise InvalidInput(problems=problems)

    @property
    def copies(self) -> Copies:
        """What a commit waits for."""
        return Copies(self.wait_replicas, on_disk=self.wait_aof, limit_ms=self.wait_limit_ms)

    def changed(self, settings: Mapping[str, Any]) -> AppConfig:
        """A copy with other settings, those of `retry` by their own names. Raises `InvalidInput`."""
        of_retry = {each.name for each in fields(RetryDefaults)}
        retry = {name: value for name, value in settings.items() if name in of_retry}
        own = {name: value for name, value in settings.items() if name not in of_retry}
        if "backoff" in retry:
            retry["backoff"] = Backoff(retry["backoff"])
        return replace(self, retry=replace(self.retry, **retry), **own)


def _is_base_url(text: str) -> bool:
    """Whether a text is a URL that a path can be put after: nothing may come behind it."""
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and not (parts.query or parts.fragment or "?" in text or "#" in text)
            and text.isascii()
            and text.isprintable()
            and " " not in text
        )
    except ValueError:
        return False
