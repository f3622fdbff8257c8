"""Reading what people wrote, field by field, and gathering everything that is wrong with it.

A `Reader` stands for one JSON object at one place. Each field is asked for once, by the method that
says what it must be; `finish` then refuses what nobody asked for. Nothing is raised on the way, so
that all problems of a definition are reported together: a method that found one returns its default.
A field that is null counts as left out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar, cast

from argyll_redis.core.limits import MAX_NAME_CHARS, MAX_SUGGESTIONS
from argyll_redis.core.model import JSON, Script
from argyll_redis.core.values import shown
from argyll_redis.errors import Problem

Choice = TypeVar("Choice", bound=StrEnum)
CompileScript = Callable[[Script, str], None]
"""Compiles a script for a purpose: `step`, `predicate`, `match` or `mapping`. Raises `ScriptError`."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Suggests the nearest known name; empty when none is near.

    Among many names only the neighbours in the alphabet are looked at: most slips are not in the
    first letters.
    """
    word, names = given.lower()[:MAX_NAME_CHARS], sorted(known)
    start = max(0, bisect_left(names, word) - MAX_SUGGESTIONS // 2)
    near = get_close_matches(word, names[start : start + MAX_SUGGESTIONS], n=1)
    return f"did you mean `{near[0]}`?" if near else ""


def one_of(known: Iterable[str]) -> str:
    """Names what can be used, when it is little enough to be read."""
    names = sorted(known)
    return f"use one of {', '.join(names)}" if 0 < len(names) <= 16 else ""


def has_controls(text: str) -> bool:
    """Says whether a text has control characters: names go into one-line texts, keys and headers."""
    return any(character < " " or "\x7f" <= character <= "\x9f" for character in text)


def is_plain(text: str) -> bool:
    """Says whether a text is valid Unicode on one line."""
    return not has_controls(text) and not any("\ud800" <= character <= "\udfff" for character in text)


class Reader:
    """Reads one JSON object; shares its list of problems with the readers of the objects within."""

    __slots__ = ("asked", "compile_script", "given", "path", "problems")

    def __init__(
        self,
        given: Mapping[str, JSON],
        *,
        path: str = "",
        problems: list[Problem],
        compile_script: CompileScript | None = None,
    ) -> None:
        self.given = given
        self.path = path
        self.problems = problems
        self.compile_script = compile_script
        self.asked: set[str] = set()

    def place(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def refuse(self, name: str, what: str, mend: str = "") -> None:
        """Records a problem with a field; an empty name means the object itself."""
        self.problems.append(Problem(self.place(name) if name else self.path, what, mend))

    def get(self, name: str) -> JSON:
        """The field as it was given; None when it was left out."""
        self.asked.add(name)
        return self.given.get(name)

    def needed(self, name: str, *, mend: str = "") -> JSON:
        """The field as it was given; a problem when it was left out."""
        value = self.get(name)
        if value is None:
            self.refuse(name, "is missing", mend)
        return value

    def filled(self, name: str, *, mend: str) -> None:
        """A problem when a text was left out, or is empty."""
        if self.needed(name, mend=mend) == "":
            self.refuse(name, "is empty", mend)

    def text(self, name: str, *, most: int, default: str = "") -> str:
        """A text of at most so many characters; empty counts as left out."""
        value = self.get(name)
        if value is None or value == "":
            return default
        if not isinstance(value, str):
            self.refuse(name, "is not text", "put it in quotes")
        elif len(value) > most:
            self.refuse(name, f"is {len(value):,} characters long", f"use at most {most:,}")
        else:
            return value
        return default

    def word(self, name: str, *, default: str = "") -> str:
        """A text that is a name: one line, not too long."""
        value = self.text(name, most=MAX_NAME_CHARS, default=default)
        if has_controls(value):
            self.refuse(name, "has control characters", "use plain text")
        return value

    def words(self, name: str, *, most: int) -> tuple[str, ...]:
        """A list of names, each once, in the order given."""
        value = self.get(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.refuse(name, "is not a list", "use a list of texts")
            return ()
        items = cast("list[JSON]", value)
        if len(items) > most:
            self.refuse(name, f"has {len(items):,} entries", f"use at most {most:,}")
        found: dict[str, None] = {}
        for index, item in enumerate(items):
            if not isinstance(item, str) or not 0 < len(item) <= MAX_NAME_CHARS or has_controls(item):
                self.refuse(
                    f"{name}[{index}]", "is not a name", f"use 1 to {MAX_NAME_CHARS} plain characters"
                )
            else:
                found[item] = None
        return tuple(found)

    def flag(self, name: str) -> bool:
        """A boolean; left out is false."""
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            self.refuse(name, "is not a boolean", "use true or false")
            return False
        return bool(value)

    def whole(self, name: str, *, least: int, most: int, default: int) -> int:
        """A whole number within bounds; left out and 0 take the default."""
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(name, "is not a whole number", f"use {least} to {most}")
        elif not least <= value <= most:
            self.refuse(name, f"{value} is out of range", f"use {least} to {most}")
        elif value != 0:
            return value
        return default

    def share(self, name: str) -> float:
        """A number from 0 to 1; left out is 0."""
        value = self.get(name)
        if value is None:
            return 0.0
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            self.refuse(name, "is not a number from 0 to 1", "use a number such as 0.5")
            return 0.0
        return float(value)

    def choice(self, name: str, kind: type[Choice], *, needed: bool = False) -> Choice | None:
        """One of the words of an enumeration; empty counts as left out."""
        value = self.get(name)
        known = [str(member) for member in kind]
        if value is None or value == "":
            if needed:
                self.refuse(name, "is missing", f"use one of {', '.join(known)}")
            return None
        if isinstance(value, str) and value in known:
            return kind(value)
        near = did_you_mean(value, known) if isinstance(value, str) else ""
        self.refuse(name, f"{_shown(value)} is not one of {', '.join(known)}", near)
        return None

    def section(self, name: str) -> Reader | None:
        """The object within; None when it was left out or is no object."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.refuse(name, "is not an object", "use {...}")
            return None
        return self.within(name, cast("dict[str, JSON]", value))

    def within(self, name: str, given: Mapping[str, JSON]) -> Reader:
        """A reader of an object within this one."""
        return Reader(
            given, path=self.place(name), problems=self.problems, compile_script=self.compile_script
        )

    def finish(self) -> None:
        """Refuses the fields that nobody asked for, with the nearest known name."""
        for name in self.given:
            if name not in self.asked:
                mend = did_you_mean(name, self.asked) or one_of(self.asked)
                self.refuse(shown(name), "is not a known field", mend)


def _shown(value: JSON) -> str:
    text = f'"{shown(value)}"' if isinstance(value, str) else shown(str(value))
    return text if len(text) <= 60 else text[:57] + "..."
