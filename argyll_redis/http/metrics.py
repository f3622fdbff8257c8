"""Figures for Prometheus: of this process, and of the queues of the namespace.

Labels are bounded: routes are those of the table, statuses those that are given, and only so many queues
have a name of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from argyll_redis.errors import StoreUnavailable
from argyll_redis.store.protocol import CONTROL

if TYPE_CHECKING:
    from argyll_redis.app import Argyll

MAX_QUEUES = 100
"""Queues with a label of their own; what is in the others is added up."""
OTHERS = "(others)"
MAX_ERRORS = 50
"""Kinds of errors of Redis with a label of their own."""
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
QUEUE_FIGURES = {
    "depth": "Work items that wait for an engine.",
    "in_flight": "Work items that an engine has.",
    "due": "Work items that are due later.",
    "oldest": "Age of the oldest entry, in seconds.",
}
"""Of `Argyll.queue_stats`, and what they mean."""


class Metrics(Collector):
    """The figures of one server."""

    def __init__(self, app: Argyll) -> None:
        self.streams = 0
        self.engine: Any = None
        """The engine in this process; it has `counters`."""
        self._app = app
        self._queues: list[Any] = []
        self._engines = 0
        self._committer: Any = None
        self._is_up = False
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "argyll_http_requests", "Requests answered.", ("route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "argyll_http_request_seconds",
            "How long answers took.",
            ("route",),
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._registry.register(self)

    def count(self, route: str, status: int, took_ms: int) -> None:
        """Counts a request that was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(took_ms / 1000)

    async def text(self) -> tuple[bytes, str]:
        """All figures, and the media type. Those of Redis are left out when it is away."""
        try:
            self._queues = (await self._app.queue_stats())["queues"]
            # Every engine reads what concerns all of them.
            self._engines = next(each["engines"] for each in self._queues if each["queue"] == CONTROL)
            self._committer = (await self._app.node()).committer
            self._is_up = True
        except StoreUnavailable:
            self._queues, self._is_up = [], False
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def describe(self) -> Iterator[Metric]:
        """Says nothing before the first figures are asked for."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Gives what was found out last."""
        yield _gauge("argyll_redis_up", "Whether Redis answers.", int(self._is_up))
        yield _gauge("argyll_http_streams", "Streams and websockets that are open.", self.streams)
        if self._is_up:
            yield _gauge("argyll_engines", "Live engines of the namespace.", self._engines)
            yield from _queue_figures(self._queues)
        if self._committer is not None:
            yield from _counters("argyll_commit", self._committer.counters)
            yield from _troubles(self._committer)
        if self.engine is not None:
            yield from _counters("argyll_engine", self.engine.counters)


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(name, says, value=value)


def _troubles(committer: Any) -> Iterator[Metric]:
    """What keeps the process from working: writes that are refused, and flows that it cannot go on with."""
    breaker = committer.breaker
    refused = int(breaker.is_open)
    yield _gauge("argyll_writes_refused", "Whether Redis takes no writes and nothing is begun.", refused)
    yield CounterMetricFamily(
        "argyll_writes_refused_times", "How often Redis began to take no writes.", value=breaker.opened
    )
    family = GaugeMetricFamily(
        "argyll_flows_left_alone", "Flows that this process cannot go on with.", labels=("reason",)
    )
    for reason, count in committer.left_alone.counted().items():
        family.add_metric((reason,), count)
    yield family


def _queue_figures(queues: list[Any]) -> Iterator[Metric]:
    named, others = queues[:MAX_QUEUES], queues[MAX_QUEUES:]
    for name, says in QUEUE_FIGURES.items():
        unit = "_seconds" if name == "oldest" else ""
        family = GaugeMetricFamily(f"argyll_queue_{name}{unit}", says, labels=("queue",))
        for each in named:
            family.add_metric((each["queue"],), _figure(each, name))
        if others:
            figures = [_figure(each, name) for each in others]
            family.add_metric((OTHERS,), max(figures) if name == "oldest" else sum(figures))
        yield family


def _figure(queue: Any, name: str) -> float:
    return queue[name] / 1000 if name == "oldest" else queue[name]


def _counters(prefix: str, counters: Any) -> Iterator[Metric]:
    """What a part of the process has counted: a counter for each number, and one by error."""
    for field in fields(counters):
        value = getattr(counters, field.name)
        if isinstance(value, int):
            yield CounterMetricFamily(f"{prefix}_{field.name}", f"{field.name} so far.", value=value)
        elif field.name == "by_error":
            family = CounterMetricFamily(f"{prefix}_errors", "Errors of Redis so far.", labels=("error",))
            for error, count in sorted(value.items())[:MAX_ERRORS]:
                family.add_metric((error,), count)
            yield family
