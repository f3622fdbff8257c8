"""JSON at every edge: strict in, compact out.

`parse` refuses what would be read differently elsewhere: NaN and infinity, integers beyond 64 bit,
duplicate keys, lone surrogates, nesting over `MAX_NESTING`. Values that passed it, and values that
Python code returned and `check` passed, are encoded by `encode`; what `encode` wrote is read by
`decode`, which trusts it. The rules themselves are pure and live in `core/values.py`.
"""

from __future__ import annotations

import orjson

from argyll_redis.core.model import JSON
from argyll_redis.core.values import check, parse

__all__ = ["check", "decode", "encode", "encode_canonical", "parse"]


def encode(value: JSON) -> bytes:
    """Writes a checked value as compact UTF-8, keys in the order they are in."""
    return orjson.dumps(value)


def encode_canonical(value: JSON) -> bytes:
    """Writes a checked value so that equal values give equal bytes: keys sorted by code point."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def decode(data: bytes) -> JSON:
    """Reads bytes that `encode` wrote; for anything else use `parse`."""
    return orjson.loads(data)
