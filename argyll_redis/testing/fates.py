"""Which faults of a seed may strike, each by a name that a person can read and give back.

A fault is drawn by its name, not by its place in a sequence. So when one is left out the others stay
where they were, and a run that fails under forty faults can be tried again under three of them.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b
from random import Random


class Fates:
    """The draws of a seed, and the faults that struck."""

    def __init__(self, seed: int, only: Collection[str] | None = None) -> None:
        self.struck: list[str] = []
        """Faults that struck, by name, in order."""
        self._seed = seed
        self._only = None if only is None else frozenset(only)

    def draw(self, name: str) -> Random:
        """Draws of a name's own: the same for the same seed, whatever else was drawn."""
        return Random(f"{self._seed} {name}")

    def share(self, name: str) -> float:
        """One draw of a name's own, 0 to 1; quicker than `draw`."""
        digest = blake2b(f"{self._seed} {name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64

    def strikes(self, fault: str) -> bool:
        """Notes that a fault is drawn; False when it is not among those that may strike."""
        if self._only is not None and fault not in self._only:
            return False
        self.struck.append(fault)
        return True
