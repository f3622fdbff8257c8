"""What of a scenario is left when only some of its faults may strike: each has a name, flows as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from argyll_redis.runtime.cache import CACHED_FLOWS
from argyll_redis.testing.fates import Fates
from argyll_redis.testing.scenario import EngineSpec, FlowSpec, Scenario

T = TypeVar("T")


def under(scenario: Scenario, fates: Fates) -> Scenario:
    """A scenario as the fates let it be: without what may not strike."""
    keeps_few = scenario.cached_flows < CACHED_FLOWS
    return replace(
        scenario,
        flows=tuple(_flows(scenario, fates)),
        engines=tuple(_engine(each, f"e{place}", fates) for place, each in enumerate(scenario.engines)),
        cached_flows=(
            scenario.cached_flows
            if keeps_few and fates.strikes(f"only {scenario.cached_flows} flows are kept")
            else CACHED_FLOWS
        ),
        limits={
            name: limit for name, limit in scenario.limits.items() if fates.strikes(f"{name} is {limit}")
        },
        clocks_drift=scenario.clocks_drift and fates.strikes("clocks drift"),
    )


def _flows(scenario: Scenario, fates: Fates) -> Iterator[FlowSpec]:
    for flow in scenario.flows:
        if not fates.strikes(f"flow {flow.id}"):
            continue
        yield replace(
            flow,
            cancel_ms=_if(flow.cancel_ms, None, f"{flow.id} is cancelled", fates),
            timeout_ms=_if(flow.timeout_ms, 0, f"{flow.id} may time out", fates),
            starts=flow.starts
            if flow.starts == 1
            else _if(flow.starts, 1, f"{flow.id} is started twice", fates),
        )


def _engine(spec: EngineSpec, name: str, fates: Fates) -> EngineSpec:
    return replace(
        spec,
        lacks=_if(spec.lacks, frozenset[str](), f"{name} lacks {', '.join(sorted(spec.lacks))}", fates),
        unknown=_if(spec.unknown, None, f"{name} is older: it knows no {spec.unknown}", fates),
        drain_ms=_if(spec.drain_ms, None, f"{name} is asked to stop", fates),
    )


def _if(drawn: T, otherwise: T, fault: str, fates: Fates) -> T:
    """What was drawn, where that is a fault and may strike."""
    return drawn if drawn and fates.strikes(fault) else otherwise
