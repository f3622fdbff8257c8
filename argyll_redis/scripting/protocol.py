"""What a script language is to the rest of the package: it compiles text, and what it compiled runs.

Only shapes live here. A language never reads or writes anything outside of what it is given, bounds
its own time and memory, and raises `ScriptError` for whatever is wrong, at compile time or later.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from argyll_redis.core.model import JSON
from argyll_redis.core.values import MISSING, Missing
from argyll_redis.errors import ScriptError

__all__ = ["MISSING", "Language", "Missing", "Program", "Purpose", "check_source", "position"]


class Purpose(StrEnum):
    """What a script is for."""

    STEP = "step"
    PREDICATE = "predicate"
    MATCH = "match"
    MAPPING = "mapping"


class Program(Protocol):
    """A compiled script. It keeps nothing from one run to the next and may run in several threads."""

    def holds(self, names: Mapping[str, JSON], document: JSON) -> bool:
        """Whether it is true of what it is given: named values, or one document."""
        ...

    def value(self, names: Mapping[str, JSON], document: JSON) -> JSON:
        """What it makes of what it is given; `MISSING` when it found nothing."""
        ...


class Language(Protocol):
    """A language that scripts can be written in."""

    @property
    def purposes(self) -> frozenset[Purpose]:
        """What scripts of this language may be for."""
        ...

    def compile(self, source: str, purpose: Purpose) -> Program:
        """A program; raises `ScriptError` with line and column for text that does not compile."""
        ...


def check_source(source: str, *, limit: int) -> None:
    """Refuses text that is blank, too large or not encodable."""
    if not source.strip():
        raise ScriptError("the script is empty (write an expression)")
    try:
        size = len(source.encode())
    except UnicodeEncodeError as error:
        raise ScriptError("the script holds a lone surrogate (write valid Unicode)") from error
    if size > limit:
        raise ScriptError(f"the script has {size} bytes, {limit} are allowed (make it shorter)")


def position(source: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of a place in a text."""
    line_start = source.rfind("\n", 0, offset) + 1
    return source.count("\n", 0, offset) + 1, offset - line_start + 1
