"""Initial values and files are read strictly, and what is wrong is said with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from argyll_redis.cli import opened, options
from argyll_redis.errors import InvalidInput
from argyll_redis.steps.context import Values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=3", 3),
        ('x="3"', "3"),
        ("x=007", "007"),
        ("x=c1", "c1"),
        ("x=", ""),
        ("x=a=b", "a=b"),
        ("x=[1, 2]", [1, 2]),
        ("x=null", None),
        ("x=-1.5e3", -1500.0),
        ("x={broken", "{broken"),
        ("x=18446744073709551615", 2**64 - 1),
    ],
)
def test_an_initial_value_is_json_if_it_parses_and_else_text(text: str, value: Any) -> None:
    assert options.read_init([text], None) == {"x": value}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x=NaN", "not a JSON number"),
        ("x=18446744073709551616", "beyond 64 bit"),
        ("x=" + "9" * 5_000, "beyond 64 bit"),
        ('x={"a": 1, "a": 2}', "occurs twice"),
        ("x=" + "[" * 65 + "]" * 65, "nested"),
        ("x=" + "[" * 100_000 + "]" * 100_000, "nested"),
        ('x="\\ud800"', "surrogate"),
    ],
)
def test_json_that_others_would_read_differently_is_refused_and_never_taken_as_text(
    text: str, words: str
) -> None:
    with pytest.raises(InvalidInput, match=f"init.x.*{words}"):
        options.read_init([text], None)


@pytest.mark.parametrize(("text", "words"), [("x", "has no value"), ("=3", "has no name")])
def test_a_pair_without_name_or_value_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=f"--init: .*{words}.*use name=value"):
        options.read_init([text], None)


def test_the_same_name_again_adds_another_value_after_that_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "init.json"
    file.write_text('{"x": [1], "y": 2}')
    assert options.read_init(["x=3", "x=z"], str(file)) == {"x": Values([1], 3, "z"), "y": 2}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[1]", "is not an object"),
        (b'{"x": }', "line 1, column 7: not JSON"),
        (b"\xff", "not valid UTF-8"),
        (b'{"x": 1e999}', "x: inf is not a JSON number"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_name(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "init.json"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=f"init.json: .*{words}"):
        options.read_init([], str(file))


def test_a_file_over_the_limit_is_refused_without_being_read_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "MAX_FILE_BYTES", 10)
    file = tmp_path / "init.json"
    file.write_text('{"x": "12345678"}')
    with pytest.raises(InvalidInput, match="more than 10 bytes"):
        options.read_document(str(file))


@pytest.mark.parametrize("name", ["missing.json", ".", "nul\0byte"])
def test_a_file_that_cannot_be_read_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        options.read_document(str(tmp_path / name))


def test_a_label_given_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match='--label: "a" is given twice'):
        options.read_texts(["a=1", "a=2"], "--label")


def test_labels_are_text_and_metadata_is_json_or_text() -> None:
    given = ["n=1", "t=x"]
    assert (options.read_texts(given, "--label"), options.read_values(given, "--metadata")) == (
        {"n": "1", "t": "x"},
        {"n": 1, "t": "x"},
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:s3cret@host:1/2", "redis://host:1/2"),
        ("rediss://user:s3cret@host/0?password=s3cret", "rediss://host/0"),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock"),
        ("redis://user:p@s3cret@host", "redis://host"),
        ("redis://[s3cret", "redis://..."),
    ],
)
def test_a_url_is_shown_without_what_is_secret(url: str, shown: str) -> None:
    assert opened.shown_url(url) == shown


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", 0),
        ("1500", 1_500),
        ("250ms", 250),
        ("90s", 90_000),
        ("15m", 900_000),
        ("12h", 43_200_000),
        (" 7 D ", 604_800_000),
    ],
)
def test_a_duration_is_read_with_its_unit_or_as_ms(text: str, ms: int) -> None:
    assert options.Duration(ms).convert(text, None, None) == ms


@pytest.mark.parametrize("text", ["", "d", "-1", "1.5h", "7w", "1e3", "٧d", "1" * 19, "1001"])
def test_what_is_no_duration_or_too_long_a_one_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is no duration|is too long"):
        options.Duration(1_000).convert(text, None, None)
