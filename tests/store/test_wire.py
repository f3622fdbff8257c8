"""What anybody may have written into Redis, as the store reads it: it never stands in the way of the rest."""

from __future__ import annotations

import pytest

from argyll_redis.store.protocol import EngineInfo, FeedEntry, Head
from argyll_redis.store.wire import number, text, unpack_engine, unpack_feed, unpack_head


def test_a_head_with_other_fields_is_one_that_goes_with_no_log() -> None:
    fields = [b"v", b"x", b"at", b"\xff", b"sealed", b"1", b".status", b"\xc3", b"\xfe", b""]
    assert unpack_head(fields) == Head(0, "", 0, 0, True, {"status": "\\xc3"})


def test_a_head_without_a_version_is_none() -> None:
    assert unpack_head([b"tx", b"a"]) is None


@pytest.mark.parametrize("payload", [b"", b"f 1 2", b"f 1 x completed", b"\xff 1 2 completed"])
def test_a_hint_that_is_none_is_passed_over_by_its_id(payload: bytes) -> None:
    """Read again and again it would keep its reader busy."""
    assert unpack_feed(3, [b"5-1", [b"e", payload]]) == FeedEntry(3, "5-1", "", 0, 0, "")


@pytest.mark.parametrize("fields", [[], [b"e"]])
def test_a_hint_without_a_payload_is_passed_over_too(fields: list[bytes]) -> None:
    assert unpack_feed(3, [b"5-1", fields]) == FeedEntry(3, "5-1", "", 0, 0, "")


GOOD = (b'["builtin"]', b"[]", b"100", b"")


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("raw", [b"\xff", b"x", b"{}", b"[1]"])
def test_an_engine_that_says_what_none_says_is_not_alive(place: int, raw: bytes) -> None:
    kept = [*GOOD[:place], raw, *GOOD[place + 1 :]]
    is_state = place == 3 and raw != b"\xff"  # whatever it says of itself is its own affair
    found = unpack_engine(b"e", kept)
    assert found == (EngineInfo("e", ("builtin",), (), 100, raw.decode()) if is_state else None)


def test_an_engine_whose_id_is_no_text_is_not_alive() -> None:
    assert unpack_engine(b"\xff", GOOD) is None


@pytest.mark.parametrize(
    ("raw", "read"),
    [(b"12", 12), (b"-1", -1), (b"1.5", 1), (b"1e3", 1000), (b"inf", 0), (b"nan", 0), (b"x", 0)],
)
def test_a_number_that_is_none_is_0(raw: bytes, read: int) -> None:
    assert number(raw) == read


def test_text_that_is_not_utf_8_is_shown_as_it_is() -> None:
    assert text(b"a\xff\xc3\xa9") == "a\\xff\u00e9"
