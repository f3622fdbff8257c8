"""Versions of what events hold, and the ways from each older one to the next.

A log is for ever, so what was written once is read for ever. An event whose data change in a way that
an older reader would misread takes the next version of its schema, and what was written before is
brought up to date when it is read. Data of a version that is not known yet are left to whoever knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from argyll_redis.core.model import JSON
from argyll_redis.errors import UnknownEvent

SCHEMA = "v"
"""The key of the version in an event's data; left out for the first one, so that nothing is spent on it."""

Upcast = Callable[[dict[str, JSON]], dict[str, JSON]]
"""Makes data of one version those of the next: pure, and never changed or removed once it was released."""

UPCASTS: dict[tuple[str, int], Upcast] = {}
"""By an event's type and the version that they take: `("work_failed", 1)` makes data of version 2. A
plan's type is `plan`."""

PLAN_SCHEMA = 1
"""Of plans, the definitions within included."""
CATALOG_SCHEMA = 1
"""Of the catalog's events, the definitions within included."""


def up_to_date(type: str, data: Mapping[str, JSON], newest: int) -> dict[str, JSON]:
    """Brings the data of an event to the newest version that is known, without the version.

    Raises `UnknownEvent` for a later one.
    """
    known = dict(data)
    version = known.pop(SCHEMA, 1)
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= newest:
        raise UnknownEvent(
            f'the log holds a "{type}" of schema {version}, and this version knows {newest}: '
            "leave it to newer engines"
        )
    for each in range(version, newest):
        known = UPCASTS[type, each](known)
    return known


def with_schema(data: dict[str, JSON], version: int) -> dict[str, JSON]:
    """What is stored of an event's data: with the version, unless it is the first."""
    return data if version == 1 else {**data, SCHEMA: version}
