"""Regular expressions of RFC 9485 (I-Regexp), matched in time linear in the text.

JSONPath has `match()` and `search()`. Python's own `re` backtracks: a pattern of ten characters can
hang an engine. I-Regexp has neither references nor look-around, so it can be run as an automaton: a
set of states moves along the text, and each set is built once and remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from unicodedata import category

from argyll_redis.errors import ScriptError
from argyll_redis.scripting import limits

KEPT_PATTERNS = 256
KEPT_MOVES = 10_000
"""Moves between state sets that one pattern remembers; then it forgets all and begins anew."""
CHARACTERS_A_STEP = 8
"""Moving along a remembered set is some eight times cheaper than a step of a path."""
GROUP_DEPTH = 32

Spend = Callable[[int], None]
"""Takes steps from what an evaluation may use; raises `ScriptError` when it is used up."""

_CATEGORIES: dict[str, str] = {
    "L": "lmotu",
    "M": "cen",
    "N": "dlo",
    "P": "cdefios",
    "Z": "lps",
    "S": "ckmo",
    "C": "cfno",
}
"""The second letters that may follow each first one (RFC 9485, IsCategory)."""
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
_ESCAPABLE = frozenset("()*+-.?[\\]^{|}")
_SPECIAL = frozenset("()*+.?[\\]{|}")


class InvalidPattern(Exception):
    """The text is no I-Regexp."""


@dataclass(frozen=True, slots=True)
class CharacterClass:
    """A set of characters: ranges and Unicode categories, or everything but those."""

    ranges: tuple[tuple[str, str], ...] = ()
    categories: tuple[tuple[str, bool], ...] = ()
    """Beginnings of category names, each with whether it is meant or excluded."""
    negated: bool = False

    def holds(self, character: str) -> bool:
        """Whether a character belongs to the set."""
        found = any(low <= character <= high for low, high in self.ranges) or any(
            category(character).startswith(name) is meant for name, meant in self.categories
        )
        return found is not self.negated


ANY = CharacterClass(ranges=(("\n", "\n"), ("\r", "\r")), negated=True)


# A parsed pattern is a tree of these.
@dataclass(frozen=True, slots=True)
class _Sequence:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    branches: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    part: _Node
    least: int
    most: int | None


_Node = CharacterClass | _Sequence | _Choice | _Repeat


class _Parser:
    """One pass over the text, by the grammar of RFC 9485, section 3."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._depth = 0

    def parse(self) -> _Node:
        node = self._choice()
        if self._place < len(self._text):
            raise InvalidPattern
        return node

    def _peek(self) -> str:
        return self._text[self._place : self._place + 1]

    def _next(self) -> str:
        character = self._peek()
        if not character:
            raise InvalidPattern
        self._place += 1
        return character

    def _take(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self._place += 1
        return True

    def _expect(self, character: str) -> None:
        if not self._take(character):
            raise InvalidPattern

    def _choice(self) -> _Node:
        branches = [self._branch()]
        while self._take("|"):
            branches.append(self._branch())
        return _Choice(tuple(branches)) if len(branches) > 1 else branches[0]

    def _branch(self) -> _Node:
        parts: list[_Node] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._quantified(self._atom()))
        return _Sequence(tuple(parts))

    def _atom(self) -> _Node:
        character = self._next()
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == ".":
            return ANY
        if character == "\\":
            return self._escape()
        if character in _SPECIAL:
            raise InvalidPattern
        return CharacterClass(ranges=((character, character),))

    def _group(self) -> _Node:
        self._depth += 1
        if self._depth > GROUP_DEPTH:
            raise ScriptError(f"the regular expression is nested deeper than {GROUP_DEPTH} levels")
        node = self._choice()
        self._expect(")")
        self._depth -= 1
        return node

    def _escape(self) -> CharacterClass:
        if self._peek() in ("p", "P"):
            return CharacterClass(categories=(self._category(),))
        character = self._escaped()
        return CharacterClass(ranges=((character, character),))

    def _escaped(self) -> str:
        character = self._next()
        if character in _CONTROLS:
            return _CONTROLS[character]
        if character not in _ESCAPABLE:
            raise InvalidPattern
        return character

    def _category(self) -> tuple[str, bool]:
        meant = self._next() == "p"
        self._expect("{")
        name = self._next()
        seconds = _CATEGORIES.get(name)
        if seconds is None:
            raise InvalidPattern
        if self._peek() != "}":
            second = self._next()
            if second not in seconds:
                raise InvalidPattern
            name += second
        self._expect("}")
        return name, meant

    def _class(self) -> CharacterClass:
        negated = self._take("^")
        ranges: list[tuple[str, str]] = []
        categories: list[tuple[str, bool]] = []
        if self._take("-"):
            ranges.append(("-", "-"))
        while not self._take("]"):
            if self._text[self._place : self._place + 2] in ("\\p", "\\P"):
                self._place += 1
                categories.append(self._category())
            else:
                ranges.append(self._range())
        if not ranges and not categories:
            raise InvalidPattern
        return CharacterClass(tuple(ranges), tuple(categories), negated)

    def _range(self) -> tuple[str, str]:
        if self._text[self._place : self._place + 2] == "-]":
            self._place += 1
            return "-", "-"
        low = self._class_character()
        if self._peek() != "-" or self._text[self._place + 1 : self._place + 2] == "]":
            return low, low
        self._place += 1
        high = self._class_character()
        if high < low:
            raise InvalidPattern
        return low, high

    def _class_character(self) -> str:
        character = self._next()
        if character == "\\":
            return self._escaped()
        if character in "-[]":
            raise InvalidPattern
        return character

    def _quantified(self, part: _Node) -> _Node:
        if self._take("*"):
            return _Repeat(part, 0, None)
        if self._take("+"):
            return _Repeat(part, 1, None)
        if self._take("?"):
            return _Repeat(part, 0, 1)
        if not self._take("{"):
            return part
        least = self._number()
        most: int | None = least
        if self._take(","):
            most = None if self._peek() == "}" else self._number()
        self._expect("}")
        if most is not None and most < least:
            raise InvalidPattern
        return _Repeat(part, least, most)

    def _number(self) -> int:
        start = self._place
        while self._peek() and self._peek() in "0123456789":
            self._place += 1
        digits = self._text[start : self._place]
        if not digits:
            raise InvalidPattern
        if len(digits) > 6:
            raise _too_large()
        return int(digits)


def _too_large() -> ScriptError:
    return ScriptError(f"the regular expression needs more than {limits.REGEX_STATES} states")


@dataclass(slots=True)
class _Automaton:
    """States by number: what each consumes and where it leads, or where it leads at once."""

    moves: list[tuple[CharacterClass, int] | None] = field(default_factory=list)
    jumps: list[tuple[int, ...]] = field(default_factory=list)

    def add(self, move: tuple[CharacterClass, int] | None, *jumps: int) -> int:
        if len(self.moves) >= limits.REGEX_STATES:
            raise _too_large()
        self.moves.append(move)
        self.jumps.append(jumps)
        return len(self.moves) - 1

    def build(self, node: _Node, after: int) -> int:
        """The first state of a pattern that ends in the state `after`."""
        if isinstance(node, CharacterClass):
            return self.add((node, after))
        if isinstance(node, _Sequence):
            for part in reversed(node.parts):
                after = self.build(part, after)
            return after
        if isinstance(node, _Choice):
            return self.add(None, *[self.build(branch, after) for branch in node.branches])
        return self._repeat(node, after)

    def _repeat(self, node: _Repeat, after: int) -> int:
        if node.most is None:
            loop = self.add(None)
            self.jumps[loop] = (self.build(node.part, loop), after)
            after = loop
        else:
            end = after
            for _ in range(node.most - node.least):
                after = self.add(None, self.build(node.part, after), end)
        for _ in range(node.least):
            after = self.build(node.part, after)
        return after

    def reach(self, states: Iterable[int]) -> tuple[frozenset[int], int]:
        """The states that consume or accept, reached from some without consuming anything, and how
        many states were looked at."""
        todo, seen = list(states), set[int]()
        while todo:
            state = todo.pop()
            if state not in seen:
                seen.add(state)
                todo.extend(self.jumps[state])
        return frozenset(state for state in seen if self.moves[state] is not None or state == 0), len(seen)


class _Set:
    """A set of states, with the sets that characters lead to as far as they are known."""

    __slots__ = ("accepts", "next", "states")

    def __init__(self, states: frozenset[int]) -> None:
        self.states = states
        self.accepts = 0 in states
        self.next: dict[str, _Set] = {}


class Pattern:
    """A compiled pattern. It may be used by several threads: they only add to what it remembers."""

    def __init__(self, text: str, *, anywhere: bool) -> None:
        self._automaton = _Automaton()
        self._automaton.add(None)  # state 0 accepts
        first = self._automaton.build(_Parser(text).parse(), 0)
        self._anywhere = anywhere
        self._start, _ = self._automaton.reach((first,))
        self._sets: dict[frozenset[int], _Set] = {}
        self._kept_moves = 0

    def matches(self, text: str, spend: Spend) -> bool:
        """Whether the whole text matches, or with `anywhere` some part of it."""
        spend(1 + len(text) // CHARACTERS_A_STEP)
        current = self._set(self._start)
        for character in text:
            if self._anywhere and current.accepts:
                return True
            following = current.next.get(character)
            if following is None:
                following = self._follow(current, character, spend)
            if not following.states:
                return False
            current = following
        return current.accepts

    def _follow(self, current: _Set, character: str, spend: Spend) -> _Set:
        moves = [self._automaton.moves[state] for state in current.states]
        reached, seen = self._automaton.reach(move[1] for move in moves if move and move[0].holds(character))
        spend(len(moves) + seen)
        if self._kept_moves >= KEPT_MOVES:
            self._sets, self._kept_moves = {}, 0
        self._kept_moves += 1
        following = self._set(reached | self._start if self._anywhere else reached)
        current.next[character] = following
        return following

    def _set(self, states: frozenset[int]) -> _Set:
        found = self._sets.get(states)
        if found is None:
            found = self._sets[states] = _Set(states)
        return found


@lru_cache(maxsize=KEPT_PATTERNS)
def compile_pattern(text: str, *, anywhere: bool) -> Pattern | None:
    """A pattern; None for text that is no I-Regexp. Raises `ScriptError` for one over the limits."""
    if len(text) > limits.REGEX_CHARACTERS:
        raise ScriptError(f"a regular expression has at most {limits.REGEX_CHARACTERS} characters")
    try:
        return Pattern(text, anywhere=anywhere)
    except InvalidPattern:
        return None
