"""What users test their own flows with, and what we test engines with.

The names below are the users' kit: an app in memory on a clock that jumps, given/when/then for flows,
and a simulator that lets engines crash around the calls of a user's own steps. All of it runs whole
engines, as the tests of the engines themselves do (`simulator`). They are imported when they are first
used, so that a command of this package imports only what it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argyll_redis.testing.flow_view import FlowView
    from argyll_redis.testing.functions import StepCall
    from argyll_redis.testing.in_memory import InMemory
    from argyll_redis.testing.repeat import call, call_twice
    from argyll_redis.testing.simulation import SimulationReport, simulate
    from argyll_redis.testing.standins import LOST, Later, Takes, attempts
    from argyll_redis.testing.story import given

__all__ = [
    "LOST",
    "FlowView",
    "InMemory",
    "Later",
    "SimulationReport",
    "StepCall",
    "Takes",
    "attempts",
    "call",
    "call_twice",
    "given",
    "simulate",
]

_HOMES = {
    "flow_view": ("FlowView",),
    "functions": ("StepCall",),
    "in_memory": ("InMemory",),
    "repeat": ("call", "call_twice"),
    "simulation": ("SimulationReport", "simulate"),
    "standins": ("LOST", "Later", "Takes", "attempts"),
    "story": ("given",),
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
