"""Tables are aligned, times read as people say them, and hostile text does nothing to a terminal."""

from __future__ import annotations

import pytest

from argyll_redis.cli import texts


class Terminal:
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


# ---------------------------------------------------------------------- tables


def test_a_table_aligns_its_columns_and_sets_numbers_to_the_right() -> None:
    shown = texts.table(("name", "count"), [("a", 5), ("longer", 1_000)])
    assert shown.splitlines() == ["NAME    COUNT", "a           5", "longer   1000"]


def test_a_column_that_is_empty_in_every_row_is_left_out() -> None:
    shown = texts.table(("name", "error", "at"), [("a", None, "x"), ("b", "", "y")])
    assert shown.splitlines() == ["NAME  AT", "a     x", "b     y"]


def test_without_a_width_nothing_is_shortened_or_folded() -> None:
    shown = texts.table(("name", "text"), [("a", "x" * 500)])
    assert shown.splitlines()[1] == "a     " + "x" * 500


def test_with_a_width_the_widest_columns_are_shortened_until_lines_fit() -> None:
    shown = texts.table(("name", "text"), [("a" * 20, "x" * 100)], width=50)
    line = shown.splitlines()[1]
    assert (len(line), line) == (50, "a" * 20 + "  " + "x" * 27 + "…")


def test_a_column_that_is_kept_is_not_shortened() -> None:
    shown = texts.table(("flow", "text"), [("f" * 60, "x" * 60)], width=50, keep=("flow",))
    assert shown.splitlines()[1] == "f" * 60 + "  " + "x" * 7 + "…"


def test_wide_letters_take_two_columns() -> None:
    shown = texts.table(("name", "at"), [("日本", "x"), ("abcd", "y")])
    assert shown.splitlines() == ["NAME  AT", "日本  x", "abcd  y"]


def test_colour_does_not_disturb_the_alignment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "wants_colour", lambda stream: True)
    shown = texts.table(("status", "at"), [(texts.status("failed"), "x"), (texts.status("pending"), "y")])
    assert shown.splitlines()[1:] == ["\x1b[31mfailed\x1b[0m   x", "\x1b[90mpending\x1b[0m  y"]


def test_facts_are_aligned_and_what_is_empty_is_left_out() -> None:
    assert (
        texts.facts([("id", "a"), ("status", "b"), ("error", None), ("label", "")]) == "id      a\nstatus  b"
    )


# ---------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[2Jgone\x1b[0m", "\\x1b[2Jgone\\x1b[0m"),
        ("right\u202eleft", "right\\u202eleft"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_control_characters_are_shown_and_not_sent_to_the_terminal(text: str, shown: str) -> None:
    assert texts.printable(text) == shown


def test_a_cell_that_brings_its_own_colour_is_made_harmless() -> None:
    assert texts.table(("a",), [("\x1b[2J\x1b[0m",)]).splitlines()[1] == "\\x1b[2J\\x1b[0m"


def test_pairs_show_texts_bare_and_other_values_as_json() -> None:
    assert texts.pairs({"tenant": "acme", "size": 3, "of": ["a"]}) == 'tenant=acme size=3 of=["a"]'


# ----------------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (0, "0 ms"),
        (840, "840 ms"),
        (12_345, "12.3 s"),
        (59_949, "59.9 s"),
        (59_960, "1 min"),
        (200_000, "3 min 20 s"),
        (7_500_000, "2 h 5 min"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_a_duration_reads_as_people_say_it(ms: int, said: str) -> None:
    assert texts.duration(ms) == said


@pytest.mark.parametrize(
    ("now_ms", "said"),
    [(1_000, "just now"), (0, "just now"), (6_500, "5 s ago"), (201_000, "3 min ago")],
)
def test_ago_counts_whole_seconds_and_forgives_clocks_that_differ(now_ms: int, said: str) -> None:
    assert texts.ago("1970-01-01T00:00:01.000Z", now_ms) == said


# ---------------------------------------------------------------------- colour


@pytest.mark.parametrize(
    ("variables", "wanted"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour_is_for_terminals_whose_user_has_not_refused_it(
    variables: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert texts.wants_colour(Terminal()) is wanted  # type: ignore[arg-type]
