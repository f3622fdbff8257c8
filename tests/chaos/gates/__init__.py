"""The gates: what is promised to be survived, each a run of its own with figures to hit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos.gates import (
    cluster,
    engines,
    failover,
    flushall,
    full,
    hot_flow,
    long_work,
    network,
    queues,
    redis_killed,
    rolling,
    server,
    versions,
)
from tests.chaos.ground import Asked
from tests.chaos.report import Report

Run = Callable[[Report, Asked], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate: what is struck, and what must hold."""

    name: str
    promise: str
    run: Run
    flows: int
    """Of the whole form; what a flow is here, the gate's file says."""
    short: int
    """Of the short form."""


GATES: tuple[Gate, ...] = (
    Gate("engines", engines.PROMISE, engines.run, flows=10_000, short=200),
    Gate("redis", redis_killed.PROMISE, redis_killed.run, flows=4_000, short=160),
    Gate("queues", queues.PROMISE, queues.run, flows=1_000, short=120),
    Gate("long-work", long_work.PROMISE, long_work.run, flows=60, short=24),
    Gate("hot-flow", hot_flow.PROMISE, hot_flow.run, flows=1_000, short=100),
    Gate("rolling", rolling.PROMISE, rolling.run, flows=5_000, short=100),
    Gate("versions", versions.PROMISE, versions.run, flows=5_000, short=200),
    Gate("network", network.PROMISE, network.run, flows=2_000, short=100),
    Gate("server", server.PROMISE, server.run, flows=2_000, short=120),
    Gate("full", full.PROMISE, full.run, flows=400, short=120),
    Gate("flushall", flushall.PROMISE, flushall.run, flows=500, short=150),
    Gate("failover", failover.PROMISE, failover.run, flows=1_000, short=160),
    Gate("cluster", cluster.PROMISE, cluster.run, flows=2_000, short=150),
)
