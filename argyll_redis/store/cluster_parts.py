"""The parts that a call on a cluster is split into, one a slot: what each is given, and what they come to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from argyll_redis.errors import NamespaceEmptied, StoreUnavailable, StoreUnfit
from argyll_redis.store.cluster_slots import tag_of
from argyll_redis.store.protocol import Entry, Fetch

Part = TypeVar("Part")

logger = logging.getLogger(__name__)


def nothing_of(keys: Sequence[str]) -> str:
    """The key that is never there, in the slot of these."""
    return f"{tag_of(keys)}:nothing"


async def together(calls: Sequence[Awaitable[Part]]) -> list[Part]:
    """Waits for all parts of a call. Raises what one of them raised when all have ended."""
    ends = await asyncio.gather(*calls, return_exceptions=True)
    failed = [end for end in ends if isinstance(end, BaseException)]
    if failed:
        raise gravest(failed)
    return [end for end in ends if not isinstance(end, BaseException)]


def gravest(errors: Sequence[BaseException]) -> BaseException:
    """The error that counts among those of several parts: one that does not pass before one that may."""
    kinds = (NamespaceEmptied, StoreUnfit)
    order = [error for kind in kinds for error in errors if isinstance(error, kind)]
    others = [error for error in errors if not isinstance(error, StoreUnavailable)]
    return [*others, *order, *errors][0]


def or_raise(found: list[Entry], failed: Sequence[BaseException]) -> list[Entry]:
    """What parts of a call were handed is handed on, though others failed, unless that is for good; the
    failure is told when there is nothing."""
    if not failed:
        return found
    error = gravest(failed)
    if not found or not isinstance(error, StoreUnavailable) or isinstance(error, NamespaceEmptied):
        raise error
    logger.warning("a part of a call failed: %s", error)
    return found


def divided(fetch: Fetch | None, turns: Mapping[int, int]) -> dict[int, Fetch]:
    """What each part of a commit fetches: of its own partition, with slots by its number of turns. What
    waits elsewhere is for the next fetch, as it would be a call more."""
    if fetch is None:
        return {}
    parts: dict[int, Fetch] = {}
    for (partition, _), slots in zip(turns.items(), shares(fetch.slots, list(turns.values())), strict=True):
        streams = [ref for ref in fetch.streams if ref.partition == partition]
        if streams:
            parts[partition] = replace(fetch, slots=slots, streams=streams)
    return parts


def shares(count: int, weights: Sequence[int]) -> list[int]:
    """Divides a number by weights, whole and without a rest; what is over goes to the first ones."""
    total = sum(weights)
    whole = [count * weight // total for weight in weights]
    over = count - sum(whole)
    return [share + (place < over) for place, share in enumerate(whole)]
