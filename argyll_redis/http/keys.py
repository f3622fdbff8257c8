"""Who may do what: roles, and the keys that have them.

Keys are given as `role:key,role:key` and kept as hashes only, so that nothing that shows them, a
traceback or a dump, gives one away.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from enum import IntEnum
from hashlib import sha256
from typing import NamedTuple

from argyll_redis.core.reader import did_you_mean
from argyll_redis.errors import InvalidInput, Problem

VARIABLE = "ARGYLL_API_KEYS"
MAX_KEYS = 1_000
"""Keys that one server knows: each request is compared with all of them."""
MAX_KEY_CHARS = 512
"""Of one key: it has to fit into a header."""


class Role(IntEnum):
    """What a key allows; each role includes the ones before it."""

    READ = 1
    OPERATE = 2
    DEFINE = 3

    @property
    def word(self) -> str:
        return self.name.lower()


class _Key(NamedTuple):
    hash: bytes
    role: Role


class ApiKeys:
    """The keys of one server."""

    def __init__(self, keys: Sequence[_Key] = ()) -> None:
        self._keys = tuple(keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"ApiKeys({len(self._keys)})"

    def role_of(self, key: str) -> Role | None:
        """The highest role of a key; None for one that is not known. Takes as long for any key."""
        hash = _hash(key)
        found = 0
        for each in self._keys:
            found = max(found, each.role * hmac.compare_digest(hash, each.hash))
        return Role(found) if found else None


def read_keys(text: str | None) -> ApiKeys:
    """Reads `role:key,role:key`; nothing gives no keys. Raises `InvalidInput`, which shows no key."""
    parts = [part.strip() for part in (text or "").split(",")]
    given = [(number, part) for number, part in enumerate(parts, 1) if part]
    problems: list[Problem] = []
    keys: list[_Key] = []
    if len(given) > MAX_KEYS:
        problems.append(Problem(VARIABLE, f"has {len(given):,} keys", f"use at most {MAX_KEYS:,}"))
    for number, part in given[:MAX_KEYS]:
        name, colon, key = part.partition(":")
        role = next((each for each in Role if each.word == name.strip().lower()), None)
        problem = _problem(name, bool(colon), key, role)
        if problem or role is None:
            what, mend = problem or ("", "")
            problems.append(Problem(f"{VARIABLE}, key {number}", what, mend))
        else:
            keys.append(_Key(_hash(key), role))
    if problems:
        raise InvalidInput(problems=problems)
    return ApiKeys(keys)


def _problem(name: str, has_colon: bool, key: str, role: Role | None) -> tuple[str, str] | None:
    """What is wrong with one key, and how to mend it; it may be all key, so nothing of it is shown."""
    known = [each.word for each in Role]
    if not has_colon:
        return "has no role", "use role:key, such as read:..."
    if role is None:
        near = did_you_mean(name.strip(), known)
        return "has an unknown role", near or f"use one of {', '.join(known)}"
    if not key:
        return "is empty", "put the key after the colon"
    if len(key) > MAX_KEY_CHARS:
        return f"is {len(key):,} characters long", f"use at most {MAX_KEY_CHARS}"
    if not (key.isascii() and key.isprintable()) or " " in key:
        return "has characters that no header can hold", "use letters and digits"
    return None


def _hash(key: str) -> bytes:
    return sha256(key.encode("utf-8", "replace")).digest()
