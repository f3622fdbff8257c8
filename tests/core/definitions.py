"""Short ways to write steps and catalogs for tests of the core."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from argyll_redis.core.catalog import Catalog, Registered, StepRegistered, apply_all
from argyll_redis.core.parse import parse_step

MATCH = {"language": "lua", "script": "return value == true"}


def step(
    id: str,
    needs: str = "",
    gives: str = "",
    *,
    may: str = "",
    attributes: dict[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """A python step that needs, may use and gives attributes named in blank-separated texts."""
    declared: dict[str, Any] = {}
    declared.update((name, {"role": "required"}) for name in needs.split())
    declared.update((name, {"role": "optional"}) for name in may.split())
    declared.update((name, {"role": "output"}) for name in gives.split())
    declared.update(attributes or {})
    return {"id": id, "type": "python", "python": {"handler": id}, "attributes": declared, **fields}


def required(collect: str = "first", *, match: bool = False) -> dict[str, Any]:
    """The spec of a required input."""
    return {"role": "required", "required": {"collect": collect, **({"match": MATCH} if match else {})}}


def optional(collect: str = "first") -> dict[str, Any]:
    """The spec of an optional input."""
    return {"role": "optional", "optional": {"collect": collect}}


def catalog(*definitions: dict[str, Any]) -> Catalog:
    """A catalog of steps, whether this version can run them or not."""
    return catalog_of(definitions)


def catalog_of(definitions: Iterable[dict[str, Any]]) -> Catalog:
    """A catalog of steps registered in this order."""
    events = [StepRegistered(Registered(each, parse_step(each))) for each in definitions]
    return apply_all(Catalog(), [(event, 1_000) for event in events])
