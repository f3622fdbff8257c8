"""What docs/reliability.md names is there: a row for every way to fail, and each test, program and gate."""

from __future__ import annotations

import re

from doc_words import DOCS, ROOT

PAGE = DOCS / "reliability.md"
NUMBERS = [*range(1, 19), *range(20, 24), *range(25, 44), *range(50, 58)]
"""Of the ways to fail; some numbers were never given."""
TEST = re.compile(r"`(test_[a-z0-9_]+)`")
MODULE = re.compile(r"python -m ([a-z_.]+)")
PATH = re.compile(r"`(tests/[a-z0-9_/.]+)`")


def test_every_way_to_fail_has_a_row_in_order() -> None:
    """None is left out quietly."""
    rows = re.findall(r"^\| F(\d\d) \|", PAGE.read_text(), re.M)
    assert [int(number) for number in rows] == NUMBERS


def test_every_row_says_what_shows_it() -> None:
    """A row without anything to run would be a promise."""
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| F\d\d \|", line)]
    assert [row for row in rows if not re.search(r"`|sweep|simulator|chaos", row.split(" | ")[-1])] == []


def test_every_test_that_is_named_exists() -> None:
    """A test that was renamed takes its row along."""
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = sorted(set(TEST.findall(PAGE.read_text())))
    assert [name for name in named if f"def {name}(" not in tests] == []
    assert len(named) > 40


def test_every_program_and_path_that_is_named_exists() -> None:
    """Whoever reads the page can run what it names."""
    text = PAGE.read_text()
    places = [ROOT / name.replace(".", "/") for name in MODULE.findall(text)]
    assert [place for place in places if not (place.is_dir() or place.with_suffix(".py").is_file())] == []
    assert [path for path in PATH.findall(text) if not (ROOT / path).exists()] == []
