"""What a call says: whatever the inputs are, its URL leads where the definition says."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argyll_redis.steps.http_request import Unfillable, filled, webhook_url

TEXT = st.text(max_size=30) | st.text("./\\?#%@:&=+ \r\n\0;{}", max_size=8)


@given(TEXT, TEXT)
def test_no_value_changes_where_a_url_leads(first: str, second: str) -> None:
    """Its server, the parts of its path and the names of its query are those of the definition."""
    try:
        url = filled("http://h.test:81/a/{x}/b-{y}?q={y}&r=1", {"x": first, "y": second})
    except Unfillable:
        return
    parts = urlsplit(url)
    assert url.isascii()
    assert parts.netloc == "h.test:81"
    segments = parts.path.split("/")
    assert [unquote(each) for each in segments] == ["", "a", first, f"b-{second}"]
    assert {".", ".."} & set(parts.path.replace("%2F", "/").replace("%5C", "/").split("/")) == set()
    assert [each.partition("=")[0] for each in parts.query.split("&")] == ["q", "r"]
    assert parts.fragment == ""


@given(TEXT.filter(lambda text: text and not {".", ".."} & set(text.replace("\\", "/").split("/"))))
def test_a_value_that_leads_nowhere_is_filled_in(value: str) -> None:
    assert unquote(filled("http://h.test/{x}", {"x": value})) == f"http://h.test/{value}"


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (1.5, "1.5"), (False, "false"), (None, "null"), ([1, "a"], '[1,"a"]'), ({"a": 1}, '{"a":1}')],
)
def test_what_is_no_text_is_filled_in_as_json(value: object, text: str) -> None:
    assert unquote(filled("http://h.test/{x}", {"x": value})) == f"http://h.test/{text}"


@pytest.mark.parametrize("base", ["https://h.test/base", "https://h.test/base/"])
def test_a_webhook_url_names_flow_step_and_token(base: str) -> None:
    """Ids of child flows have colons; a plus would be read as a blank by some."""
    url = webhook_url(base, "f1:s:t1", "a+b", "t2")
    assert url == "https://h.test/base/webhook/f1:s:t1/a%2Bb/t2"
