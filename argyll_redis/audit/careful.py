"""Reads that one bad key does not spoil: somebody may have written anything under any name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from argyll_redis.errors import CallRefused

T = TypeVar("T")
R = TypeVar("R")


async def read_each(
    read: Callable[[Sequence[T]], Awaitable[list[R]]], asked: Sequence[T], otherwise: R
) -> list[R]:
    """Reads many things in one round trip; where Redis refuses, in more, until it is known which of them it
    is: `otherwise` stands for that."""
    if not asked:
        return []
    try:
        return await read(asked)
    except CallRefused:
        if len(asked) == 1:
            return [otherwise]
    half = len(asked) // 2
    return [
        *await read_each(read, asked[:half], otherwise),
        *await read_each(read, asked[half:], otherwise),
    ]
