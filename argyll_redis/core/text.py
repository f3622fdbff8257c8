"""Text from outside, made harmless for whoever reads it. Alone, as commands import it early."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text on one line, its control characters shown as escapes: it may come from anywhere."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
