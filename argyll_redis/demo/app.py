"""The demo's app: its steps declared, so that a flow can be started and engines can run them."""

from __future__ import annotations

from argyll_redis.app import AppConfig, Argyll
from argyll_redis.demo import steps

QUEUE = "demo"
"""The queue of the demo's steps: on a server that others use too, their engines are left in peace."""
LEASE_MS = 1_500
"""How long an engine may be silent before its work is taken over; short, so that a demo sees it happen."""
CONCURRENCY = 8
"""Attempts that one engine has in hand. Modules are measured by one thread at a time anyway; a few more
are there so that it never waits for the server."""
GOAL = "write_report"
DEEP_GOAL = "profile_heavy_modules"


def build(url: str, namespace: str) -> Argyll:
    """Makes an app with the steps that the table in `steps` lists."""
    app = Argyll(url, namespace, config=AppConfig(lease_ms=LEASE_MS))
    app.step(steps.list_modules, outputs="modules", permanent=(ValueError,), queue=QUEUE)
    app.step(
        steps.measure, outputs="measures", for_each="modules", parallelism=steps.PARALLELISM, queue=QUEUE
    )
    app.step(steps.summarise_measures, outputs="summary", queue=QUEUE)
    app.step(steps.build_graph, outputs="graph", queue=QUEUE)
    app.step(steps.find_cycles, outputs="cycles", queue=QUEUE)
    app.step(steps.rank_modules, outputs="ranking", queue=QUEUE)
    app.step(steps.read_licence, outputs="licence", queue=QUEUE)
    app.step(steps.write_report, outputs="report", queue=QUEUE)
    app.step(steps.profile_heavy_modules, outputs="profile", predicate=steps.DEEP, queue=QUEUE)
    app.step(steps.publish_report, outputs="published", queue=QUEUE)
    app.step(steps.compare_releases, outputs="comparison", queue=QUEUE)
    return app
