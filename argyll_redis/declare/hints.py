"""What the type hints of a function say about attributes.

Hints are a courtesy: one that cannot be read, or that is no JSON type, declares nothing. It never
makes a declaration fail.
"""

from __future__ import annotations

import functools
import types
import typing
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from argyll_redis.core.model import AttributeType

_UNIONS = (typing.Union, types.UnionType)
_AWAITED = (abc.Awaitable, abc.Coroutine)
_LISTS = (abc.Sequence, abc.MutableSequence)
"""Taken as they are, not with all that derive from them: text and bytes do."""
_CLASSES: tuple[tuple[tuple[type, ...], AttributeType], ...] = (
    ((types.NoneType,), AttributeType.NULL),
    ((bool,), AttributeType.BOOLEAN),
    ((int, float), AttributeType.NUMBER),
    ((str,), AttributeType.STRING),
    ((abc.Mapping,), AttributeType.OBJECT),
    ((list, tuple), AttributeType.ARRAY),
)
"""Classes and their subclasses; the first row that fits counts, as bool derives from int."""


@dataclass(frozen=True, slots=True)
class Hints:
    """The hints of one function, by parameter; those that could not be resolved are still text."""

    by_name: Mapping[str, Any]

    def type_of(self, name: str) -> AttributeType | None:
        """The declared type of a parameter; None when its hint says nothing."""
        return type_of(self.by_name.get(name))

    def is_context(self, name: str) -> bool:
        """Whether a parameter's hint is `StepContext`, be it optional."""
        # Imported late: the package of steps imports this one.
        from argyll_redis.steps.context import StepContext

        hint = self.by_name.get(name)
        if isinstance(hint, str):
            return StepContext.__name__ in hint
        return hint is StepContext or StepContext in _members(hint)

    def returned_type(self) -> AttributeType | None:
        """The type of what the function returns, or what awaiting it gives."""
        return type_of(self._returned())

    def returned_fields(self) -> Mapping[str, Any]:
        """The hints of a returned `TypedDict`, by key; empty for anything else."""
        returned = self._returned()
        return _resolved(returned) if typing.is_typeddict(returned) else {}

    def _returned(self) -> Any:
        """The hint of the value, without `ACCEPTED`, which is none."""
        from argyll_redis.steps.context import Accepted

        hint = self.by_name.get("return")
        if typing.get_origin(hint) in _AWAITED:
            hint = typing.get_args(hint)[-1]
        members = [member for member in _members(hint) if member is not Accepted]
        return members[0] if len(members) == 1 else hint


def read_hints(function: Callable[..., Any]) -> Hints:
    """Reads the hints of a function, of what a partial calls, or of an object that can be called."""
    target: Any = function
    while isinstance(target, functools.partial):
        target = target.func
    if not hasattr(target, "__annotations__"):
        target = getattr(type(target), "__call__", target)  # noqa: B004 - looked at, not called
    return Hints(_resolved(target))


def _resolved(target: Any) -> dict[str, Any]:
    """All hints; when one of them names what does not exist at run time, each by itself."""
    try:
        return typing.get_type_hints(target)
    except Exception:
        found: dict[str, Any] = getattr(target, "__annotations__", {})
        scope = getattr(target, "__globals__", {})
        return {name: _resolve(hint, scope) for name, hint in found.items()}


def _resolve(hint: Any, scope: dict[str, Any]) -> Any:
    alone = types.SimpleNamespace(__annotations__={"it": hint})
    try:
        return typing.get_type_hints(alone, globalns=scope)["it"]
    except Exception:
        return hint


def type_of(hint: Any) -> AttributeType | None:
    """The attribute type that a hint means. A choice between several is `any`."""
    hint = _bare(hint)
    if hint is None:
        return None
    members = _members(hint)
    if members:
        return _common(members)
    origin = typing.get_origin(hint) or hint
    if origin in _LISTS:
        return AttributeType.ARRAY
    if not isinstance(origin, type):
        return None
    return next((declared for classes, declared in _CLASSES if issubclass(origin, classes)), None)


def _bare(hint: Any) -> Any:
    """A hint without the names given to it: `Annotated`, `NewType`, `type X = ...`."""
    while True:
        if typing.get_origin(hint) is typing.Annotated:
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return hint


def _members(hint: Any) -> tuple[Any, ...]:
    """What a hint lets one choose from; nothing for a hint that is no choice."""
    hint = _bare(hint)
    origin = typing.get_origin(hint)
    if origin in _UNIONS:
        return typing.get_args(hint)
    if origin is typing.Literal:
        return tuple({type(value): None for value in typing.get_args(hint)})
    return ()


def _common(members: Iterable[Any]) -> AttributeType:
    found = {type_of(member) for member in members}
    only = found.pop() if len(found) == 1 else None
    return only or AttributeType.ANY
