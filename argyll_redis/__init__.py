"""A goal-driven orchestrator on Redis Streams: the public names, nothing else.

They are imported when they are first used, so that `argyll --help` does not wait for a Redis client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argyll_redis.app import AppConfig, Argyll
    from argyll_redis.core.model import RetryDefaults
    from argyll_redis.declare import Retry
    from argyll_redis.errors import (
        ArgyllError,
        Failed,
        FlowConflict,
        FlowFailed,
        FlowImported,
        HistoryLost,
        InvalidCatalog,
        InvalidInput,
        InvalidStep,
        MissingInputs,
        NamespaceEmptied,
        NoGoals,
        NotCompleted,
        Problem,
        ScriptError,
        StepConflict,
        StoreUnavailable,
        StoreUnfit,
        UnknownFlow,
        UnknownGoal,
        UnknownStep,
        UnknownToken,
    )
    from argyll_redis.handle import FlowHandle
    from argyll_redis.steps.context import ACCEPTED, Accepted, StepContext, Values

__version__ = "0.1.0"

__all__ = [
    "ACCEPTED",
    "Accepted",
    "AppConfig",
    "Argyll",
    "ArgyllError",
    "Failed",
    "FlowConflict",
    "FlowFailed",
    "FlowHandle",
    "FlowImported",
    "HistoryLost",
    "InvalidCatalog",
    "InvalidInput",
    "InvalidStep",
    "MissingInputs",
    "NamespaceEmptied",
    "NoGoals",
    "NotCompleted",
    "Problem",
    "Retry",
    "RetryDefaults",
    "ScriptError",
    "StepConflict",
    "StepContext",
    "StoreUnavailable",
    "StoreUnfit",
    "UnknownFlow",
    "UnknownGoal",
    "UnknownStep",
    "UnknownToken",
    "Values",
]

_HOMES = {
    "argyll_redis.app": (
        "AppConfig",
        "Argyll",
    ),
    "argyll_redis.core.model": ("RetryDefaults",),
    "argyll_redis.declare": ("Retry",),
    "argyll_redis.handle": ("FlowHandle",),
    "argyll_redis.steps.context": (
        "ACCEPTED",
        "Accepted",
        "StepContext",
        "Values",
    ),
}
"""The module of each public name that is not an exception of `argyll_redis.errors`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "argyll_redis.errors")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
