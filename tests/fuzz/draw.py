"""Draws from a seed: values, changes of documents, and the bytes that they travel in."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

from tests.fuzz.corpus import JSON_TRAPS, NUMBERS, OTHERS, TEXTS, WORDS

T = TypeVar("T")
MAX_DEPTH = 4
WIDE = 2_000
"""Elements of a list that is long on purpose."""


class Draw:
    """A source of hostile values; the same seed draws the same ones."""

    def __init__(self, seed: str) -> None:
        self.random = Random(seed)

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def one(self, of: Sequence[T]) -> T:
        return of[self.random.randrange(len(of))]

    def number(self, below: int) -> int:
        return self.random.randrange(below)

    # ------------------------------------------------------------------- values

    def text(self) -> str:
        match self.number(6):
            case 0:
                return self.one(TEXTS)
            case 1:
                return self.one(WORDS) + self.one(TEXTS)
            case 2:
                return "".join(chr(self.character()) for _ in range(self.number(20)))
            case _:
                return self.one(WORDS)

    def character(self) -> int:
        """Of the characters that are something special, or any at all."""
        if self.chance(50):
            return self.number(128)
        return self.one(
            (0, 0x85, 0xA0, 0x2028, 0xD800, 0xDFFF, 0xFEFF, 0xFFFF, 0x10FFFF, self.number(0x110000))
        )

    def value(self, depth: int = 0) -> Any:
        """Any JSON value, and some that JSON has not."""
        match self.number(8 if depth < MAX_DEPTH else 5):
            case 0 | 1:
                return self.text()
            case 2:
                return self.one(NUMBERS)
            case 3 | 4:
                return copy.deepcopy(self.one(OTHERS))
            case 5:
                return [self.value(depth + 1) for _ in range(self.number(4))]
            case 6 if self.chance(10):
                return self.large()
            case _:
                return {self.text(): self.value(depth + 1) for _ in range(self.number(4))}

    def large(self) -> Any:
        """Something long or deep."""
        match self.number(4):
            case 0:
                return [self.number(9)] * WIDE
            case 1:
                return {f"n{number}": number for number in range(WIDE)}
            case 2:
                return self.one(TEXTS) * 50
            case _:
                return self.deep(self.one((62, 63, 64, 65, 66, 67, 70, 200)))

    def deep(self, levels: int) -> Any:
        value: Any = self.one((0, [], {}))
        for _ in range(levels):
            value = [value] if self.chance(50) else {"a": value}
        return value

    # ------------------------------------------------------------------ changes

    def changed(self, document: Any, times: int | None = None) -> Any:
        """A copy with something changed, somewhere, a few times."""
        document = copy.deepcopy(document)
        for _ in range(1 + self.number(3) if times is None else times):
            document = self._changed_once(document)
        return document

    def _changed_once(self, document: Any) -> Any:
        places = list(_places(document))
        if not places or self.chance(3):
            return self.value()
        holder, key = self.one(places)
        self.one(_CHANGES)(self, holder, key)
        return document

    def put(self, holder: Any, key: Any) -> None:
        holder[key] = self.value()

    def drop(self, holder: Any, key: Any) -> None:
        del holder[key]

    def add(self, holder: Any, key: Any) -> None:
        if isinstance(holder, dict):
            holder[self.text()] = self.value()
        else:
            holder.insert(key, self.value())

    def rename(self, holder: Any, key: Any) -> None:
        if isinstance(holder, dict):
            holder[self.text()] = holder.pop(key)

    def double(self, holder: Any, key: Any) -> None:
        if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[self.text()] = copy.deepcopy(holder[key])

    def wrap(self, holder: Any, key: Any) -> None:
        holder[key] = self.one(([holder[key]], {self.one(WORDS): holder[key]}))

    def number_instead(self, holder: Any, key: Any) -> None:
        holder[key] = self.one(NUMBERS)

    def text_instead(self, holder: Any, key: Any) -> None:
        holder[key] = self.text()

    # -------------------------------------------------------------------- bytes

    def bytes_of(self, document: Any) -> bytes:
        """A document as it travels: mostly JSON, now and then with its bytes hurt, or a trap."""
        if self.chance(8):
            return self.one(JSON_TRAPS)
        try:
            data = json.dumps(document, ensure_ascii=self.chance(50)).encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):
            return self.one(JSON_TRAPS)
        return self.hurt(data) if self.chance(15) else data

    def hurt(self, data: bytes) -> bytes:
        """Bytes with some of them flipped, lost, doubled, or cut off."""
        hurt = bytearray(data)
        for _ in range(1 + self.number(3)):
            place = self.number(len(hurt) + 1)
            match self.number(5):
                case 0 if place < len(hurt):
                    hurt[place] ^= 1 << self.number(8)
                case 1:
                    del hurt[place : place + self.number(8)]
                case 2:
                    hurt[place:place] = hurt[place : place + self.number(16)]
                case 3:
                    del hurt[place:]
                case _:
                    hurt[place:place] = bytes([self.number(256)])
        return bytes(hurt)


_CHANGES: tuple[Callable[[Draw, Any, Any], None], ...] = (
    Draw.put,
    Draw.put,
    Draw.drop,
    Draw.add,
    Draw.rename,
    Draw.double,
    Draw.wrap,
    Draw.number_instead,
    Draw.text_instead,
)


def _places(document: Any, depth: int = 0) -> Any:
    """Every place in a document: what holds it, and its key or index there."""
    if depth > 20:
        return
    if isinstance(document, dict):
        pairs: Any = document.items()
    elif isinstance(document, list):
        pairs = enumerate(document[:50])
    else:
        return
    for key, value in list(pairs):
        yield document, key
        yield from _places(value, depth + 1)
