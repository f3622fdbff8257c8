"""Plain JSON values: what may be one, and what type it has.

JSON is read differently by different programs: NaN, 1e400, 2^64, duplicate keys, lone surrogates
and deep nesting each come out otherwise somewhere. All of them are refused here, with their place,
so that a value is the same in every event, call and answer. Pure; encoding is `store/codec.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from enum import Enum
from typing import Final, NoReturn

from argyll_redis.core.limits import MAX_ARRAY_ELEMENTS, MAX_INTEGER, MAX_NESTING, MIN_INTEGER
from argyll_redis.core.model import JSON, AttributeType
from argyll_redis.errors import InvalidInput, Problem

_TOO_DEEP = f"nested more than {MAX_NESTING} levels deep"
_MAX_INTEGER_CHARS = len(str(MIN_INTEGER))
"""Longer ones are beyond 64 bit, whatever their digits (`int` itself gives up at 4,300)."""
_MAX_SHOWN_CHARS = 80
"""Of a key within a message."""
_BYTE_ORDER_MARK = "\ufeff"
"""What some editors and shells put before UTF-8; it is no part of JSON."""


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING
"""What a mapping gives when it found nothing; not null, which is a value."""


class _Unfit(Exception):
    """A value is not plain JSON; gathers its place on the way out of the recursion."""

    def __init__(self, what: str, mend: str) -> None:
        self.what = what
        self.mend = mend
        self.place: list[str | int] = []
        """Keys and indexes, innermost first."""
        super().__init__(what)

    def path(self, start: str) -> str:
        for part in reversed(self.place):
            start += f"[{part}]" if isinstance(part, int) else f".{part}" if start else part
        return start


class _Twice:
    """Stands for an object in which a key occurs twice, so that `check` can say where it is."""

    def __init__(self, pairs: list[tuple[str, JSON]]) -> None:
        seen: set[str] = set()
        self.key = next(key for key, _ in pairs if key in seen or seen.add(key))


def _object(pairs: list[tuple[str, JSON]]) -> JSON:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Twice(pairs)


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= _MAX_INTEGER_CHARS else MAX_INTEGER + 1


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_constant=float)


def parse(data: bytes | str, *, spare: int = 0) -> JSON:
    """Reads one JSON document, strictly. `spare` levels of nesting are allowed above `MAX_NESTING`, for
    documents that hold values within objects of their own.

    Raises `InvalidInput` that names the place and the mend.
    """
    text = data if isinstance(data, str) else _decoded(data)
    if text.startswith(_BYTE_ORDER_MARK):
        _refuse("", "begins with a byte order mark", "save it as UTF-8 without one")
    if not text or text.isspace():
        _refuse("", "is empty", "send one JSON document")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        # Some messages of the decoder end as if the place came next.
        what = error.msg.removesuffix(" at").removesuffix(" starting")
        what = f"not JSON: {what[:1].lower()}{what[1:]}"
        _refuse(f"line {error.lineno}, column {error.colno}", what, "send one JSON document")
    except RecursionError:
        _refuse("", _TOO_DEEP, "make it flatter")
    return check(value, spare=spare)


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        _refuse(f"byte {error.start}", "not valid UTF-8", "send JSON as UTF-8")


def _refuse(place: str, what: str, mend: str) -> NoReturn:
    raise InvalidInput(problems=[Problem(place, what, mend)]) from None


def check(value: object, path: str = "", *, spare: int = 0) -> JSON:
    """Copies a value as plain JSON: tuples become lists, subclasses of plain types those types.

    Raises `InvalidInput` that names the path of what is not JSON. About 0.1 us a value.
    """
    try:
        return _plain(value, -spare)
    except _Unfit as unfit:
        _refuse(unfit.path(path), unfit.what, unfit.mend)


def _plain(value: JSON, depth: int) -> JSON:
    kind = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind is str:
        if not value.isascii():
            _check_text(value)
    elif kind is dict:
        return _plain_object(value, depth + 1)
    elif kind is int:
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            raise _Unfit("a whole number beyond 64 bit", "send it as text")
    elif kind is list or kind is tuple:
        return _plain_array(value, depth + 1)
    elif kind is float:
        if not math.isfinite(value):
            raise _Unfit(f"{value} is not a JSON number", "leave it out, or send null or text")
    elif value is not None and kind is not bool:
        return _plain(_base(value), depth)
    return value


def _plain_object(value: dict[JSON, JSON], depth: int) -> JSON:
    if depth > MAX_NESTING:
        raise _Unfit(_TOO_DEEP, "make it flatter")
    found: dict[str, JSON] = {}
    key: JSON = None
    try:
        for key, item in value.items():
            found[key if type(key) is str and key.isascii() else _key(key)] = _plain(item, depth)
    except _Unfit as unfit:
        unfit.place.append(shown(key))
        raise
    return found


def _plain_array(value: Iterable[JSON], depth: int) -> JSON:
    if depth > MAX_NESTING:
        raise _Unfit(_TOO_DEEP, "make it flatter")
    found: list[JSON] = []
    try:
        for item in value:
            found.append(_plain(item, depth))  # noqa: PERF401 - its length is the place
    except _Unfit as unfit:
        unfit.place.append(len(found))
        raise
    if len(found) > MAX_ARRAY_ELEMENTS:
        raise _Unfit(f"an array of more than {MAX_ARRAY_ELEMENTS:,} elements", "split it")
    return found


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise _Unfit(f"{shown(key)} is not a key of a JSON object", "use text")
    plain = str.__str__(key)
    _check_text(plain)
    return plain


def shown(key: object) -> str:
    """A key as a message can hold it: short, on one line, and valid Unicode."""
    text = (key if isinstance(key, str) else repr(key))[:_MAX_SHOWN_CHARS]
    return text if text.isprintable() else repr(text)[1:-1]


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        mend = "send valid Unicode"
        raise _Unfit(f"text with a lone surrogate at character {error.start}", mend) from None


def _base(value: object) -> JSON:
    """The plain value within one of a subclass (a `StrEnum`, an `OrderedDict`, a named tuple)."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, dict):
        return dict(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return list(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, _Twice):
        raise _Unfit(f"the key `{shown(value.key)}` occurs twice in one object", "leave one of them out")
    kind = type(value)
    raise _Unfit(
        f"a value of the Python type `{kind.__module__}.{kind.__qualname__}` is not JSON",
        "turn it into text, a number, a list or a dict",
    )


_PYTHON_TYPES: dict[AttributeType, tuple[type, ...]] = {
    AttributeType.STRING: (str,),
    AttributeType.NUMBER: (int, float),
    AttributeType.BOOLEAN: (bool,),
    AttributeType.OBJECT: (dict,),
    AttributeType.ARRAY: (list,),
    AttributeType.NULL: (type(None),),
    AttributeType.ANY: (str, int, float, bool, dict, list, type(None)),
}


def type_matches(declared: AttributeType | None, value: JSON) -> bool:
    """Says whether a plain value has a declared type; none declared accepts all."""
    return declared is None or type(value) in _PYTHON_TYPES[declared]


def type_name(value: JSON) -> str:
    """Names the type of a plain value in the words of definitions."""
    return next(str(name) for name, kinds in _PYTHON_TYPES.items() if type(value) in kinds)
