"""I-29: whether work that was spared gave what the same work gave before.

Who gave it is not on record: it is looked for among all successes of the same definition with the same
inputs. Where none is left, because its flow has expired, nothing can be said.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from argyll_redis.audit.walk import Looked
from argyll_redis.core import events as e
from argyll_redis.core.audit import Violation
from argyll_redis.core.collect import item_inputs
from argyll_redis.core.events import Recorded
from argyll_redis.core.model import JSON
from argyll_redis.core.state import Flow
from argyll_redis.runtime.memo import memo_key
from argyll_redis.store.codec import encode_canonical

MAX_SUCCESSES = 1_000_000
"""Successes of memoizable steps that an audit remembers; nothing is said of more."""
MAX_SKEW_MS = 1_000
"""By how much the clocks of two nodes of a cluster may differ."""


class Hit(NamedTuple):
    """A success that was remembered."""

    key: int
    outputs: int
    at_ms: int
    flow: str
    version: int
    message: str


class Memos:
    """Successes of memoizable steps, as hashes, and those that were remembered."""

    def __init__(self, began_ms: int) -> None:
        """Of hits after `began_ms` nothing is said: what they rest on may have been read before it was
        there."""
        self._began_ms = began_ms
        self._first_ms: dict[int, dict[int, int]] = {}
        """When each outputs of a key were given first."""
        self._hits: list[Hit] = []
        self._count = 0

    @property
    def is_full(self) -> bool:
        return self._count >= MAX_SUCCESSES

    def note(self, looked: Looked) -> None:
        """Takes in the successes of a flow whose log is sound."""
        flow = looked.flow
        if not any(step.memoizable for step in flow.plan.steps.values()):
            return
        for recorded in looked.log.events:
            match recorded.event:
                case e.WorkSucceeded() as event if not self.is_full:
                    self._note_one(flow, recorded, event)
                case _:
                    pass

    def _note_one(self, flow: Flow, recorded: Recorded, event: e.WorkSucceeded) -> None:
        step, found = flow.plan.steps[event.step], flow.find(event.token)
        if not step.memoizable or found is None:
            return
        self._count += 1
        inputs = item_inputs(step, flow.steps[step.id].inputs, found[1])
        key, outputs = int(memo_key(step, inputs)[:16], 16), _hash(dict(event.outputs))
        if event.memo:
            message = f"attempt {event.attempt} of {event.token} got what the same work never gave"
            self._hits.append(Hit(key, outputs, recorded.at, flow.id, recorded.version, message))
        else:
            given = self._first_ms.setdefault(key, {})
            given[outputs] = min(recorded.at, given.get(outputs, recorded.at))

    def judge(self) -> Iterator[tuple[str, Violation]]:
        """Says which hits no earlier success gave, though there are some."""
        for hit in self._hits:
            until_ms = hit.at_ms + MAX_SKEW_MS
            given = {outputs for outputs, ms in self._first_ms.get(hit.key, {}).items() if ms <= until_ms}
            if given and hit.outputs not in given and hit.at_ms <= self._began_ms:
                yield hit.flow, Violation("I-29", hit.version, hit.message)


def _hash(value: JSON) -> int:
    return int.from_bytes(blake2b(encode_canonical(value), digest_size=8).digest())
